/**
 * Telling the kernel of what it may not have been told: a daemon was killed between a commit and the
 * invalidations that follow it, and the kernel would keep what it has for ever.
 */
import { type Ino, type Name, nameOf, ROOT_INO } from '../base/ids.ts';
import type { OpRow } from '../journal/journal.ts';
import type { Core } from './core.ts';

/** Records read at once. */
const PAGE_RECORDS = 1024;

/** Announces what the records behind `seq` changed, and the attributes of open files. */
export function announceSince(core: Core, seq: number): void {
  for (const { ino } of core.handles.all()) core.invalidator.inode(ino, false);
  for (let after = seq; ; ) {
    const rows = core.journal.ops.page(after, PAGE_RECORDS);
    const last = rows.at(-1);
    if (last === undefined) return;
    for (const row of rows) announce(core, row);
    after = last.seq;
  }
}

function announce(core: Core, row: OpRow): void {
  if (row.ino !== 0) core.invalidator.inode(row.ino, true);
  const isMount = row.kind === 'mount' || row.kind === 'unmount';
  // Trees are mounted in directories of the root tree, whose names are few.
  if (isMount)
    for (const [parent, name] of placesAlong(core, nameOf(row.path))) entry(core, parent, name);
  if (row.parent !== 0) entry(core, row.parent, nameOf(row.name));
  if (row.kind === 'rename') announceRename(core, row);
}

/** Where it came from, and what gave way. */
function announceRename(core: Core, { before, after }: OpRow): void {
  const { from, exchanged } = JSON.parse(after ?? '{}') as {
    readonly from?: readonly [Ino, string];
    readonly exchanged?: Ino;
  };
  const { replaced } = JSON.parse(before ?? '{}') as { readonly replaced?: Ino };
  if (from !== undefined) entry(core, from[0], nameOf(Buffer.from(from[1], 'base64')));
  // Of what was replaced other names may be left, whose attributes changed with it.
  for (const ino of [exchanged, replaced]) {
    if (ino !== undefined) core.invalidator.inode(ino, false);
  }
}

function entry(core: Core, parent: Ino, name: Name): void {
  core.invalidator.entry(parent, name);
  core.invalidator.inode(parent, true);
}

/** Each name of a path with the directory it is in, as far as they are there. */
function placesAlong(core: Core, path: Name): [Ino, Name][] {
  const places: [Ino, Name][] = [];
  let parent: Ino | undefined = ROOT_INO;
  for (const name of path.split('/').slice(1) as Name[]) {
    if (parent === undefined) break;
    places.push([parent, name]);
    parent = core.mounts.covered(parent, name) ?? core.journal.dentries.find(parent, name);
  }
  return places;
}
