/**
 * The optional package fuse-native 2.2.6: how it is loaded, and the shape of what is used of it.
 *
 * It needs libfuse.so.2 of the host, and `base/native.ts` loads what stands before that library
 * first. Nothing of either is loaded before this driver is chosen.
 */
import { createRequire } from 'node:module';
import { OpError } from '../base/errors.ts';
import { type Libfuse2, loadLibfuse2 } from '../base/native.ts';

/** Ends an operation: 0 or a count, or an errno as a negative number; then what was asked for. */
export type Answer = (result: number, ...values: unknown[]) => void;

/** The number of the operation, as text, where the package thinks a path is. */
export type Ticket = string;

/** The operations, with the arguments the package gives. Each must call its answer exactly once. */
export interface PackageOperations {
  statfs(ticket: Ticket, answer: Answer): void;
  getattr(ticket: Ticket, answer: Answer): void;
  /** Its presence is what counts: the package calls `getattr` instead. */
  fgetattr(ticket: Ticket, fd: number, answer: Answer): void;
  fsync(ticket: Ticket, dataOnly: number, fd: number, answer: Answer): void;
  fsyncdir(ticket: Ticket, dataOnly: number, fd: number, answer: Answer): void;
  readdir(ticket: Ticket, answer: Answer): void;
  truncate(ticket: Ticket, size: number, answer: Answer): void;
  ftruncate(ticket: Ticket, fd: number, size: number, answer: Answer): void;
  utimens(ticket: Ticket, atime: number, mtime: number, answer: Answer): void;
  readlink(ticket: Ticket, answer: Answer): void;
  chown(ticket: Ticket, uid: number, gid: number, answer: Answer): void;
  chmod(ticket: Ticket, mode: number, answer: Answer): void;
  mknod(ticket: Ticket, mode: number, rdev: number, answer: Answer): void;
  setxattr(
    ticket: Ticket,
    name: string,
    value: Buffer,
    position: number,
    flags: number,
    answer: Answer,
  ): void;
  getxattr(ticket: Ticket, name: string, position: number, answer: Answer): void;
  listxattr(ticket: Ticket, answer: Answer): void;
  removexattr(ticket: Ticket, name: string, answer: Answer): void;
  open(ticket: Ticket, flags: number, answer: Answer): void;
  opendir(ticket: Ticket, flags: number, answer: Answer): void;
  read(
    ticket: Ticket,
    fd: number,
    into: Buffer,
    length: number,
    position: number,
    answer: Answer,
  ): void;
  write(
    ticket: Ticket,
    fd: number,
    bytes: Buffer,
    length: number,
    position: number,
    answer: Answer,
  ): void;
  release(ticket: Ticket, fd: number, answer: Answer): void;
  releasedir(ticket: Ticket, fd: number, answer: Answer): void;
  create(ticket: Ticket, mode: number, answer: Answer): void;
  unlink(ticket: Ticket, answer: Answer): void;
  rename(ticket: Ticket, to: string, answer: Answer): void;
  link(ticket: Ticket, to: string, answer: Answer): void;
  symlink(ticket: Ticket, target: string, answer: Answer): void;
  mkdir(ticket: Ticket, mode: number, answer: Answer): void;
  rmdir(ticket: Ticket, answer: Answer): void;
}

export interface PackageOptions {
  /** Goes into the list of options as it is: more of them can follow behind a comma. */
  readonly fsname: string;
  readonly subtype: string;
  readonly allowOther: boolean;
  readonly defaultPermissions: boolean;
  /** false: an operation may take as long as it takes. */
  readonly timeout: false;
}

/** One mount. */
export interface PackageMount {
  mount(done: (error: Error | null) => void): void;
  /** Lets go of the event loop, also after a mount that failed; it unmounts nothing (see `loadPackage`). */
  _close(done: (error: Error | null) => void): void;
}

interface Package {
  new (dir: string, operations: PackageOperations, options: PackageOptions): PackageMount;
  unmount(dir: string, done: (error: Error | null) => void): void;
}

export interface Loaded {
  readonly Fuse: Package;
  readonly libfuse: Libfuse2;
}

/** @throws OpError dependency-missing, which says what to install. */
export function loadPackage(
  load: (name: string) => unknown = createRequire(import.meta.url),
): Loaded {
  try {
    // First, so that its symbols are the ones that the package finds.
    const libfuse = loadLibfuse2();
    const Fuse = load('fuse-native') as Package;
    // The package would hand the path to a shell; the driver unmounts by itself.
    Fuse.unmount = (_dir, done) => done(null);
    return { Fuse, libfuse };
  } catch (error) {
    throw new OpError('dependency-missing', 'load the driver fuse-native', {
      cause: error,
      hint: hintOf(error instanceof Error ? error.message : String(error)),
    });
  }
}

function hintOf(message: string): string {
  if (message.includes('libfuse.so.2')) {
    return 'install libfuse 2: apt-get install libfuse2 (Debian 13 and later: libfuse2t64)';
  }
  if (message.includes("'fuse-native'")) {
    return 'install the optional package: npm install fuse-native@2.2.6';
  }
  return message.split('\n')[0] ?? message;
}
