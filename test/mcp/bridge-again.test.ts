/** What the bridge sends again to the next daemon, and what it does not. */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { BRIDGE_LOSSES_MAX, CALLS_PER_CONNECTION_MAX } from '../../src/base/limits.ts';
import { FrameReader, frameOf, parseFrame } from '../../src/mcp/frames.ts';
import { runBridge } from '../../src/mcp/mcp.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { type Message, scratch, until } from './host.ts';

const KEY = 'kitfs/idempotency';
const KNOWS_KEYS = { capabilities: { experimental: { [KEY]: {} } } };

let path = '';
beforeEach(async () => {
  path = join(await scratch(), 'mcp.sock');
});
afterEach(() => rm(dirname(path), { recursive: true, force: true }));

/** Daemons one after the other, each a connection: it answers handshakes, and nothing else. */
class Daemons implements AsyncDisposable {
  readonly sockets: Socket[] = [];
  /** Without handshakes. */
  readonly told: Message[][] = [];
  readonly greeted: unknown[][] = [];
  knowsKeys = true;
  /** How many connections yet are cut off in their handshake. */
  dying = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((socket) => {
      const [told, greeted]: [Message[], unknown[]] = [[], []];
      this.sockets.push(socket);
      this.told.push(told);
      this.greeted.push(greeted);
      const reader = new FrameReader();
      socket.on('error', () => {});
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (frame) => {
          const message = parseFrame(frame) as Message;
          if (message.method !== 'initialize') {
            told.push(message);
            return;
          }
          greeted.push(message.id);
          if (this.dying > 0) {
            this.dying -= 1;
            socket.destroy();
            return;
          }
          const result = this.knowsKeys ? KNOWS_KEYS : { capabilities: {} };
          socket.write(frameOf({ jsonrpc: '2.0', id: message.id, result }));
        }),
      );
    });
  }

  async listen(): Promise<this> {
    this.#server.listen(path);
    await once(this.#server, 'listening');
    return this;
  }

  say(message: object): void {
    this.sockets.at(-1)?.write(frameOf({ jsonrpc: '2.0', ...message }));
  }

  /** The one there is goes away; resolves when the next one was told so many messages. */
  async die(expected: number): Promise<Message[]> {
    const number = this.sockets.length;
    this.sockets.at(-1)?.destroy();
    return this.hear(expected, number);
  }

  async hear(expected: number, number = this.sockets.length - 1): Promise<Message[]> {
    await until(() => (this.told[number]?.length ?? 0) >= expected);
    return this.told[number] ?? [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

interface Bridge extends AsyncDisposable {
  readonly messages: readonly Message[];
  say(message: object): void;
}

/** A bridge whose client has said who it is. */
async function openBridge(clock = new SystemClock() as SystemClock | TurnedClock): Promise<Bridge> {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const controller = new AbortController();
  const { signal } = controller;
  const messages: Message[] = [];
  const reader = new FrameReader();
  output.on('data', (chunk: Buffer) =>
    reader.push(chunk, (frame) => {
      const message = parseFrame(frame) as Message;
      if (message.id !== 'init') messages.push(message);
      else input.emit('greeted');
    }),
  );
  const [log, random] = [new RememberedLog(), new CountingRandom()];
  const done = runBridge({ socketPath: path, input, output, clock, random, log, signal });
  const say = (message: object) => input.write(frameOf({ jsonrpc: '2.0', ...message }));
  const greeted = once(input, 'greeted');
  say({ id: 'init', method: 'initialize' });
  await greeted;
  return {
    messages,
    say,
    [Symbol.asyncDispose]: async () => {
      controller.abort();
      await done;
    },
  };
}

const call = (id: number, more: object = {}) => ({
  id,
  method: 'tools/call',
  params: { name: 'vfs_write', arguments: { n: id }, ...more },
});

const idsOf = (messages: readonly Message[]) => messages.map(({ id }) => id);
const keyOf = ({ params }: Message) =>
  (params as { _meta: Record<string, unknown> })._meta[KEY] as string;

test('what has no answer is sent again in its order, each call under its key, then the rest', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  for (const id of [1, 2, 3]) bridge.say(call(id));
  bridge.say({ id: 4, method: 'resources/read', params: { uri: 'kitfs://tree/a' } });
  const first = await daemons.hear(4);
  daemons.say({ id: 2, result: {} });
  await until(() => bridge.messages.length === 1);
  const second = daemons.die(3);
  bridge.say(call(5));
  await second;
  const again = await daemons.hear(4);
  expect(idsOf(again)).toEqual([1, 3, 4, 5]);
  expect(again[0]).toEqual(first[0]);
  expect(again[1]).toEqual(first[2]);
  const keys = [...first.slice(0, 3), again[3] as Message].map(keyOf);
  expect(new Set(keys).size).toBe(4);
  for (const id of [1, 3, 4, 5]) daemons.say({ id, result: {} });
  await until(() => bridge.messages.length === 5);
  expect(idsOf(bridge.messages)).toEqual([2, 1, 3, 4, 5]);
});

test('what a client puts into _meta stays, its own key too', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  bridge.say(call(1, { _meta: { progressToken: 7, other: ['x'] } }));
  bridge.say(call(2, { _meta: { [KEY]: 'mine' } }));
  const [one = {}, other = {}] = await daemons.hear(2);
  expect(one).toMatchObject({ params: { _meta: { progressToken: 7, other: ['x'] } } });
  expect(keyOf(one)).toMatch(/^token/);
  expect(keyOf(other)).toBe('mine');
  const again = await daemons.die(2);
  expect(again.map(keyOf)).toEqual([keyOf(one), 'mine']);
});

test('what is no call with arguments is carried as it is', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  bridge.say({ id: 1, method: 'tools/call' });
  bridge.say({ id: 2, method: 'tools/call', params: { name: 'a', _meta: 'broken' } });
  bridge.say({ method: 'tools/call', params: { name: 'a' } });
  expect(await daemons.hear(3)).toEqual([
    { jsonrpc: '2.0', id: 1, method: 'tools/call' },
    { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'a', _meta: 'broken' } },
    { jsonrpc: '2.0', method: 'tools/call', params: { name: 'a' } },
  ]);
});

test('an answer of which half arrived is not given, and the call is sent again', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  bridge.say(call(1));
  await daemons.hear(1);
  const half = frameOf({ jsonrpc: '2.0', id: 1, result: { text: 'old' } }).slice(0, -10);
  const socket = daemons.sockets.at(-1);
  await new Promise((resolve) => socket?.write(half, resolve));
  await daemons.die(1);
  daemons.say({ id: 1, result: { text: 'new' } });
  await until(() => bridge.messages.length === 1);
  expect(bridge.messages).toMatchObject([{ id: 1, result: { text: 'new' } }]);
});

test('a daemon that knows no keys, or a request nobody knows: an error says that it may have run', async () => {
  await using daemons = await new Daemons().listen();
  daemons.knowsKeys = false;
  await using bridge = await openBridge();
  bridge.say(call(1));
  bridge.say({ id: 2, method: 'ping' });
  await daemons.hear(2);
  daemons.knowsKeys = true;
  expect(idsOf(await daemons.die(1))).toEqual([2]);
  expect(bridge.messages).toMatchObject([
    { id: 1, error: { code: -32000, message: expect.stringContaining('may have run') } },
  ]);
  bridge.say({ id: 3, method: 'tasks/make' });
  bridge.say(call(4));
  await daemons.hear(3);
  expect(idsOf(await daemons.die(2))).toEqual([2, 4]);
  expect(bridge.messages[1]).toMatchObject({ id: 3, error: { code: -32000 } });
});

test('progress that is told again is left out until it is more', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  bridge.say(call(1, { _meta: { progressToken: 'p' } }));
  await daemons.hear(1);
  const tell = (progress: number, progressToken: string | number = 'p') =>
    daemons.say({ method: 'notifications/progress', params: { progressToken, progress } });
  for (const progress of [1, 5]) tell(progress);
  await until(() => bridge.messages.length === 2);
  await daemons.die(1);
  for (const progress of [1, 4, 5, 6]) tell(progress);
  tell(1, 'another');
  daemons.say({ id: 1, result: {} });
  await until(() => bridge.messages.some(({ id }) => id === 1));
  const told = bridge.messages.map(({ params }) => (params as { progress?: number })?.progress);
  expect(told).toEqual([1, 5, 6, 1, undefined]);
  // The token is free for another call.
  bridge.say(call(2, { _meta: { progressToken: 'p' } }));
  await daemons.hear(2);
  tell(1);
  await until(() => bridge.messages.length === 6);
});

test('what a client asked of its connection is asked of the next one, unseen by it', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  const asked = [
    { id: 1, method: 'logging/setLevel', params: { level: 'info' } },
    { id: 2, method: 'logging/setLevel', params: { level: 'debug' } },
    { id: 3, method: 'resources/subscribe', params: { uri: 'kitfs://tree/a' } },
    { id: 4, method: 'resources/subscribe', params: { uri: 'kitfs://tree/b' } },
    { id: 5, method: 'resources/unsubscribe', params: { uri: 'kitfs://tree/a' } },
    { id: 6, method: 'resources/subscribe', params: { uri: 'kitfs://tree/c' } },
  ];
  for (const message of asked) bridge.say(message);
  await daemons.hear(6);
  for (const id of [1, 2, 3, 4, 5]) daemons.say({ id, result: {} });
  daemons.say({ id: 6, error: { code: -32602, message: 'none' } });
  await until(() => bridge.messages.length === 6);
  bridge.say({ method: 'notifications/initialized' });
  await daemons.hear(7);
  await daemons.die(2);
  daemons.say({ id: 2, result: {} });
  const told = await daemons.hear(3);
  daemons.say({ id: 4, result: {} });
  bridge.say(call(7));
  await daemons.hear(4);
  expect(told.map(({ id, method }) => id ?? method)).toEqual([
    'notifications/initialized',
    2,
    4,
    7,
  ]);
  expect(bridge.messages.slice(6)).toEqual([
    {
      jsonrpc: '2.0',
      method: 'notifications/resources/updated',
      params: { uri: 'kitfs://tree/b' },
    },
  ]);
});

test('what was cancelled is not sent again; what is cancelled on the way is not sent at all', async () => {
  const clock = new TurnedClock();
  const first = await new Daemons().listen();
  await using bridge = await openBridge(clock);
  const cancel = (requestId: number) =>
    bridge.say({ method: 'notifications/cancelled', params: { requestId } });
  for (const id of [1, 2, 3]) bridge.say(call(id));
  await first.hear(3);
  cancel(1);
  await first.hear(4);
  await first[Symbol.asyncDispose]();
  await until(() => clock.sleeping > 0);
  bridge.say(call(4));
  cancel(2);
  cancel(4);
  bridge.say(call(5));
  await using second = await new Daemons().listen();
  await clock.turn(20);
  expect(idsOf(await second.hear(2, 0))).toEqual([3, 5]);
});

test('not more is sent again at a time than a daemon takes, and what is cancelled makes room', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  const total = CALLS_PER_CONNECTION_MAX + 8;
  for (let id = 1; id <= total; id += 1) bridge.say(call(id));
  await daemons.hear(total);
  const again = await daemons.die(CALLS_PER_CONNECTION_MAX);
  bridge.say({ id: 'last', method: 'ping' });
  daemons.say({ id: 1, result: {} });
  await daemons.hear(CALLS_PER_CONNECTION_MAX + 1);
  bridge.say({ method: 'notifications/cancelled', params: { requestId: 2 } });
  await daemons.hear(CALLS_PER_CONNECTION_MAX + 3);
  const heard = again.map(({ id, method }) => id ?? method);
  expect(heard.slice(0, CALLS_PER_CONNECTION_MAX + 3)).toEqual([
    ...Array.from({ length: CALLS_PER_CONNECTION_MAX + 1 }, (_, i) => i + 1),
    'notifications/cancelled',
    CALLS_PER_CONNECTION_MAX + 2,
  ]);
  for (let id = 3; id <= total; id += 1) {
    await until(() => again.some((message) => message.id === id));
    daemons.say({ id, result: {} });
  }
  await until(() => again.at(-1)?.id === 'last');
});

test('a call that ends every daemon is given up after some, and no other with it', async () => {
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge();
  bridge.say(call(1));
  await daemons.hear(1);
  for (let n = 1; n < BRIDGE_LOSSES_MAX; n += 1) await daemons.die(1);
  bridge.say(call(2));
  await daemons.hear(2);
  expect(bridge.messages).toEqual([]);
  expect(idsOf(await daemons.die(2))).toEqual([1, 2]);
  expect(idsOf(await daemons.die(1))).toEqual([2]);
  expect(bridge.messages).toMatchObject([
    { id: 1, error: { code: -32000, message: expect.stringContaining('9 times') } },
  ]);
});

test('nothing overtakes a handshake, and one that is cut off is begun again', async () => {
  await using daemons = await new Daemons().listen();
  daemons.dying = 2;
  await using bridge = await openBridge();
  bridge.say(call(1));
  await daemons.hear(1, 2);
  expect(daemons.told).toEqual([[], [], expect.anything()]);
  daemons.dying = 2;
  daemons.sockets.at(-1)?.destroy();
  expect(idsOf(await daemons.hear(1, 5))).toEqual([1]);
  expect(daemons.greeted).toEqual([['init'], ['init'], ['init'], ['init'], ['init'], ['init']]);
});

test('where somebody listens, the next daemon is asked at once', async () => {
  const clock = new TurnedClock();
  await using daemons = await new Daemons().listen();
  await using bridge = await openBridge(clock);
  bridge.say(call(1));
  await daemons.hear(1);
  await daemons.die(1);
  daemons.say({ id: 1, result: {} });
  await until(() => bridge.messages.length === 1);
  expect(clock.monotonicMs()).toBe(0);
});
