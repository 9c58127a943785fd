/**
 * The consistency rules of SCHEMA.md as queries, one each: a query answers the rows that break its
 * rule. Rules of the hash chain are in chain.ts.
 */
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../base/posix.ts';

export type InvariantScope = 'tree' | 'content' | 'chain';

/**
 * `sql` gives rows of `expected` and `actual` and, where it applies, `ino`, `seq`, `content`,
 * or a name as `parent` and `name`.
 */
export interface Invariant {
  /** The rule's name in SCHEMA.md. */
  readonly name: string;
  readonly scope: InvariantScope;
  readonly sql: string;
}

const isDirectory = (alias: string) => `(${alias}.mode & ${S_IFMT}) = ${S_IFDIR}`;
const isRegular = (alias: string) => `(${alias}.mode & ${S_IFMT}) = ${S_IFREG}`;
const isSymlink = (alias: string) => `(${alias}.mode & ${S_IFMT}) = ${S_IFLNK}`;
const isRoot = (alias: string) => `${alias}.ino IN (SELECT root FROM superblock)`;

/** The largest number of a kind in use must be below the next one its counter gives. */
const counter = (kind: string, largest: string) => `
  SELECT 'next_${kind} above ' || used AS expected, coalesce(value, 'none') AS actual
  FROM (${largest}) LEFT JOIN meta ON key = 'next_${kind}'
  WHERE used IS NOT NULL AND coalesce(CAST(value AS INTEGER), 0) <= used`;

const TREE: readonly Invariant[] = [
  {
    name: 'dentry-inode',
    scope: 'tree',
    sql: `SELECT d.parent, d.name, 'inode ' || d.ino AS expected, 'no such inode' AS actual
      FROM dentry d LEFT JOIN inode i ON i.ino = d.ino WHERE i.ino IS NULL`,
  },
  {
    name: 'dentry-parent',
    scope: 'tree',
    sql: `SELECT d.parent, d.name, 'a directory above' AS expected,
        iif(p.ino IS NULL, 'no inode ', 'not a directory: inode ') || d.parent AS actual
      FROM dentry d LEFT JOIN inode p ON p.ino = d.parent
      WHERE p.ino IS NULL OR NOT ${isDirectory('p')}`,
  },
  {
    name: 'dentry-name',
    scope: 'tree',
    sql: `SELECT d.parent, d.name, '1 to 255 bytes without / and NUL' AS expected,
        hex(d.name) AS actual FROM dentry d
      WHERE length(d.name) NOT BETWEEN 1 AND 255 OR d.name IN (x'2e', x'2e2e')
        OR instr(d.name, x'2f') OR instr(d.name, x'00')`,
  },
  {
    name: 'file-links',
    scope: 'tree',
    sql: `SELECT i.ino, 'nlink ' || names AS expected, 'nlink ' || i.nlink AS actual
      FROM (SELECT *, (SELECT count(*) FROM dentry d WHERE d.ino = inode.ino) AS names FROM inode) i
      WHERE NOT ${isDirectory('i')} AND i.nlink <> names`,
  },
  {
    name: 'directory-links',
    scope: 'tree',
    sql: `SELECT i.ino, 'nlink ' || links AS expected, 'nlink ' || i.nlink AS actual
      FROM (SELECT *, 2 + (SELECT count(*) FROM dentry d JOIN inode c ON c.ino = d.ino
        WHERE d.parent = inode.ino AND ${isDirectory('c')}) AS links FROM inode) i
      WHERE ${isDirectory('i')} AND i.nlink <> links AND i.nlink <> 0`,
  },
  {
    name: 'directory-name',
    scope: 'tree',
    sql: `SELECT i.ino, wanted || ' names' AS expected, names || ' names' AS actual
      FROM (SELECT *, (SELECT count(*) FROM dentry d WHERE d.ino = inode.ino) AS names,
        iif(nlink = 0 OR ${isRoot('inode')}, 0, 1) AS wanted FROM inode) i
      WHERE ${isDirectory('i')} AND names <> wanted`,
  },
  {
    name: 'directory-removed',
    scope: 'tree',
    sql: `SELECT i.ino, 'an empty directory, for it is removed' AS expected,
        (SELECT count(*) FROM dentry d WHERE d.parent = i.ino) || ' entries' AS actual
      FROM inode i WHERE i.nlink = 0 AND i.ino IN (SELECT parent FROM dentry)`,
  },
  {
    name: 'directory-parent',
    scope: 'tree',
    sql: `SELECT i.ino, 'parent ' || d.parent AS expected, 'parent ' || i.parent AS actual
      FROM inode i JOIN dentry d ON d.ino = i.ino
      WHERE ${isDirectory('i')} AND i.parent <> d.parent`,
  },
  {
    name: 'parent-zero',
    scope: 'tree',
    sql: `SELECT i.ino, 'parent 0' AS expected, 'parent ' || i.parent AS actual FROM inode i
      WHERE i.parent <> 0 AND (NOT ${isDirectory('i')} OR ${isRoot('i')})`,
  },
  {
    name: 'reachable',
    scope: 'tree',
    sql: `WITH RECURSIVE reached (ino) AS (
        SELECT root FROM superblock UNION
        SELECT d.ino FROM reached r JOIN dentry d ON d.parent = r.ino
          JOIN inode c ON c.ino = d.ino AND ${isDirectory('c')})
      SELECT i.ino, 'reachable from a root' AS expected, 'not reachable' AS actual
      FROM inode i WHERE ${isDirectory('i')} AND i.nlink <> 0
        AND i.ino NOT IN (SELECT ino FROM reached)`,
  },
  {
    name: 'superblock-root',
    scope: 'tree',
    sql: `SELECT s.root AS ino, 'a directory as root of superblock ' || s.id AS expected,
        iif(i.ino IS NULL, 'no such inode', 'not a directory') AS actual
      FROM superblock s LEFT JOIN inode i ON i.ino = s.root
      WHERE i.ino IS NULL OR NOT ${isDirectory('i')}`,
  },
  {
    name: 'inode-superblock',
    scope: 'tree',
    sql: `SELECT i.ino, 'superblock ' || i.superblock AS expected, 'no such superblock' AS actual
      FROM inode i WHERE i.superblock NOT IN (SELECT id FROM superblock)`,
  },
  {
    name: 'usage',
    scope: 'tree',
    sql: `SELECT 'superblock ' || id || ' with ' || coalesce(c.inodes, 0) || ' inodes, '
        || coalesce(c.bytes, 0) || ' bytes' AS expected,
        coalesce(u.inodes, 0) || ' inodes, ' || coalesce(u.bytes, 0) || ' bytes' AS actual
      FROM (SELECT id FROM superblock UNION SELECT superblock FROM usage)
        LEFT JOIN usage u ON u.superblock = id
        LEFT JOIN (SELECT superblock, count(*) AS inodes,
          sum(iif(${isRegular('i')}, size, 0)) AS bytes FROM inode i GROUP BY superblock) c
          ON c.superblock = id
      WHERE coalesce(u.inodes, 0) <> coalesce(c.inodes, 0)
        OR coalesce(u.bytes, 0) <> coalesce(c.bytes, 0)`,
  },
  {
    name: 'mount-superblock',
    scope: 'tree',
    sql: `SELECT 'superblock ' || m.superblock || ' of mount ' || m.mount_id AS expected,
        'no such superblock' AS actual
      FROM mount m WHERE m.superblock NOT IN (SELECT id FROM superblock)`,
  },
  {
    name: 'symlink-target',
    scope: 'tree',
    sql: `SELECT i.ino, 'a target' AS expected, 'none' AS actual
      FROM inode i WHERE ${isSymlink('i')} AND i.ino NOT IN (SELECT ino FROM symlink)
      UNION ALL SELECT s.ino, 'a symbolic link' AS expected,
        iif(i.ino IS NULL, 'no such inode', 'another type') AS actual
      FROM symlink s LEFT JOIN inode i ON i.ino = s.ino
      WHERE i.ino IS NULL OR NOT ${isSymlink('i')}`,
  },
  {
    name: 'xattr-inode',
    scope: 'tree',
    sql: `SELECT DISTINCT x.ino, 'an inode with attributes' AS expected, 'no such inode' AS actual
      FROM xattr x WHERE x.ino NOT IN (SELECT ino FROM inode)`,
  },
  {
    name: 'session-inode',
    scope: 'tree',
    sql: `SELECT w.ino, 'a regular file with write session ' || w.id AS expected,
        iif(i.ino IS NULL, 'no such inode', 'another type') AS actual
      FROM write_session w LEFT JOIN inode i ON i.ino = w.ino
      WHERE i.ino IS NULL OR NOT ${isRegular('i')}`,
  },
  {
    name: 'counters',
    scope: 'tree',
    sql: [
      counter('ino', 'SELECT max(ino) AS used FROM inode'),
      counter('cookie', 'SELECT max(cookie) AS used FROM dentry'),
      counter('content', 'SELECT max(id) AS used FROM content'),
      counter('write_session', 'SELECT max(id) AS used FROM write_session'),
    ].join(' UNION ALL '),
  },
];

const CONTENT: readonly Invariant[] = [
  {
    name: 'inode-content',
    scope: 'content',
    sql: `SELECT i.ino, i.content, 'no content' AS expected, 'content ' || i.content AS actual
      FROM inode i WHERE i.content <> 0 AND NOT ${isRegular('i')}
      UNION ALL SELECT i.ino, i.content, 'content' AS expected, 'none' AS actual
      FROM inode i WHERE i.content = 0 AND i.size <> 0 AND ${isRegular('i')}
      UNION ALL SELECT i.ino, i.content, 'content ' || i.content AS expected,
        'no such content' AS actual
      FROM inode i LEFT JOIN content c ON c.id = i.content WHERE i.content <> 0 AND c.id IS NULL`,
  },
  {
    name: 'inode-size',
    scope: 'content',
    sql: `SELECT i.ino, i.content, c.size || ' bytes' AS expected, i.size || ' bytes' AS actual
      FROM inode i JOIN content c ON c.id = i.content WHERE i.size <> c.size AND c.slot IS NULL`,
  },
  {
    name: 'content-refs',
    scope: 'content',
    sql: `SELECT c.id AS content, coalesce(u.inodes, 0) || ' references' AS expected,
        c.refs || ' references' AS actual
      FROM content c LEFT JOIN (SELECT content, count(*) AS inodes FROM inode
        WHERE content <> 0 GROUP BY content) u ON u.content = c.id
      WHERE c.refs <> coalesce(u.inodes, 0)`,
  },
  {
    name: 'content-sealed',
    scope: 'content',
    sql: `SELECT c.id AS content, 'a profile with a CID, and neither while open' AS expected,
        'state ' || c.state || ', CID ' || coalesce(hex(c.cid), 'none') AS actual
      FROM content c WHERE (c.state <> 'sealed' AND c.cid IS NOT NULL)
        OR (c.cid IS NULL) <> (c.profile IS NULL)`,
  },
  {
    name: 'packed-bytes',
    scope: 'content',
    sql: `SELECT c.id AS content, c.size || ' bytes' AS expected,
        coalesce(length(p.bytes) || ' bytes', 'none') AS actual
      FROM content c LEFT JOIN packed p ON p.content = c.id
      WHERE c.place = 'packed' AND c.size <> coalesce(length(p.bytes), 0)
      UNION ALL SELECT p.content, 'content' AS expected, 'no such content' AS actual
      FROM packed p LEFT JOIN content c ON c.id = p.content
      WHERE c.id IS NULL`,
  },
  {
    name: 'content-slot',
    scope: 'content',
    sql: `SELECT c.id AS content, 'a slot of its own, and only while open' AS expected,
        'slot ' || c.slot || ', ' || c.state || ', ' || c.place AS actual
      FROM content c WHERE c.slot IS NOT NULL AND (c.state <> 'open' OR c.place <> 'file'
        OR (c.slot <> 0 AND c.slot IN (SELECT slot FROM content WHERE id <> c.id)))`,
  },
  {
    name: 'block-range',
    scope: 'content',
    sql: `SELECT b.content, 'block ' || hex(b.cid) || ' inside its content' AS expected,
        iif(c.id IS NULL, 'no such content', b.size || ' bytes at ' || b.position) AS actual
      FROM block b LEFT JOIN content c ON c.id = b.content
        LEFT JOIN packed p ON p.content = b.content AND c.place <> 'packed'
      WHERE c.id IS NULL OR b.size < 0
        OR (b.position >= 0 AND b.position + b.size > c.size AND c.state <> 'open')
        OR (b.position < 0 AND b.size - 1 - b.position > coalesce(length(p.bytes), 0))`,
  },
];

const RECORDS: readonly Invariant[] = [
  {
    name: 'record-actor',
    scope: 'chain',
    sql: `SELECT o.seq, 'actor ' || o.actor AS expected, 'no such actor' AS actual
      FROM op o LEFT JOIN actor a ON a.id = o.actor WHERE a.id IS NULL`,
  },
  {
    name: 'session-actor',
    scope: 'chain',
    sql: `SELECT w.ino, 'actor ' || w.actor AS expected, 'no such actor' AS actual
      FROM write_session w LEFT JOIN actor a ON a.id = w.actor WHERE a.id IS NULL`,
  },
];

export const INVARIANTS: readonly Invariant[] = [...TREE, ...CONTENT, ...RECORDS];
