/** The laws of publishing a subtree. */
import { importer } from 'ipfs-unixfs-importer';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { S_IFCHR, S_IFIFO } from '../../src/base/posix.ts';
import { blockKey, type CID } from '../../src/content/content.ts';
import { readManifest, readSnapshot } from '../../src/sync/sync.ts';
import { noise } from '../content/fixture.ts';
import { Fixture, failureOf, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

interface Source {
  readonly path: string;
  readonly content?: Uint8Array;
}

/** The root that the reference importer makes of the same tree. */
async function imported(entries: readonly Source[]): Promise<string> {
  const blocks = new Map<string, Uint8Array>();
  const store = {
    put: (cid: CID, bytes: unknown) => {
      blocks.set(cid.toString(), bytes as Uint8Array);
      return cid;
    },
  };
  let root = '';
  const options = { profile: 'unixfs-v1-2025', wrapWithDirectory: false } as const;
  for await (const { cid } of importer(entries, store, options)) root = cid.toString();
  return root;
}

test('the root of a published tree is what the importer makes of the same tree', async () => {
  const large = noise(3 * 1024 * 1024 + 7);
  world.mkdir('/ipfs/t');
  world.mkdir('/ipfs/t/sub');
  world.mkdir('/ipfs/t/sub/deep');
  world.write('/ipfs/t/empty', '');
  world.write('/ipfs/t/small.txt', 'hello world');
  world.write('/ipfs/t/sub/large.bin', large);
  world.write('/ipfs/t/sub/deep/ünï', 'umlauts');
  const { root, counts } = await world.publish('/ipfs/t');
  const wanted = await imported([
    { path: 't/empty', content: new Uint8Array() },
    { path: 't/small.txt', content: Buffer.from('hello world') },
    { path: 't/sub/large.bin', content: large },
    { path: 't/sub/deep/ünï', content: Buffer.from('umlauts') },
  ]);
  expect(root.toString()).toBe(wanted);
  expect(counts).toMatchObject({ files: 4, directories: 3, bytes: large.length + 18 });
});

test('a directory above the threshold is sharded as the importer shards it', async () => {
  world.mkdir('/ipfs/t');
  const names = Array.from({ length: 6000 }, (_, index) => `a-rather-long-name-${index}`);
  world.journal.group(() => {
    for (const name of names) world.write(`/ipfs/t/${name}`, 'x');
  });
  const { root } = await world.publish('/ipfs/t');
  const content = Buffer.from('x');
  expect(root.toString()).toBe(
    await imported(names.map((name) => ({ path: `t/${name}`, content }))),
  );
  const listed = [];
  for await (const { name } of world.dag.list(root, world.signal)) listed.push(name);
  expect(listed.sort()).toEqual(names.sort());
});

test('empty directories and links are in the tree that any node can read', async () => {
  world.mkdir('/ipfs/t');
  world.mkdir('/ipfs/t/nothing');
  world.symlink('/ipfs/t/link', '../elsewhere');
  const { root } = await world.publish('/ipfs/t');
  const of = async (name: string) =>
    world.dag.entryOf(await world.dag.resolve(root, [name], world.signal), world.signal);
  expect(await of('nothing')).toMatchObject({ type: 'directory' });
  expect(await of('link')).toMatchObject({ type: 'symlink', target: '../elsewhere' });
});

test('publishing twice changes nothing the second time', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/a', 'a');
  const first = await world.publish('/ipfs/t', { message: 'one' });
  const seq = world.journal.head.seq;
  const second = await world.publish('/ipfs/t', { message: 'two' });
  expect(second).toMatchObject({ changed: false, seq: undefined });
  expect(second.root.toString()).toBe(first.root.toString());
  expect(second.snapshot.toString()).toBe(first.snapshot.toString());
  expect(second.counts.newBlocks).toBe(0);
  expect(world.journal.head.seq).toBe(seq);
});

test('a change of mode alone is a new snapshot of the same root', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/a', 'a');
  const first = await world.publish('/ipfs/t');
  void world.vfs.setattr(ROOT, world.ino('/ipfs/t/a'), { mode: 0o600 });
  const second = await world.publish('/ipfs/t');
  expect(second.changed).toBe(true);
  expect(second.root.toString()).toBe(first.root.toString());
  expect(second.snapshot.toString()).not.toBe(first.snapshot.toString());
});

test('snapshots form a chain that names the moment in the journal', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/a', 'a');
  world.write('/ipfs/t/b', 'b');
  const before = world.journal.head;
  const first = await world.publish('/ipfs/t', { message: 'the first' });
  world.unlink('/ipfs/t/b');
  const second = await world.publish('/ipfs/t');
  expect(second.previousRoot?.toString()).toBe(first.root.toString());
  expect(second.counts.deleted).toBe(1);
  const newest = await readSnapshot(world.dag, second.snapshot, world.signal);
  expect(newest.previous?.toString()).toBe(first.snapshot.toString());
  const oldest = await readSnapshot(world.dag, first.snapshot, world.signal);
  expect(oldest.previous).toBeUndefined();
  expect(oldest).toMatchObject({ message: 'the first', cidProfile: 'unixfs-v1-2025' });
  expect(oldest.journal.seq).toBe(before.seq);
  expect(oldest.journal.hash.equals(before.hash)).toBe(true);
});

test('a file that is being written is published as it was before', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/f', noise(200_000));
  await world.sealer.seal(world.inode('/ipfs/t/f').content, world.signal);
  const { mtimeS, mtimeNs } = world.inode('/ipfs/t/f');
  const handles = [world.openForWriting('/ipfs/t/new'), world.overwriting('/ipfs/t/f')];
  for (const { fh } of handles) world.vfs.write(ROOT, fh, Buffer.from('later'), 150_000, false);
  const { root, snapshot } = await world.publish('/ipfs/t');
  const read = async (tree: CID, name: string) => {
    const file = await world.dag.resolve(tree, [name], world.signal);
    return world.dag.readRange(file, { position: 0, length: 300_000 }, world.signal);
  };
  expect((await read(root, 'f')).equals(noise(200_000))).toBe(true);
  expect((await read(root, 'new')).length).toBe(0);
  const { manifest } = await readSnapshot(world.dag, snapshot, world.signal);
  const entries = await readManifest(world.dag, manifest, world.signal);
  expect(entries.get(nameOfText('f'))?.mtime).toEqual({ s: mtimeS, ns: mtimeNs });
  for (const { fh } of handles) world.vfs.release(fh);
  const after = (await world.publish('/ipfs/t')).root;
  expect((await read(after, 'f')).subarray(150_000, 150_005).toString()).toBe('later');
  expect((await read(after, 'new')).length).toBe(150_005);
});

test('what was published stays whole when the tree goes on', async () => {
  world.mkdir('/ipfs/t');
  const bytes = noise(2_500_000);
  world.write('/ipfs/t/a', bytes);
  const { root } = await world.publish('/ipfs/t');
  world.write('/ipfs/t/a', 'other');
  world.unlink('/ipfs/t/a');
  const file = await world.dag.resolve(root, ['a'], world.signal);
  const range = { position: 0, length: bytes.length };
  expect((await world.dag.readRange(file, range, world.signal)).equals(bytes)).toBe(true);
});

test('special files and names that are no text are in the snapshot only, and are told', async () => {
  const parent = world.mkdir('/ipfs/t');
  world.mknod('/ipfs/t/pipe', S_IFIFO | 0o600);
  world.mknod('/ipfs/t/null', S_IFCHR | 0o666, 0x103);
  world.vfs.mkdir(ROOT, parent, '\xff\xfe' as Name, 0o755);
  const { root, skipped } = await world.publish('/ipfs/t');
  expect(skipped).toEqual([
    { path: 'null', type: 'char' },
    { path: 'pipe', type: 'fifo' },
    { path: '\xff\xfe', type: 'directory' },
  ]);
  const listed = [];
  for await (const { name } of world.dag.list(root, world.signal)) listed.push(name);
  expect(listed).toEqual([]);
});

test('of the pins of a path the last one stays, whatever was restored and merged in between', async () => {
  const names = () => world.journal.contents.pins().map(({ name }) => name);
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/f', 'one');
  const first = await world.publish('/ipfs/t');
  world.write('/ipfs/t/f', 'two');
  await world.publish('/ipfs/t');
  for (const conflicts of [
    { how: 'restore', policy: 'keep_remote' },
    { how: 'merge', policy: 'keep_remote' },
  ] as const) {
    await world.restore(first.snapshot, '/ipfs/t', { conflicts });
    world.write('/ipfs/t/f', conflicts.how);
    const { root } = await world.publish('/ipfs/t');
    expect(names()).toEqual(['sync /ipfs/t']);
    expect(world.journal.contents.pin(blockKey(root))).toBeDefined();
  }
});

test('the pin of a path moves with its root, and a pin of somebody else stays', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/a', 'a');
  const first = await world.publish('/ipfs/t');
  const pinOf = (cid: CID) => world.journal.contents.pin(blockKey(cid));
  expect(pinOf(first.root)).toMatchObject({ type: 'recursive', name: 'sync /ipfs/t' });
  world.write('/ipfs/t/a', 'b');
  const second = await world.publish('/ipfs/t');
  expect(pinOf(first.root)).toBeUndefined();
  expect(pinOf(second.root)).toMatchObject({ type: 'recursive' });
  const mine = { ...pinOf(second.root), name: 'mine' };
  world.journal.commit(() =>
    world.journal.contents.setPin(mine as Parameters<typeof world.journal.contents.setPin>[0]),
  );
  world.write('/ipfs/t/a', 'c');
  await world.publish('/ipfs/t', { pin: false });
  expect(pinOf(second.root)).toMatchObject({ name: 'mine' });
});

test('a publication is one record with the roots before and after', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/a', 'a');
  const { root, snapshot, seq } = await world.publish('/ipfs/t');
  expect(seq).toBe(world.journal.head.seq);
  const [row] = world.journal.ops.page((seq ?? 0) - 1, 1);
  expect(row).toMatchObject({ kind: 'sync_to', ino: world.ino('/ipfs/t') });
  expect(row?.cid?.equals(root.bytes)).toBe(true);
  expect(world.journal.superblocks.synced(nameOfText('/ipfs/t'))).toMatchObject({ seq });
  expect(JSON.parse(row?.after ?? '')).toEqual({ snapshot: snapshot.toString(), pinned: true });
});

test('metadata in UnixFS changes the root, and is readable there', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/a', 'a');
  void world.vfs.setattr(ROOT, world.ino('/ipfs/t/a'), { mode: 0o640, mtime: { s: 1000, ns: 5 } });
  const plain = await world.publish('/ipfs/t');
  const { root } = await world.publish('/ipfs/t', { unixfsMetadata: true });
  expect(root.toString()).not.toBe(plain.root.toString());
  const file = await world.dag.resolve(root, ['a'], world.signal);
  expect(await world.dag.entryOf(file, world.signal)).toMatchObject({
    mode: 0o640,
    mtime: { s: 1000, ns: 5 },
    size: 1,
  });
});

test('what cannot be published is refused with its reason, and nothing is recorded', async () => {
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/a', 'a');
  const seq = world.journal.head.seq;
  const refused = async (path: string, change = {}) =>
    (await failureOf(world.publish(path, change))).failure;
  expect(await refused('/ipfs/t/a')).toBe('not-directory');
  expect(await refused('/mem')).toBe('unsupported');
  expect(await refused('/ipfs/t', { expectedRoot: 'bafy' })).toBe('version-conflict');
  expect(await refused('/ipfs/t', { root: 1, path: '/' })).toBe('invalid-argument');
  const demandReadable = (ino: number) => {
    if (ino === world.ino('/ipfs/t/a')) world.vfs.readlink(ROOT, world.ino('/ipfs/t'));
  };
  expect(await refused('/ipfs/t', { gate: { demandReadable, seesTrusted: false } })).toBe(
    'invalid',
  );
  expect(world.journal.head.seq).toBe(seq);
});

test('an aborted publication leaves no snapshot, and no copy', async () => {
  world.mkdir('/ipfs/t');
  world.mknod('/ipfs/t/hole', 0o100644);
  void world.vfs.setattr(ROOT, world.ino('/ipfs/t/hole'), { size: 100_000 });
  const objects = () => world.journal.contents.page(0, 100).length;
  const before = objects();
  const stop = new AbortController();
  const work = world.publisher.publish(world.publishRequest('/ipfs/t'), {
    signal: stop.signal,
    progress: () => undefined,
  });
  stop.abort(new Error('enough'));
  expect((await failureOf(work)).message).toBe('enough');
  expect(world.journal.superblocks.synced(nameOfText('/ipfs/t'))).toBeUndefined();
  expect(objects()).toBe(before);
});

describe('what stores shall have', () => {
  const path = nameOfText('/ipfs/t');
  const owed = () => world.journal.targets.all().map(({ target, state }) => [target, state]);

  test('is owed by the transaction that records the publication, and told behind it', async () => {
    world.mkdir('/ipfs/t');
    world.write('/ipfs/t/a', 'a');
    const { root, snapshot } = await world.publish('/ipfs/t', { targets: ['one', 'two'] });
    expect(owed()).toEqual([
      ['one', 'queued'],
      ['two', 'queued'],
    ]);
    const row = world.journal.targets.get(path, 'one');
    expect(row?.wanted).toMatchObject({ tree: blockKey(root), snapshot: blockKey(snapshot) });
    expect(world.owed).toBe(1);
  });

  test('is owed also when nothing changed here, once for each store', async () => {
    world.mkdir('/ipfs/t');
    const first = await world.publish('/ipfs/t');
    expect([owed(), world.owed]).toEqual([[], 0]);
    const second = await world.publish('/ipfs/t', { targets: ['one'] });
    expect(second.changed).toBe(false);
    expect(owed()).toEqual([['one', 'queued']]);
    const { targets } = world.journal;
    const row = targets.get(path, 'one');
    if (row === undefined) throw new Error('it is owed');
    const { root: tree, snapshot } = first;
    expect(row.wanted).toMatchObject({ tree: blockKey(tree), snapshot: blockKey(snapshot) });
    const held = { ...row.wanted, pin: true };
    world.journal.commit(() => targets.put({ ...row, state: 'pinned', held, dueS: undefined }));
    // There and back: nothing changed, and the store has that too.
    for (const mode of [0o700, 0o755]) void world.vfs.setattr(ROOT, world.ino('/ipfs/t'), { mode });
    const { seq } = world.journal.head;
    expect((await world.publish('/ipfs/t', { targets: ['one'] })).changed).toBe(false);
    expect(targets.get(path, 'one')).toMatchObject({ state: 'pinned', held: { seq } });
    expect(world.owed).toBe(1);
  });

  test('is not owed by a publication that fails', async () => {
    world.mkdir('/ipfs/t');
    await failureOf(world.publish('/ipfs/t', { targets: ['one'], expectedRoot: 'bafy' }));
    expect(owed()).toEqual([]);
  });
});

test('who waits while others are published ends with his signal, and nothing is begun for him', async () => {
  world.mkdir('/ipfs/t');
  world.mkdir('/ipfs/u');
  world.write('/ipfs/t/a', noise(100_000));
  let isFirstDone = false;
  const first = world.publish('/ipfs/t').finally(() => {
    isFirstDone = true;
  });
  const waiting = new AbortController();
  const run = { signal: waiting.signal, progress: () => undefined };
  const second = failureOf(world.publisher.publish(world.publishRequest('/ipfs/u'), run));
  waiting.abort(new Error('enough'));
  expect(await second).toBe(waiting.signal.reason);
  expect(isFirstDone).toBe(false);
  await first;
  await world.publish('/ipfs/t');
  expect(world.journal.superblocks.synced(nameOfText('/ipfs/u'))).toBeUndefined();
});
