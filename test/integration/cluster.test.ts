/** IPFS Cluster as it is: three peers, each with its Kubo. */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  type Cluster,
  type ClusterPin,
  openCluster,
  type Replicas,
  replicasOf,
  wantedPeers,
} from '../../src/backend/backend.ts';
import { PEER_STATES } from '../../src/backend/cluster/records.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { CID } from '../../src/content/content.ts';
import { all, calling, rawBlock, secretOf } from '../backend/engine.ts';
import { TestCluster, type TestPeer } from '../services/cluster.ts';
import { listeningAt } from '../services/process.ts';

const WAIT = { timeout: 40_000, interval: 50 };
const START_MS_MAX = 120_000;
const failing = (failure: string) => expect.objectContaining({ failure });
const copies = (counts: Partial<Replicas>) => expect.objectContaining(counts);

const clusterAt = (api: string, secret?: string): Cluster =>
  openCluster({
    api,
    requestsMax: 4,
    deadlineMs: 20_000,
    clock: new SystemClock(),
    random: new SystemRandom(),
    secret: secret === undefined ? undefined : () => secretOf(secret),
  });

describe('a cluster of three', { timeout: 90_000 }, () => {
  let service: TestCluster;
  let cluster: Cluster;
  let made = 0;
  let first: TestPeer;
  let third: TestPeer;

  beforeAll(async () => {
    service = await TestCluster.start(3);
    const [one, , three] = service.peers;
    if (one === undefined || three === undefined) throw new Error('it has three peers');
    [first, third] = [one, three];
    cluster = clusterAt(first.api);
  }, START_MS_MAX);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    await service?.[Symbol.asyncDispose]();
  }, START_MS_MAX);

  /** Something new, on the node of the first peer. */
  async function added(peer = first): Promise<CID> {
    made += 1;
    type Added = { readonly Hash: string };
    const path = 'add?cid-version=1&pin=false';
    return CID.parse((await peer.kubo.rpc.json<Added>(path, `content ${made}`)).Hash);
  }

  const replicas = async (pin: ClusterPin, wanted: readonly string[]) =>
    replicasOf(await cluster.status(pin.cid, calling()), wanted);

  test('has three peers, each with its node', async () => {
    const peers = await cluster.peers(calling());
    expect(peers.map(({ name }) => name).sort()).toEqual(['peer1', 'peer2', 'peer3']);
    expect(peers.map(({ ipfs }) => ipfs.peerId).sort()).toEqual(
      service.peers.map(({ kubo }) => kubo.id).sort(),
    );
    expect(await cluster.id(calling())).toMatchObject({ peerId: first.id, version: '1.1.6' });
  });

  test('keeps as many copies as it was asked, on the peers it says', async () => {
    const cid = await added();
    const request = { name: 'two of three', replicationMin: 2, replicationMax: 2 };
    const pin = await cluster.pin({ cid }, { ...request, metadata: { k: 'v=1' } }, calling());
    expect(pin).toMatchObject({ name: 'two of three', replicationMin: 2, metadata: { k: 'v=1' } });
    expect(pin.allocations).toHaveLength(2);
    const wanted = wantedPeers(pin, await cluster.peers(calling()));
    await vi.waitFor(async () => {
      expect(await replicas(pin, wanted)).toEqual(copies({ pinned: 2, total: 2 }));
    }, WAIT);
    const { peers } = await cluster.status(cid, calling());
    const rest = peers.filter(({ peerId }) => !wanted.includes(peerId));
    expect(rest).toMatchObject([{ state: 'remote' }]);
    const holders = service.peers.filter(({ id }) => wanted.includes(id));
    for (const { kubo } of holders) await kubo.rpc.json(`pin/ls?arg=${cid}`);
  });

  test('that loses a peer has a copy less, and again all when it is back', async () => {
    const cid = await added();
    const everywhere = { replicationMin: -1, replicationMax: -1 };
    const pin = await cluster.pin({ cid }, everywhere, calling());
    expect(pin.allocations).toEqual([]);
    const wanted = wantedPeers(pin, await cluster.peers(calling()));
    await vi.waitFor(async () => {
      expect(await replicas(pin, wanted)).toEqual(copies({ pinned: 3, total: 3 }));
    }, WAIT);

    await third.kill();
    await vi.waitFor(async () => {
      const { peers } = await cluster.status(cid, calling());
      expect(peers.map(({ peerId }) => peerId)).not.toContain(third.id);
    }, WAIT);
    expect(await replicas(pin, wanted)).toEqual(copies({ pinned: 2, absent: 1, total: 3 }));
    await vi.waitFor(async () => {
      const alerts = await cluster.alerts(calling());
      expect(alerts).toContainEqual(expect.objectContaining({ peerId: third.id, metric: 'ping' }));
    }, WAIT);
    const later = await added();
    await cluster.pin({ cid: later }, everywhere, calling());

    await third.restart();
    for (const one of [pin, { ...pin, cid: later }]) {
      await vi.waitFor(async () => {
        expect(await replicas(one, wanted)).toEqual(copies({ pinned: 3, total: 3 }));
      }, WAIT);
    }
  });

  test('says of a peer whose node is gone that it has an error, and recovers', async () => {
    const cid = await added();
    await third.kubo.kill();
    await vi.waitFor(async () => {
      const peer = (await cluster.peers(calling())).find(({ peerId }) => peerId === third.id);
      expect(peer?.ipfs.error).toMatch(/refused/);
    }, WAIT);
    const pin = await cluster.pin({ cid }, { replicationMin: -1, replicationMax: -1 }, calling());
    const wanted = service.peers.map(({ id }) => id);
    await vi.waitFor(async () => {
      expect(await replicas(pin, wanted)).toEqual(copies({ pinned: 2, error: 1, total: 3 }));
    }, WAIT);
    const { peers } = await cluster.status(cid, calling());
    const failed = peers.find(({ peerId }) => peerId === third.id);
    expect(failed).toMatchObject({ state: 'pin_error', error: expect.stringMatching(/refused/) });
    const listed = await all(cluster.statuses({ ...calling(), states: ['error'] }));
    expect(listed.map((status) => String(status.cid))).toContain(String(cid));

    await third.kubo.restart();
    await third.kubo.connect(first.kubo);
    await cluster.recover(cid, calling());
    await vi.waitFor(async () => {
      expect(await replicas(pin, wanted)).toEqual(copies({ pinned: 3, total: 3 }));
    }, WAIT);
  });

  test('keeps it where it is told', async () => {
    const cid = await added();
    const there = { replicationMin: 1, replicationMax: 1, allocations: [third.id] };
    const pin = await cluster.pin({ cid }, there, calling());
    expect(pin).toMatchObject({ allocations: [third.id], mode: 'recursive' });
    await vi.waitFor(async () => {
      expect(await replicas(pin, [third.id])).toEqual(copies({ pinned: 1, total: 1 }));
    }, WAIT);

    // A pin that follows it is where it is, whatever its own wishes; it stays itself.
    const next = await added();
    const followed = await cluster.pin({ cid: next }, { name: 'next', replaces: cid }, calling());
    expect(followed).toMatchObject({ allocations: [third.id], name: 'next', replicationMax: 1 });
    expect(await cluster.allocation(cid, calling())).toMatchObject({ allocations: [third.id] });
    const replaces = await added();
    const nothing = cluster.pin({ cid: await added() }, { replaces }, calling());
    await expect(nothing).rejects.toEqual(failing('not-pinned'));
  });

  test('keeps a block alone, but not of what it keeps whole', async () => {
    const cid = await added();
    const direct = { mode: 'direct' } as const;
    expect(await cluster.pin({ cid }, direct, calling())).toMatchObject(direct);
    await cluster.pin({ cid }, {}, calling());
    await expect(cluster.pin({ cid }, direct, calling())).rejects.toEqual(failing('exists'));
  });

  test('has the name and the metadata of the pin that came last', async () => {
    const cid = await added();
    await cluster.pin({ cid }, { name: 'one', metadata: { one: '1' } }, calling());
    await cluster.pin({ cid }, { name: 'two', metadata: { two: '2' } }, calling());
    expect(await cluster.allocation(cid, calling())).toMatchObject({
      name: 'two',
      metadata: { two: '2' },
    });
  });

  test('knows each state that a list may be limited to, and answers for one peer alone', async () => {
    const filters = [
      ...PEER_STATES.flatMap((state) => (state === 'undefined' ? [] : [state])),
      'error',
      'queued',
    ] as const;
    for (const state of filters) {
      await all(cluster.statuses({ ...calling(), states: [state] }));
    }
    const cid = await added();
    await cluster.pin({ cid }, {}, calling());
    const { peers } = await cluster.status(cid, { ...calling(), local: true });
    expect(peers.map(({ peerId }) => peerId)).toEqual([first.id]);
    const local = await all(cluster.statuses({ ...calling(), local: true }));
    expect(local.length).toBeGreaterThan(0);
    expect(local.every((status) => status.peers.length === 1)).toBe(true);
  });

  test('takes connections on loopback only', async () => {
    for (const { pid } of service.peers) {
      const places = await listeningAt(pid);
      expect(places.length).toBeGreaterThan(3);
      expect(places.filter((place) => !place.startsWith('127.0.0.1:'))).toEqual([]);
    }
  });

  test('lists what it keeps, and knows what it does not', async () => {
    const cid = await added();
    expect(await cluster.allocation(cid, calling())).toBeUndefined();
    const { peers } = await cluster.status(cid, calling());
    expect(peers.map(({ state }) => state)).toEqual(['unpinned', 'unpinned', 'unpinned']);
    await expect(cluster.unpin(cid, calling())).rejects.toEqual(failing('not-pinned'));

    const expiresAt = { s: Math.floor(Date.now() / 1000) + 3600, ns: 0 };
    await cluster.pin({ cid }, { name: 'a name & more', expiresAt }, calling());
    expect(await cluster.allocation(cid, calling())).toMatchObject({
      name: 'a name & more',
      expiresAt,
    });
    const kept = await all(cluster.allocations(calling()));
    expect(kept.map((pin) => String(pin.cid))).toContain(String(cid));
    await cluster.unpin(cid, calling());
    await vi.waitFor(async () => {
      expect(await cluster.allocation(cid, calling())).toBeUndefined();
    }, WAIT);
  });

  test('finds the way into content by names, whatever is in them', async () => {
    const { rpc } = first.kubo;
    const cid = await added();
    const name = '100% ü #1?';
    await rpc.bytes(`files/mkdir?arg=/${encodeURIComponent(name)}`);
    await rpc.bytes(`files/cp?arg=/ipfs/${cid}&arg=${encodeURIComponent(`/${name}/file`)}`);
    const { Hash } = await rpc.json<{ Hash: string }>('files/stat?arg=/');
    const target = { cid: CID.parse(Hash), names: [name, 'file'] };
    expect((await cluster.pin(target, {}, calling())).cid).toEqual(cid);
    const nowhere = cluster.pin({ ...target, names: ['nobody'] }, {}, calling());
    await expect(nowhere).rejects.toEqual(failing('not-found'));
  });

  test('refuses more copies than it has peers, and promises nothing', async () => {
    const cid = await added();
    const asked = cluster.pin({ cid }, { replicationMin: 5, replicationMax: 5 }, calling());
    await expect(asked).rejects.toEqual(failing('io'));
    expect(await cluster.allocation(cid, calling())).toBeUndefined();
  });

  test('refuses a request that is too long for it, and promises nothing', async () => {
    const cid = await added();
    const asked = cluster.pin({ cid }, { metadata: { k: 'v'.repeat(15_000) } }, calling());
    await expect(asked).rejects.toEqual(failing('payload-too-large'));
    expect(await cluster.allocation(cid, calling())).toBeUndefined();
  });

  test('pins what it refuses to read, which is why nothing wrong may go out', async () => {
    const cid = await added();
    const url = `${first.api}/pins/${cid}?name=wrong&replication=abc`;
    const { status } = await fetch(url, { method: 'POST' });
    expect(status).toBe(400);
    expect(await cluster.allocation(cid, calling())).toMatchObject({ name: 'wrong' });
    const request = { replicationMin: Number.NaN };
    const other = await added();
    const asked = cluster.pin({ cid: other }, request, calling());
    await expect(asked).rejects.toEqual(failing('invalid-argument'));
    expect(await cluster.allocation(other, calling())).toBeUndefined();
  });
});

describe('a cluster of one', { timeout: 90_000 }, () => {
  test('that asks who calls is answered by name and by token', async () => {
    const credentials = { kitfs: 'a secret' };
    await using service = await TestCluster.start(1, { credentials, pinTimeoutS: 2 });
    const [peer] = service.peers;
    if (peer === undefined) throw new Error('it has one peer');
    await using nobody = clusterAt(peer.api);
    await expect(nobody.id(calling())).rejects.toEqual(failing('credentials-invalid'));
    await using wrong = clusterAt(peer.api, 'basic:kitfs:wrong');
    await expect(wrong.id(calling())).rejects.toEqual(failing('credentials-invalid'));
    await using named = clusterAt(peer.api, 'basic:kitfs:a secret');
    expect(await named.id(calling())).toMatchObject({ peerId: peer.id });
    const basic = Buffer.from('kitfs:a secret').toString('base64');
    const headers = { authorization: `Basic ${basic}` };
    const told = await fetch(`${peer.api}/token`, { method: 'POST', headers });
    const { token } = (await told.json()) as { readonly token: string };
    await using shown = clusterAt(peer.api, `bearer:${token}`);
    expect(await shown.peers(calling())).toHaveLength(1);

    // Nobody has it: it tries, and says at last that it could not.
    const { cid, bytes } = rawBlock('nobody has this');
    const pin = await named.pin({ cid }, {}, calling());
    const states = async () => (await named.status(cid, calling())).peers;
    expect(replicasOf(await named.status(cid, calling()), [peer.id]).pinned).toBe(0);
    await vi.waitFor(async () => {
      expect(await states()).toMatchObject([{ state: 'pin_error', error: 'context canceled' }]);
    }, WAIT);
    await peer.kubo.rpc.json('block/put?cid-codec=raw', [{ bytes }]);
    await named.recover(pin.cid, calling());
    await vi.waitFor(async () => expect(await states()).toMatchObject([{ state: 'pinned' }]), WAIT);
  });

  test('is gone when its test is over, whatever ended it', async () => {
    const service = await TestCluster.start(1);
    const [peer] = service.peers;
    const { directory } = service;
    const pids = [peer?.pid, peer?.kubo.pid];
    await peer?.kubo.kill();
    await service[Symbol.asyncDispose]();
    expect(existsSync(directory)).toBe(false);
    for (const pid of pids) expect(existsSync(`/proc/${pid}`)).toBe(false);
  });
});
