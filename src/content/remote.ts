/**
 * Content whose bytes are elsewhere, or were fetched in part: what of it is here, and how it becomes
 * content like any other.
 *
 * Invariants: what a row of `block` tells of remote content was verified when it came, and is in
 * the page cache at least; after another boot it counts as never fetched. A read of what is not
 * here is content-missing, never zeros.
 */
import { fdatasyncSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import {
  FILE_AHEAD_BYTES_MAX,
  FILES_AHEAD,
  PACKED_BYTES_MAX,
  REMOTE_REMEMBERED_MAX,
} from '../base/limits.ts';
import type { ContentRow } from '../journal/journal.ts';
import { blockKey, type CID, cidOfBytes, RAW_CODEC, SHA2_256_CODE } from './cid.ts';
import { writeSparse } from './extents.ts';
import { attempt } from './faults.ts';
import { CONTENT_PROFILE } from './hash.ts';
import type { ContentObjects } from './objects.ts';
import { Ranges } from './ranges.ts';

/** The profile of a CID that somebody made by parameters nobody here knows. */
const FOREIGN_PROFILE = 'foreign';

export interface RemoteFile {
  /** Of the file. */
  readonly cid: CID;
  readonly size: number;
  /** The profile that made it, when that is known. */
  readonly profile: string | undefined;
}

/** Bytes of a file, and the block they came in unless they lay in a node. */
export interface Arrived {
  readonly cid: CID | undefined;
  readonly position: number;
  readonly bytes: Uint8Array;
}

export class RemoteContent {
  readonly #objects: ContentObjects;
  readonly #freeze: (id: ContentId) => void;
  readonly #here = new LRUCache<ContentId, Ranges>({ max: REMOTE_REMEMBERED_MAX });
  /** Whose files a loss of power may still need: the disk does not know yet that they are let go. */
  readonly #leaving = new Set<ContentId>();

  /** `freeze` brings an open object to rest. */
  constructor(objects: ContentObjects, freeze: (id: ContentId) => void) {
    this.#objects = objects;
    this.#freeze = freeze;
  }

  /** Remote content of that CID which somebody shows already. */
  find(cid: CID): Readonly<ContentRow> | undefined {
    const known = this.#objects.journal.contents.remoteByCid(blockKey(cid));
    return known === undefined ? undefined : this.#objects.rows.find(known.id);
  }

  /** An object without references, none of whose bytes are here. Inside a transaction. */
  create({ cid, size, profile = FOREIGN_PROFILE }: RemoteFile): ContentId {
    assert(size > 0, 'a file without bytes has no content');
    // Of any other hash is no file that is made here: it is hashed anew when it is whole.
    const isOfOurs = cid.code === RAW_CODEC && cid.multihash.code === SHA2_256_CODE;
    const place = isOfOurs && size <= PACKED_BYTES_MAX ? 'packed' : 'file';
    const row = { place, size, state: 'remote', cid: blockKey(cid), profile, stable: 0 } as const;
    return this.#objects.insert(row, 'made');
  }

  /** Small remote objects that were made soon after this one, in their order. */
  smallAfter(id: ContentId): ContentId[] {
    return this.#objects.journal.contents.remoteAfter(id, FILE_AHEAD_BYTES_MAX, FILES_AHEAD);
  }

  /** Whether these bytes can be read without waiting for anybody. */
  has(id: ContentId, from: number, to: number): boolean {
    const row = this.#objects.rows.find(id);
    return row?.state !== 'remote' || this.#hereOf(row).covers(from, Math.min(to, row.size));
  }

  /** Whether all of remote content is here, and waits to be sealed. */
  isWhole(row: Readonly<ContentRow>): boolean {
    return row.state === 'remote' && this.#hereOf(row).total === row.size;
  }

  /** @throws OpError content-missing with details {cid}. */
  demand(row: Readonly<ContentRow>, from: number, to: number): void {
    if (row.state !== 'remote' || this.#hereOf(row).covers(from, to)) return;
    throw notHere(row);
  }

  /** @throws OpError content-missing with details {cid}, when any of it is. */
  demandWhole(row: Readonly<ContentRow>): void {
    if (row.state === 'remote') throw notHere(row);
  }

  /**
   * Keeps verified bytes. One of them that has come elsewhere in the same object already has no row
   * of its own: after a restart it is copied from there.
   * @throws OpError no-space, io.
   */
  put(id: ContentId, { cid, position, bytes }: Arrived): void {
    const row = this.#objects.rows.find(id);
    const end = position + bytes.length;
    if (row?.state !== 'remote' || this.#hereOf(row).covers(position, end)) return;
    assert(end <= row.size, `what came lies within content ${id}`);
    const { journal } = this.#objects;
    journal.commit((tx) => {
      tx.onRollback(() => this.#here.delete(id));
      if (row.place === 'packed') journal.contents.setBytes(id, Buffer.from(bytes));
      else this.#write(row, bytes, position);
      this.#hereOf(row).add(position, end);
      if (cid === undefined) return;
      const place = { cid: blockKey(cid), content: id, position, size: bytes.length };
      journal.contents.insertBlock(place);
    });
    if (row.place === 'packed') this.#sealPacked(row);
  }

  /** Keeps an inner node of the DAG, so that what is here can be found when nobody can be asked. */
  putNode(id: ContentId, cid: CID, bytes: Uint8Array): void {
    const { journal, rows } = this.#objects;
    const row = rows.find(id);
    if (row?.state !== 'remote' || row.place === 'packed') return;
    journal.commit(() => {
      const nodes = journal.contents.bytes(id) ?? Buffer.alloc(0);
      journal.contents.setBytes(id, Buffer.concat([nodes, bytes]));
      const position = -1 - nodes.length;
      journal.contents.insertBlock({
        cid: blockKey(cid),
        content: id,
        position,
        size: bytes.length,
      });
    });
  }

  /** What came is not what the CID of the whole says: none of it is here any more. */
  forget(id: ContentId): void {
    const row = this.#objects.rows.find(id);
    if (row?.state !== 'remote') return;
    const { journal } = this.#objects;
    journal.commit(() => {
      journal.contents.deleteLeaves(id);
      this.#here.delete(id);
    });
  }

  /** Bytes of remote content that are here. */
  bytesHere(row: Readonly<ContentRow>): number {
    return row.state === 'remote' ? this.#hereOf(row).total : 0;
  }

  /**
   * Whether somebody else has the backing file open, or mapped through the kernel: of such a one the
   * daemon may have been told nothing. Where the disk does not tell, nobody was let in.
   */
  isSeen(id: ContentId): boolean {
    const row = this.#objects.rows.find(id);
    if (row?.place !== 'file') return false;
    try {
      return this.#objects.files.otherOpeners(id, row.place) !== 'none';
    } catch {
      return false;
    }
  }

  /**
   * Sealed content becomes remote: somebody else has its bytes, and here only inner nodes stay. The
   * row first, and the bytes when it is as safe as they were: a kill or a loss of power in between
   * finds one or the other whole.
   */
  evict(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    assert(row.state === 'sealed' && row.cid !== null, `content ${id} has a CID to be had by`);
    assert(row.place !== 'memory' && row.size > 0, `content ${id} lies on the disk`);
    const { journal } = this.#objects;
    journal.commit(() => {
      journal.contents.deleteLeaves(id);
      if (row.place === 'packed') journal.contents.deleteBytes(id);
      else this.#letFileGo(row);
      this.#objects.rows.update(row, { state: 'remote', stable: 0 });
      this.#here.delete(id);
    });
  }

  /** What was fetched of remote content is not kept: it can be fetched again. */
  drop(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    assert(row.state === 'remote', `content ${id} comes from elsewhere`);
    const { journal } = this.#objects;
    journal.commit((tx) => {
      tx.onRollback(() => this.#here.delete(id));
      if (this.#hereOf(row).total === 0) return;
      journal.contents.deleteLeaves(id);
      if (row.place === 'packed') journal.contents.deleteBytes(id);
      else this.#letFileGo(row);
      this.#here.delete(id);
    });
  }

  /** Whether a file in the place of the object's would hold nothing of it that anybody may need. */
  isAway(row: Readonly<ContentRow>): boolean {
    return row.state === 'remote' && !this.#leaving.has(row.id) && this.bytesHere(row) === 0;
  }

  /** Its name goes, not its bytes: whoever has the file mapped keeps them. */
  #letFileGo({ id }: ContentRow): void {
    this.#objects.journal.commit((tx) => {
      this.#leaving.add(id);
      tx.onRollback(() => this.#leaving.delete(id));
    });
    this.#objects.afterSync(() => {
      // What came again meanwhile lies in another file of that name.
      if (this.#leaving.delete(id)) this.#objects.files.remove(id, 'file');
    });
  }

  /**
   * All of it is here and was hashed again: at rest, about to be sealed, on stable storage. Inside a
   * transaction.
   */
  freeze(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    assert(row.state === 'remote', `content ${id} comes from elsewhere`);
    this.#objects.rows.update(row, { state: 'open', cid: null, profile: null, stable: 1 });
    this.#freeze(id);
    this.#here.delete(id);
  }

  /** A single raw block is its own CID, which was checked: nothing is left to be hashed. */
  #sealPacked(row: ContentRow): void {
    this.#objects.journal.commit(() => {
      const stable = { state: 'sealed', profile: CONTENT_PROFILE, stable: 1 } as const;
      this.#objects.rows.update(row, stable);
    });
    this.#here.delete(row.id);
  }

  #write(row: ContentRow, bytes: Uint8Array, position: number): void {
    const { files, journal } = this.#objects;
    // A file of before another boot, of which nothing counts, is begun anew.
    const isThere = this.#hereOf(row).total > 0;
    if (!isThere) this.#clear(row.id);
    const fd = isThere ? files.descriptor(row.id, 'file') : this.#objects.makeFile(row.id, 'file');
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    assert(journal.inTransaction, 'content comes inside a transaction');
    attempt('write', row, () => writeSparse({ fd, position }, buffer));
    files.changed(row.id);
  }

  /** Whoever has the file of before open or mapped keeps it as it is. */
  #clear(id: ContentId): void {
    const { files, journal } = this.#objects;
    if (this.#leaving.delete(id)) fdatasyncSync(journal.walFd);
    files.remove(id, 'file');
  }

  #hereOf(row: Readonly<ContentRow>): Ranges {
    let here = this.#here.get(row.id);
    if (here === undefined) {
      here = new Ranges();
      for (const { position, size } of this.#objects.journal.contents.blocksOf(row.id)) {
        if (position >= 0) here.add(position, position + size);
      }
      this.#here.set(row.id, here);
    }
    return here;
  }
}

function notHere({ id, cid }: Readonly<ContentRow>): OpError {
  const text = cid === null ? undefined : cidOfBytes(cid).toString();
  return new OpError('content-missing', `read content ${id}`, {
    hint: 'its bytes are elsewhere: read the file first',
    details: text === undefined ? {} : { cid: text },
  });
}
