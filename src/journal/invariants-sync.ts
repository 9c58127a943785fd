/** The rules of what was published, and of the mutable tree. In the order in which they are repaired. */
import { type Invariant, isDirectory } from './invariant.ts';
import { TARGET_STATES } from './targets.ts';

/** The number of the newest record, also when that record is lost. */
const NEWEST = `max(coalesce((SELECT max(seq) FROM op), 0),
  coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'head'), 0))`;

const isHere = (cid: string): string => `EXISTS (SELECT 1 FROM block b WHERE b.cid = ${cid})`;

const STATES = TARGET_STATES.map((state) => `'${state}'`).join(', ');

export const SYNC: readonly Invariant[] = [
  {
    name: 'published-fields',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT p.ino, p.metadata, 'a directory, with its blocks, as of a record there was' AS expected,
        iif(i.ino IS NULL, 'no such directory', 'record ' || p.seq || ', block ' || hex(p.cid)) AS actual
      FROM published p LEFT JOIN inode i ON i.ino = p.ino AND ${isDirectory('i')}
      WHERE i.ino IS NULL OR p.metadata NOT IN (0, 1) OR p.private NOT IN (0, 1)
        OR p.odd NOT IN (0, 1) OR p.seq NOT BETWEEN 0 AND ${NEWEST}
        OR min(p.size, p.entries, p.files, p.directories - 1, p.symlinks, p.bytes, p.blocks) < 0
        OR NOT ${isHere('p.cid')} OR (p.list IS NULL) <> (p.entries = 0)
        OR (p.list IS NOT NULL AND NOT ${isHere('p.list')})`,
  },
  {
    name: 'target-fields',
    scope: 'content',
    severity: 'minor',
    sql: `SELECT t.path AS published, t.target, 'an intent for ' || t.target || ', its blocks here' AS expected,
        t.state || ' after ' || t.attempts || ' attempts, due ' || coalesce(t.due_s, 'never') AS actual
      FROM sync_target t WHERE t.target = '' OR substr(t.path, 1, 1) <> x'2f' OR t.pin NOT IN (0, 1)
        OR t.state NOT IN (${STATES}) OR t.attempts < 0 OR (t.held_tree IS NULL) <> (t.held_snapshot IS NULL)
        OR (t.held_tree IS NULL) <> (t.held_seq IS NULL) OR (t.held_tree IS NULL) <> (t.held_ino IS NULL)
        OR iif(t.held_tree IS NULL, t.held_pin IS NOT NULL, t.held_pin IS NULL OR t.held_pin NOT IN (0, 1))
        OR min(t.wanted_ino, coalesce(t.held_ino, 0)) < 0
        OR t.wanted_seq NOT BETWEEN 0 AND ${NEWEST} OR coalesce(t.held_seq, 0) NOT BETWEEN 0 AND t.wanted_seq
        OR iif(json_valid(t.sent), json_type(t.sent) <> 'array', 1)
        OR (t.state IN ('queued', 'uploading') AND t.due_s IS NULL)
        OR (t.state IN ('stored', 'pinned') AND (t.held_tree IS NOT t.wanted_tree
          OR t.held_snapshot IS NOT t.wanted_snapshot))
        OR NOT ${isHere('t.wanted_tree')} OR NOT ${isHere('t.wanted_snapshot')}`,
  },
  {
    name: 'mfs-seen-fields',
    scope: 'tree',
    severity: 'minor',
    sql: `SELECT m.parent AS directory, m.name AS seen, 'what MFS had, in a directory of such a tree' AS expected,
        iif(s.id IS NULL, 'no such directory', 'pending ' || m.pending) AS actual
      FROM mfs_seen m LEFT JOIN inode i ON i.ino = m.parent
      LEFT JOIN superblock s ON s.id = i.superblock AND s.kind = 'mfs' AND ${isDirectory('i')}
      WHERE (i.ino IS NOT NULL AND s.id IS NULL) OR m.pending NOT IN (0, 1, 2) OR (m.cid IS NULL AND m.pending = 0)
        OR m.version < -1 OR m.next_version < -1
        OR iif(json_valid(m.former), json_type(m.former) <> 'array', 1)
        OR (m.pending = 0 AND m.former <> '[]') OR (m.name = x'' AND m.parent <> s.root)`,
  },
  {
    name: 'mfs-root',
    scope: 'content',
    severity: 'loss',
    sql: `SELECT 'a CID whose block is here' AS expected, m.value AS actual
      FROM meta m WHERE m.key = 'mfs_root' AND NOT ${isHere('unhex(m.value)')}`,
  },
];
