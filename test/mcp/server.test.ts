import { connect } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { FRAME_BYTES_MAX } from '../../src/base/limits.ts';
import { SocketTransport } from '../../src/mcp/transport.ts';
import { UNLIMITED } from '../../src/tools/ceiling.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { openHost, RawClient, until } from './host.ts';

/** The SDK's own client on the socket. */
async function sdkClient(path: string): Promise<Client> {
  const socket = connect({ path });
  socket.pause();
  const transport = new SocketTransport(socket, {
    clock: new SystemClock(),
    gate: (message) => ({ pass: message as never }),
  });
  const client = new Client({ name: 'law', version: '1' });
  await client.connect(transport as unknown as Transport);
  return client;
}

describe('the SDK client', () => {
  test('initialises, lists and calls', async () => {
    await using host = await openHost();
    const client = await sdkClient(host.path);
    expect(client.getServerVersion()).toEqual({ name: 'kitfs', version: '1.2.3' });
    expect(client.getServerCapabilities()).toEqual({
      tools: { listChanged: false },
      experimental: { 'kitfs/idempotency': {} },
    });
    expect(client.getInstructions()).toContain('/home/me/kitfs');
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(
      host.sample.registry.allowed(UNLIMITED).map(({ name }) => name),
    );
    const record = await client.callTool({ name: 'sample_echo', arguments: { path: '/a' } });
    expect(record.structuredContent).toMatchObject({ status: 'success', data: { path: '/a' } });
    const content = await client.callTool({ name: 'sample_bytes', arguments: { text: 'abc' } });
    expect(content.content).toMatchObject([{ type: 'text' }, { text: 'abc' }, { size: 3 }]);
    const failed = await client.callTool({ name: 'sample_fail', arguments: { how: 'not-found' } });
    expect(failed).toMatchObject({ isError: true, structuredContent: { error_code: 'NOT_FOUND' } });
    await expect(client.callTool({ name: 'sample_nope' })).rejects.toMatchObject({ code: -32602 });
    await client.close();
  });

  test('is who the journal names', async () => {
    await using host = await openHost();
    const client = await sdkClient(host.path);
    const answer = client.callTool({ name: 'sample_wait' });
    await until(() => host.sample.waiting.started.length > 0);
    expect(host.sample.waiting.started[0]?.caller.actor()).toMatchObject({
      surface: 'mcp',
      client: 'law',
      tool: 'sample_wait',
      pid: process.pid,
    });
    host.sample.waiting.open();
    await answer;
    await client.close();
  });

  test('is told of progress, each time of more', async () => {
    const clock = new TurnedClock();
    await using host = await openHost({ clock });
    const client = await sdkClient(host.path);
    const seen: number[] = [];
    const answer = client.callTool({ name: 'sample_wait', arguments: { steps: 3 } }, undefined, {
      onprogress: ({ progress }) => seen.push(progress),
    });
    await until(() => host.sample.waiting.started.length > 0);
    await clock.turn(9900);
    host.sample.waiting.open();
    await answer;
    // Three steps at once are one notification; then one sign of life every four and a half seconds.
    expect(seen).toEqual([3, 3.5, 3.75]);
    await client.close();
  });
});

describe('a bad message', () => {
  test.each([
    ['{"jsonrpc":', -32700, null],
    ['[]', -32600, null],
    ['7', -32600, null],
    ['{"jsonrpc":"2.0","id":5}', -32600, 5],
    ['{"jsonrpc":"1.0","id":"x","method":"ping"}', -32600, 'x'],
    ['{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, null],
    ['{"jsonrpc":"2.0","id":5,"method":"ping","params":[]}', -32600, 5],
    ['{"jsonrpc":"2.0","method":7}', -32600, null],
    ['{"jsonrpc":"2.0","id":5,"method":"server/discover"}', -32601, 5],
    ['{"jsonrpc":"2.0","id":5,"method":"resources/list"}', -32601, 5],
    ['{"jsonrpc":"2.0","id":5,"method":"initialize","params":{}}', -32602, 5],
    ['{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{}}', -32602, 5],
    ['{"jsonrpc":"2.0","id":5,"method":"tools/call"}', -32602, 5],
    ['{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"nope"}}', -32602, 5],
  ])('%s is answered, and the connection lives', async (line, code, id) => {
    await using host = await openHost();
    await using client = new RawClient(host.path);
    client.socket.write(`${line}\n`);
    expect(await client.next()).toMatchObject({ jsonrpc: '2.0', id, error: { code } });
    expect(await client.ping('after')).toMatchObject({ result: {} });
  });

  test('that is an answer to nothing is dropped', async () => {
    await using host = await openHost();
    await using client = new RawClient(host.path);
    client.send({ jsonrpc: '2.0', id: 1, result: {} });
    await client.ping('after');
    expect(client.messages).toHaveLength(1);
  });

  test('that cannot be framed is answered and ends its connection, and no other', async () => {
    await using host = await openHost();
    await using other = new RawClient(host.path);
    await other.ping('before');
    await using client = new RawClient(host.path);
    client.socket.write(Buffer.alloc(FRAME_BYTES_MAX + 1, 'x'));
    expect(await client.next()).toMatchObject({ id: null, error: { code: -32600 } });
    await client.closed;
    expect(await other.ping('after')).toMatchObject({ result: {} });
  });
});

test('a client cannot pass for our command line in the journal', async () => {
  await using host = await openHost();
  await using client = new RawClient(host.path);
  const clientInfo = { name: 'kitfs-cli', version: '1' };
  const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo };
  client.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
  client.call(2, 'sample_wait');
  await until(() => host.sample.waiting.started.length > 0);
  expect(host.sample.waiting.started[0]?.caller.actor().surface).toBe('mcp');
});

describe('a call', () => {
  test.each([0, 1, 'a'])('cancelled by its id %j sends nothing more', async (id) => {
    await using host = await openHost();
    await using client = new RawClient(host.path);
    client.call(id, 'sample_wait', {}, { progressToken: 1 });
    await until(() => host.sample.waiting.started.length > 0);
    const params = { requestId: id, reason: 'enough' };
    client.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params });
    await until(() => host.sample.waiting.started[0]?.signal.aborted === true);
    // Its id is free again, and its late answer is not taken for that of the next call.
    await client.ping('after');
    client.call(id, 'sample_echo', { path: '/a' });
    expect(await client.next()).toMatchObject({
      id,
      result: { structuredContent: { data: { path: '/a' } } },
    });
    expect(client.messages).toHaveLength(2);
  });

  test('is told to end when its connection closes, even the peer’s way', async () => {
    await using host = await openHost();
    const client = new RawClient(host.path);
    client.call(1, 'sample_wait');
    await until(() => host.sample.waiting.started.length > 0);
    client.socket.end();
    await until(() => host.sample.waiting.started[0]?.signal.aborted === true);
    await client.closed;
    await until(() => host.server.connections === 0);
  });

  test('is answered RATE_LIMITED as the 33rd in flight, and only it', async () => {
    await using host = await openHost();
    await using client = new RawClient(host.path);
    for (let id = 1; id <= 33; id += 1) client.call(id, 'sample_wait');
    expect(await client.next()).toMatchObject({
      id: 33,
      result: {
        isError: true,
        structuredContent: {
          error_code: 'RATE_LIMITED',
          context: { retryable: true, retry_after_ms: 100 },
        },
      },
    });
    host.sample.waiting.open();
    for (let id = 1; id <= 32; id += 1) expect(await client.next()).toMatchObject({ id });
    client.call(34, 'sample_echo', { path: '/a' });
    expect(await client.next()).toMatchObject({
      id: 34,
      result: { structuredContent: { status: 'success' } },
    });
  });

  test('under an id that is in use is refused, and the first is answered', async () => {
    await using host = await openHost();
    await using client = new RawClient(host.path);
    client.call(1, 'sample_wait');
    client.call(1, 'sample_echo', { path: '/a' });
    expect(await client.next()).toMatchObject({ id: null, error: { code: -32600 } });
    host.sample.waiting.open();
    expect(await client.next()).toMatchObject({
      id: 1,
      result: { structuredContent: { data: { waited: true } } },
    });
  });

  test('of a quick tool is answered though the client has said its last word', async () => {
    await using host = await openHost();
    await using client = new RawClient(host.path);
    client.call(1, 'sample_echo', { path: '/a' });
    client.socket.end();
    expect(await client.next()).toMatchObject({ id: 1 });
  });
});

test('a client that reads nothing is not read from, and disturbs nobody', async () => {
  await using host = await openHost();
  await using lazy = new RawClient(host.path);
  lazy.socket.pause();
  for (let id = 0; id < 400; id += 1) lazy.call(id, 'sample_bytes', { text: 'x'.repeat(1000) });
  for (let id = 0; id < 2000; id += 1)
    lazy.send({ jsonrpc: '2.0', id: `l${id}`, method: 'tools/list' });
  await using client = new RawClient(host.path);
  for (let id = 0; id < 50; id += 1) await client.ping(`p${id}`);
  // What it says is more than the kernel holds, so that the rest is still with it.
  expect(lazy.socket.writableLength).toBeGreaterThan(0);
  lazy.socket.resume();
  let count = 0;
  while (count < 2400) {
    await lazy.next();
    count += 1;
  }
});

test('a closed server has told its calls to end and removed its socket', async () => {
  const host = await openHost();
  const client = new RawClient(host.path);
  client.call(1, 'sample_wait');
  await until(() => host.sample.waiting.started.length > 0);
  await host[Symbol.asyncDispose]();
  expect(host.sample.waiting.started[0]?.signal.aborted).toBe(true);
  await client.closed;
  const late = new RawClient(host.path);
  await late.closed;
  expect(late.messages).toEqual([]);
});
