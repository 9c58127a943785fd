/**
 * The state directory: who may use it, and that one daemon does.
 *
 * Invariants: mode 0700 and ours; locked as long as the daemon lives, by a lock that dies with it;
 * a directory that is not kitfs's, or that a newer kitfs made, is left exactly as it is.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import type { NativeFiles } from '../base/native.ts';
import { makeDirectories } from './directories.ts';

/** First line of the file `format`; the number grows when an older kitfs must not touch it. */
const FORMAT_NAME = 'kitfs-state';
const FORMAT = 1;

export interface StatePaths {
  readonly journal: string;
  /** Backing files. */
  readonly content: string;
  /** Where the daemon says what it has mounted. */
  readonly mounted: string;
  /** Where the daemon says who keeps it. */
  readonly keeper: string;
  readonly lock: string;
  readonly format: string;
  /** Of the embedded engine: its identity, and what it publishes under. */
  readonly keys: string;
  /** Space that is given up when the disk is full. */
  readonly reserve: string;
}

export const statePaths = (directory: string): StatePaths => ({
  journal: join(directory, 'journal.db'),
  content: join(directory, 'content'),
  mounted: join(directory, 'mounted.json'),
  keeper: join(directory, 'keeper.json'),
  lock: join(directory, 'lock'),
  format: join(directory, 'format'),
  keys: join(directory, 'keys'),
  reserve: join(directory, 'reserve'),
});

export interface StateDirectory extends StatePaths, Disposable {
  readonly directory: string;
}

/**
 * Makes the directory when it is absent, and locks it.
 * @throws OpError busy with details {pid}: a daemon uses it; version-unsupported: a newer kitfs made
 *   it; configuration: it is somebody else's, or holds something else; denied, no-space, io.
 */
export function openState(
  directory: string,
  native: Pick<NativeFiles, 'flockTry'>,
): StateDirectory {
  const paths = statePaths(directory);
  prepare(directory);
  demandOurs(directory, paths);
  const fd = lock(paths.lock, directory, native);
  try {
    demandFormat(paths.format, directory);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { ...paths, directory, [Symbol.dispose]: () => closeSync(fd) };
}

function prepare(directory: string): void {
  try {
    makeDirectories(directory, 0o700);
    const { uid, mode } = statSync(directory);
    if (uid !== process.getuid?.()) throw foreign(directory, 'it belongs to another user');
    if ((mode & 0o077) !== 0) chmodSync(directory, 0o700);
  } catch (error) {
    throw asOpError(error, `use the state directory ${directory}`);
  }
}

/** Names that others have put there, shown at most. */
const STRANGERS_SHOWN_MAX = 3;

function demandOurs(directory: string, paths: StatePaths): void {
  const names = readdirSync(directory);
  const isOurs =
    names.length === 0 || ['format', 'journal.db'].some((name) => names.includes(name));
  if (isOurs) return;
  // A start that was cut off right at its beginning leaves the lock alone.
  const strangers = names.filter((name) => join(directory, name) !== paths.lock);
  if (strangers.length === 0) return;
  const shown = strangers.slice(0, STRANGERS_SHOWN_MAX).join(', ');
  throw foreign(directory, `it holds other things (${shown})`);
}

const foreign = (directory: string, why: string): OpError =>
  new OpError('configuration', `use the state directory ${directory}`, {
    hint: `${why}: choose an empty directory with --state`,
  });

function lock(path: string, directory: string, native: Pick<NativeFiles, 'flockTry'>): number {
  const op = `use the state directory ${directory}`;
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    throw asOpError(error, op);
  }
  if (native.flockTry(fd, true)) {
    // Over what is there, which takes no space: the disk may be full.
    ftruncateSync(fd, writeSync(fd, `${process.pid}\n`, 0));
    return fd;
  }
  const bytes = Buffer.alloc(32);
  const pid = pidIn(bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, 0)));
  closeSync(fd);
  const who = pid === undefined ? 'another kitfs' : `kitfs with pid ${pid}`;
  throw new OpError('busy', op, {
    hint: `${who} uses it: stop that one with kitfs unmount, or choose another one with --state`,
    details: { pid },
  });
}

const pidIn = (text: string): number | undefined => {
  const match = /^(\d+)\n/.exec(text);
  return match === null ? undefined : Number(match[1]);
};

function demandFormat(path: string, directory: string): void {
  const op = `use the state directory ${directory}`;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw asOpError(error, op);
    writeFormat(path);
    return;
  }
  // A kill or a loss of power right after it was made left it so.
  if (text === '') {
    writeFormat(path);
    return;
  }
  const [name, number] = text.trim().split(' ');
  if (name !== FORMAT_NAME) throw foreign(directory, 'its file `format` is not one of kitfs');
  if (Number(number) <= FORMAT) return;
  throw new OpError('version-unsupported', op, {
    hint: `a newer kitfs made it (format ${number}, this one knows ${FORMAT}): install that one`,
  });
}

function writeFormat(path: string): void {
  const fd = openSync(path, 'w', 0o600);
  try {
    writeSync(fd, `${FORMAT_NAME} ${FORMAT}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
