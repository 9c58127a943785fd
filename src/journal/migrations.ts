/**
 * The schema of the journal as an append-only list: a migration that has been released is never
 * edited. SCHEMA.md beside this file says what the tables mean.
 */
import { OpError } from '../base/errors.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../base/posix.ts';
import type { Database } from './sqlite.ts';

/** `KTFS` as a big-endian number: tells our file from any other SQLite database. */
export const APPLICATION_ID = 0x4b54_4653;

const FOUNDATION = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE superblock (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  backend TEXT NOT NULL,
  source TEXT NOT NULL,
  root INTEGER NOT NULL,
  volatile INTEGER NOT NULL,
  read_only INTEGER NOT NULL,
  size_bytes_max INTEGER,
  inodes_max INTEGER,
  options TEXT NOT NULL
) STRICT;

CREATE TABLE mount (
  mount_point BLOB PRIMARY KEY,
  mount_id TEXT NOT NULL UNIQUE,
  superblock INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE inode (
  ino INTEGER PRIMARY KEY,
  generation INTEGER NOT NULL,
  superblock INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  nlink INTEGER NOT NULL,
  size INTEGER NOT NULL,
  rdev INTEGER NOT NULL,
  atime_s INTEGER NOT NULL, atime_ns INTEGER NOT NULL,
  mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  ctime_s INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
  btime_s INTEGER NOT NULL, btime_ns INTEGER NOT NULL,
  content INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX inode_orphan ON inode (ino) WHERE nlink = 0;

CREATE TABLE dentry (
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  ino INTEGER NOT NULL,
  cookie INTEGER NOT NULL,
  PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX dentry_cookie ON dentry (parent, cookie);
CREATE INDEX dentry_ino ON dentry (ino);

CREATE TABLE symlink (ino INTEGER PRIMARY KEY, target BLOB NOT NULL) STRICT;

CREATE TABLE xattr (
  ino INTEGER NOT NULL,
  name BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (ino, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE content (
  id INTEGER PRIMARY KEY,
  size INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'frozen', 'sealed')),
  place TEXT NOT NULL CHECK (place IN ('packed', 'file', 'memory')),
  refs INTEGER NOT NULL,
  held INTEGER NOT NULL,
  cid BLOB,
  profile TEXT,
  released_s INTEGER,
  stable INTEGER NOT NULL
) STRICT;
CREATE INDEX content_frozen ON content (id) WHERE state = 'frozen';
CREATE INDEX content_open ON content (id) WHERE state = 'open';
CREATE INDEX content_released ON content (released_s, size) WHERE refs = 0 AND held = 0;
CREATE INDEX content_cid ON content (cid) WHERE cid IS NOT NULL;

CREATE TABLE packed (content INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;

CREATE TABLE block (
  cid BLOB NOT NULL,
  content INTEGER NOT NULL,
  position INTEGER NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (cid, content)
) STRICT, WITHOUT ROWID;
CREATE INDEX block_content ON block (content);

CREATE TABLE pin (
  cid BLOB PRIMARY KEY,
  type TEXT NOT NULL CHECK (type IN ('recursive', 'direct')),
  name TEXT,
  time_s INTEGER NOT NULL,
  time_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE write_session (
  id INTEGER PRIMARY KEY,
  ino INTEGER NOT NULL,
  actor INTEGER NOT NULL,
  path BLOB NOT NULL,
  begun_s INTEGER NOT NULL,
  begun_ns INTEGER NOT NULL,
  old_content INTEGER NOT NULL,
  old_size INTEGER NOT NULL,
  before TEXT
) STRICT;

CREATE TABLE synced (
  path BLOB PRIMARY KEY,
  root_cid BLOB NOT NULL,
  snapshot_cid BLOB,
  seq INTEGER NOT NULL,
  time_s INTEGER NOT NULL,
  time_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE actor (
  id INTEGER PRIMARY KEY,
  surface TEXT NOT NULL CHECK (surface IN ('fuse', 'mcp', 'cli', 'daemon')),
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  pid INTEGER,
  start_time INTEGER,
  exe TEXT,
  cgroup TEXT,
  client TEXT,
  client_version TEXT,
  session TEXT,
  tool TEXT,
  tool_call TEXT
) STRICT;

CREATE TABLE op (
  seq INTEGER PRIMARY KEY,
  time_s INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  actor INTEGER NOT NULL,
  kind TEXT NOT NULL,
  ino INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  path BLOB NOT NULL,
  old_path BLOB,
  size INTEGER,
  old_size INTEGER,
  content INTEGER,
  old_content INTEGER,
  mode INTEGER,
  old_mode INTEGER,
  position INTEGER,
  length INTEGER,
  cid BLOB,
  old_cid BLOB,
  call_group TEXT,
  state TEXT NOT NULL,
  error TEXT,
  before TEXT,
  after TEXT,
  generation INTEGER NOT NULL,
  request INTEGER NOT NULL,
  reply BLOB,
  hash BLOB
) STRICT;
CREATE INDEX op_ino ON op (ino);
CREATE INDEX op_path ON op (path);
CREATE INDEX op_old_path ON op (old_path) WHERE old_path IS NOT NULL;
`;

/** Content that the kernel writes past the daemon lies in a file made in advance. */
const SLOTS = 'ALTER TABLE content ADD COLUMN slot INTEGER;';

/** Counted as inodes come and go: a start, and statfs(2), must not read them all. */
const USAGE = `
CREATE TABLE usage (
  superblock INTEGER PRIMARY KEY,
  inodes INTEGER NOT NULL,
  bytes INTEGER NOT NULL
) STRICT;
INSERT INTO usage
  SELECT superblock, count(*), sum(iif(mode & ${S_IFMT} = ${S_IFREG}, size, 0))
  FROM inode GROUP BY superblock;
`;

/**
 * What a daemon needs that takes over a connection to the kernel: which handle a session is of, and
 * what the requests of the last group were answered that changed something without a record.
 */
const TAKE_OVER = `
ALTER TABLE write_session ADD COLUMN fh INTEGER NOT NULL DEFAULT 0;
CREATE TABLE answer (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  replies BLOB NOT NULL
) STRICT;
`;

/** Answers of tool calls that may be sent again, and jobs that go on in the next daemon. */
const TOOL_CALLS = `
CREATE TABLE tool_call (
  id INTEGER PRIMARY KEY,
  principal TEXT NOT NULL,
  key TEXT NOT NULL,
  digest BLOB NOT NULL,
  time_s INTEGER NOT NULL,
  answer TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX tool_call_key ON tool_call (principal, key);

CREATE TABLE tool_job (
  id TEXT PRIMARY KEY,
  call TEXT NOT NULL,
  starts INTEGER NOT NULL,
  result TEXT,
  ended_s INTEGER
) STRICT, WITHOUT ROWID;
`;

/**
 * What publications made of directories. The trigger costs nothing where a directory is not removed,
 * and leaves no way of removing one that forgets its rows.
 */
const PUBLISHED = `
CREATE TABLE published (
  ino INTEGER NOT NULL,
  metadata INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  cid BLOB NOT NULL,
  size INTEGER NOT NULL,
  list BLOB,
  entries INTEGER NOT NULL,
  files INTEGER NOT NULL,
  directories INTEGER NOT NULL,
  symlinks INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  blocks INTEGER NOT NULL,
  private INTEGER NOT NULL,
  odd INTEGER NOT NULL,
  PRIMARY KEY (ino, metadata)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER published_gone AFTER DELETE ON inode WHEN OLD.mode & ${S_IFMT} = ${S_IFDIR} BEGIN
  DELETE FROM published WHERE ino = OLD.ino;
END;
`;

/** What is owed to stores outside. */
const TARGETS = `
CREATE TABLE sync_target (
  path BLOB NOT NULL,
  target TEXT NOT NULL,
  wanted_tree BLOB NOT NULL,
  wanted_snapshot BLOB NOT NULL,
  pin INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due_s INTEGER,
  failure TEXT,
  held_tree BLOB,
  held_snapshot BLOB,
  sent TEXT NOT NULL,
  checked_s INTEGER,
  PRIMARY KEY (path, target)
) STRICT, WITHOUT ROWID;
`;

/** Content whose bytes are elsewhere. A column's check is changed by making its table anew. */
const REMOTE = `
CREATE TABLE content_next (
  id INTEGER PRIMARY KEY,
  size INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'frozen', 'sealed', 'remote')),
  place TEXT NOT NULL CHECK (place IN ('packed', 'file', 'memory')),
  refs INTEGER NOT NULL,
  held INTEGER NOT NULL,
  cid BLOB,
  profile TEXT,
  released_s INTEGER,
  stable INTEGER NOT NULL,
  slot INTEGER
) STRICT;
INSERT INTO content_next
  SELECT id, size, state, place, refs, held, cid, profile, released_s, stable, slot FROM content;
DROP TABLE content;
ALTER TABLE content_next RENAME TO content;
CREATE INDEX content_frozen ON content (id) WHERE state = 'frozen';
CREATE INDEX content_open ON content (id) WHERE state = 'open';
CREATE INDEX content_remote ON content (id) WHERE state = 'remote';
CREATE INDEX content_released ON content (released_s, size) WHERE refs = 0 AND held = 0;
CREATE INDEX content_cid ON content (cid) WHERE cid IS NOT NULL;
`;

/** Which files of the tree a store has, as they are now, follows from what was changed since. */
const HELD_SINCE = `
ALTER TABLE sync_target ADD COLUMN wanted_ino INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sync_target ADD COLUMN wanted_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sync_target ADD COLUMN held_ino INTEGER;
ALTER TABLE sync_target ADD COLUMN held_seq INTEGER;
ALTER TABLE sync_target ADD COLUMN held_pin INTEGER;
UPDATE sync_target SET held_ino = 0, held_seq = 0, held_pin = pin WHERE held_tree IS NOT NULL;
`;

/** What the mutable tree of the node had, in trees of kind `mfs`. */
const MFS_SEEN = `
CREATE TABLE mfs_seen (
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  cid BLOB,
  ino INTEGER NOT NULL,
  version INTEGER NOT NULL,
  pending INTEGER NOT NULL,
  next_cid BLOB,
  next_ino INTEGER NOT NULL,
  next_version INTEGER NOT NULL,
  former TEXT NOT NULL,
  PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX mfs_seen_pending ON mfs_seen (parent) WHERE pending > 0;
`;

/** Which stores outside there are, and what was put there. */
const BACKENDS = `
CREATE TABLE backend (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  config TEXT NOT NULL,
  capabilities TEXT,
  is_default INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE backend_object (
  backend TEXT NOT NULL,
  identifier TEXT NOT NULL,
  size INTEGER NOT NULL,
  version TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  cid BLOB,
  PRIMARY KEY (backend, identifier)
) STRICT, WITHOUT ROWID;
CREATE INDEX backend_object_sha256 ON backend_object (sha256);
`;

/** Index i takes the schema from version i to i + 1. */
const MIGRATIONS: readonly string[] = [
  FOUNDATION,
  SLOTS,
  USAGE,
  TAKE_OVER,
  TOOL_CALLS,
  PUBLISHED,
  TARGETS,
  REMOTE,
  HELD_SINCE,
  MFS_SEEN,
  BACKENDS,
];

export const SCHEMA_VERSION = MIGRATIONS.length;

const pragmaNumber = (db: Database, name: string): number => {
  const value = db.pragma(name, { simple: true });
  return typeof value === 'number' ? value : 0;
};

/**
 * Whether the file is a journal of ours, or an empty one, of a version we know.
 * @returns its schema's version; 0 for an empty file.
 * @throws OpError `version-unsupported` when a newer kitfs wrote it; `journal-corrupt` when the
 *   file is somebody else's database.
 */
export function admit(db: Database, path: string): number {
  const version = pragmaNumber(db, 'user_version');
  const application = pragmaNumber(db, 'application_id');
  const isEmpty = pragmaNumber(db, 'schema_version') === 0;
  if (application !== APPLICATION_ID && (application !== 0 || !isEmpty)) {
    throw new OpError('journal-corrupt', `open ${path}`, {
      hint: 'this file is not a kitfs journal; choose another state directory',
    });
  }
  if (version > SCHEMA_VERSION) {
    throw new OpError('version-unsupported', `open ${path}`, {
      hint: `its schema ${version} is newer than this kitfs knows (${SCHEMA_VERSION}); install a newer kitfs`,
      details: { found: version, known: SCHEMA_VERSION },
    });
  }
  return version;
}

/** As `admit`, for who cannot migrate. @throws also `version-unsupported` for an older schema. */
export function admitCurrent(db: Database, path: string): void {
  const version = admit(db, path);
  if (version === SCHEMA_VERSION) return;
  throw new OpError('version-unsupported', `open ${path}`, {
    hint: `its schema ${version} is older than ${SCHEMA_VERSION}; mount it once to bring it up to date`,
    details: { found: version, known: SCHEMA_VERSION },
  });
}

/** Brings an admitted file to `SCHEMA_VERSION`, one transaction per step. */
export function migrate(db: Database, path: string): void {
  for (let step = admit(db, path); step < SCHEMA_VERSION; step++) {
    db.exec('BEGIN IMMEDIATE');
    try {
      db.exec(MIGRATIONS[step] ?? '');
      db.pragma(`application_id = ${APPLICATION_ID}`);
      db.pragma(`user_version = ${step + 1}`);
      db.exec('COMMIT');
    } catch (error) {
      if (db.inTransaction) db.exec('ROLLBACK');
      throw error;
    }
  }
}
