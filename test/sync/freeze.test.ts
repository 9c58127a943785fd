/** The laws of a moment that is kept: of memory, of holes, and of what was synced meanwhile. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import {
  SYNC_COPIED_BYTES_MAX,
  SYNC_SETTLE_LOOK_MS,
  SYNC_SETTLE_S,
} from '../../src/base/limits.ts';
import { freeze } from '../../src/sync/freeze.ts';
import { noise } from '../content/fixture.ts';
import { Fixture, failureOf, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

const gate = { demandReadable: () => undefined, seesTrusted: true };
const ports = () => ({
  journal: world.journal,
  contents: world.contents,
  clock: world.clock,
});

test('what is not there cannot be frozen or published', async () => {
  const absent = 4_000_000 as Ino;
  for (const dryRun of [true, false]) {
    expect(() => freeze(ports(), absent, { gate, dryRun })).toThrow(OpError);
  }
  const error = await failureOf(world.publish('/ipfs/t', { root: absent }));
  expect(error.failure).toBe('not-found');
});

test('a file in memory is copied to where it stays', () => {
  const bytes = noise(100_000);
  world.write('/mem/f', bytes);
  const { entries, copies } = freeze(ports(), world.ino('/mem/f'), { gate, dryRun: false });
  const [entry] = entries;
  const [copy] = copies;
  if (entry === undefined || copy === undefined) throw new Error('nothing was frozen');
  expect(entry.content).toBe(copy);
  expect(world.contents.row(copy)).toMatchObject({ state: 'frozen', held: 1, size: 100_000 });
  expect(world.contents.row(copy)?.place).not.toBe('memory');
  void world.vfs.setattr(ROOT, world.ino('/mem/f'), { size: 0 });
  const read = Buffer.alloc(bytes.length);
  world.contents.read(copy, read, 0, read.length, 0);
  expect(read.equals(bytes)).toBe(true);
});

test('a file that is all hole is published as zeros', async () => {
  world.mknod('/ipfs/t/hole', 0o100644);
  void world.vfs.setattr(ROOT, world.ino('/ipfs/t/hole'), { size: 5000 });
  world.write('/ipfs/t/zeros', Buffer.alloc(5000));
  const { root } = await world.publish('/ipfs/t');
  const hole = await world.dag.resolve(root, ['hole'], world.signal);
  const zeros = await world.dag.resolve(root, ['zeros'], world.signal);
  expect(hole.toString()).toBe(zeros.toString());
});

test('what is written behind an fsync has copies of its moments, which share nothing but bytes', async () => {
  const handle = world.openForWriting('/ipfs/t/log');
  world.vfs.write(ROOT, handle.fh, Buffer.from('one'), 0, false);
  await world.vfs.fsync(handle.fh, false);
  const moment = () => freeze(ports(), world.ino('/ipfs/t/log'), { gate, dryRun: false });
  const first = moment();
  world.vfs.write(ROOT, handle.fh, Buffer.from('two'), 0, false);
  const second = moment();
  world.vfs.write(ROOT, handle.fh, Buffer.from('and more'), 0, false);
  world.vfs.release(handle.fh);
  const read = ({ entries: [entry], copies }: typeof first) => {
    if (entry === undefined) throw new Error('nothing was frozen');
    expect([...copies]).toEqual([entry.content]);
    const bytes = Buffer.alloc(entry.row.size);
    world.contents.read(entry.content, bytes, 0, bytes.length, 0);
    return bytes.toString();
  };
  expect([read(first), read(second)]).toEqual(['one', 'two']);
});

test('a file that is written to behind an fsync gets some time, and is then published as it is', async () => {
  const handle = world.openForWriting('/ipfs/t/log');
  world.vfs.write(ROOT, handle.fh, Buffer.from('one'), 0, false);
  await world.vfs.fsync(handle.fh, false);
  world.vfs.write(ROOT, handle.fh, Buffer.from('two'), 0, false);
  const patient = () =>
    freeze(ports(), world.ino('/ipfs/t'), { gate, dryRun: false, isPatient: true });
  expect(patient).toThrow(expect.objectContaining({ failure: 'locked' }));
  const clock = new (class extends SystemClock {
    override now() {
      const { s, ns } = super.now();
      return { s: s + SYNC_SETTLE_S, ns };
    }
  })();
  const later = freeze({ ...ports(), clock }, world.ino('/ipfs/t'), {
    ...{ gate, dryRun: false, isPatient: true },
  });
  expect(later.copies.size).toBe(1);
  const published = world.publish('/ipfs/t');
  setTimeout(() => world.vfs.release(handle.fh), SYNC_SETTLE_LOOK_MS);
  const { root } = await published;
  const file = await world.dag.resolve(root, ['log'], world.signal);
  const range = { position: 0, length: 9 };
  expect((await world.dag.readRange(file, range, world.signal)).toString()).toBe('two');
});

test('a large file is not copied, also when somebody asks for it, and keeps no other directory waiting', async () => {
  world.mkdir('/ipfs/other');
  const handle = world.openForWriting('/ipfs/t/disk');
  world.vfs.write(ROOT, handle.fh, Buffer.from('one'), 0, false);
  void world.vfs.setattr(ROOT, handle.ino, { size: SYNC_COPIED_BYTES_MAX + 1 });
  await world.vfs.fsync(handle.fh, false);
  world.vfs.write(ROOT, handle.fh, Buffer.from('two'), 0, false);
  const at = (path: string) => () => freeze(ports(), world.ino(path), { gate, dryRun: false });
  const objects = () => world.journal.contents.page(0, 100).map(({ id }) => id);
  const before = objects();
  expect(at('/ipfs/t')).toThrow(expect.objectContaining({ failure: 'locked' }));
  expect(objects()).toEqual(before);
  expect(at('/ipfs/other')().copies.size).toBe(0);
  world.vfs.release(handle.fh);
  expect(at('/ipfs/t')().copies.size).toBe(0);
});

test('a publication given up before its copies were sealed leaves none of them', async () => {
  // All hole: it has no object yet.
  world.mknod('/ipfs/t/hole', 0o100644);
  void world.vfs.setattr(ROOT, world.ino('/ipfs/t/hole'), { size: 100_000 });
  const objects = () => world.journal.contents.page(0, 100).map(({ id }) => id);
  const before = objects();
  const stop = new AbortController();
  const gone = {
    demandReadable: () => stop.abort(new Error('enough')),
    seesTrusted: true,
  };
  const work = world.publisher.publish(world.publishRequest('/ipfs/t', { gate: gone }), {
    signal: stop.signal,
    progress: () => undefined,
  });
  expect((await failureOf(work)).message).toBe('enough');
  expect(objects()).toEqual(before);
});

test('a sync of the same path meanwhile makes the later one fail', async () => {
  world.write('/ipfs/t/a', 'a');
  const { root } = await world.publish('/ipfs/t');
  world.write('/ipfs/t/b', 'b');
  const { journal } = world;
  let isDone = false;
  const work = world.publisher.publish(world.publishRequest('/ipfs/t'), {
    signal: world.signal,
    progress: () => {
      const row = journal.superblocks.synced(nameOfText('/ipfs/t'));
      if (isDone || row === undefined) return;
      isDone = true;
      const later = { ...row, seq: (row.seq + 1) as typeof row.seq };
      journal.commit(() => journal.superblocks.setSynced(later));
    },
  });
  expect((await failureOf(work)).failure).toBe('version-conflict');
  const row = journal.superblocks.synced(nameOfText('/ipfs/t'));
  expect(row?.rootCid.equals(root.bytes)).toBe(true);
});

test('a snapshot that is lost is not compared with, and the chain goes on', async () => {
  world.write('/ipfs/t/a', 'a');
  await world.publish('/ipfs/t');
  world.write('/ipfs/t/b', 'b');
  const { journal } = world;
  const row = journal.superblocks.synced(nameOfText('/ipfs/t'));
  if (row === undefined) throw new Error('it was published');
  // A directory is here, and is no snapshot.
  const lost = { ...row, snapshotCid: row.rootCid };
  journal.commit(() => journal.superblocks.setSynced(lost));
  const { changed, counts } = await world.publish('/ipfs/t');
  expect({ changed, deleted: counts.deleted }).toEqual({ changed: true, deleted: 0 });
});

test('an unchanged tree is not pinned again when no pin is asked for', async () => {
  world.write('/ipfs/t/a', 'a');
  await world.publish('/ipfs/t', { pin: false });
  const again = await world.publish('/ipfs/t', { pin: false });
  expect(again).toMatchObject({ changed: false, seq: undefined });
  expect(world.journal.contents.pins()).toEqual([]);
});

test('the pin of a path that is no text names its bytes', async () => {
  const name = '\xff' as ReturnType<typeof nameOfText>;
  const { ino } = world.vfs.mkdir(ROOT, world.ino('/ipfs'), name, 0o755);
  const path = `/ipfs/${name}` as typeof name;
  await world.publish('/ipfs/t', { root: ino, path });
  expect(world.journal.contents.pins()).toMatchObject([{ name: 'sync /ipfs/\xff' }]);
});
