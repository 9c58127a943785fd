/**
 * What of a tree's metadata whoever restores it may set: set-id bits, owners and attributes of the
 * system are for uid 0. Pure.
 */
import type { PlannedMetadata } from '../base/graft.ts';
import type { Name } from '../base/ids.ts';
import { S_ISGID, S_ISUID } from '../base/posix.ts';
import type { InodeRow } from '../journal/journal.ts';
import type { RemoteEntry } from './remote.ts';

/** Whoever restores. */
export interface Grantee {
  /** uid 0. */
  readonly isRoot: boolean;
}

/** What is to be set of an entry's metadata; empty when nothing is known of it. */
export function grantedTo(
  { isRoot }: Grantee,
  remote: Pick<RemoteEntry, 'metadata' | 'type'>,
): PlannedMetadata {
  const { metadata, type } = remote;
  if (metadata === undefined) return {};
  const { mode, uid, gid, atime, mtime, xattrs } = metadata;
  const allowed = isRoot || mode === undefined ? mode : mode & ~(S_ISUID | S_ISGID);
  const holdsUser = type === 'file' || type === 'directory';
  return {
    // The mode of a link is always 0777.
    mode: type === 'symlink' ? undefined : allowed,
    uid: isRoot ? uid : undefined,
    gid: isRoot ? gid : undefined,
    atime: atime ?? mtime,
    mtime,
    xattrs: xattrs?.filter(({ name }) => {
      if (name.startsWith('user.')) return holdsUser && !isVirtual(name);
      if (name.startsWith('system.posix_acl_')) return holdsUser;
      return isRoot && (name.startsWith('trusted.') || name.startsWith('security.'));
    }),
  };
}

/** Attributes that kitfs answers itself. */
const isVirtual = (name: Name): boolean =>
  name === 'user.ipfs.cid' || name.startsWith('user.kitfs.');

type Xattrs = NonNullable<PlannedMetadata['xattrs']>;

/** Whether setting it would change something. Times of access never count. */
export function differsFrom(
  wanted: PlannedMetadata,
  row: Readonly<InodeRow>,
  xattrs: Xattrs,
  { withTimes }: { readonly withTimes: boolean },
): boolean {
  const { mode, uid, gid, mtime } = wanted;
  const isOther = (want: number | undefined, have: number) => want !== undefined && want !== have;
  if (isOther(mode, row.mode & 0o7777)) return true;
  if (isOther(uid, row.uid) || isOther(gid, row.gid)) return true;
  if (withTimes && mtime !== undefined) {
    if (mtime.s !== row.mtimeS || mtime.ns !== row.mtimeNs) return true;
  }
  return wanted.xattrs !== undefined && !areSame(wanted.xattrs, xattrs);
}

/** Whether setting one after the other would change something. Times of access never count. */
export function areSameMetadata(
  one: PlannedMetadata,
  other: PlannedMetadata,
  { withTimes }: { readonly withTimes: boolean },
): boolean {
  if (one.mode !== other.mode || one.uid !== other.uid || one.gid !== other.gid) return false;
  const isTimed = withTimes && (one.mtime !== undefined || other.mtime !== undefined);
  if (isTimed && (one.mtime?.s !== other.mtime?.s || one.mtime?.ns !== other.mtime?.ns)) {
    return false;
  }
  return areSame(one.xattrs ?? [], other.xattrs ?? []);
}

function areSame(wanted: Xattrs, have: Xattrs): boolean {
  if (wanted.length !== have.length) return false;
  const values = new Map(have.map(({ name, value }) => [name, value]));
  return wanted.every(({ name, value }) => values.get(name)?.equals(value) === true);
}
