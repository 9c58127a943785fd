/**
 * Locks that programs hold on files of the mount. The kernel keeps them (flock(2), fcntl(2)) and
 * shows them in /proc/locks; nobody asks kitfs for them, so a tool has to look.
 *
 * A lock is advice: what is written past it is not refused by the kernel, and a lock taken after the
 * look is not seen. Tools look, wait a bounded time, and say who holds it.
 */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import { LOCK_POLL_MS, LOCK_WAIT_MS_MAX } from '../base/limits.ts';

export interface Lock {
  readonly kind: 'flock' | 'posix';
  /** -1: of an open file, not of a process. */
  readonly pid: number;
}

export interface LockTable {
  /** Exclusive locks on an inode; none while nothing is mounted. */
  exclusive(ino: Ino): Promise<readonly Lock[]>;
}

export interface KernelLocksOptions {
  /** Where the tree is mounted, as the kernel spells it; undefined while it is not. */
  readonly mountDir: () => string | undefined;
  /** `/proc`. */
  readonly proc: string;
}

export class KernelLocks implements LockTable {
  readonly #options: KernelLocksOptions;

  constructor(options: KernelLocksOptions) {
    this.#options = options;
  }

  async exclusive(ino: Ino): Promise<readonly Lock[]> {
    const { mountDir, proc } = this.#options;
    const dir = mountDir();
    if (dir === undefined) return [];
    const device = deviceOf(await readFile(`${proc}/self/mountinfo`, 'utf8'), dir);
    if (device === undefined) return [];
    return exclusiveLocks(await readFile(`${proc}/locks`, 'utf8'), `${device}:${ino}`);
  }
}

/** `major:minor` as /proc/locks writes it (hexadecimal) of the last thing mounted on `dir`. */
function deviceOf(mountinfo: string, dir: string): string | undefined {
  let device: string | undefined;
  for (const line of mountinfo.split('\n')) {
    const [, , numbers = '', , point = ''] = line.split(' ');
    const path = point.replace(/\\([0-7]{3})/g, (_, octal) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    // Read as UTF-8, which the escapes of this file never break.
    if (path === dir) device = numbers.split(':').map(hexOf).join(':');
  }
  return device;
}

const hexOf = (decimal: string): string => Number(decimal).toString(16).padStart(2, '0');

/** proc_locks(5): `1: FLOCK  ADVISORY  WRITE 4711 00:2f:123 0 EOF`; with `->` one that waits. */
function exclusiveLocks(text: string, file: string): Lock[] {
  return text.split('\n').flatMap((line): Lock[] => {
    const [, kind, , access, pid, target] = line.split(/\s+/);
    if (access !== 'WRITE' || target !== file) return [];
    if (kind === 'FLOCK') return [{ kind: 'flock', pid: Number(pid) }];
    return kind === 'POSIX' || kind === 'OFDLCK' ? [{ kind: 'posix', pid: Number(pid) }] : [];
  });
}

export interface LockWait {
  readonly locks: LockTable;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Resolves when nobody holds an exclusive lock on the inode.
 * @throws OpError locked, with the holders, after 2 s; the signal's reason.
 */
export async function whenUnlocked(
  { locks, clock, signal }: LockWait,
  ino: Ino,
  op: string,
): Promise<void> {
  const untilMs = clock.monotonicMs() + LOCK_WAIT_MS_MAX;
  for (;;) {
    const holders = await locks.exclusive(ino);
    if (holders.length === 0) return;
    if (clock.monotonicMs() >= untilMs) {
      throw new OpError('locked', op, {
        details: { partial: { holders }, retry_after_ms: LOCK_WAIT_MS_MAX },
      });
    }
    await clock.sleep(LOCK_POLL_MS, signal);
  }
}
