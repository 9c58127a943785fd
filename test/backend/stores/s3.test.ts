/** The engine S3 before servers that refuse, lie, and say nothing. */
import { describe, expect, test, vi } from 'vitest';
import { CODES, STATUS } from '../../../src/backend/s3/faults.ts';
import { OpError } from '../../../src/base/errors.ts';
import { TurnedClock } from '../../fakes/clock.ts';
import { all, bytesOf, calling, keys, list, noise, put, read, sha256 } from './fixture.ts';
import { credentialsOf, giving, refusing, ScriptedS3, storeAt } from './s3-server.ts';

const loaded = vi.hoisted(() => ({ times: 0 }));
vi.mock('@aws-sdk/client-s3', async (original) => {
  loaded.times += 1;
  return await original();
});

const failing = (failure: string) => expect.objectContaining({ failure });

test('the SDK is loaded with the first request, not before', async () => {
  await using server = await ScriptedS3.start();
  await using store = storeAt(server.endpoint);
  await expect(store.objects.head('a/../b', calling())).rejects.toEqual(failing('invalid-path'));
  expect(loaded.times).toBe(0);
  expect(await store.objects.head('a', calling())).toBeUndefined();
  expect(loaded.times).toBe(1);
});

test.each([
  ['bucket', { bucket: 'a/b' }],
  ['bucket', { bucket: '..' }],
  ['bucket', { bucket: '' }],
  ['endpoint', { endpoint: 'ftp://127.0.0.1' }],
  ['endpoint', { endpoint: 'http://user:secret@127.0.0.1' }],
  ['endpoint', { endpoint: 'http://127.0.0.1/path' }],
])('a %s that leads elsewhere is refused: %j', (_, wrong) => {
  expect(() => storeAt('http://127.0.0.1:1', wrong)).toThrow(failing('configuration'));
});

test('neither variables nor files of the host lead anywhere else', async () => {
  await using elsewhere = await ScriptedS3.start();
  await using server = await ScriptedS3.start();
  const variables = {
    AWS_ENDPOINT_URL: elsewhere.endpoint,
    AWS_ENDPOINT_URL_S3: elsewhere.endpoint,
    AWS_REGION: 'eu-north-1',
    AWS_ACCESS_KEY_ID: 'theirs',
    AWS_SECRET_ACCESS_KEY: 'theirs',
    AWS_SESSION_TOKEN: 'theirs',
    AWS_MAX_ATTEMPTS: '10',
    AWS_REQUEST_CHECKSUM_CALCULATION: 'WHEN_SUPPORTED',
    AWS_CONFIG_FILE: '/dev/full',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/full',
  };
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  try {
    await using store = storeAt(server.endpoint);
    server.on('PUT', giving('')).on('HEAD', giving('x'));
    await put(store, 'a', 'x');
    server.on('GET', refusing(503, 'ServiceUnavailable'));
    await expect(read(store, 'a')).rejects.toEqual(failing('unavailable'));
    await using anonymous = storeAt(server.endpoint, { credentials: undefined });
    await expect(read(anonymous, 'b')).rejects.toEqual(failing('unavailable'));
  } finally {
    vi.unstubAllEnvs();
  }
  expect(elsewhere.calls).toEqual([]);
  expect(server.count('GET')).toBe(2);
  const [sent] = server.calls;
  expect(sent?.request.headers.authorization).toMatch(/Credential=id\/\d+\/us-east-1\/s3/);
  expect(sent?.request.headers).not.toHaveProperty('x-amz-checksum-crc32');
  expect(server.calls.at(-1)?.request.headers).not.toHaveProperty('authorization');
});

describe('a refusal', () => {
  test.each(Object.entries(CODES))('%s is %s', async (code, failure) => {
    await using server = await ScriptedS3.start();
    await using store = storeAt(server.endpoint);
    // A status that says nothing, so that the code alone counts.
    server.on('GET', refusing(418, code));
    if (code === 'InvalidRange') server.on('HEAD', giving('0123'));
    const refused = read(store, 'a', { offset: 5 });
    await expect(refused).rejects.toMatchObject({ failure, op: 'get a' });
  });

  test.each(Object.entries(STATUS))('with the status %s alone is %s', async (status, failure) => {
    await using server = await ScriptedS3.start();
    await using store = storeAt(server.endpoint);
    server.on('GET', refusing(Number(status), ''));
    if (status === '416') server.on('HEAD', giving('0123'));
    await expect(read(store, 'a', { offset: 5 })).rejects.toMatchObject({ failure });
  });

  test('that nobody knows keeps its words as the cause, and no secret', async () => {
    await using server = await ScriptedS3.start();
    await using store = storeAt(server.endpoint, {
      credentials: () => credentialsOf('my-id', 'my-secret'),
    });
    server.on('GET', refusing(400, 'NeverHeardOf'));
    const error = await read(store, 'a').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ failure: 'api-error', message: 'get a: api-error' });
    const cause = error instanceof OpError ? error.cause : undefined;
    expect(String(cause)).toBe('Error: NeverHeardOf: said so');
    expect(JSON.stringify([error, cause, Object.entries(cause ?? {})])).not.toMatch(
      /my-(id|secret)/,
    );
  });

  test('of a HEAD is asked for its reason: wrong secrets are no empty store', async () => {
    await using server = await ScriptedS3.start();
    await using store = storeAt(server.endpoint);
    for (const [status, code, failure] of [
      [404, 'XAdminUserNotFound', 'credentials-invalid'],
      [404, 'NoSuchBucket', 'configuration'],
      [403, 'SignatureDoesNotMatch', 'credentials-invalid'],
      [403, 'AccessDenied', 'denied'],
      [400, 'ExpiredToken', 'credentials-expired'],
    ] as const) {
      server.on('HEAD', refusing(status, code)).on('GET', refusing(status, code));
      await expect(store.objects.head('a', calling())).rejects.toEqual(failing(failure));
      await expect(store.objects.remove('a', calling())).rejects.toEqual(failing(failure));
    }
    expect(server.count('DELETE')).toBe(0);
  });

  test('says when to come back, in seconds or as a date', async () => {
    await using server = await ScriptedS3.start();
    const clock = new TurnedClock();
    await using store = storeAt(server.endpoint, { clock });
    const atMs = clock.now().s * 1000 + 90_000;
    for (const [header, ms] of [
      ['7', 7000],
      [new Date(atMs).toUTCString(), 90_000],
      [new Date(atMs - 200_000).toUTCString(), 0],
      ['soon', undefined],
    ] as const) {
      server.on('GET', refusing(503, 'SlowDown', { 'retry-after': header }));
      const error = await read(store, 'a').catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ failure: 'rate-limited' });
      expect((error as OpError).details['retry_after_ms']).toBe(ms);
    }
  });

  test('by a clock that differs is tried once more, with that of the store', async () => {
    await using server = await ScriptedS3.start();
    await using store = storeAt(server.endpoint);
    const date = new Date(Date.now() - 3_600_000);
    const signed: string[] = [];
    server.on('GET', (call) => {
      const at = String(call.request.headers['x-amz-date']);
      signed.push(at);
      const isRight = at.startsWith(date.toISOString().slice(0, 13).replaceAll('-', ''));
      const headers = { date: date.toUTCString() };
      if (isRight) giving('x')(call);
      else refusing(403, 'RequestTimeTooSkewed', headers)(call);
    });
    expect((await read(store, 'a')).toString()).toBe('x');
    expect(signed).toHaveLength(2);
    server.on('GET', refusing(403, 'RequestTimeTooSkewed'));
    await expect(read(store, 'a')).rejects.toMatchObject({
      failure: 'credentials-invalid',
      hint: expect.stringContaining('clock'),
    });
  });

  test('of secrets that were replaced meanwhile is tried once more with these', async () => {
    await using server = await ScriptedS3.start();
    let id = 'old';
    await using store = storeAt(server.endpoint, { credentials: () => credentialsOf(id, 's') });
    server.on('GET', (call) => {
      const isNew = call.request.headers.authorization?.includes('Credential=new/') === true;
      (isNew ? giving('x') : refusing(403, 'InvalidAccessKeyId'))(call);
    });
    await expect(read(store, 'a')).rejects.toEqual(failing('credentials-invalid'));
    expect(server.count('GET')).toBe(1);
    id = 'new';
    expect((await read(store, 'a')).toString()).toBe('x');
    expect(server.count('GET')).toBe(3);
  });
});

describe('an answer that lies', () => {
  const opened = async () => {
    const server = await ScriptedS3.start();
    return { server, store: storeAt(server.endpoint) };
  };

  test.each([
    ['another part', { 'content-range': 'bytes 4-7/10' }, '4567'],
    ['another length', { 'content-range': 'bytes 3-5/10' }, '345'],
    ['no total', { 'content-range': 'bytes 3-6/*' }, '3456'],
    ['no tag', { 'content-range': 'bytes 3-6/10', etag: '' }, '3456'],
  ])('by giving %s is refused', async (_, headers, bytes) => {
    const { server, store } = await opened();
    await using _server = server;
    server.on('GET', giving(bytes, headers));
    const part = read(store, 'a', { offset: 3, length: 4 });
    await expect(part).rejects.toEqual(failing('response-invalid'));
  });

  test('by giving all for a part is refused', async () => {
    const { server, store } = await opened();
    await using _server = server;
    server.on('GET', giving('0123456789'));
    const part = read(store, 'a', { offset: 3, length: 4 });
    await expect(part).rejects.toEqual(failing('unsupported'));
  });

  test('by breaking off is told when it does', async () => {
    const { server, store } = await opened();
    await using _server = server;
    const bytes = noise(500_000);
    server.on('GET', ({ response }) => {
      response.writeHead(200, { etag: '"tag"', 'content-length': String(bytes.length) });
      response.write(bytes.subarray(0, 300_000), () => response.destroy());
    });
    await expect(read(store, 'a')).rejects.toEqual(failing('response-invalid'));
  });

  test('by hanging ends with the deadline, and with the signal', async () => {
    const { server, store } = await opened();
    await using _server = server;
    server.on('GET', ({ response }) => {
      response.writeHead(200, { etag: '"tag"', 'content-length': '10' });
      response.write('01234');
    });
    server.on('HEAD', () => {});
    const late = store.objects.head('a', { ...calling(), deadlineMs: 50 });
    await expect(late).rejects.toEqual(failing('timeout'));
    const reading = await store.objects.get('a', { ...calling(), deadlineMs: 100 });
    await expect(bytesOf(reading)).rejects.toEqual(failing('timeout'));
    const controller = new AbortController();
    const other = await store.objects.get('a', { signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    await expect(bytesOf(other)).rejects.toEqual(failing('cancelled'));
  });

  test('about what it stored is an error of integrity', async () => {
    const { server, store } = await opened();
    await using _server = server;
    server.on('PUT', giving(''));
    server.on('HEAD', giving('shorter'));
    await expect(put(store, 'a', 'longer than that')).rejects.toEqual(failing('integrity'));
    const digest = { 'x-amz-meta-kitfs-sha256': sha256('other') };
    server.on('HEAD', giving('same', digest));
    await expect(put(store, 'a', 'SAME')).rejects.toEqual(failing('integrity'));
    server.on('HEAD', refusing(404, ''));
    await expect(put(store, 'a', 'gone')).rejects.toEqual(failing('integrity'));
    server.on('HEAD', giving('newer', { etag: '"another"' }));
    expect(await put(store, 'a', 'older')).toMatchObject({ version: 'tag' });
    server.on('PUT', ({ response }) => void response.end());
    await expect(put(store, 'a', 'x')).rejects.toEqual(failing('response-invalid'));
  });

  const page = (body: string) =>
    `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>${body}</ListBucketResult>`;
  const entry = (key: string) =>
    `<Contents><Key>${key}</Key><Size>1</Size><ETag>"t"</ETag></Contents>`;

  test.each([
    ['is out of order', entry('a'), entry('b') + entry('a'), 2],
    ['goes in circles', entry('a') + entry('b'), entry('b'), 2],
    ['is no XML', 'no <end', '', 0],
    ['lacks what every entry has', '<Contents><Key>a</Key></Contents>', '', 0],
  ])('with a listing that %s ends it', async (_, first, second, count) => {
    const { server, store } = await opened();
    await using _server = server;
    const more = '<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>';
    server.on('GET', ({ url, response }) => {
      const isFirst = !url.searchParams.has('continuation-token');
      response.end(page(isFirst ? first + more : second));
    });
    const names: string[] = [];
    const listed = (async () => {
      for await (const { key } of list(store)) names.push(key);
    })();
    await expect(listed).rejects.toEqual(failing('response-invalid'));
    expect(names.length).toBeGreaterThanOrEqual(count - 1);
  });

  test('with names that no key can have shows them as foreign', async () => {
    const { server, store } = await opened();
    await using _server = server;
    const names = ['%00', '%2Fa', '..%2Fup', 'a%2F', 'a%2F%2Fb', 'ok+%2B%C3%A4'];
    const body = `<EncodingType>url</EncodingType>${names.map(entry).join('')}`;
    server.on('GET', ({ response }) => void response.end(page(body)));
    const listed = await all(list(store));
    expect(listed.filter(({ kind }) => kind === 'object').map(({ key }) => key)).toEqual(['ok +ä']);
    expect(listed.filter(({ kind }) => kind === 'foreign')).toHaveLength(5);
  });
});

describe('a put', () => {
  test('waits as the store asks, and is made again whole', async () => {
    await using server = await ScriptedS3.start();
    await using store = storeAt(server.endpoint);
    let times = 0;
    server.on('PUT', (call) => {
      times += 1;
      (times < 3 ? refusing(503, 'SlowDown', { 'retry-after': '0' }) : giving(''))(call);
    });
    server.on('HEAD', (call) => (times < 3 ? refusing(404, '') : giving('bytes'))(call));
    await put(store, 'a', 'bytes');
    const puts = server.calls.filter(({ method }) => method === 'PUT');
    expect(puts.map(({ body }) => body.toString())).toEqual(['bytes', 'bytes', 'bytes']);
  });

  test('whose condition a store does not know is looked at before, and says so', async () => {
    await using server = await ScriptedS3.start();
    await using store = storeAt(server.endpoint);
    server.on('GET list-type', ({ response }) => void response.end('<ListBucketResult/>'));
    server.on('GET', (call) => {
      const isProbe = call.url.pathname.includes('kitfs-probe');
      (isProbe ? giving('all of it') : refusing(404, 'NoSuchKey'))(call);
    });
    server.on('PUT', (call) => {
      const isCopy = call.request.headers['x-amz-copy-source'] !== undefined;
      (isCopy ? refusing(501, 'NotImplemented') : giving(''))(call);
    });
    server.on('DELETE', ({ response }) => void response.writeHead(204).end());
    server.on('HEAD', (call) => {
      const isMade = server.calls.some(
        ({ method, url }) => method === 'PUT' && url.pathname === '/bucket/a',
      );
      (isMade ? giving('x') : refusing(404, ''))(call);
    });
    const stored = await put(store, 'a', 'x', { over: 'absent' });
    expect(stored.isAtomic).toBe(false);
    await expect(put(store, 'a', 'x', { over: 'absent' })).rejects.toEqual(failing('exists'));
    expect(await store.probe(calling())).toMatchObject({
      putAbsent: false,
      putOver: false,
      range: false,
      checksum: false,
      removeVersion: false,
      copy: false,
    });
  });
});

test('nobody who listens is unavailable, and not sent', async () => {
  const server = await ScriptedS3.start();
  const { endpoint } = server;
  await server[Symbol.asyncDispose]();
  await using store = storeAt(endpoint);
  const refused = { failure: 'unavailable', details: { sent: false } };
  await expect(store.objects.head('a', calling())).rejects.toMatchObject(refused);
  await expect(keys(store)).rejects.toMatchObject(refused);
  await expect(store.probe(calling())).rejects.toMatchObject(refused);
});
