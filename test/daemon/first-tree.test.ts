/** What a new state directory begins with. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { O_NOATIME } from '../../src/base/posix.ts';
import type { CID } from '../../src/content/content.ts';
import { FirstTree, type FirstTreeInputs } from '../../src/daemon/first-tree.ts';
import { readSnapshot } from '../../src/sync/sync.ts';
import type { DirectoryEntry } from '../../src/vfs/vfs.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Names } from '../fakes/names.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture, failureOf, ROOT } from '../sync/fixture.ts';

let there: Fixture;
let here: Fixture;
let origin: Origin;
let snapshot: CID;
let names: Names;
beforeEach(async () => {
  names = new Names();
  there = new Fixture();
  origin = new Origin();
  here = new Fixture(origin);
  there.mkdir('/ipfs/docs', 0o700);
  there.write('/ipfs/docs/a', 'the bytes of a');
  ({ snapshot } = await there.publish('/ipfs'));
  for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
    origin.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
});
afterEach(async () => {
  await here.close();
  await there.close();
});

type HomeNodes = FirstTreeInputs['nodes'];

const nodesOf = (known: Names): HomeNodes => ({ home: 'kubo', kubo: { names: known } });

async function begin(from: string, signal = here.signal, nodes = nodesOf(names)) {
  const { vfs, journal, contents, dag, sealer, filling } = here;
  const core = { vfs, journal, contents, dag, sealer, filling };
  const first = FirstTree.of({
    core,
    nodes,
    from,
    uid: 0,
    isTakenOver: false,
    clock: here.clock,
    log: new RememberedLog(),
    signal,
  });
  await first?.foresee();
  await first?.arrive();
}

test.each(['', '/ipfs/'])('is the tree of a snapshot, named as %s<cid>', async (prefix) => {
  await begin(`${prefix}${snapshot}`);
  expect(here.inode('/ipfs/docs/a')).toMatchObject({ size: 14 });
  await here.vfs.bring(here.ino('/ipfs/docs/a'));
  expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
});

test('is that tree once: a start after it changes nothing, and needs nobody', async () => {
  await begin(snapshot.toString());
  const { seq } = here.journal.head;
  origin.manner = 'offline';
  await begin(snapshot.toString());
  expect(here.journal.head.seq).toBe(seq);
});

test('is never put over what is there', async () => {
  here.write('/ipfs/mine', 'mine');
  expect((await failureOf(begin(snapshot.toString()))).failure).toBe('not-empty');
  expect(here.bytes('/ipfs/mine').toString()).toBe('mine');
});

test('is nothing at all when it cannot be had whole', async () => {
  origin.manner = 'offline';
  expect((await failureOf(begin(snapshot.toString()))).failure).toBe('content-missing');
  expect(here.journal.dentries.isEmpty(here.ino('/ipfs'))).toBe(true);
  origin.manner = 'give';
  await begin(snapshot.toString());
  expect(here.inode('/ipfs/docs/a').size).toBe(14);
});

test('ends with the daemon, whatever the node does', async () => {
  origin.manner = 'hang';
  const stopping = new AbortController();
  const beginning = failureOf(begin(snapshot.toString(), stopping.signal));
  await origin.hasAsked(1);
  const reason = new Error('it stops');
  stopping.abort(reason);
  expect(await beginning).toBe(reason);
});

test('is nothing that is no CID', async () => {
  expect((await failureOf(begin('no-cid'))).failure).toBe('invalid-cid');
});

describe('of a name', () => {
  test('is not asked of a node without a network', async () => {
    const nodes: HomeNodes = { home: 'embedded', kubo: undefined };
    expect((await failureOf(begin('/ipns/site', here.signal, nodes))).failure).toBe('node-offline');
  });

  test('is what it means when it is asked first, and stays that', async () => {
    names.point('site', `/ipfs/${snapshot}`);
    await begin('/ipns/site');
    await here.vfs.bring(here.ino('/ipfs/docs/a'));
    const tree = here.tree('/ipfs');
    there.write('/ipfs/docs/b', 'published later');
    names.point('site', `/ipfs/${(await there.publish('/ipfs')).snapshot}`);
    await begin('/ipns/site');
    expect(here.tree('/ipfs')).toEqual(tree);
    expect(names.asked).toEqual(['site!']);
  });

  test('is what lies behind it when that is named', async () => {
    const { tree } = await readSnapshot(there.dag, snapshot, there.signal);
    names.point('site', `/ipfs/${tree}`);
    await begin('/ipns/site/docs');
    expect(here.inode('/ipfs/a')).toMatchObject({ size: 14 });
  });

  test('is nothing at all when nobody knows the name', async () => {
    expect((await failureOf(begin('/ipns/site'))).failure).toBe('name-not-resolved');
    expect(here.journal.dentries.isEmpty(here.ino('/ipfs'))).toBe(true);
    names.point('site', `/ipfs/${snapshot}`);
    await begin('/ipns/site');
    expect(here.inode('/ipfs/docs/a').size).toBe(14);
  });

  test('is never put over what is there', async () => {
    here.write('/ipfs/mine', 'mine');
    names.point('site', `/ipfs/${snapshot}`);
    expect((await failureOf(begin('/ipns/site'))).failure).toBe('not-empty');
  });
});

describe('a snapshot', () => {
  let before: ReturnType<typeof listed>;

  /** Names at the root, as programs are told of them. */
  function listed() {
    const names: Record<string, readonly number[]> = {};
    const take = ({ name, ino, type, cookie }: DirectoryEntry) => {
      if (!name.startsWith('.')) names[name] = [ino, type, cookie];
      return true;
    };
    void here.vfs.list(here.ino('/ipfs'), 0, false, take, undefined, O_NOATIME);
    return names;
  }

  const inputs = (from: string | undefined) => {
    const { vfs, journal, contents, dag, sealer, filling, signal } = here;
    const core = { vfs, journal, contents, dag, sealer, filling };
    return {
      core,
      nodes: nodesOf(names),
      from,
      uid: 0,
      isTakenOver: false,
      clock: here.clock,
      log: new RememberedLog(),
      signal,
    };
  };
  /** Of the snapshot, unless another one is named; `null` names none. */
  const firstTree = (from: string | null = snapshot.toString()) => {
    const first = FirstTree.of(inputs(from ?? undefined));
    if (first === undefined) throw new Error('nothing is on its way');
    return first;
  };
  /** The daemon is gone, and what it had in memory with it. */
  const killed = () => {
    here.vfs.core.arriving = undefined;
  };
  /** It is what was published, to the last byte. */
  const demandSame = async () => {
    for (const path of ['/ipfs/docs/a', '/ipfs/file']) await here.vfs.bring(here.ino(path));
    expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
  };
  const isAwaited = () => here.vfs.core.arriving?.hindrance(here.ino('/ipfs'), 'more');
  const isEmpty = () => here.journal.dentries.isEmpty(here.ino('/ipfs'));

  beforeEach(async () => {
    there.write('/ipfs/file', 'bytes of a file');
    there.vfs.symlink(ROOT, there.ino('/ipfs'), nameOfText('link'), nameOfText('nowhere'));
    there.vfs.link(ROOT, there.ino('/ipfs/docs/a'), there.ino('/ipfs'), nameOfText('second'));
    there.vfs.mknod(ROOT, there.ino('/ipfs'), '\xff odd' as Name, 0o100644, 0);
    there.vfs.mknod(ROOT, there.ino('/ipfs'), nameOfText('pipe'), 0o010644, 0);
    there.vfs.mknod(ROOT, there.ino('/ipfs'), nameOfText('null'), 0o020644, 259);
    await there.vfs.setattr(ROOT, there.ino('/ipfs'), { mode: 0o750, uid: 7 });
    ({ snapshot } = await there.publish('/ipfs'));
    for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
      origin.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
    }
  });

  test('shows the names at its root, as they will be, before the rest is read', async () => {
    const first = firstTree();
    await first.foresee();
    before = listed();
    expect(Object.keys(before)).toHaveLength(7);
    expect(isEmpty()).toBe(true);
    const { nlink, mode, uid, mtimeS, mtimeNs } = here.inode('/ipfs');
    expect([nlink, mode & 0o7777, uid]).toEqual([3, 0o750, 7]);
    expect(first.status).toMatchObject({ names: 0, names_total: 9 });
    await first.arrive();
    expect(listed()).toEqual(before);
    expect(here.inode('/ipfs')).toMatchObject({ nlink, mode, uid, mtimeS, mtimeNs });
    expect(here.inode('/ipfs/second').ino).toBe(here.ino('/ipfs/docs/a'));
    await demandSame();
    expect([first.status, here.vfs.core.arriving]).toEqual([undefined, undefined]);
  });

  test('asks for no list below the root before its names are shown', async () => {
    await firstTree().foresee();
    // The record, the root of the tree and of the manifest, and the list of the names.
    expect(origin.asked).toHaveLength(4);
  });

  test('does not show devices to who may not make them', async () => {
    await here.vfs.setattr(ROOT, here.ino('/ipfs'), { uid: 1000 });
    const first = FirstTree.of({ ...inputs(snapshot.toString()), uid: 1000 });
    await first?.foresee();
    expect(Object.keys(listed())).not.toContain('null');
    await first?.arrive();
    expect(Object.keys(listed())).toHaveLength(6);
  });

  test('that was shown is gone on with by every start after it, whatever that is asked for', async () => {
    await firstTree().foresee();
    before = listed();
    killed();
    const next = firstTree(null);
    await next.foresee();
    expect(listed()).toEqual(before);
    await next.arrive();
    expect(listed()).toEqual(before);
    await demandSame();
    expect(FirstTree.of(inputs(undefined))).toBeUndefined();
    expect(FirstTree.of(inputs(snapshot.toString()))).toBeUndefined();
  });

  test('that was shown gives way to another one, when a start names that', async () => {
    await firstTree().foresee();
    killed();
    there.mkdir('/ipfs/newer');
    const { snapshot: newer } = await there.publish('/ipfs');
    for await (const { cid } of there.dag.walk(newer, there.signal)) {
      origin.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
    }
    const next = firstTree(newer.toString());
    await next.foresee();
    await next.arrive();
    await demandSame();
  });

  test('that was shown is waited for by a daemon that has the mount already', async () => {
    await firstTree().foresee();
    before = listed();
    killed();
    const next = FirstTree.of({ ...inputs('/ipns/whatever'), isTakenOver: true });
    const root = here.ino('/ipfs');
    expect(here.vfs.core.arriving?.hindrance(root, 'names')).toBe('wait');
    expect(here.inode('/ipfs').nlink).toBe(3);
    await next?.arrive();
    expect(here.vfs.core.arriving).toBeUndefined();
    expect(listed()).toEqual(before);
  });

  test('that cannot be had whole is not there at all, says why, and comes when it can', async () => {
    const first = firstTree();
    await first.foresee();
    origin.manner = 'lack';
    expect(isAwaited()).toBe('wait');
    expect((await failureOf(first.arrive())).failure).toBe('content-missing');
    expect(isAwaited()).toMatchObject({ failure: 'content-missing' });
    expect(isEmpty()).toBe(true);
    origin.manner = 'give';
    killed();
    const next = firstTree(null);
    await next.foresee();
    await next.arrive();
    await demandSame();
  });

  test('whose names cannot be had is not begun', async () => {
    origin.manner = 'lack';
    expect((await failureOf(firstTree().foresee())).failure).toBe('content-missing');
    expect(FirstTree.of(inputs(undefined))).toBeUndefined();
  });

  test('takes no number that was given to what others made meanwhile', async () => {
    const first = firstTree();
    await first.foresee();
    here.write('/mem/mine', 'mine');
    await first.arrive();
    here.write('/ipfs/later', 'later');
    const inos = ['/mem/mine', '/ipfs/later', '/ipfs/docs', '/ipfs/file', '/ipfs/docs/a'];
    expect(new Set(inos.map((path) => here.ino(path))).size).toBe(inos.length);
  });
});
