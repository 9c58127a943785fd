/** A kernel that takes files to read and write by itself, as far as numbers go; it can refuse. */
import { fstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OpError } from '../../src/base/errors.ts';
import type { Passthrough } from '../../src/vfs/vfs.ts';

export class HandPassthrough implements Passthrough {
  /** Files that are registered now: where each was when it was. */
  readonly registered = new Map<number, string>();
  readonly #inos = new Map<number, number>();
  /** Numbers given out so far. */
  count = 0;
  isRefusing = false;

  register(fd: number): number {
    if (this.isRefusing) throw new OpError('io', 'register a backing file');
    this.count += 1;
    this.registered.set(this.count, readlinkSync(`/proc/self/fd/${fd}`));
    this.#inos.set(this.count, fstatSync(fd).ino);
    return this.count;
  }

  unregister(backing: number): void {
    if (!this.registered.delete(backing)) throw new Error(`${backing} is not registered`);
  }

  /** Where the bytes are that the kernel would read and write: the file, whatever its name is now. */
  pathOf(backing: number | undefined): string {
    const path = this.registered.get(backing ?? 0);
    if (path === undefined) throw new Error(`${backing} is not registered`);
    const ino = this.#inos.get(backing ?? 0);
    const inoAt = (at: string) => statSync(at, { throwIfNoEntry: false })?.ino;
    if (inoAt(path) === ino) return path;
    const slots = join(dirname(dirname(path)), 'slots');
    const names = readdirSync(slots).map((name) => join(slots, name));
    return names.find((name) => inoAt(name) === ino) ?? path;
  }
}
