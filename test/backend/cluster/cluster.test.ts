import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Cluster, type ClusterOptions, openCluster } from '../../../src/backend/backend.ts';
import type { PinRequest } from '../../../src/backend/cluster/pinning.ts';
import { replicasOf, wantedPeers } from '../../../src/backend/cluster/replicas.ts';
import { SystemClock } from '../../../src/base/clock.ts';
import { OpError } from '../../../src/base/errors.ts';
import { SystemRandom } from '../../../src/base/random.ts';
import { TurnedClock } from '../../fakes/clock.ts';
import { all, calling, rawBlock, secretOf } from '../engine.ts';
import { RestServer, refusing, telling } from '../rest-server.ts';

const { cid: CID } = rawBlock('content');
const OTHER = rawBlock('other content').cid;
const ONE = '12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5';
const TWO = '12D3KooWLbTBv97L6jvaLkdSRpqhCX3w7PyPDWU7kwJsKJyztAUN';
const PIN = {
  cid: String(CID),
  name: 'n',
  mode: 'recursive',
  type: 'pin',
  replication_factor_min: 1,
  replication_factor_max: 2,
  allocations: [ONE, TWO],
  expire_at: '0001-01-01T00:00:00Z',
  metadata: { k: 'v' },
  timestamp: '2026-11-22T10:00:00.5Z',
};
const onPeer = (status: string, error = '') => ({
  peername: 'p',
  ipfs_peer_id: TWO,
  status,
  timestamp: '2026-11-22T10:00:00Z',
  error,
  attempt_count: 1,
  priority_pin: false,
});
const STATUS = {
  cid: String(CID),
  name: 'n',
  allocations: [],
  created: '2026-11-22T10:00:00Z',
  metadata: null,
  peer_map: { [ONE]: onPeer('pinned'), [TWO]: onPeer('pin_error', 'context canceled') },
};
const PEER = {
  id: ONE,
  addresses: ['/ip4/127.0.0.1/tcp/1'],
  cluster_peers: [ONE, TWO],
  version: '1.1.6',
  error: '',
  peername: 'p1',
  ipfs: { id: TWO, addresses: null, error: '' },
};

let server: RestServer;
let cluster: Cluster;

const clusterAt = (api: string, more: Partial<ClusterOptions> = {}): Cluster =>
  openCluster({
    api,
    requestsMax: 4,
    deadlineMs: 20_000,
    clock: new SystemClock(),
    random: new SystemRandom(),
    ...more,
  });

beforeEach(async () => {
  server = await RestServer.start();
  server.on('GET /version', telling({ version: '1.1.6' }));
  cluster = clusterAt(server.api);
});

afterEach(async () => {
  await cluster[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const failing = (failure: string) => expect.objectContaining({ failure });
const says = (status: number, message: string) =>
  refusing(status, `${JSON.stringify({ code: status, message })}\n`);
const pin = (request: PinRequest = {}) => cluster.pin({ cid: CID }, request, calling());
const status = () => cluster.status(CID, calling());

describe('what a cluster is asked', () => {
  test('a pin goes out with all that was asked, each parameter under its own name', async () => {
    server.on(`POST /pins/${CID}`, telling(PIN));
    const pinned = await pin({
      name: 'a name & more',
      mode: 'direct',
      replicationMin: 1,
      replicationMax: 2,
      allocations: [ONE, TWO],
      expiresAt: { s: 4_000_000_000, ns: 5 },
      metadata: { k: 'v=1&x', ключ: '' },
    });
    expect(Object.fromEntries(server.last(`POST /pins/${CID}`).query)).toEqual({
      name: 'a name & more',
      mode: 'direct',
      'replication-min': '1',
      'replication-max': '2',
      'user-allocations': `${ONE},${TWO}`,
      'expire-at': '2096-10-02T07:06:40.000000005Z',
      'meta-k': 'v=1&x',
      'meta-ключ': '',
    });
    expect(pinned).toMatchObject({
      name: 'n',
      allocations: [ONE, TWO],
      expiresAt: undefined,
      metadata: { k: 'v' },
      created: { s: 1_795_341_600, ns: 500_000_000 },
    });
  });

  test.each<[PinRequest, string]>([
    [{ name: '' }, 'name'],
    [{ name: 'x'.repeat(256) }, 'name'],
    [{ name: 'half \ud800' }, 'name'],
    [{ mode: 'indirect' as 'direct' }, 'mode'],
    [{ replicationMin: 1.5, replicationMax: 2 }, 'replication_min'],
    [{ replicationMin: -2 }, 'replication_min'],
    [{ replicationMax: 1001 }, 'replication_max'],
    [{ replicationMin: Number.NaN }, 'replication_min'],
    [{ replicationMin: 3, replicationMax: 2 }, 'replication_max'],
    [{ replicationMin: -1, replicationMax: 2 }, 'replication_max'],
    [{ replicationMin: 2, replicationMax: -1 }, 'replication_max'],
    [{ allocations: ['peer1'] }, 'allocations'],
    [{ allocations: ['12D3KooWnotbase58!'] }, 'allocations'],
    [{ allocations: Array.from({ length: 65 }, () => ONE) }, 'allocations'],
    [{ expiresAt: { s: 1, ns: 0 } }, 'expires_at'],
    [{ expiresAt: { s: 253_402_300_800, ns: 0 } }, 'expires_at'],
    [{ metadata: { '': 'v' } }, 'metadata'],
    [{ metadata: { k: 'v'.repeat(16 * 1024) } }, 'metadata'],
    [{ replaces: OTHER, mode: 'direct' }, 'mode'],
    [{ replaces: OTHER, replicationMin: 1 }, 'replication_min'],
    [{ replaces: OTHER, replicationMax: 1 }, 'replication_max'],
    [{ replaces: OTHER, allocations: [ONE] }, 'allocations'],
    [{ replaces: OTHER, metadata: { k: 'v' } }, 'metadata'],
  ])('a pin that is not right is never sent: %j', async (request, argument) => {
    server.on(`POST /pins/${CID}`, telling(PIN));
    const asked = pin(request);
    await expect(asked).rejects.toEqual(failing('invalid-argument'));
    await expect(asked).rejects.toMatchObject({ details: { issues: [{ argument }] } });
    expect(server.calls).toEqual([]);
  });

  test('a pin that follows another names it', async () => {
    server.on(`POST /pins/${CID}`, telling(PIN));
    await pin({ name: 'n', mode: 'recursive', replaces: OTHER });
    expect(server.last(`POST /pins/${CID}`).query.get('pin-update')).toBe(String(OTHER));
  });

  test('everywhere is -1 on both sides', async () => {
    server.on(`POST /pins/${CID}`, telling({ ...PIN, allocations: [] }));
    await pin({ replicationMin: -1, replicationMax: -1 });
    expect(server.last(`POST /pins/${CID}`).query.get('replication-min')).toBe('-1');
  });

  test('a path goes out name by name', async () => {
    server.on('POST *', telling({ ...PIN, cid: String(OTHER) }));
    const names = ['a b', '100%', 'ü?#'];
    const pinned = await cluster.pin({ cid: CID, names }, {}, calling());
    expect(server.whats).toContain(`POST /pins/ipfs/${CID}/a b/100%/ü?#`);
    expect(pinned.cid).toEqual(OTHER);
  });

  test.each(['', '.', '..', 'a/b', 'a\0', '\udc00'])(
    'no path goes out through %j',
    async (name) => {
      const asked = cluster.pin({ cid: CID, names: [name] }, {}, calling());
      await expect(asked).rejects.toEqual(failing('invalid-argument'));
      expect(server.calls).toEqual([]);
    },
  );

  test('a list may be limited to states, and a question to the peer that is asked', async () => {
    server.on('GET /pins', ({ response }) => void response.writeHead(204).end());
    const states = ['error', 'pin_queued'] as const;
    expect(await all(cluster.statuses({ ...calling(), states, local: true }))).toEqual([]);
    const { query } = server.last('GET /pins');
    expect(Object.fromEntries(query)).toEqual({ filter: 'error,pin_queued', local: 'true' });
    server.on(`POST /pins/${CID}/recover`, telling(STATUS));
    await cluster.recover(CID, calling());
    expect(server.last(`POST /pins/${CID}/recover`).query.get('local')).toBe('false');
  });
});

describe('what a cluster answers', () => {
  test('a status has each peer that is there, with its error', async () => {
    server.on(`GET /pins/${CID}`, telling(STATUS));
    const { peers, metadata } = await status();
    expect(metadata).toEqual({});
    expect(peers).toMatchObject([
      { peerId: ONE, state: 'pinned', error: undefined, attempts: 1 },
      { peerId: TWO, state: 'pin_error', error: 'context canceled', ipfsPeerId: TWO },
    ]);
  });

  test('a state that nobody knew is undefined, and never pinned', async () => {
    server.on(`GET /pins/${CID}`, telling({ ...STATUS, peer_map: { [ONE]: onPeer('ascended') } }));
    expect((await status()).peers).toMatchObject([{ state: 'undefined' }]);
  });

  test('peers come line by line, with why one does not answer', async () => {
    const dead = { ...PEER, id: TWO, ipfs: { id: '', addresses: [], error: 'refused' } };
    server.on('GET /peers', ({ response }) => {
      response.writeHead(200, { trailer: 'X-Stream-Error' });
      response.write(`${JSON.stringify(PEER)}\n${JSON.stringify(dead).slice(0, 20)}`);
      response.write(`${JSON.stringify(dead).slice(20)}\n`);
      response.addTrailers({ 'X-Stream-Error': '' });
      response.end();
    });
    expect(await cluster.peers(calling())).toMatchObject([
      { peerId: ONE, name: 'p1', version: '1.1.6', clusterPeers: [ONE, TWO] },
      { peerId: TWO, ipfs: { peerId: undefined, error: 'refused' } },
    ]);
  });

  test('no line at all is an empty list', async () => {
    for (const what of ['GET /peers', 'GET /pins', 'GET /allocations']) {
      server.on(what, ({ response }) => void response.writeHead(204).end());
    }
    expect(await cluster.peers(calling())).toEqual([]);
    expect(await all(cluster.statuses(calling()))).toEqual([]);
    expect(await all(cluster.allocations(calling()))).toEqual([]);
  });

  test('what is not in the pinset has no allocation', async () => {
    server.on(`GET /allocations/${CID}`, says(404, 'pin is not part of the pinset'));
    expect(await cluster.allocation(CID, calling())).toBeUndefined();
    server.on(`GET /allocations/${CID}`, telling(PIN));
    expect(await cluster.allocation(CID, calling())).toMatchObject({ allocations: [ONE, TWO] });
  });

  test('alerts may be none', async () => {
    server.on('GET /health/alerts', telling(null));
    expect(await cluster.alerts(calling())).toEqual([]);
    const alert = { name: 'ping', peer: TWO, triggered_at: '2026-11-22T10:00:00Z' };
    server.on('GET /health/alerts', telling([alert]));
    expect(await cluster.alerts(calling())).toMatchObject([{ peerId: TWO, metric: 'ping' }]);
  });

  test.each([
    ['cut inside a line', '{"id":"x","ip'],
    ['a line that is no object', '[]\n'],
    ['a line that is no JSON', 'peers:\n'],
    ['a line without its fields', '{"id":1}\n'],
  ])('a list is all or an error: %s', async (_, body) => {
    server.on('GET /peers', ({ response }) => void response.end(body));
    await expect(cluster.peers(calling())).rejects.toEqual(failing('response-invalid'));
  });

  test('a list that fails in the middle is an error, whatever came before', async () => {
    server.on('GET /peers', ({ response }) => {
      response.writeHead(200, { trailer: 'X-Stream-Error' });
      response.write(`${JSON.stringify(PEER)}\n`);
      // As a cluster does it: one that is empty, and the words behind it.
      response.addTrailers([
        ['X-Stream-Error', ''],
        ['X-Stream-Error', 'something broke'],
      ]);
      response.end();
    });
    await expect(cluster.peers(calling())).rejects.toEqual(failing('response-invalid'));
  });

  test('a list whose connection is cut is an error', async () => {
    server.on('GET /peers', ({ response }) => {
      response.write(`${JSON.stringify(PEER)}\n`, () => response.destroy());
    });
    await expect(cluster.peers(calling())).rejects.toEqual(failing('response-invalid'));
  });

  test.each([
    ['another CID', { ...STATUS, cid: String(OTHER) }],
    ['no CID', { ...STATUS, cid: 'x' }],
    ['a list', []],
    ['a peer that is no object', { ...STATUS, peer_map: { [ONE]: 'pinned' } }],
    ['metadata that is no text', { ...STATUS, metadata: { k: 1 } }],
  ])('an answer about something else is none: %s', async (_, told) => {
    server.on(`GET /pins/${CID}`, telling(told));
    await expect(status()).rejects.toEqual(failing('response-invalid'));
  });

  test('an answer without an end is not read to it', async () => {
    server.on(`GET /pins/${CID}`, ({ response }) => {
      const piece = Buffer.alloc(1024 * 1024, ' ');
      const more = () => void (response.destroyed || response.write(piece, more));
      more();
    });
    await expect(status()).rejects.toEqual(failing('response-invalid'));
    const { response } = server.last(`GET /pins/${CID}`);
    if (!response.destroyed) await once(response, 'close');
  });
});

describe('what a cluster refuses', () => {
  test.each([
    [404, 'pin is not part of the pinset', 'not-pinned'],
    [400, 'error decoding Cid: invalid cid: illegal base32 data', 'invalid-cid'],
    [500, 'not enough peers to allocate CID. Needed at least: 5. Wanted at most: 5.', 'io'],
    [500, 'cluster.replication_factor_min is larger than max', 'invalid-argument'],
    [500, 'pin.ExpireAt set before current time', 'invalid-argument'],
    [400, 'invalid filter value', 'invalid-argument'],
    [400, 'error parsing path: path does not have enough components', 'invalid-argument'],
    [500, 'cannot repin a CID which is already pinned in recursive mode', 'exists'],
    [500, 'IPFS error (resolve?arg=x). Code: 500. Message: no link named "y"', 'not-found'],
    [500, 'context deadline exceeded', 'timeout'],
    [500, 'Post "http://127.0.0.1:5001/api/v0/x": dial tcp: connection refused', 'io'],
    [401, 'unauthorized: no auth provided', 'credentials-invalid'],
    [403, 'access denied', 'credentials-invalid'],
    [405, 'method not allowed', 'version-unsupported'],
    [404, '404 page not found', 'version-unsupported'],
    [429, 'slow down', 'rate-limited'],
    [414, 'URI too long', 'payload-too-large'],
    [431, 'Request Header Fields Too Large', 'payload-too-large'],
    [500, 'something that nobody has heard of', 'api-error'],
  ])('means one thing: %i %s', async (code, message, failure) => {
    server.on(`POST /pins/${CID}`, says(code, message));
    const asked = pin();
    await expect(asked).rejects.toEqual(failing(failure));
    await expect(asked).rejects.toMatchObject({ cause: { message } });
  });

  test('a refusal that brings the pin along is a refusal, and is not asked for again', async () => {
    const both = `${JSON.stringify({ code: 400, message: 'bad' })}\n${JSON.stringify(PIN)}\n`;
    server.on(`POST /pins/${CID}`, refusing(400, both));
    const asked = pin();
    await expect(asked).rejects.toMatchObject({ failure: 'api-error', cause: { message: 'bad' } });
    expect(server.whats).toEqual(['GET /version', `POST /pins/${CID}`]);
  });

  test('to unpin what is not pinned is said so', async () => {
    server.on(`DELETE /pins/${CID}`, says(404, 'pin is not part of the pinset'));
    await expect(cluster.unpin(CID, calling())).rejects.toEqual(failing('not-pinned'));
  });

  test('one of another kind than it was asked as is not its words', async () => {
    server.on(`POST /pins/${CID}`, refusing(502, '<html>bad gateway</html>'));
    await expect(pin()).rejects.toEqual(failing('api-error'));
  });
});

describe('a call of a cluster', () => {
  test('goes to no cluster that is too old', async () => {
    server.on('GET /version', telling({ version: '1.0.8' }));
    const asked = pin();
    await expect(asked).rejects.toEqual(failing('version-unsupported'));
    await expect(asked).rejects.toMatchObject({
      details: { service: 'cluster', partial: { version: '1.0.8', min_version: '1.1.0' } },
    });
    expect(server.whats).toEqual(['GET /version']);
  });

  test('asks for the version once', async () => {
    server.on('GET /id', telling(PEER));
    await cluster.id(calling());
    await cluster.id(calling());
    expect(server.whats).toEqual(['GET /version', 'GET /id', 'GET /id']);
  });

  test('shows who calls, and reads the secret again when it is refused', async () => {
    const values = ['basic:u:old', 'basic:u:new'];
    const secret = () => secretOf(values.shift() ?? 'bearer:last');
    await using guarded = clusterAt(server.api, { secret });
    const isNew = Buffer.from('u:new').toString('base64');
    server.on('GET /version', ({ request, response }) => {
      if (request.headers.authorization === `Basic ${isNew}`) response.end('{"version":"1.1.6"}');
      else says(401, 'unauthorized: access denied')({ response } as never);
    });
    server.on('GET /id', telling(PEER));
    expect(await guarded.id(calling())).toMatchObject({ peerId: ONE });
    expect(server.last('GET /id').request.headers.authorization).toBe(`Basic ${isNew}`);
  });

  test('whose secret is refused twice is refused, and does not show it', async () => {
    await using guarded = clusterAt(server.api, { secret: () => secretOf('basic:u:hidden') });
    server.on('GET /version', says(401, 'unauthorized: access denied'));
    const error: unknown = await guarded.id(calling()).catch((reason: unknown) => reason);
    expect(error).toEqual(failing('credentials-invalid'));
    expect(JSON.stringify(error)).not.toContain('hidden');
  });

  test('that only asks is made again when its answer broke; a change is not', async () => {
    server.on('GET /id', ({ response }) => {
      if (server.calls.filter(({ what }) => what === 'GET /id').length === 1) response.destroy();
      else telling(PEER)({ response } as never);
    });
    expect(await cluster.id(calling())).toMatchObject({ peerId: ONE });
    server.on(`POST /pins/${CID}`, ({ response }) => void response.destroy());
    await expect(pin()).rejects.toEqual(failing('not-running'));
    expect(server.whats.filter((what) => what.startsWith('POST'))).toHaveLength(1);
  });

  test('to nobody says that nobody is there, and which service it is', async () => {
    await server[Symbol.asyncDispose]();
    await expect(status()).rejects.toMatchObject({
      failure: 'not-running',
      details: { service: 'cluster', sent: false },
    });
  });

  test('ends with its signal, its socket too', async () => {
    const controller = new AbortController();
    const closed = new Promise<void>((resolve) => {
      server.on('GET /id', ({ response }) => {
        once(response, 'close').then(() => resolve());
        controller.abort(new OpError('interrupted', 'read'));
      });
    });
    const asked = cluster.id({ signal: controller.signal });
    await expect(asked).rejects.toEqual(failing('interrupted'));
    await closed;
  });

  test('ends with its deadline', async () => {
    const clock = new TurnedClock();
    await using turned = clusterAt(server.api, { clock });
    const called = new Promise((resolve) => server.on('GET /id', resolve));
    const asked = turned.id({ ...calling(), deadlineMs: 7000 });
    const rejected = expect(asked).rejects.toEqual(failing('timeout'));
    await called;
    await clock.turn(7000);
    await rejected;
  });

  test('after the end is refused', async () => {
    await cluster[Symbol.asyncDispose]();
    await expect(status()).rejects.toEqual(failing('not-ready'));
  });

  test.each(['https://x', 'http://u:p@x', 'http://x/api', 'x', 'unix:/x', '/repo'])(
    'goes to no such place: %s',
    (api) => {
      expect(() => clusterAt(api)).toThrow('http://HOST:PORT');
    },
  );
});

describe('copies', () => {
  const statusWith = async (peer_map: Record<string, unknown>) => {
    server.on(`GET /pins/${CID}`, telling({ ...STATUS, peer_map }));
    return await status();
  };
  const wanted = [ONE, TWO];

  test('are counted over the peers that were wanted, those that are lost too', async () => {
    const lost = await statusWith({ [ONE]: onPeer('pinned') });
    const counts = { pinned: 1, pinning: 0, error: 0, absent: 1, total: 2 };
    expect(replicasOf(lost, wanted)).toEqual(counts);
  });

  test('of a peer that nobody wanted count nothing', async () => {
    const elsewhere = await statusWith({ [ONE]: onPeer('remote'), [TWO]: onPeer('pinned') });
    expect(replicasOf(elsewhere, [ONE])).toMatchObject({ pinned: 0, absent: 1, total: 1 });
  });

  test.each([
    ['pinned', { pinned: 1 }],
    ['pinning', { pinning: 1 }],
    ['pin_queued', { pinning: 1 }],
    ['pin_error', { error: 1 }],
    ['cluster_error', { error: 1 }],
    ['unexpectedly_unpinned', { error: 1 }],
    ['unpinned', { absent: 1 }],
    ['remote', { absent: 1 }],
    ['undefined', { absent: 1 }],
  ])('that are %s', async (state, counts) => {
    const told = await statusWith({ [ONE]: onPeer(state) });
    const none = { pinned: 0, pinning: 0, error: 0, absent: 0, total: 1 };
    expect(replicasOf(told, [ONE])).toEqual({ ...none, ...counts });
  });

  test('are wanted on the peers it was allocated to, and on all when on none', async () => {
    server.on(`POST /pins/${CID}`, telling(PIN));
    server.on('GET /peers', ({ response }) => void response.end(`${JSON.stringify(PEER)}\n`));
    const peers = await cluster.peers(calling());
    expect(wantedPeers(await pin(), peers)).toEqual([ONE, TWO]);
    server.on(`POST /pins/${CID}`, telling({ ...PIN, allocations: null }));
    expect(wantedPeers(await pin(), peers)).toEqual([ONE]);
  });
});
