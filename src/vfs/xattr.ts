/**
 * Extended attributes (xattr(7)): user, trusted, security, and POSIX ACLs. Virtual attributes
 * (`user.ipfs.cid`, `user.kitfs.*`) answer to getxattr, are never listed, and cannot be set, but for
 * `user.kitfs.pin`.
 */
import { CID } from 'multiformats/cid';
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { XATTR_BYTES_MAX, XATTR_NAME_BYTES_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, R_OK, S_ISVTX, W_OK } from '../base/posix.ts';
import { rawCid } from '../content/content.ts';
import { type InodeRow, PINNED_HERE, type Tx } from '../journal/journal.ts';
import { changeAcl, isAcl } from './acl-change.ts';
import type { Caller } from './contract.ts';
import type { Core } from './core.ts';
import { durabilityOf } from './durability.ts';
import { demand, demandOwner } from './permissions.ts';
import { demandPin, notePin } from './pinned-here.ts';

const CAPABILITY = 'security.capability' as Name;

const isVirtual = (name: Name): boolean =>
  name === 'user.ipfs.cid' || name.startsWith('user.kitfs.');

/** @throws OpError not-permitted: it is only read. */
function demandSettable(name: Name, op: string): void {
  if (isVirtual(name) && name !== PINNED_HERE) throw new OpError('not-permitted', op);
}

function demandNamespace(row: InodeRow, name: Name, op: string): void {
  if (name.length > XATTR_NAME_BYTES_MAX) throw new OpError('range', op);
  if (name.startsWith('user.') && name.length > 5) {
    // xattr(7): user attributes are for files and directories only.
    if (isRegular(row.mode) || isDirectory(row.mode)) return;
    throw new OpError('not-permitted', op);
  }
  if (name.startsWith('trusted.') || name.startsWith('security.')) return;
  throw new OpError('unsupported', op, { hint: 'use user., trusted. or security.' });
}

/** Writing an attribute, as xattr(7) and xattr_permission() in fs/xattr.c have it. */
function demandWrite(caller: Caller, row: InodeRow, name: Name, op: string): void {
  if (caller.checked || caller.uid === 0) return;
  if (!name.startsWith('user.')) {
    throw new OpError('not-permitted', op, { hint: 'only root sets trusted and security' });
  }
  // Who may make files in a sticky directory may not fill the disk with its attributes.
  if (isDirectory(row.mode) && (row.mode & S_ISVTX) !== 0) demandOwner(caller, row, op);
  demand(caller, row, W_OK, op);
}

/** Whether the caller may see the attribute at all; trusted ones are as if absent for others than root. */
function mayRead(caller: Caller, row: InodeRow, name: Name): boolean {
  if (caller.checked || caller.uid === 0) return true;
  if (name.startsWith('user.')) demand(caller, row, R_OK, 'getxattr');
  return !name.startsWith('trusted.');
}

export function getxattr(core: Core, caller: Caller, ino: Ino, name: Name): Buffer | undefined {
  const row = core.inodes.get(ino);
  if (name.length > XATTR_NAME_BYTES_MAX) throw new OpError('range', 'getxattr');
  if (isVirtual(name)) return mayRead(caller, row, name) ? virtual(core, row, name) : undefined;
  if (isAcl(name)) return core.journal.xattrs.get(ino, name);
  if (!/^(user|trusted|security)\../s.test(name)) {
    throw new OpError('unsupported', 'getxattr');
  }
  if (!mayRead(caller, row, name)) return undefined;
  // The kernel asks this before the first write of every file.
  if (name !== CAPABILITY) return core.journal.xattrs.get(ino, name);
  if (core.incapable.has(row)) return undefined;
  const value = core.journal.xattrs.get(ino, name);
  if (value === undefined) core.incapable.add(row);
  return value;
}

function virtual(core: Core, row: InodeRow, name: Name): Buffer | undefined {
  switch (name as string) {
    case 'user.ipfs.cid': {
      const cid = cidOf(core, row);
      return cid === undefined ? undefined : Buffer.from(cid.toString());
    }
    case PINNED_HERE:
      return core.journal.xattrs.get(row.ino, name);
    case 'user.kitfs.version':
      return Buffer.from(versionOf(row));
    case 'user.kitfs.durability':
      return isRegular(row.mode) ? Buffer.from(durabilityOf(core, row).state) : undefined;
    case 'user.kitfs.provenance': {
      const last = core.history.last(row.ino);
      if (last === undefined) return undefined;
      const { seq, kind } = last.row;
      return Buffer.from(JSON.stringify({ seq, op: kind, ...last.actor }));
    }
    default:
      return undefined;
  }
}

/** The CID of a file whose bytes are sealed or elsewhere, or that has none. */
export function cidOf(core: Core, row: InodeRow): CID | undefined {
  if (row.content === NO_CONTENT) {
    return isRegular(row.mode) && row.size === 0 ? rawCid(new Uint8Array()) : undefined;
  }
  const content = core.journal.contents.get(row.content);
  const isKnown = content?.state === 'sealed' || content?.state === 'remote';
  if (!isKnown || content.cid === null) return undefined;
  return CID.decode(content.cid);
}

/** The opaque version of a file's content: `<inode>.<n>`. */
export const versionOf = (row: { readonly ino: Ino; readonly version: number }): string =>
  `${row.ino}.${row.version}`;

export function setxattr(
  core: Core,
  caller: Caller,
  ino: Ino,
  name: Name,
  value: Buffer,
  mode: 'any' | 'create' | 'replace',
  killSetGid = false,
): void {
  const row = core.inodes.get(ino);
  if (isAcl(name)) {
    changeAcl(core, caller, row, { name, value, killSetGid });
    return;
  }
  core.demandWritable(row, 'setxattr');
  demandSettable(name, 'setxattr');
  demandNamespace(row, name, 'setxattr');
  if (name === PINNED_HERE) demandPin(value);
  if (value.length > XATTR_BYTES_MAX) throw new OpError('attribute-too-big', 'setxattr');
  demandWrite(caller, row, name, 'setxattr');
  const old = core.journal.xattrs.get(ino, name);
  if (mode === 'create' && old !== undefined) throw new OpError('exists', 'setxattr');
  if (mode === 'replace' && old === undefined) throw new OpError('no-attribute', 'setxattr');
  core.journal.commit((tx) => {
    if (name === CAPABILITY) core.incapable.delete(row);
    core.journal.xattrs.set(ino, name, value);
    if (name === PINNED_HERE) notePin(core, tx);
    core.touchChange(tx, row);
    core.record(tx, caller, 'setxattr', {
      ino,
      before: { xattr: text(name), value: old?.toString('base64') ?? null },
      after: { value: value.toString('base64') },
    });
    core.announceInode(tx, caller, ino, false);
  });
}

/**
 * capabilities(7): a change of bytes or owner takes the capabilities of a file away, whoever makes
 * it; recorded as the removal it is. Of a row that was looked at, nothing is asked again until the
 * attribute is set.
 */
export function clearCapability(core: Core, tx: Tx, row: InodeRow, caller: Caller): void {
  if (core.incapable.has(row)) return;
  const old = core.journal.xattrs.get(row.ino, CAPABILITY);
  core.incapable.add(row);
  if (old === undefined) return;
  tx.onRollback(() => core.incapable.delete(row));
  dropAttribute(core, tx, caller, { row, name: CAPABILITY, old });
}

export function listxattr(core: Core, caller: Caller, ino: Ino): readonly Name[] {
  const names = core.journal.xattrs.list(core.inodes.get(ino).ino);
  // listxattr(2): trusted attributes are seen by root only.
  if (caller.uid === 0) return names;
  return names.filter((name) => !name.startsWith('trusted.'));
}

export function removexattr(core: Core, caller: Caller, ino: Ino, name: Name): void {
  const row = core.inodes.get(ino);
  if (isAcl(name)) {
    changeAcl(core, caller, row, { name, value: undefined, killSetGid: false });
    return;
  }
  core.demandWritable(row, 'removexattr');
  demandSettable(name, 'removexattr');
  demandNamespace(row, name, 'removexattr');
  demandWrite(caller, row, name, 'removexattr');
  const old = core.journal.xattrs.get(ino, name);
  if (old === undefined) throw new OpError('no-attribute', 'removexattr');
  core.journal.commit((tx) => dropAttribute(core, tx, caller, { row, name, old }));
}

interface Attribute {
  readonly row: InodeRow;
  readonly name: Name;
  readonly old: Buffer;
}

function dropAttribute(core: Core, tx: Tx, caller: Caller, { row, name, old }: Attribute): void {
  const { ino } = row;
  core.journal.xattrs.remove(ino, name);
  core.touchChange(tx, row);
  core.record(tx, caller, 'removexattr', {
    ino,
    before: { xattr: text(name), value: old.toString('base64') },
  });
  core.announceInode(tx, caller, ino, false);
}

/** Attribute names are bytes; JSON has them as base64. */
const text = (name: Name): string => Buffer.from(name, 'latin1').toString('base64');
