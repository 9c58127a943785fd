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
  const news = new News(core);
  for (const { ino } of core.handles.all()) news.inode(ino, false);
  for (let after = seq; ; ) {
    const rows = core.journal.ops.page(after, PAGE_RECORDS);
    const last = rows.at(-1);
    if (last === undefined) return;
    for (const row of rows) announce(news, row);
    after = last.seq;
  }
}

/** Says each thing once, however many records there are of it: all of them are committed by now. */
class News {
  readonly core: Core;
  /** Whether of its bytes too. */
  readonly #inodes = new Map<Ino, boolean>();
  readonly #names = new Map<Ino, Set<Name>>();

  constructor(core: Core) {
    this.core = core;
  }

  inode(ino: Ino, bytes: boolean): void {
    const said = this.#inodes.get(ino);
    if (said === true || said === bytes) return;
    this.#inodes.set(ino, bytes);
    this.core.invalidator.inode(ino, bytes);
  }

  /** A name, and behind its first one the directory it is in, also when that was said before: see notify.ts. */
  entry(parent: Ino, name: Name): void {
    const known = this.#names.get(parent);
    if (known?.has(name) === true) return;
    this.core.invalidator.entry(parent, name);
    if (known !== undefined) {
      known.add(name);
      return;
    }
    this.#names.set(parent, new Set([name]));
    this.#inodes.set(parent, true);
    this.core.invalidator.inode(parent, true);
  }
}

function announce(news: News, row: OpRow): void {
  if (row.ino !== 0) news.inode(row.ino, true);
  const isMount = row.kind === 'mount' || row.kind === 'unmount';
  // Trees are mounted in directories of the root tree, whose names are few.
  if (isMount) {
    for (const [parent, name] of placesAlong(news.core, nameOf(row.path))) {
      news.entry(parent, name);
    }
  }
  if (row.parent !== 0) news.entry(row.parent, nameOf(row.name));
  if (row.kind === 'rename') announceRename(news, row);
}

/** Where it came from, and what gave way. */
function announceRename(news: News, { before, after }: OpRow): void {
  const { from, exchanged } = JSON.parse(after ?? '{}') as {
    readonly from?: readonly [Ino, string];
    readonly exchanged?: Ino;
  };
  const { replaced } = JSON.parse(before ?? '{}') as { readonly replaced?: Ino };
  if (from !== undefined) news.entry(from[0], nameOf(Buffer.from(from[1], 'base64')));
  // Of what was replaced other names may be left, whose attributes changed with it.
  for (const ino of [exchanged, replaced]) {
    if (ino !== undefined) news.inode(ino, false);
  }
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
