/**
 * Makes directories and those above them. Not by the `recursive` of node:fs: where a directory is
 * refused although the one above it is there, as below /proc, that asks for ever.
 */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from '../base/errors.ts';

/** A directory that is there already is fine, a link to one too. @throws what mkdir(2) fails with. */
export function makeDirectories(path: string, mode?: number): void {
  try {
    makeOne(path, mode);
  } catch (error) {
    const parent = dirname(path);
    if (codeOf(error) !== 'ENOENT' || parent === path) throw error;
    makeDirectories(parent, mode);
    makeOne(path, mode);
  }
}

function makeOne(path: string, mode: number | undefined): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const isThere = () => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
    // A disk that can only be read says so before it looks.
    if (['EEXIST', 'EROFS', 'EACCES', 'EISDIR'].includes(codeOf(error) ?? '') && isThere()) return;
    throw error;
  }
}
