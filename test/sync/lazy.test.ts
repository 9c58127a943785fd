/** The laws of restoring a tree whose bytes are elsewhere. */
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID as MultiformatsCid } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { S_IFCHR, S_IFIFO } from '../../src/base/posix.ts';
import type { CID } from '../../src/content/content.ts';
import { type ContentRow, checkJournal } from '../../src/journal/journal.ts';
import { chainOf } from '../../src/sync/sync.ts';
import { walk } from '../../src/vfs/vfs.ts';
import { noise } from '../content/fixture.ts';
import { settle } from '../fakes/clock.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture, failureOf, ROOT } from './fixture.ts';

let there: Fixture;
let here: Fixture;
let origin: Origin;
beforeEach(() => {
  there = new Fixture();
  origin = new Origin();
  here = new Fixture(origin);
});
afterEach(async () => {
  await here.close();
  await there.close();
});

/** A tree with one of everything, on the other machine. */
function makeTree(): void {
  there.mkdir('/ipfs/t', 0o750);
  there.mkdir('/ipfs/t/empty', 0o1777);
  there.mkdir('/ipfs/t/sub');
  there.write('/ipfs/t/sub/large', noise(2_500_000));
  there.write('/ipfs/t/small', 'small');
  there.write('/ipfs/t/nothing', '');
  there.write('/ipfs/t/tool', '#!/bin/sh\n');
  there.link('/ipfs/t/tool', '/ipfs/t/sub/same-tool');
  there.symlink('/ipfs/t/link', 'sub/../tool');
  there.mknod('/ipfs/t/pipe', S_IFIFO | 0o600);
  there.mknod('/ipfs/t/null', S_IFCHR | 0o666, 0x103);
  const odd = there.vfs.mkdir(ROOT, there.ino('/ipfs/t'), '\xff\xfe' as Name, 0o700);
  const { fh } = there.vfs.create(ROOT, odd.ino, '\x80' as Name, 0o600, 1).handle;
  there.vfs.write(ROOT, fh, Buffer.from('odd'), 0, false);
  there.vfs.release(fh);
  const tool = there.ino('/ipfs/t/tool');
  void there.vfs.setattr(ROOT, tool, { uid: 1000, gid: 1001 });
  void there.vfs.setattr(ROOT, tool, { mode: 0o6755 });
  there.vfs.setxattr(ROOT, tool, nameOfText('user.short'), Buffer.from('value'), 'any');
  there.vfs.setxattr(ROOT, tool, nameOfText('trusted.long'), noise(5000), 'any');
  for (const name of ['sub/large', 'tool', 'link', 'empty', 'sub', 'pipe', 'small']) {
    const times = { atime: { s: 1_000_000, ns: 1 }, mtime: { s: -5, ns: 999_999_999 } };
    void there.vfs.setattr(ROOT, there.ino(`/ipfs/t/${name}`), times);
  }
}

/** What `there` published, as far as the node is concerned. */
async function publish(): Promise<{ readonly snapshot: CID; readonly root: CID }> {
  const { snapshot, root } = await there.publish('/ipfs/t');
  for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
    origin.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
  return { snapshot, root };
}

async function restored(snapshot: CID, path = '/ipfs/back') {
  here.mkdir(path);
  return here.restore(snapshot, path);
}

/** Reads every file of the restored tree. */
async function readAll(path = '/ipfs/back'): Promise<void> {
  for (const { row } of walk(here.vfs.core, ROOT, here.ino(path))) {
    if (!here.vfs.isHere(row.ino)) await here.vfs.bring(row.ino);
  }
}

test('the whole tree is there, in everything but bytes, before one of them is', async () => {
  makeTree();
  const { snapshot } = await publish();
  const large = await there.dag.resolve((await publish()).root, ['sub', 'large'], there.signal);
  const leaves: string[] = [];
  for await (const { cid } of there.dag.walk(large, there.signal)) leaves.push(cid.toString());
  const small = await there.dag.resolve((await publish()).root, ['small'], there.signal);
  const { counts } = await restored(snapshot);
  expect(counts.created).toBe(12);
  expect(origin.asked).not.toContain(small.toString());
  for (const leaf of leaves.slice(1)) expect(origin.asked).not.toContain(leaf);
  expect(here.inode('/ipfs/back/sub/large')).toMatchObject({ size: 2_500_000, mtimeS: -5 });
  expect(here.inode('/ipfs/back/tool')).toMatchObject({ mode: 0o106755, uid: 1000, nlink: 2 });
  expect(here.vfs.isHere(here.ino('/ipfs/back/small'))).toBe(false);
  expect(checkJournal(here.journal)).toEqual([]);
});

test('read through, it is the same tree in everything', async () => {
  makeTree();
  const { snapshot } = await publish();
  await restored(snapshot);
  await readAll();
  await here.filling.settled();
  // Reading moved nothing: bytes were brought past the times of access.
  expect(here.tree('/ipfs/back')).toEqual(there.tree('/ipfs/t'));
  expect(checkJournal(here.journal)).toEqual([]);
});

test('each block of names and metadata is asked for once, and kept', async () => {
  makeTree();
  const { snapshot } = await publish();
  await restored(snapshot);
  expect(new Set(origin.asked).size).toBe(origin.asked.length);
  origin.manner = 'offline';
  const records = [];
  for await (const { cid } of chainOf(here.dag, snapshot, here.signal)) records.push(cid);
  expect(records.map(String)).toEqual([snapshot.toString()]);
  const asked = origin.asked.length;
  here.mkdir('/ipfs/again');
  await here.restore(snapshot, '/ipfs/again');
  expect(origin.asked).toHaveLength(asked);
  expect(here.inode('/ipfs/again/small').content).toBe(here.inode('/ipfs/back/small').content);
});

test('who is far away is asked for all directories of a level at once, and for all shards of one', async () => {
  there.mkdir('/ipfs/t');
  there.mkdir('/ipfs/t/wide');
  for (let at = 0; at < 30; at += 1) {
    there.mkdir(`/ipfs/t/${at}`);
    there.write(`/ipfs/t/${at}/file`, `${at}`);
  }
  for (let at = 0; at < 1500; at += 1) there.write(`/ipfs/t/wide/${'n'.repeat(200)}${at}`, '');
  const { snapshot } = await publish();
  let isOver = false;
  origin.hold();
  const restoring = restored(snapshot).finally(() => {
    isOver = true;
  });
  let journeys = 0;
  while (!isOver) {
    const before = origin.asked.length;
    // As long as its answers take, which are all on their way.
    for (let at = 0; at < 100 && !isOver; at += 1) await settle();
    if (origin.asked.length === before && !isOver) continue;
    journeys += 1;
    origin.release();
    origin.hold();
  }
  origin.release();
  await restoring;
  expect(origin.asked.length).toBeGreaterThan(60 + 250);
  // One after the other it would be one for each.
  expect(journeys).toBeLessThan(origin.asked.length / 8);
  const names = [...walk(here.vfs.core, ROOT, here.ino('/ipfs/back'))];
  expect(names).toHaveLength(31 + 30 + 1500);
});

test('published again it has the same root and manifest, and nothing is fetched for it', async () => {
  makeTree();
  const { snapshot, root } = await publish();
  await restored(snapshot);
  origin.manner = 'offline';
  const again = await here.publish('/ipfs/back');
  expect(again.root.toString()).toBe(root.toString());
  expect(again.snapshot.toString()).toBe(snapshot.toString());
});

test('files of the same bytes are fetched once for all', async () => {
  there.mkdir('/ipfs/t');
  for (const name of ['a', 'b', 'c']) there.write(`/ipfs/t/${name}`, noise(100_000));
  const { snapshot } = await publish();
  await restored(snapshot);
  const asked = origin.asked.length;
  await readAll();
  expect(origin.asked.length - asked).toBe(1);
});

test('what is here already is not fetched, and is not elsewhere', async () => {
  there.mkdir('/ipfs/t');
  there.write('/ipfs/t/a', noise(100_000));
  const { snapshot } = await publish();
  here.mkdir('/ipfs/own');
  here.write('/ipfs/own/a', noise(100_000));
  await here.publish('/ipfs/own');
  await restored(snapshot);
  expect(here.inode('/ipfs/back/a').content).toBe(here.inode('/ipfs/own/a').content);
});

test('a plain directory that somebody else made is shown too', async () => {
  const bytes = Buffer.from('made by hand');
  const leaf = { bytes, cid: MultiformatsCid.createV1(0x55, await sha256.digest(bytes)) };
  const Data = new UnixFS({ type: 'directory' }).marshal();
  const Links = [{ Name: 'file', Hash: leaf.cid, Tsize: bytes.length }];
  const directory = encode(prepare({ Data, Links }));
  const cid = MultiformatsCid.createV1(0x70, await sha256.digest(directory));
  origin.put(leaf.cid, leaf.bytes);
  origin.put(cid, directory);
  await restored(cid);
  await here.vfs.bring(here.ino('/ipfs/back/file'));
  await here.filling.settled();
  expect(here.bytes('/ipfs/back/file').toString()).toBe('made by hand');
});

test('a link that lies about a size is a file that cannot be read, and no other bytes', async () => {
  const bytes = Buffer.from('made by hand');
  const leaf = MultiformatsCid.createV1(0x55, await sha256.digest(bytes));
  const Data = new UnixFS({ type: 'directory' }).marshal();
  const Links = [{ Name: 'file', Hash: leaf, Tsize: bytes.length + 3 }];
  const directory = encode(prepare({ Data, Links }));
  const cid = MultiformatsCid.createV1(0x70, await sha256.digest(directory));
  origin.put(leaf, bytes);
  origin.put(cid, directory);
  await restored(cid);
  const reading = here.vfs.bring(here.ino('/ipfs/back/file'));
  expect((await failureOf(reading)).failure).toBe('integrity');
});

test.each(['offline', 'lack', 'lie'] as const)(
  'when names cannot be had because the node is %s, nothing is changed',
  async (manner) => {
    makeTree();
    const { snapshot } = await publish();
    origin.manner = manner;
    here.mkdir('/ipfs/back');
    const { seq } = here.journal.head;
    const failure = manner === 'lie' ? 'integrity' : 'content-missing';
    expect((await failureOf(here.restore(snapshot, '/ipfs/back'))).failure).toBe(failure);
    expect(Object.keys(here.tree('/ipfs/back'))).toEqual(['.']);
    expect(here.journal.head.seq).toBe(seq);
  },
);

test('bytes copied for a tree count as old until its names come, and what is elsewhere comes with them', async () => {
  there.mkdir('/ipfs/t');
  there.write('/ipfs/t/elsewhere', noise(100_000));
  there.write('/ipfs/t/here', noise(2_500_000, 2));
  const { snapshot, root } = await publish();
  const large = await there.dag.resolve(root, ['here'], there.signal);
  for await (const { cid } of there.dag.walk(large, there.signal)) {
    here.blocks.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
  here.mkdir('/ipfs/back');
  const { contents } = here.journal;
  const isOfNobody = ({ state, refs, held, released_s }: ContentRow) =>
    state !== 'remote' && refs + held === 0 && released_s === null;
  const states = () => contents.released(2 ** 40, 9).map(({ state }) => state);
  const before: unknown[] = [];
  const write = () => {
    before.push(...states(), ...contents.page(0, 99).filter(isOfNobody));
    throw new OpError('cancelled', 'write');
  };
  const killed = failureOf(here.restore(snapshot, '/ipfs/back', { writer: { write } }));
  expect((await killed).failure).toBe('cancelled');
  expect(before).toEqual(['frozen']);
  expect(checkJournal(here.journal)).toEqual([]);
  expect(states()).toEqual([]);
  expect(contents.page(0, 99).filter(({ state }) => state === 'remote')).toEqual([]);
  await here.restore(snapshot, '/ipfs/back');
  expect(states()).toEqual([]);
  await readAll();
  await here.filling.settled();
  expect(here.bytes('/ipfs/back/here').equals(noise(2_500_000, 2))).toBe(true);
});

test('a rehearsal makes no content', async () => {
  makeTree();
  const { snapshot } = await publish();
  here.mkdir('/ipfs/back');
  const { rehearsed } = await here.restore(snapshot, '/ipfs/back', { dryRun: true });
  expect(rehearsed.length).toBeGreaterThan(10);
  expect(here.journal.contents.page(0, 100).filter(({ state }) => state === 'remote')).toEqual([]);
});
