/**
 * Access control lists where they change something: set and taken away as attributes, inherited by
 * what is made in a directory, following a chmod.
 */
import { OpError } from '../base/errors.ts';
import type { Name } from '../base/ids.ts';
import { isDirectory, isSymlink, S_ISGID } from '../base/posix.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { formatAcl, inherited, isMinimal, modeOfAcl, parseAcl, withMode } from './acl.ts';
import type { Caller } from './contract.ts';
import { base64Of, type Core } from './core.ts';
import { ACL_ACCESS, ACL_DEFAULT } from './inodes.ts';
import { demandOwner, mayGiveTo } from './permissions.ts';

const PERMISSION_BITS = 0o777;

export const isAcl = (name: Name): boolean => name === ACL_ACCESS || name === ACL_DEFAULT;

export interface AclChange {
  readonly name: Name;
  /** undefined takes it away. */
  readonly value: Buffer | undefined;
  /** Whether the kernel found that the caller may not leave set-gid. */
  readonly killSetGid: boolean;
}

/** @throws OpError invalid, denied, not-permitted, unsupported, read-only. */
export function changeAcl(core: Core, caller: Caller, row: InodeRow, change: AclChange): void {
  const { name, value } = change;
  core.demandWritable(row, 'set an ACL');
  const acl = value === undefined ? undefined : parseAcl(value);
  if (isSymlink(row.mode)) throw new OpError('unsupported', 'set an ACL');
  if (name === ACL_DEFAULT && !isDirectory(row.mode)) {
    if (acl === undefined) return;
    throw new OpError('denied', 'set an ACL', { hint: 'only directories have default ACLs' });
  }
  demandOwner(caller, row, 'set an ACL');
  const isStranger = !caller.checked && !mayGiveTo(caller, row.gid);
  core.journal.commit((tx) => {
    const isKept = acl !== undefined && (name === ACL_DEFAULT || !isMinimal(acl));
    store(core, tx, caller, { row, name, value: isKept ? formatAcl(acl) : undefined });
    if (acl === undefined || name === ACL_DEFAULT) return;
    const oldMode = row.mode;
    row.mode = (row.mode & ~PERMISSION_BITS) | modeOfAcl(acl);
    if (change.killSetGid || isStranger) row.mode &= ~S_ISGID;
    core.touchChange(tx, row);
    if (row.mode !== oldMode) {
      core.record(tx, caller, 'chmod', { ino: row.ino, mode: row.mode, oldMode });
    }
    core.announceInode(tx, caller, row.ino, false);
  });
}

interface Stored {
  readonly row: InodeRow;
  readonly name: Name;
  readonly value: Buffer | undefined;
}

/** Stores a list with its record; nothing happens when there is none before and after. */
function store(core: Core, tx: Tx, caller: Caller, { row, name, value }: Stored): void {
  const { ino } = row;
  const old = core.journal.xattrs.get(ino, name);
  if (value === undefined && old === undefined) return;
  core.inodes.setAcl(tx, row, name, value);
  core.touchChange(tx, row);
  core.record(tx, caller, value === undefined ? 'removexattr' : 'setxattr', {
    ino,
    before: { xattr: base64Of(name), value: old?.toString('base64') ?? null },
    ...(value === undefined ? {} : { after: { value: value.toString('base64') } }),
  });
  core.announceInode(tx, caller, ino, false);
}

/** What a new inode gets from the default list of its directory; its record has the mode. */
export function inheritAcl(core: Core, tx: Tx, parent: InodeRow, row: InodeRow): void {
  if (isSymlink(row.mode)) return;
  const value = core.inodes.defaultAcl(parent);
  const acl = value === undefined ? undefined : parseAcl(value);
  if (value === undefined || acl === undefined) return;
  const own = inherited(acl, row.mode);
  row.mode = (row.mode & ~PERMISSION_BITS) | modeOfAcl(own);
  if (!isMinimal(own)) core.inodes.setAcl(tx, row, ACL_ACCESS, formatAcl(own));
  if (isDirectory(row.mode)) core.inodes.setAcl(tx, row, ACL_DEFAULT, value);
  core.inodes.change(tx, row);
}

/** The list follows the mode that a chmod gave. */
export function followMode(core: Core, tx: Tx, row: InodeRow): void {
  const acl = row.acl === undefined ? undefined : parseAcl(row.acl);
  if (acl !== undefined)
    core.inodes.setAcl(tx, row, ACL_ACCESS, formatAcl(withMode(acl, row.mode)));
}
