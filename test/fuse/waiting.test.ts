import { constants } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { Fh, Ino } from '../../src/base/ids.ts';
import { FUSE_CID_READS_MAX, FUSE_REQUEST_MS_MAX } from '../../src/base/limits.ts';
import { CID_INO_FROM } from '../../src/vfs/vfs.ts';
import { settle } from '../fakes/clock.ts';
import { request, u32, u64 } from './requests.ts';
import { gate, Rig } from './rig.ts';

const { errno } = constants;

/** More than may be under way. */
const MANY = FUSE_CID_READS_MAX + 3;

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => {
  rig.close();
});

describe('a request that must wait', () => {
  const interrupt = (unique: bigint) => request(36, { unique: unique | 1n, body: [u64(unique)] });

  test('is answered when its result comes, and the others before it', async () => {
    rig.drain(rig.mkdir(10n, 'a'));
    const waits = gate<void>();
    rig.faulty.faults.set('lookup', (real) => waits.promise.then(real));
    rig.drain(rig.lookup(12n, 'a'), rig.mkdir(14n, 'b'));
    expect(rig.channel.answers.map(({ unique }) => unique)).toEqual([10n, 14n]);
    expect(rig.session.waitingCount).toBe(1);
    waits.open();
    await settle();
    expect(rig.channel.answerTo(12n).body).toEqual(rig.channel.answerTo(10n).body);
    expect([rig.session.waitingCount, rig.clock.sleeping]).toEqual([0, 0]);
    expect(rig.references.inodeCount).toBe(2);
  });

  test('fails with what its result fails with; what is EIO is logged', async () => {
    rig.faulty.faults.set('lookup', () => Promise.reject(new OpError('denied', 'test')));
    rig.faulty.faults.set('getattr', () => Promise.reject(new OpError('content-missing', 'test')));
    rig.drain(rig.lookup(10n, 'a'), request(3, { unique: 12n, body: [Buffer.alloc(16)] }));
    await settle();
    expect(rig.channel.answerTo(10n).errno).toBe(errno.EACCES);
    expect(rig.channel.answerTo(12n).errno).toBe(errno.EIO);
    expect(rig.log.lines).toMatchObject([{ fields: { failure: 'content-missing' } }]);
  });

  test('is answered EINTR at once when its client is interrupted, and never again', async () => {
    const opened = gate<{ fh: Fh }>();
    rig.faulty.faults.set('open', () => opened.promise);
    rig.faulty.faults.set('release', () => undefined);
    rig.drain(request(14, { unique: 10n, nodeid: 5, body: [u32(0, 0)] }));
    rig.drain(interrupt(10n), interrupt(1000n));
    expect(rig.channel.answerTo(10n).errno).toBe(errno.EINTR);
    opened.open({ fh: 77 as Fh });
    await settle();
    expect(rig.channel.answerTo(10n).errno).toBe(errno.EINTR);
    // Nobody will ever close the handle that came too late, but us.
    expect(rig.faulty.callsOf('release')).toEqual([[77]]);
    expect([rig.references.handleCount, rig.session.waitingCount]).toEqual([0, 0]);
  });

  test('is interrupted also in the drain it came in', () => {
    rig.faulty.faults.set('lookup', () => gate<void>().promise);
    rig.drain(rig.lookup(10n, 'a'), interrupt(10n));
    expect(rig.channel.answerTo(10n).errno).toBe(errno.EINTR);
  });

  test('for the disk is not ended by a signal, which may be a timer of the program', async () => {
    const synced = gate<void>();
    rig.faulty.faults.set('fsync', () => synced.promise);
    rig.drain(request(20, { unique: 12n, body: [u64(1), u32(0, 0)] }));
    rig.drain(interrupt(12n));
    expect(rig.channel.answers).toEqual([]);
    synced.open();
    await settle();
    expect(rig.channel.answerTo(12n).errno).toBe(0);
  });

  test('for a file that is to be cut ends with its client, and nothing is cut', async () => {
    const { ino } = rig.file('a', Buffer.from('bytes'));
    const here = gate<void>();
    const signals: AbortSignal[] = [];
    rig.faulty.faults.set('isHere', () => false);
    rig.faulty.faults.set('bring', (_real, args) => {
      signals.push((args[1] as { readonly signal: AbortSignal }).signal);
      return here.promise;
    });
    const size = [u32(8, 0), u64(0, 1), Buffer.alloc(64)];
    rig.drain(request(4, { unique: 1000n, nodeid: ino, body: size }));
    await rig.clock.turn(FUSE_REQUEST_MS_MAX);
    // It may be a very large one.
    expect(() => rig.channel.answerTo(1000n)).toThrow();
    rig.drain(interrupt(1000n));
    expect(rig.channel.answerTo(1000n).errno).toBe(errno.EINTR);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    here.open();
    await settle();
    expect(rig.fixture.journal.inodes.get(ino as Ino)?.size).toBe(5);
    expect(rig.session.waitingCount).toBe(0);
  });

  test('has a deadline, unless it waits for the disk', async () => {
    rig.faulty.faults.set('lookup', () => gate<void>().promise);
    rig.faulty.faults.set('fsync', () => gate<void>().promise);
    rig.faulty.faults.set('open', () => gate<{ fh: Fh }>().promise);
    rig.drain(rig.lookup(10n, 'a'), request(20, { unique: 12n, body: [u64(1), u32(0, 0)] }));
    rig.drain(request(14, { unique: 14n, nodeid: 5, body: [u32(0, 0)] }));
    await rig.clock.turn(FUSE_REQUEST_MS_MAX - 1);
    expect(rig.channel.answers).toEqual([]);
    await rig.clock.turn(1);
    expect(rig.channel.answers).toMatchObject([{ unique: 10n, errno: errno.EIO }]);
    expect(rig.log.lines).toMatchObject([{ fields: { failure: 'timeout' } }]);
    expect(rig.session.waitingCount).toBe(2);
  });

  test('is refused for no number of others', async () => {
    const done = gate<void>();
    rig.faulty.faults.set('fsync', () => done.promise);
    rig.faulty.faults.set('lookup', (real) => done.promise.then(real));
    const asked = Array.from({ length: 2 * MANY }, () => rig.unique());
    for (const [index, unique] of asked.entries()) {
      const fsync = request(20, { unique, nodeid: 5, body: [u64(7), u32(0, 0)] });
      rig.drain(index % 2 === 0 ? fsync : rig.lookup(unique, 'a'));
    }
    await settle();
    expect(rig.channel.answers).toEqual([]);
    expect(rig.session.waitingCount).toBe(2 * MANY);
    done.open();
    await settle();
    const answered = asked.map((unique) => rig.channel.answerTo(unique).errno);
    expect(new Set(answered)).toEqual(new Set([0]));
    expect([rig.session.waitingCount, rig.clock.sleeping]).toEqual([0, 0]);
  });

  describe('for content by CID', () => {
    let reads: ReturnType<typeof gate<number>>[];
    let asked: bigint[];
    beforeEach(() => {
      reads = [];
      rig.faulty.faults.set('read', (_real, [, into, offset, , position]) => {
        (into as Buffer).write(`bytes of ${position}`, offset as number);
        const bytes = gate<number>();
        reads.push(bytes);
        return bytes.promise;
      });
      asked = Array.from({ length: MANY }, () => rig.unique());
    });

    const read = (unique: bigint, at: number) => {
      const body = [u64(7, at), u32(4096, 0), u64(0), u32(0, 0)];
      return request(15, { unique, nodeid: CID_INO_FROM + 1, body });
    };
    const readAll = () => {
      for (const [index, unique] of asked.entries()) rig.drain(read(unique, index));
      return settle();
    };
    const numberOf = (unique: bigint) => asked.indexOf(unique);

    test('ends with its client, and its turn is the next one’s', async () => {
      const signals: AbortSignal[] = [];
      rig.faulty.faults.set('read', (_real, args) => {
        const { signal } = args[5] as { readonly signal: AbortSignal };
        signals.push(signal);
        return new Promise((_, refuse) => {
          signal.addEventListener('abort', () => refuse(signal.reason));
        });
      });
      await readAll();
      expect(signals).toHaveLength(FUSE_CID_READS_MAX);
      rig.drain(...asked.slice(0, 3).map(interrupt));
      await settle();
      expect(signals.slice(0, 4).map(({ aborted }) => aborted)).toEqual([true, true, true, false]);
      expect(signals).toHaveLength(MANY);
      expect(rig.channel.answers.map(({ errno: error }) => error)).toEqual([
        errno.EINTR,
        errno.EINTR,
        errno.EINTR,
      ]);
      rig.session.end();
      expect(signals.every(({ aborted }) => aborted)).toBe(true);
    });

    test('waits for its turn, and is answered with its bytes', async () => {
      await readAll();
      expect(rig.channel.answers).toEqual([]);
      expect([reads.length, rig.session.waitingCount]).toEqual([FUSE_CID_READS_MAX, MANY]);
      for (let next = 0; next < MANY; next++) {
        reads[next]?.open(9 + String(next).length);
        await settle();
      }
      expect(rig.channel.answers.map(({ errno: error, body }) => [error, body.toString()])).toEqual(
        asked.map((_, index) => [0, `bytes of ${index}`]),
      );
      expect([rig.session.waitingCount, rig.clock.sleeping]).toEqual([0, 0]);
    });

    test('lets others be answered before it, however many wait', async () => {
      const { fh } = rig.file('a', Buffer.from('here'));
      await readAll();
      rig.faulty.faults.delete('read');
      const unique = rig.unique();
      rig.drain(rig.read(unique, fh, 0, 100));
      expect(rig.channel.answerTo(unique).body.toString()).toBe('here');
    });

    test('is answered EINTR before its turn, which goes to the next', async () => {
      await readAll();
      const [first = 0n, second = 0n] = asked.slice(FUSE_CID_READS_MAX);
      rig.drain(interrupt(first));
      expect(rig.channel.answerTo(first).errno).toBe(errno.EINTR);
      reads[0]?.open(0);
      await settle();
      const positions = rig.faulty.callsOf('read').map((args) => args[4]);
      expect(positions).toHaveLength(FUSE_CID_READS_MAX + 1);
      expect(positions.at(-1)).toBe(numberOf(second));
    });

    test('that is interrupted while it is read keeps its turn, and its memory, to the end', async () => {
      await readAll();
      rig.drain(interrupt(asked[0] ?? 0n));
      await settle();
      expect(rig.channel.answerTo(asked[0] ?? 0n).errno).toBe(errno.EINTR);
      expect(reads).toHaveLength(FUSE_CID_READS_MAX);
      reads[0]?.open(0);
      await settle();
      expect(reads).toHaveLength(FUSE_CID_READS_MAX + 1);
    });

    test('has its deadline also before its turn', async () => {
      await readAll();
      await rig.clock.turn(FUSE_REQUEST_MS_MAX);
      const errors = asked.map((unique) => rig.channel.answerTo(unique).errno);
      expect(new Set(errors)).toEqual(new Set([errno.EIO]));
    });

    test('is not begun when the mount has ended', async () => {
      await readAll();
      rig.session.end();
      for (const { open } of reads) open(0);
      await settle();
      expect(reads).toHaveLength(FUSE_CID_READS_MAX);
      expect([rig.channel.answers.length, rig.session.waitingCount]).toEqual([0, 0]);
      expect(rig.clock.sleeping).toBe(0);
    });
  });

  test('in a group that is undone is asked anew, and the first result is thrown away', async () => {
    const gates = [gate<{ fh: Fh }>(), gate<{ fh: Fh }>()];
    let calls = 0;
    rig.faulty.faults.set('open', () => gates[calls++]?.promise);
    rig.faulty.faults.set('release', () => undefined);
    rig.breakAt('c', new OpError('no-space', 'test'));
    rig.drain(request(14, { unique: 10n, nodeid: 5, body: [u32(0, 0)] }), rig.mkdir(12n, 'c'));
    gates[0]?.open({ fh: 71 as Fh });
    gates[1]?.open({ fh: 72 as Fh });
    await settle();
    expect(rig.channel.answerTo(10n).body.readBigUInt64LE(0)).toBe(72n);
    expect(rig.faulty.callsOf('release')).toEqual([[71]]);
  });

  test('of a read has its place to itself until the bytes are there', async () => {
    const { fh } = rig.file('a', Buffer.from('from the file'));
    const reads: { write: (bytes: string) => void; done: ReturnType<typeof gate<number>> }[] = [];
    rig.faulty.faults.set('read', (_real, [, into, offset]) => {
      const done = gate<number>();
      reads.push({ write: (bytes) => (into as Buffer).write(bytes, offset as number), done });
      return done.promise;
    });
    rig.drain(rig.read(100n, fh, 0, 4096), rig.read(102n, fh, 0, 4096), rig.lookup(104n, 'a'));
    rig.drain(rig.read(106n, fh, 0, 4096));
    rig.drain(interrupt(102n));
    rig.faulty.faults.delete('read');
    for (const [index, { write }] of reads.entries()) write(`late ${index}`);
    // These answers lie elsewhere, and so does that to a client that gave up.
    const between = Array.from({ length: 4 }, () => rig.unique());
    for (const unique of between) rig.drain(rig.read(unique, fh, 0, 100));
    for (const { done } of reads) done.open(6);
    await settle();
    expect(rig.channel.answerTo(100n).body.toString()).toBe('late 0');
    expect(rig.channel.answerTo(102n).errno).toBe(errno.EINTR);
    expect(rig.channel.answerTo(106n).body.toString()).toBe('late 2');
    for (const unique of between) {
      expect(rig.channel.answerTo(unique).body.toString()).toBe('from the file');
    }
  });

  test('for the disk begins when what came before it is committed', async () => {
    const { journal } = rig.fixture;
    const seen: boolean[] = [];
    rig.faulty.faults.set('fsync', (_real, args) => {
      seen.push(journal.inTransaction);
      expect(args).toEqual([9, true]);
      expect(rig.names()).toEqual(['a']);
      return Promise.resolve();
    });
    rig.faulty.faults.set('fsyncDirectory', () => {
      seen.push(journal.inTransaction);
      expect(rig.names()).toEqual(['a', 'b']);
      return Promise.resolve();
    });
    const body = [u64(9), u32(1, 0)];
    rig.drain(rig.mkdir(10n, 'a'), request(20, { unique: 12n, body }));
    await settle();
    rig.drain(rig.mkdir(14n, 'b'), request(30, { unique: 16n, body }));
    await settle();
    expect(seen).toEqual([false, false]);
    expect([12n, 16n].map((unique) => rig.channel.answerTo(unique).errno)).toEqual([0, 0]);
  });

  test('is not answered when the mount has ended, and leaves nothing open', async () => {
    const opened = gate<{ fh: Fh }>();
    rig.faulty.faults.set('open', () => opened.promise);
    rig.faulty.faults.set('release', () => undefined);
    rig.drain(request(14, { unique: 10n, nodeid: 5, body: [u32(0, 0)] }));
    rig.session.end();
    opened.open({ fh: 7 as Fh });
    await settle();
    expect(rig.channel.answers).toEqual([]);
    expect(rig.faulty.callsOf('release')).toEqual([[7]]);
    expect(rig.clock.sleeping).toBe(0);
  });
});
