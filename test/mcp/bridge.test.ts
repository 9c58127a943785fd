import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, SystemClock } from '../../src/base/clock.ts';
import { Secret } from '../../src/base/secrets.ts';
import { FrameReader, frameOf, parseFrame, REFUSED } from '../../src/mcp/frames.ts';
import { runBridge } from '../../src/mcp/mcp.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { RememberedCalls } from '../tools/sample.ts';
import { type Message, openHost, scratch, until } from './host.ts';

let path = '';
beforeEach(async () => {
  path = join(await scratch(), 'mcp.sock');
});
afterEach(() => rm(dirname(path), { recursive: true, force: true }));

/** A bridge, with what its client has read so far. */
function openBridge(clock: Clock = new SystemClock(), token?: Secret) {
  const input = new PassThrough();
  const output = new PassThrough();
  const messages: Message[] = [];
  const reader = new FrameReader();
  output.on('data', (chunk: Buffer) =>
    reader.push(chunk, (frame) => messages.push(parseFrame(frame) as Message)),
  );
  const controller = new AbortController();
  const log = new RememberedLog();
  const { signal } = controller;
  const random = new CountingRandom();
  const options = { socketPath: path, input, output, clock, random, log, token, signal };
  const done = runBridge(options);
  return {
    input,
    messages,
    log,
    controller,
    done,
    say: (...values: readonly unknown[]) => input.write(values.map(frameOf).join('')),
    answerTo: async (id: unknown): Promise<Message> => {
      await until(() => messages.some((message) => message.id === id));
      return messages.find((message) => message.id === id) ?? {};
    },
  };
}

const request = (id: number | string, method: string, params: unknown = {}) => ({
  jsonrpc: '2.0',
  id,
  method,
  params,
});
const call = (id: number | string, name: string, values: unknown = {}) =>
  request(id, 'tools/call', { name, arguments: values });
const INITIALIZE = request(0, 'initialize', {
  protocolVersion: '2025-06-18',
  capabilities: {},
  clientInfo: { name: 'law', version: '1' },
});
const INITIALIZED = { jsonrpc: '2.0', method: 'notifications/initialized' };

/** A daemon that does as the test says with each line of each connection, the first being 0. */
async function fakeDaemon(onLine: (line: Message, socket: Socket, connection: number) => void) {
  let connections = 0;
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    const connection = connections;
    connections += 1;
    sockets.push(socket);
    const reader = new FrameReader();
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) =>
      reader.push(chunk, (frame) => onLine(parseFrame(frame) as Message, socket, connection)),
    );
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    server,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

const answer = (socket: Socket, id: unknown, result: unknown = {}) =>
  socket.write(frameOf({ jsonrpc: '2.0', id, result }));

describe('the bridge', () => {
  test('carries what is said both ways, and ends when the input has and all is answered', async () => {
    await using host = await openHost({ path });
    const { say, input, messages, done } = openBridge();
    say(INITIALIZE, INITIALIZED, request('l', 'tools/list'), call('c', 'sample_wait'));
    input.end();
    await until(() => host.sample.waiting.started.length > 0 && messages.length === 2);
    host.sample.waiting.open();
    await done;
    expect(messages.map(({ id }) => id)).toEqual([0, 'l', 'c']);
    expect(messages[2]).toMatchObject({ result: { structuredContent: { status: 'success' } } });
  });

  test('carries a broken line too, and its error back', async () => {
    await using _host = await openHost({ path });
    const { input, messages, done } = openBridge();
    input.write('{"jsonrpc":\n');
    await until(() => messages.length > 0);
    input.end();
    await done;
    expect(messages).toMatchObject([{ id: null, error: { code: -32700 } }]);
  });

  test('carries a call that is nested deeper than it can write', async () => {
    await using _host = await openHost({ path });
    const { say, answerTo, input, done } = openBridge();
    const nested = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    const params = `{"name":"sample_echo","arguments":{"path":${nested}}}`;
    input.write(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}\n`);
    say(request(2, 'ping'));
    expect(await answerTo(2)).toMatchObject({ result: {} });
    input.end();
    await done;
  });

  test('takes for a cancellation only what is no request', async () => {
    await using _host = await openHost({ path });
    const { say, answerTo, input, done } = openBridge();
    say(request(1, 'ping'), request(2, 'notifications/cancelled', { requestId: 1 }));
    expect(await answerTo(1)).toMatchObject({ result: {} });
    expect(await answerTo(2)).toMatchObject({ error: {} });
    input.end();
    await done;
  });

  test('passes on from the daemon what is a message, and nothing else', async () => {
    const daemon = await fakeDaemon((line, socket) => {
      socket.write('{"id":\n[]\nnoise\n7\n');
      answer(socket, line.id);
    });
    const { say, messages, input, done } = openBridge();
    say(request(1, 'ping'));
    await until(() => messages.length > 0);
    input.end();
    await done;
    daemon.close();
    expect(messages).toEqual([{ jsonrpc: '2.0', id: 1, result: {} }]);
  });

  test('survives a restart of the daemon: the handshake is repeated, and the client sees one', async () => {
    const first = await openHost({ path });
    const bridge = openBridge();
    bridge.say(INITIALIZE, INITIALIZED, call('a', 'sample_echo', { path: '/a' }));
    await bridge.answerTo('a');
    await first[Symbol.asyncDispose]();

    await using second = await openHost({ path });
    bridge.say(call('b', 'sample_wait'));
    await until(() => second.sample.waiting.started.length > 0);
    const [context] = second.sample.waiting.started;
    expect(context?.session.client).toEqual({ name: 'law', version: '1' });
    second.sample.waiting.open();
    expect(await bridge.answerTo('b')).toMatchObject({
      result: { structuredContent: { status: 'success' } },
    });
    expect(bridge.messages.map(({ id }) => id)).toEqual([0, 'a', 'b']);
    bridge.input.end();
    await bridge.done;
  });

  test('presents the token for the client, in every handshake, and says it to nobody else', async () => {
    const shakes: Message[] = [];
    const daemon = await fakeDaemon((line, socket, connection) => {
      if (line.method === 'initialize') shakes.push(line);
      socket.write(frameOf({ jsonrpc: '2.0', id: line.id, result: {} }));
      if (line.method === 'ping' && connection === 0) socket.destroy();
    });
    const token = new Secret('s3cret', { kind: 'env', name: 'TOKEN' });
    const bridge = openBridge(undefined, token);
    bridge.say(INITIALIZE);
    await bridge.answerTo(0);
    bridge.say(request(1, 'ping'));
    await until(() => shakes.length === 2);
    expect(shakes.map(({ params }) => params)).toEqual([
      ...[0, 1].map(() => ({
        ...(INITIALIZE.params as object),
        _meta: { 'kitfs/token': 's3cret' },
      })),
    ]);
    bridge.input.end();
    await bridge.done;
    expect(JSON.stringify([bridge.messages, bridge.log.lines])).not.toContain('s3cret');
    daemon.close();
  });

  test('that is refused says why to every request, and does not ask the daemon again', async () => {
    let connections = 0;
    const daemon = await fakeDaemon((line, socket, connection) => {
      connections = connection + 1;
      socket.end(frameOf({ jsonrpc: '2.0', id: line.id, error: { code: REFUSED, message: 'no' } }));
    });
    const bridge = openBridge();
    bridge.say(INITIALIZE, call(1, 'sample_echo'));
    const refused = { error: { code: REFUSED, message: 'no' } };
    expect(await bridge.answerTo(0)).toMatchObject(refused);
    expect(await bridge.answerTo(1)).toMatchObject(refused);
    bridge.say(call(2, 'sample_echo'));
    expect(await bridge.answerTo(2)).toMatchObject(refused);
    bridge.input.end();
    await bridge.done;
    expect(connections).toBe(1);
    expect(bridge.log.lines).toMatchObject([{ level: 'warn', message: 'no' }]);
    daemon.close();
  });

  test('the next daemon, when it refuses, is not asked again, and what waited hears why', async () => {
    let connections = 0;
    const daemon = await fakeDaemon((line, socket, connection) => {
      connections = connection + 1;
      const { id } = line;
      if (connection === 0 && line.method === 'ping') socket.destroy();
      else if (connection === 0) socket.write(frameOf({ jsonrpc: '2.0', id, result: {} }));
      else socket.end(frameOf({ jsonrpc: '2.0', id, error: { code: REFUSED, message: 'no' } }));
    });
    const bridge = openBridge();
    bridge.say(INITIALIZE);
    await bridge.answerTo(0);
    bridge.say(request(1, 'ping'));
    expect(await bridge.answerTo(1)).toMatchObject({ error: { code: REFUSED, message: 'no' } });
    bridge.input.end();
    await bridge.done;
    expect(connections).toBe(2);
    daemon.close();
  });

  test('a call whose daemon was lost is run by the next one', async () => {
    const first = await openHost({ path });
    const bridge = openBridge();
    bridge.say(INITIALIZE, INITIALIZED, call('a', 'sample_change'));
    await until(() => first.sample.waiting.started.length > 0);
    await first[Symbol.asyncDispose]();
    await using second = await openHost({ path });
    await until(() => second.sample.waiting.started.length > 0);
    second.sample.waiting.open();
    expect(await bridge.answerTo('a')).toMatchObject({
      result: { structuredContent: { status: 'success' } },
    });
    bridge.input.end();
    await bridge.done;
  });

  test('a call that a lost daemon had run is answered by the next one, and not run', async () => {
    const keptCalls = new RememberedCalls();
    const first = await openHost({ path, keptCalls });
    const bridge = openBridge();
    bridge.say(INITIALIZE, INITIALIZED, call('a', 'sample_change', { stubborn: true }));
    await until(() => first.sample.waiting.started.length > 0);
    // It goes on to its end when its connection is gone, as a commit does.
    first.sample.waiting.started[0]?.signal.addEventListener('abort', () =>
      first.sample.waiting.open(),
    );
    await first[Symbol.asyncDispose]();

    await using second = await openHost({ path, keptCalls });
    expect(await bridge.answerTo('a')).toMatchObject({
      result: { structuredContent: { status: 'success', data: { waited: true } } },
    });
    expect(second.sample.waiting.started).toEqual([]);
    bridge.input.end();
    await bridge.done;
  });

  test('asks again what changes nothing', async () => {
    const lines: unknown[] = [];
    const daemon = await fakeDaemon(({ id, method }, socket, connection) => {
      lines.push([connection, method]);
      if (connection === 0) socket.destroy();
      else answer(socket, id);
    });
    const bridge = openBridge();
    bridge.say(INITIALIZE);
    await bridge.answerTo(0);
    expect(lines).toEqual([
      [0, 'initialize'],
      [1, 'initialize'],
    ]);
    bridge.input.end();
    await bridge.done;
    daemon.close();
  });

  test('sends again, whole, a line that was cut off', async () => {
    const whole: unknown[] = [];
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.on('error', () => {});
      if (connections === 1) {
        // Its buffer is full long before the line has ended.
        socket.once('data', () => socket.destroy());
        return;
      }
      const reader = new FrameReader();
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (frame) => {
          const { id, params } = parseFrame(frame) as Message & { params: { text: string } };
          whole.push([id, params.text.length]);
          answer(socket, id);
        }),
      );
    });
    server.listen(path);
    await once(server, 'listening');
    const bridge = openBridge();
    bridge.say(request('big', 'tools/call', { text: 'x'.repeat(4_000_000) }));
    expect(await bridge.answerTo('big')).toMatchObject({ result: {} });
    expect(whole).toEqual([['big', 4_000_000]]);
    bridge.input.end();
    await bridge.done;
    server.close();
  });

  test('keeps the order of what waits for a daemon', async () => {
    const clock = new TurnedClock();
    const bridge = openBridge(clock);
    for (let id = 1; id <= 20; id += 1) bridge.say(request(id, 'ping'));
    await until(() => clock.sleeping > 0);
    await using _host = await openHost({ path });
    await clock.turn(20);
    await bridge.answerTo(20);
    expect(bridge.messages.map(({ id }) => id)).toEqual(
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    bridge.input.end();
    await bridge.done;
  });

  test('waits eight seconds for a daemon, says so then, and looks again for the next request', async () => {
    const clock = new TurnedClock();
    const bridge = openBridge(clock);
    bridge.say(request(1, 'ping'));
    while (bridge.messages.length === 0) {
      if (clock.sleeping > 0) await clock.turn(20);
      else await settle();
    }
    expect(clock.monotonicMs()).toBe(8000);
    expect(bridge.messages).toMatchObject([{ id: 1, error: { code: -32000 } }]);
    await using _host = await openHost({ path });
    bridge.say(request(2, 'ping'));
    expect(await bridge.answerTo(2)).toMatchObject({ result: {} });
    bridge.input.end();
    await bridge.done;
  });

  test('ends with its input when there is no daemon, everything answered', async () => {
    const bridge = openBridge();
    bridge.say(request(1, 'ping'));
    bridge.input.end();
    await bridge.done;
    expect(bridge.messages).toMatchObject([{ id: 1, error: { code: -32000 } }]);
  });

  test('gives the last answers five seconds', async () => {
    const clock = new TurnedClock();
    await using host = await openHost({ path });
    const bridge = openBridge(clock);
    bridge.say(call(1, 'sample_wait'));
    await until(() => host.sample.waiting.started.length > 0);
    bridge.input.end();
    await until(() => clock.sleeping > 0);
    await clock.turn(5000);
    await bridge.done;
    await until(() => host.sample.waiting.started[0]?.signal.aborted === true);
    expect(bridge.messages).toEqual([]);
  });

  test('does not wait for the answer to what was cancelled', async () => {
    const clock = new TurnedClock();
    await using host = await openHost({ path });
    const bridge = openBridge(clock);
    bridge.say(call(1, 'sample_wait'));
    await until(() => host.sample.waiting.started.length > 0);
    bridge.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    bridge.input.end();
    await bridge.done;
    expect(clock.monotonicMs()).toBe(0);
  });

  test('ends when it is told to', async () => {
    const bridge = openBridge();
    bridge.controller.abort();
    await bridge.done;
  });
});

test('the face of the module loads nothing but parts of Node', async () => {
  const root = fileURLToPath(new URL('../../src/', import.meta.url));
  const seen = new Set<string>();
  const visit = async (file: string): Promise<void> => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = await readFile(file, 'utf8');
    const targets = text.matchAll(/^(?:import|export) (?!type )[^;]*? from '([^']+)';/gm);
    for (const [, target = ''] of targets) {
      if (target.startsWith('.')) await visit(join(dirname(file), target));
      else expect(target).toMatch(/^node:/);
    }
  };
  await visit(join(root, 'mcp/mcp.ts'));
  expect(seen).toContain(join(root, 'mcp/bridge.ts'));
  expect(seen).not.toContain(join(root, 'mcp/protocol.ts'));
});
