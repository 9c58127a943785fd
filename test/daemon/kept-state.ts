/** A state directory with one of everything, kept by no daemon; copies of it to damage; what they show. */
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { SystemClock } from '../../src/base/clock.ts';
import { type Ino, nameOfText, ROOT_INO, textOf } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { isDirectory, isRegular, isSymlink } from '../../src/base/posix.ts';
import { BlockStore, ContentStore, Dag } from '../../src/content/content.ts';
import { contentReader } from '../../src/daemon/content-reader.ts';
import { Journal } from '../../src/journal/journal.ts';
import { recover, Vfs } from '../../src/vfs/vfs.ts';
import { noise } from '../content/fixture.ts';
import { plantCalls } from '../journal/calls.ts';
import { Fixture, ROOT } from '../sync/fixture.ts';

/** Files, by path; made by `keptState`. */
export const LARGE = '/ipfs/docs/large';
export const PACKED = '/ipfs/docs/packed';
export const FROZEN = '/ipfs/docs/frozen';
export const LINKED = '/ipfs/docs/linked';
export const DEEP = '/ipfs/docs/deep/er/file';

/** Makes one; the caller removes it. */
export async function keptState(): Promise<string> {
  const world = new Fixture();
  const kept = mkdtempSync(join(tmpdir(), 'kitfs-kept-'));
  try {
    await fill(world);
    cpSync(world.directory, kept, { recursive: true });
  } finally {
    await world.close();
  }
  return kept;
}

async function fill(world: Fixture): Promise<void> {
  world.mkdir('/ipfs/docs');
  world.mkdir('/ipfs/docs/deep');
  world.mkdir('/ipfs/docs/deep/er');
  for (const path of [LARGE, '/ipfs/other']) world.write(path, noise(200_000, path.length));
  for (const path of [PACKED, LINKED, DEEP]) world.write(path, `the bytes of ${path}`);
  world.write('/ipfs/empty', '');
  world.link(LINKED, '/ipfs/docs/deep/again');
  world.symlink('/ipfs/docs/link', 'packed');
  for (const path of [LARGE, '/ipfs/other', PACKED, LINKED, DEEP]) {
    await world.sealer.seal(world.inode(path).content, world.signal);
  }
  world.vfs.setxattr(ROOT, world.ino(PACKED), nameOfText('user.k'), Buffer.from('v'), 'any', false);
  // Old bytes, which history wants.
  world.write('/ipfs/rewritten', 'first');
  await world.sealer.seal(world.inode('/ipfs/rewritten').content, world.signal);
  world.write('/ipfs/rewritten', 'second');
  await world.builder.addBytes(
    Buffer.from('kept by its CID'),
    { profile: 'unixfs-v0-2015', dryRun: false },
    world.signal,
  );
  await world.publish('/ipfs/docs');
  world.write(FROZEN, noise(150_000, 9));
  plantCalls(world.journal);
}

/** A copy of a state directory, gone when disposed. */
export class Damaged implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'kitfs-damaged-'));

  constructor(kept: string) {
    cpSync(kept, this.directory, { recursive: true });
  }

  get journal(): string {
    return join(this.directory, 'journal.db');
  }

  sql(text: string): void {
    const db = new BetterSqlite3(this.journal);
    try {
      db.unsafeMode();
      db.exec(text);
    } finally {
      db.close();
    }
  }

  number(sql: string, ...values: unknown[]): number {
    const db = new BetterSqlite3(this.journal, { readonly: true });
    try {
      return db
        .prepare(sql)
        .pluck()
        .get(...values) as number;
    } finally {
      db.close();
    }
  }

  ino(path: string): number {
    let at = path.startsWith('/ipfs')
      ? this.number(`SELECT root FROM superblock WHERE kind = 'ipfs'`)
      : ROOT_INO;
    for (const name of path.split('/').slice(2)) {
      at = this.number(
        'SELECT ino FROM dentry WHERE parent = ? AND name = ?',
        at,
        Buffer.from(name),
      );
    }
    return at;
  }

  content(path: string): number {
    return this.number('SELECT content FROM inode WHERE ino = ?', this.ino(path));
  }

  /** Where the bytes of a large file lie. */
  backing(path: string): string {
    return this.backingOf(this.content(path));
  }

  backingOf(id: number): string {
    const shard = (id % 256).toString(16).padStart(2, '0');
    return join(this.directory, 'content', shard, String(id));
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export interface Shown {
  readonly ino: number;
  readonly mode: string;
  readonly nlink: number;
  readonly size: number;
  /** A digest, the target of a link, or `EIO`. */
  readonly bytes: string;
  readonly xattrs: number;
}

/** Everything below the mount points, through what a daemon's start makes of the directory. */
export function shownBy(directory: string): Record<string, Shown> {
  const clock = new SystemClock();
  const native = loadNative();
  const journal = new Journal({ path: join(directory, 'journal.db'), clock });
  const contents = new ContentStore({
    journal,
    native,
    directory: join(directory, 'content'),
    memoryDirectory: join(directory, 'memory'),
    clock,
  });
  try {
    const vfs = new Vfs({
      journal,
      content: contents,
      clock,
      syncJournal: () => native.fdatasyncMany([journal.walFd]),
      contentReader: contentReader(new Dag(new BlockStore({ journal, contents }))),
      controlFiles: [],
      owner: { uid: 0, gid: 0 },
      stateDirectory: directory,
      signal: new AbortController().signal,
    });
    recover(vfs.core, { uid: 0, gid: 0 });
    const shown: Record<string, Shown> = {};
    for (const { mountPoint, superblock } of vfs.core.mounts.mounts()) {
      show({ journal, contents }, textOf(mountPoint), superblock.root, shown);
    }
    return shown;
  } finally {
    contents.close();
    journal.close();
  }
}

interface Open {
  readonly journal: Journal;
  readonly contents: ContentStore;
}

function show(open: Open, path: string, ino: Ino, into: Record<string, Shown>): void {
  const row = open.journal.inodes.get(ino);
  if (row === undefined) throw new Error(`${path} names no inode`);
  const { mode, nlink, size } = row;
  const xattrs = open.journal.xattrs.all(ino).length;
  into[path] = { ino, mode: mode.toString(8), nlink, size, bytes: bytesOf(open, ino), xattrs };
  if (!isDirectory(mode)) return;
  for (const { name, inode } of open.journal.dentries.list(ino, 0, 1000)) {
    show(open, `${path}/${textOf(name)}`, inode.ino, into);
  }
}

function bytesOf({ journal, contents }: Open, ino: Ino): string {
  const row = journal.inodes.get(ino);
  if (row === undefined) return '';
  if (isSymlink(row.mode)) return journal.symlinks.get(ino) ?? 'no target';
  if (!isRegular(row.mode) || row.content === 0) return '';
  const bytes = Buffer.alloc(row.size);
  try {
    const got = contents.read(row.content, bytes, 0, row.size, 0);
    return createHash('sha256').update(bytes.subarray(0, got)).digest('hex');
  } catch {
    return 'EIO';
  }
}
