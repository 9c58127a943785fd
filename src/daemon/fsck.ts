/**
 * fsck: whether the journal, the namespace and the bytes are what they say they are, in the process
 * of the command. Without a repair it reads only, also while a daemon goes on writing; what a
 * repair does is in fsck-repair.ts.
 */
import { closeSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { SystemClock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import { loadNative } from '../base/native.ts';
import { HashPool } from '../content/hasher.ts';
import { unreadable } from '../journal/check.ts';
import { Contents } from '../journal/contents.ts';
import { Counters } from '../journal/counters.ts';
import { checkDatabase, openForCheck } from '../journal/journal.ts';
import type { Database } from '../journal/sqlite.ts';
import { type Checked, ContentCheck } from './content-check.ts';
import { repairState } from './fsck-repair.ts';
import {
  type FsckFinding,
  type FsckReport,
  foundByRule,
  foundInBytes,
  foundOnDisk,
  reportOf,
} from './fsck-report.ts';
import { type FsckDone, type FsckWork, shownBy } from './fsck-work.ts';
import { type StatePaths, statePaths } from './state.ts';
import { strayFiles } from './strays.ts';

export interface FsckOptions {
  /** The state directory. */
  readonly state: string;
  /** Put in order what can be; only while no daemon runs. */
  readonly repair?: boolean;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Checked) => void;
}

/**
 * @throws OpError not-found: there is no state directory; version-unsupported, journal-corrupt,
 *   journal-unavailable: the journal cannot be opened; busy: a daemon runs, and repair was asked
 *   for; the signal's reason.
 */
export async function fsck({ repair, onProgress, ...options }: FsckOptions): Promise<FsckReport> {
  const { state, signal } = options;
  const clock = new SystemClock();
  const begunMs = clock.monotonicMs();
  await demandJournal(statePaths(state).journal, state);
  const hasher = new HashPool();
  try {
    const work = { state, signal, hasher, clock, onProgress: onProgress ?? (() => {}) };
    const done = await (repair === true ? repairState(work) : checkState(work));
    const seconds = (clock.monotonicMs() - begunMs) / 1000;
    return reportOf(done.findings, { ...done, state, seconds });
  } finally {
    await hasher.close();
  }
}

async function checkState({ state, signal, hasher, onProgress }: FsckWork): Promise<FsckDone> {
  const paths = statePaths(state);
  const db = opened(paths.journal);
  try {
    const findings: FsckFinding[] = checkDatabase(db, { signal }).map(foundByRule);
    let checked: Checked = { contents: 0, bytes: 0 };
    try {
      const contents = new Contents(db, new Counters(db));
      const directory = paths.content;
      const check = new ContentCheck({ contents, hasher, directory, signal });
      const faults = await check.all((progress) => {
        checked = progress;
        onProgress(progress);
      });
      checked = check.checked;
      for (const fault of faults) {
        findings.push(foundInBytes(fault, shownBy(db, fault.content.id)));
      }
      for (const stray of await straysAlone(db, paths, signal)) {
        findings.push(foundOnDisk(stray));
      }
    } catch (error) {
      // Tables that cannot be read are a finding.
      findings.push(foundByRule(unreadable(error)));
    }
    return { findings, checked };
  } finally {
    db.close();
  }
}

/** A daemon makes files before it tells of them, and removes them after: only without one it counts. */
async function straysAlone(db: Database, paths: StatePaths, signal: AbortSignal) {
  if (isInUse(paths.lock)) return [];
  const contents = new Contents(db, new Counters(db));
  const strays = await strayFiles(db, contents, paths.content, signal);
  return isInUse(paths.lock) ? [] : strays;
}

function isInUse(lock: string): boolean {
  let fd: number;
  try {
    fd = openSync(lock, 'r');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
  try {
    return !loadNative().flockTry(fd, false);
  } finally {
    closeSync(fd);
  }
}

function opened(path: string): ReturnType<typeof openForCheck> {
  try {
    return openForCheck(path);
  } catch (error) {
    const known = asOpError(error, `open ${path}`);
    if (known.failure !== 'journal-corrupt' || known.hint !== undefined) throw known;
    const hint = 'kitfs fsck --repair puts a copy aside and rebuilds what can be read';
    throw new OpError(known.failure, known.op, { cause: known.cause, hint });
  }
}

async function demandJournal(path: string, state: string): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new OpError('not-found', `check ${state}`, {
      cause: error,
      hint: 'there is no journal: name the state directory with --state',
    });
  }
}
