/**
 * Content from elsewhere that is not what it says: blocks of a published tree, changed, and named by
 * the CIDs they then have, all the way up to a root. Hashes are true, so everything is believed but
 * the form. Each is shown, listed, read and restored; or refused with a clear error.
 */
import { CarReader } from '@ipld/car';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { O_RDWR } from '../../src/base/posix.ts';
import { exportCar, type CID as KnownCid } from '../../src/content/content.ts';
import { contentReader } from '../../src/daemon/content-reader.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import type { Outcomes } from './databases.ts';
import { Dice } from './dice.ts';
import { isFault, ROOT, World } from './world.ts';

const DAG_CBOR = 0x71;
/** Worlds are used for so many: a restored tree is a few files. */
const PER_WORLD = 200;
const HANG_MS = 30_000;

interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** Blocks of a snapshot of a small tree that has something of everything, parents first. */
export async function smallSnapshot(): Promise<readonly Block[]> {
  const world = new World();
  const { vfs, engine, dag, signal } = world;
  const ipfs = rootOf(world);
  const folder = vfs.mkdir(ROOT, ipfs, nameOfText('d'), 0o751).ino;
  for (const [number, size] of [0, 10, 70_000, 1_500_000].entries()) {
    const { handle } = vfs.create(ROOT, folder, nameOfText(`f${number}`), 0o100644, O_RDWR);
    vfs.write(ROOT, handle.fh, Buffer.alloc(size, `${number}`), 0, false);
    vfs.release(handle.fh);
    if (number === 1) vfs.link(ROOT, handle.ino, ipfs, nameOfText('h'));
  }
  vfs.symlink(ROOT, folder, nameOfText('l'), nameOfText('../h'));
  vfs.setxattr(ROOT, folder, nameOfText('user.a'), Buffer.from('b'), 'any');
  vfs.mknod(ROOT, folder, nameOfText('p'), 0o010644, 0);
  const published = await engine.publisher.publish(
    {
      root: ipfs,
      path: nameOfText('/ipfs'),
      gate: { demandReadable: () => {}, seesTrusted: true },
      actor: ROOT.actor,
      pin: true,
      unixfsMetadata: true,
    },
    { signal, progress: () => undefined },
  );
  const pieces: Uint8Array[] = [];
  for await (const piece of exportCar(dag, published.snapshot, signal)) pieces.push(piece);
  const blocks: Block[] = [];
  for await (const block of (await CarReader.fromBytes(Buffer.concat(pieces))).blocks()) {
    blocks.push(block as Block);
  }
  await world.close();
  return blocks;
}

const rootOf = ({ vfs }: World): Ino => {
  const found = vfs.core.mounts.mounts().find(({ mountPoint }) => mountPoint === '/ipfs');
  if (found === undefined) throw new Error('nothing is mounted at /ipfs');
  return found.superblock.root;
};

/** Tries `count` roots, each made from `whole` with the next throws of `seed`. */
export async function dagStorm(
  whole: readonly Block[],
  { seed, count }: { seed: number; count: number },
): Promise<Outcomes> {
  const dice = new Dice(seed);
  const ends: Record<string, number> = {};
  const faults: string[] = [];
  let [done, slowestMs] = [0, 0];
  while (done < count && faults.length === 0) {
    const world = new World();
    for (let here = 0; here < PER_WORLD && done < count && faults.length === 0; here++, done++) {
      const startMs = performance.now();
      const { end, fault } = await tried(world, await damaged(dice, whole), here);
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
      ends[end] = (ends[end] ?? 0) + 1;
      if (fault !== undefined) faults.push(fault);
    }
    faults.push(...checkJournal(world.journal).map((finding) => JSON.stringify(finding)));
    await world.close();
  }
  return { count: done, ends, slowestMs: Math.round(slowestMs), faults };
}

/** Changes one block, and every one above it that names it; the blocks, the root first. */
async function damaged(dice: Dice, whole: readonly Block[]): Promise<readonly Block[]> {
  const target = dice.below(whole.length);
  const blocks = whole.map(({ cid, bytes }) => ({ cid, bytes: Buffer.from(bytes) as Buffer }));
  const changed = blocks[target];
  if (changed === undefined) return blocks;
  changed.bytes = bent(dice, changed.bytes, whole);
  // Parents come before children, so the names are put right from the end.
  for (let index = blocks.length - 1; index >= 0; index--) {
    const block = blocks[index];
    if (block === undefined) continue;
    const cid = CID.createV1(block.cid.code, await sha256.digest(block.bytes));
    if (cid.equals(block.cid)) continue;
    for (const above of blocks.slice(0, index)) replace(above.bytes, block.cid.bytes, cid.bytes);
    block.cid = cid;
  }
  return blocks;
}

function replace(bytes: Buffer, from: Uint8Array, to: Uint8Array): void {
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at + from.length)) {
    bytes.set(to, at);
  }
}

function bent(dice: Dice, bytes: Buffer, whole: readonly Block[]): Buffer {
  const at = dice.below(Math.max(1, bytes.length));
  switch (dice.below(6)) {
    case 0:
      return Buffer.from(bytes.subarray(0, at));
    case 1:
      return Buffer.concat([bytes, dice.bytes(dice.below(40))]);
    case 2: {
      // Another block in the place of one that is named.
      const [one, other] = [dice.pick(whole), dice.pick(whole)];
      replace(bytes, one.cid.bytes, other.cid.bytes);
      return bytes;
    }
    case 3:
      for (let flips = dice.between(1, 6); flips > 0 && bytes.length > 0; flips--) {
        const flipped = dice.below(bytes.length);
        bytes[flipped] = (bytes[flipped] ?? 0) ^ (1 << dice.below(8));
      }
      return bytes;
    case 4: {
      // A name, a key or a number becomes another of the same length.
      const piece = dice.pick([
        '..',
        '/',
        '\0',
        '\xff\xff\xff\xff',
        '\x1b\xff\xff\xff\xff\xff\xff\xff\xff',
      ]);
      Buffer.from(piece, 'latin1').copy(bytes, at);
      return bytes;
    }
    default:
      return dice.chance(50) ? Buffer.alloc(0) : dice.bytes(dice.below(200));
  }
}

async function tried(
  world: World,
  blocks: readonly Block[],
  number: number,
): Promise<{ readonly end: string; readonly fault?: string }> {
  const signal = AbortSignal.any([world.signal, AbortSignal.timeout(HANG_MS)]);
  const [root] = blocks;
  if (root === undefined) throw new Error('no block');
  for (const { cid, bytes } of blocks) world.blocks.put(cid as KnownCid, bytes);
  const seen = await endOf(() => look(world, blocks, signal));
  if (seen.fault !== undefined) return seen;
  const { vfs, engine } = world;
  const name = nameOfText(`r${number}`);
  const existing = vfs.mkdir(ROOT, rootOf(world), name, 0o755).ino;
  return await endOf(async () => {
    await engine.restorer.restore(
      {
        cid: root.cid as KnownCid,
        existing,
        missing: [],
        path: nameOfText(`/ipfs/r${number}`),
        conflicts: { how: 'restore', policy: 'fail' },
        applyDeletions: true,
        gate: { demandReadable: () => {}, seesTrusted: true },
        writer: { write: (plan) => vfs.graft(ROOT, plan) },
        isRoot: true,
        actor: ROOT.actor,
        dryRun: false,
      },
      { signal, progress: () => undefined },
    );
  });
}

/** As the tree shows it: each block as a root. */
async function look(world: World, blocks: readonly Block[], signal: AbortSignal): Promise<void> {
  const reader = contentReader(world.dag);
  for (const { cid } of blocks) {
    if (cid.code === DAG_CBOR) continue;
    const text = cid.toString();
    const { type, size } = await reader.node(text, signal).catch(clear);
    if (type === 'file') await reader.read(text, 0, Math.min(size, 100_000), signal).catch(clear);
    if (type !== 'directory') continue;
    try {
      for await (const child of reader.children(text, signal)) {
        if (child.name === '') throw new Error('a name that is none');
      }
    } catch (error) {
      clear(error);
    }
  }
}

/** An operating error is an answer; anything else is a fault. */
function clear(error: unknown): { readonly type: 'none'; readonly size: 0 } {
  if (isFault(error)) throw error;
  return { type: 'none', size: 0 };
}

async function endOf(work: () => Promise<void>): Promise<{ end: string; fault?: string }> {
  try {
    await work();
    return { end: 'well' };
  } catch (error) {
    const failure = error instanceof Error && 'failure' in error ? String(error.failure) : 'fault';
    if (!isFault(error)) return { end: failure };
    const { stack, cause } = error as Error;
    return {
      end: failure,
      fault: `${stack}\ncaused by ${cause instanceof Error ? cause.stack : ''}`,
    };
  }
}
