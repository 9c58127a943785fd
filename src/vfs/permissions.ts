/**
 * Who may do what, for callers the kernel did not check: mode bits, ACLs, groups, the sticky bit, as
 * path_resolution(7), inode(7) and chmod(2) have it.
 */
import { OpError } from '../base/errors.ts';
import { isDirectory, S_ISVTX, W_OK, X_OK } from '../base/posix.ts';
import { aclPermits, parseAcl } from './acl.ts';
import type { Caller, Inode } from './contract.ts';

const inGroup = (caller: Caller, gid: number): boolean =>
  caller.gid === gid || caller.groups.includes(gid);

/** Whether the access control list, or else the mode bits, let `caller` do everything in `mask` (R_OK, W_OK, X_OK). */
export function isPermitted(caller: Caller, inode: Inode, mask: number): boolean {
  if (caller.uid === 0) {
    // Root passes everything but the execution of a file nobody may execute.
    const wantsExec = (mask & X_OK) !== 0 && !isDirectory(inode.mode);
    return !wantsExec || (inode.mode & 0o111) !== 0;
  }
  const acl = inode.acl === undefined ? undefined : parseAcl(inode.acl);
  if (acl !== undefined) return aclPermits(acl, caller, inode, mask);
  let shift = 0;
  if (caller.uid === inode.uid) shift = 6;
  else if (inGroup(caller, inode.gid)) shift = 3;
  return ((inode.mode >> shift) & mask) === mask;
}

/** @throws OpError denied. Does nothing for a caller the kernel has checked. */
export function demand(caller: Caller, inode: Inode, mask: number, op: string): void {
  if (caller.checked || isPermitted(caller, inode, mask)) return;
  throw new OpError('denied', op, { hint: 'check owner and mode' });
}

/** @throws OpError not-permitted unless the caller owns the inode or is root. */
export function demandOwner(caller: Caller, inode: Inode, op: string): void {
  if (caller.checked || caller.uid === 0 || caller.uid === inode.uid) return;
  throw new OpError('not-permitted', op, { hint: 'only the owner may' });
}

/** Making or removing names in `directory`: write and search. */
export function demandDirectoryWrite(caller: Caller, directory: Inode, op: string): void {
  demand(caller, directory, W_OK | X_OK, op);
}

/** Removing or renaming `target` in `directory`: also the sticky bit. @throws OpError. */
export function demandRemoval(caller: Caller, directory: Inode, target: Inode, op: string): void {
  demandDirectoryWrite(caller, directory, op);
  if (caller.checked || caller.uid === 0 || (directory.mode & S_ISVTX) === 0) return;
  if (caller.uid === target.uid || caller.uid === directory.uid) return;
  throw new OpError('not-permitted', op, { hint: 'the directory is sticky' });
}

/** Whether the caller may give the file to this group: it is a member, or root. */
export const mayGiveTo = (caller: Caller, gid: number): boolean =>
  caller.uid === 0 || inGroup(caller, gid);
