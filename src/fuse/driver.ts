/** One way of speaking to the kernel: a file system in, a mounted directory out. */
import type { Invalidator } from '../vfs/vfs.ts';

/** How a mount ended. */
export interface MountEnd {
  /** undefined: it was unmounted, by us or by somebody else. Otherwise the connection broke. */
  readonly error: Error | undefined;
}

/** What is going on at the mount, in numbers. */
export interface MountStatus {
  readonly driver: string;
  /** Absolute path; undefined before `mount` and after the end. */
  readonly mountPoint: string | undefined;
  /** Minor version of the FUSE protocol 7 that both sides speak. */
  readonly protocolMinor: number | undefined;
  /** Inodes and handles the kernel holds. */
  readonly inodes: number;
  readonly handles: number;
  /** Requests served so far, and those that wait for content. */
  readonly requests: number;
  readonly waiting: number;
  /** Why the kernel does not read and write files by itself, for people; undefined: it does. */
  readonly noPassthrough: string | undefined;
  /** Invalidations the kernel has not taken yet. */
  readonly invalidations: number;
}

export interface Driver {
  /** Where changes are announced that do not come from the mount. Usable at any time. */
  readonly invalidator: Invalidator;
  /** Resolves when the mount has ended and everything the kernel held was given back. */
  readonly ended: Promise<MountEnd>;
  status(): MountStatus;
  /**
   * Mounts at `dir`, an existing directory, and resolves when the kernel has agreed. Once.
   * @throws OpError mount-failed, dependency-missing, version-unsupported.
   */
  mount(dir: string): Promise<void>;
  /**
   * Ends the mount; resolves when it has ended or, when `lazy`, when no new user can enter it.
   * @throws OpError mount-busy: something under it is in use; mount-failed.
   */
  unmount(options?: { readonly lazy?: boolean }): Promise<void>;
  /**
   * Ends the connection at once: whoever still uses the mount gets ENOTCONN from now on. After a
   * lazy `unmount`; without one a dead mount would stay behind.
   */
  abandon(): void;
}
