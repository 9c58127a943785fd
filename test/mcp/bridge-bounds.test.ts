/** What the bridge does at its bounds and at its end. */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { BRIDGE_REQUESTS_MAX } from '../../src/base/limits.ts';
import { FrameReader, frameOf, parseFrame } from '../../src/mcp/frames.ts';
import { runBridge } from '../../src/mcp/mcp.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { type Message, scratch, until } from './host.ts';

let path = '';
beforeEach(async () => {
  path = join(await scratch(), 'mcp.sock');
});
afterEach(() => rm(dirname(path), { recursive: true, force: true }));

/** A bridge whose client reads when it is told to. */
function openBridge(clock: Clock = new SystemClock()) {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const controller = new AbortController();
  const { signal } = controller;
  const log = new RememberedLog();
  const messages: Message[] = [];
  const read = () => {
    const reader = new FrameReader();
    output.on('data', (chunk: Buffer) =>
      reader.push(chunk, (frame) => messages.push(parseFrame(frame) as Message)),
    );
  };
  const random = new CountingRandom();
  const done = runBridge({ socketPath: path, input, output, clock, random, log, signal });
  const say = (message: object) => input.write(frameOf({ jsonrpc: '2.0', ...message }));
  return { input, output, controller, messages, read, done, say };
}

/** A daemon that says nothing by itself, and remembers what it was told on each connection. */
class Mute implements AsyncDisposable {
  readonly sockets: Socket[] = [];
  readonly told: Message[][] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((socket) => {
      const told: Message[] = [];
      this.sockets.push(socket);
      this.told.push(told);
      const reader = new FrameReader();
      socket.on('error', () => {});
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (frame) => told.push(parseFrame(frame) as Message)),
      );
    });
  }

  async listen(): Promise<this> {
    this.#server.listen(path);
    await once(this.#server, 'listening');
    return this;
  }

  say(message: object, connection = 0): void {
    this.sockets[connection]?.write(frameOf({ jsonrpc: '2.0', ...message }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

test('no more is read from a client while too many of its requests have no answer', async () => {
  await using daemon = await new Mute().listen();
  const bridge = openBridge();
  bridge.read();
  const total = BRIDGE_REQUESTS_MAX + 100;
  for (let id = 1; id <= total; id += 1) bridge.say({ id, method: 'tools/call' });
  await until(() => daemon.told[0]?.length === BRIDGE_REQUESTS_MAX + 1);
  await settle();
  expect(bridge.input.isPaused()).toBe(true);
  expect(daemon.told[0]).toHaveLength(BRIDGE_REQUESTS_MAX + 1);

  for (let id = 1; id <= 100; id += 1) daemon.say({ id, result: {} });
  await until(() => daemon.told[0]?.length === total);
  for (let id = 101; id <= total; id += 1) daemon.say({ id, result: {} });
  bridge.input.end();
  await bridge.done;
  await until(() => bridge.messages.length === total);
  expect(bridge.messages.at(-1)?.id).toBe(total);
});

test('a client that does not read holds the daemon back, and loses nothing', async () => {
  await using daemon = await new Mute().listen();
  const bridge = openBridge();
  await until(() => daemon.sockets.length === 1);
  const [count, size] = [20, 1_000_000];
  for (let n = 0; n < count; n += 1) daemon.say({ method: 'n', params: 'x'.repeat(size) });
  await until(() => bridge.output.readableLength > 0);
  // Enough turns for all of it, were it taken.
  for (let turn = 0; turn < 1000; turn += 1) await settle();
  expect(bridge.output.readableLength + bridge.output.writableLength).toBeLessThan(3 * size);
  bridge.read();
  await until(() => bridge.messages.length === count);
  bridge.input.end();
  await bridge.done;
});

test('a question of the daemon is carried, and is not the answer to a request of its number', async () => {
  await using daemon = await new Mute().listen();
  const bridge = openBridge();
  bridge.read();
  bridge.say({ id: 1, method: 'tools/call' });
  await until(() => daemon.told[0]?.length === 1);
  daemon.say({ id: 1, method: 'ping' });
  await until(() => bridge.messages.length === 1);
  daemon.sockets[0]?.destroy();
  await until(() => bridge.messages.length === 2);
  expect(bridge.messages).toMatchObject([
    { id: 1, method: 'ping' },
    { id: 1, error: { code: -32000 } },
  ]);
  bridge.input.end();
  await bridge.done;
});

test.each([[undefined], [{}]])('a cancellation of nothing, %j, cancels nothing', async (params) => {
  await using daemon = await new Mute().listen();
  const bridge = openBridge();
  bridge.read();
  bridge.say({ id: 1, method: 'tools/call' });
  bridge.say({ method: 'notifications/cancelled', params });
  await until(() => daemon.told[0]?.length === 2);
  bridge.input.end();
  await once(bridge.input, 'end');
  daemon.say({ id: 1, result: {} });
  await bridge.done;
  expect(bridge.messages).toMatchObject([{ id: 1, result: {} }]);
});

test('a client that had not ended its handshake is not said to have, after a restart', async () => {
  await using daemon = await new Mute().listen();
  const bridge = openBridge();
  bridge.read();
  bridge.say({ id: 0, method: 'initialize' });
  await until(() => daemon.told[0]?.length === 1);
  daemon.say({ id: 0, result: {} });
  await until(() => bridge.messages.length === 1);
  daemon.sockets[0]?.destroy();
  await until(() => daemon.told[1]?.length === 1);
  daemon.say({ id: 0, result: {} }, 1);
  bridge.say({ id: 1, method: 'ping' });
  await until(() => daemon.told[1]?.length === 2);
  expect(daemon.told[1]?.map(({ method }) => method)).toEqual(['initialize', 'ping']);
  daemon.say({ id: 1, result: {} }, 1);
  bridge.input.end();
  await bridge.done;
  expect(bridge.messages.map(({ id }) => id)).toEqual([0, 1]);
});

test('a client that has ended is owed its answers still, over a restart too', async () => {
  await using daemon = await new Mute().listen();
  const bridge = openBridge();
  bridge.read();
  bridge.say({ id: 1, method: 'ping' });
  bridge.input.end();
  await until(() => daemon.told[0]?.length === 1 && bridge.input.readableEnded);
  daemon.sockets[0]?.destroy();
  await until(() => daemon.told[1]?.length === 1);
  daemon.say({ id: 1, result: {} }, 1);
  await bridge.done;
  expect(bridge.messages).toMatchObject([{ id: 1, result: {} }]);
});

test('a client that has ended waits five seconds for a daemon that went away', async () => {
  const clock = new TurnedClock();
  const daemon = await new Mute().listen();
  const bridge = openBridge(clock);
  bridge.read();
  bridge.say({ id: 1, method: 'ping' });
  bridge.input.end();
  await until(() => daemon.told[0]?.length === 1 && bridge.input.readableEnded);
  await daemon[Symbol.asyncDispose]();
  while (clock.monotonicMs() < 5000) {
    await until(() => clock.sleeping > 1);
    expect(bridge.messages).toEqual([]);
    await clock.turn(20);
  }
  await bridge.done;
  await until(() => bridge.messages.length > 0);
  expect(bridge.messages).toMatchObject([{ id: 1, error: { code: -32000 } }]);
});

test('the end of input ends the wait for a daemon, and only requests are answered', async () => {
  const clock = new TurnedClock();
  const bridge = openBridge(clock);
  bridge.read();
  bridge.say({ method: 'notifications/initialized' });
  bridge.say({ id: 1, method: 'ping' });
  await until(() => clock.sleeping > 0);
  bridge.input.end();
  await bridge.done;
  await until(() => bridge.messages.length > 0);
  expect(bridge.messages).toMatchObject([{ id: 1, error: { code: -32000 } }]);
  expect(clock.monotonicMs()).toBe(0);
});

test('a connection that is made after the end is closed, with nothing said', async () => {
  await using daemon = await new Mute().listen();
  const bridge = openBridge();
  bridge.say({ id: 1, method: 'ping' });
  bridge.controller.abort();
  await bridge.done;
  await until(() => daemon.sockets[0]?.readableEnded === true);
  expect(daemon.told).toEqual([[]]);
});

test('a bridge that is told to end before it begins connects to nobody', async () => {
  await using daemon = await new Mute().listen();
  const [input, output] = [new PassThrough(), new PassThrough()];
  const clock = new SystemClock();
  const signal = AbortSignal.abort();
  const [log, random] = [new RememberedLog(), new CountingRandom()];
  await runBridge({ socketPath: path, input, output, clock, random, log, signal });
  for (let turn = 0; turn < 10; turn += 1) await settle();
  expect(daemon.sockets).toEqual([]);
});
