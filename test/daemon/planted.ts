/** Corruptions: how each is planted, what fsck calls it, what a repair makes of it. */
import {
  linkSync,
  mkdirSync,
  readFileSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { noise } from '../content/fixture.ts';
import { type Damaged, DEEP, FROZEN, LARGE, LINKED, PACKED } from './kept-state.ts';

export interface Corruption {
  readonly title: string;
  readonly check: string;
  readonly plant: (state: Damaged) => void;
  /** Of the finding, after a repair. */
  readonly outcome: 'repaired' | 'quarantined' | 'left';
  /** Paths that show something else afterwards, or nothing. */
  readonly touched?: readonly string[];
  /** Paths whose bytes are lost: reading them fails. */
  readonly lost?: readonly string[];
  /** Names in `/ipfs/lost+found`; INO and CONTENT stand for numbers. */
  readonly found?: readonly string[];
  /** Checks that a second look still finds. */
  readonly left?: readonly string[];
}

const flip = (path: string, position: number): void => {
  const bytes = readFileSync(path);
  bytes[position] = (bytes[position] ?? 0) ^ 1;
  writeFileSync(path, bytes);
};

const set = (table: string, change: string) => (path: string) => (state: Damaged) =>
  state.sql(`UPDATE ${table} SET ${change} WHERE ino = ${state.ino(path)}`);
const inode = (change: string, path: string) => set('inode', change)(path);
const content = (change: string, path: string) => (state: Damaged) =>
  state.sql(`UPDATE content SET ${change} WHERE id = ${state.content(path)}`);

/** Names below a directory that was lost. */
const DEEP_TREE = ['/ipfs/docs/deep', '/ipfs/docs/deep/er', DEEP, '/ipfs/docs/deep/again'];

export const NAMES: readonly Corruption[] = [
  {
    title: 'a counter below a number in use',
    check: 'counters',
    plant: (s) => s.sql(`UPDATE meta SET value = 3 WHERE key = 'next_ino'`),
    outcome: 'repaired',
  },
  {
    title: 'a counter that is gone',
    check: 'counters',
    plant: (s) => s.sql(`DELETE FROM meta WHERE key = 'next_content'`),
    outcome: 'repaired',
  },
  {
    title: 'an inode of no type, with times of no second',
    check: 'inode-fields',
    plant: inode('mode = 420, mtime_ns = 2000000000, uid = -1', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'options of a tree that are no JSON',
    check: 'superblock-fields',
    plant: (s) => s.sql(`UPDATE superblock SET options = '{oops' WHERE kind = 'ipfs'`),
    outcome: 'repaired',
  },
  {
    title: 'no superblock of the root',
    check: 'superblock-fields',
    plant: (s) => s.sql('DELETE FROM superblock WHERE id = 1'),
    outcome: 'repaired',
  },
  {
    title: 'a tree whose root is a file',
    check: 'superblock-root',
    plant: (s) => s.sql(`UPDATE superblock SET root = ${s.ino(PACKED)} WHERE kind = 'ipfs'`),
    outcome: 'repaired',
  },
  {
    title: 'a tree whose root is gone',
    check: 'superblock-root',
    plant: (s) => s.sql(`DELETE FROM inode WHERE ino = ${s.ino('/ipfs')}`),
    outcome: 'repaired',
    touched: ['/ipfs'],
  },
  {
    title: 'an entry that names nothing',
    check: 'dentry-inode',
    plant: (s) => s.sql(`INSERT INTO dentry VALUES (${s.ino('/ipfs/docs')}, x'7a', 999, 900)`),
    outcome: 'repaired',
  },
  {
    title: 'an inode that is gone, whose bytes a record names',
    check: 'dentry-inode',
    plant: (s) => s.sql(`DELETE FROM inode WHERE ino = ${s.ino(LARGE)}`),
    outcome: 'quarantined',
    touched: [LARGE],
    found: ['#INO-large'],
  },
  {
    title: 'an entry in a directory that is gone',
    check: 'dentry-parent',
    plant: (s) => s.sql(`UPDATE dentry SET parent = 999 WHERE ino = ${s.ino(PACKED)}`),
    outcome: 'quarantined',
    touched: [PACKED],
    found: ['#INO-packed'],
  },
  {
    title: 'an entry in a file',
    check: 'dentry-parent',
    plant: (s) =>
      s.sql(`UPDATE dentry SET parent = ${s.ino(LARGE)} WHERE ino = ${s.ino('/ipfs/docs/deep')}`),
    outcome: 'quarantined',
    touched: DEEP_TREE,
    found: ['#INO-deep'],
  },
  {
    title: 'a name that no program could ask for',
    check: 'dentry-name',
    plant: (s) => s.sql(`UPDATE dentry SET name = x'612f62' WHERE ino = ${s.ino(PACKED)}`),
    outcome: 'quarantined',
    touched: [PACKED],
    found: ['#INO-a_b'],
  },
  {
    title: 'a directory with two names',
    check: 'directory-name',
    plant: (s) =>
      s.sql(
        `INSERT INTO dentry VALUES (${s.ino('/ipfs')}, x'7a', ${s.ino('/ipfs/docs/deep')}, 900)`,
      ),
    outcome: 'repaired',
  },
  {
    title: 'a directory without a name',
    check: 'directory-name',
    plant: (s) => s.sql(`DELETE FROM dentry WHERE ino = ${s.ino('/ipfs/docs/deep')}`),
    outcome: 'quarantined',
    touched: DEEP_TREE,
    found: ['#INO-deep'],
  },
  {
    title: 'a directory that counts as removed, and has a name and entries',
    check: 'directory-removed',
    plant: inode('nlink = 0', '/ipfs/docs/deep'),
    outcome: 'repaired',
  },
  {
    title: 'a cycle of directories',
    check: 'reachable',
    plant: (s) => {
      const [deep, er] = [s.ino('/ipfs/docs/deep'), s.ino('/ipfs/docs/deep/er')];
      s.sql(`UPDATE dentry SET parent = ${er} WHERE ino = ${deep};
        UPDATE inode SET parent = ${er} WHERE ino = ${deep};
        UPDATE inode SET nlink = 3 WHERE ino = ${er};
        UPDATE inode SET nlink = nlink - 1 WHERE ino = ${s.ino('/ipfs/docs')}`);
    },
    outcome: 'quarantined',
    touched: DEEP_TREE,
    found: ['#INO-deep'],
  },
  {
    title: 'a directory that thinks it is elsewhere',
    check: 'directory-parent',
    plant: inode('parent = 1', '/ipfs/docs/deep'),
    outcome: 'repaired',
  },
  {
    title: 'a file that knows a directory above it',
    check: 'parent-zero',
    plant: inode('parent = 1', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'a file of no tree',
    check: 'inode-superblock',
    plant: inode('superblock = 77', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'a superblock that is gone, with its tree',
    check: 'directory-name',
    plant: (s) =>
      s.sql(`INSERT INTO inode SELECT 500, generation, 77, mode, uid, gid, 2, size, rdev, atime_s,
        atime_ns, mtime_s, mtime_ns, ctime_s, ctime_ns, btime_s, btime_ns, 0, 0, 1
        FROM inode WHERE ino = ${s.ino('/ipfs/docs')}`),
    outcome: 'quarantined',
    found: ['#500'],
  },
  {
    title: 'a file of another tree than its directory',
    check: 'dentry-superblock',
    plant: inode('superblock = 1', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'a file with a wrong number of names',
    check: 'file-links',
    plant: inode('nlink = 7', LINKED),
    outcome: 'repaired',
  },
  {
    title: 'a file without a name',
    check: 'file-links',
    plant: (s) => s.sql(`DELETE FROM dentry WHERE ino = ${s.ino(LARGE)}`),
    outcome: 'quarantined',
    touched: [LARGE],
    found: ['#INO-large'],
  },
  {
    title: 'a directory with a wrong number of links',
    check: 'directory-links',
    plant: inode('nlink = 9', '/ipfs/docs'),
    outcome: 'repaired',
  },
  {
    title: 'a directory of a strange size',
    check: 'directory-size',
    plant: inode('size = 1', '/ipfs/docs'),
    outcome: 'repaired',
  },
  {
    title: 'a symbolic link without a target',
    check: 'symlink-target',
    plant: (s) => s.sql('DELETE FROM symlink'),
    outcome: 'quarantined',
    touched: ['/ipfs/docs/link'],
    found: ['#INO-link'],
  },
  {
    title: 'a target without a symbolic link',
    check: 'symlink-target',
    plant: (s) => s.sql(`INSERT INTO symlink VALUES (400, x'61')`),
    outcome: 'quarantined',
    found: ['#400'],
  },
  {
    title: 'a target of what is no symbolic link',
    check: 'symlink-target',
    plant: (s) => s.sql(`INSERT INTO symlink VALUES (${s.ino(PACKED)}, x'61')`),
    outcome: 'repaired',
  },
  {
    title: 'a symbolic link of another size than its target',
    check: 'symlink-size',
    plant: inode('size = 99', '/ipfs/docs/link'),
    outcome: 'repaired',
  },
  {
    title: 'attributes of nobody',
    check: 'xattr-inode',
    plant: (s) => s.sql(`INSERT INTO xattr VALUES (400, CAST('user.x' AS BLOB), x'01')`),
    outcome: 'quarantined',
    found: ['#400'],
  },
  {
    title: 'a write session of nobody',
    check: 'session-inode',
    plant: (s) => s.sql(`INSERT INTO write_session VALUES (1, 400, 1, x'2f61', 1, 0, 0, 0, '{}')`),
    outcome: 'repaired',
  },
  {
    title: 'a write session that does not know what was before',
    check: 'session-fields',
    plant: (s) =>
      s.sql(`INSERT INTO write_session VALUES (1, ${s.ino(PACKED)}, 1, x'2f61', 1, 0, 999, 0, '')`),
    outcome: 'repaired',
  },
  {
    title: 'a mount of no superblock',
    check: 'mount-superblock',
    plant: (s) => s.sql(`INSERT INTO mount VALUES (x'2f78', 'm9', 77)`),
    outcome: 'repaired',
  },
  {
    title: 'a mount below nothing',
    check: 'mount-point',
    plant: (s) => s.sql(`INSERT INTO mount VALUES (CAST('/no/where' AS BLOB), 'm9', 1)`),
    outcome: 'repaired',
  },
];

export const BYTES: readonly Corruption[] = [
  {
    title: 'a content row with flags that are none',
    check: 'content-fields',
    plant: content('held = 5, refs = -2', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'content of a directory',
    check: 'inode-content',
    plant: inode('content = 1', '/ipfs/docs'),
    outcome: 'repaired',
  },
  {
    title: 'a file that forgot its content, which a record names',
    check: 'inode-content',
    plant: inode('content = 0', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'a content row that is gone, with its bytes in a file',
    check: 'inode-content',
    plant: (s) => s.sql(`DELETE FROM content WHERE id = ${s.content(LARGE)}`),
    outcome: 'repaired',
  },
  {
    title: 'a content row that is gone, with its packed bytes',
    check: 'inode-content',
    plant: (s) => s.sql(`DELETE FROM content WHERE id = ${s.content(PACKED)}`),
    outcome: 'repaired',
  },
  {
    title: 'a content row that is gone with everything of it',
    check: 'inode-content',
    plant: (s) => {
      unlinkSync(s.backing(FROZEN));
      s.sql(`DELETE FROM content WHERE id = ${s.content(FROZEN)}`);
    },
    outcome: 'left',
    lost: [FROZEN],
    left: ['content-lost'],
  },
  {
    title: 'a CID of what is being written',
    check: 'content-sealed',
    plant: content(`state = 'frozen'`, LARGE),
    outcome: 'repaired',
  },
  {
    title: 'a CID of no profile',
    check: 'content-sealed',
    plant: content('profile = NULL', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'a slot of what is at rest',
    check: 'content-slot',
    plant: content('slot = 9', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'a row of packed content that tells another length',
    check: 'packed-bytes',
    plant: content('size = 3', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'packed bytes that were cut',
    check: 'packed-bytes',
    plant: (s) => s.sql(`UPDATE packed SET bytes = x'0102' WHERE content = ${s.content(PACKED)}`),
    outcome: 'quarantined',
    lost: [PACKED],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'packed bytes that are gone',
    check: 'packed-bytes',
    plant: (s) => s.sql(`DELETE FROM packed WHERE content = ${s.content(PACKED)}`),
    outcome: 'left',
    lost: [PACKED],
    left: ['content-lost'],
  },
  {
    title: 'packed bytes of no content',
    check: 'packed-bytes',
    plant: (s) => s.sql(`INSERT INTO packed VALUES (900, x'616263')`),
    outcome: 'quarantined',
    found: ['content-900'],
  },
  {
    title: 'a file of another size than its bytes',
    check: 'inode-size',
    plant: inode('size = 5', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'content with a wrong number of files',
    check: 'content-refs',
    plant: content('refs = 4', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'content of nobody',
    check: 'content-owner',
    plant: (s) =>
      s.sql(`INSERT INTO content VALUES (901, 3, 'frozen', 'packed', 0, 0, NULL, NULL, NULL, 1, NULL);
        INSERT INTO packed VALUES (901, x'616263')`),
    outcome: 'quarantined',
    found: ['content-901'],
  },
  {
    title: 'a block beyond the end of its content',
    check: 'block-range',
    plant: (s) =>
      s.sql(`UPDATE block SET size = 300000 WHERE content = ${s.content(LARGE)} AND position = 0`),
    outcome: 'repaired',
  },
  {
    title: 'blocks of no content',
    check: 'block-range',
    plant: (s) => s.sql(`INSERT INTO block VALUES (x'01', 900, 0, 3)`),
    outcome: 'repaired',
  },
  {
    title: 'a CID without its block',
    check: 'block-root',
    plant: (s) => s.sql(`DELETE FROM block WHERE content = ${s.content(PACKED)}`),
    outcome: 'repaired',
  },
  {
    title: 'a pin of what is not here',
    check: 'pin-block',
    plant: (s) => s.sql(`INSERT INTO pin VALUES (x'01551220ff', 'direct', NULL, 1, 0)`),
    outcome: 'left',
    left: ['pin-block'],
  },
  {
    title: 'a record of an actor that is gone',
    check: 'record-actor',
    plant: (s) => s.sql('DELETE FROM actor'),
    outcome: 'repaired',
  },
  {
    title: 'a write session of an actor that is gone',
    check: 'session-actor',
    plant: (s) =>
      s.sql(
        `INSERT INTO write_session VALUES (1, ${s.ino(PACKED)}, 88, x'2f61', 1, 0, 0, 0, '{}')`,
      ),
    outcome: 'repaired',
  },
  {
    title: 'a wrong sum of what a tree holds',
    check: 'usage',
    plant: (s) => s.sql('UPDATE usage SET bytes = 1, inodes = 1'),
    outcome: 'repaired',
  },
  {
    title: 'a journal that does not know its end',
    check: 'chain',
    plant: (s) => s.sql(`DELETE FROM meta WHERE key = 'head'`),
    outcome: 'repaired',
  },
  {
    title: 'a record that was changed',
    check: 'chain',
    plant: (s) => s.sql(`UPDATE op SET path = x'2f6f74686572' WHERE seq = 5`),
    outcome: 'left',
    left: ['chain'],
  },
  {
    title: 'records that are gone from the end',
    check: 'chain',
    plant: (s) => s.sql('DELETE FROM op WHERE seq = (SELECT max(seq) FROM op)'),
    outcome: 'left',
    left: ['chain'],
  },
];

export const DISK: readonly Corruption[] = [
  {
    title: 'a bit of a large file that turned',
    check: 'bytes-cid',
    plant: (s) => flip(s.backing(LARGE), 100_000),
    outcome: 'quarantined',
    lost: [LARGE],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'a bit of a packed file that turned',
    check: 'bytes-cid',
    plant: (s) => {
      const id = s.content(PACKED);
      s.sql(
        `UPDATE packed SET bytes = CAST('THE' || substr(bytes, 4) AS BLOB) WHERE content = ${id}`,
      );
    },
    outcome: 'quarantined',
    lost: [PACKED],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'a large file that was cut',
    check: 'bytes-size',
    plant: (s) => truncateSync(s.backing(LARGE), 1000),
    outcome: 'quarantined',
    lost: [LARGE],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'a large file that is gone',
    check: 'bytes-size',
    plant: (s) => unlinkSync(s.backing(LARGE)),
    outcome: 'left',
    lost: [LARGE],
    left: ['content-lost'],
  },
  {
    title: 'bytes of two names that are gone',
    check: 'packed-bytes',
    plant: (s) => s.sql(`DELETE FROM packed WHERE content = ${s.content(LINKED)}`),
    outcome: 'left',
    lost: [LINKED, '/ipfs/docs/deep/again'],
    left: ['content-lost'],
  },
  {
    title: 'a block kept by its CID alone, whose bytes turned',
    check: 'bytes-block',
    plant: (s) => {
      const id = s.number(
        `SELECT id FROM content WHERE held = 1 AND cid IS NULL AND place = 'packed'
          AND id NOT IN (SELECT b.content FROM block b JOIN pin p ON p.cid = b.cid) ORDER BY id LIMIT 1`,
      );
      s.sql(`UPDATE packed SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) || 'x' AS BLOB)
        WHERE content = ${id}`);
    },
    outcome: 'quarantined',
    found: ['content-*'],
  },
  {
    title: 'a file of nobody',
    check: 'stray-file',
    plant: (s) => {
      mkdirSync(dirname(s.backingOf(910)), { recursive: true });
      writeFileSync(s.backingOf(910), noise(70_000, 4));
    },
    outcome: 'quarantined',
    found: ['content-910'],
  },
  {
    title: 'a slot of nobody',
    check: 'stray-file',
    plant: (s) => {
      const slots = join(s.directory, 'content', 'slots');
      mkdirSync(slots, { recursive: true });
      writeFileSync(join(slots, '44'), noise(70_000, 4));
      // Empty ones, and second names of what is known, are nobody's loss.
      writeFileSync(join(slots, '45'), '');
      linkSync(s.backing(LARGE), join(slots, '46'));
    },
    outcome: 'quarantined',
    found: ['slot-44'],
  },
];
