import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../src/backend/backend.ts';
import { authorizationOf } from '../../src/backend/http/address.ts';
import { calling, engineAt, secretOf } from './engine.ts';
import { Server } from './server.ts';

const inRepository = async (api: string | undefined): Promise<unknown> => {
  const repository = mkdtempSync(join(tmpdir(), 'kitfs-repository-'));
  try {
    if (api !== undefined) writeFileSync(join(repository, 'api'), api);
    return await parseEndpoint(repository)?.resolve();
  } finally {
    rmSync(repository, { recursive: true });
  }
};

describe('where a node answers', () => {
  test.each([
    ['http://127.0.0.1:5001', { host: '127.0.0.1', port: 5001 }],
    ['http://127.0.0.1:5001/', { host: '127.0.0.1', port: 5001 }],
    ['http://[::1]:5001', { host: '::1', port: 5001 }],
    ['http://kubo.example', { host: 'kubo.example', port: 80 }],
    ['unix:/run/kubo.sock', { socketPath: '/run/kubo.sock' }],
  ])('is told by %s', async (text, address) => {
    expect(await parseEndpoint(text)?.resolve()).toEqual(address);
  });

  test.each([
    '',
    'kubo',
    'unix:',
    'unix:/',
    'unix:relative',
    'unix:/a\0b',
    'https://127.0.0.1:5001',
    'http://',
    'http://user:password@host:5001',
    'http://host:5001/api/v0',
    'http://host:5001?x',
    'http://host:99999',
    '/ip4/127.0.0.1/tcp/5001\0',
  ])('is not told by %j', (text) => {
    if (text.startsWith('/')) return expect(() => engineAt(text)).not.toThrow();
    expect(parseEndpoint(text)).toBeUndefined();
    expect(() => engineAt(text)).toThrow('ipfs.kubo.api');
  });

  test.each([
    ['/ip4/127.0.0.1/tcp/5001', { host: '127.0.0.1', port: 5001 }],
    ['/ip4/127.0.0.1/tcp/5001\n', { host: '127.0.0.1', port: 5001 }],
    ['/ip6/::1/tcp/5001', { host: '::1', port: 5001 }],
    ['/dns4/kubo/tcp/5001/http', { host: 'kubo', port: 5001 }],
    ['/unix/run/kubo/rpc.sock', { socketPath: '/run/kubo/rpc.sock' }],
    ['/unix/%2Frun%2Frpc.sock', { socketPath: '/run/rpc.sock' }],
  ])('is told by the api file %j of a repository', async (text, address) => {
    expect(await inRepository(text)).toEqual(address);
  });

  test.each([
    '',
    'nonsense',
    '/ip4/127.0.0.1/udp/5001',
    '/ip4/127.0.0.1/tcp/99999',
    '/unix/',
    '/unix/%',
  ])('is not told by the api file %j', async (text) => {
    await expect(inRepository(text)).rejects.toMatchObject({ failure: 'configuration' });
  });

  test('is nowhere while a repository has no api file', async () => {
    await expect(inRepository(undefined)).rejects.toMatchObject({ failure: 'not-running' });
  });

  test('may be a Unix socket', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'kitfs-socket-'));
    try {
      const path = join(directory, 'rpc.sock');
      await using server = await Server.start(path);
      server.on('id', ({ response }) => void response.end('{"ID":"x"}'));
      await using node = engineAt(`unix:${path}`);
      expect(await node.stats.id(undefined, calling())).toMatchObject({ peerId: 'x' });
      expect(node.endpoint).toBe(`unix:${path}`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe('a secret for a node', () => {
  test.each([
    ['bearer:abc.def', 'Bearer abc.def'],
    ['basic:ann:pass:word', `Basic ${Buffer.from('ann:pass:word').toString('base64')}`],
    ['basic:änn:ß', `Basic ${Buffer.from('änn:ß').toString('base64')}`],
  ])('%s goes out as a header', (value, header) => {
    expect(authorizationOf(value, 'x')).toBe(header);
  });

  test.each([
    '',
    'abc',
    'bearer:',
    'bearer:a b',
    'bearer:a\nX-Other: b',
    'basic:ann',
    'basic::x',
    'basic:ann:',
    'basic:ann:a\r\nb',
    'digest:x:y',
  ])('%j is refused, and not shown', (value) => {
    expect(() => authorizationOf(value, 'x')).toThrow('bearer:TOKEN or basic:USER:PASSWORD');
    const [, rest = ''] = /:(.{3,})$/s.exec(value) ?? [];
    if (rest !== '') expect(() => authorizationOf(value, 'x')).not.toThrow(rest);
  });

  test('is in no error of the engine', async () => {
    await using server = await Server.start();
    server.on('version', ({ response }) => void response.writeHead(403).end('no'));
    await using node = engineAt(server.api, { secret: () => secretOf('bearer:a-canary') });
    const asked = node.stats.id(undefined, calling());
    const error: unknown = await asked.catch((one: unknown) => one);
    expect(error).toMatchObject({ failure: 'credentials-invalid' });
    expect(JSON.stringify(error)).not.toContain('a-canary');
    expect(String(error)).not.toContain('a-canary');
  });
});
