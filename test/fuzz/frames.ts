/**
 * Random frames of the agents' protocol, and what each of them calls for. Whoever sends them counts
 * answers by reading the very bytes it sends, cut where they are cut: at newlines.
 */
import { TOOLS } from '../../src/tools/inventory.ts';
import type { Dice } from './dice.ts';

type Json = unknown;
type Members = Record<string, Json>;

const METHODS = [
  ...['tools/call', 'tools/call', 'tools/call', 'tools/call', 'tools/list', 'ping', 'initialize'],
  ...['notifications/initialized', 'notifications/cancelled', 'notifications/progress'],
  ...['resources/list', 'prompts/get', 'logging/setLevel', 'completion/complete', '', 'toString'],
  ...['__proto__', 'tools/call ', 'roots/list', 'sampling/createMessage', 'tasks/get'],
] as const;
/** Methods of the command line's socket. */
const CONTROL_METHODS = ['status', 'tools', 'call', 'call', 'car', 'sync_local', 'none'] as const;

const ODD_VALUES: readonly Json[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1.5,
    1e21,
    -1e308,
    2 ** 53,
    '',
    ' ',
    '\0',
    '..',
    '/',
    '//',
    '/../..',
  ],
  ...[
    '/ipfs',
    '/mem',
    '/ipfs/a',
    '/ipfs/a/b',
    '/ipfs/\u{1f600}',
    '/.kitfs',
    'x'.repeat(300),
    '\ud800',
  ],
  ...['/ipfs/'.repeat(900), '/ipfs/Qm', 'bafkqaaa', 'YQ==', '%2e%2e', '\u202e', 'constructor'],
  ...[
    [],
    {},
    [[]],
    [null],
    { a: 1 },
    { toString: 1 },
    { __proto__: null },
    ['/ipfs'],
    'a'.repeat(70_000),
  ],
];
const PATHS = ['/ipfs/a', '/ipfs/b', '/ipfs/c', '/ipfs/d', '/mem/a', '/mem/b', '/ipfs', '/mem'];
/** Text that is nearly JSON. */
const BROKEN = [
  ...[
    '{',
    '[',
    '"',
    '{"id":1',
    'nul',
    '{"a":}',
    '\ufeff{}',
    'GET / HTTP/1.1\r\nHost: a\r\n\r',
    '\x16\x03\x01',
  ],
  ...[
    'POST /mcp HTTP/1.1\r',
    'PRI * HTTP/2.0\r',
    '{"jsonrpc":"2.0","id":1,"method":"ping"} x',
    '\r',
    ' ',
  ],
  ...[
    '{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
    '{"id":01}',
    '\\ud800',
    'Content-Length: 20\r',
  ],
];

/** A path, an integer, text: what a field of that kind may sensibly be. */
const sensible = (dice: Dice, value: Json): Json => {
  if (typeof value === 'string' && value.startsWith('/')) return dice.pick(PATHS);
  return value;
};

export class FrameMaker {
  readonly #dice: Dice;
  readonly #isControl: boolean;
  #id = 0;

  constructor(dice: Dice, { isControl = false } = {}) {
    this.#dice = dice;
    this.#isControl = isControl;
  }

  /** The next frame, with its newline; now and then several, or a piece of one. */
  next(): Buffer {
    const dice = this.#dice;
    // What cannot be read ends a connection of the command line, so there it is seldom.
    const throwOf = dice.below(this.#isControl ? 2000 : 100);
    if (throwOf < 5) return Buffer.concat([dice.bytes(dice.below(400)), NEWLINE]);
    if (throwOf < 10) return Buffer.from(`${dice.pick(BROKEN)}\n`, 'utf8');
    if (throwOf < 11) return Buffer.from(`${this.#deep()}\n`);
    const text = JSON.stringify(this.#message(), escapedSurrogates);
    const frame = Buffer.from(`${text}\n`);
    return throwOf < 20 ? this.#damaged(frame) : frame;
  }

  #damaged(frame: Buffer): Buffer {
    const dice = this.#dice;
    const at = dice.below(frame.length);
    switch (dice.below(4)) {
      case 0:
        return Buffer.concat([frame.subarray(0, at), NEWLINE]);
      case 1:
        frame[at] = dice.below(256);
        return Buffer.concat([frame, NEWLINE]);
      case 2:
        return Buffer.concat([
          frame.subarray(0, at),
          dice.bytes(dice.below(8)),
          frame.subarray(at),
        ]);
      default:
        return Buffer.concat([frame.subarray(at), frame]);
    }
  }

  #deep(): string {
    const depth = this.#dice.pick([10, 1000, 20_000, 200_000]);
    const [open, close] = this.#dice.pick([
      ['[', ']'],
      ['{"a":', '}'],
    ]);
    const nested = `${open.repeat(depth)}1${close.repeat(depth)}`;
    if (this.#dice.chance(30)) return nested;
    const params = `{"name":"vfs_stat","arguments":{"path":${nested}}}`;
    return `{"jsonrpc":"2.0","id":${this.#nextId()},"method":"tools/call","params":${params}}`;
  }

  #nextId(): number {
    this.#id += 1;
    return this.#id;
  }

  #message(): Json {
    const dice = this.#dice;
    const method = dice.pick(this.#isControl ? CONTROL_METHODS : METHODS);
    const message: Members = {
      jsonrpc: dice.chance(97) ? '2.0' : dice.pick(ODD_VALUES),
      id: this.#anyId(),
      method: dice.chance(99) ? method : dice.pick(ODD_VALUES),
      params: this.#params(method),
    };
    if (method.startsWith('notifications/') && dice.chance(90)) delete message['id'];
    if (dice.chance(2)) delete message[dice.pick(Object.keys(message))];
    if (dice.chance(2)) message[dice.pick(['result', 'error', 'extra', '__proto__'])] = {};
    return dice.chance(99) ? message : [message, message];
  }

  #anyId(): Json {
    const dice = this.#dice;
    if (dice.chance(this.#isControl ? 99.5 : 90)) return this.#nextId();
    if (dice.chance(50)) return dice.between(1, Math.max(1, this.#id)); // In use, perhaps.
    return dice.pick([
      'a',
      '1',
      '',
      '\u0000',
      'x'.repeat(1000),
      -5,
      1.5,
      1e300,
      null,
      true,
      {},
      [],
    ]);
  }

  #params(method: string): Json {
    const dice = this.#dice;
    if (dice.chance(this.#isControl ? 0.5 : 4)) return dice.pick(ODD_VALUES);
    switch (method) {
      case 'tools/call':
        return this.#call('name');
      case 'call':
        return this.#call('tool');
      case 'initialize':
        return this.#mutated({
          protocolVersion: dice.pick(['2025-06-18', '2024-11-05', '1', '']),
          capabilities: {},
          clientInfo: { name: 'fuzz', version: '1' },
        });
      case 'notifications/cancelled':
        return { requestId: dice.between(0, this.#id), reason: 'x' };
      case 'car':
        return this.#mutated({ cid: 'bafkqaaa' });
      default:
        return dice.chance(70) ? {} : this.#mutated({ cursor: 'x', _meta: { progressToken: 1 } });
    }
  }

  #call(nameKey: string): Json {
    const dice = this.#dice;
    const tool = dice.pick(TOOLS);
    const values: Members = {};
    for (const [key, value] of Object.entries(tool.example)) values[key] = sensible(dice, value);
    const fields = Object.keys(tool.input.shape);
    for (const field of fields) if (dice.chance(10)) values[field] = dice.pick(ODD_VALUES);
    if (dice.chance(3)) values['none'] = 1;
    return {
      [nameKey]: dice.chance(98) ? tool.name : dice.pick(ODD_VALUES),
      arguments: dice.chance(50) ? values : this.#mutated(values),
      ...(dice.chance(10) ? { _meta: { progressToken: dice.pick(['p', 7, null, {}]) } } : {}),
    };
  }

  /** The value with something in it that is other, absent, or there besides. */
  #mutated(value: Json): Json {
    const dice = this.#dice;
    if (typeof value !== 'object' || value === null || dice.chance(5)) return dice.pick(ODD_VALUES);
    const copy: Members = { ...(value as Members) };
    const keys = Object.keys(copy);
    if (keys.length === 0) return dice.chance(50) ? copy : { x: dice.pick(ODD_VALUES) };
    const key = dice.pick(keys);
    if (dice.chance(20)) delete copy[key];
    else copy[key] = dice.chance(50) ? dice.pick(ODD_VALUES) : this.#mutated(copy[key]);
    return copy;
  }
}

const NEWLINE = Buffer.from('\n');

/** JSON.stringify writes lone surrogates as escapes by itself; a member named so needs no more. */
const escapedSurrogates = (_key: string, value: Json): Json => value;

/** What one frame calls for. */
export interface Due {
  /** The id as JSON; undefined when nobody is answered by id. */
  readonly id: string | undefined;
  /** Whether it must be answered, and not only may be: it is a request, however wrong. */
  readonly isRequest: boolean;
  /** The id of another request that shall not be answered any more. */
  readonly cancels: string | undefined;
}

/** How a server that knows the protocol reads a frame (without its newline). */
export function dueOf(frame: Buffer): Due {
  const none = { id: undefined, isRequest: false, cancels: undefined };
  let value: Json;
  try {
    value = JSON.parse(frame.toString('utf8'));
  } catch {
    return none;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return none;
  const { id, method, params } = value as Members;
  if (method === 'notifications/cancelled' && !('id' in value)) {
    const requestId = (params as Members | null | undefined)?.['requestId'];
    return { ...none, cancels: JSON.stringify(requestId) };
  }
  const isId = typeof id === 'string' || Number.isInteger(id);
  return isId ? { ...none, id: JSON.stringify(id), isRequest: 'method' in value } : none;
}

/** Whether the command line's socket can read a frame; one it cannot ends the connection. */
export function isCommand(frame: Buffer): boolean {
  try {
    const { id, method, params = {} } = JSON.parse(frame.toString('utf8')) as Members;
    const isObject = typeof params === 'object' && params !== null && !Array.isArray(params);
    return Number.isSafeInteger(id) && typeof method === 'string' && isObject;
  } catch {
    return false;
  }
}
