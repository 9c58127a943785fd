/**
 * Reading directories while they change: a position is the cookie of the last entry handed out, so
 * that entries made or removed meanwhile neither repeat nor hide others (readdir(3)).
 */
import type { Ino, Name } from '../base/ids.ts';
import { S_IFDIR, S_IFMT } from '../base/posix.ts';
import type { InodeRow, ListedInode, ListedRow } from '../journal/journal.ts';
import type { DirectoryEntry } from './contract.ts';
import type { Core } from './core.ts';
import { parentOf } from './lookup.ts';

const DOT = '.' as Name;
const DOT_DOT = '..' as Name;
/** Cookies below are `.`, `..` and mount points; entries of the tree lie above. */
const ENTRY_COOKIES_FROM = 2 ** 20;
/**
 * Rows read from the journal at once: few at first, because the taker may have room for few, then
 * twice as many each time.
 */
const ROWS_AT_ONCE_MIN = 32;
const ROWS_AT_ONCE_MAX = 256;

type Take = (entry: DirectoryEntry) => boolean;

export function readdir(
  core: Core,
  ino: Ino,
  cookie: number,
  withInodes: boolean,
  take: Take,
): void {
  core.inodes.trim();
  const directory = core.directory(ino, 'readdir');
  if (cookie < ENTRY_COOKIES_FROM && !takeFixed(core, directory, cookie, take)) return;
  const covers = core.mounts.coversIn(ino);
  const arriving = core.arriving?.namesIn(ino);
  if (arriving !== undefined) {
    for (const name of arriving) {
      const entry = { ...name, cookie: name.cookie + ENTRY_COOKIES_FROM, inode: undefined };
      const isShown = entry.cookie > cookie && covers?.has(entry.name) !== true;
      if (isShown && !take(entry)) return;
    }
    return;
  }
  // Past the cache, which a large directory would only empty of what others need.
  core.inodes.flush();
  const { dentries } = core.journal;
  let after = Math.max(0, cookie - ENTRY_COOKIES_FROM);
  for (let limit = ROWS_AT_ONCE_MIN; ; limit = Math.min(limit * 2, ROWS_AT_ONCE_MAX)) {
    const rows = withInodes
      ? dentries.listInodes(ino, after, limit).map((row) => withInode(core, row))
      : dentries.list(ino, after, limit).map(withoutInode);
    for (const entry of rows) {
      after = entry.cookie - ENTRY_COOKIES_FROM;
      if (covers?.has(entry.name) !== true && !take(entry)) return;
    }
    if (rows.length < limit) return;
  }
}

const withoutInode = ({ name, cookie, inode }: ListedRow): DirectoryEntry => ({
  name,
  ino: inode.ino,
  type: inode.mode & S_IFMT,
  cookie: cookie + ENTRY_COOKIES_FROM,
  inode: undefined,
});

/** Of a file that the kernel writes the row is not true: the disk is asked. */
function withInode(core: Core, row: ListedInode): DirectoryEntry {
  const isLive = core.live.find(row.inode.ino) !== undefined;
  const inode = isLive ? core.inodes.find(row.inode.ino) : core.inodes.latest(row.inode);
  return { ...withoutInode(row), inode };
}

/** `.`, `..` and what is mounted here. False when the taker has had enough. */
function takeFixed(core: Core, directory: InodeRow, cookie: number, take: Take): boolean {
  const above = parentOf(core, directory);
  const dots = { type: S_IFDIR, inode: undefined };
  const fixed: DirectoryEntry[] = [
    { ...dots, name: DOT, ino: directory.ino, cookie: 1 },
    { ...dots, name: DOT_DOT, ino: above, cookie: 2 },
  ];
  for (const [name, ino] of core.mounts.coversIn(directory.ino) ?? []) {
    const inode = core.shown(core.inodes.find(ino));
    const type = inode === undefined ? S_IFDIR : inode.mode & S_IFMT;
    // By its superblock, so that it stays when others come and go; control files belong to none.
    fixed.push({ name, ino, type, cookie: 2 + (inode?.superblock ?? 1), inode });
  }
  fixed.sort((a, b) => a.cookie - b.cookie);
  return fixed.every((entry) => entry.cookie <= cookie || take(entry));
}
