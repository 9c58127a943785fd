/** Names and files on stable storage, at once: for the few that others cannot be served before. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { asOpError } from '../base/errors.ts';

/** Makes a directory with its name on stable storage. */
export function makeRoot(root: string): void {
  if (existsSync(root)) return;
  try {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    syncPath(dirname(root));
  } catch (error) {
    throw asOpError(error, `make content directory ${root}`);
  }
}

/** Brings a file, or the names in a directory, to stable storage while everybody waits. */
export function syncPath(path: string): void {
  try {
    const fd = openSync(path, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw asOpError(error, `sync ${path}`);
  }
}
