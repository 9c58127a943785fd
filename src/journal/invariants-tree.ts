/** The rules of the namespace, in the order in which they are repaired. */
import { ROOT_INO } from '../base/ids.ts';
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../base/posix.ts';
import { type Invariant, isDirectory, isRegular, isRoot, isSymlink } from './invariant.ts';

const TYPES = [S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK].join(', ');
const BAD_OWNER = ['uid', 'gid'].map((id) => `${id} NOT BETWEEN 0 AND 4294967295`).join(' OR ');
const BAD_TIMES = ['atime', 'mtime', 'ctime', 'btime']
  .map((time) => `${time}_ns NOT BETWEEN 0 AND 999999999`)
  .join(' OR ');
/** Bytes up to and with the next slash of a mount point that is walked; 0: none. */
const STEP = "instr(substr(point, position), x'2f')";

/** The largest number of a column; one that no counter could reach is the business of other rules. */
const largestOf = (column: string) => {
  const [table, name] = column.split('.');
  return `SELECT max(${name}) AS used FROM ${table} WHERE ${name} BETWEEN 1 AND ${2 ** 52}`;
};

/** The largest number of a kind in use must be below the next one its counter gives. */
const counter = (kind: string, columns: readonly string[]) => `
  SELECT '${kind}' AS counter, used, 'next_${kind} above ' || used AS expected,
    coalesce(value, 'none') AS actual
  FROM (SELECT max(used) AS used FROM (${columns.map(largestOf).join(' UNION ALL ')}))
    LEFT JOIN meta ON key = 'next_${kind}'
  WHERE used IS NOT NULL AND coalesce(CAST(value AS INTEGER), 0) <= used`;

export const TREE: readonly Invariant[] = [
  {
    name: 'counters',
    scope: 'tree',
    severity: 'minor',
    sql: [
      counter('ino', ['inode.ino', 'symlink.ino', 'xattr.ino', 'op.ino', 'op.parent']),
      counter('cookie', ['dentry.cookie']),
      counter('content', [
        'content.id',
        'inode.content',
        'packed.content',
        'op.content',
        'op.old_content',
      ]),
      counter('write_session', ['write_session.id']),
      counter('connection', ['op.generation', 'answer.generation']),
    ].join(' UNION ALL '),
  },
  {
    name: 'inode-fields',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT i.ino, 'a type, and numbers in their ranges' AS expected,
        printf('mode %o, size %d, nlink %d, owner %d:%d', mode, size, nlink, uid, gid) AS actual
      FROM inode i WHERE (mode & ${S_IFMT}) NOT IN (${TYPES}) OR mode NOT BETWEEN 0 AND 65535
        OR size < 0 OR nlink < 0 OR generation <> 1 OR ${BAD_OWNER} OR ${BAD_TIMES}`,
  },
  {
    name: 'superblock-fields',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT id AS superblock, 'a flag in each flag, and a JSON object of options' AS expected,
        printf('%d, %d, %s', volatile, read_only, options) AS actual
      FROM superblock WHERE volatile NOT IN (0, 1) OR read_only NOT IN (0, 1)
        OR NOT json_valid(options) OR iif(json_valid(options), json_type(options), '') <> 'object'
      UNION ALL SELECT 1 AS superblock, 'the superblock of the root' AS expected, 'none' AS actual
      WHERE EXISTS (SELECT 1 FROM inode) AND NOT EXISTS (SELECT 1 FROM superblock WHERE id = 1)`,
  },
  {
    name: 'superblock-root',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT s.root AS ino, s.id AS superblock, 'a directory as root of superblock ' || s.id AS expected,
        iif(i.ino IS NULL, 'no such inode', 'not a directory') AS actual
      FROM superblock s LEFT JOIN inode i ON i.ino = s.root
      WHERE i.ino IS NULL OR NOT ${isDirectory('i')}`,
  },
  {
    name: 'dentry-inode',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT d.parent, d.name, d.ino AS child, 'inode ' || d.ino AS expected, 'no such inode' AS actual
      FROM dentry d LEFT JOIN inode i ON i.ino = d.ino WHERE i.ino IS NULL`,
  },
  {
    name: 'dentry-parent',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT d.parent, d.name, d.ino AS child, 'a directory above' AS expected,
        iif(p.ino IS NULL, 'no inode ', 'not a directory: inode ') || d.parent AS actual
      FROM dentry d LEFT JOIN inode p ON p.ino = d.parent
      WHERE p.ino IS NULL OR NOT ${isDirectory('p')}`,
  },
  {
    name: 'dentry-name',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT d.parent, d.name, d.ino AS child, '1 to 255 bytes without / and NUL' AS expected,
        hex(d.name) AS actual FROM dentry d
      WHERE length(d.name) NOT BETWEEN 1 AND 255 OR d.name IN (x'2e', x'2e2e')
        OR instr(d.name, x'2f') OR instr(d.name, x'00')`,
  },
  {
    name: 'directory-name',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT i.ino, wanted || ' names' AS expected, names || ' names' AS actual
      FROM (SELECT *, (SELECT count(*) FROM dentry d WHERE d.ino = inode.ino) AS names,
        iif(nlink = 0 OR ${isRoot('inode')}, 0, 1) AS wanted FROM inode) i
      WHERE ${isDirectory('i')} AND names <> wanted`,
  },
  {
    name: 'reachable',
    scope: 'tree',
    severity: 'major',
    sql: `WITH RECURSIVE reached (ino) AS (
        SELECT root FROM superblock UNION
        SELECT d.ino FROM reached r JOIN dentry d ON d.parent = r.ino
          JOIN inode c ON c.ino = d.ino AND ${isDirectory('c')})
      SELECT i.ino, 'reachable from a root' AS expected, 'not reachable' AS actual
      FROM inode i WHERE ${isDirectory('i')} AND i.nlink <> 0
        AND i.ino NOT IN (SELECT ino FROM reached)`,
  },
  {
    name: 'directory-parent',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT i.ino, 'parent ' || d.parent AS expected, 'parent ' || i.parent AS actual
      FROM inode i JOIN dentry d ON d.ino = i.ino
      WHERE ${isDirectory('i')} AND i.parent <> d.parent`,
  },
  {
    name: 'parent-zero',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT i.ino, 'parent 0' AS expected, 'parent ' || i.parent AS actual FROM inode i
      WHERE i.parent <> 0 AND (NOT ${isDirectory('i')} OR ${isRoot('i')})`,
  },
  {
    name: 'inode-superblock',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT i.ino, 'superblock ' || i.superblock AS expected, 'no such superblock' AS actual
      FROM inode i WHERE i.superblock NOT IN (SELECT id FROM superblock)`,
  },
  {
    name: 'dentry-superblock',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT d.parent, d.name, d.ino AS child, 'superblock ' || p.superblock AS expected,
        'superblock ' || i.superblock AS actual
      FROM dentry d JOIN inode i ON i.ino = d.ino JOIN inode p ON p.ino = d.parent
      WHERE i.superblock <> p.superblock`,
  },
  {
    name: 'directory-removed',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT i.ino, 'an empty directory, for it is removed' AS expected,
        (SELECT count(*) FROM dentry d WHERE d.parent = i.ino) || ' entries' AS actual
      FROM inode i WHERE i.nlink = 0 AND i.ino IN (SELECT parent FROM dentry)`,
  },
  {
    name: 'file-links',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT i.ino, 'nlink ' || names AS expected, 'nlink ' || i.nlink AS actual
      FROM (SELECT *, (SELECT count(*) FROM dentry d WHERE d.ino = inode.ino) AS names FROM inode) i
      WHERE NOT ${isDirectory('i')} AND i.nlink <> names`,
  },
  {
    name: 'directory-links',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT i.ino, 'nlink ' || links AS expected, 'nlink ' || i.nlink AS actual
      FROM (SELECT *, 2 + (SELECT count(*) FROM dentry d JOIN inode c ON c.ino = d.ino
        WHERE d.parent = inode.ino AND ${isDirectory('c')}) AS links FROM inode) i
      WHERE ${isDirectory('i')} AND i.nlink <> links AND i.nlink <> 0`,
  },
  {
    name: 'directory-size',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT i.ino, '4096 bytes' AS expected, i.size || ' bytes' AS actual
      FROM inode i WHERE ${isDirectory('i')} AND i.size <> 4096`,
  },
  {
    name: 'symlink-target',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT i.ino, 'a target' AS expected, 'none' AS actual
      FROM inode i WHERE ${isSymlink('i')} AND i.ino NOT IN (SELECT ino FROM symlink)
      UNION ALL SELECT s.ino, 'a symbolic link' AS expected,
        iif(i.ino IS NULL, 'no such inode', 'another type') AS actual
      FROM symlink s LEFT JOIN inode i ON i.ino = s.ino
      WHERE i.ino IS NULL OR NOT ${isSymlink('i')}`,
  },
  {
    name: 'symlink-size',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT i.ino, length(s.target) || ' bytes' AS expected, i.size || ' bytes' AS actual
      FROM inode i JOIN symlink s ON s.ino = i.ino
      WHERE ${isSymlink('i')} AND i.size <> length(s.target)`,
  },
  {
    name: 'xattr-inode',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT DISTINCT x.ino, 'an inode with attributes' AS expected, 'no such inode' AS actual
      FROM xattr x WHERE x.ino NOT IN (SELECT ino FROM inode)`,
  },
  {
    name: 'session-inode',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT w.ino, w.id AS session, 'a regular file with write session ' || w.id AS expected,
        iif(i.ino IS NULL, 'no such inode', 'another type') AS actual
      FROM write_session w LEFT JOIN inode i ON i.ino = w.ino
      WHERE i.ino IS NULL OR NOT ${isRegular('i')}`,
  },
  {
    name: 'session-fields',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT w.ino, w.id AS session, 'old bytes that are here, and a JSON object' AS expected,
        'content ' || w.old_content || ', ' || coalesce(w.before, 'NULL') AS actual
      FROM write_session w WHERE coalesce(json_valid(w.before), 0) = 0
        OR iif(json_valid(w.before), json_type(w.before), '') <> 'object'
        OR (w.old_content <> 0 AND w.old_content NOT IN (SELECT id FROM content))`,
  },
  {
    name: 'mount-superblock',
    scope: 'tree',
    severity: 'major',
    sql: `SELECT m.mount_point AS point, 'superblock ' || m.superblock || ' of mount ' || m.mount_id AS expected,
        'no such superblock' AS actual
      FROM mount m WHERE m.superblock NOT IN (SELECT id FROM superblock)`,
  },
  {
    name: 'mount-point',
    scope: 'tree',
    severity: 'major',
    sql: `WITH RECURSIVE walk (point, at, position) AS (
        SELECT mount_point, ${ROOT_INO}, 2 FROM mount WHERE length(mount_point) > 1
        UNION ALL SELECT point, coalesce(
            (SELECT s.root FROM mount m JOIN superblock s ON s.id = m.superblock
              WHERE m.mount_point = substr(point, 1, position + ${STEP} - 2)),
            (SELECT d.ino FROM dentry d
              WHERE d.parent = at AND d.name = substr(point, position, ${STEP} - 1))),
          position + ${STEP} FROM walk WHERE at IS NOT NULL AND ${STEP} > 0)
      SELECT m.mount_point AS point, 'a directory above ' || CAST(m.mount_point AS TEXT) AS expected,
        'none' AS actual
      FROM mount m WHERE length(m.mount_point) > 1 AND m.mount_point NOT IN (
        SELECT point FROM walk JOIN inode i ON i.ino = at AND ${isDirectory('i')} WHERE ${STEP} = 0)`,
  },
];
