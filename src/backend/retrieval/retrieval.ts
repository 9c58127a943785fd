/**
 * Content from those who need not be trusted: a Lassie daemon, or trustless gateways of IPFS
 * (https://specs.ipfs.tech/http-gateways/trustless-gateway).
 *
 * Invariant: every block was hashed. Whether they are all that was asked for nobody here knows: a
 * CAR that is cut between two blocks looks whole, and one of a path that leads nowhere is.
 *
 * Thrown by `blocks`: OpError content-missing (it has it not, or says so), not-running,
 * response-invalid, integrity, unsupported (a hash that kitfs does not know), credentials-invalid,
 * version-unsupported, rate-limited, invalid-cid, api-error, timeout, cancelled, configuration,
 * not-ready.
 */
import type { CID } from 'multiformats/cid';
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { type Failure, OpError } from '../../base/errors.ts';
import { NODE_REFUSAL_BYTES_MAX, NODE_TRANSFER_MS } from '../../base/limits.ts';
import type { Random } from '../../base/random.ts';
import type { Secret } from '../../base/secrets.ts';
import type { CallOptions } from '../call.ts';
import type { Deadline } from '../deadline.ts';
import { addressOfWebUrl, authorizationOf } from '../http/address.ts';
import type { Answer } from '../http/answer.ts';
import { Session } from '../http/session.ts';
import { type Block, blocksOfCar } from './car.ts';
import { parseProvider } from './providers.ts';

export type SourceKind = 'lassie' | 'gateway';

/** A part of a DAG, by the parameters of a trustless gateway. */
export interface Wanted {
  readonly root: CID;
  /** Names to follow down from it. */
  readonly names: readonly string[];
  /**
   * Of what they lead to: `all` of it; the `entity`, which is a file, or a directory without what is
   * in it; the `block` alone. The blocks of the way there come along.
   */
  readonly scope: 'all' | 'entity' | 'block';
  /**
   * Of a file, with scope `entity`: from this byte, counted from the end when negative, to that one,
   * counted from the start.
   */
  readonly bytes?: { readonly from: number; readonly to?: number | undefined } | undefined;
}

export interface BlocksOptions extends CallOptions {
  /** No more are taken; for Lassie one that stands in two places is two. */
  readonly blocksMax?: number | undefined;
  /** Whom Lassie shall ask, as `Provider.text`; others too when absent. */
  readonly providers?: readonly string[] | undefined;
  /** By which Lassie may ask; all that it speaks when absent. */
  readonly protocols?: readonly ('http' | 'graphsync')[] | undefined;
}

export interface SourceOptions {
  readonly kind: SourceKind;
  /** `http://HOST:PORT` or `https://HOST` */
  readonly url: string;
  /** `bearer:TOKEN`, of which Lassie knows the token, or `basic:USER:PASSWORD`; undefined: none. */
  readonly secret?: (() => Secret) | undefined;
  /** Connections in use at once, from 2: half of them stream. */
  readonly requestsMax: number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface TrustlessSource {
  readonly kind: SourceKind;
  /** Where it is, for people. Never a secret. */
  readonly endpoint: string;
  /**
   * The blocks as they come, each verified: parents first, those on the way to it before those
   * wanted, the same one perhaps more than once. Without a deadline it lasts as long as anything comes.
   */
  blocks(wanted: Wanted, options: BlocksOptions): AsyncIterable<Block>;
}

/** @throws OpError configuration. */
export function openSource(options: SourceOptions): TrustlessSource & AsyncDisposable {
  const { kind, url, secret } = options;
  const known = parseProvider(url)?.url;
  const address = known === undefined ? undefined : addressOfWebUrl(new URL(known));
  if (address === undefined) {
    throw new OpError('configuration', `open the ${kind}`, {
      hint: 'its url: http://HOST:PORT or https://HOST',
    });
  }
  const session = new Session(
    {
      ...options,
      endpoint: { text: url, resolve: async () => address },
      authorization:
        secret === undefined ? undefined : () => authorizationOf(secret().reveal(), `the ${kind}`),
      callMs: NODE_TRANSFER_MS,
    },
    { service: kind, lateFault, demandVersion: async () => {} },
  );
  return new HttpSource(kind, session);
}

const ACCEPTED = 'application/vnd.ipld.car;version=1;order=dfs;dups=n';

class HttpSource implements TrustlessSource, AsyncDisposable {
  readonly kind: SourceKind;
  readonly #session: Session;

  constructor(kind: SourceKind, session: Session) {
    this.kind = kind;
    this.#session = session;
  }

  get endpoint(): string {
    return this.#session.endpoint;
  }

  async *blocks(wanted: Wanted, options: BlocksOptions): AsyncGenerator<Block, void, undefined> {
    assert(isProper(wanted), 'a range is one of an entity');
    const op = `fetch ${[wanted.root, ...wanted.names].join('/')}`;
    using deadline = this.#session.lasting(op, options, 'long');
    using answer = await this.#session.repeated('always', deadline, () =>
      this.#sent(wanted, options, deadline),
    );
    let left = options.blocksMax ?? Number.MAX_SAFE_INTEGER;
    for await (const block of blocksOfCar(moving(answer, deadline), op)) {
      if (left === 0) {
        const hint = `it has more than ${options.blocksMax} blocks`;
        throw new OpError('response-invalid', op, { hint });
      }
      left -= 1;
      yield block;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session.close();
  }

  async #sent(wanted: Wanted, options: BlocksOptions, deadline: Deadline): Promise<Answer> {
    const outgoing = {
      method: 'GET',
      path: pathOf(this.kind, wanted, options),
      lane: 'long',
      headers: { accept: ACCEPTED },
      body: undefined,
    } as const;
    const answer = await this.#session.send(outgoing, deadline);
    if (answer.status !== 200) {
      using refusal = answer;
      const words = (await refusal.beginning(NODE_REFUSAL_BYTES_MAX)).toString('utf8');
      throw refusalOf(refusal.status, words, deadline.op);
    }
    const type = answer.header('content-type') ?? '';
    if (/^application\/vnd\.ipld\.car\b/.test(type)) return answer;
    answer[Symbol.dispose]();
    const cause = new Error(`it sent "${type}"`);
    throw new OpError('response-invalid', deadline.op, { cause });
  }
}

function isProper({ scope, bytes }: Wanted): boolean {
  if (bytes === undefined) return true;
  const { from, to = Number.MAX_SAFE_INTEGER } = bytes;
  const isRange = Number.isSafeInteger(from) && Number.isSafeInteger(to) && to >= Math.max(0, from);
  return scope === 'entity' && isRange;
}

async function* moving(
  answer: Answer,
  deadline: Deadline,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of answer.chunks(Number.MAX_SAFE_INTEGER)) {
    deadline.moved();
    yield chunk;
  }
}

function pathOf(kind: SourceKind, { root, names, scope, bytes }: Wanted, options: BlocksOptions) {
  const { blocksMax, providers, protocols } = options;
  // Lassie decodes a path once more than it was encoded.
  const segments = kind === 'lassie' ? names.map((name) => name.replaceAll('%', '%25')) : names;
  const pairs: (readonly [name: string, value: string | undefined])[] = [
    ['format', 'car'],
    ['dag-scope', scope],
    ['entity-bytes', bytes === undefined ? undefined : `${bytes.from}:${bytes.to ?? '*'}`],
    ...(kind === 'lassie'
      ? ([
          ['providers', providers?.join(',')],
          ['protocols', protocols?.join(',')],
          ['blockLimit', blocksMax?.toString()],
        ] as const)
      : []),
  ];
  const query = pairs
    .filter(([, value]) => value !== undefined)
    .map(([name, value = '']) => `${name}=${encodeURIComponent(value)}`)
    .join('&');
  return `/ipfs/${[String(root), ...segments].map(encodeURIComponent).join('/')}?${query}`;
}

/** What a status means. What a source says of content that it does not send is no proof of anything. */
const STATUS: Readonly<Record<number, Failure>> = {
  401: 'credentials-invalid',
  403: 'credentials-invalid',
  404: 'content-missing',
  405: 'version-unsupported',
  406: 'version-unsupported',
  410: 'content-missing',
  429: 'rate-limited',
  502: 'content-missing',
  503: 'rate-limited',
  504: 'content-missing',
};

const CAUSE_CHARS_MAX = 512;

function refusalOf(status: number, body: string, op: string): OpError {
  const [first = ''] = body.split('\n', 1);
  const words = `${status} ${first.slice(0, CAUSE_CHARS_MAX).trim()}`;
  const isBadCid = status === 400 && /root CID|invalid cid/i.test(words);
  const isAbsent = status === 500 && /not found locally|could not find/.test(words);
  const otherwise = isAbsent ? 'content-missing' : 'api-error';
  const failure = isBadCid ? 'invalid-cid' : (STATUS[status] ?? otherwise);
  return new OpError(failure, op, { cause: new Error(words) });
}

const lateFault = (words: string, op: string): OpError =>
  new OpError('response-invalid', op, { cause: new Error(words) });
