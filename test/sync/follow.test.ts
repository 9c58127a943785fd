/** The laws of a copy that follows a name. */
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID as MultiformatsCid } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import type { CID } from '../../src/content/content.ts';
import { meaningOf } from '../../src/daemon/meaning.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { Follower, type FollowState, readSnapshot } from '../../src/sync/sync.ts';
import {
  bringUpToDate,
  type Following,
  fillCopy,
  followings,
  mount,
  unmount,
  walk,
} from '../../src/vfs/vfs.ts';
import { noise } from '../content/fixture.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Names } from '../fakes/names.ts';
import { Origin } from '../fakes/origin.ts';
import { callerOf, Fixture, failureOf, ROOT } from './fixture.ts';

const COPY = nameOfText('/copy');

let there: Fixture;
let here: Fixture;
let origin: Origin;
let names: Names;
let clock: TurnedClock;
let log: RememberedLog;
let follower: Follower;
let stop: AbortController;
let running: Promise<void>;
/** Called when a copy is about to change. */
let onBring: () => void;

beforeEach(async () => {
  there = new Fixture();
  origin = new Origin();
  here = new Fixture(origin);
  names = new Names();
  here.names.attach(() => names);
  clock = new TurnedClock();
  log = new RememberedLog();
  stop = new AbortController();
  running = Promise.resolve();
  onBring = () => {};
  follower = followerOf(0);
  there.mkdir('/ipfs/t', 0o755);
  there.mkdir('/ipfs/t/sub');
  there.write('/ipfs/t/sub/same', noise(300_000));
  there.write('/ipfs/t/first', 'the first');
  await publish();
});
afterEach(async () => {
  stop.abort();
  await running;
  await here.close();
  await there.close();
});

function followerOf(uid: number): Follower {
  const { core } = here.vfs;
  const bring = (copy: Following, plan: Parameters<typeof fillCopy>[3], shown: string) => {
    onBring();
    bringUpToDate(core, callerOf(uid), copy, { plan, shown });
  };
  return new Follower({
    ...{ restorer: here.restorer, clock, log, owner: { uid, gid: uid } },
    copies: { all: () => followings(core), bring },
    meaningOf: (source, signal) => meaningOf(here, source, signal),
  });
}

/** The tree as it is now is what the name means. */
async function publish(): Promise<CID> {
  const { snapshot } = await there.publish('/ipfs/t');
  for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
    origin.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
  names.point('site', `/ipfs/${snapshot}`);
  return snapshot;
}

function begin(source = '/ipns/site', uid = 0) {
  const { core } = here.vfs;
  const caller = callerOf(uid);
  const request = {
    source,
    path: COPY,
    actor: caller.actor,
    mount: (plan: Parameters<typeof fillCopy>[3], shown: string) => {
      mount(core, caller, {
        ...{ mountId: 'one', mountPoint: COPY, kind: 'ipns', backend: 'ipns', source },
        ...{ readOnly: true, volatile: false, uid, gid: uid, mode: 0o755 },
        options: { shown, refresh_s: 10 },
        fill: (root) => fillCopy(core, caller, root, plan),
      });
    },
  };
  return follower.begin(request, here.signal);
}

/** A directory with a file of leaves as nobody here would cut them, and another name. */
async function foreign(other: string): Promise<string> {
  const put = async (bytes: Uint8Array, code: number) => {
    const cid = MultiformatsCid.createV1(code, await sha256.digest(bytes));
    origin.put(cid, bytes);
    return { cid, bytes };
  };
  const leaves = [await put(Buffer.from('made by'), 0x55), await put(Buffer.from(' hand'), 0x55)];
  const sizes = leaves.map(({ bytes }) => BigInt(bytes.length));
  const data = new UnixFS({ type: 'file', blockSizes: sizes }).marshal();
  const links = leaves.map(({ cid, bytes }) => ({ Name: '', Hash: cid, Tsize: bytes.length }));
  const file = await put(encode({ Data: data, Links: links }), 0x70);
  const Data = new UnixFS({ type: 'directory' }).marshal();
  const named = [
    { Name: 'file', Hash: file.cid, Tsize: file.bytes.length + 12 },
    { Name: other, Hash: leaves[0]?.cid, Tsize: 7 },
  ];
  return (await put(encode(prepare({ Data, Links: named })), 0x70)).cid.toString();
}

/** Names of the copy with the sizes of what they are. */
function listed(world = here, path = '/copy'): Record<string, number> {
  const paths = new Map([[world.ino(path), '']]);
  const shown: Record<string, number> = {};
  for (const { parent, name, row } of walk(world.vfs.core, ROOT, world.ino(path))) {
    const at = `${paths.get(parent)}/${name}`;
    paths.set(row.ino, at);
    shown[at] = row.size;
  }
  return shown;
}

const state = (): FollowState => {
  const [one] = follower.states();
  if (one === undefined) throw new Error('nothing is followed');
  return one;
};

/** Resolves when a copy was looked at once more, whatever came of it. */
async function looked(begin: () => unknown): Promise<void> {
  const { checkedAt, error } = state();
  await begin();
  while (state().checkedAt === checkedAt && state().error === error) await settle();
}

const start = () =>
  looked(() => {
    running = follower.run(stop.signal);
  });

/** As after its interval. */
const look = () => looked(() => clock.turn(10_000));

describe('a copy', () => {
  test('is all there from its first moment on, in everything but bytes', async () => {
    await begin();
    expect(listed()).toEqual(listed(there, '/ipfs/t'));
    await here.vfs.bring(here.ino('/copy/first'));
    await here.vfs.bring(here.ino('/copy/sub/same'));
    await here.filling.settled();
    expect(here.tree('/copy')).toEqual(there.tree('/ipfs/t'));
    expect(checkJournal(here.journal)).toEqual([]);
  });

  test.each([
    ['nobody knows the name', () => names.drop('site'), 'name-not-resolved'],
    [
      'what it means cannot be had',
      () => {
        origin.manner = 'lack';
      },
      'content-missing',
    ],
  ])('is nothing at all when %s', async (_, spoil, failure) => {
    spoil();
    const { seq } = here.journal.head;
    expect((await failureOf(begin())).failure).toBe(failure);
    expect(here.journal.head.seq).toBe(seq);
    expect(followings(here.vfs.core)).toEqual([]);
  });

  test('is changed by nobody', async () => {
    await begin();
    const [copy, file] = [here.ino('/copy'), here.ino('/copy/first')];
    const name = 'x' as Name;
    const { vfs } = here;
    for (const change of [
      () => vfs.create(ROOT, copy, name, 0o644, 1),
      () => vfs.mkdir(ROOT, copy, name, 0o755),
      () => vfs.unlink(ROOT, copy, nameOfText('first')),
      () => vfs.setattr(ROOT, file, { mode: 0o600 }),
      () => vfs.openNow(ROOT, file, 1, false),
      () => vfs.setxattr(ROOT, file, nameOfText('user.a'), Buffer.from('b'), 'any'),
    ]) {
      expect(change).toThrow(expect.objectContaining({ failure: 'read-only' }));
    }
  });

  test('becomes what was published since, and only that is fetched', async () => {
    await begin();
    const same = here.ino('/copy/sub/same');
    there.write('/ipfs/t/second', 'the second');
    there.unlink('/ipfs/t/first');
    await publish();
    const asked = new Set(origin.asked);
    await start();
    expect(listed()).toEqual(listed(there, '/ipfs/t'));
    expect(here.ino('/copy/sub/same')).toBe(same);
    const { tree } = await readSnapshot(there.dag, await publish(), there.signal);
    const sub = await there.dag.resolve(tree, ['sub', 'same'], there.signal);
    const fetched = origin.asked.filter((cid) => !asked.has(cid));
    expect(fetched).not.toContain(sub.toString());
    await here.vfs.bring(here.ino('/copy/second'));
    await here.filling.settled();
    expect(here.bytes('/copy/second').toString()).toBe('the second');
    expect(checkJournal(here.journal)).toEqual([]);
  });

  test('is that tree in everything, also where nothing but bytes has changed', async () => {
    await begin();
    const file = there.ino('/ipfs/t/sub/same');
    there.write('/ipfs/t/sub/same', 'other bytes');
    void there.vfs.setattr(ROOT, file, { mtime: { s: 5, ns: 6 } });
    await publish();
    await start();
    for (const path of ['/copy/first', '/copy/sub/same']) await here.vfs.bring(here.ino(path));
    await here.filling.settled();
    expect(here.tree('/copy')).toEqual(there.tree('/ipfs/t'));
  });

  test('changes at one moment: who looks meanwhile sees the one before', async () => {
    await begin();
    const old = listed();
    for (let at = 0; at < 20; at += 1) there.write(`/ipfs/t/sub/${at}`, noise(1000 + at));
    there.unlink('/ipfs/t/first');
    await publish();
    const seen: unknown[] = [];
    origin.onAsked = () => seen.push(listed());
    onBring = () => seen.push(listed());
    await start();
    expect(seen.length).toBeGreaterThan(1);
    for (const one of seen) expect(one).toEqual(old);
    expect(listed()).toEqual(listed(there, '/ipfs/t'));
  });

  test('whose new tree cannot be had whole stays as it is, says why, and gets it later', async () => {
    await begin();
    const old = listed();
    there.write('/ipfs/t/sub/new', noise(100));
    await publish();
    origin.manner = 'lack';
    await start();
    expect(listed()).toEqual(old);
    expect(state().error).toMatchObject({ failure: 'content-missing' });
    origin.manner = 'give';
    await look();
    expect(state().error).toBeUndefined();
    expect(listed()).toEqual(listed(there, '/ipfs/t'));
  });

  test('whose name cannot be asked stays as it is, and says why; that is logged once', async () => {
    await begin();
    await start();
    const [old, { checkedAt }] = [listed(), state()];
    expect(checkedAt).toBeDefined();
    names.manner = 'offline';
    await look();
    await look();
    expect(listed()).toEqual(old);
    expect(state()).toMatchObject({ checkedAt, error: { failure: 'not-running' } });
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    names.manner = 'give';
    await look();
    expect(state().error).toBeUndefined();
  });

  test('that is current is left alone, and the name is asked anew each time', async () => {
    await begin();
    const { seq } = here.journal.head;
    await start();
    await look();
    expect(here.journal.head.seq).toBe(seq);
    expect(names.asked).toEqual(['site!', 'site!', 'site!']);
  });

  test('is asked for no more often than it was said', async () => {
    await begin();
    await start();
    const asked = names.asked.length;
    await clock.turn(9999);
    expect(names.asked).toHaveLength(asked);
    await looked(() => clock.turn(1));
    expect(names.asked).toHaveLength(asked + 1);
  });

  test('follows what lies behind a name', async () => {
    const { tree } = await readSnapshot(there.dag, await publish(), there.signal);
    names.point('site', `/ipfs/${tree}`);
    await begin('/ipns/site/sub');
    expect(listed()).toEqual({ '/same': 300_000 });
    there.write('/ipfs/t/sub/new', 'new');
    const after = await readSnapshot(there.dag, await publish(), there.signal);
    names.point('site', `/ipfs/${after.tree}`);
    await start();
    expect(listed()).toEqual({ '/same': 300_000, '/new': 3 });
  });

  test('whose modes let nobody write is brought up to date all the same, by whoever runs the daemon', async () => {
    void there.vfs.setattr(ROOT, there.ino('/ipfs/t/sub'), { mode: 0o500 });
    void there.vfs.setattr(ROOT, there.ino('/ipfs/t'), { mode: 0o500 });
    await publish();
    follower = followerOf(1000);
    await begin('/ipns/site', 1000);
    there.unlink('/ipfs/t/sub/same');
    await publish();
    await start();
    expect(listed()).toEqual(listed(there, '/ipfs/t'));
    expect(here.inode('/copy/first').uid).toBe(1000);
  });

  test('of files that somebody cut in another way fetches nothing twice', async () => {
    const one = await foreign('one');
    names.point('site', `/ipfs/${one}`);
    await begin();
    await here.vfs.bring(here.ino('/copy/file'));
    await here.filling.settled();
    names.point('site', `/ipfs/${await foreign('two')}`);
    const before = origin.asked;
    await start();
    expect(Object.keys(listed()).sort()).toEqual(['/file', '/two']);
    const since = origin.asked.slice(before.length);
    expect(since).toHaveLength(1);
    expect(before).not.toContain(since[0]);
    expect(here.bytes('/copy/file').toString()).toBe('made by hand');
  });

  test('that was unmounted while it was looked at is gone', async () => {
    await begin();
    there.write('/ipfs/t/second', 'the second');
    await publish();
    let brought = 0;
    onBring = () => {
      brought += 1;
    };
    origin.onAsked = () => {
      if (followings(here.vfs.core).length > 0) unmount(here.vfs.core, ROOT, COPY);
    };
    running = follower.run(stop.signal);
    while (brought === 0) await settle();
    stop.abort();
    await running;
    expect(follower.states()).toEqual([]);
    expect(checkJournal(here.journal)).toEqual([]);
  });
});

test('the end of a copy leaves nothing of it behind but history', async () => {
  await begin();
  await here.vfs.bring(here.ino('/copy/first'));
  await here.filling.settled();
  unmount(here.vfs.core, ROOT, COPY);
  const rows = here.journal.connection.prepare('SELECT kind FROM superblock').pluck().all();
  expect(rows).not.toContain('ipns');
  expect(checkJournal(here.journal)).toEqual([]);
  await begin();
  expect(listed()).toEqual(listed(there, '/ipfs/t'));
  expect(checkJournal(here.journal)).toEqual([]);
});

test('who is told to stop stops, whatever the node does', async () => {
  await begin();
  names.manner = 'hang';
  const asked = names.asked.length;
  running = follower.run(stop.signal);
  await names.hasAsked(asked + 1);
  stop.abort();
  await running;
  expect(state().error).toBeUndefined();
});
