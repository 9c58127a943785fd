/** The engine Storacha on the service's own code, and what it stored read by others: its client, its index, Kubo. */

import { inspect } from 'node:util';
import { ShardedDAGIndex } from '@storacha/blob-index';
import type { CID } from 'multiformats/cid';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CarStore } from '../../src/backend/cars.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { BLOCK_BYTES_MAX } from '../../src/base/limits.ts';
import {
  all,
  type Block,
  blockOf,
  calling,
  carBlocks,
  directoryOf,
  rawBlock,
  secretOf,
  streamOf,
} from '../backend/engine.ts';
import {
  pages,
  putTree,
  roots,
  storeAt,
  type Tree,
  treeOf,
  uploads,
} from '../backend/storacha/space.ts';
import { noise } from '../backend/stores/fixture.ts';
import { KuboNode } from '../services/kubo.ts';
import { listeningAt } from '../services/process.ts';
import { ABILITIES, type Given, Storacha } from '../services/storacha.ts';

const MIB = 1024 * 1024;
const failing = (failure: string, hint?: RegExp) =>
  expect.objectContaining({
    failure,
    ...(hint === undefined ? {} : { hint: expect.stringMatching(hint) }),
  });

let service: Storacha;

beforeAll(async () => {
  service = await Storacha.start();
});

afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

/** In a new space, with all that is needed. */
async function open(more: Parameters<typeof storeAt>[3] = {}) {
  const space = await service.makeSpace();
  const given = await service.give(space);
  return { space, given, store: storeAt(service, space, given, more) };
}

const storedIn = async (cars: readonly CID[]): Promise<Block[]> => {
  const blocks = await Promise.all(
    cars.map(async (car) => carBlocks(streamOf((await service.blob(car)) ?? Buffer.alloc(0)))),
  );
  return blocks.flat();
};

const cidsOf = (blocks: readonly Block[]) => blocks.map(({ cid }) => String(cid));

/** Of some MiB, in leaves of 1 MiB. */
function largeTree(leaves: number): Tree {
  const files = Array.from({ length: leaves }, (_, at) => blockOf(noise(MIB, at + 1)));
  const root = directoryOf(Object.fromEntries(files.map((file, at) => [`part-${at}`, file])));
  return { root: root.cid, blocks: [root, ...files] };
}

test('the service and all that belongs to it listen on 127.0.0.1 only', async () => {
  const places = await listeningAt(service.pid);
  expect(places.length).toBeGreaterThan(1);
  for (const place of places) expect(place).toMatch(/^127\.0\.0\.1:/);
});

describe('what was put', () => {
  test('is listed under its root, and the service has it block by block', async () => {
    const { store, space } = await open();
    await using _ = store;
    const tree = treeOf('one', 'other');
    const stored = await putTree(store, tree);
    expect(stored).toMatchObject({ root: tree.root, blocks: 3 });
    expect(stored.cars).toHaveLength(1);
    expect(cidsOf(await storedIn(stored.cars))).toEqual(cidsOf(tree.blocks));
    const { cars, added } = stored;
    expect(await uploads(store)).toEqual([expect.objectContaining({ root: tree.root, cars })]);
    expect(await store.uploads.head(tree.root, calling())).toMatchObject({ cars });
    expect(added).toBeUndefined();
    const [listed] = await uploads(store);
    expect(Math.abs((listed?.added?.s ?? 0) - Date.now() / 1000)).toBeLessThan(60);
    // And its own client sees the same.
    expect(await service.uploads(space)).toEqual([
      { root: String(tree.root), shards: cars.map(String) },
    ]);
  });

  test('twice is as once, in the same CARs', async () => {
    const { store } = await open();
    await using _ = store;
    const tree = treeOf('the same');
    const first = await putTree(store, tree);
    const second = await putTree(store, tree);
    expect(second).toEqual(first);
    expect(await roots(store)).toEqual([String(tree.root)]);
  });

  test('is in another space when it is put there too, though the service has it already', async () => {
    const [one, other] = [await open(), await open()];
    await using _ = one.store;
    await using __ = other.store;
    const tree = treeOf('in two spaces');
    await putTree(one.store, tree);
    await putTree(other.store, tree);
    expect(await roots(other.store)).toEqual([String(tree.root)]);
    await one.store.uploads.remove(tree.root, calling());
    expect(await roots(one.store)).toEqual([]);
    expect(await roots(other.store)).toEqual([String(tree.root)]);
  });

  test('travels in several CARs when it is large, and the index says where each block lies', async () => {
    const { store } = await open({ carBytesMax: BLOCK_BYTES_MAX + MIB });
    await using _ = store;
    const tree = largeTree(7);
    const stored = await putTree(store, tree);
    expect(stored.cars.length).toBeGreaterThan(3);
    expect(cidsOf(await storedIn(stored.cars))).toEqual(cidsOf(tree.blocks));
    const { ok: index } = ShardedDAGIndex.extract((await service.blob(stored.index)) ?? noise(0));
    expect(String(index?.content)).toBe(String(tree.root));
    const places = new Map<string, Buffer>();
    for (const car of stored.cars) {
      const bytes = (await service.blob(car)) ?? Buffer.alloc(0);
      expect(bytes.length).toBeLessThanOrEqual(store.limits.carBytesMax);
      const slices = [...(index?.shards.entries() ?? [])].find(([digest]) =>
        Buffer.from(digest.bytes).equals(car.multihash.bytes),
      )?.[1];
      for (const [digest, [offset, length]] of slices?.entries() ?? []) {
        const key = Buffer.from(digest.bytes).toString('hex');
        places.set(key, bytes.subarray(offset, offset + length));
      }
    }
    for (const { cid, bytes } of tree.blocks) {
      const place = places.get(Buffer.from(cid.multihash.bytes).toString('hex'));
      expect(place?.equals(bytes)).toBe(true);
    }
    // The CARs themselves are in it besides.
    expect(places.size).toBe(tree.blocks.length + stored.cars.length);
  });

  test('is read from a gateway that has it, each block verified', { timeout: 90_000 }, async () => {
    await using kubo = await KuboNode.start({
      offline: true,
      settings: { 'Gateway.NoFetch': true },
    });
    const { store } = await open({ gatewayUrl: kubo.gateway });
    await using _ = store;
    const tree = treeOf('read', 'back');
    const { cars } = await putTree(store, tree);
    for (const car of cars) {
      await kubo.rpc.bytes('dag/import', (await service.blob(car)) ?? Buffer.alloc(0));
    }
    const wanted = { root: tree.root, names: [], scope: 'all' } as const;
    if (store.source === undefined) throw new Error('it has no source');
    const read = await all(store.source.blocks(wanted, calling()));
    expect(cidsOf(read)).toEqual(cidsOf(tree.blocks));
    expect((await store.probe(calling())).read).toBe(true);
  });
});

describe('a list', () => {
  test('has what the client of Storacha put, whose blocks are what it says', async () => {
    const { store, space } = await open();
    await using _ = store;
    const root = await service.upload(space, 'put by the other client');
    const [listed, ...more] = await uploads(store);
    expect(more).toEqual([]);
    expect(String(listed?.root)).toBe(root);
    const blocks = await storedIn(listed?.cars ?? []);
    expect(cidsOf(blocks)).toContain(root);
  });

  test('comes in pages, and goes on behind any of them', async () => {
    const { store } = await open();
    await using _ = store;
    const put: string[] = [];
    for (let at = 0; at < 5; at++) {
      put.unshift(String((await putTree(store, treeOf(`upload ${at}`))).root));
    }
    const read = await pages(store, { perPage: 2 });
    expect(read.map(({ uploads: { length } }) => length).filter(Boolean)).toEqual([2, 2, 1]);
    expect(await roots(store, 2)).toEqual(put);
    expect(await roots(store)).toEqual(put);
    const [first] = read;
    const rest = await pages(store, { perPage: 3, ...(first?.next && { after: first.next }) });
    expect(rest.flatMap((page) => page.uploads.map(({ root }) => String(root)))).toEqual(
      put.slice(2),
    );
    expect(read.at(-1)?.next).toBeUndefined();
  });

  test('of an empty space is one empty page', async () => {
    const { store } = await open();
    await using _ = store;
    expect(await pages(store)).toEqual([{ uploads: [] }]);
  });
});

describe('a removal', () => {
  test('shows at once, leaves the bytes, and is done once', async () => {
    const { store } = await open();
    await using _ = store;
    const [tree, other] = [treeOf('goes'), treeOf('stays')];
    const { cars } = await putTree(store, tree);
    await putTree(store, other);
    expect(await roots(store)).toHaveLength(2);
    const removed = await store.uploads.remove(tree.root, calling());
    expect(removed).toEqual({ outcome: 'removed', cars });
    expect(await roots(store)).toEqual([String(other.root)]);
    expect(await store.uploads.head(tree.root, calling())).toBeUndefined();
    const again = await store.uploads.remove(tree.root, calling());
    expect(again).toEqual({ outcome: 'absent', cars: [] });
    expect(await storedIn(cars)).toHaveLength(tree.blocks.length);
  });

  test('is undone by putting it again', async () => {
    const { store } = await open();
    await using _ = store;
    const tree = treeOf('there and back');
    await putTree(store, tree);
    await store.uploads.remove(tree.root, calling());
    await putTree(store, tree);
    expect(await roots(store)).toEqual([String(tree.root)]);
  });
});

describe('nothing is stored', () => {
  const refusing = async (blocks: AsyncIterable<Block>, root: CID, failure: string) => {
    const { store } = await open();
    await using _ = store;
    await expect(store.uploads.put(root, blocks, calling())).rejects.toEqual(failing(failure));
    expect(await roots(store)).toEqual([]);
  };

  test('of a block that is not its CID', async () => {
    const [one, other] = [rawBlock('one'), rawBlock('other')];
    await refusing(streamOf({ cid: one.cid, bytes: other.bytes }), one.cid, 'integrity');
  });

  test('when the root is not among the blocks', async () => {
    await refusing(streamOf(rawBlock('one')), rawBlock('other').cid, 'invalid-argument');
    await refusing(streamOf(), rawBlock('none').cid, 'invalid-argument');
  });

  test('of a block that no CAR has room for', async () => {
    const large = blockOf(noise(BLOCK_BYTES_MAX + 2 * MIB));
    const space = await service.makeSpace();
    const given = await service.give(space);
    await using store = storeAt(service, space, given, { carBytesMax: BLOCK_BYTES_MAX + MIB });
    const put = store.uploads.put(large.cid, streamOf(large), calling());
    await expect(put).rejects.toEqual(failing('file-too-large'));
  });

  test('when reading the blocks fails; and the source hears of it when it is the store that fails', async () => {
    const broken = new Error('the source broke');
    const { store } = await open();
    await using _ = store;
    async function* failingSource(): AsyncGenerator<Block> {
      yield rawBlock('one');
      throw broken;
    }
    const { cid } = rawBlock('one');
    await expect(store.uploads.put(cid, failingSource(), calling())).rejects.toBe(broken);
    let isTold = false;
    async function* endless(): AsyncGenerator<Block> {
      try {
        for (;;) yield { cid, bytes: Buffer.from('two') };
      } finally {
        isTold = true;
      }
    }
    const put = store.uploads.put(cid, endless(), calling());
    await expect(put).rejects.toEqual(failing('integrity'));
    expect(isTold).toBe(true);
    expect(await roots(store)).toEqual([]);
  });
});

describe('who may not', () => {
  const list = (store: CarStore) => uploads(store);
  /** A list with what may be wrong in what is shown. */
  async function refused(wrong: Partial<Given>, more: Parameters<typeof storeAt>[3] = {}) {
    const space = await service.makeSpace();
    const given = await service.give(space);
    await using store = storeAt(service, space, { ...given, ...wrong }, more);
    return await list(store).then(
      () => undefined,
      (error: unknown) => error,
    );
  }

  test('shows a key that is none, or that of somebody else', async () => {
    for (const key of ['', 'not a key', 'MgCAAAA']) {
      expect(await refused({ key })).toEqual(failing('credentials-invalid', /^key: /));
    }
    const other = await service.give(await service.makeSpace());
    expect(await refused({ key: other.key })).toEqual(
      failing('credentials-invalid', /given to another key/),
    );
  });

  test('shows no proof, or one for another space', async () => {
    for (const proof of ['', 'mAYIEA', 'not a proof', 'bafkqaaa']) {
      expect(await refused({ proof })).toEqual(failing('credentials-invalid', /^proof: /));
    }
    const other = await service.give(await service.makeSpace());
    expect(await refused(other)).toEqual(failing('credentials-invalid', /another space/));
  });

  test('shows a proof that has expired', async () => {
    const space = await service.makeSpace();
    const expiration = Math.floor(Date.now() / 1000) - 60;
    const given = await service.give(space, ABILITIES, { expiration });
    await using store = storeAt(service, space, given);
    await expect(list(store)).rejects.toEqual(failing('credentials-expired', /expired/));
    // The service says so where the clock of this host does not.
    const { clock, random } = { clock: behind(3600), random: { token: () => 'x'.repeat(22) } };
    await using late = storeAt(service, space, given, { clock, random });
    await expect(list(late)).rejects.toEqual(failing('credentials-expired', /clock/));
  });

  test('shows a proof that was taken back', async () => {
    const { store, given } = await open();
    await using _ = store;
    expect(await roots(store)).toEqual([]);
    await service.revoke(given.proof);
    await expect(list(store)).rejects.toEqual(failing('credentials-invalid', /another proof/));
  });

  test('was not given what is asked for, and hears of it before anything is sent', async () => {
    const space = await service.makeSpace();
    await using store = storeAt(service, space, await service.give(space, ['upload/list']));
    expect(await store.probe(calling())).toEqual({
      list: true,
      put: false,
      remove: false,
      read: false,
    });
    expect(await roots(store)).toEqual([]);
    await expect(putTree(store, treeOf('x'))).rejects.toEqual(
      failing('credentials-invalid', /space\/blob\/add/),
    );
    const { root } = treeOf('x');
    await expect(store.uploads.remove(root, calling())).rejects.toEqual(
      failing('credentials-invalid', /upload\/remove/),
    );
  });

  test('is let in once the secrets behind the references are others', async () => {
    const space = await service.makeSpace();
    const good = await service.give(space);
    const old = await service.give(space);
    let given = old;
    await using store = storeAt(service, space, old, {
      key: () => secretOf(given.key),
      proof: () => secretOf(given.proof),
    });
    expect(await roots(store)).toEqual([]);
    await service.revoke(old.proof);
    await expect(list(store)).rejects.toEqual(failing('credentials-invalid'));
    given = good;
    expect(await roots(store)).toEqual([]);
  });

  test('asks a service that calls itself something else', async () => {
    const space = await service.makeSpace();
    const given = await service.give(space);
    const where = { url: service.url, did: 'did:web:example.org' };
    await using store = storeAt(where, space, given);
    await expect(list(store)).rejects.toEqual(failing('configuration', /service_did/));
  });

  test('has a space without storage, or one that is full', async () => {
    const space = await service.makeSpace({ provisioned: false });
    await using store = storeAt(service, space, await service.give(space));
    await expect(putTree(store, treeOf('x'))).rejects.toEqual(
      failing('configuration', /provision/),
    );
    expect(await roots(store)).toEqual([]);
    await using small = await Storacha.start({ bytesMax: MIB });
    const full = await small.makeSpace();
    await using other = storeAt(small, full, await small.give(full));
    await expect(putTree(other, largeTree(2))).rejects.toEqual(failing('quota-exceeded'));
    expect(await roots(other)).toEqual([]);
  });

  test('no key and no proof is in any error', async () => {
    const space = await service.makeSpace();
    const { key, proof } = await service.give(space);
    const other = await service.give(await service.makeSpace());
    for (const wrong of [
      { proof: proof.slice(0, -9) },
      { key: other.key },
      { key: key.slice(1) },
    ]) {
      const error = await refused({ key, proof, ...wrong });
      const said = inspected(error);
      for (const secret of [key, proof, other.key]) {
        expect(said).not.toContain(secret.slice(8, 40));
      }
    }
  });
});

/** A clock that runs behind by so much. */
function behind(seconds: number) {
  const clock = new SystemClock();
  return {
    now: () => ({ s: clock.now().s - seconds, ns: 0 }),
    monotonicMs: () => clock.monotonicMs(),
    sleep: (delayMs: number, signal: AbortSignal) => clock.sleep(delayMs, signal),
  };
}

const inspected = (value: unknown): string => inspect(value, { depth: 20, showHidden: true });
