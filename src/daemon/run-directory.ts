/**
 * The run directory: sockets, and the bytes of trees in memory. Made when absent.
 *
 * Invariants: it is ours, no link, and nobody else may write to it; the one below /tmp, where
 * anybody may make names, is closed to all others.
 */
import { chmodSync, chownSync, lstatSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import { makeDirectories } from './directories.ts';

/** Root's is entered by a group; anybody else's is private. */
const ROOT_MODE = 0o750;
const USER_MODE = 0o700;

/**
 * @param gid the group that enters root's; undefined: that of the process.
 * @throws OpError configuration: it cannot be trusted; denied, io.
 */
export function prepareRunDirectory(directory: string, uid: number, gid?: number): void {
  const op = `use the run directory ${directory}`;
  const isShared = directory.startsWith('/tmp/');
  try {
    makeDirectories(dirname(directory));
    mkdirSync(directory, { mode: USER_MODE });
    if (uid === 0 && !isShared) chmodSync(directory, ROOT_MODE);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw asOpError(error, op);
  }
  const found = lstatSync(directory);
  const others = isShared ? 0o077 : 0o022;
  if (found.isDirectory() && found.uid === uid && (found.mode & others) === 0) {
    // Also one from before there was the group: who may not enter finds no socket.
    const isForGroup = uid === 0 && !isShared && gid !== undefined && found.gid !== gid;
    if (isForGroup) chownSync(directory, uid, gid);
    return;
  }
  throw new OpError('configuration', op, {
    hint: isShared
      ? 'it must be a directory of yours that nobody else can enter (chmod 700), no link'
      : 'it must be a directory of yours that nobody else can write to (chmod go-w), no link',
  });
}

/** Where the bytes of trees in memory lie. */
export const memoryDirectoryOf = (directory: string): string => join(directory, 'memory');
