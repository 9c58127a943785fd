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
  const from = row.after === null ? undefined : placeIn(row.after);
  if (from !== undefined) entry(core, ...from);
}

function entry(core: Core, parent: Ino, name: Name): void {
  core.invalidator.entry(parent, name);
  core.invalidator.inode(parent, true);
}

/** Where a rename came from. */
function placeIn(after: string): [Ino, Name] | undefined {
  const { from } = JSON.parse(after) as { readonly from?: readonly [Ino, string] };
  return from === undefined ? undefined : [from[0], nameOf(Buffer.from(from[1], 'base64'))];
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
