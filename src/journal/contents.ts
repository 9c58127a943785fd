/**
 * Rows of `content`, `packed`, `block` and `pin`: where bytes lie and what they hash to. The bytes
 * of content in files of their own are the business of `content/`.
 */
import type { ContentId, Ino, SuperblockId } from '../base/ids.ts';
import { CONTENTS_CACHED_MAX } from '../base/limits.ts';
import type { Counters } from './counters.ts';
import type { Database, Statement } from './sqlite.ts';

/**
 * open: being written. frozen: no writer left, CID not known yet. sealed: immutable, hashed. remote:
 * immutable, known by its CID, and not all of it is here.
 */
export type ContentState = 'open' | 'frozen' | 'sealed' | 'remote';
/** packed: a row of `packed`. file: a backing file. memory: a backing file on tmpfs. */
export type ContentPlace = 'packed' | 'file' | 'memory';

export interface ContentRow {
  readonly id: ContentId;
  size: number;
  state: ContentState;
  place: ContentPlace;
  /** Inodes that show these bytes. */
  refs: number;
  /** 1 while the block store keeps the bytes whatever inodes do (added or pinned by CID). */
  held: number;
  cid: Buffer | null;
  profile: string | null;
  /** Second at which `refs` fell to 0; from then on only history wants the bytes. */
  released_s: number | null;
  /** 1 when the bytes are known to be on stable storage. */
  stable: number;
  /**
   * While the kernel may write its bytes past the daemon, the slot that is its backing file; 0 when
   * that is a file of its own. Else null.
   */
  slot: number | null;
}

/**
 * Where the bytes of an IPFS block lie. A position from 0 is a range of the content's bytes. A
 * negative one is byte `-1 - position` of its nodes: the inner nodes of its own DAG, which lie in
 * `packed` for content in a file of its own. A block may have a place in several contents.
 */
export interface BlockRow {
  readonly cid: Buffer;
  readonly content: ContentId;
  readonly position: number;
  readonly size: number;
}

/** Content on the disk that has a block, or is the file of that CID though its bytes are elsewhere. */
export interface PlaceRow extends Pick<ContentRow, 'id' | 'state' | 'refs' | 'held' | 'cid'> {}

export interface PinRow {
  readonly cid: Buffer;
  readonly type: 'recursive' | 'direct';
  readonly name: string | null;
  readonly time_s: number;
  readonly time_ns: number;
}

/** Bytes of files that are on the disk and have a CID, whole or in part. */
export interface Tally {
  readonly bytes: number;
  /** Number of the last object that was looked at; null: there are no more. */
  readonly last: ContentId | null;
}

/** A file and the object that it shows. */
export interface ShownRow {
  readonly ino: Ino;
  readonly atimeS: number;
  readonly atimeNs: number;
  readonly content: ContentId;
  readonly state: ContentState;
  readonly size: number;
  /** Bytes that are here: all of sealed content, what was fetched of remote content. */
  readonly bytes: number;
  readonly refs: number;
  readonly profile: string | null;
}

/**
 * Rows of `content` are written once per transaction, however often they change in it: when it
 * commits, before the first query that could see them, or when there are many.
 */
export class Contents {
  readonly #counters: Counters;
  /** Changed rows, which belong to their owner and change on; and the new ones among them. */
  readonly #changed = new Map<ContentId, ContentRow>();
  readonly #new = new Set<ContentId>();
  readonly #sql: Readonly<Record<keyof typeof SQL, Statement>>;
  /** Whether there may be any: in a new journal nobody is asked for each file of a tree. */
  #hasCids: boolean;
  #hasBlocks: boolean;

  constructor(db: Database, counters: Counters) {
    this.#counters = counters;
    const isAny = (rows: string) => db.prepare(`SELECT EXISTS (${rows})`).pluck().get() === 1;
    this.#hasCids = isAny('SELECT 1 FROM content WHERE cid IS NOT NULL');
    this.#hasBlocks = isAny('SELECT 1 FROM block');
    const prepared = Object.entries(SQL).map(([name, text]) => [name, db.prepare(text)]);
    this.#sql = Object.fromEntries(prepared) as Record<keyof typeof SQL, Statement>;
    for (const name of PLUCKED) this.#sql[name].pluck();
  }

  /** Inside a transaction, as every method here that changes something. */
  nextId(): ContentId {
    return this.#counters.next('content') as ContentId;
  }

  /** Numbers that are given to nothing. Inside a transaction. */
  skipIds(count: number): void {
    this.#counters.skip('content', count);
  }

  get(id: ContentId): ContentRow | undefined {
    return this.#query('get').get(id) as ContentRow | undefined;
  }

  /** The row as it is when the transaction commits. */
  insert(row: ContentRow): void {
    this.#new.add(row.id);
    this.update(row);
  }

  /** The same. */
  update(row: ContentRow): void {
    this.#hasCids ||= row.cid !== null;
    this.#changed.set(row.id, row);
    if (this.#changed.size >= CONTENTS_CACHED_MAX) this.flush();
  }

  /** Writes what changed. Inside the transaction. */
  flush(): void {
    for (const row of this.#changed.values()) {
      const { id, size, state, place, refs, held, cid, profile, released_s, stable, slot } = row;
      if (this.#new.has(id)) {
        const { insert } = this.#sql;
        insert.run(id, size, state, place, refs, held, cid, profile, released_s, stable, slot);
      } else {
        const { update } = this.#sql;
        update.run(size, state, place, refs, held, cid, profile, released_s, stable, slot, id);
      }
    }
    this.forget();
  }

  /** The transaction was rolled back: nothing of it is to be written. */
  forget(): void {
    if (this.#changed.size === 0) return;
    this.#changed.clear();
    this.#new.clear();
  }

  /** Removes the row, its packed bytes and its blocks. */
  delete(id: ContentId): void {
    this.#sql.deletePacked.run(id);
    this.#sql.deleteBlocks.run(id);
    this.#changed.delete(id);
    if (!this.#new.delete(id)) this.#sql.delete.run(id);
  }

  bytes(id: ContentId): Buffer | undefined {
    return this.#sql.bytes.get(id) as Buffer | undefined;
  }

  setBytes(id: ContentId, bytes: Buffer): void {
    this.#sql.setBytes.run(id, bytes);
  }

  deleteBytes(id: ContentId): void {
    this.#sql.deletePacked.run(id);
  }

  copyBytes(from: ContentId, to: ContentId): void {
    this.#sql.copyBytes.run(to, from);
  }

  /** At most `limit` frozen objects above `after`, oldest first: work for the sealer. */
  frozen(after: ContentId | 0, limit: number): ContentRow[] {
    return this.#query('frozen').all(after, limit) as ContentRow[];
  }

  /** Objects that were being written when the daemon died, or are now. */
  open(after: ContentId | 0, limit: number): ContentRow[] {
    return this.#query('open').all(after, limit) as ContentRow[];
  }

  /**
   * At most `limit` objects only history wants, released before `beforeS`, oldest first; without
   * those that an open write session would be undone to.
   */
  released(beforeS: number, limit: number): ContentRow[] {
    return this.#query('released').all(beforeS, limit) as ContentRow[];
  }

  /** As `released`, whenever that was, but of what is elsewhere nothing: it takes no room. */
  releasedHere(limit: number): ContentRow[] {
    return this.#query('releasedHere').all(limit) as ContentRow[];
  }

  /** Objects that files show and that have no CID yet: how many, and their bytes. */
  unsealed(): { files: number; bytes: number } {
    return this.#query('unsealed').get() as { files: number; bytes: number };
  }

  /** The same by superblock, those with none left out. Reads every inode when there are any. */
  unsealedBySuperblock(): { superblock: SuperblockId; files: number; bytes: number }[] {
    if (this.unsealed().files === 0) return [];
    type Row = { superblock: SuperblockId; files: number; bytes: number };
    return this.#query('unsealedBySuperblock').all() as Row[];
  }

  /** Bytes of all objects that are here, old ones too. Reads every row. */
  keptBytes(): number {
    return this.#query('keptBytes').get() as number;
  }

  /** Of at most `limit` objects above `after`; those in memory, and what no file shows, left out. */
  tally(after: ContentId | 0, limit: number): Tally {
    return this.#query('tally').get(after, limit) as Tally;
  }

  /** At most `limit` files above `after` whose content is known by its CID, and not in memory. */
  shown(after: Ino | 0, limit: number): ShownRow[] {
    return this.#query('shown').all(after, limit) as ShownRow[];
  }

  /** Bytes of all that `releasedHere` could give, and of what open write sessions keep. */
  releasedBytes(): number {
    return this.#query('releasedBytes').get() as number;
  }

  /** A page of all objects in ascending id. */
  page(after: ContentId | 0, limit: number): ContentRow[] {
    return this.#query('page').all(after, limit) as ContentRow[];
  }

  /** At most `limit` numbers above `after` of objects in files that no sync has brought to the disk as they are. */
  unstable(after: ContentId | 0, limit: number): ContentId[] {
    const rows = this.#query('unstable').all(after, limit) as { readonly id: ContentId }[];
    return rows.map(({ id }) => id);
  }

  /** A sealed object of this very CID; the root block of another DAG does not count. */
  byCid(cid: Buffer): ContentRow | undefined {
    if (!this.#hasCids) return undefined;
    return this.#query('byCid').get(cid) as ContentRow | undefined;
  }

  /** Remote content of this CID. */
  remoteByCid(cid: Buffer): ContentRow | undefined {
    if (!this.#hasCids) return undefined;
    return this.#query('remoteByCid').get(cid) as ContentRow | undefined;
  }

  /** At most `limit` numbers above `after`, and not far from it, of remote content of at most so many bytes. */
  remoteAfter(after: ContentId, bytesMax: number, limit: number): ContentId[] {
    const to = after + REMOTE_NEAR * limit;
    const rows = this.#query('remoteAfter').all(after, to, bytesMax, limit);
    return (rows as { readonly id: ContentId }[]).map(({ id }) => id);
  }

  /** The blocks that lie in the content's own bytes; those of inner nodes stay. */
  deleteLeaves(id: ContentId): void {
    this.#sql.deleteLeaves.run(id);
  }

  /** Nothing of remote content is here any more but inner nodes. */
  forgetFetched(): void {
    this.#query('forgetFetched').run();
  }

  block(cid: Buffer): BlockRow | undefined {
    if (!this.#hasBlocks) return undefined;
    return this.#query('block').get(cid) as BlockRow | undefined;
  }

  /** All content that has a part in keeping a block. */
  keepersOf(cid: Buffer): PlaceRow[] {
    return this.#query('keepersOf').all({ cid }) as PlaceRow[];
  }

  /**
   * The same in content that is all here: what was fetched of remote content may go at any time. Of several
   * places one that is held already.
   */
  lastingBlock(cid: Buffer): BlockRow | undefined {
    return this.#query('lastingBlock').get(cid) as BlockRow | undefined;
  }

  /** All places of a block, oldest content first. */
  blockPlaces(cid: Buffer): BlockRow[] {
    return this.#query('block').all(cid) as BlockRow[];
  }

  /** A block that the content has already keeps its place there. */
  insertBlock(row: BlockRow): void {
    this.#hasBlocks = true;
    this.#sql.insertBlock.run(row.cid, row.content, row.position, row.size);
  }

  blocksOf(id: ContentId): BlockRow[] {
    return this.#query('blocksOf').all(id) as BlockRow[];
  }

  /** The copy `to` holds the same blocks, and the same inner nodes of their DAG. */
  copyBlocks(from: ContentId, to: ContentId): void {
    this.#sql.copyBlocks.run(to, from);
    this.#sql.copyBytes.run(to, from);
  }

  deleteBlocks(id: ContentId): void {
    this.#sql.deleteBlocks.run(id);
  }

  /** A page of all blocks, once each, in bytewise order of their CIDs; start with no bytes. */
  blocks(after: Buffer, limit: number): BlockRow[] {
    return this.#query('blocks').all(after, limit) as BlockRow[];
  }

  /** All blocks, each counted once. Reads every row. */
  blockTotals(): { blocks: number; bytes: number } {
    return this.#query('blockTotals').get() as { blocks: number; bytes: number };
  }

  pin(cid: Buffer): PinRow | undefined {
    return this.#sql.pin.get(cid) as PinRow | undefined;
  }

  setPin(row: PinRow): void {
    this.#sql.setPin.run(row.cid, row.type, row.name, row.time_s, row.time_ns);
  }

  deletePin(cid: Buffer): void {
    this.#sql.deletePin.run(cid);
  }

  /** All pins in bytewise order of their CIDs. */
  pins(): PinRow[] {
    return this.#sql.pins.all() as PinRow[];
  }

  #query(name: keyof typeof SQL): Statement {
    if (this.#changed.size > 0) this.flush();
    return this.#sql[name];
  }
}

/** Bytes of an object `c` that are on the disk. */
const HERE = `iif(c.state = 'sealed', c.size, (SELECT coalesce(sum(b.size), 0) FROM block b
  WHERE b.content = c.id AND b.position >= 0))`;

/** Numbers passed over for each that is looked for. */
const REMOTE_NEAR = 4;

const SQL = {
  get: 'SELECT * FROM content WHERE id = ?',
  insert: 'INSERT INTO content VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  update: `UPDATE content SET size = ?, state = ?, place = ?, refs = ?, held = ?, cid = ?,
    profile = ?, released_s = ?, stable = ?, slot = ? WHERE id = ?`,
  delete: 'DELETE FROM content WHERE id = ?',
  bytes: 'SELECT bytes FROM packed WHERE content = ?',
  setBytes: 'INSERT OR REPLACE INTO packed VALUES (?, ?)',
  deletePacked: 'DELETE FROM packed WHERE content = ?',
  copyBytes: 'INSERT INTO packed SELECT ?, bytes FROM packed WHERE content = ?',
  frozen: `SELECT * FROM content WHERE state = 'frozen' AND id > ? ORDER BY id LIMIT ?`,
  open: `SELECT * FROM content WHERE state = 'open' AND id > ? ORDER BY id LIMIT ?`,
  released: `SELECT * FROM content WHERE refs = 0 AND held = 0 AND released_s < ?
    AND id NOT IN (SELECT old_content FROM write_session) ORDER BY released_s LIMIT ?`,
  releasedHere: `SELECT * FROM content WHERE refs = 0 AND held = 0 AND released_s IS NOT NULL
    AND state <> 'remote' AND id NOT IN (SELECT old_content FROM write_session)
    ORDER BY released_s LIMIT ?`,
  releasedBytes: `SELECT coalesce(sum(size), 0) FROM content
    WHERE refs = 0 AND held = 0 AND released_s IS NOT NULL AND state <> 'remote'`,
  // One SELECT for each state, because each has a partial index.
  unsealed: `SELECT count(*) AS files, coalesce(sum(size), 0) AS bytes FROM (
    SELECT size FROM content WHERE state = 'open' AND refs > 0 UNION ALL
    SELECT size FROM content WHERE state = 'frozen' AND refs > 0)`,
  unsealedBySuperblock: `SELECT superblock, count(*) AS files, coalesce(sum(content.size), 0) AS bytes
    FROM inode JOIN content ON content.id = inode.content
    WHERE state IN ('open', 'frozen') GROUP BY superblock`,
  keptBytes: `SELECT coalesce(sum(size), 0) FROM content WHERE state <> 'remote'`,
  tally: `SELECT max(id) AS last, coalesce(sum(iif(state IN ('sealed', 'remote') AND refs > 0
      AND place <> 'memory', ${HERE}, 0)), 0) AS bytes
    FROM (SELECT id, size, state, place, refs FROM content WHERE id > ? ORDER BY id LIMIT ?) c`,
  shown: `SELECT i.ino, i.atime_s AS atimeS, i.atime_ns AS atimeNs, c.id AS content, c.state, c.size,
      ${HERE} AS bytes, c.refs, c.profile
    FROM inode i JOIN content c ON c.id = i.content
    WHERE i.ino > ? AND c.state IN ('sealed', 'remote') AND c.place <> 'memory'
    ORDER BY i.ino LIMIT ?`,
  unstable: `SELECT id FROM content WHERE place = 'file' AND stable <> 1 AND id > ? ORDER BY id LIMIT ?`,
  page: 'SELECT * FROM content WHERE id > ? ORDER BY id LIMIT ?',
  byCid: `SELECT * FROM content WHERE cid = ? AND state = 'sealed' LIMIT 1`,
  remoteByCid: `SELECT * FROM content WHERE cid = ? AND state = 'remote' LIMIT 1`,
  remoteAfter: `SELECT id FROM content WHERE id > ? AND id <= ? AND state = 'remote' AND size <= ?
    ORDER BY id LIMIT ?`,
  deleteLeaves: 'DELETE FROM block WHERE content = ? AND position >= 0',
  forgetFetched: `DELETE FROM block WHERE position >= 0
    AND content IN (SELECT id FROM content WHERE state = 'remote')`,
  // What is being written again keeps its blocks until it is at rest, but they are no places then.
  block: `SELECT block.* FROM block JOIN content ON content.id = block.content
    WHERE block.cid = ? AND state <> 'open' ORDER BY content`,
  lastingBlock: `SELECT block.* FROM block JOIN content ON content.id = block.content
    WHERE block.cid = ? AND state NOT IN ('open', 'remote') ORDER BY held DESC, content LIMIT 1`,
  keepersOf: `SELECT c.id, c.state, c.refs, c.held, c.cid FROM block b JOIN content c ON c.id = b.content
      WHERE b.cid = @cid AND c.state <> 'open' AND c.place <> 'memory'
    UNION SELECT id, state, refs, held, cid FROM content WHERE cid = @cid AND state = 'remote'`,
  copyBlocks: 'INSERT INTO block SELECT cid, ?, position, size FROM block WHERE content = ?',
  insertBlock: 'INSERT OR IGNORE INTO block VALUES (?, ?, ?, ?)',
  blocksOf: 'SELECT * FROM block WHERE content = ? ORDER BY position',
  deleteBlocks: 'DELETE FROM block WHERE content = ?',
  blocks: `SELECT block.cid, min(content) AS content, position, block.size
    FROM block JOIN content ON content.id = block.content
    WHERE block.cid > ? AND state <> 'open' GROUP BY block.cid ORDER BY block.cid LIMIT ?`,
  blockTotals: `SELECT count(*) AS blocks, coalesce(sum(size), 0) AS bytes FROM (
    SELECT max(block.size) AS size FROM block JOIN content ON content.id = block.content
    WHERE state <> 'open' GROUP BY block.cid)`,
  pin: 'SELECT * FROM pin WHERE cid = ?',
  setPin: 'INSERT OR REPLACE INTO pin VALUES (?, ?, ?, ?, ?)',
  deletePin: 'DELETE FROM pin WHERE cid = ?',
  pins: 'SELECT * FROM pin ORDER BY cid',
} as const;

const PLUCKED = ['bytes', 'keptBytes', 'releasedBytes'] as const;
