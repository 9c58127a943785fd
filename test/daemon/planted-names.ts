/** Corruptions of names, directories and inodes. */
import { DEEP, LARGE, LINKED, PACKED } from './kept-state.ts';
import { type Corruption, inode } from './planted.ts';

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
    plant: (s) =>
      s.sql(`INSERT INTO write_session VALUES (1, 400, 1, x'2f61', 1, 0, 0, 0, '{}', 0)`),
    outcome: 'repaired',
  },
  {
    title: 'a write session that does not know what was before',
    check: 'session-fields',
    plant: (s) =>
      s.sql(
        `INSERT INTO write_session VALUES (1, ${s.ino(PACKED)}, 1, x'2f61', 1, 0, 999, 0, '', 0)`,
      ),
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
