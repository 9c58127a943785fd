/**
 * What the stdio bridge knows of the messages it carries: which of them may be sent again, and under
 * which key. Only parts of Node are loaded.
 */
import { FRAME_BYTES_MAX } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import type { Secret } from '../base/secrets.ts';
import { idOf, isJsonObject, type JsonObject, parseFrame, TOKEN_META } from './frames.ts';

/** As the daemon knows it: where a call has its key, and what says that keys are understood. */
const IDEMPOTENCY_META = 'kitfs/idempotency';

/**
 * - `freely`: asking again changes nothing, or the same.
 * - `keyed`: the daemon runs it once, if it is one that understands keys.
 * - `never`: nobody knows.
 */
export type Repeated = 'freely' | 'keyed' | 'never';

/** One line of the client on its way. */
export interface Line {
  readonly frame: Buffer;
  readonly method: unknown;
  /** Undefined when it is no object of JSON. */
  readonly params: JsonObject | undefined;
  /** Its id as text, so that 1 and "1" differ; undefined when it expects no answer. */
  readonly key: string | undefined;
  readonly id: unknown;
  readonly repeated: Repeated;
  /** Under which its progress is told, as text. */
  readonly progressToken: string | undefined;
  /** How often a daemon went away that had it. */
  losses: number;
}

const FREELY: ReadonlySet<unknown> = new Set([
  'initialize',
  'ping',
  'tools/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
  'resources/subscribe',
  'resources/unsubscribe',
  'prompts/list',
  'prompts/get',
  'completion/complete',
  'logging/setLevel',
]);

/** A call comes out with a key: its own, or one of `random`. */
export function lineOf(frame: Buffer, random: Random): Line {
  const value = parseFrame(frame);
  const message: JsonObject = isJsonObject(value) ? value : {};
  const { method, params: given } = message as { method?: unknown; params?: unknown };
  const params = isJsonObject(given) ? given : undefined;
  const id = idOf(message);
  const isRequest = method !== undefined && id !== undefined;
  const plain = {
    frame,
    method,
    params,
    key: isRequest ? JSON.stringify(id) : undefined,
    id,
    progressToken: tokenOf(metaOf(params)?.['progressToken']),
    losses: 0,
  };
  if (FREELY.has(method)) return { ...plain, repeated: 'freely' };
  const keyed = isRequest && method === 'tools/call' ? withKey(message, plain, random) : undefined;
  return keyed ?? { ...plain, repeated: 'never' };
}

/** The client's handshake with our token in it, which it has whenever it is repeated. */
export function presenting(line: Line, token: Secret | undefined): Line {
  if (token === undefined || line.method !== 'initialize') return line;
  const value = parseFrame(line.frame);
  const message: JsonObject = isJsonObject(value) ? value : {};
  const _meta = { ...metaOf(line.params), [TOKEN_META]: token.reveal() };
  const frame = written({ ...message, params: { ...line.params, _meta } });
  return frame === undefined ? line : { ...line, frame };
}

/** Whether a daemon that answers `initialize` so runs a call with a key once. */
export function knowsKeys({ result }: { readonly result?: unknown }): boolean {
  const capabilities = isJsonObject(result) ? result['capabilities'] : undefined;
  const experimental = isJsonObject(capabilities) ? capabilities['experimental'] : undefined;
  return isJsonObject(experimental) && IDEMPOTENCY_META in experimental;
}

/** undefined: it cannot have one. */
function withKey(
  message: JsonObject,
  plain: Omit<Line, 'repeated'>,
  random: Random,
): Line | undefined {
  const { params } = plain;
  if (params === undefined) return undefined;
  const meta = params['_meta'] ?? {};
  // Whatever else it holds is for the daemon to refuse.
  if (!isJsonObject(meta)) return undefined;
  if (meta[IDEMPOTENCY_META] !== undefined) return { ...plain, repeated: 'keyed' };
  const stamped = { ...meta, [IDEMPOTENCY_META]: random.token() };
  const frame = written({ ...message, params: { ...params, _meta: stamped } });
  return frame === undefined ? undefined : { ...plain, frame, repeated: 'keyed' };
}

/** undefined: it is nested deeper than can be written, or too long. What is read may be either. */
function written(message: JsonObject): Buffer | undefined {
  try {
    const frame = Buffer.from(JSON.stringify(message));
    return frame.length > FRAME_BYTES_MAX ? undefined : frame;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

const metaOf = (params: JsonObject | undefined): JsonObject | undefined => {
  const meta = params?.['_meta'];
  return isJsonObject(meta) ? meta : undefined;
};

/** As text, so that 1 and "1" differ. */
const tokenOf = (token: unknown): string | undefined =>
  typeof token === 'string' || typeof token === 'number' ? JSON.stringify(token) : undefined;

/**
 * Progress as the client was told it. A call that is run again begins anew, and progress must not:
 * what is not more than was told before is left out.
 */
export class ToldProgress {
  readonly #told = new Map<string, number>();

  /** Whether the notification says something new; that is remembered. */
  isNew(params: unknown): boolean {
    const { progressToken, progress } = isJsonObject(params) ? params : {};
    const token = tokenOf(progressToken);
    if (token === undefined || typeof progress !== 'number') return true;
    if (progress <= (this.#told.get(token) ?? Number.NEGATIVE_INFINITY)) return false;
    this.#told.set(token, progress);
    return true;
  }

  forget(token: string | undefined): void {
    if (token !== undefined) this.#told.delete(token);
  }
}

/**
 * What a client has asked of its connection and not of the tree: how much to log, and which
 * resources to watch. Asked for again on the next connection.
 */
export class Standing {
  readonly #lines = new Map<string, Line>();

  /** A request that was answered without an error. */
  granted(line: Line): void {
    const { method, params } = line;
    const uri = JSON.stringify(params?.['uri']);
    if (method === 'logging/setLevel') this.#lines.set('', line);
    if (method === 'resources/subscribe') this.#lines.set(uri, line);
    if (method === 'resources/unsubscribe') this.#lines.delete(uri);
  }

  get lines(): readonly Line[] {
    return [...this.#lines.values()];
  }
}
