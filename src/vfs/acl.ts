/**
 * POSIX access control lists, acl(5): read from and written to the form in which the kernel moves
 * them (linux/posix_acl_xattr.h), and the three things that are done with one: deciding, inheriting
 * and following a chmod, as fs/posix_acl.c does them.
 *
 * Invariants: a list that was read has its three base entries, and a mask when it names anybody;
 * the nine permission bits of a file that has a list say what the list says: owner, mask, others.
 */
import { OpError } from '../base/errors.ts';
import type { Caller, Inode } from './contract.ts';

/** Somebody who is named, and R_OK, W_OK, X_OK together. */
interface Named {
  readonly id: number;
  readonly bits: number;
}

export interface Acl {
  readonly owner: number;
  readonly users: readonly Named[];
  readonly group: number;
  readonly groups: readonly Named[];
  /** Bounds everybody but owner and others. */
  readonly mask: number | undefined;
  readonly other: number;
}

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const NO_ID = 0xffff_ffff;
const TAG = { owner: 1, user: 2, groupOwner: 4, group: 8, mask: 16, other: 32 } as const;
const RWX = 7;

/** undefined: an empty list, which takes the one there is away. @throws OpError invalid. */
export function parseAcl(value: Buffer): Acl | undefined {
  const op = 'read an ACL';
  const count = (value.length - HEADER_BYTES) / ENTRY_BYTES;
  if (!Number.isInteger(count) || count < 0 || value.readUInt32LE(0) !== VERSION) {
    throw new OpError('invalid', op);
  }
  if (count === 0) return undefined;
  const base = new Map<number, number>();
  const users: Named[] = [];
  const groups: Named[] = [];
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    const tag = value.readUInt16LE(at);
    const bits = value.readUInt16LE(at + 2);
    const id = value.readUInt32LE(at + 4);
    if (bits > RWX || base.has(tag)) throw new OpError('invalid', op);
    if (tag === TAG.user) users.push({ id, bits });
    else if (tag === TAG.group) groups.push({ id, bits });
    else base.set(tag, bits);
  }
  const [owner, group, other] = [TAG.owner, TAG.groupOwner, TAG.other].map((tag) => base.get(tag));
  const mask = base.get(TAG.mask);
  const names = users.length + groups.length;
  const isWhole =
    count - names === (mask === undefined ? 3 : 4) && (names === 0 || mask !== undefined);
  if (owner === undefined || group === undefined || other === undefined || !isWhole) {
    throw new OpError('invalid', op);
  }
  return { owner, users, group, groups, mask, other };
}

export function formatAcl({ owner, users, group, groups, mask, other }: Acl): Buffer {
  const entries: (readonly [tag: number, bits: number, id: number])[] = [
    [TAG.owner, owner, NO_ID],
    ...users.map(({ id, bits }) => [TAG.user, bits, id] as const),
    [TAG.groupOwner, group, NO_ID],
    ...groups.map(({ id, bits }) => [TAG.group, bits, id] as const),
    ...(mask === undefined ? [] : [[TAG.mask, mask, NO_ID] as const]),
    [TAG.other, other, NO_ID],
  ];
  const value = Buffer.alloc(HEADER_BYTES + entries.length * ENTRY_BYTES);
  value.writeUInt32LE(VERSION, 0);
  for (const [index, [tag, bits, id]] of entries.entries()) {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    value.writeUInt16LE(tag, at);
    value.writeUInt16LE(bits, at + 2);
    value.writeUInt32LE(id, at + 4);
  }
  return value;
}

/** The nine permission bits that say the same, as far as they can. */
export const modeOfAcl = ({ owner, group, mask, other }: Acl): number =>
  (owner << 6) | ((mask ?? group) << 3) | other;

/** Whether the permission bits say all of it. */
export const isMinimal = ({ mask }: Acl): boolean => mask === undefined;

/** Whether the list lets `caller`, who is not root, do everything in `wanted`. */
export function aclPermits(acl: Acl, caller: Caller, inode: Inode, wanted: number): boolean {
  const allows = (bits: number) => (bits & wanted) === wanted;
  const { mask = RWX } = acl;
  if (caller.uid === inode.uid) return allows(acl.owner);
  const named = acl.users.find(({ id }) => id === caller.uid);
  if (named !== undefined) return allows(named.bits & mask);
  const isIn = (gid: number) => caller.gid === gid || caller.groups.includes(gid);
  const fitting = [{ id: inode.gid, bits: acl.group }, ...acl.groups].filter(({ id }) => isIn(id));
  if (fitting.length > 0) return fitting.some(({ bits }) => allows(bits & mask));
  return allows(acl.other);
}

/**
 * The mode for a kernel that knows no lists and decides by the mode alone: it lets nobody do what
 * the list forbids, though it forbids some what the list allows. Whoever is not the owner may be
 * somebody whom the list names, with less than the others have.
 */
export function narrowMode({ mode, acl: value }: Inode): number {
  const acl = value === undefined ? undefined : parseAcl(value);
  if (acl === undefined) return mode;
  const { users, groups, group, mask = RWX, other } = acl;
  const least = (named: readonly Named[], bits: number) =>
    named.reduce((left, entry) => left & entry.bits, bits & mask);
  const groupBits = least(users, group);
  const otherBits = other & least([...users, ...groups], RWX);
  return (mode & ~0o77) | (groupBits << 3) | otherBits;
}

/** The mode of a copy that leaves the list behind: the group's bits are its own, not the mask. */
export function unlistedMode({ mode, acl: value }: Inode): number {
  const acl = value === undefined ? undefined : parseAcl(value);
  if (acl === undefined) return mode;
  const { group, mask = RWX } = acl;
  return (mode & ~0o70) | ((group & mask) << 3);
}

/** What a new file gets from the default list of its directory: its list, bounded by `mode`. */
export function inherited(acl: Acl, mode: number): Acl {
  return bounded(acl, (bits, shift) => bits & (mode >> shift));
}

/** The list after a chmod to `mode`. */
export function withMode(acl: Acl, mode: number): Acl {
  return bounded(acl, (_bits, shift) => (mode >> shift) & RWX);
}

/** Owner, others, and the mask, or without one the group, are what `change` makes of them. */
function bounded(acl: Acl, change: (bits: number, shift: number) => number): Acl {
  const { group, mask } = acl;
  return {
    ...acl,
    owner: change(acl.owner, 6),
    ...(mask === undefined ? { group: change(group, 3) } : { mask: change(mask, 3) }),
    other: change(acl.other, 0),
  };
}
