/** The laws of content that is elsewhere, and of bringing it here. */
import { existsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { create as digestOf } from 'multiformats/hashes/digest';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { digestKind } from '../../src/base/digests.ts';
import type { ContentId } from '../../src/base/ids.ts';
import { FETCH_MS_MAX, READ_AHEAD_BYTES } from '../../src/base/limits.ts';
import {
  BlockFetcher,
  type BlockOrigin,
  blockKey,
  CID,
  CONTENT_PROFILE,
  cidOfBytes,
  Dag,
  Filling,
} from '../../src/content/content.ts';
import { ContentCheck } from '../../src/daemon/content-check.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { settle } from '../fakes/clock.ts';
import { Origin } from '../fakes/origin.ts';
import { gate } from '../fuse/rig.ts';
import { Fixture, failureOf, noise, TurnedClock } from './fixture.ts';

const ADDED = { profile: CONTENT_PROFILE, dryRun: false } as const;
const MIB = 1024 * 1024;

let there: Fixture;
let here: Fixture;
let origin: Origin;
let filling: Filling;
beforeEach(() => {
  there = new Fixture();
  here = new Fixture();
  origin = new Origin();
  filling = fillingOf(here);
});
afterEach(async () => {
  await filling.settled();
  await here.close();
  await there.close();
});

function fillingOf(fixture: Fixture, offered = (): BlockOrigin | undefined => origin): Filling {
  const { contents, blocks, sealer, clock, log, signal } = fixture;
  const fetcher = new BlockFetcher({ origin: offered, clock });
  return new Filling({ contents, blocks, fetcher, sealer, log, signal });
}

interface Made {
  readonly cid: CID;
  readonly bytes: Buffer;
  /** Raw leaves in their order, each once. */
  readonly leaves: readonly CID[];
}

/** A file that the node has, and nobody here. */
async function made(bytes: Buffer): Promise<Made> {
  const { cid } = await there.builder.addBytes(
    bytes,
    { profile: CONTENT_PROFILE, dryRun: false },
    there.signal,
  );
  const leaves: CID[] = [];
  for await (const { cid: block } of new Dag(there.blocks).walk(cid, there.signal)) {
    const found = there.blocks.get(block);
    if (found === undefined) throw new Error('the node has every block');
    origin.put(block, found);
    if (block.code === 0x55) leaves.push(block);
  }
  return { cid, bytes, leaves };
}

/** Shown by one inode, as far as the content store is concerned. */
function remote({ cid, bytes }: Made, isForeign = false): ContentId {
  return here.journal.commit(() => {
    const profile = isForeign ? undefined : CONTENT_PROFILE;
    const id = here.contents.remote.create({ cid, size: bytes.length, profile });
    here.contents.retain(id);
    return id;
  });
}

const bring = (id: ContentId, from: number, to: number, signal = here.signal) =>
  filling.bring(id, { from, to }, signal);

function read(id: ContentId, from: number, to: number): Buffer {
  const into = Buffer.alloc(to - from);
  const count = here.contents.read(id, into, 0, into.length, from);
  return into.subarray(0, count);
}

const sealed = async (id: ContentId) => {
  await filling.settled();
  const row = here.contents.row(id);
  return { state: row?.state, cid: row?.cid?.toString('hex') };
};
const sealedAs = (cid: CID) => ({ state: 'sealed', cid: blockKey(cid).toString('hex') });
/** Findings but those of the inode that there is not. */
const findings = () => checkJournal(here.journal).filter(({ rule }) => rule !== 'content-refs');

test.each([1, 1000, 65_536, 65_537, MIB, 3 * MIB + 17])(
  'a file of %i bytes that was read whole is sealed where it lies, under the same CID',
  async (size) => {
    const file = await made(noise(size));
    const id = remote(file);
    await bring(id, 0, size);
    expect(read(id, 0, size).equals(file.bytes)).toBe(true);
    expect(await sealed(id)).toEqual(sealedAs(file.cid));
    expect(read(id, 0, size).equals(file.bytes)).toBe(true);
    expect(findings()).toEqual([]);
    for (const leaf of file.leaves) expect(here.blocks.has(leaf)).toBe(true);
    expect(await here.sealer.verify(id, here.signal)).toBe(true);
  },
);

test('only the blocks of what is read are asked for, and the next read of them asks nobody', async () => {
  const file = await made(noise(8 * MIB));
  const id = remote(file);
  await bring(id, 5 * MIB + 1, 5 * MIB + 2);
  expect(origin.asked).toEqual([file.cid.toString(), file.leaves[5]?.toString()]);
  await bring(id, 5 * MIB + 10, 6 * MIB);
  expect(origin.asked).toHaveLength(2);
  expect(read(id, 5 * MIB, 6 * MIB).equals(file.bytes.subarray(5 * MIB, 6 * MIB))).toBe(true);
});

test('who reads one small file after the other finds the next ones here, and no large one', async () => {
  const files = [];
  for (let at = 0; at < 200; at += 1) files.push(await made(Buffer.from(`file ${at}`)));
  const large = await made(noise(3 * MIB));
  const ids = [...files.slice(0, 5), large, ...files.slice(5)].map((file) => remote(file));
  const readAt = (at: number) => bring(ids[at] as ContentId, 0, 8);
  await readAt(100);
  await filling.settled();
  // One is no reader of all.
  expect(origin.asked).toHaveLength(1);
  await readAt(0);
  await readAt(2);
  await filling.settled();
  expect(origin.asked).toHaveLength(1 + 2 + 64);
  expect(origin.asked).not.toContain(large.cid.toString());
  expect(origin.asked).not.toContain(files[1]?.cid.toString());
  const ahead = 2 + 64 + 2;
  await readAt(ahead);
  await filling.settled();
  expect(origin.asked.length).toBeGreaterThan(1 + 2 + 64 + 32);
  expect(findings()).toEqual([]);
});

test('what is all zeros takes no room, wherever it comes in a file', async () => {
  const bytes = Buffer.alloc(8 * MIB);
  noise(10_000).copy(bytes, 5 * MIB + 8192);
  const file = await made(bytes);
  const id = remote(file);
  await bring(id, 7 * MIB, 8 * MIB);
  await bring(id, 0, 8 * MIB);
  expect(await sealed(id)).toEqual(sealedAs(file.cid));
  expect(read(id, 0, 8 * MIB).equals(bytes)).toBe(true);
  expect(here.contents.seek(id, 0, 'data')).toBe(5 * MIB + 8192);
  expect(here.contents.seek(id, 5 * MIB + 8192, 'hole')).toBe(5 * MIB + 8192 + 12_288);
});

test('what is not here is missing with its CID, and never zeros', async () => {
  const file = await made(noise(3 * MIB));
  const id = remote(file);
  const missing = { failure: 'content-missing', details: { cid: file.cid.toString() } };
  expect(() => read(id, 0, 1)).toThrow(expect.objectContaining(missing));
  await bring(id, 2 * MIB, 3 * MIB);
  expect(() => read(id, 2 * MIB - 1, 2 * MIB + 1)).toThrow(expect.objectContaining(missing));
  const store = here.contents;
  here.journal.commit(() => {
    expect(() => store.fork(id)).toThrow(expect.objectContaining(missing));
    const copy = store.create('local');
    expect(() => store.copy(id, 0, copy, 0, 10)).toThrow(expect.objectContaining(missing));
    store.discard(copy);
  });
});

test('readers of one block wait for one fetch of it', async () => {
  const file = await made(noise(3 * MIB));
  const id = remote(file);
  origin.hold();
  const readers = [9, 7, 5, 3, 1].map((at) => bring(id, MIB + at, MIB + at + 1));
  await origin.hasAsked(1);
  origin.release();
  await Promise.all(readers);
  expect(origin.asked).toHaveLength(2);
});

describe('who reads on', () => {
  test('finds the next bytes here', async () => {
    const file = await made(noise(8 * MIB));
    const id = remote(file);
    await bring(id, 0, 1000);
    await filling.settled();
    expect(here.contents.remote.has(id, 0, READ_AHEAD_BYTES)).toBe(true);
    expect(here.contents.remote.has(id, 0, READ_AHEAD_BYTES + 2 * MIB)).toBe(false);
  });

  test('and waits for nothing but what he reads, nor fails by what lies ahead', async () => {
    const file = await made(noise(8 * MIB));
    const id = remote(file);
    for (const leaf of file.leaves.slice(1)) origin.let(leaf, 'lie');
    await bring(id, 0, MIB);
    expect(read(id, 0, MIB).equals(file.bytes.subarray(0, MIB))).toBe(true);
    await filling.settled();
    expect((await failureOf(bring(id, MIB, MIB + 1))).failure).toBe('integrity');
  });
});

test('a file of the same block many times is brought whole by one fetch of it, after a restart too', async () => {
  const file = await made(Buffer.alloc(5 * MIB, 7));
  expect(file.leaves).toHaveLength(1);
  const id = remote(file);
  await bring(id, MIB, 2 * MIB);
  await filling.settled();
  const after = new Filling({ ...parts(), log: here.log, signal: here.signal });
  await after.bring(id, { from: 0, to: 5 * MIB }, here.signal);
  await after.settled();
  expect(here.contents.row(id)?.state).toBe('sealed');
  expect(read(id, 0, 5 * MIB).equals(file.bytes)).toBe(true);
  expect(origin.asked.filter((cid) => cid === file.leaves[0]?.toString())).toHaveLength(1);
});

function parts() {
  const { contents, blocks, sealer, clock } = here;
  const fetcher = new BlockFetcher({ origin: () => origin, clock });
  return { contents, blocks, sealer, fetcher };
}

test('what was brought needs no node to be found again, whoever opens the store', async () => {
  const file = await made(noise(4 * MIB));
  const id = remote(file);
  await bring(id, MIB, 2 * MIB);
  origin.manner = 'offline';
  const after = new Filling({ ...parts(), log: here.log, signal: here.signal });
  await after.bring(id, { from: MIB + 5, to: 2 * MIB }, here.signal);
  await after.settled();
  expect((await failureOf(after.bring(id, { from: 0, to: 1 }, here.signal))).details).toEqual({
    cid: file.leaves[0]?.toString(),
    reason: 'not-running',
  });
});

test('content of a file that is here already is shared by its blocks, and nobody is asked for them', async () => {
  const bytes = noise(3 * MIB);
  const file = await made(bytes);
  await here.builder.addBytes(bytes, { profile: CONTENT_PROFILE, dryRun: false }, here.signal);
  const id = remote(file);
  await bring(id, 0, bytes.length);
  expect(origin.asked).toEqual([]);
  expect(await sealed(id)).toEqual(sealedAs(file.cid));
});

test.each(['lie', 'truncate'] as const)('a node that would %s leaves no byte', async (manner) => {
  const file = await made(noise(2 * MIB));
  const id = remote(file);
  origin.let(file.leaves[1] as CID, manner);
  expect((await failureOf(bring(id, 0, 2 * MIB))).failure).toBe('integrity');
  expect(here.contents.remote.has(id, MIB, MIB + 1)).toBe(false);
  origin.manner = 'give';
  origin.let(file.leaves[1] as CID, 'give');
  await bring(id, 0, 2 * MIB);
  expect(await sealed(id)).toEqual(sealedAs(file.cid));
});

test('a block that is damaged here is asked for elsewhere; with nobody to ask it is an error', async () => {
  const file = await made(noise(5000));
  here.blocks.put(file.cid, file.bytes);
  const [row] = here.journal.contents.page(0, 1);
  if (row === undefined) throw new Error('it is here');
  here.flip(row.id, 7);
  const alone = fillingOf(here, () => undefined);
  const failure = await failureOf(alone.bring(remote(file), { from: 0, to: 5000 }, here.signal));
  expect(failure.failure).toBe('integrity');
  const id = remote(file);
  await bring(id, 0, 5000);
  expect(read(id, 0, 5000).equals(file.bytes)).toBe(true);
});

test('a file that claims another size than its DAG is damaged, not cut or filled', async () => {
  const file = await made(noise(2 * MIB));
  const id = remote({ ...file, bytes: Buffer.alloc(2 * MIB + 5) });
  expect((await failureOf(bring(id, 0, 10))).failure).toBe('integrity');
  const small = await made(noise(100, 3));
  const other = remote({ ...small, bytes: Buffer.alloc(99) });
  expect((await failureOf(bring(other, 0, 10))).failure).toBe('integrity');
});

test('who waits ends with his signal, and what was asked for him too', async () => {
  const file = await made(noise(2 * MIB));
  const id = remote(file);
  origin.let(file.leaves[1] as CID, 'hang');
  const reader = new AbortController();
  const reading = failureOf(bring(id, MIB, 2 * MIB, reader.signal));
  await origin.hasAsked(2);
  const gone = new Error('interrupted');
  reader.abort(gone);
  expect(await reading).toBe(gone);
  expect(origin.ended).toBeGreaterThan(0);
});

describe('all of a large file', () => {
  const fillingAt = (clock: TurnedClock, from: BlockOrigin = origin): Filling => {
    const fetcher = new BlockFetcher({ origin: () => from, clock });
    return new Filling({ ...parts(), fetcher, log: here.log, signal: here.signal });
  };

  test('comes however long that takes, and little of it at once', async () => {
    const file = await made(noise(24 * MIB));
    const id = remote(file);
    const clock = new TurnedClock();
    const under = new Set<string>();
    let most = 0;
    const slow: BlockOrigin = {
      async blockGet(cid, options) {
        under.add(cid.toString());
        most = Math.max(most, under.size);
        await settle();
        clock.turn(FETCH_MS_MAX / 16);
        under.delete(cid.toString());
        return origin.blockGet(cid, options);
      },
    };
    filling = fillingAt(clock, slow);
    const begunMs = clock.monotonicMs();
    await bring(id, 0, 24 * MIB);
    expect(clock.monotonicMs() - begunMs).toBeGreaterThan(FETCH_MS_MAX);
    expect(most).toBeLessThanOrEqual((2 * READ_AHEAD_BYTES) / MIB);
    expect(await sealed(id)).toEqual(sealedAs(file.cid));
  });

  test('waits for a block that is late as long as others come, and no longer', async () => {
    const file = await made(noise(3 * MIB));
    const id = remote(file);
    const clock = new TurnedClock();
    filling = fillingAt(clock);
    origin.let(file.leaves[1] as CID, 'hang');
    const bringing = failureOf(bring(id, 0, 3 * MIB));
    await origin.hasAsked(4);
    await vi.waitFor(() => expect(here.contents.remote.has(id, 2 * MIB, 3 * MIB)).toBe(true));
    clock.turn(FETCH_MS_MAX);
    await origin.hasAsked(5);
    clock.turn(FETCH_MS_MAX);
    expect(await bringing).toMatchObject({ details: { reason: 'timeout' } });
    expect(origin.asked.filter((cid) => cid === file.leaves[1]?.toString())).toHaveLength(2);
  });

  test('is hashed in its own time: who does not wait for that ends with his signal', async () => {
    const file = await made(noise(2 * MIB));
    const id = remote(file);
    const hashed = gate<boolean>();
    const sealer = { sealRemote: () => hashed.promise };
    filling = new Filling({ ...parts(), sealer, log: here.log, signal: here.signal });
    await bring(id, 0, 2 * MIB);
    const waiting = new AbortController();
    const gone = failureOf(filling.sealed(id, waiting.signal));
    waiting.abort(new Error('interrupted'));
    expect(await gone).toBe(waiting.signal.reason);
    hashed.open(true);
  });
});

test('bytes that the disk changed before all had come are fetched again, and said', async () => {
  const file = await made(noise(3 * MIB));
  const id = remote(file);
  await bring(id, 2 * MIB, 3 * MIB);
  const path = here.contents.backingPath(id) ?? '';
  writeFileSync(path, Buffer.alloc(3 * MIB, 1));
  await bring(id, 0, 2 * MIB);
  expect(await sealed(id)).toMatchObject({ state: 'remote' });
  expect(here.log.messages).toContain('fetched content is not what its CID says');
  await bring(id, 0, 3 * MIB);
  expect(await sealed(id)).toEqual(sealedAs(file.cid));
  expect(read(id, 0, 3 * MIB).equals(file.bytes)).toBe(true);
});

test('content cut by somebody else has the CID of its bytes when it is whole', async () => {
  const bytes = noise(2 * MIB);
  const [one, other] = [bytes.subarray(0, 700_000), bytes.subarray(700_000)];
  const { foreign, blocks } = await cutByHand([one, other]);
  for (const { cid, bytes: block } of blocks) origin.put(cid, block);
  const id = remote({ cid: foreign, bytes, leaves: [] }, true);
  await bring(id, 0, bytes.length);
  const file = await made(bytes);
  expect(await sealed(id)).toEqual(sealedAs(file.cid));
  expect(read(id, 0, bytes.length).equals(bytes)).toBe(true);
  expect(findings()).toEqual([]);
});

test('a small file of one block under another hash is sealed under the CID its bytes have here', async () => {
  const bytes = noise(1000);
  const blake = digestKind(0xb220)?.digest(bytes);
  if (blake === undefined) throw new Error('blake2b-256 is known');
  const foreign = CID.createV1(0x55, digestOf(0xb220, blake));
  origin.put(foreign, bytes);
  const id = remote({ cid: foreign, bytes, leaves: [] }, true);
  await bring(id, 0, bytes.length);
  const file = await made(bytes);
  expect(await sealed(id)).toEqual(sealedAs(file.cid));
  expect(read(id, 0, bytes.length).equals(bytes)).toBe(true);
  const { contents } = here.journal;
  const { hasher, signal } = here;
  const directory = here.contents.directoryOf('file');
  const check = new ContentCheck({ contents, hasher, directory, signal });
  expect(await check.all(() => {})).toEqual([]);
  expect(findings()).toEqual([]);
});

async function cutByHand(pieces: readonly Buffer[]) {
  const { UnixFS } = await import('ipfs-unixfs');
  const { encode, prepare } = await import('@ipld/dag-pb');
  const { sha256 } = await import('multiformats/hashes/sha2');
  const { CID: Cid } = await import('multiformats/cid');
  const { rawCid } = await import('../../src/content/content.ts');
  const unixfs = new UnixFS({ type: 'file' });
  const leaves = pieces.map((bytes) => ({ cid: rawCid(bytes), bytes }));
  for (const { bytes } of leaves) unixfs.addBlockSize(BigInt(bytes.length));
  const Links = leaves.map(({ cid, bytes }) => ({ Name: '', Hash: cid, Tsize: bytes.length }));
  const bytes = encode(prepare({ Data: unixfs.marshal(), Links }));
  const foreign = Cid.createV1(0x70, await sha256.digest(bytes));
  return { foreign, blocks: [...leaves, { cid: foreign, bytes }] };
}

test('a loss of power leaves nothing of what was brought but inner nodes', async () => {
  const file = await made(noise(3 * MIB));
  const id = remote(file);
  await bring(id, 2 * MIB, 3 * MIB);
  const path = here.contents.backingPath(id) ?? '';
  truncateSync(path, 0);
  here.journal.commit(() => here.journal.contents.forgetFetched());
  expect(here.blocks.has(file.leaves[2] as CID)).toBe(false);
  expect(here.blocks.has(file.cid)).toBe(true);
});

test.each<[string, (cid: CID, bytes: Buffer) => unknown]>([
  ['put', (cid, bytes) => here.blocks.put(cid, bytes)],
  ['held', (cid) => here.blocks.hold(cid)],
  ['added', (_, bytes) => here.builder.addBytes(bytes, ADDED, here.signal)],
])(
  'a block that was fetched for a file and is %s then outlives a loss of power',
  async (_, keep) => {
    const file = await made(noise(3 * MIB));
    const leaf = file.leaves[1] as CID;
    const bytes = file.bytes.subarray(MIB, 2 * MIB);
    await bring(remote(file), MIB, 2 * MIB);
    await keep(leaf, bytes);
    const own = here.journal.contents.lastingBlock(blockKey(leaf))?.content;
    expect(here.contents.row(own as ContentId)).toMatchObject({ state: 'sealed', held: 1 });
    here.journal.commit(() => here.journal.contents.forgetFetched());
    expect(bytes.equals(here.blocks.get(leaf) ?? Buffer.alloc(0))).toBe(true);
  },
);

test('a file that is added is kept, though it is shown already and its bytes are elsewhere', async () => {
  const file = await made(noise(3 * MIB));
  await bring(remote(file), 0, 1);
  await here.builder.addBytes(file.bytes, ADDED, here.signal);
  here.journal.commit(() => here.journal.contents.forgetFetched());
  for (const leaf of file.leaves) expect(here.blocks.get(leaf)).toBeDefined();
});

test('a check of all bytes finds nothing wrong with what has come in part', async () => {
  const ids = [await made(noise(3 * MIB)), await made(noise(1000, 2))].map((file) => remote(file));
  await bring(ids[0] as ContentId, 2 * MIB, 3 * MIB);
  const { contents } = here.journal;
  const { hasher, signal } = here;
  const check = new ContentCheck({
    contents,
    hasher,
    directory: here.contents.directoryOf('file'),
    signal,
  });
  expect(await check.all(() => {})).toEqual([]);
  expect(check.checked.contents).toBe(2);
  for (const id of ids) await bring(id, 0, 3 * MIB);
  await filling.settled();
  expect(await check.all(() => {})).toEqual([]);
});

test('what nobody shows any more goes, with its file', async () => {
  const file = await made(noise(3 * MIB));
  const id = remote(file);
  await bring(id, 2 * MIB, 3 * MIB);
  const path = here.contents.backingPath(id) ?? '';
  expect(statSync(path).size).toBe(3 * MIB);
  here.journal.commit(() => here.contents.discard(id));
  expect(existsSync(path)).toBe(false);
  await expect(bring(id, 0, 1)).resolves.toBeUndefined();
});

test('remote content is found by the CID of its file', async () => {
  const file = await made(noise(1000));
  const id = remote(file);
  expect(here.contents.remote.find(file.cid)?.id).toBe(id);
  await bring(id, 0, 1);
  await filling.settled();
  expect(here.contents.remote.find(file.cid)).toBeUndefined();
  expect(cidOfBytes(here.contents.row(id)?.cid ?? Buffer.alloc(0)).equals(file.cid)).toBe(true);
});
