/** The laws of comparing a directory with a tree: what counts as changed, and by whom. */
import { encode as encodeCbor } from '@ipld/dag-cbor';
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID as MultiformatsCid } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { S_IFCHR } from '../../src/base/posix.ts';
import type { CID } from '../../src/content/content.ts';
import { noise } from '../content/fixture.ts';
import { callerOf, Fixture, failureOf, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

const REMOTE = { conflicts: { how: 'restore', policy: 'keep_remote' } } as const;

const conflictsOf = async (work: Promise<unknown>) => (await failureOf(work)).details['conflicts'];

async function put(code: number, bytes: Uint8Array): Promise<CID> {
  const cid = MultiformatsCid.createV1(code, await sha256.digest(bytes)) as CID;
  world.blocks.put(cid, bytes);
  return cid;
}

async function node(
  unixfs: UnixFS,
  links: readonly { Name: string; Hash: CID; Tsize?: number }[] = [],
): Promise<CID> {
  const Links = links.map((link) => ({ Tsize: 1, ...link }));
  return put(0x70, encode(prepare({ Data: unixfs.marshal(), Links })));
}

const directory = (links: readonly { Name: string; Hash: CID }[]) =>
  node(new UnixFS({ type: 'directory' }), links);

describe('against a snapshot', () => {
  test('a change of mode here is a conflict under fail, of files and of directories', async () => {
    world.mkdir('/ipfs/t/d');
    world.write('/ipfs/t/d/inside', 'x');
    world.write('/ipfs/t/f', 'f');
    const { snapshot } = await world.publish('/ipfs/t');
    void world.vfs.setattr(ROOT, world.ino('/ipfs/t/d'), { mode: 0o700 });
    void world.vfs.setattr(ROOT, world.ino('/ipfs/t/f'), { mode: 0o600 });
    expect(await conflictsOf(world.restore(snapshot, '/ipfs/t'))).toMatchObject([
      { path: 'd', what: 'both_changed', resolution: 'none' },
      { path: 'f', what: 'both_changed', resolution: 'none' },
    ]);
    expect(world.inode('/ipfs/t/f').mode).toBe(0o100600);
  });

  test('keep_remote sets metadata back, and leaves the bytes and the inode', async () => {
    world.mkdir('/ipfs/t/d');
    world.write('/ipfs/t/d/f', 'f');
    const { snapshot } = await world.publish('/ipfs/t');
    const ino = world.ino('/ipfs/t/d/f');
    void world.vfs.setattr(ROOT, world.ino('/ipfs/t/d'), { mode: 0o700 });
    void world.vfs.setattr(ROOT, ino, { mode: 0o600 });
    const { counts } = await world.restore(snapshot, '/ipfs/t', REMOTE);
    expect(counts).toEqual({ created: 0, updated: 2, deleted: 0, unchanged: 0, conflicts: 0 });
    expect(world.inode('/ipfs/t/d').mode).toBe(0o040755);
    expect(world.inode('/ipfs/t/d/f')).toMatchObject({ ino, mode: 0o100644 });
  });

  test('a change since the last sync is told as one, with the CID that was synced', async () => {
    world.write('/ipfs/t/f', 'first');
    const { root } = await world.publish('/ipfs/t');
    const synced = await world.dag.resolve(root, ['f'], world.signal);
    world.write('/ipfs/t/f', 'second');
    const conflicts = await conflictsOf(world.restore(root, '/ipfs/t'));
    expect(conflicts).toMatchObject([{ path: 'f', what: 'both_changed', baseCid: synced }]);
  });

  test('what is as it was synced is replaced without a conflict', async () => {
    world.write('/ipfs/t/f', 'first');
    const { root } = await world.publish('/ipfs/t');
    world.write('/ipfs/t/f', 'second');
    await world.publish('/ipfs/t');
    const { conflicts, counts } = await world.restore(root, '/ipfs/t', REMOTE);
    expect(conflicts).toEqual([]);
    expect(counts).toMatchObject({ updated: 1, conflicts: 0 });
    expect(world.bytes('/ipfs/t/f').toString()).toBe('first');
  });

  test('a deletion there of what was changed here is a conflict, also below', async () => {
    world.mkdir('/ipfs/t/d');
    const { root: old } = await world.publish('/ipfs/t');
    world.write('/ipfs/t/d/f', 'since');
    await world.publish('/ipfs/t');
    world.write('/ipfs/t/d/f', 'changed, and not synced');
    const { conflicts, counts } = await world.restore(old, '/ipfs/t', REMOTE);
    expect(conflicts).toMatchObject([
      { path: 'd/f', what: 'deleted_there', resolution: 'kept_remote' },
    ]);
    expect(counts.deleted).toBe(1);
  });

  test('names of one device come back as names of one inode', async () => {
    world.mknod('/ipfs/t/null', S_IFCHR | 0o666, 0x103);
    world.link('/ipfs/t/null', '/ipfs/t/same');
    const { snapshot } = await world.publish('/ipfs/t');
    world.mkdir('/ipfs/back');
    await world.restore(snapshot, '/ipfs/back');
    expect(world.tree('/ipfs/back')).toEqual(world.tree('/ipfs/t'));
    expect(world.ino('/ipfs/back/same')).toBe(world.ino('/ipfs/back/null'));
  });

  test('a device that may not be made leaves what has its name', async () => {
    world.mknod('/ipfs/t/null', S_IFCHR | 0o666, 0x103);
    const { snapshot } = await world.publish('/ipfs/t');
    world.mkdir('/ipfs/here');
    world.write('/ipfs/here/null', 'mine');
    const { ino } = world.inode('/ipfs/here');
    for (const it of [ino, world.ino('/ipfs/here/null')]) {
      void world.vfs.setattr(ROOT, it, { uid: 1234, gid: 1234 });
    }
    const change = { ...REMOTE, caller: callerOf(1234) };
    const { skipped, counts } = await world.restore(snapshot, '/ipfs/here', change);
    expect(skipped).toEqual(['null']);
    expect(counts.updated).toBe(0);
    expect(world.bytes('/ipfs/here/null').toString()).toBe('mine');
  });

  test('a directory of more names than a page is compared whole', async () => {
    for (let at = 0; at < 1024; at += 1) world.symlink(`/ipfs/t/${at}`, 'x');
    world.symlink('/ipfs/t/last', 'x');
    const { snapshot } = await world.publish('/ipfs/t');
    const { counts } = await world.restore(snapshot, '/ipfs/t');
    expect(counts).toMatchObject({ created: 0, unchanged: 1025 });
  });
});

describe('bytes', () => {
  test('cut differently are the same bytes', async () => {
    const bytes = noise(600_000);
    const { cid } = await world.builder.addBytes(
      bytes,
      { profile: 'unixfs-v0-2015', dryRun: false },
      world.signal,
    );
    const root = await directory([{ Name: 'f', Hash: cid }]);
    world.write('/ipfs/t/f', bytes);
    const { counts } = await world.restore(root, '/ipfs/t');
    expect(counts).toMatchObject({ unchanged: 1, updated: 0 });
  });

  test('of a file that is all hole are zeros', async () => {
    world.write('/ipfs/t/hole', '');
    void world.vfs.setattr(ROOT, world.ino('/ipfs/t/hole'), { size: 1000 });
    const zeros = await put(0x55, Buffer.alloc(1000));
    const ones = await put(0x55, Buffer.alloc(1000, 1));
    const same = await directory([{ Name: 'hole', Hash: zeros }]);
    expect((await world.restore(same, '/ipfs/t')).counts).toMatchObject({ unchanged: 1 });
    const other = await directory([{ Name: 'hole', Hash: ones }]);
    expect(await conflictsOf(world.restore(other, '/ipfs/t'))).toMatchObject([{ path: 'hole' }]);
  });

  test('put together from blocks are copied, once, and a dry run only reads them', async () => {
    const bytes = noise(1_200_000);
    const { cid } = await world.builder.addBytes(
      bytes,
      { profile: 'unixfs-v0-2015', dryRun: false },
      world.signal,
    );
    const root = await directory([
      { Name: 'a', Hash: cid },
      { Name: 'b', Hash: cid },
    ]);
    const objects = () => world.journal.contents.page(0, 1000).length;
    const before = objects();
    await world.restore(root, '/ipfs/t', { dryRun: true });
    expect(objects()).toBe(before);
    await world.restore(root, '/ipfs/t');
    expect(objects()).toBe(before + 1);
    expect(world.bytes('/ipfs/t/a').equals(bytes)).toBe(true);
    expect(world.inode('/ipfs/t/b').content).toBe(world.inode('/ipfs/t/a').content);
  });

  test('put together from blocks have holes where they are zeros', async () => {
    const bytes = Buffer.alloc(3_000_000);
    noise(5000).copy(bytes, 2_097_152);
    const far = new Fixture();
    try {
      far.mkdir('/ipfs/t');
      far.write('/ipfs/t/f', bytes);
      const { root } = await far.publish('/ipfs/t');
      for await (const { cid } of far.dag.walk(root, far.signal)) {
        world.blocks.put(cid, far.blocks.get(cid) ?? Buffer.alloc(0));
      }
      await world.restore(root, '/ipfs/t');
    } finally {
      await far.close();
    }
    const { content } = world.inode('/ipfs/t/f');
    expect(world.bytes('/ipfs/t/f').equals(bytes)).toBe(true);
    expect(world.contents.seek(content, 0, 'data')).toBe(2_097_152);
    expect(world.contents.seek(content, 2_097_152, 'hole')).toBe(2_097_152 + 8192);
  });

  test('copied for a tree that cannot be swapped in are given up', async () => {
    const { cid } = await world.builder.addBytes(
      noise(600_000),
      { profile: 'unixfs-v0-2015', dryRun: false },
      world.signal,
    );
    const root = await directory([{ Name: 'f', Hash: cid }]);
    const before = world.journal.contents.page(0, 1000).map(({ id }) => id);
    const write = () => {
      throw new OpError('denied', 'write');
    };
    const error = await failureOf(world.restore(root, '/ipfs/t', { writer: { write } }));
    expect(error.failure).toBe('denied');
    expect(world.journal.contents.page(0, 1000).map(({ id }) => id)).toEqual(before);
  });
});

describe('a tree of a stranger', () => {
  const refusal = async (cid: CID) => {
    const error = await failureOf(world.restore(cid, '/ipfs/t'));
    expect(Object.keys(world.tree('/ipfs/t'))).toEqual(['.']);
    return error;
  };

  test('with one name twice, or a name too long, is refused', async () => {
    const file = await put(0x55, Buffer.from('x'));
    const link = (Name: string) => ({ Name, Hash: file });
    const twice = await refusal(await directory([link('a'), link('a')]));
    expect(twice).toMatchObject({ failure: 'integrity', hint: 'two of its links have one name' });
    const long = await refusal(await directory([link('x'.repeat(256))]));
    expect(long.failure).toBe('name-too-long');
  });

  test('with a node that is no UnixFS is refused', async () => {
    const record = await put(0x71, encodeCbor({ hello: 'world' }));
    const error = await refusal(await directory([{ Name: 'r', Hash: record }]));
    expect(error.failure).toBe('unsupported');
  });

  test.each(['', 'a\0b'])('with a symbolic link to %j is refused', async (target) => {
    const link = await node(new UnixFS({ type: 'symlink', data: Buffer.from(target) }));
    const error = await refusal(await directory([{ Name: 'l', Hash: link }]));
    expect(error.failure).toBe('integrity');
  });

  test('that lacks many blocks is refused with the first twenty', async () => {
    const links: { Name: string; Hash: CID }[] = [];
    for (let at = 0; at < 30; at += 1) {
      const digest = await sha256.digest(Buffer.from(`absent ${at}`));
      links.push({ Name: `n${at}`, Hash: MultiformatsCid.createV1(0x55, digest) as CID });
    }
    const { failure, details } = await refusal(await directory(links));
    expect(failure).toBe('content-missing');
    expect(details['partial']).toMatchObject({ missing: { length: 20 } });
  });

  test('brings the mode and time that UnixFS has', async () => {
    const mtime = { secs: 1000n, nsecs: 5 };
    const file = await node(
      new UnixFS({ type: 'file', data: Buffer.from('x'), mode: 0o640, mtime }),
    );
    await world.restore(await directory([{ Name: 'f', Hash: file }]), '/ipfs/t');
    expect(world.inode('/ipfs/t/f')).toMatchObject({ mode: 0o100640, mtimeS: 1000, mtimeNs: 5 });
  });

  test('that was the base of a sync, and is lost, says nothing of what was synced', async () => {
    world.write('/ipfs/t/f', 'first');
    await world.publish('/ipfs/t');
    world.write('/ipfs/t/f', 'second');
    const theirs = await directory([{ Name: 'f', Hash: await put(0x55, Buffer.from('theirs')) }]);
    const { journal } = world;
    const synced = journal.superblocks.synced(nameOfText('/ipfs/t'));
    if (synced === undefined) throw new Error('it was synced');
    const lost = MultiformatsCid.createV1(0x70, await sha256.digest(Buffer.from('lost')));
    const row = { ...synced, rootCid: Buffer.from(lost.bytes) };
    journal.commit(() => journal.superblocks.setSynced(row));
    const conflicts = await conflictsOf(world.restore(theirs, '/ipfs/t'));
    expect(conflicts).toMatchObject([{ path: 'f', what: 'both_created', baseCid: undefined }]);
  });
});
