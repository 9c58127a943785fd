/** Names and files on stable storage; at once those few that others cannot be served before. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
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

/** The names in a directory, while others are served. Rejects with what the disk says. */
export async function syncNames(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
