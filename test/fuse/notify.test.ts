import { constants } from 'node:os';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Ino, type Name, ROOT_INO } from '../../src/base/ids.ts';
import { NOTIFICATIONS_QUEUED_MAX, ORPHANS_ASKED_MS } from '../../src/base/limits.ts';
import type { Notifier } from '../../src/base/native.ts';
import { KernelInvalidator } from '../../src/fuse/notify.ts';
import { KernelReferences } from '../../src/fuse/references.ts';
import { askForOrphans } from '../../src/fuse/take-over.ts';
import type { FileSystem } from '../../src/vfs/vfs.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { gate } from './rig.ts';

const INO = 9 as Ino;
const NAME = 'na\xefve' as Name;

/** Keeps the messages and lets the test say when, and how, each was taken. */
class HandNotifier implements Notifier {
  readonly sent: { readonly message: Buffer; readonly taken: ReturnType<typeof gate<number>> }[] =
    [];

  send(message: Uint8Array): Promise<number> {
    const taken = gate<number>();
    this.sent.push({ message: Buffer.from(message), taken });
    return taken.promise;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Message number `index` was taken with this result. */
  async take(index: number, errno = 0): Promise<void> {
    this.sent[index]?.taken.open(errno);
    await settle();
  }
}

let references: KernelReferences;
let notifier: HandNotifier;
let swift: HandNotifier;
let log: RememberedLog;
let clock: TurnedClock;
let invalidator: KernelInvalidator;
beforeEach(() => {
  references = new KernelReferences();
  references.lookedUp(INO);
  notifier = new HandNotifier();
  swift = new HandNotifier();
  log = new RememberedLog();
  clock = new TurnedClock();
  invalidator = new KernelInvalidator(references, clock, log);
  invalidator.attach(notifier, () => swift);
});

/** Whether a promise has settled already. */
async function isSettled(promise: Promise<void>): Promise<boolean> {
  let settled = false;
  void promise.then(() => {
    settled = true;
  });
  await settle();
  return settled;
}

describe('invalidations', () => {
  test('of a name are an INVAL_ENTRY of its directory', () => {
    invalidator.entry(INO, NAME);
    const message = notifier.sent[0]?.message ?? Buffer.alloc(0);
    expect([message.readUInt32LE(0), message.readInt32LE(4)]).toEqual([message.length, 3]);
    expect(message.readBigUInt64LE(8)).toBe(0n);
    expect(message.readBigUInt64LE(16)).toBe(9n);
    expect([message.readUInt32LE(24), message.readUInt32LE(28)]).toEqual([5, 0]);
    expect(message.toString('latin1', 32)).toBe('na\xefve\0');
  });

  test('of an inode are an INVAL_INODE, of its attributes or of its pages too', () => {
    invalidator.inode(INO, false);
    invalidator.inode(INO, true);
    const messages = notifier.sent.map(({ message }) => message);
    expect(messages.map((message) => [message.readUInt32LE(0), message.readInt32LE(4)])).toEqual([
      [40, 2],
      [40, 2],
    ]);
    expect(messages.map((message) => message.readBigUInt64LE(16))).toEqual([9n, 9n]);
    expect(messages.map((message) => message.readBigInt64LE(24))).toEqual([-1n, 0n]);
    expect(messages.map((message) => message.readBigInt64LE(32))).toEqual([0n, 0n]);
  });

  test('are sent for inodes the kernel knows, and always for the root', () => {
    invalidator.entry(10 as Ino, NAME);
    invalidator.inode(10 as Ino, true);
    expect(notifier.sent).toEqual([]);
    invalidator.entry(ROOT_INO, NAME);
    expect(notifier.sent).toHaveLength(1);
    expect([invalidator.knows(INO), invalidator.knows(10 as Ino)]).toEqual([true, false]);
  });

  test('are for nobody before and after the mount', async () => {
    const unmounted = new KernelInvalidator(references, clock, log);
    unmounted.entry(ROOT_INO, NAME);
    expect(unmounted.knows(ROOT_INO)).toBe(false);
    await unmounted.settled();
    expect(unmounted.queuedCount).toBe(0);
  });

  test('settle when all sent before are taken, however many come after', async () => {
    expect(await isSettled(invalidator.settled())).toBe(true);
    invalidator.entry(INO, NAME);
    invalidator.inode(INO, true);
    const two = invalidator.settled();
    invalidator.inode(INO, true);
    const three = invalidator.settled();
    await notifier.take(0);
    expect([await isSettled(two), invalidator.queuedCount]).toEqual([false, 2]);
    await notifier.take(1);
    expect([await isSettled(two), await isSettled(three)]).toEqual([true, false]);
    await notifier.take(2);
    expect([await isSettled(three), invalidator.queuedCount]).toEqual([true, 0]);
  });

  test('that the kernel does not know are settled too; others are logged', async () => {
    const { ENOENT, EINVAL } = constants.errno;
    for (let count = 0; count < 3; count++) invalidator.inode(INO, true);
    const all = invalidator.settled();
    references.forget(INO, 1);
    await notifier.take(0, ENOENT);
    expect(log.lines).toEqual([]);
    await notifier.take(1, EINVAL);
    notifier.sent[2]?.taken.fail(new Error('closed'));
    expect(await isSettled(all)).toBe(true);
    expect(log.lines).toMatchObject([{ fields: { errno: EINVAL } }, { level: 'error' }]);
  });

  test('of an inode that the kernel was given are repeated until it has made it', async () => {
    const { ENOENT } = constants.errno;
    invalidator.inode(INO, false);
    const first = invalidator.settled();
    await notifier.take(0, ENOENT);
    invalidator.entry(INO, NAME);
    await notifier.take(1);
    expect([await isSettled(first), notifier.sent.length]).toEqual([false, 2]);
    await clock.turn(1);
    await notifier.take(2, ENOENT);
    await clock.turn(2);
    expect(notifier.sent[3]?.message).toEqual(notifier.sent[0]?.message);
    await notifier.take(3);
    expect([await isSettled(first), notifier.sent.length]).toEqual([true, 4]);
  });

  test('of an inode that is given back, or never made, are not repeated for ever', async () => {
    const { ENOENT } = constants.errno;
    invalidator.inode(INO, false);
    const kept = invalidator.settled();
    for (let count = 0; count < 100 && notifier.sent[count] !== undefined; count++) {
      await notifier.take(count, ENOENT);
      await clock.turn(1000);
    }
    expect([await isSettled(kept), notifier.sent.length]).toEqual([true, 11]);
    invalidator.inode(INO, false);
    const forgotten = invalidator.settled();
    await notifier.take(11, ENOENT);
    references.forget(INO, 1);
    await clock.turn(1);
    expect([await isSettled(forgotten), notifier.sent.length]).toEqual([true, 12]);
  });

  test('wait for room in the thread, in order', async () => {
    for (let count = 0; count <= NOTIFICATIONS_QUEUED_MAX; count++) invalidator.inode(INO, false);
    invalidator.entry(INO, NAME);
    const all = invalidator.settled();
    expect(notifier.sent).toHaveLength(NOTIFICATIONS_QUEUED_MAX);
    await notifier.take(0);
    await notifier.take(1);
    const last = notifier.sent.slice(-2).map(({ message }) => message.readInt32LE(4));
    expect([notifier.sent.length, last]).toEqual([NOTIFICATIONS_QUEUED_MAX + 2, [2, 3]]);
    expect(await isSettled(all)).toBe(false);
    for (const { taken } of notifier.sent) taken.open(0);
    expect(await isSettled(all)).toBe(true);
  });

  test('keep nobody waiting when the mount ends', async () => {
    invalidator.inode(INO, true);
    const waiting = invalidator.settled();
    invalidator.detach();
    expect(await isSettled(waiting)).toBe(true);
    await notifier.take(0, constants.errno.ECANCELED);
    expect([log.lines, invalidator.queuedCount]).toEqual([[], 0]);
  });

  test('of an inode from before a take-over are sent once: the kernel may have it, or not', async () => {
    const { ENOENT } = constants.errno;
    references.inherit([], 100 as Ino);
    invalidator.inode(50 as Ino, true);
    const all = invalidator.settled();
    await notifier.take(0, ENOENT);
    await clock.turn(1000);
    expect([await isSettled(all), notifier.sent.length, log.lines]).toEqual([true, 1, []]);
  });

  test('of attributes tell whether the kernel has the inode', async () => {
    const { ENOENT } = constants.errno;
    const answers = [invalidator.has(INO), invalidator.has(INO)];
    await notifier.take(0);
    await notifier.take(1, ENOENT);
    expect(await Promise.all(answers)).toEqual([true, false]);
    expect(notifier.sent[0]?.message.readBigInt64LE(24)).toBe(-1n);
    invalidator.detach();
    expect(await invalidator.has(INO)).toBe(true);
  });

  test('that are all taken are told of', async () => {
    let quiet = 0;
    const told = new KernelInvalidator(references, clock, log, () => quiet++);
    told.attach(notifier, () => swift);
    told.inode(INO, true);
    told.entry(INO, NAME);
    await notifier.take(0);
    expect(quiet).toBe(0);
    await notifier.take(1);
    expect(quiet).toBe(1);
    told.uncounted(INO);
    await swift.take(0);
    expect(quiet).toBe(2);
  });

  test('of what the kernel does not count go past those that wait for somebody', async () => {
    invalidator.entry(INO, NAME);
    expect(invalidator.told()).toBeUndefined();
    invalidator.uncounted(INO);
    invalidator.uncounted(10 as Ino);
    const told = invalidator.told() ?? expect.fail();
    expect(swift.sent.map(({ message }) => message.readBigUInt64LE(16))).toEqual([9n]);
    expect(swift.sent[0]?.message.readBigInt64LE(24)).toBe(-1n);
    expect([notifier.sent.length, await isSettled(told)]).toEqual([1, false]);
    await swift.take(0);
    expect([await isSettled(told), invalidator.told()]).toEqual([true, undefined]);
  });

  test('of what the kernel does not count go the usual way where there is no other', async () => {
    invalidator.attach(notifier, () => {
      throw new Error('no process to be had');
    });
    invalidator.uncounted(INO);
    await settle();
    expect([notifier.sent.length, invalidator.told()]).toEqual([1, undefined]);
    expect(log.lines.map(({ level }) => level)).toEqual(['error']);
  });

  test('are told of also when there was nothing to tell', async () => {
    let quiet = 0;
    const told = new KernelInvalidator(references, clock, log, () => quiet++);
    told.attach(notifier, () => swift);
    await told.settled();
    expect(quiet).toBe(1);
    told.inode(INO, true);
    const settled = told.settled();
    expect(quiet).toBe(1);
    await notifier.take(0);
    await settled;
    expect(quiet).toBe(2);
  });
});

describe('inodes without a name', () => {
  test('from before a take-over end when the kernel does not have them', async () => {
    const [forgotten, held, ours, named] = [50, 51, 52, 200] as Ino[];
    references.inherit([], 100 as Ino);
    references.lookedUp(52 as Ino);
    const gone: (Ino | undefined)[] = [];
    const fileSystem = { unnamed: () => [forgotten, held, ours, named] } as unknown as FileSystem;
    const end = new AbortController();
    const parts = { fileSystem, references, invalidator, clock };
    const asking = askForOrphans(parts, (ino) => gone.push(ino), end.signal);
    await clock.turn(ORPHANS_ASKED_MS - 1);
    expect(notifier.sent).toEqual([]);
    await clock.turn(1);
    await notifier.take(0, constants.errno.ENOENT);
    await notifier.take(1);
    expect(notifier.sent.map(({ message }) => message.readBigUInt64LE(16))).toEqual([50n, 51n]);
    expect(gone).toEqual([forgotten]);
    await clock.turn(ORPHANS_ASKED_MS);
    expect(notifier.sent).toHaveLength(3);
    end.abort();
    await notifier.take(2);
    await asking;
    expect(notifier.sent).toHaveLength(3);
  });
});
