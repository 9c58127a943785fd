/**
 * The numbers and names that travel between modules, each of a type of its own, so that an inode
 * number cannot be passed where a handle is wanted.
 */
import type { Brand } from './brand.ts';

/** Inode number: stable across restarts, never 0, below 2^53. 1 is the root of the tree. */
export type Ino = Brand<number, 'Ino'>;
/** One open file or directory, from `open` to `release`. */
export type Fh = Brand<number, 'Fh'>;
/** A content object: the bytes of one version of a file. 0 stands for "no bytes". */
export type ContentId = Brand<number, 'ContentId'>;
export type SuperblockId = Brand<number, 'SuperblockId'>;
/** Position in the journal, from 1, without gaps. */
export type Seq = Brand<number, 'Seq'>;
export type ActorId = Brand<number, 'ActorId'>;
/**
 * A name or a link target as the kernel gave it: bytes, one char (U+0000–U+00FF) per byte.
 * Any byte but NUL, and `/` only in targets.
 */
export type Name = Brand<string, 'Name'>;

export const ROOT_INO = 1 as Ino;
export const NO_CONTENT = 0 as ContentId;

/** Bytes → name. */
export const nameOf = (bytes: Buffer): Name => bytes.toString('latin1') as Name;

/** Name → bytes. */
export const bytesOf = (name: Name): Buffer => Buffer.from(name, 'latin1');

/** Ordinary text → name, in UTF-8 as every shell does it. */
export const nameOfText = (text: string): Name =>
  Buffer.from(text, 'utf8').toString('latin1') as Name;

/** Name → text; bytes that are not UTF-8 become U+FFFD. */
export const textOf = (name: Name): string => Buffer.from(name, 'latin1').toString('utf8');

/** Whether `textOf` loses nothing. */
export const isUtf8Name = (name: Name): boolean => nameOfText(textOf(name)) === name;
