/** The rules of content, blocks and pins, in the order in which they are repaired. */
import { type Invariant, isLost, isRegular } from './invariant.ts';

/** A CID that needs no block: of no bytes, or one that is its own bytes (identity). */
const saysItself = (
  cid: string,
) => `(hex(${cid}) LIKE '%E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855'
  OR substr(${cid}, 1, 1) = x'01' AND substr(${cid}, iif(substr(${cid}, 2, 1) < x'80', 3, 4), 1) = x'00')`;

export const CONTENT: readonly Invariant[] = [
  {
    name: 'content-fields',
    scope: 'content',
    severity: 'minor',
    sql: `SELECT c.id AS content, 'flags as in SCHEMA.md, and no number below 0' AS expected,
        printf('size %d, refs %d, held %d, stable %d', size, refs, held, stable) AS actual
      FROM content c WHERE size < 0 OR refs < 0 OR held NOT IN (0, 1) OR stable NOT IN (0, 1, 2)`,
  },
  {
    name: 'inode-content',
    scope: 'content',
    severity: 'loss',
    sql: `SELECT i.ino, i.content, 'no content' AS expected, 'content ' || i.content AS actual
      FROM inode i WHERE i.content <> 0 AND NOT ${isRegular('i')}
      UNION ALL SELECT i.ino, i.content, 'content' AS expected, 'none' AS actual
      FROM inode i WHERE i.content = 0 AND i.size <> 0 AND ${isRegular('i')}
      UNION ALL SELECT i.ino, i.content, 'content ' || i.content AS expected,
        'no such content' AS actual
      FROM inode i LEFT JOIN content c ON c.id = i.content WHERE i.content <> 0 AND c.id IS NULL`,
  },
  {
    name: 'content-sealed',
    scope: 'content',
    severity: 'major',
    sql: `SELECT c.id AS content, 'a profile with a CID, and neither while open' AS expected,
        'state ' || c.state || ', CID ' || coalesce(hex(c.cid), 'none') AS actual
      FROM content c WHERE c.state <> 'remote' AND ((c.state <> 'sealed' AND c.cid IS NOT NULL)
        OR (c.cid IS NULL) <> (c.profile IS NULL))`,
  },
  {
    name: 'content-remote',
    scope: 'content',
    severity: 'loss',
    sql: `SELECT c.id AS content, 'a CID, by which its bytes can be had' AS expected,
        'CID ' || coalesce(hex(c.cid), 'none') || ', profile ' || coalesce(c.profile, 'none')
          || ', ' || c.place AS actual
      FROM content c WHERE c.state = 'remote'
        AND (c.cid IS NULL OR c.profile IS NULL OR c.place = 'memory' OR c.size <= 0)`,
  },
  {
    name: 'content-slot',
    scope: 'content',
    severity: 'minor',
    sql: `SELECT c.id AS content, 'a slot of its own, and only while open' AS expected,
        'slot ' || c.slot || ', ' || c.state || ', ' || c.place AS actual
      FROM content c WHERE c.slot IS NOT NULL AND (c.state <> 'open' OR c.place <> 'file'
        OR (c.slot <> 0 AND c.slot IN (SELECT slot FROM content WHERE id <> c.id)))`,
  },
  {
    name: 'packed-bytes',
    scope: 'content',
    severity: 'loss',
    sql: `SELECT c.id AS content, (SELECT ino FROM inode WHERE content = c.id LIMIT 1) AS ino,
        c.size || ' bytes' AS expected, coalesce(length(p.bytes) || ' bytes', 'none') AS actual
      FROM content c LEFT JOIN packed p ON p.content = c.id
      WHERE c.place = 'packed' AND c.state <> 'remote' AND NOT ${isLost('c')} AND c.size <> coalesce(length(p.bytes), 0)
      UNION ALL SELECT p.content, NULL AS ino, 'content' AS expected, 'no such content' AS actual
      FROM packed p LEFT JOIN content c ON c.id = p.content
      WHERE c.id IS NULL`,
  },
  {
    name: 'inode-size',
    scope: 'content',
    severity: 'minor',
    sql: `SELECT i.ino, i.content, c.size || ' bytes' AS expected, i.size || ' bytes' AS actual
      FROM inode i JOIN content c ON c.id = i.content WHERE i.size <> c.size AND c.slot IS NULL`,
  },
  {
    name: 'content-refs',
    scope: 'content',
    severity: 'minor',
    sql: `SELECT c.id AS content, coalesce(u.inodes, 0) AS used,
        coalesce(u.inodes, 0) || ' references' AS expected,
        c.refs || ' references' AS actual
      FROM content c LEFT JOIN (SELECT content, count(*) AS inodes FROM inode
        WHERE content <> 0 GROUP BY content) u ON u.content = c.id
      WHERE c.refs <> coalesce(u.inodes, 0)`,
  },
  {
    name: 'content-owner',
    scope: 'content',
    severity: 'major',
    sql: `SELECT c.id AS content, 'somebody who wants it' AS expected, c.size || ' bytes of nobody' AS actual
      FROM content c WHERE c.refs = 0 AND c.held = 0 AND c.released_s IS NULL AND c.place <> 'memory'`,
  },
  {
    name: 'block-range',
    scope: 'content',
    severity: 'major',
    sql: `SELECT b.content, 'block ' || hex(b.cid) || ' inside its content' AS expected,
        iif(c.id IS NULL, 'no such content', b.size || ' bytes at ' || b.position) AS actual
      FROM block b LEFT JOIN content c ON c.id = b.content
        LEFT JOIN packed p ON p.content = b.content AND c.place <> 'packed'
      WHERE c.id IS NULL OR b.size < 0
        OR (b.position >= 0 AND b.position + b.size > c.size AND c.state <> 'open')
        OR (b.position < 0 AND b.size - 1 - b.position > coalesce(length(p.bytes), 0))`,
  },
  {
    name: 'block-root',
    scope: 'content',
    severity: 'minor',
    sql: `SELECT c.id AS content, 'block ' || hex(c.cid) || ' in it' AS expected, 'none' AS actual
      FROM content c WHERE c.state = 'sealed' AND c.cid IS NOT NULL AND c.size > 0
        AND NOT EXISTS (SELECT 1 FROM block b WHERE b.cid = c.cid AND b.content = c.id)`,
  },
  {
    name: 'content-lost',
    scope: 'content',
    severity: 'loss',
    sql: `SELECT i.ino, c.id AS content, c.size || ' bytes' AS expected,
        'a repair found them to be gone' AS actual
      FROM content c JOIN inode i ON i.content = c.id WHERE ${isLost('c')}`,
  },
  {
    name: 'pin-block',
    scope: 'content',
    severity: 'loss',
    sql: `SELECT 'block ' || hex(p.cid) || ', which is pinned' AS expected, 'not here' AS actual
      FROM pin p WHERE NOT ${saysItself('p.cid')} AND NOT EXISTS (
        SELECT 1 FROM block b JOIN content c ON c.id = b.content WHERE b.cid = p.cid)`,
  },
];
