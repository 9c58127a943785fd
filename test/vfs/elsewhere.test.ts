/** The laws of managed files whose bytes are elsewhere. */
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/base/posix.ts';
import { blockKey, type CID, CONTENT_PROFILE, rawCid } from '../../src/content/content.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { noise } from '../content/fixture.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture, failureOf, ROOT } from '../sync/fixture.ts';

const MIB = 1024 * 1024;

let origin: Origin;
let world: Fixture;
beforeEach(() => {
  origin = new Origin();
  world = new Fixture(origin);
});
afterEach(() => world.close());

/** A file of those bytes, of which the node has every block, and nobody here has any. */
async function remoteFile(path: string, bytes: Buffer): Promise<{ ino: Ino; cid: CID }> {
  const there = new Fixture();
  try {
    const how = { profile: CONTENT_PROFILE, dryRun: false } as const;
    const { cid } = await there.builder.addBytes(bytes, how, there.signal);
    for await (const { cid: block } of there.dag.walk(cid, there.signal)) {
      origin.put(block, there.blocks.get(block) ?? Buffer.alloc(0));
    }
    const name = nameOfText(path.slice(path.lastIndexOf('/') + 1));
    world.journal.commit(() => {
      const known = { cid, size: bytes.length, profile: CONTENT_PROFILE };
      const content = world.contents.remote.create(known);
      const node = { type: 'file', content, size: bytes.length, cid: blockKey(cid) } as const;
      const making = { action: 'make', name, replaces: undefined, node } as const;
      world.vfs.graft(ROOT, {
        root: world.ino(path.slice(0, path.lastIndexOf('/'))),
        linksFrom: [],
        metadata: {},
        children: [{ ...making, metadata: {}, children: [] }],
      });
    });
    return { ino: world.ino(path), cid };
  } finally {
    await there.close();
  }
}

async function read(ino: Ino, from: number, to: number, signal = world.signal): Promise<Buffer> {
  const { fh } = await world.vfs.open(ROOT, ino, O_RDONLY, false);
  try {
    const into = Buffer.alloc(to - from);
    const count = await world.vfs.read(fh, into, 0, into.length, from, { signal });
    return into.subarray(0, count);
  } finally {
    world.vfs.release(fh);
  }
}

test('a read waits for its bytes, and is as long as the file is', async () => {
  const bytes = noise(2 * MIB);
  const { ino } = await remoteFile('/ipfs/a', bytes);
  expect(world.vfs.isHere(ino)).toBe(false);
  expect((await read(ino, MIB + 5, 9 * MIB)).equals(bytes.subarray(MIB + 5))).toBe(true);
  expect(await read(ino, 2 * MIB, 3 * MIB)).toHaveLength(0);
  expect(checkJournal(world.journal)).toEqual([]);
});

test('a file that was read whole is one like any other, in place and under its CID', async () => {
  const bytes = noise(2 * MIB);
  const { ino, cid } = await remoteFile('/ipfs/a', bytes);
  const { content } = world.inode('/ipfs/a');
  expect((await read(ino, 0, 2 * MIB)).equals(bytes)).toBe(true);
  await world.filling.settled();
  expect(world.vfs.isHere(ino)).toBe(true);
  expect(world.inode('/ipfs/a').content).toBe(content);
  expect(world.contents.row(content)?.state).toBe('sealed');
  const told = world.vfs.getxattr(ROOT, ino, nameOfText('user.ipfs.cid'));
  expect(told?.toString()).toBe(cid.toString());
});

test('its CID is known before a byte of it is here', async () => {
  const { ino, cid } = await remoteFile('/ipfs/a', noise(1000));
  const told = world.vfs.getxattr(ROOT, ino, nameOfText('user.ipfs.cid'));
  expect(told?.toString()).toBe(cid.toString());
  expect(origin.asked).toEqual([]);
});

test.each([1000, 2 * MIB])('one of %i bytes takes no room until they come', async (size) => {
  const { ino } = await remoteFile('/ipfs/a', noise(size));
  expect(world.vfs.sectors(world.inode('/ipfs/a'))).toBe(0);
  await read(ino, 0, size);
  expect(world.vfs.sectors(world.inode('/ipfs/a'))).toBeGreaterThanOrEqual(Math.ceil(size / 512));
});

test('bytes that went take no room, while their file is still there', async () => {
  const size = 2 * MIB;
  const { ino } = await remoteFile('/ipfs/a', noise(size));
  const inode = () => world.inode('/ipfs/a');
  await read(ino, 0, size);
  await world.filling.settled();
  expect(world.vfs.sectors(inode())).toBeGreaterThanOrEqual(size / 512);
  const { content } = inode();
  const path = world.contents.backingPath(content) ?? '';
  world.journal.commit(() => world.contents.remote.evict(content));
  // As it is until the disk knows of it.
  writeFileSync(path, noise(size));
  expect(world.vfs.sectors(inode())).toBe(0);
});

test('one that had come before a kill is sealed when somebody reads it again', async () => {
  const bytes = noise(2 * MIB);
  const { ino } = await remoteFile('/ipfs/a', bytes);
  const { content } = world.inode('/ipfs/a');
  // As a kill leaves it between its last byte and its hash.
  const { remote } = world.contents;
  for (const at of [0, MIB]) {
    const part = bytes.subarray(at, at + MIB);
    remote.put(content, { cid: rawCid(part), position: at, bytes: part });
  }
  expect(world.contents.row(content)?.state).toBe('remote');
  expect((await read(ino, 5, 6)).equals(bytes.subarray(5, 6))).toBe(true);
  await world.filling.settled();
  expect(world.contents.row(content)?.state).toBe('sealed');
  expect(origin.asked).toEqual([]);
});

test('who reads and is interrupted waits no more, and others go on', async () => {
  const bytes = noise(2 * MIB);
  const { ino } = await remoteFile('/ipfs/a', bytes);
  origin.hold();
  const interrupted = new AbortController();
  const gone = failureOf(read(ino, 0, 10, interrupted.signal));
  const other = read(ino, 0, 10);
  await origin.hasAsked(1);
  const reason = new Error('interrupted');
  interrupted.abort(reason);
  expect(await gone).toBe(reason);
  origin.release();
  expect((await other).equals(bytes.subarray(0, 10))).toBe(true);
});

test('when nobody can be asked the read fails at once, with a reason', async () => {
  const { ino, cid } = await remoteFile('/ipfs/a', noise(1000));
  origin.manner = 'offline';
  const { failure, details } = await failureOf(read(ino, 0, 10));
  expect([failure, details]).toEqual([
    'content-missing',
    { cid: cid.toString(), reason: 'not-running' },
  ]);
  origin.manner = 'give';
  expect(await read(ino, 0, 10)).toHaveLength(10);
});

test('who opens it for writing waits for all of it, and what he does not write stays', async () => {
  const bytes = noise(2 * MIB);
  const { ino } = await remoteFile('/ipfs/a', bytes);
  const { fh } = await world.vfs.open(ROOT, ino, O_RDWR, false);
  world.vfs.write(ROOT, fh, Buffer.from('here'), MIB, false);
  world.vfs.release(fh);
  Buffer.from('here').copy(bytes, MIB);
  expect(world.bytes('/ipfs/a').equals(bytes)).toBe(true);
  expect(checkJournal(world.journal)).toEqual([]);
});

test('who empties it asks for nothing, and the bytes before can still be had', async () => {
  const { ino, cid } = await remoteFile('/ipfs/a', noise(2 * MIB));
  const { content } = world.inode('/ipfs/a');
  const { fh } = await world.vfs.open(ROOT, ino, O_WRONLY | O_TRUNC, false);
  world.vfs.write(ROOT, fh, Buffer.from('new'), 0, false);
  world.vfs.release(fh);
  expect(world.bytes('/ipfs/a').toString()).toBe('new');
  expect(origin.asked).toEqual([]);
  expect(world.contents.row(content)).toMatchObject({ state: 'remote', refs: 0 });
  expect(world.contents.remote.find(cid)?.id).toBe(content);
  expect(checkJournal(world.journal)).toEqual([]);
});

test('it is cut to a size once it is here, and not before', async () => {
  const bytes = noise(2 * MIB);
  const { ino } = await remoteFile('/ipfs/a', bytes);
  const cut = () => world.vfs.setattr(ROOT, ino, { size: MIB + 3 });
  expect(cut).toThrow(expect.objectContaining({ failure: 'content-missing' }));
  expect(world.inode('/ipfs/a').size).toBe(2 * MIB);
  await world.vfs.bring(ino);
  cut();
  expect(world.bytes('/ipfs/a').equals(bytes.subarray(0, MIB + 3))).toBe(true);
});

test('the kernel is told to copy a range of it by reads, which can wait', async () => {
  const { ino } = await remoteFile('/ipfs/a', noise(2 * MIB));
  const from = await world.vfs.open(ROOT, ino, O_RDONLY, false);
  const to = world.openForWriting('/ipfs/b');
  const copy = () =>
    world.vfs.copyFileRange(ROOT, { fh: from.fh, position: 0 }, { fh: to.fh, position: 0 }, MIB);
  expect(copy).toThrow(expect.objectContaining({ failure: 'cross-mount' }));
  world.vfs.release(from.fh);
  world.vfs.release(to.fh);
});

test('a tree with files that are elsewhere has the root it had, and nothing is fetched for it', async () => {
  const large = noise(2 * MIB);
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/large', large);
  world.write('/ipfs/t/small', 'small');
  const { root } = await world.publish('/ipfs/t');
  const other = new Fixture(origin);
  const mine = world;
  try {
    world = other;
    world.mkdir('/ipfs/t');
    await remoteFile('/ipfs/t/large', large);
    await remoteFile('/ipfs/t/small', Buffer.from('small'));
    // The node of a large file came with its name.
    await read(world.ino('/ipfs/t/large'), 0, 1);
    await world.filling.settled();
    const asked = origin.asked.length;
    origin.manner = 'offline';
    expect((await world.publish('/ipfs/t')).root.toString()).toBe(root.toString());
    expect(origin.asked).toHaveLength(asked);
  } finally {
    world = mine;
    await other.close();
  }
});
