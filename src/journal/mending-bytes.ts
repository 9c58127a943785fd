/** What repairs do with content objects: find the bytes of a file again, or say that they are lost. */
import { type ContentId, type Ino, NO_CONTENT } from '../base/ids.ts';
import { isRegular } from '../base/posix.ts';
import type { ContentRow } from './contents.ts';
import type { InodeRow } from './inodes.ts';
import type { Mended, Mending } from './mending.ts';

/** The object that a file's newest record of bytes names, when nobody shows it. */
export function contentOfRecords(mending: Mending, ino: Ino): ContentRow | undefined {
  const sql = `SELECT content FROM op WHERE ino = ? AND content IS NOT NULL
    ORDER BY seq DESC LIMIT 1`;
  const named = mending.get<{ content: ContentId }>(sql, ino)?.content;
  const row = named === undefined ? undefined : mending.journal.contents.get(named);
  if (row === undefined || row.state === 'open') return undefined;
  const shown = mending.get('SELECT 1 FROM inode WHERE content = ? LIMIT 1', row.id);
  return shown === undefined ? row : undefined;
}

/** Links of inodes to the object, counted again. */
export function recountRefs(mending: Mending, id: ContentId): ContentRow | undefined {
  const row = mending.journal.contents.get(id);
  if (row === undefined) return undefined;
  const refs = mending.journal.inodes.showing(id).length;
  if (refs !== row.refs) mending.journal.contents.update({ ...row, refs });
  return { ...row, refs };
}

/** The object is hashed anew by the next start: what is known of its blocks is forgotten. */
export function unseal(mending: Mending, row: ContentRow): void {
  const { contents } = mending.journal;
  contents.deleteBlocks(row.id);
  if (row.place !== 'packed') contents.deleteBytes(row.id);
  const state = row.state === 'open' ? 'open' : 'frozen';
  contents.update({ ...row, state, cid: null, profile: null });
}

/** A new object of these bytes, which nobody shows yet. */
export function packedAgain(mending: Mending, bytes: Buffer): ContentRow {
  const { contents } = mending.journal;
  const row: ContentRow = {
    id: contents.nextId(),
    size: bytes.length,
    ...{ state: 'frozen', place: 'packed', refs: 0, held: 0, cid: null, profile: null },
    ...{ released_s: null, stable: 1, slot: null },
  };
  contents.insert(row);
  contents.setBytes(row.id, bytes);
  return row;
}

/** What lies where nobody can use it becomes a file in `lost+found`. */
export function quarantineBytes(mending: Mending, label: string, bytes: Buffer): Mended {
  const moved = packedAgain(mending, bytes);
  const done = mending.quarantineContent(undefined, label, moved);
  recountRefs(mending, moved.id);
  return done;
}

/** What is to be shown in place of bytes that are gone: of this size, and every read of it fails. */
export function lostContent(mending: Mending, size: number): ContentRow {
  const { contents } = mending.journal;
  const row: ContentRow = {
    id: contents.nextId(),
    size,
    ...{ state: 'sealed', place: 'file', refs: 0, held: 0, cid: null, profile: null },
    // There is nothing that a sync could bring to the disk.
    ...{ released_s: null, stable: 1, slot: null },
  };
  contents.insert(row);
  return row;
}

/** A file shows another object from now on. */
export function show(mending: Mending, inode: InodeRow, content: ContentRow | undefined): void {
  const before = inode.content;
  inode.content = content?.id ?? NO_CONTENT;
  if (isRegular(inode.mode)) inode.size = content?.size ?? 0;
  mending.journal.inodes.update(inode);
  for (const id of [before, inode.content]) if (id !== NO_CONTENT) recountRefs(mending, id);
}

/**
 * The bytes of an object are not what they should be. What is left of them lies in another object
 * now, if anything is. Files go on showing this one, and every read of it fails; it
 * goes when no file does.
 */
export function lose(mending: Mending, row: ContentRow): void {
  const { contents } = mending.journal;
  contents.deleteBlocks(row.id);
  contents.deleteBytes(row.id);
  const refs = mending.journal.inodes.showing(row.id).length;
  if (refs === 0) {
    contents.delete(row.id);
    return;
  }
  const nothing = { cid: null, profile: null, slot: null, stable: 1, held: 0 };
  contents.update({ ...row, ...nothing, refs, state: 'sealed', place: 'file' });
}
