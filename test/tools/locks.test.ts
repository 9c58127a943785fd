import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import { KernelLocks, whenUnlocked } from '../../src/tools/locks.ts';
import { TurnedClock } from '../fakes/clock.ts';

const MOUNTINFO = `22 1 254:0 / / rw,relatime - ext4 /dev/root rw
60 22 0:47 / /home/a\\040b/kitfs rw,nosuid,nodev - fuse.kitfs kitfs rw
61 22 0:300 / /mnt rw - fuse.kitfs kitfs rw
62 22 0:48 / /mnt rw - fuse.kitfs kitfs rw
`;
const LOCKS = `1: FLOCK  ADVISORY  WRITE 4711 00:2f:5 0 EOF
1: -> FLOCK  ADVISORY  WRITE 4712 00:2f:5 0 EOF
2: POSIX  ADVISORY  READ 4713 00:2f:6 0 EOF
3: POSIX  ADVISORY  WRITE 4714 00:2f:6 0 99
4: OFDLCK ADVISORY  WRITE -1 00:2f:7 0 EOF
5: FLOCK  ADVISORY  WRITE 4715 00:30:5 0 EOF
6: FLOCK  ADVISORY  WRITE 4716 12c:00:5 0 EOF
7: LEASE  ACTIVE    WRITE 4717 00:2f:8 0 EOF
`;

let proc: string;
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'kitfs-proc-'));
  mkdirSync(join(proc, 'self'));
  writeFileSync(join(proc, 'self/mountinfo'), MOUNTINFO);
  writeFileSync(join(proc, 'locks'), LOCKS);
});
afterEach(() => rmSync(proc, { recursive: true }));

const at = (dir: string | undefined) => new KernelLocks({ mountDir: () => dir, proc });
const exclusive = (dir: string | undefined, ino: number) => at(dir).exclusive(ino as Ino);

describe('locks of the kernel', () => {
  test('are those of the mount’s device and the inode, held and exclusive', async () => {
    const dir = '/home/a b/kitfs';
    expect(await exclusive(dir, 5)).toEqual([{ kind: 'flock', pid: 4711 }]);
    expect(await exclusive(dir, 6)).toEqual([{ kind: 'posix', pid: 4714 }]);
    expect(await exclusive(dir, 7)).toEqual([{ kind: 'posix', pid: -1 }]);
    expect(await exclusive(dir, 8)).toEqual([]);
    expect(await exclusive(dir, 9)).toEqual([]);
  });

  test('are looked for on what was mounted last', async () => {
    expect(await exclusive('/mnt', 5)).toEqual([{ kind: 'flock', pid: 4715 }]);
  });

  test('are none where nothing is mounted', async () => {
    expect(await exclusive('/nowhere', 5)).toEqual([]);
    expect(await exclusive(undefined, 5)).toEqual([]);
  });
});

describe('waiting for a lock', () => {
  const { signal } = new AbortController();

  test('ends when the lock does', async () => {
    const clock = new TurnedClock();
    const held = [{ kind: 'flock', pid: 1 }] as { kind: 'flock'; pid: number }[];
    const locks = { exclusive: () => Promise.resolve([...held]) };
    const waited = whenUnlocked({ locks, clock, signal }, 5 as Ino, 'vfs_write');
    await clock.turn(500);
    held.length = 0;
    await clock.turn(100);
    await waited;
    expect(clock.monotonicMs()).toBe(600);
  });

  test('is an error after two seconds, and names who holds it', async () => {
    const clock = new TurnedClock();
    const holder = { kind: 'posix', pid: 4711 } as const;
    const locks = { exclusive: () => Promise.resolve([holder]) };
    const waited = whenUnlocked({ locks, clock, signal }, 5 as Ino, 'vfs_write');
    const refused = expect(waited).rejects.toMatchObject({
      failure: 'locked',
      details: { partial: { holders: [holder] } },
    });
    await clock.turn(2100);
    await refused;
  });

  test('ends with its signal', async () => {
    const controller = new AbortController();
    const clock = new TurnedClock();
    const locks = { exclusive: () => Promise.resolve([{ kind: 'flock', pid: 1 } as const]) };
    const wait = { locks, clock, signal: controller.signal };
    const refused = expect(whenUnlocked(wait, 5 as Ino, 'vfs_write')).rejects.toThrow('enough');
    await clock.turn(10);
    controller.abort(new Error('enough'));
    await refused;
  });
});
