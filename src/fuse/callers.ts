/**
 * Who asks through the kernel: one `Caller` per thread and its ids, kept for a while. The facts the
 * journal wants are read from /proc only when something is recorded, and at most once a second per
 * thread: a number may come to mean another process, and a process may become another program.
 *
 * Never `cmdline` or `environ` of /proc: reading them takes the lock of the process's memory, which
 * a page fault on this mount may hold while it waits for this very answer.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { FUSE_CALLERS_MAX } from '../base/limits.ts';
import type { Actor } from '../journal/journal.ts';
import type { Caller } from '../vfs/vfs.ts';

const RECHECK_MS = 1000;
const NO_GROUPS: readonly number[] = [];

/** Where the facts of a process are read; a test hands in a directory of its own. */
const PROC = '/proc';

/** The kernel checked permissions, groups among them, before it asked. */
class KernelCaller implements Caller {
  readonly uid: number;
  readonly gid: number;
  readonly groups = NO_GROUPS;
  readonly checked = true;
  readonly #pid: number;
  readonly #clock: Clock;
  readonly #proc: string;
  #actor: Actor | undefined;
  #readMs = 0;

  constructor(pid: number, ids: { uid: number; gid: number }, clock: Clock, proc: string) {
    this.uid = ids.uid;
    this.gid = ids.gid;
    this.#pid = pid;
    this.#clock = clock;
    this.#proc = proc;
  }

  actor(): Actor {
    const nowMs = this.#clock.monotonicMs();
    if (this.#actor === undefined || nowMs - this.#readMs >= RECHECK_MS) {
      this.#actor = this.#read(this.#actor);
      this.#readMs = nowMs;
    }
    return this.#actor;
  }

  /** A process whose start and program are those of `known` is still it. */
  #read(known: Actor | undefined): Actor {
    const { uid, gid } = this;
    if (this.#pid === 0) return { surface: 'fuse', uid, gid };
    const folder = `${this.#proc}/${this.#pid}`;
    const startTime = startTimeOf(textIn(`${folder}/stat`));
    const exe = targetOf(`${folder}/exe`);
    if (known !== undefined && known.startTime === startTime && known.exe === exe) return known;
    return {
      surface: 'fuse',
      uid,
      gid,
      pid: processOf(textIn(`${folder}/status`)) ?? this.#pid,
      startTime,
      exe,
      cgroup: cgroupOf(textIn(`${folder}/cgroup`)),
    };
  }
}

export class Callers {
  readonly #clock: Clock;
  readonly #proc: string;
  readonly #byPid = new Map<number, KernelCaller>();

  constructor(clock: Clock, proc = PROC) {
    this.#clock = clock;
    this.#proc = proc;
  }

  /** The caller of a request. A thread that changed its ids is another one. */
  of(pid: number, uid: number, gid: number): Caller {
    const known = this.#byPid.get(pid);
    if (known !== undefined && known.uid === uid && known.gid === gid) return known;
    const caller = new KernelCaller(pid, { uid, gid }, this.#clock, this.#proc);
    this.#byPid.delete(pid);
    if (this.#byPid.size >= FUSE_CALLERS_MAX) this.#evict();
    this.#byPid.set(pid, caller);
    return caller;
  }

  get size(): number {
    return this.#byPid.size;
  }

  /** The oldest half goes; who comes back is simply read again. */
  #evict(): void {
    let left = FUSE_CALLERS_MAX / 2;
    for (const pid of this.#byPid.keys()) {
      if (left-- <= 0) return;
      this.#byPid.delete(pid);
    }
  }
}

/** undefined: the process is gone, or may not be looked at. */
function textIn(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Field 22 of proc_pid_stat(5). Field 2 is a name in parentheses that may hold anything. */
function startTimeOf(stat: string | undefined): number | undefined {
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[22 - 3]);
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}

/** The process a thread belongs to. */
function processOf(status: string | undefined): number | undefined {
  const match = /^Tgid:\s*(\d+)$/m.exec(status ?? '');
  return match === null ? undefined : Number(match[1]);
}

/** The path in the unified hierarchy (`0::`), else that of the first line. */
function cgroupOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const lines = text.split('\n').filter((line) => line !== '');
  const line = lines.find((candidate) => candidate.startsWith('0::')) ?? lines[0];
  return line?.split(':').slice(2).join(':');
}
