/**
 * Which process keeps the daemon of a state directory, written down there, for those who find no
 * daemon: it may be about to start one.
 */
import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename } from 'node:path';
import { MessageChannel } from 'node:worker_threads';
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import { KEEPER_POLL_MS, STOP_MS_MAX } from '../base/limits.ts';

const PROGRAM = 'kitfs-keeper';

interface KeeperRecord {
  readonly pid: number;
  /** Field 22 of proc_pid_stat(5): numbers of processes are used again. */
  readonly startTime: string;
  readonly mountPoint: string;
}

/**
 * `path`: of the locked state directory. What is there already is not written again, and otherwise
 * written over: the disk may be full. @throws OpError no-space, denied, io.
 */
export function recordKeeper(path: string, pid: number, mountPoint: string): void {
  const record: KeeperRecord = { pid, startTime: startTimeOf(pid) ?? '', mountPoint };
  const bytes = Buffer.from(`${JSON.stringify(record)}\n`);
  try {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      if (readFileSync(fd).equals(bytes)) return;
      const written = writeSync(fd, bytes, 0, bytes.length, 0);
      if (written < bytes.length) throw new OpError('no-space', `write ${path}`);
      ftruncateSync(fd, written);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw asOpError(error, `write ${path}`);
  }
}

export const forgetKeeper = (path: string): void => rmSync(path, { force: true });

/** @throws OpError busy: another keeper than `ownPid` would start a daemon of the state directory. */
export function demandNoOtherKeeper(
  path: string,
  ownPid: number | undefined,
  op = 'start kitfs',
): void {
  const other = livingKeeper(path);
  if (other === undefined || other.pid === ownPid) return;
  throw new OpError('busy', op, {
    hint: `its keeper (pid ${other.pid}) is starting it again: kitfs unmount ends that`,
    details: { pid: other.pid },
  });
}

/**
 * Ends the keeper of a state directory whose daemon does not answer; it takes the mount away.
 * @returns where that was; undefined: no keeper lives.
 * @throws OpError timeout: it, or the daemon that it had just started, does not end.
 */
export async function endKeeper(path: string, clock: Clock): Promise<string | undefined> {
  const record = livingKeeper(path);
  if (record === undefined) return undefined;
  process.kill(record.pid, 'SIGTERM');
  const lastMs = clock.monotonicMs() + STOP_MS_MAX;
  const never = new AbortController();
  // Who sleeps does not keep a process alive, and a command has nothing else that would.
  const { port1: awake } = new MessageChannel();
  awake.ref();
  try {
    while (livingKeeper(path) !== undefined) {
      if (clock.monotonicMs() > lastMs) {
        throw new OpError('timeout', `end the keeper with pid ${record.pid}`);
      }
      await clock.sleep(KEEPER_POLL_MS, never.signal);
    }
  } finally {
    awake.close();
  }
  return record.mountPoint;
}

function livingKeeper(path: string): KeeperRecord | undefined {
  const record = readRecord(path);
  if (record === undefined || startTimeOf(record.pid) !== record.startTime) return undefined;
  return isKeeper(record.pid) ? record : undefined;
}

function readRecord(path: string): KeeperRecord | undefined {
  try {
    // Behind the first line there may be the end of a longer record.
    const [line = ''] = readFileSync(path, 'utf8').split('\n');
    const value = JSON.parse(line) as Partial<KeeperRecord> | null;
    const { pid, startTime, mountPoint } = value ?? {};
    const isWhole =
      Number.isSafeInteger(pid) && typeof startTime === 'string' && typeof mountPoint === 'string';
    return isWhole ? (value as KeeperRecord) : undefined;
  } catch (error) {
    // One that was cut off is none.
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw asOpError(error, `read ${path}`);
  }
}

/** Undefined when there is no such process. */
function startTimeOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name, in parentheses, may have anything in it.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/** One that has ended, and was not waited for, has no program any more. */
function isKeeper(pid: number): boolean {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`)).startsWith(PROGRAM);
  } catch {
    return false;
  }
}
