/** How rows of content, blocks, records and counts are put in order. */
import { hash } from 'node:crypto';
import { NO_CONTENT, nameOfText } from '../base/ids.ts';
import { isRegular, S_IFMT, S_IFREG } from '../base/posix.ts';
import type { BrokenRow } from './check.ts';
import type { ContentRow } from './contents.ts';
import type { InodeRow } from './inodes.ts';
import { left, type Mend, type Mended, type Mending, repaired, SETTLED } from './mending.ts';
import {
  contentOfRecords,
  lose,
  lostContent,
  packedAgain,
  quarantineBytes,
  recountRefs,
  show,
  unseal,
} from './mending-bytes.ts';

const NOTHING = Buffer.alloc(0);
const RAW_SHA2_256 = Buffer.from([0x01, 0x55, 0x12, 0x20]);

const contentOf = (mending: Mending, { content }: BrokenRow): ContentRow | undefined =>
  content === undefined ? undefined : mending.journal.contents.get(content);

const contentFields: Mend = (mending, row) => {
  const content = contentOf(mending, row);
  if (content === undefined) return SETTLED;
  const packed = mending.journal.contents.bytes(content.id)?.length ?? 0;
  const size = content.size < 0 && content.place === 'packed' ? packed : Math.max(0, content.size);
  // A mark that means nothing tells of nothing that the disk has.
  const stable = [0, 1, 2].includes(content.stable) ? content.stable : 0;
  const flags = { held: Number(content.held !== 0), stable };
  mending.journal.contents.update({ ...content, ...flags, size });
  recountRefs(mending, content.id);
  return repaired('its fields are in order');
};

/** A file whose bytes have no row: they may be there all the same. */
const inodeContent: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined) return SETTLED;
  const { content, size } = row;
  const { contents } = mending.journal;
  if (!isRegular(row.mode)) {
    if (content === NO_CONTENT) return SETTLED;
    show(mending, row, undefined);
    const path = mending.pathOf(row.ino);
    mending.record({ ino: row.ino, path, before: { content } });
    return repaired('it shows no content, for it is no regular file');
  }
  const isWhole = content === NO_CONTENT ? size === 0 : contents.get(content) !== undefined;
  if (isWhole) return SETTLED;
  const again = rowAgain(mending, row) ?? contentOfRecords(mending, row.ino);
  const found = again?.size === size ? again : undefined;
  show(mending, row, found ?? lostContent(mending, size));
  const path = mending.pathOf(row.ino);
  const oldContent = content === NO_CONTENT ? undefined : content;
  mending.record({ ino: row.ino, path, content: row.content, oldContent, size, oldSize: size });
  return found === undefined
    ? left('its bytes are lost: reading it is EIO')
    : repaired(`its bytes are those of content ${found.id}`);
};

/** The row of bytes that lie where it would say. */
function rowAgain(mending: Mending, { content, size }: InodeRow): ContentRow | undefined {
  if (content === NO_CONTENT) return undefined;
  const packed = mending.journal.contents.bytes(content)?.length;
  const filed = mending.files.sizeOf(content) ?? -1;
  const isPacked = packed === size;
  if (!isPacked && filed < size) return undefined;
  const row: ContentRow = {
    id: content,
    size,
    ...{ state: 'frozen', place: isPacked ? 'packed' : 'file', refs: 0, held: 0, cid: null },
    ...{ profile: null, released_s: null, stable: 0, slot: null },
  };
  mending.journal.contents.deleteBlocks(content);
  if (!isPacked) mending.journal.contents.deleteBytes(content);
  mending.journal.contents.insert(row);
  return row;
}

/** What was hashed is hashed again: a CID and its blocks can be had from the bytes at any time. */
const hashedAgain: Mend = (mending, row) => {
  const content = contentOf(mending, row);
  if (content === undefined) {
    if (row.content !== undefined) mending.journal.contents.deleteBlocks(row.content);
    return repaired('blocks of what is not there are forgotten');
  }
  if (content.state === 'remote') {
    mending.journal.contents.deleteBlocks(content.id);
    mending.journal.contents.deleteBytes(content.id);
    return repaired('nothing of it is here: it is fetched again');
  }
  // A block that is no file by itself has no CID but its own.
  if (content.state === 'sealed' && content.cid === null && content.profile === null) {
    return ownBlockAgain(mending, content);
  }
  unseal(mending, content);
  return repaired('its CID and its blocks are computed anew by the next start');
};

/** Without a CID nobody can be asked for the bytes; with one the rest can be said again. */
const contentRemote: Mend = (mending, row) => {
  const content = contentOf(mending, row);
  if (content?.state !== 'remote') return SETTLED;
  if (content.cid === null || content.size <= 0) return loseBytes(mending, content, undefined);
  mending.journal.contents.deleteBlocks(content.id);
  mending.journal.contents.deleteBytes(content.id);
  const place = content.place === 'memory' ? 'file' : content.place;
  const profile = content.profile ?? 'foreign';
  mending.journal.contents.update({ ...content, profile, place });
  return repaired('nothing of it is here: it is fetched again');
};

function ownBlockAgain(mending: Mending, { id, size }: ContentRow): Mended {
  const places = mending.journal.contents.blocksOf(id);
  const [block] = places;
  if (block === undefined || places.length > 1) return left('which blocks it holds is not known');
  mending.run('UPDATE block SET position = 0, size = ? WHERE content = ?', size, id);
  return repaired('the block is the whole of it');
}

/** A slot is for what is being written; who has none lies under its own name. */
const contentSlot: Mend = (mending, row) => {
  const content = contentOf(mending, row);
  if (content === undefined || content.slot === null) return SETTLED;
  const sql = 'SELECT max(id) AS newest FROM content WHERE slot = ?';
  const newest = mending.get<{ newest: number }>(sql, content.slot)?.newest;
  const isAlone = content.slot === 0 || newest === content.id;
  if (content.state === 'open' && content.place === 'file' && isAlone) return SETTLED;
  mending.journal.contents.update({ ...content, slot: null });
  return repaired('it lies under its own name');
};

/** Of packed content its row, its inode and its bytes tell a length: two of them are right. */
const packedBytes: Mend = (mending, row) => {
  const { contents } = mending.journal;
  if (row.content === undefined) return SETTLED;
  const content = contentOf(mending, row);
  const bytes = contents.bytes(row.content);
  if (content === undefined) return bytesOfNobody(mending, row.content, bytes);
  const length = bytes?.length ?? 0;
  if (length === content.size) return SETTLED;
  const [ino] = mending.journal.inodes.showing(content.id);
  const inode = mending.inode(ino);
  const isProven =
    content.cid === null ? inode?.size === length : isOf(content.cid, bytes ?? NOTHING);
  if (bytes !== undefined && isProven) {
    contents.update({ ...content, size: length });
    return repaired(`it has ${length} bytes`);
  }
  return loseBytes(mending, content, bytes);
};

/** Whether these are the bytes of a CID: version 1, raw, SHA2-256 (multiformats). */
const isOf = (cid: Buffer, bytes: Buffer): boolean =>
  cid.equals(Buffer.concat([RAW_SHA2_256, hash('sha256', bytes, 'buffer')]));

function bytesOfNobody(mending: Mending, content: number, bytes: Buffer | undefined): Mended {
  if (bytes === undefined) return SETTLED;
  mending.run('DELETE FROM packed WHERE content = ?', content);
  return quarantineBytes(mending, `content-${content}`, bytes);
}

/**
 * The bytes of an object are not what they should be: it is lost, and what is left of its bytes
 * lies in `lost+found`. `kept`: packed ones, or the row of an object that has them already.
 */
export function loseBytes(
  mending: Mending,
  content: ContentRow,
  kept: Buffer | Pick<ContentRow, 'size' | 'id'> | undefined,
): Mended {
  const [ino] = mending.journal.inodes.showing(content.id);
  const inode = mending.inode(ino);
  const there = Buffer.isBuffer(kept) ? packedAgain(mending, kept) : kept;
  lose(mending, content);
  // Where the kernel wrote by itself, the inode knows the size and not the object.
  if (inode !== undefined && content.slot !== null) {
    const row = mending.journal.contents.get(content.id);
    if (row !== undefined) mending.journal.contents.update({ ...row, size: inode.size });
  }
  const path = inode === undefined ? nameOfText('/') : mending.pathOf(inode.ino);
  const oldCid = content.cid ?? undefined;
  const after = { lost: inode !== undefined, kept: there?.id };
  mending.record({ ino: ino ?? 0, path, oldContent: content.id, oldCid, after });
  const state = inode === undefined ? '' : 'reading the file is EIO; ';
  if (there === undefined || there.size === 0) return left(`${state}nothing of its bytes is left`);
  const number = ino === undefined ? '' : `#${ino}-`;
  const label = `${number}content-${content.id}`;
  const done = mending.quarantineContent(inode?.superblock, label, there, inode);
  recountRefs(mending, there.id);
  return { ...done, action: `${state}what is left of its bytes: ${done.action}` };
}

const inodeSize: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  const content = row && mending.journal.contents.get(row.content);
  if (row === undefined || content === undefined || content.slot !== null) return SETTLED;
  if (row.size === content.size) return SETTLED;
  const { size } = row;
  row.size = content.size;
  return mending.change(row, { size });
};

/** As the query counted: to count for each anew would read all inodes each time. */
const contentRefs: Mend = (mending, row) => {
  const content = contentOf(mending, row);
  if (content === undefined || row.used === undefined) return SETTLED;
  mending.journal.contents.update({ ...content, refs: row.used });
  return repaired(`it is shown by ${row.used}`);
};

const contentOfNobody: Mend = (mending, row) => {
  const content = contentOf(mending, row);
  if (content === undefined || content.refs > 0 || content.held === 1) return SETTLED;
  if (content.size === 0) {
    mending.journal.contents.delete(content.id);
    return repaired('it is gone: it had no bytes');
  }
  const done = mending.quarantineContent(undefined, `content-${content.id}`, content);
  recountRefs(mending, content.id);
  return done;
};

/** What only people can do about what no repair mends. */
export const ADVICE: Readonly<Record<string, string>> = {
  'content-lost': 'remove the file, or write it anew',
  'pin-block': 'add the content again, or take the pin away',
  chain: 'what was recorded cannot be made again; what is recorded from now on is chained',
};
const unmendable: Mend = (mending) => left(ADVICE[mending.check] ?? '');

const actorAgain: Mend = (mending, { missing }) => {
  const known = mending.get('SELECT 1 FROM actor WHERE id = ?', missing);
  if (missing === undefined || known !== undefined) return SETTLED;
  const sql = `INSERT INTO actor (id, surface, uid, gid, client) VALUES (?, 'daemon', ?, ?, 'lost')`;
  const nobody = 65_534;
  mending.run(sql, missing, nobody, nobody);
  return repaired('who it was is lost: it is called so');
};

const counter: Mend = (mending, { counter: name, used }) => {
  if (name === undefined || used === undefined) return SETTLED;
  mending.run('INSERT OR REPLACE INTO meta VALUES (?, ?)', `next_${name}`, used + 1);
  mending.journal.counters.forget();
  return repaired(`the next one is ${used + 1}`);
};

const usage: Mend = (mending, { superblock }) => {
  mending.run('DELETE FROM usage WHERE superblock = ?', superblock);
  mending.run(
    `INSERT INTO usage SELECT superblock, count(*), sum(iif(mode & ${S_IFMT} = ${S_IFREG}, size, 0))
      FROM inode WHERE superblock = ? GROUP BY superblock`,
    superblock,
  );
  return repaired('it is counted again');
};

export const CONTENT_MENDS: Readonly<Record<string, Mend>> = {
  counters: counter,
  'content-fields': contentFields,
  'inode-content': inodeContent,
  'content-sealed': hashedAgain,
  'content-remote': contentRemote,
  'content-slot': contentSlot,
  'packed-bytes': packedBytes,
  'inode-size': inodeSize,
  'content-refs': contentRefs,
  'content-owner': contentOfNobody,
  'block-range': hashedAgain,
  'block-root': hashedAgain,
  'content-lost': unmendable,
  'pin-block': unmendable,
  'record-actor': actorAgain,
  'session-actor': actorAgain,
  usage,
};
