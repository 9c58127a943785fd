/** How broken names and directories are put in order: entries first, then what they add up to. */
import { type Ino, nameOf, nameOfText, ROOT_INO, textOf } from '../base/ids.ts';
import { isDirectory, S_IFDIR } from '../base/posix.ts';
import type { BrokenRow } from './check.ts';
import * as rule from './invariant.ts';
import { left, type Mend, type Mended, type Mending, repaired, SETTLED } from './mending.ts';
import { contentOfRecords, recountRefs } from './mending-bytes.ts';

/** The entry of a row, if it is there still. */
function entryOf(mending: Mending, { parent, name, child }: BrokenRow) {
  if (parent === undefined || name === undefined || child === undefined) return undefined;
  const entry = { parent, name: nameOf(name), child };
  return mending.journal.dentries.find(parent, entry.name) === child ? entry : undefined;
}

/** An entry that names nothing: its bytes may be there, if a record says which they were. */
const entryOfNothing: Mend = (mending, row) => {
  const entry = entryOf(mending, row);
  if (entry === undefined || mending.inode(entry.child) !== undefined) return SETTLED;
  const { parent, name, child } = entry;
  mending.unname(parent, name, child);
  const content = contentOfRecords(mending, child);
  if (content === undefined) return repaired('the name is gone: nothing is left of what it named');
  const superblock = mending.inode(parent)?.superblock;
  const done = mending.quarantineContent(superblock, `#${child}-${textOf(name)}`, content);
  recountRefs(mending, content.id);
  return done;
};

/** An entry that cannot be where it is, or cannot be called so. */
const entryThatCannotStay: Mend = (mending, row) => {
  const entry = entryOf(mending, row);
  if (entry === undefined) return SETTLED;
  const { parent, name, child } = entry;
  mending.unname(parent, name, child);
  const inode = mending.inode(child);
  if (inode === undefined) return repaired('the name is gone: it named nothing');
  if (mending.namesOf(child).length > 0) return repaired('the name is gone; the file has others');
  return mending.quarantine(inode, name);
};

/** A directory has one name; a root has none. */
const directoryName: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined || !isDirectory(row.mode)) return SETTLED;
  const names = mending.namesOf(row.ino);
  const isRoot = rootsOf(mending).has(row.ino);
  if (names.length === 0 && !isRoot && row.nlink !== 0) return mending.quarantine(row, undefined);
  const kept = isRoot ? undefined : (names.find(({ parent }) => parent === row.parent) ?? names[0]);
  for (const { parent, name } of names) {
    if (parent !== kept?.parent || name !== kept.name) mending.unname(parent, name, row.ino);
  }
  const nlink = row.nlink;
  if (mending.recount(row.ino)) {
    mending.record({ ino: row.ino, path: mending.pathOf(row.ino), before: { nlink } });
  }
  return repaired(kept === undefined ? 'a root has no name' : `it is ${textOf(kept.name)} alone`);
};

const rootsOf = (mending: Mending): ReadonlySet<Ino> =>
  new Set(mending.all<{ root: Ino }>('SELECT root FROM superblock').map(({ root }) => root));

/**
 * Above a directory that no root reaches there is one without a name, or a cycle. There it is taken
 * out, with all that is below.
 */
const unreachable: Mend = (mending, { ino }) => {
  const roots = rootsOf(mending);
  const seen = new Set<Ino>();
  for (let at = ino; at !== undefined; ) {
    if (roots.has(at)) return SETTLED;
    const row = mending.inode(at);
    const above = mending.namesOf(at)[0];
    if (row === undefined) return left(`nothing is known of inode ${at}, above it`);
    if (above === undefined || seen.has(at)) {
      if (above !== undefined) mending.unname(above.parent, above.name, at);
      const top = mending.inode(at) ?? row;
      return mending.quarantine(top, above?.name);
    }
    seen.add(at);
    at = above.parent;
  }
  return SETTLED;
};

const directoryParent: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  const above = row && mending.namesOf(row.ino)[0];
  if (row === undefined || above === undefined || row.parent === above.parent) return SETTLED;
  const { parent } = row;
  row.parent = above.parent;
  return mending.change(row, { parent });
};

const parentZero: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined || row.parent === 0) return SETTLED;
  if (isDirectory(row.mode) && !rootsOf(mending).has(row.ino)) return SETTLED;
  const { parent } = row;
  row.parent = 0 as Ino;
  return mending.change(row, { parent });
};

/** The tree that an inode lies in is the one it is reached from. */
const inodeSuperblock: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined) return SETTLED;
  const { superblock } = row;
  const above = mending.superblockAbove(row.ino) ?? mending.firstTree();
  if (above === superblock) return SETTLED;
  mending.moveTo(row, above);
  const path = mending.pathOf(row.ino);
  mending.record({ ino: row.ino, path, before: { superblock }, after: { superblock: above } });
  return repaired(`it belongs to superblock ${above}`);
};

const entrySuperblock: Mend = (mending, row) => {
  const entry = entryOf(mending, row);
  const above = mending.inode(entry?.parent)?.superblock;
  const inode = mending.inode(entry?.child);
  if (entry === undefined || above === undefined || inode === undefined) return SETTLED;
  if (inode.superblock === above) return SETTLED;
  const isAtHome = ({ parent }: { parent: Ino }) =>
    mending.inode(parent)?.superblock === inode.superblock;
  if (!isDirectory(inode.mode) && mending.namesOf(inode.ino).some(isAtHome)) {
    mending.unname(entry.parent, entry.name, entry.child);
    return repaired('the name is gone: the file has one in its own tree');
  }
  return inodeSuperblock(mending, { ...row, ino: inode.ino });
};

/** Something that has entries was not removed. */
const directoryRemoved: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined || row.nlink !== 0) return SETTLED;
  if (!isDirectory(row.mode)) return left('it has entries, and is no directory');
  if (mending.namesOf(row.ino).length === 0) return mending.quarantine(row, undefined);
  return directoryLinks(mending, { ino: row.ino, expected: '', actual: '' });
};

const fileLinks: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined || isDirectory(row.mode)) return SETTLED;
  const names = mending.namesOf(row.ino).length;
  if (names === row.nlink) return SETTLED;
  return names === 0 ? mending.quarantine(row, undefined) : counted(mending, row.ino, row.nlink);
};

const directoryLinks: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  return row === undefined ? SETTLED : counted(mending, row.ino, row.nlink);
};

function counted(mending: Mending, ino: Ino, before: number): Mended {
  if (!mending.recount(ino)) return SETTLED;
  const nlink = mending.inode(ino)?.nlink;
  mending.record({ ino, path: mending.pathOf(ino), before: { nlink: before }, after: { nlink } });
  return repaired(`nlink is ${nlink}`);
}

/** A tree whose root is none: the directory that lost its superblock, or an empty one. */
const superblockRoot: Mend = (mending, { superblock }) => {
  if (superblock === undefined) return SETTLED;
  const sql = 'SELECT root FROM superblock WHERE id = ?';
  const root = mending.get<{ root: Ino }>(sql, superblock)?.root;
  const there = mending.inode(root);
  if (root === undefined || (there !== undefined && isDirectory(there.mode))) return SETTLED;
  const free = `SELECT ino FROM inode i WHERE superblock = ? AND ${rule.isDirectory('i')}
    AND parent = 0 AND nlink > 0 AND ino NOT IN (SELECT ino FROM dentry)
    AND NOT ${rule.isRoot('i')} ORDER BY ino LIMIT 1`;
  const known = mending.get<{ ino: Ino }>(free, superblock)?.ino;
  // The root of all has its number by law.
  const isFirst = superblock === 1;
  const wanted = known ?? (there === undefined ? root : undefined);
  if (isFirst && wanted !== ROOT_INO) return left('what is at inode 1 is no directory');
  const mode = S_IFDIR | 0o755;
  const found = wanted ?? mending.journal.inodes.nextIno();
  if (known === undefined) mending.insert({ ino: found, mode, superblock });
  mending.recount(found);
  mending.run('UPDATE superblock SET root = ? WHERE id = ?', found, superblock);
  const path = mending.pathOf(found);
  mending.record({ ino: found, path, before: { root }, after: { superblock, root: found } });
  return repaired(`its root is inode ${found}`);
};

/** Nothing is written to a tree above a mount point, so no more than the mount goes. */
const mountGoes: Mend = (mending, { point }) => {
  if (point === undefined) return SETTLED;
  mending.journal.superblocks.deleteMount(nameOf(point));
  mending.record({ ino: 0, path: nameOf(point), after: { unmounted: true } });
  return repaired('it is unmounted; its tree, if there is one, can be mounted again');
};

const superblockFields: Mend = (mending, { superblock }) => {
  if (superblock === undefined) return SETTLED;
  const sql = 'SELECT options FROM superblock WHERE id = ?';
  const known = mending.get<{ options: string }>(sql, superblock);
  if (known === undefined) {
    mending.run(
      `INSERT INTO superblock VALUES (?, 'root', 'root', '', ?, 0, 1, NULL, NULL, '{}')`,
      superblock,
      ROOT_INO,
    );
  } else {
    const at = 'SELECT mount_point AS point FROM mount WHERE superblock = ?';
    const point = mending.get<{ point: Buffer }>(at, superblock)?.point;
    const options = JSON.stringify(point && { mount_point: nameOf(point) }) ?? '{}';
    mending.run(
      `UPDATE superblock SET volatile = volatile <> 0, read_only = read_only <> 0,
        options = CASE WHEN json_valid(options) AND json_type(options) = 'object'
          THEN options ELSE ? END WHERE id = ?`,
      options,
      superblock,
    );
  }
  mending.record({ ino: 0, path: nameOfText('/'), before: { superblock, ...known } });
  return repaired('its fields are in order');
};

export const NAME_MENDS: Readonly<Record<string, Mend>> = {
  'superblock-fields': superblockFields,
  'superblock-root': superblockRoot,
  'dentry-inode': entryOfNothing,
  'dentry-parent': entryThatCannotStay,
  'dentry-name': entryThatCannotStay,
  'directory-name': directoryName,
  reachable: unreachable,
  'directory-parent': directoryParent,
  'parent-zero': parentZero,
  'inode-superblock': inodeSuperblock,
  'dentry-superblock': entrySuperblock,
  'directory-removed': directoryRemoved,
  'file-links': fileLinks,
  'directory-links': directoryLinks,
  'mount-superblock': mountGoes,
  'mount-point': mountGoes,
};
