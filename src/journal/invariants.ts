/**
 * The consistency rules of SCHEMA.md as queries, one each: a query answers the rows that break its
 * rule. Rules of the hash chain are in chain.ts.
 */
import { type Invariant, isRegular } from './invariant.ts';
import { CALLS } from './invariants-calls.ts';
import { CONTENT } from './invariants-content.ts';
import { SYNC } from './invariants-sync.ts';
import { TREE } from './invariants-tree.ts';

const RECORDS: readonly Invariant[] = [
  {
    name: 'record-actor',
    scope: 'chain',
    severity: 'loss',
    sql: `SELECT min(o.seq) AS seq, o.actor AS missing, 'actor ' || o.actor AS expected,
        'no such actor' AS actual
      FROM op o LEFT JOIN actor a ON a.id = o.actor WHERE a.id IS NULL GROUP BY o.actor`,
  },
  {
    name: 'session-actor',
    scope: 'chain',
    severity: 'major',
    sql: `SELECT w.ino, w.actor AS missing, 'actor ' || w.actor AS expected, 'no such actor' AS actual
      FROM write_session w LEFT JOIN actor a ON a.id = w.actor WHERE a.id IS NULL`,
  },
  {
    name: 'usage',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT id AS superblock, 'superblock ' || id || ' with ' || coalesce(c.inodes, 0) || ' inodes, '
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
];

/** In the order in which they are repaired: numbers first; what is counted behind what it counts. */
export const INVARIANTS: readonly Invariant[] = [
  ...TREE,
  ...CONTENT,
  ...RECORDS,
  ...CALLS,
  ...SYNC,
];
