/**
 * Calls of a Storacha service: what is asked is signed by our key, with the proof that it may be, and
 * goes by HTTP.
 *
 * Invariants: nobody is asked but the service, where it keeps its receipts, and where it says that bytes
 * go; none of these is one that ended. Not the library's own channel: its calls take no signal, and what
 * failed it writes to the console.
 */
import type { Capability, IssuedInvocation } from '@ucanto/interface';
import { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';
import {
  INVOCATION_S,
  NODE_REFUSAL_BYTES_MAX,
  RECEIPT_LOOK_MS_MAX,
  RECEIPT_LOOK_MS_MIN,
  STORACHA_ANSWER_BYTES_MAX,
} from '../../base/limits.ts';
import { repeated, type Timing } from '../backoff.ts';
import type { Deadline } from '../deadline.ts';
import { addressOfWebUrl } from '../http/address.ts';
import type { Answer } from '../http/answer.ts';
import { type Outgoing, Transport } from '../http/transport.ts';
import { type Ability, type Agent, agentOf, type Identity } from './agent.ts';
import { refusalOf } from './faults.ts';
import { encodeMessage, okOf, receiptIn, type Told } from './messages.ts';
import { demandAlive } from './retired.ts';
import { loadUcanto, type Ucanto } from './ucanto.ts';

export interface RequestsOptions extends Timing {
  readonly url: URL;
  /** `did:web:…` */
  readonly did: `did:${string}:${string}`;
  readonly receipts: URL;
  readonly identity: Identity;
  /** Connections in use at once, from 2: half of them carry bytes. */
  readonly requestsMax: number;
}

const CAR_TYPE = 'application/vnd.ipld.car';
const HEADERS = { 'content-type': CAR_TYPE, accept: CAR_TYPE };

type Body = readonly Uint8Array[];

/** Whoever is asked, and how. */
type Request = Pick<Outgoing, 'method' | 'lane' | 'headers'>;

/** With what an invocation is made. */
export interface Making {
  readonly ucanto: Ucanto;
  readonly agent: Agent;
  readonly audience: { did(): RequestsOptions['did'] };
  /** Seconds since 1970. */
  readonly expiration: number;
  /** Of the same invocation a service gives the same receipt, though the world is another by now. */
  readonly nonce: string;
}

export class Requests {
  readonly #options: RequestsOptions;
  readonly #transport: Transport;
  #agent: Agent | undefined;

  constructor(options: RequestsOptions) {
    this.#options = options;
    const { requestsMax } = options;
    const lateFault = (words: string, op: string) =>
      new OpError('response-invalid', op, { cause: new Error(words) });
    this.#transport = new Transport({ service: 'storacha', requestsMax, lateFault });
  }

  get timing(): Timing {
    return this.#options;
  }

  close(): void {
    this.#transport.close();
  }

  /** Whether the proof says so. @throws as `CarStore`. */
  async may(ability: Ability, { op }: Deadline): Promise<boolean> {
    return (await this.#identified(op)).may(ability);
  }

  /**
   * Asks for one thing to be done with the space, again as often as that may help: all that is asked for
   * here is the same when it is done twice.
   * @throws as `CarStore`.
   */
  async ask(ability: Ability, nb: Readonly<Record<string, unknown>>, deadline: Deadline) {
    const { space } = this.#options.identity;
    return await this.invoke(deadline, ({ ucanto, agent, ...making }) => {
      if (!agent.may(ability)) {
        const hint = `proof: it does not give ${ability}`;
        throw new OpError('credentials-invalid', deadline.op, { hint, details: { ability } });
      }
      const capability = { can: ability, with: space, nb } as Capability;
      const { signer: issuer, proof } = agent;
      return ucanto.core.invoke({ ...making, issuer, capability, proofs: [proof] });
    });
  }

  /** @throws as `CarStore`. */
  async invoke(
    deadline: Deadline,
    make: (making: Making) => IssuedInvocation | Promise<IssuedInvocation>,
  ): Promise<Told> {
    const { timing } = this;
    return await repeated(() => this.#invoked(deadline, make), timing, deadline);
  }

  /**
   * The receipt of what the service has others do, once it is there.
   * @throws as `CarStore`.
   */
  async receiptOf(task: CID, deadline: Deadline): Promise<Told> {
    const ucanto = await loadUcanto();
    const url = new URL(String(task), this.#options.receipts);
    const request = { method: 'GET', lane: 'short', headers: {} } as const;
    const { op } = deadline;
    const looked = async (): Promise<Told | undefined> => {
      const bytes = await this.#bytes(url, request, [], deadline);
      return bytes === undefined ? undefined : receiptIn(ucanto, bytes, task, op);
    };
    for (let waitMs = RECEIPT_LOOK_MS_MIN; ; waitMs = Math.min(2 * waitMs, RECEIPT_LOOK_MS_MAX)) {
      const told = await repeated(looked, this.timing, deadline);
      if (told !== undefined) return told;
      await this.timing.clock.sleep(waitMs, deadline.signal);
    }
  }

  /**
   * Sends bytes where the service says they go.
   * @throws as `CarStore`; integrity: they did not arrive as they are.
   */
  async send(
    url: URL,
    headers: Readonly<Record<string, string>>,
    pieces: Body,
    deadline: Deadline,
  ): Promise<void> {
    const request = { method: 'PUT', lane: 'long', headers } as const;
    await repeated(
      async () => {
        using answer = await this.#sent(url, request, pieces, deadline);
        if (answer.status >= 200 && answer.status < 300) return;
        throw await refused(answer, deadline.op);
      },
      this.timing,
      deadline,
    );
  }

  /** Once; and once more with other secrets when these were refused. */
  async #invoked(
    deadline: Deadline,
    make: (making: Making) => IssuedInvocation | Promise<IssuedInvocation>,
  ): Promise<Told> {
    const { op } = deadline;
    for (let times = 1; ; times++) {
      const agent = await this.#identified(op);
      try {
        const told = await this.#told(agent, deadline, make);
        okOf(told, op);
        return told;
      } catch (error) {
        const failure = error instanceof OpError ? error.failure : undefined;
        const isRefused = failure === 'credentials-invalid' || failure === 'credentials-expired';
        if (!isRefused || times > 1) throw error;
        const { key, proof } = this.#options.identity;
        if (agent.isMadeOf(key(), proof())) throw error;
        this.#agent = undefined;
      }
    }
  }

  async #told(
    agent: Agent,
    deadline: Deadline,
    make: (making: Making) => IssuedInvocation | Promise<IssuedInvocation>,
  ): Promise<Told> {
    const ucanto = await loadUcanto();
    const { did, url } = this.#options;
    const expiration = this.timing.clock.now().s + INVOCATION_S;
    const audience = { did: () => did };
    const nonce = this.timing.random.token();
    const invocation = await make({ ucanto, agent, audience, expiration, nonce });
    const message = await ucanto.core.Message.build({ invocations: [invocation] });
    const [task] = message.invocationLinks;
    const body = encodeMessage(ucanto, message);
    const request = { method: 'POST', lane: 'short', headers: HEADERS } as const;
    const bytes = await this.#bytes(url, request, [body], deadline);
    if (bytes === undefined) throw refusalOf(404, '', deadline.op);
    return receiptIn(ucanto, bytes, CID.parse(String(task)), deadline.op);
  }

  async #identified(op: string): Promise<Agent> {
    const { identity, clock } = this.#options;
    this.#agent ??= await agentOf(await loadUcanto(), identity, { op, clock });
    return this.#agent;
  }

  /** undefined: there is nothing. */
  async #bytes(
    url: URL,
    request: Request,
    body: Body,
    deadline: Deadline,
  ): Promise<Buffer | undefined> {
    using answer = await this.#sent(url, request, body, deadline);
    if (answer.status === 404 && request.method === 'GET') return undefined;
    if (answer.status !== 200) throw await refused(answer, deadline.op);
    return await answer.bytes(STORACHA_ANSWER_BYTES_MAX);
  }

  async #sent(url: URL, request: Request, body: Body, deadline: Deadline): Promise<Answer> {
    const { op } = deadline;
    const address = addressOfWebUrl(url);
    if (address === undefined) {
      throw new OpError('response-invalid', op, { cause: new Error('it names no place') });
    }
    demandAlive(url, op);
    const length = body.reduce((sum, piece) => sum + piece.length, 0);
    const headers = {
      ...request.headers,
      ...(length > 0 ? { 'content-length': `${length}` } : {}),
    };
    const outgoing = {
      ...request,
      headers,
      path: `${url.pathname}${url.search}`,
      body: length > 0 ? moving(body, deadline) : undefined,
    };
    try {
      return await this.#transport.send(address, outgoing, deadline);
    } catch (error) {
      if (!(error instanceof OpError) || error.failure !== 'not-running') throw error;
      throw new OpError('unavailable', op, { cause: error.cause, details: error.details });
    }
  }
}

async function* moving(
  body: Body,
  deadline: Deadline,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (const piece of body) {
    yield piece;
    deadline.moved();
  }
}

/** What is not a success. Its words may hold the URL, which is as good as a key: they are cut. */
async function refused(answer: Answer, op: string): Promise<OpError> {
  const words = (await answer.beginning(NODE_REFUSAL_BYTES_MAX)).toString('utf8');
  const retryAfterS = Number(answer.header('retry-after'));
  const error = refusalOf(answer.status, words, op);
  if (!(retryAfterS >= 0) || answer.header('retry-after') === undefined) return error;
  const details = { ...error.details, retry_after_ms: retryAfterS * 1000 };
  return new OpError(error.failure, op, { cause: error.cause, details });
}
