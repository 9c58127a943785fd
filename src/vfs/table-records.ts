/** What a handle table tells, for who reads it, and where it lies. */
import type { Fh, Ino } from '../base/ids.ts';

/** What both sides of the connection agreed on, as numbers. */
export interface Agreement {
  /** Number of the connection. */
  readonly generation: number;
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
}

/** An open file or directory as the kernel has it. */
export interface HeldHandle {
  readonly fh: Fh;
  readonly ino: Ino;
  /** The request that was answered with it, without the resend bit. */
  readonly unique: number;
  readonly flags: number;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly backing: number | undefined;
  /** FOPEN_* it was answered with. */
  readonly openFlags: number;
  readonly isDirectory: boolean;
  /** Whether the kernel took the answer. If not, it may have been on its way. */
  readonly isTold: boolean;
  /** Whether it was taken from who holds it, who was not asked. */
  readonly isRevoked: boolean;
}

/** One that was opened a moment ago. */
export type NewHandle = Omit<HeldHandle, 'isTold' | 'isRevoked'>;

/** What a file that the kernel writes was last said to be, by a row that may not have been written. */
export interface ShownFile {
  /** When its bytes changed. */
  readonly s: number;
  readonly ns: number;
  readonly version: number;
}

/** What the disk said of a file that the kernel writes when its row was written last. */
export interface SavedFile {
  readonly size: number;
  readonly mtimeS: number;
  readonly mtimeNs: number;
  readonly atimeS: number;
  readonly atimeNs: number;
  /** Absent: what the row says. */
  readonly shown?: ShownFile | undefined;
}

/** Where the table lies. */
export interface TableMemory {
  /** Bytes there are. */
  readonly size: number;
  /** So many of them, more than there were if need be; those that are new are 0. @throws OpError no-space. */
  map(bytes: number): Buffer;
}
