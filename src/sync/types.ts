/** Kinds of files by name, as manifests and results have them, and by the type bits of a mode. */
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../base/posix.ts';

const BITS = {
  file: S_IFREG,
  directory: S_IFDIR,
  symlink: S_IFLNK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
  char: S_IFCHR,
  block: S_IFBLK,
} as const;

export type EntryType = keyof typeof BITS;

export const ENTRY_TYPES = Object.keys(BITS) as readonly EntryType[];

export function typeOf(mode: number): EntryType {
  const bits = mode & S_IFMT;
  return ENTRY_TYPES.find((type) => BITS[type] === bits) ?? 'file';
}

export const bitsOf = (type: EntryType): number => BITS[type];

/** FIFO, socket, device: no bytes of their own. */
export const isSpecial = (type: EntryType): boolean =>
  type === 'fifo' || type === 'socket' || type === 'char' || type === 'block';
