/** The engine S3 on a real server (versitygw) behind a proxy that breaks requests and answers, and on one that dies. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Store } from '../../src/backend/store.ts';
import { prefixed } from '../../src/backend/wrap/prefix.ts';
import { retrying } from '../../src/backend/wrap/retry.ts';
import { verified } from '../../src/backend/wrap/verify.ts';
import {
  all,
  calling,
  keys,
  list,
  noise,
  pieces,
  put,
  read,
  sha256,
  text,
  timing,
} from '../backend/stores/fixture.ts';
import { credentialsOf, storeAt } from '../backend/stores/s3-server.ts';
import { FaultyProxy } from '../services/faulty-proxy.ts';
import { KEYS, S3Server } from '../services/versitygw.ts';

const MIB = 1024 * 1024;
const PUT = /x-id=PutObject/;
const GET = /x-id=GetObject/;
const PART = /x-id=UploadPart/;
const COMPLETE = /\?uploadId=[^&]*$/;

let server: S3Server;
beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(async () => {
  await server.close();
});

const failing = (failure: string) => expect.objectContaining({ failure });
const credentials =
  (id = KEYS.accessKeyId, secret = KEYS.secretAccessKey) =>
  () =>
    credentialsOf(id, secret);

async function behindProxy() {
  const proxy = await FaultyProxy.start(server.endpoint);
  const bucket = server.makeBucket();
  const store = storeAt(proxy.api, { bucket, credentials: credentials() });
  const close = async () => {
    await store[Symbol.asyncDispose]();
    await proxy.close();
  };
  return { proxy, store, bucket, [Symbol.asyncDispose]: close };
}

const sweep = async (store: Store): Promise<number> =>
  (await store.leftovers?.sweep({ ...calling(), olderThanMs: -60_000 })) ?? 0;

describe('what a store was opened with', () => {
  test.each([
    ['a key that nobody knows', { credentials: credentials('nobody') }, 'credentials-invalid'],
    ['a wrong secret', { credentials: credentials(KEYS.accessKeyId, 'x') }, 'credentials-invalid'],
    ['no secrets', { credentials: undefined }, 'denied'],
    ['a bucket that is not there', { bucket: 'no-such-bucket' }, 'configuration'],
    ['another region', { region: 'eu-north-1' }, 'configuration'],
  ])('%s is told by every call', async (_, wrong, failure) => {
    const right = { bucket: server.makeBucket(), credentials: credentials() };
    await using store = storeAt(server.endpoint, { ...right, ...wrong });
    await expect(store.objects.head('a', calling())).rejects.toEqual(failing(failure));
    await expect(read(store, 'a')).rejects.toEqual(failing(failure));
    await expect(put(store, 'a', 'x')).rejects.toEqual(failing(failure));
    await expect(put(store, 'a', 'x', { over: 'absent' })).rejects.toEqual(failing(failure));
    await expect(put(store, 'a', noise(9 * MIB))).rejects.toEqual(failing(failure));
    await expect(store.objects.remove('a', calling())).rejects.toEqual(failing(failure));
    await expect(keys(store)).rejects.toEqual(failing(failure));
    await expect(store.copying?.copy('a', 'b', calling())).rejects.toEqual(failing(failure));
    await expect(store.probe(calling())).rejects.toEqual(failing(failure));
    await expect(sweep(store)).rejects.toEqual(failing(failure));
  });
});

describe('a put whose answer was lost', () => {
  test.each(['before', 'after'] as const)('%s it was done is done once', async (when) => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    for (const over of ['any', 'absent'] as const) {
      await store.probe(calling());
      const torn = proxy.fault(PUT, { kind: 'reset', when }, { times: 1 });
      const count = proxy.count(PUT);
      const stored = await put(store, `key-${over}`, over, { over });
      expect(torn.hits).toBe(1);
      expect(proxy.count(PUT)).toBe(count + (when === 'before' ? 2 : 1));
      expect(await store.objects.head(`key-${over}`, calling())).toMatchObject({
        version: stored.version,
        sha256: sha256(over),
      });
    }
  });

  test('is an error, and not exists, when another one is there instead', async () => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    await put(store, 'a', 'theirs');
    const { version } = (await store.objects.head('a', calling())) ?? {};
    const torn = proxy.fault(PUT, { kind: 'reset', when: 'before' }, { times: 1 });
    const struck = torn.struck.then(() => put(store, 'a', 'newer'));
    const mine = put(store, 'a', 'mine', { over: version });
    const outcomes = await Promise.allSettled([mine, struck]);
    // Whoever came first: the other one is told, and nothing is overwritten that was not seen.
    const kept = await text(store, 'a');
    expect(outcomes[1].status).toBe('fulfilled');
    if (kept === 'newer' && outcomes[0].status === 'rejected') {
      expect(outcomes[0].reason).toEqual(failing('version-conflict'));
    } else expect(outcomes[0].status).toBe('fulfilled');
  });

  test('in parts is completed once', async () => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    const bytes = noise(17 * MIB);
    await store.probe(calling());
    for (const over of ['any', 'absent'] as const) {
      const torn = proxy.fault(COMPLETE, { kind: 'reset', when: 'after' }, { times: 1 });
      const stored = await put(store, `key-${over}`, bytes, { over });
      expect(torn.hits).toBe(1);
      expect(stored.sha256).toBe(sha256(bytes));
      expect((await read(store, `key-${over}`)).equals(bytes)).toBe(true);
    }
    expect(await sweep(store)).toBe(0);
  });
});

describe('an upload in parts', () => {
  test('sends a part again when the store has too much to do, and waits as it asks', async () => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    const slow = { kind: 'status', status: 503, headers: { 'retry-after': '1' } } as const;
    const refused = proxy.fault(PART, slow, { skip: 1, times: 2 });
    const bytes = noise(25 * MIB);
    await put(store, 'a', bytes);
    expect(refused.hits).toBe(2);
    expect((await read(store, 'a')).equals(bytes)).toBe(true);
  });

  test.each([
    ['that is refused for good', { kind: 'status', status: 403 }, 'denied'],
    ['that is refused again and again', { kind: 'status', status: 500 }, 'unavailable'],
    ['whose answer never comes', { kind: 'hang', when: 'after' }, 'timeout'],
  ] as const)('gives up with a part %s, and leaves nothing', async (_, fault, failure) => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    await put(store, 'a', 'before');
    proxy.fault(PART, fault, { skip: 2 });
    let given = 0;
    async function* source() {
      for await (const piece of pieces(noise(120 * MIB), MIB)) {
        given += piece.length;
        yield piece;
      }
    }
    const ended = store.objects.put('a', source(), { ...calling(), deadlineMs: 8000 });
    await expect(ended).rejects.toEqual(failing(failure));
    // The rest is not read for nothing.
    expect(given).toBeLessThan(80 * MIB);
    expect(await text(store, 'a')).toBe('before');
    expect(await sweep(store)).toBe(0);
  });

  test('whose store is closed meanwhile is given up before it is closed', async () => {
    const options = { bucket: server.makeBucket(), credentials: credentials() };
    const store = storeAt(server.endpoint, options);
    let given = 0;
    async function* endless() {
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        given += MIB;
        yield noise(MIB);
      }
    }
    const ended = expect(store.objects.put('a', endless(), calling())).rejects.toEqual(
      failing('not-ready'),
    );
    await expect.poll(() => given, { timeout: 10_000 }).toBeGreaterThan(20 * MIB);
    await store[Symbol.asyncDispose]();
    await using other = storeAt(server.endpoint, options);
    expect(await sweep(other)).toBe(0);
    await ended;
  });

  test('that nobody completed is swept, below a prefix only what is below it', async () => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    // The store hears neither of the end nor of giving up.
    const unheard = proxy.fault(/uploadId=(?!.*UploadPart)/, { kind: 'status', status: 403 });
    for (const key of ['p/one', 'q/two']) {
      await expect(put(store, key, noise(9 * MIB))).rejects.toEqual(failing('denied'));
    }
    unheard.lift();
    expect(await keys(store)).toEqual([]);
    const young = await store.leftovers?.sweep({ ...calling(), olderThanMs: 3_600_000 });
    expect(young).toBe(0);
    expect(await sweep(prefixed(store, 'p/'))).toBe(1);
    expect(await sweep(store)).toBe(1);
    expect(await sweep(store)).toBe(0);
  });
});

describe('a reading', () => {
  test('that breaks off is told, and goes on where it is tried again', async () => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    const bytes = noise(5 * MIB);
    await put(store, 'a', bytes);
    const tear = () =>
      proxy.fault(GET, { kind: 'truncate', keepBytes: 2 * MIB, end: 'abort' }, { times: 1 });
    tear();
    await expect(read(store, 'a')).rejects.toEqual(failing('response-invalid'));
    tear();
    expect((await read(retrying(store, timing()), 'a')).equals(bytes)).toBe(true);
  });

  test('that is shorter than the object, and looks whole, is refused', async () => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    await put(store, 'a', noise(100_000));
    proxy.fault(GET, { kind: 'truncate', keepBytes: 50_000, end: 'clean' }, { times: 1 });
    await expect(read(store, 'a')).rejects.toEqual(failing('response-invalid'));
  });

  test('of turned bytes does not end well where it is verified', async () => {
    await using opened = await behindProxy();
    const { proxy, store } = opened;
    await put(store, 'a', noise(100_000));
    proxy.fault(GET, { kind: 'flip', atByte: 77_777 }, { times: 1 });
    await expect(read(verified(store), 'a')).rejects.toEqual(failing('integrity'));
    expect((await read(verified(store), 'a')).length).toBe(100_000);
  });
});

describe('a listing', () => {
  test('of more keys than a page holds is whole, in order, and goes on anywhere', async () => {
    const bucket = server.makeBucket();
    await using store = storeAt(server.endpoint, { bucket, credentials: credentials() });
    await put(store, 'model', 'x');
    // What the server notes of an object lies in attributes of its file.
    const script =
      'for at in $(seq 10000 12499); do cp --preserve=all model "k$at"; done; rm model';
    const made = spawnSync('sh', ['-c', script], { cwd: join(server.data, bucket) });
    expect(made.status).toBe(0);
    const names = Array.from({ length: 2500 }, (_, at) => `k${10_000 + at}`);
    expect(await keys(store)).toEqual(names);
    expect(await keys(store, { after: 'k11800' })).toEqual(names.slice(1801));
    expect(await keys(store, { prefix: 'k119' })).toEqual(
      names.filter((key) => key.startsWith('k119')),
    );
  });

  test('shows as foreign what others made and no key can name', async () => {
    const bucket = server.makeBucket();
    await using store = storeAt(server.endpoint, { bucket, credentials: credentials() });
    await put(store, 'ours', 'x');
    const { S3Client, PutObjectCommand } = await import('@aws-sdk/client-s3');
    const client = new S3Client({
      endpoint: server.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: KEYS,
    });
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'directory/', Body: '' }));
    client.destroy();
    expect(await all(list(store))).toMatchObject([
      { kind: 'foreign', key: 'directory/' },
      { kind: 'object', key: 'ours' },
    ]);
  });
});

test('a server that dies during an upload leaves what was there, and is used again when it is back', async () => {
  const mortal = await S3Server.start();
  try {
    const bucket = mortal.makeBucket();
    await using store = storeAt(mortal.endpoint, { bucket, credentials: credentials() });
    await put(store, 'a', 'before');
    async function* source() {
      yield noise(20 * MIB);
      await mortal.kill();
      yield noise(20 * MIB);
    }
    const ended = store.objects.put('a', source(), calling());
    await expect(ended).rejects.toEqual(failing('unavailable'));
    await expect(store.objects.head('a', calling())).rejects.toEqual(failing('unavailable'));
    await mortal.restart();
    expect(await text(store, 'a')).toBe('before');
    expect(await sweep(store)).toBe(1);
    await put(store, 'a', 'after');
    expect(await text(store, 'a')).toBe('after');
  } finally {
    await mortal.close();
  }
});
