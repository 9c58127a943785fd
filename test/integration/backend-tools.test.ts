/** The tools of backends and of clusters on the real services: versitygw, and a cluster of three peers. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { TestCluster } from '../services/cluster.ts';
import { KEYS, S3Server } from '../services/versitygw.ts';
import { type Facts, Fixture } from '../tools/fixture.ts';

const START_MS_MAX = 120_000;
/** Three of them are larger than what travels in one piece. */
const PART_BYTES = 3 * 1024 * 1024 + 2;

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
  fixture.secrets.set('env:ID', KEYS.accessKeyId).set('env:KEY', KEYS.secretAccessKey);
});
afterEach(() => fixture.close());

describe('on a bucket of S3', () => {
  let server: S3Server;
  let bucket: string;
  let config: Facts;
  beforeAll(async () => {
    server = await S3Server.start();
  });
  afterAll(() => server.close());
  beforeEach(() => {
    bucket = server.makeBucket();
    const secrets = { access_key_id: 'env:ID', secret_access_key: 'env:KEY' };
    config = { bucket, endpoint: server.endpoint, ...secrets };
  });
  const register = (more: Facts = {}) =>
    fixture.done('mbfs_register_backend', {
      ...{ backend: 'shelf', kind: 's3', config: { ...config, ...more } },
    });

  test('it is registered with what it was seen to do, and nothing of the trial stays', async () => {
    const made = await register();
    expect(made).toMatchObject({ health: { state: 'ok' }, config });
    expect(made['capabilities']).toMatchObject({ range_read: true, write: true, list: true });
    expect(await fixture.done('mbfs_list_content', { backend: 'shelf' })).toMatchObject({
      items: [],
    });
  });

  test('what was stored is a plain object, and comes back verified', async () => {
    await register({ prefix: 'deep/' });
    const stored = await fixture.done('mbfs_store', {
      ...{ backend: 'shelf', identifier: 'a/ü.txt', content: 'hello' },
      ...{ content_type: 'text/plain', metadata: { who: 'me' } },
    });
    expect(readFileSync(join(server.data, bucket, 'deep/a/ü.txt'), 'utf8')).toBe('hello');
    const { _meta: meta } = await fixture.call('mbfs_retrieve', {
      ...{ backend: 'shelf', identifier: 'a/ü.txt' },
    });
    expect(meta?.['kitfs/envelope']).toMatchObject({
      data: { verified: true, content_type: 'text/plain', metadata: { who: 'me' }, size: 5 },
    });
    const values = { backend: 'shelf', identifier: 'a/ü.txt', content: 'other' };
    await fixture.refused('mbfs_store', values, 'ALREADY_EXISTS');
    await fixture.done('mbfs_store', { ...values, expected_version: stored['version'] });
  });

  test('a large file goes from the tree to S3 and on to a directory, the same', async () => {
    await register();
    const part = randomBytes(PART_BYTES / 2).toString('hex');
    for (const at of [0, 1, 2]) {
      await fixture.write('/ipfs/large', part, at === 0 ? {} : { offset: at * PART_BYTES });
    }
    const whole = part.repeat(3);
    const stored = await fixture.done('mbfs_store', {
      ...{ backend: 'shelf', identifier: 'large', path: '/ipfs/large' },
    });
    expect(stored['size']).toBe(whole.length);
    const copied = await fixture.done('mbfs_copy_between_backends', {
      ...{ source_backend: 'shelf', identifier: 'large', destination_backend: 'local' },
    });
    expect(copied).toMatchObject({ bytes: whole.length, sha256: stored['sha256'], verified: true });
    const copy = readFileSync(join(fixture.directory, 'local', 'large'), 'utf8');
    expect(copy === whole).toBe(true);
    const deleted = await fixture.done('mbfs_delete', { backend: 'shelf', identifier: 'large' });
    expect(deleted).toMatchObject({ outcome: 'deleted', still_readable: false });
  });

  test('wrong secrets and a bucket that is not there are told apart, and register nothing', async () => {
    const values = (more: Facts) => ({
      ...{ backend: 'shelf', kind: 's3', config: { ...config, ...more } },
    });
    const code = 'CONFIGURATION_INVALID';
    await fixture.refused('mbfs_register_backend', values({ bucket: 'no-such' }), code);
    fixture.secrets.set('env:KEY', 'wrong');
    await fixture.refused('mbfs_register_backend', values({}), 'CREDENTIALS_INVALID');
    expect(fixture.journal.backends.all()).toEqual([]);
  });

  test('a server that is gone is down, and says so', async () => {
    await register();
    await server.kill();
    try {
      const values = { backend: 'shelf', identifier: 'k', content: 'x', timeout_ms: 5000 };
      const answer = await fixture.ask('mbfs_store', values);
      expect(answer.error_code).toBe('BACKEND_UNAVAILABLE');
      const health = async () => {
        const { backends } = await fixture.done('mbfs_list_backends', { kind: 's3' });
        return (backends as Facts[])[0]?.['health'];
      };
      await expect.poll(health).toMatchObject({ state: 'down' });
    } finally {
      await server.restart();
    }
  });
});

describe('on a cluster of three', { timeout: 90_000 }, () => {
  let service: TestCluster;
  beforeAll(async () => {
    service = await TestCluster.start(3);
  }, START_MS_MAX);
  afterAll(() => service[Symbol.asyncDispose](), START_MS_MAX);

  test('content is pinned on as many peers as were asked for, and its state told', async () => {
    const [first] = service.peers;
    if (first === undefined) throw new Error('it has peers');
    const made = await fixture.done('mbfs_register_backend', {
      ...{ backend: 'three', kind: 'cluster', config: { api_url: first.api } },
    });
    expect(made).toMatchObject({ health: { state: 'ok' } });
    const { peers } = await fixture.done('ipfs_cluster_peers', {});
    expect((peers as Facts[]).map(({ peername }) => peername).sort()).toEqual([
      ...['peer1', 'peer2', 'peer3'],
    ]);
    type Added = { readonly Hash: string };
    const path = 'add?cid-version=1&pin=false';
    const { Hash: cid } = await first.kubo.rpc.json<Added>(path, randomBytes(100));
    const pinned = await fixture.done('ipfs_cluster_pin', {
      ...{ ipfs_path: cid, pin_name: 'kept', replication_min: 2, replication_max: 2 },
    });
    expect(pinned).toMatchObject({ cid, pin_name: 'kept', state: 'pinned' });
    expect(pinned['peers']).toEqual({ pinned: 2, pinning: 0, error: 0, total: 2 });
    const { pins } = await fixture.done('ipfs_cluster_status', { cid });
    expect(pins).toMatchObject([{ cid, pin_name: 'kept', state: 'pinned' }]);
    const all = await fixture.done('ipfs_cluster_status', { states: ['pinned'] });
    expect(all).toMatchObject({ pins: [{ cid }], truncated: false });
    const { entries } = await fixture.done('fs_journal_get_history', {
      ...{ operations: ['cluster_pin'], order: 'asc', recursive: true },
    });
    expect(entries).toMatchObject([{ result: { state: 'pending' } }, { cid }]);
    const once = async () =>
      (await fixture.call('ipfs_cluster_pin', { ipfs_path: cid }, {}, 'key')).structuredContent;
    expect(await once()).toEqual({ ...(await once()), context: expect.anything() });
    const wrong = { ipfs_path: cid, replication_min: 3, replication_max: 2 };
    const answer = await fixture.ask('ipfs_cluster_pin', wrong);
    expect(answer.error_code).toBe('INVALID_ARGUMENT');
    const unknown = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
    const absent = await fixture.done('ipfs_cluster_status', { cid: unknown });
    expect(absent).toMatchObject({ pins: [{ state: 'unpinned' }] });
  });
});
