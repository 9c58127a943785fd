/** What a connection may do at most, by its socket and by the token it presents. */
import { expect, test } from 'vitest';
import { REFUSED } from '../../src/mcp/frames.ts';
import type { TokenDesk } from '../../src/mcp/mcp.ts';
import { READ_ONLY, UNLIMITED } from '../../src/tools/tools.ts';
import { type Message, openHost, RawClient } from './host.ts';

const SECRET = 's3cret-of-the-reader';

const desk = (isRequired: boolean): TokenDesk => ({
  isRequired,
  find: (candidate) =>
    candidate === SECRET
      ? { name: 'reader', ceiling: { ...UNLIMITED, tools: new Set(['sample_echo']) } }
      : undefined,
});

const initialize = (token?: unknown, id = 'hello') => ({
  jsonrpc: '2.0',
  id,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'test', version: '1' },
    ...(token === undefined ? {} : { _meta: { 'kitfs/token': token } }),
  },
});

const list = { jsonrpc: '2.0', id: 'list', method: 'tools/list' };
const namesIn = ({ result }: Message): unknown =>
  ((result?.['tools'] ?? []) as { name: string }[]).map(({ name }) => name);
const codeIn = ({ result }: Message): unknown =>
  ((result?.['structuredContent'] ?? {}) as { error_code?: string }).error_code;

test('on a read-only socket only tools that change nothing are listed and run', async () => {
  await using host = await openHost({ ceiling: READ_ONLY });
  await using client = new RawClient(host.path);
  client.send(initialize(), list);
  await client.next();
  expect(namesIn(await client.next())).not.toContain('sample_change');
  client.call(1, 'sample_change');
  expect(codeIn(await client.next())).toBe('TOOL_NOT_ALLOWED');
  client.call(2, 'sample_echo', { path: '/ipfs/a' });
  expect(codeIn(await client.next())).toBeUndefined();
});

test('a token lowers what its connection may do, and no other', async () => {
  await using host = await openHost({ tokens: desk(false) });
  await using reader = new RawClient(host.path);
  await using other = new RawClient(host.path);
  reader.send(initialize(SECRET), list);
  other.send(initialize(), list);
  expect(await reader.next()).toMatchObject({ id: 'hello', result: {} });
  expect(namesIn(await reader.next())).toEqual(['sample_echo']);
  reader.call(1, 'sample_change');
  expect(codeIn(await reader.next())).toBe('TOOL_NOT_ALLOWED');
  await other.next();
  expect(namesIn(await other.next())).toContain('sample_change');
});

test('jobs of one token are not those of who has none', async () => {
  await using host = await openHost({ tokens: desk(false) });
  const { jobs } = host.sample.ports;
  const principals: string[] = [];
  const start = jobs.start.bind(jobs);
  jobs.start = (options) => {
    principals.push(options.principal);
    return start(options);
  };
  const all: TokenDesk = { ...desk(false), find: () => ({ name: 'all', ceiling: UNLIMITED }) };
  await using other = await openHost({ tokens: all });
  const theirs = other.sample.ports.jobs;
  const begin = theirs.start.bind(theirs);
  theirs.start = (options) => {
    principals.push(options.principal);
    return begin(options);
  };
  for (const { path } of [host, other]) {
    await using client = new RawClient(path);
    client.send(initialize(path === other.path ? 'any' : undefined));
    await client.next();
    client.call(1, 'sample_job', { wait_ms: 0 });
    await client.next();
  }
  const uid = process.getuid?.();
  expect(principals).toEqual([`uid:${uid}`, `uid:${uid} token:all`]);
});

test.each([
  ['a wrong one', 'guess'],
  ['something else than text', { toString: SECRET }],
  ['an empty one', ''],
])('who presents %s is refused and hung up on, and the log does not tell it', async (_, token) => {
  await using host = await openHost({ tokens: desk(false) });
  await using client = new RawClient(host.path);
  client.send(initialize(token), list);
  expect(await client.next()).toMatchObject({ id: 'hello', error: { code: REFUSED } });
  client.socket.end();
  await client.closed;
  expect(client.messages).toHaveLength(1);
  const { lines } = host.sample.log;
  expect(lines).toMatchObject([{ level: 'warn' }]);
  expect(JSON.stringify(lines)).not.toMatch(/guess|s3cret/);
});

test('where a token is required, nothing is listed or run before it is presented', async () => {
  await using host = await openHost({ tokens: desk(true) });
  await using eager = new RawClient(host.path);
  eager.send(list);
  expect(namesIn(await eager.next())).toEqual([]);
  eager.call(1, 'sample_echo', { text: 'hi' });
  expect(codeIn(await eager.next())).toBe('TOOL_NOT_ALLOWED');
  eager.send(initialize());
  expect(await eager.next()).toMatchObject({ error: { code: REFUSED } });
  await using client = new RawClient(host.path);
  client.send(initialize(SECRET));
  await client.next();
  client.call(1, 'sample_echo', { path: '/ipfs/a' });
  expect(codeIn(await client.next())).toBeUndefined();
});

test('a second handshake cannot take the ceiling away again', async () => {
  const two: TokenDesk = {
    isRequired: false,
    find: (candidate) =>
      candidate === 'all' ? { name: 'all', ceiling: UNLIMITED } : desk(false).find(candidate),
  };
  await using host = await openHost({ tokens: two });
  await using client = new RawClient(host.path);
  client.send(initialize(SECRET), initialize(undefined, 'again'), list);
  await client.next();
  await client.next();
  expect(namesIn(await client.next())).toEqual(['sample_echo']);
  client.send(initialize('all', 'third'));
  expect(await client.next()).toMatchObject({ id: 'third', error: { code: REFUSED } });
});
