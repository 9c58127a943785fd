import { constants } from 'node:os';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type {} from '../../src/base/ids.ts';
import { FUSE_LATER_MAX, FUSE_LATER_MS } from '../../src/base/limits.ts';
import { settle } from '../fakes/clock.ts';
import { answer, init, OPENS_DIRECTORIES, request, text, u32, u64 } from './requests.ts';
import { RESENT, Rig } from './rig.ts';

const { errno } = constants;
const ENOSYS = errno.ENOSYS;

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => {
  rig.close();
});

describe('a session', () => {
  test('answers INIT with what was agreed, and nothing before it', () => {
    const fresh = new Rig({ isInitialized: false });
    expect(fresh.ask(3, 1).errno).toBe(errno.EIO);
    fresh.drain(init(45));
    expect(fresh.inits).toMatchObject([{ minor: 45, hasResend: true }]);
    expect(fresh.ask(3, 1, Buffer.alloc(16)).errno).toBe(0);
    fresh.close();
  });

  test('tells a kernel that is too old, and whoever waits for the mount', () => {
    const fresh = new Rig({ isInitialized: false });
    fresh.drain(init(20));
    expect(fresh.inits).toMatchObject([{ failure: 'version-unsupported' }]);
    expect(fresh.channel.answers).toMatchObject([{ errno: errno.EPROTONOSUPPORT }]);
    fresh.close();
  });

  test('lets the kernel do without what it does not serve', () => {
    for (const opcode of [25, 31, 32, 33, 37, 39, 40, 48, 54, 4096]) {
      expect([opcode, rig.ask(opcode, 1, Buffer.alloc(64)).errno]).toEqual([opcode, ENOSYS]);
    }
  });

  test('refuses what is malformed and goes on', () => {
    expect(rig.ask(1, rig.ipfs, Buffer.from('no end')).errno).toBe(errno.EINVAL);
    expect(rig.ask(16, rig.ipfs, u64(1)).errno).toBe(errno.EINVAL);
    expect(rig.ask(15, rig.ipfs, u64(1, 0), u32(2 ** 30, 0)).errno).toBe(errno.EINVAL);
    rig.drain(Buffer.alloc(0), Buffer.alloc(39), rig.mkdir(100n, 'a'));
    expect(rig.channel.answerTo(100n).errno).toBe(0);
    expect(rig.errors()).toEqual([]);
  });

  test('answers any bytes once, in the form of a reply', async () => {
    const opcode = fc
      .integer({ min: 0, max: 60 })
      .filter((code) => ![2, 26, 36, 42].includes(code));
    const any = fc.tuple(opcode, fc.nat(6), fc.uint8Array({ maxLength: 100 }));
    await fc.assert(
      fc.asyncProperty(fc.array(any, { minLength: 1, maxLength: 8 }), async (requests) => {
        rig.channel.answers.length = 0;
        const uniques = requests.map(() => rig.unique());
        const made = requests.map(([code, nodeid, body], index) =>
          request(code, { unique: uniques[index] ?? 0n, nodeid, body: [Buffer.from(body)] }),
        );
        rig.drain(...made);
        while (rig.session.waitingCount > 0) await settle();
        const answered = rig.channel.answers.map(({ unique }) => unique);
        expect(answered.sort()).toEqual(uniques.sort());
      }),
      { numRuns: 300 },
    );
  });
});

describe('a group', () => {
  test('is committed before its first reply leaves, and its replies leave at once', () => {
    const { journal } = rig.fixture;
    const before = journal.head.seq;
    const seen: [boolean, number][] = [];
    rig.channel.takes = () => {
      seen.push([journal.inTransaction, journal.head.seq - before]);
      return 0;
    };
    rig.drain(rig.mkdir(10n, 'a'), rig.mkdir(12n, 'b'), rig.lookup(14n, 'a'));
    expect(seen).toEqual([
      [false, 2],
      [false, 2],
      [false, 2],
    ]);
    expect(rig.channel.writes).toEqual([3]);
  });

  test('stands when one of its requests only fails', () => {
    rig.drain(rig.mkdir(10n, 'a'), rig.mkdir(12n, 'a'), rig.mkdir(14n, 'b'));
    expect(rig.channel.writes).toEqual([3]);
    const errnos = [10n, 12n, 14n].map((unique) => rig.channel.answerTo(unique).errno);
    expect(errnos).toEqual([0, errno.EEXIST, 0]);
  });

  test('that is broken by one request fails that one alone, and does the others once', () => {
    rig.breakAt('c', new OpError('no-space', 'test'));
    const before = rig.fixture.journal.head.seq;
    rig.drain(rig.mkdir(10n, 'a'), rig.mkdir(12n, 'c'), rig.mkdir(14n, 'b'), rig.create(16n, 'd'));
    const errnos = [10n, 12n, 14n, 16n].map((unique) => rig.channel.answerTo(unique).errno);
    expect(errnos).toEqual([0, errno.ENOSPC, 0, 0]);
    expect(rig.names()).toEqual(['a', 'b', 'd']);
    expect(rig.fixture.journal.head.seq - before).toBe(3);
    expect(rig.references.inodeCount).toBe(3);
    expect(rig.fixture.vfs.core.handles.size).toBe(1);
    expect(rig.errors()).toEqual([]);
  });

  test('that is broken by a bug fails with EIO, which is logged once', () => {
    rig.breakAt('c', new TypeError('a bug'));
    rig.drain(rig.mkdir(10n, 'a'), rig.mkdir(12n, 'c'), rig.mkdir(14n, 'b'));
    expect(rig.channel.answerTo(12n).errno).toBe(errno.EIO);
    expect(rig.names()).toEqual(['a', 'b']);
    expect(rig.log.lines).toMatchObject([{ fields: { err: { message: 'a bug' } } }]);
  });

  test('with a bug outside any transaction goes on', () => {
    rig.faulty.faults.set('lookup', () => {
      throw new TypeError('a bug');
    });
    rig.drain(rig.mkdir(10n, 'a'), rig.lookup(12n, 'a'), rig.mkdir(14n, 'b'));
    const errnos = [10n, 12n, 14n].map((unique) => rig.channel.answerTo(unique).errno);
    expect(errnos).toEqual([0, errno.EIO, 0]);
    expect(rig.log.lines).toMatchObject([{ fields: { err: { message: 'a bug' } } }]);
  });

  test('that is undone closes the handles it opened', () => {
    const { ino } = rig.file('a', Buffer.from('x'));
    const open = (unique: bigint) => request(14, { unique, nodeid: ino, body: [u32(0, 0)] });
    rig.breakAt('c', new OpError('no-space', 'test'));
    const before = rig.fixture.vfs.core.handles.size;
    rig.drain(open(100n), rig.mkdir(102n, 'c'));
    expect(rig.channel.answerTo(100n).errno).toBe(0);
    expect(rig.fixture.vfs.core.handles.size).toBe(before + 1);
    expect(rig.references.handleCount).toBe(before + 1);
  });

  test('is cut when its replies do not fit, and all are answered', () => {
    const MIB = 1024 * 1024;
    const bytes = Buffer.alloc(9 * MIB, 'kitfs ');
    const { fh } = rig.file('a', bytes);
    rig.channel.writes.length = 0;
    const uniques = Array.from({ length: 9 }, () => rig.unique());
    rig.drain(...uniques.map((unique, index) => rig.read(unique, fh, index * MIB, MIB)));
    expect(rig.channel.writes).toEqual([3, 3, 3]);
    const read = uniques.map((unique) => rig.channel.answerTo(unique).body);
    expect(Buffer.concat(read).equals(bytes)).toBe(true);
  });
});

describe('what the kernel holds', () => {
  test('a lookup is one reference, given back by FORGET', async () => {
    const { body } = rig.ask(9, rig.ipfs, u32(0o755, 0), text('a'));
    const ino = Number(body.readBigUInt64LE(0));
    for (let count = 0; count < 2; count++) rig.ask(1, rig.ipfs, text('a'));
    rig.drain(request(2, { nodeid: ino, body: [u64(2)] }));
    await rig.later();
    expect(rig.faulty.callsOf('forget')).toEqual([]);
    rig.drain(request(42, { body: [u32(1, 0), u64(ino, 1)] }));
    await rig.later();
    expect(rig.faulty.callsOf('forget')).toEqual([[ino]]);
  });

  test('a name that is absent is no reference', () => {
    expect(rig.ask(1, rig.ipfs, text('absent')).body.readBigUInt64LE(0)).toBe(0n);
    expect(rig.references.inodeCount).toBe(0);
  });

  test('a reply that the kernel did not take hands nothing out', async () => {
    rig.channel.takes = () => errno.ENOENT;
    rig.drain(rig.create(10n, 'a'));
    expect([rig.references.inodeCount, rig.references.handleCount]).toEqual([0, 0]);
    await rig.later();
    expect(rig.fixture.vfs.core.handles.size).toBe(0);
    expect(rig.faulty.callsOf('forget')).toHaveLength(1);
    expect(rig.names()).toEqual(['a']);
    expect(rig.log.lines).toEqual([]);
  });

  test('a reply that the kernel refuses is logged', () => {
    rig.channel.takes = () => errno.EINVAL;
    rig.drain(rig.lookup(10n, 'a'));
    expect(rig.log.lines).toMatchObject([{ level: 'warn', fields: { errno: errno.EINVAL } }]);
  });

  test('a file without a name lives until it is closed and forgotten', async () => {
    const { ino, fh } = rig.file('a', Buffer.from('bytes'));
    expect(rig.ask(10, rig.ipfs, text('a')).errno).toBe(0);
    expect(rig.ask(18, ino, u64(fh), u32(0, 0), u64(0)).errno).toBe(0);
    await rig.later();
    expect(rig.fixture.vfs.core.handles.size).toBe(0);
    expect(rig.ask(3, ino, Buffer.alloc(16)).errno).toBe(0);
    rig.drain(request(2, { nodeid: ino, body: [u64(1)] }));
    await rig.later();
    expect(rig.ask(3, ino, Buffer.alloc(16)).errno).toBe(errno.ENOENT);
    expect(rig.references.handleCount).toBe(0);
  });

  test('a file closed and forgotten at once ends with both', async () => {
    const { ino, fh } = rig.file('a', Buffer.from('bytes'));
    expect(rig.ask(10, rig.ipfs, text('a')).errno).toBe(0);
    const release = request(18, { unique: 100n, nodeid: ino, body: [u64(fh), u32(0, 0), u64(0)] });
    rig.drain(request(2, { nodeid: ino, body: [u64(1)] }), release);
    await rig.later();
    expect(rig.fixture.vfs.core.inodes.find(ino as never)).toBeUndefined();
    expect(rig.errors()).toEqual([]);
  });

  test('what it gives back ends together, a moment later', async () => {
    const files = ['a', 'b', 'c'].map((name) => rig.file(name, Buffer.from(name)));
    const groups: string[][] = [];
    const { journal } = rig.fixture;
    const group = journal.group.bind(journal);
    const spy = vi.spyOn(journal, 'group').mockImplementation((body) => {
      rig.faulty.calls.length = 0;
      group(body);
      groups.push(rig.faulty.calls.map(([name]) => name));
    });
    for (const { ino, fh } of files) {
      expect(rig.ask(18, ino, u64(fh), u32(0, 0), u64(0)).errno).toBe(0);
      rig.drain(request(2, { nodeid: ino, body: [u64(1)] }));
    }
    groups.length = 0;
    await rig.clock.turn(FUSE_LATER_MS - 1);
    expect([groups, journal.sessions.all().length]).toEqual([[], 3]);
    await rig.clock.turn(1);
    expect(groups).toEqual([[...Array(3).fill('release'), ...Array(3).fill('forget')]]);
    expect(journal.sessions.all()).toEqual([]);
    spy.mockRestore();
  });

  test('what it gives back is not kept when there is much of it', () => {
    const inos = Array.from({ length: FUSE_LATER_MAX }, (_, index) => {
      const { body } = rig.ask(9, rig.ipfs, u32(0o755, 0), text(`${index}`));
      return Number(body.readBigUInt64LE(0));
    });
    const last = inos.pop() ?? 0;
    for (const ino of inos) rig.drain(request(2, { nodeid: ino, body: [u64(1)] }));
    expect(rig.faulty.callsOf('forget')).toEqual([]);
    rig.drain(request(2, { nodeid: last, body: [u64(1)] }));
    expect(rig.faulty.callsOf('forget')).toEqual([...inos, last].map((ino) => [ino]));
  });

  test('an inode looked up again before it was forgotten is not', async () => {
    const { body } = rig.ask(9, rig.ipfs, u32(0o755, 0), text('a'));
    const ino = Number(body.readBigUInt64LE(0));
    rig.drain(request(2, { nodeid: ino, body: [u64(1)] }));
    rig.ask(1, rig.ipfs, text('a'));
    await rig.later();
    expect(rig.faulty.callsOf('forget')).toEqual([]);
  });

  test('a handle that cannot be closed does not hold up the others', async () => {
    const [first, second] = ['a', 'b'].map((name) => rig.file(name, Buffer.from(name)));
    rig.faulty.faults.set('release', (real, [fh]) => {
      if (fh !== Number(first?.fh)) return real();
      return rig.fixture.journal.commit(() => {
        throw new OpError('io', 'release');
      });
    });
    for (const { ino = 0, fh = 0n } of [first ?? {}, second ?? {}]) {
      rig.ask(18, ino, u64(fh), u32(0, 0), u64(0));
    }
    await rig.later();
    expect(rig.fixture.journal.sessions.all()).toMatchObject([{ ino: first?.ino }]);
    expect(rig.fixture.vfs.core.handles.size).toBe(1);
    expect(rig.errors()).toHaveLength(1);
  });

  test('an inode that cannot be forgotten does not hold up the others', async () => {
    const inos = ['a', 'b'].map((name) => {
      const { body } = rig.ask(9, rig.ipfs, u32(0o755, 0), text(name));
      return Number(body.readBigUInt64LE(0));
    });
    const [first = 0, second = 0] = inos;
    rig.faulty.faults.set('forget', (_real, [ino]) => {
      if (ino === first) throw new OpError('io', 'forget');
    });
    rig.drain(request(42, { body: [u32(2, 0), u64(first, 1, second, 1)] }));
    await rig.later();
    expect(rig.faulty.callsOf('forget').at(-1)).toEqual([second]);
    expect(rig.errors()).toHaveLength(1);
  });

  test('all of it comes back at the end', () => {
    rig.close();
    rig = new Rig({ flags: OPENS_DIRECTORIES });
    const { ino } = rig.file('a', Buffer.from('x'));
    const closed = rig.file('b', Buffer.from('y'));
    rig.ask(18, closed.ino, u64(closed.fh), u32(0, 0), u64(0));
    const opened = rig.ask(27, rig.ipfs, u32(0, 0));
    expect(opened.body.readUInt32LE(8)).toBe(8 | 2);
    rig.session.end();
    expect(rig.fixture.vfs.core.handles.size).toBe(0);
    expect(rig.faulty.callsOf('releasedir')).toHaveLength(1);
    expect(rig.faulty.callsOf('release')).toHaveLength(2);
    const forgotten = rig.faulty.callsOf('forget').flat() as number[];
    expect(forgotten.sort((a, b) => a - b)).toEqual([ino, closed.ino]);
    expect(rig.errors()).toEqual([]);
  });
});

describe('a resent request', () => {
  test('that was applied is answered as it was, and not applied again', async () => {
    rig.drain(rig.mkdir(10n, 'a'));
    const first = rig.channel.answerTo(10n);
    const { seq } = rig.fixture.journal.head;
    rig.restart(1);
    rig.drain(rig.mkdir(10n | RESENT, 'a'));
    const again = rig.channel.answerTo(10n | RESENT);
    expect([again.errno, again.body]).toEqual([0, first.body]);
    expect(rig.fixture.journal.head.seq).toBe(seq);
    // Both replies handed out a reference.
    const ino = Number(first.body.readBigUInt64LE(0));
    rig.drain(request(2, { nodeid: ino, body: [u64(1)] }));
    await rig.later();
    expect(rig.faulty.callsOf('forget')).toEqual([]);
  });

  test('that removed a name does not fail for want of it', () => {
    rig.drain(rig.mkdir(10n, 'a'));
    const rmdir = (unique: bigint) => request(11, { unique, nodeid: rig.ipfs, body: [text('a')] });
    rig.drain(rmdir(12n));
    rig.drain(rmdir(12n | RESENT));
    expect(rig.channel.answerTo(12n | RESENT).errno).toBe(0);
    expect(rig.ask(11, rig.ipfs, text('a')).errno).toBe(errno.ENOENT);
  });

  test('that created a file gets a handle that works', () => {
    rig.drain(rig.create(10n, 'a'));
    rig.drain(rig.create(10n | RESENT, 'a', 2 | 0o100 | 0o200 | 0o1000));
    const { body, errno: failed } = rig.channel.answerTo(10n | RESENT);
    const fh = body.readBigUInt64LE(128);
    expect(failed).toBe(0);
    expect(fh).not.toBe(rig.channel.answerTo(10n).body.readBigUInt64LE(128));
    rig.drain(rig.write(12n, fh, 0, Buffer.from('new')), rig.read(14n, fh, 0, 10));
    expect(rig.channel.answerTo(14n).body.toString()).toBe('new');
    expect(rig.names()).toEqual(['a']);
  });

  test('that was not applied is applied now', () => {
    rig.drain(rig.mkdir(10n | RESENT, 'a'));
    expect(rig.channel.answerTo(10n | RESENT).errno).toBe(0);
    expect(rig.names()).toEqual(['a']);
  });

  test('of another connection is not taken for one of this', () => {
    rig.drain(rig.mkdir(10n, 'a'));
    rig.restart(2);
    rig.drain(rig.mkdir(10n | RESENT, 'a'));
    expect(rig.channel.answerTo(10n | RESENT).errno).toBe(errno.EEXIST);
  });
});

test('the check of replies in these tests sees a malformed one', () => {
  expect(() => answer(Buffer.concat([u32(17, 0), u64(1)]))).toThrow('says 17');
  expect(() => answer(Buffer.concat([u32(24, 0xffff_fffe), u64(1), u64(0)]))).toThrow(
    'with a body',
  );
});
