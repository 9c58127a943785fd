/** A driver that goes on with a connection, with the native calls held by hand. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Fh, type Ino, ROOT_INO } from '../../src/base/ids.ts';
import { HANDLE_TABLE_BYTES_MAX } from '../../src/base/limits.ts';
import { FuseServer, type FuseServerOptions } from '../../src/fuse/fuse.ts';
import type { Passthrough } from '../../src/vfs/vfs.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Fixture } from '../vfs/fixture.ts';
import { HandChannel, request } from './requests.ts';

const FD = 7;
const TAKEN = { fd: FD, mountPoint: '/absent/mount', device: '0:0', diedOfItself: false };

let fixture: Fixture;
let log: RememberedLog;
let channel: HandChannel;
let closed: number[];
/** Numbers that the table had while the kernel let go of them. */
let known: number[][];
let proven: (boolean | undefined)[];
let passthrough: Passthrough | undefined;
let drain: (count: number) => void;
/** Messages that are no replies. */
let notified: Buffer[];

beforeEach(() => {
  fixture = new Fixture();
  log = new RememberedLog();
  channel = new HandChannel();
  [closed, notified, passthrough] = [[], [], undefined];
  [known, proven] = [[], []];
  const reply = channel.reply.bind(channel);
  channel.reply = (bytes, offset, length) => {
    const message = Buffer.from(bytes.subarray(offset, offset + length));
    if (message.readBigUInt64LE(8) !== 0n) return reply(bytes, offset, length);
    notified.push(message);
    return 0;
  };
});
afterEach(() => {
  fixture.close();
});

function serverOf(options: Partial<FuseServerOptions> = {}): FuseServer {
  let backing = 100;
  const unused = (): never => {
    throw new Error('nothing is mounted here');
  };
  return new FuseServer({
    fileSystem: fixture.vfs,
    table: fixture.table,
    journal: fixture.journal,
    clock: new TurnedClock(),
    log,
    passthrough: {
      attach: (given, isProven) => {
        passthrough = given;
        proven.push(isProven);
        passthrough.register(3);
      },
      detach() {},
    },
    native: {
      ...{ openFuseDevice: unused, mountFuse: unused, mountWithHelper: unused, unmount: unused },
      openChannel: (_fd, _options, onRequests) => {
        drain = onRequests;
        return channel;
      },
      openNotifier: () => ({ send: () => Promise.resolve(0), close: () => Promise.resolve() }),
      backingOpen: () => backing++,
      backingClose: (_fd, id) => {
        closed.push(id);
        known.push(fixture.table.backings().map(({ backing: number }) => number));
      },
      closeDescriptor() {},
      hasFailed: () => false,
    } as FuseServerOptions['native'],
    ...options,
  });
}

function handle(fh: number, backing?: number): void {
  fixture.table.addHandle({
    ...{ fh: fh as Fh, ino: ROOT_INO, unique: 2, flags: 0, uid: 0, gid: 0, pid: 1, openFlags: 0 },
    ...{ backing, isDirectory: false },
  });
}

describe('a driver that takes a mount over', () => {
  test('asks the kernel to ask again, first of all, and serves it without INIT', () => {
    const server = serverOf();
    server.takeOver(TAKEN);
    expect(notified).toHaveLength(1);
    const [message = Buffer.alloc(0)] = notified;
    expect([message.readUInt32LE(0), message.readInt32LE(4), message.length]).toEqual([16, 7, 16]);
    drain(channel.lay([request(3, { unique: 4n, body: [Buffer.alloc(16)] })]));
    expect(channel.answerTo(4n).errno).toBe(0);
    expect(server.status()).toMatchObject({ protocolMinor: 45, requests: 1, handles: 0 });
    expect(fixture.table.notifiedSeq).toBe(fixture.journal.head.seq);
    expect(() => server.takeOver(TAKEN)).toThrow('mounts once');
  });

  test('has the handles of the one before, and lets go of files that nobody has open', () => {
    const { table } = fixture;
    for (const number of [1, 2, 3]) table.addBacking(number);
    handle(5, 2);
    handle(6);
    const server = serverOf();
    server.takeOver(TAKEN);
    expect(server.status().handles).toBe(2);
    expect(closed).toEqual([1, 3]);
    expect(table.backings().map(({ backing }) => backing)).toEqual([2, 100]);
    passthrough?.unregister(2);
    expect(table.backings().map(({ backing }) => backing)).toEqual([100]);
    // A kill in between would leave one that nobody knows of.
    for (const [index, number] of closed.entries()) expect(known[index]).toContain(number);
  });

  test('goes on to offer files to the kernel when it did before', () => {
    serverOf().takeOver(TAKEN);
    fixture.takeOver();
    serverOf().takeOver(TAKEN);
    expect(proven).toEqual([false, true]);
  });

  test('knows all inodes there were, and no other', () => {
    const server = serverOf();
    server.takeOver(TAKEN);
    const below = fixture.journal.counters.reserved('ino');
    const known = [below - 1, below].map((ino) => server.invalidator.knows(ino as Ino));
    expect(known).toEqual([true, false]);
  });

  test('leaves no file registered that the table has no room for', () => {
    const { table } = fixture;
    serverOf().takeOver(TAKEN);
    const roomFor = (HANDLE_TABLE_BYTES_MAX - 4096) / 64 - table.backings().length;
    for (let number = 0; number < roomFor; number++) table.addBacking(5);
    expect(() => passthrough?.register(3)).toThrow(expect.objectContaining({ failure: 'busy' }));
    expect(closed).toEqual([101]);
  });
});
