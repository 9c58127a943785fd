/** MFS: the mutable tree of a node. Words and units as in `node.ts`. */
import type { CID } from 'multiformats/cid';
import type { Instant } from '../base/clock.ts';
import type { CallOptions } from './call.ts';

/** Changes are done one at a time, in the order asked. Any call: OpError invalid-path, name-too-long. */
export interface MfsFacet {
  /** undefined: there is nothing. @throws OpError not-directory. */
  stat(path: string, options: MfsStatOptions): Promise<MfsStat | undefined>;
  /**
   * Entries of a directory by their names, bytewise; a file gives itself alone.
   * @throws OpError not-found, not-directory.
   */
  ls(path: string, options: CallOptions): Promise<readonly MfsEntry[]>;
  /**
   * Bytes of a file. On Kubo they are NOT hashed: who must be sure takes the CID of `stat` and reads
   * blocks. The stream is as long as what is there, or it throws.
   * @throws OpError not-found, is-directory, offset-past-end, content-missing.
   */
  read(path: string, options: MfsReadOptions): AsyncIterable<Uint8Array>;
  /**
   * Makes a directory. With `parents` missing ones too, and a directory that is there is left.
   * @throws OpError exists, not-found (the parent), not-directory.
   */
  mkdir(path: string, options: MfsMkdirOptions): Promise<{ created: boolean; cid: CID }>;
  /**
   * Writes into a file. Without `truncate` what is longer stays; a hole is zeros.
   * @throws OpError not-found, is-directory, not-directory, version-conflict, and what reading
   *   `content` throws.
   */
  write(
    path: string,
    content: AsyncIterable<Uint8Array>,
    options: MfsWriteOptions,
  ): Promise<MfsWritten>;
  /**
   * Links a DAG under a name; no bytes move. `source` is a path of MFS, or `/ipfs/<cid>[/sub]`.
   * `destination` is the full name, never "into this directory". Only a file is overwritten.
   * @throws OpError not-found, exists, is-directory, not-directory, content-missing, unsupported
   *   (no UnixFS), invalid-argument (into itself).
   */
  cp(source: string, destination: string, options: MfsCopyOptions): Promise<MfsCopied>;
  /**
   * Renames. `destination` is the full name. Only a file is overwritten, and only by a file.
   * @throws OpError not-found, exists, is-directory, not-directory, invalid-argument (`/`, or into
   *   itself).
   */
  mv(source: string, destination: string, options: MfsCopyOptions): Promise<MfsCopied>;
  /**
   * @returns what was there; its blocks stay until they are collected.
   * @throws OpError not-found, is-directory (without `recursive`), invalid-argument (`/`).
   */
  rm(path: string, options: MfsRemoveOptions): Promise<MfsStat>;
  /** Brings what is below `path` to the node's disk. @throws OpError not-found. */
  flush(path: string, options: CallOptions): Promise<CID>;
  /**
   * Rebuilds a directory's node with other parameters; children keep their CIDs.
   * @throws OpError not-found, not-directory, invalid-argument (`/`; a hash with version 0).
   */
  chcid(path: string, options: MfsChcidOptions): Promise<{ previous: CID; cid: CID }>;
  /**
   * Puts the DAG of `cid` under a name, whatever was there, and makes the parents. What was there
   * is let go only when the new is linked; done twice, or again after a kill, it is as once. The name
   * may be missing for a moment, never with both gone.
   * @returns what was there before, when it was something else.
   * @throws OpError content-missing, unsupported, not-directory, invalid-argument (`/`).
   */
  place(path: string, cid: CID, options: CallOptions): Promise<{ previous?: CID }>;
}

/** What looks at the tree. */
export type MfsLook = Pick<MfsFacet, 'stat' | 'ls'>;
/** What an agent changes in it. */
export type MfsEdits = Pick<MfsFacet, 'mkdir' | 'write' | 'cp' | 'mv' | 'rm' | 'chcid'>;

export type MfsHash = 'sha2-256' | 'sha2-512' | 'blake2b-256';

export interface MfsStatOptions extends CallOptions {
  /** Also walk it, and tell how much of it is here. */
  readonly withLocal?: boolean | undefined;
  /** See to it first that what it tells of can be read by its CID. */
  readonly flushed?: boolean | undefined;
}

export interface MfsStat {
  readonly cid: CID;
  readonly type: 'file' | 'directory';
  /** Of a file; of a directory 0. */
  readonly size: number;
  readonly cumulativeSize: number;
  /** Links of its root node. */
  readonly blocks: number;
  /** Permission bits. */
  readonly mode?: number;
  readonly mtime?: Instant;
  readonly local?: { readonly complete: boolean; readonly size: number };
}

export interface MfsWritten extends MfsStat {
  /** There was no such file. */
  readonly created: boolean;
  readonly previous?: CID | undefined;
}

export interface MfsEntry {
  readonly name: string;
  readonly type: 'file' | 'directory';
  readonly size: number;
  readonly cid: CID;
  readonly mode?: number;
  readonly mtime?: Instant;
}

export interface MfsReadOptions extends CallOptions {
  /** Bytes; 0 when absent. */
  readonly offset?: number | undefined;
  /** To the end when absent. */
  readonly length?: number | undefined;
}

export interface MfsChangeOptions extends CallOptions {
  /** Whether it is on the node's disk when this resolves; true when absent. */
  readonly flush?: boolean | undefined;
}

export interface MfsMkdirOptions extends MfsChangeOptions {
  readonly parents?: boolean | undefined;
  /** 1 when absent. */
  readonly cidVersion?: 0 | 1 | undefined;
  readonly hash?: MfsHash | undefined;
}

export interface MfsWriteOptions extends MfsChangeOptions {
  /** 0 when absent. */
  readonly offset?: number | undefined;
  readonly truncate?: boolean | undefined;
  readonly create?: boolean | undefined;
  readonly parents?: boolean | undefined;
  /** What the file must be before. @throws OpError version-conflict. */
  readonly expected?: CID | undefined;
}

export interface MfsCopyOptions extends MfsChangeOptions {
  readonly parents?: boolean | undefined;
  readonly overwrite?: boolean | undefined;
}

export interface MfsCopied {
  readonly cid: CID;
  readonly overwritten: boolean;
  /** What was overwritten. */
  readonly previous?: CID | undefined;
  /** Whether every block is here, where that is known. */
  readonly complete?: boolean;
}

export interface MfsRemoveOptions extends CallOptions {
  readonly recursive?: boolean | undefined;
}

export interface MfsChcidOptions extends CallOptions {
  readonly cidVersion: 0 | 1;
  readonly hash?: MfsHash | undefined;
}
