/** The laws of restoring a tree of content into a directory. */
import { encode as encodeCbor } from '@ipld/dag-cbor';
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID as MultiformatsCid } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from '../../src/base/posix.ts';
import { blockKey, type CID, cidOfBytes, parseCid } from '../../src/content/content.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { chainOf } from '../../src/sync/sync.ts';
import { noise } from '../content/fixture.ts';
import { callerOf, Fixture, failureOf, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

/** A tree with one of everything. */
function makeTree(path: string): void {
  const directory = world.mkdir(path, 0o750);
  world.mkdir(`${path}/empty`, 0o1777);
  world.mkdir(`${path}/sub`);
  world.write(`${path}/sub/large`, noise(2_500_000));
  world.write(`${path}/nothing`, '');
  world.write(`${path}/tool`, '#!/bin/sh\n');
  world.link(`${path}/tool`, `${path}/sub/same-tool`);
  world.symlink(`${path}/link`, 'sub/../tool');
  world.mknod(`${path}/pipe`, S_IFIFO | 0o600);
  world.mknod(`${path}/socket`, S_IFSOCK | 0o666);
  world.mknod(`${path}/null`, S_IFCHR | 0o666, 0x103);
  world.mknod(`${path}/disk`, S_IFBLK | 0o660, 0x800);
  const odd = world.vfs.mkdir(ROOT, directory, '\xff\xfe' as Name, 0o700);
  const { fh } = world.vfs.create(ROOT, odd.ino, '\x80' as Name, 0o600, 1).handle;
  world.vfs.write(ROOT, fh, Buffer.from('odd'), 0, false);
  world.vfs.release(fh);
  const tool = world.ino(`${path}/tool`);
  void world.vfs.setattr(ROOT, tool, { uid: 1000, gid: 1001 });
  void world.vfs.setattr(ROOT, tool, { mode: 0o6755 });
  const set = (ino: typeof tool, name: string, value: Uint8Array) =>
    world.vfs.setxattr(ROOT, ino, nameOfText(name), Buffer.from(value), 'any');
  set(tool, 'user.short', Buffer.from('value'));
  set(tool, 'trusted.long', noise(5000));
  set(directory, 'user.dir', Buffer.from([0, 1, 2]));
  for (const name of ['sub/large', 'tool', 'link', 'empty', 'sub', 'pipe']) {
    const times = { atime: { s: 1_000_000, ns: 1 }, mtime: { s: -5, ns: 999_999_999 } };
    void world.vfs.setattr(ROOT, world.ino(`${path}/${name}`), times);
  }
  void world.vfs.setattr(ROOT, directory, { mtime: { s: 77, ns: 7 }, atime: { s: 78, ns: 8 } });
}

const REMOTE = { conflicts: { how: 'restore', policy: 'keep_remote' } } as const;

describe('a snapshot record', () => {
  test('restored into an empty directory gives the same tree, in everything', async () => {
    makeTree('/ipfs/t');
    const { snapshot } = await world.publish('/ipfs/t');
    world.mkdir('/ipfs/back');
    const { counts, seq } = await world.restore(snapshot, '/ipfs/back');
    expect(world.tree('/ipfs/back')).toEqual(world.tree('/ipfs/t'));
    expect(counts).toEqual({ created: 13, updated: 0, deleted: 0, unchanged: 0, conflicts: 0 });
    expect(seq?.last).toBe(world.journal.head.seq);
  });

  test('restored, replaced and published leaves a journal without findings', async () => {
    makeTree('/ipfs/t');
    const { snapshot } = await world.publish('/ipfs/t');
    world.mkdir('/ipfs/back');
    await world.restore(snapshot, '/ipfs/back');
    world.write('/ipfs/back/tool', 'changed');
    await world.restore(snapshot, '/ipfs/back', { ...REMOTE });
    await world.publish('/ipfs/back');
    expect(checkJournal(world.journal)).toEqual([]);
  });

  test('restored and published again is the same root and manifest', async () => {
    makeTree('/ipfs/t');
    const { root, snapshot } = await world.publish('/ipfs/t');
    world.mkdir('/ipfs/back');
    await world.restore(snapshot, '/ipfs/back');
    const again = await world.publish('/ipfs/back');
    expect(again.root.toString()).toBe(root.toString());
    expect(again.snapshot.toString()).toBe(snapshot.toString());
    expect(again.changed).toBe(false);
  });

  test('gives set-id bits, owners, devices and system attributes to uid 0 only', async () => {
    makeTree('/ipfs/t');
    const { snapshot } = await world.publish('/ipfs/t');
    const caller = callerOf(1234);
    world.mkdir('/ipfs/back');
    void world.vfs.setattr(ROOT, world.ino('/ipfs/back'), { uid: 1234, gid: 1234 });
    const { skipped } = await world.restore(snapshot, '/ipfs/back', { caller });
    expect(skipped).toEqual(['disk', 'null']);
    const tool = world.inode('/ipfs/back/tool');
    expect(tool).toMatchObject({ mode: 0o100755, uid: 1234, gid: 1234, mtimeS: -5 });
    const names = world.journal.xattrs.list(tool.ino);
    expect(names).toEqual(['user.short']);
  });

  test('whose block is missing or damaged changes nothing', async () => {
    makeTree('/ipfs/t');
    const { root, snapshot } = await world.publish('/ipfs/t');
    const large = await world.dag.resolve(root, ['sub', 'large'], world.signal);
    world.mkdir('/ipfs/back');
    const seq = world.journal.head.seq;
    const row = world.journal.contents.byCid(blockKey(large));
    if (row === undefined) throw new Error('the file is sealed');
    const path = world.contents.backingPath(row.id);
    if (path === undefined) throw new Error('the file is large');
    const { writeFileSync } = await import('node:fs');
    writeFileSync(path, noise(2_500_000, 2));
    expect((await failureOf(world.restore(snapshot, '/ipfs/back'))).failure).toBe('integrity');
    world.journal.commit(() => world.journal.contents.deleteBlocks(row.id));
    const missing = await failureOf(world.restore(snapshot, '/ipfs/back'));
    expect(missing.failure).toBe('content-missing');
    expect(missing.details['partial']).toEqual({ missing: [missing.details['cid']] });
    expect(Object.keys(world.tree('/ipfs/back'))).toEqual(['.']);
    expect(world.journal.head.seq).toBe(seq);
  });
});

describe('what is published next', () => {
  const listOf = async () => {
    const { snapshotCid } = world.journal.superblocks.synced(nameOfText('/ipfs/t')) ?? {};
    const shown: string[] = [];
    if (!snapshotCid) return shown;
    for await (const { cid } of chainOf(world.dag, cidOfBytes(snapshotCid), world.signal)) {
      shown.push(String(cid));
    }
    return shown;
  };

  test.each(['restore', 'merge'] as const)(
    'follows all that was published before, also when an older one is in the tree since (%s)',
    async (how) => {
      world.mkdir('/ipfs/t');
      const made: string[] = [];
      for (const text of ['one', 'two', 'three']) {
        world.write('/ipfs/t/f', text);
        made.unshift(String((await world.publish('/ipfs/t')).snapshot));
      }
      const oldest = parseCid(made.at(-1) ?? '');
      await world.restore(oldest, '/ipfs/t', { conflicts: { how, policy: 'keep_remote' } });
      expect(await listOf()).toEqual(made);
      world.write('/ipfs/t/f', 'four');
      const { snapshot } = await world.publish('/ipfs/t');
      expect(await listOf()).toEqual([String(snapshot), ...made]);
    },
  );

  test('is nothing where a snapshot was merged that comes after the last one', async () => {
    world.mkdir('/ipfs/t');
    world.write('/ipfs/t/f', 'one');
    const first = await world.publish('/ipfs/t');
    world.mkdir('/ipfs/other');
    await world.restore(first.snapshot, '/ipfs/other');
    world.write('/ipfs/other/f', 'two');
    const next = await world.publish('/ipfs/other');
    await world.restore(next.snapshot, '/ipfs/t', { conflicts: { how: 'merge', policy: 'fail' } });
    expect(await world.publish('/ipfs/t')).toMatchObject({ changed: false });
    expect(await listOf()).toEqual([next, first].map(({ snapshot }) => String(snapshot)));
  });
});

describe('policies', () => {
  async function published(): Promise<CID> {
    world.mkdir('/ipfs/t');
    world.mkdir('/ipfs/t/d');
    world.write('/ipfs/t/d/same', 'same');
    world.write('/ipfs/t/d/other', 'theirs');
    world.write('/ipfs/t/kind', 'a file');
    const { root } = await world.publish('/ipfs/t');
    return root;
  }

  function prepareHere(): void {
    world.mkdir('/ipfs/here');
    world.mkdir('/ipfs/here/d');
    world.write('/ipfs/here/d/same', 'same');
    world.write('/ipfs/here/d/other', 'ours!!');
    world.write('/ipfs/here/d/only-here', 'kept');
    world.mkdir('/ipfs/here/kind');
    world.write('/ipfs/here/kind/inside', 'x');
  }

  test('fail names every difference in an existing name, and changes nothing', async () => {
    const root = await published();
    prepareHere();
    const before = world.tree('/ipfs/here');
    const seq = world.journal.head.seq;
    const error = await failureOf(world.restore(root, '/ipfs/here'));
    expect(error.failure).toBe('sync-conflict');
    expect(error.details['conflicts']).toMatchObject([
      { path: 'd/other', what: 'both_created', resolution: 'none' },
      { path: 'kind', what: 'type_changed', resolution: 'none' },
    ]);
    expect(world.tree('/ipfs/here')).toEqual(before);
    expect(world.journal.head.seq).toBe(seq);
  });

  test('keep_remote takes the tree, and leaves what it does not know', async () => {
    const root = await published();
    prepareHere();
    const restored = await world.restore(root, '/ipfs/here', { ...REMOTE });
    expect(world.bytes('/ipfs/here/d/other').toString()).toBe('theirs');
    expect(world.bytes('/ipfs/here/d/only-here').toString()).toBe('kept');
    expect(world.bytes('/ipfs/here/kind').toString()).toBe('a file');
    expect(restored.counts).toEqual({
      created: 0,
      updated: 2,
      deleted: 0,
      unchanged: 2,
      conflicts: 2,
    });
    expect(restored.conflicts).toMatchObject([
      { path: 'd/other', resolution: 'kept_remote' },
      { path: 'kind', resolution: 'kept_remote' },
    ]);
  });

  test('fail adds what is missing beside what is the same', async () => {
    const root = await published();
    world.mkdir('/ipfs/here');
    world.mkdir('/ipfs/here/d');
    world.write('/ipfs/here/d/same', 'same');
    const { counts } = await world.restore(root, '/ipfs/here');
    expect(counts).toEqual({ created: 2, updated: 0, deleted: 0, unchanged: 2, conflicts: 0 });
    expect(world.bytes('/ipfs/here/d/other').toString()).toBe('theirs');
  });

  test('what the last sync had and the tree lacks is deleted, if that is asked', async () => {
    const old = await published();
    const restored = async (applyDeletions: boolean) => {
      world.write('/ipfs/t/new', 'since');
      await world.publish('/ipfs/t');
      world.write('/ipfs/t/mine', 'never synced');
      const result = await world.restore(old, '/ipfs/t', { ...REMOTE, applyDeletions });
      world.unlink('/ipfs/t/mine');
      return result;
    };
    expect((await restored(false)).counts.deleted).toBe(0);
    expect(world.bytes('/ipfs/t/new').toString()).toBe('since');
    const { counts, conflicts } = await restored(true);
    expect(counts.deleted).toBe(1);
    expect(conflicts).toEqual([]);
    expect(Object.keys(world.tree('/ipfs/t'))).not.toContain('/new');
  });

  test('a deletion under fail is a conflict', async () => {
    const old = await published();
    world.write('/ipfs/t/new', 'since');
    await world.publish('/ipfs/t');
    const error = await failureOf(world.restore(old, '/ipfs/t'));
    expect(error.details['conflicts']).toMatchObject([{ path: 'new', what: 'deleted_there' }]);
  });

  test('a tree that changes while it is compared is not touched', async () => {
    const root = await published();
    prepareHere();
    const writer = {
      write: (plan: Parameters<typeof world.vfs.graft>[1]) => world.vfs.graft(ROOT, plan),
    };
    const work = world.restore(root, '/ipfs/here', {
      ...REMOTE,
      writer: {
        write: (plan) => {
          world.write('/ipfs/here/kind/appeared', 'meanwhile');
          writer.write(plan);
        },
      },
    });
    const seq = world.journal.head.seq;
    expect((await failureOf(work)).failure).toBe('version-conflict');
    expect(world.journal.head.seq).toBe(seq);
    expect(world.bytes('/ipfs/here/d/other').toString()).toBe('ours!!');
  });

  test('a restoration is one commit group, and its last record is sync_from', async () => {
    const root = await published();
    world.mkdir('/ipfs/here');
    const { seq } = await world.restore(root, '/ipfs/here');
    const rows = world.journal.ops.page((seq?.first ?? 0) - 1, 100);
    expect(rows.at(-1)).toMatchObject({ kind: 'sync_from', seq: seq?.last });
    expect(rows.at(-1)?.cid?.equals(root.bytes)).toBe(true);
    // Records of one group, and only they, share a moment.
    expect(new Set(rows.map(({ time_s: s, time_ns: ns }) => `${s}.${ns}`)).size).toBe(1);
  });

  test('a dry run finds the same, and changes nothing', async () => {
    const root = await published();
    world.mkdir('/ipfs/here');
    const seq = world.journal.head.seq;
    const objects = world.journal.contents.page(0, 1000).length;
    const planned = await world.restore(root, '/ipfs/here', { dryRun: true });
    expect(planned.counts.created).toBe(4);
    expect(planned.seq).toBeUndefined();
    expect(world.journal.head.seq).toBe(seq);
    expect(world.journal.contents.page(0, 1000)).toHaveLength(objects);
  });

  test('directories on the way are made with it', async () => {
    const root = await published();
    const missing = [nameOfText('new'), nameOfText('place')];
    const existing = world.ino('/ipfs');
    await world.restore(root, '/ipfs/new/place', { existing, missing });
    expect(world.bytes('/ipfs/new/place/d/same').toString()).toBe('same');
  });

  test('a tree in memory has copies of its own', async () => {
    const root = await published();
    await world.restore(root, '/mem');
    const row = world.contents.row(world.inode('/mem/kind').content);
    expect(row).toMatchObject({ place: 'memory' });
    expect(world.bytes('/mem/kind').toString()).toBe('a file');
  });
});

describe('content of strangers', () => {
  async function put(code: number, bytes: Uint8Array): Promise<CID> {
    const cid = MultiformatsCid.createV1(code, await sha256.digest(bytes)) as CID;
    world.blocks.put(cid, bytes);
    return cid;
  }

  async function directory(links: readonly { Name: string; Hash: CID }[]): Promise<CID> {
    const Data = new UnixFS({ type: 'directory' }).marshal();
    const Links = links.map((link) => ({ ...link, Tsize: 1 }));
    return put(0x70, encode(prepare({ Data, Links })));
  }

  test.each(['..', '.', 'a/b', '', 'nul\0'])('a link named %j is refused', async (name) => {
    const file = await put(0x55, Buffer.from('x'));
    const root = await directory([{ Name: name, Hash: file }]);
    world.mkdir('/ipfs/here');
    const error = await failureOf(world.restore(root, '/ipfs/here'));
    expect(error.failure).toBe('integrity');
    expect(Object.keys(world.tree('/ipfs/here'))).toEqual(['.']);
  });

  test('what is no directory and no snapshot record is refused', async () => {
    world.mkdir('/ipfs/here');
    const refused = async (cid: CID) => (await failureOf(world.restore(cid, '/ipfs/here'))).failure;
    expect(await refused(await put(0x55, Buffer.from('x')))).toBe('unsupported');
    const record = (value: unknown) => put(0x71, encodeCbor(value));
    expect(await refused(await record({ hello: 'world' }))).toBe('unsupported');
    expect(await refused(await record([1, 2]))).toBe('unsupported');
    const file = await put(0x55, Buffer.from('x'));
    const snapshot = {
      version: 1,
      tree: file,
      manifest: await record({ version: 1, entries: 0, parts: [] }),
      previous: null,
      journal: { seq: 1, hash: new Uint8Array(32) },
      cid_profile: 'unixfs-v1-2025',
      time: '2026-01-01T00:00:00Z',
      message: null,
    };
    expect(await refused(await record(snapshot))).toBe('unsupported');
    expect(await refused(await record({ ...snapshot, version: 2 }))).toBe('unsupported');
    expect(await refused(await record({ ...snapshot, previous: 'bafy' }))).toBe('unsupported');
  });

  test('a plain directory without metadata has ordinary modes', async () => {
    const file = await put(0x55, Buffer.from('x'));
    const root = await directory([
      { Name: 'd', Hash: await directory([]) },
      { Name: 'f', Hash: file },
    ]);
    world.mkdir('/ipfs/here');
    await world.restore(root, '/ipfs/here');
    expect(world.inode('/ipfs/here/f').mode).toBe(0o100644);
    expect(world.inode('/ipfs/here/d').mode).toBe(0o040755);
  });
});
