/**
 * Reading directories while they change: a position is the cookie of the last entry handed out, so
 * that entries made or removed meanwhile neither repeat nor hide others (readdir(3)).
 */
import type { Ino, Name } from '../base/ids.ts';
import { S_IFDIR, S_IFMT } from '../base/posix.ts';
import type { InodeRow } from '../journal/journal.ts';
import { markRead } from './access-times.ts';
import type { DirectoryEntry } from './contract.ts';
import type { Core } from './core.ts';
import { parentOf } from './lookup.ts';

const DOT = '.' as Name;
const DOT_DOT = '..' as Name;
/** Cookies below are `.`, `..` and mount points; entries of the tree lie above. */
const ENTRY_COOKIES_FROM = 2 ** 20;
/** Rows read from the journal at once. */
const ROWS_AT_ONCE = 256;

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
  // Whoever asks is let in by the kernel, which keeps what it was told until the directory changes.
  markRead(core, directory, true);
  if (cookie < ENTRY_COOKIES_FROM && !takeFixed(core, directory, cookie, take)) return;
  const covers = core.mounts.coversIn(ino);
  let after = Math.max(0, cookie - ENTRY_COOKIES_FROM);
  for (;;) {
    const rows = core.journal.dentries.after(ino, after, ROWS_AT_ONCE);
    for (const row of rows) {
      after = row.cookie;
      if (covers?.has(row.name) === true) continue;
      const inode = core.inodes.get(row.ino);
      const entry: DirectoryEntry = {
        name: row.name,
        ino: row.ino,
        type: inode.mode & S_IFMT,
        cookie: row.cookie + ENTRY_COOKIES_FROM,
        inode: withInodes ? inode : undefined,
      };
      if (!take(entry)) return;
    }
    if (rows.length < ROWS_AT_ONCE) return;
  }
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
    const inode = core.inodes.find(ino);
    const type = inode === undefined ? S_IFDIR : inode.mode & S_IFMT;
    // By its superblock, so that it stays when others come and go; control files belong to none.
    fixed.push({ name, ino, type, cookie: 2 + (inode?.superblock ?? 1), inode });
  }
  fixed.sort((a, b) => a.cookie - b.cookie);
  return fixed.every((entry) => entry.cookie <= cookie || take(entry));
}
