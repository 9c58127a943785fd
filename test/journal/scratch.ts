/** Journals in scratch directories, and a small tree to break. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import {
  type ActorId,
  type ContentId,
  type Fh,
  type Ino,
  NO_CONTENT,
  nameOfText,
  type SuperblockId,
} from '../../src/base/ids.ts';
import { S_IFDIR, S_IFLNK, S_IFREG } from '../../src/base/posix.ts';
import {
  type ContentRow,
  type InodeRow,
  Journal,
  type OpEntry,
  type Tx,
} from '../../src/journal/journal.ts';
import { TurnedClock } from '../fakes/clock.ts';

/** A directory that is gone when the test is. */
export function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'kitfs-journal-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export interface Opened {
  readonly journal: Journal;
  readonly clock: TurnedClock;
  readonly path: string;
  close(): void;
  /** Closes and opens again. */
  reopen(): Journal;
}

/** A journal in a scratch directory, closed when the test is over. */
export function openScratch(path = join(scratch(), 'journal.db')): Opened {
  const clock = new TurnedClock();
  let journal = new Journal({ path, clock });
  let isOpen = true;
  const close = () => {
    if (isOpen) journal.close();
    isOpen = false;
  };
  onTestFinished(close);
  return {
    path,
    clock,
    close,
    get journal() {
      return journal;
    },
    reopen() {
      close();
      journal = new Journal({ path, clock });
      isOpen = true;
      return journal;
    },
  };
}

export const name = nameOfText;

export const root = (journal: Journal): ActorId =>
  journal.commit(() => journal.actors.intern({ surface: 'fuse', uid: 0, gid: 0, pid: 1 }));

/** A `create` record; everything may be replaced. */
export function entry(actor: ActorId, path: string, more: Partial<OpEntry> = {}): OpEntry {
  const last = path.slice(path.lastIndexOf('/') + 1);
  return {
    kind: 'create',
    actor,
    ino: 7 as Ino,
    parent: 1 as Ino,
    name: name(last),
    path: name(path),
    ...more,
  };
}

export function inode(tx: Tx, ino: Ino, mode: number, more: Partial<InodeRow> = {}): InodeRow {
  const { s, ns } = tx.now;
  return {
    ino,
    generation: 1,
    superblock: 1 as SuperblockId,
    mode,
    uid: 0,
    gid: 0,
    nlink: 1,
    size: 0,
    rdev: 0,
    atimeS: s,
    atimeNs: ns,
    mtimeS: s,
    mtimeNs: ns,
    ctimeS: s,
    ctimeNs: ns,
    btimeS: s,
    btimeNs: ns,
    content: NO_CONTENT,
    parent: 0 as Ino,
    version: 1,
    ...more,
  };
}

export function content(id: ContentId, size: number, more: Partial<ContentRow> = {}): ContentRow {
  return {
    id,
    size,
    state: 'open',
    place: 'packed',
    refs: 0,
    held: 0,
    cid: null,
    profile: null,
    released_s: null,
    stable: 1,
    slot: null,
    ...more,
  };
}

/**
 * `/d/sub/`, `/d/f` (packed, two names), `/d/g` (in a file, sealed, with blocks), `/d/empty`,
 * `/d/s` (symbolic link), an unlinked file, an open write session, and records of it all.
 */
export function plantTree(journal: Journal): void {
  const actor = root(journal);
  journal.commit((tx) => {
    const { inodes, dentries, contents, symlinks, xattrs, superblocks } = journal;
    const make = (mode: number, more: Partial<InodeRow> = {}): Ino => {
      const ino = inodes.nextIno();
      inodes.insert(inode(tx, ino, mode, more));
      return ino;
    };
    const top = make(S_IFDIR | 0o755, { nlink: 3, size: 4096 });
    superblocks.insert({
      id: 1 as SuperblockId,
      kind: 'root',
      backend: 'root',
      source: '',
      root: top,
      volatile: false,
      readOnly: false,
      sizeBytesMax: undefined,
      inodesMax: 1000,
      options: {},
    });
    superblocks.insertMount({
      mountPoint: name('/'),
      mountId: 'm1',
      superblock: 1 as SuperblockId,
    });
    const d = make(S_IFDIR | 0o755, { nlink: 3, size: 4096, parent: top });
    const sub = make(S_IFDIR | 0o755, { nlink: 2, size: 4096, parent: d });
    const packed = contents.nextId();
    contents.insert(content(packed, 5, { refs: 1 }));
    contents.setBytes(packed, Buffer.from('hello'));
    const filed = contents.nextId();
    const cid = { cid: Buffer.from('cid of g'), profile: 'unixfs-v1-2025' };
    contents.insert(content(filed, 1000, { refs: 1, place: 'file', state: 'sealed', ...cid }));
    contents.setBytes(filed, Buffer.from('inner node'));
    contents.insertBlock({ cid: Buffer.from('leaf'), content: filed, position: 0, size: 1000 });
    contents.insertBlock({ cid: cid.cid, content: filed, position: -1, size: 10 });
    const f = make(S_IFREG | 0o644, { size: 5, content: packed, nlink: 2 });
    const g = make(S_IFREG | 0o644, { size: 1000, content: filed });
    const empty = make(S_IFREG | 0o600);
    const link = make(S_IFLNK | 0o777, { size: 1 });
    make(S_IFREG | 0o600, { nlink: 0 });
    symlinks.set(link, name('f'));
    xattrs.set(f, name('user.k'), Buffer.from('v'));
    dentries.insert(top, name('d'), d);
    dentries.insert(d, name('sub'), sub);
    dentries.insert(d, name('f'), f);
    dentries.insert(sub, name('f2'), f);
    dentries.insert(d, name('g'), g);
    dentries.insert(d, name('empty'), empty);
    dentries.insert(d, name('s'), link);
    journal.sessions.insert({
      ino: f,
      actor,
      path: name('/d/f'),
      begunS: 1,
      begunNs: 2,
      oldContent: NO_CONTENT,
      oldSize: 0,
      before: {},
      fh: 1 as Fh,
    });
    journal.published.put({
      ...{ ino: d, hasMetadata: false, seq: 0, cid: cid.cid, list: Buffer.from('leaf') },
      ...{ cumulativeSize: 10, entries: 6, files: 4, directories: 2, symlinks: 1, bytes: 1010 },
      ...{ blocks: 4, isPrivate: true, isOdd: true },
    });
    const root = { tree: cid.cid, snapshot: Buffer.from('leaf'), ino: d, seq: 0 };
    journal.targets.put({
      ...{ path: name('/d'), target: 'kubo', wanted: root, pin: true, state: 'pinned' },
      ...{ attempts: 0, dueS: undefined, failure: undefined, held: { ...root, pin: true } },
      ...{ sent: ['a'], checkedS: 1 },
    });
    tx.record(entry(actor, '/d', { kind: 'mkdir', ino: d }));
    tx.record(entry(actor, '/d/f', { ino: f, after: { flags: 1 } }));
  });
  journal.commit((tx) => {
    tx.record(entry(actor, '/d/g', { ino: 5 as Ino, size: 1000, oldSize: 0, mode: 0o644 }));
  });
  journal.commit((tx) => {
    tx.record(
      entry(actor, '/d/sub/f2', {
        kind: 'link',
        ino: 4 as Ino,
        oldPath: name('/d/f'),
        cid: Buffer.from('new'),
        oldCid: Buffer.from('old'),
        content: 1 as ContentId,
        oldContent: 2 as ContentId,
        oldMode: 0o600,
        position: 1,
        length: 2,
        group: 'call',
        before: { nlink: 1 },
      }),
    );
  });
}
