/** What a tree of kind `mfs` can hold, because the mutable tree of a node can. */
import { OpError } from '../base/errors.ts';
import { isUtf8Name, type Name } from '../base/ids.ts';
import { isPublishedIn } from '../base/published.ts';
import type { InodeRow } from '../journal/journal.ts';
import type { Core } from './core.ts';

/**
 * MFS holds files, directories and links, each with one name of UTF-8; one name in its root is ours.
 * @throws OpError encoding, not-permitted.
 */
export function demandHolds(core: Core, directory: InodeRow, name: Name, op: string): void {
  if (!isOfMfs(core, directory)) return;
  if (!isUtf8Name(name)) throw new OpError('encoding', op, { hint: 'names in MFS are UTF-8' });
  const { root, source } = core.superblockOf(directory);
  if (directory.ino !== root || source !== '/' || !isPublishedIn(`/${name}`)) return;
  throw new OpError('not-permitted', op, { hint: 'what is published has that name in MFS' });
}

/** @throws OpError not-permitted. */
export function demandHoldsNode(core: Core, directory: InodeRow, op: string): void {
  if (!isOfMfs(core, directory)) return;
  throw new OpError('not-permitted', op, {
    hint: 'MFS holds files, directories and symbolic links, each with one name',
  });
}

const isOfMfs = (core: Core, row: InodeRow): boolean => core.superblockOf(row).kind === 'mfs';
