/** A kernel that takes files to read and write by itself, as far as numbers go; it can refuse. */
import { readlinkSync } from 'node:fs';
import { OpError } from '../../src/base/errors.ts';
import type { Passthrough } from '../../src/vfs/vfs.ts';

export class HandPassthrough implements Passthrough {
  /** Files that are registered now: where each was when it was. */
  readonly registered = new Map<number, string>();
  /** Numbers given out so far. */
  count = 0;
  isRefusing = false;

  register(fd: number): number {
    if (this.isRefusing) throw new OpError('io', 'register a backing file');
    this.count += 1;
    this.registered.set(this.count, readlinkSync(`/proc/self/fd/${fd}`));
    return this.count;
  }

  unregister(backing: number): void {
    if (!this.registered.delete(backing)) throw new Error(`${backing} is not registered`);
  }

  /** Where the bytes are that the kernel would read and write. */
  pathOf(backing: number | undefined): string {
    const path = this.registered.get(backing ?? 0);
    if (path === undefined) throw new Error(`${backing} is not registered`);
    return path;
  }
}
