/**
 * Random operations on a file system in this process, each written down in `marks` before it begins
 * and when it has been answered. Arguments: the state directory, a seed, how many operations. Run
 * with trace.c preloaded.
 */
import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { OpError } from '../../src/base/errors.ts';
import type { Fh, Ino } from '../../src/base/ids.ts';
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/base/posix.ts';
import { Dice } from './disk.ts';
import { KERNEL, System, TOOL } from './system.ts';

/** What was done, in the words of the model. */
export type Deed =
  | { readonly op: 'create'; readonly path: string; ino?: Ino }
  | { readonly op: 'mkdir' | 'unlink'; readonly path: string }
  | { readonly op: 'rename' | 'link'; readonly path: string; readonly to: string }
  | {
      readonly op: 'write';
      readonly ino: Ino;
      readonly at: number;
      readonly length: number;
      readonly version: number;
    }
  | { readonly op: 'truncate'; readonly ino: Ino; readonly size: number }
  | { readonly op: 'fsync'; readonly ino: Ino }
  /** What changes no file. */
  | { readonly op: 'other'; readonly what: string };

export type Mark =
  | { readonly begun: number; readonly deed: Deed }
  | { readonly done: number; readonly deed?: Deed; readonly failed?: string };

/** The bytes of a version at a position: no two versions have the same, and none is zero at both of its first bytes. */
export function pattern(version: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let index = 0; index < length; index++) {
    const p = at + index;
    const part = p % 4;
    if (part === 0) bytes[index] = 1 + (version % 255);
    else if (part === 1) bytes[index] = 1 + (Math.floor(version / 255) % 255);
    else bytes[index] = 1 + ((p >> (part === 2 ? 2 : 10)) % 255);
  }
  return bytes;
}

const PATHS = [
  '/ipfs/a',
  '/ipfs/b',
  '/ipfs/c',
  '/ipfs/d',
  '/ipfs/x/a',
  '/ipfs/x/b',
  '/ipfs/x/c',
  '/ipfs/y/a',
];
const HANDLES_MAX = 4;

interface Held {
  readonly fh: Fh;
  readonly ino: Ino;
  readonly backing: number | undefined;
  readonly isWriter: boolean;
}

class Workload {
  readonly #system: System;
  readonly #dice: Dice;
  readonly #marks: number;
  readonly #held: Held[] = [];
  #count = 0;
  #version = 0;

  constructor(directory: string, seed: number) {
    this.#marks = openSync(join(directory, 'marks'), 'a');
    this.#dice = new Dice(seed);
    this.#system = new System(directory, 'the first boot');
  }

  async run(count: number): Promise<void> {
    for (const path of ['/ipfs/x', '/ipfs/y']) {
      await this.#do({ op: 'mkdir', path }, () => {
        const { parent, name } = this.#system.nameIn(path);
        this.#system.vfs.mkdir(TOOL, parent, name, 0o755);
      });
    }
    while (this.#count < count) await this.#step();
    for (const held of this.#held) this.#system.vfs.release(held.fh);
    await this.#system.close();
  }

  async #step(): Promise<void> {
    const { vfs } = this.#system;
    const path = this.#dice.of(PATHS);
    const kind = this.#dice.below(100);
    if (this.#held.length > 0 && kind < 30) return await this.#writeTo(this.#dice.of(this.#held));
    if (this.#held.length > 0 && kind < 42) {
      const held = this.#dice.of(this.#held);
      return await this.#do({ op: 'fsync', ino: held.ino }, () => vfs.fsync(held.fh, false));
    }
    if (this.#held.length > HANDLES_MAX || (this.#held.length > 0 && kind < 54))
      return await this.#close();
    if (kind < 74) return await this.#open(path);
    if (kind < 82) return await this.#rename('rename', path, this.#dice.of(PATHS));
    if (kind < 84) return await this.#rename('link', path, this.#dice.of(PATHS));
    if (kind < 87) {
      return await this.#do({ op: 'unlink', path }, () => {
        const { parent, name } = this.#system.nameIn(path);
        vfs.unlink(TOOL, parent, name);
      });
    }
    if (kind < 94) return await this.#seal();
    if (kind < 97)
      return await this.#do({ op: 'other', what: 'fold' }, () => this.#system.journal.foldWal());
    return await this.#forget();
  }

  async #open(path: string): Promise<void> {
    const { vfs } = this.#system;
    const caller = this.#dice.below(4) === 0 ? TOOL : KERNEL;
    let ino: Ino | undefined;
    try {
      ino = this.#system.ino(path);
    } catch {
      // It is made.
    }
    if (ino === undefined) {
      const deed: Deed = { op: 'create', path };
      return await this.#do(deed, () => {
        const { parent, name } = this.#system.nameIn(path);
        const { inode, handle } = vfs.create(caller, parent, name, 0o644, O_RDWR | O_CREAT);
        deed.ino = inode.ino;
        this.#held.push({ ...handle, backing: handle.backing, ino: inode.ino, isWriter: true });
      });
    }
    const flags = this.#dice.of([O_RDONLY, O_RDWR, O_RDWR, O_WRONLY, O_WRONLY | O_TRUNC]);
    const opened = ino;
    const emptied: Deed = { op: 'truncate', ino, size: 0 };
    await this.#do((flags & O_TRUNC) !== 0 ? emptied : { op: 'other', what: 'open' }, async () => {
      const handle = await vfs.open(caller, opened, flags, false);
      this.#held.push({
        fh: handle.fh,
        backing: handle.backing,
        ino: opened,
        isWriter: flags !== O_RDONLY,
      });
    });
  }

  async #writeTo(held: Held): Promise<void> {
    if (!held.isWriter) return;
    const { vfs } = this.#system;
    const { size } = vfs.getattr(TOOL, held.ino);
    if (this.#dice.below(6) === 0) {
      const cut = this.#dice.below(size + 1000);
      const deed: Deed = { op: 'truncate', ino: held.ino, size: cut };
      return await this.#do(deed, () => vfs.setattr(KERNEL, held.ino, { size: cut }, held.fh));
    }
    const length = this.#dice.of([
      1 + this.#dice.below(300),
      1 + this.#dice.below(9000),
      70_000 + this.#dice.below(30_000),
    ]);
    const at = this.#dice.of([0, size, this.#dice.below(size + 1)]);
    this.#version += 1;
    const deed: Deed = { op: 'write', ino: held.ino, at, length, version: this.#version };
    await this.#do(deed, () => this.#system.write(held, pattern(deed.version, at, length), at));
  }

  async #close(): Promise<void> {
    const [held] = this.#held.splice(this.#dice.below(this.#held.length), 1);
    if (held === undefined) return;
    await this.#do({ op: 'other', what: 'close' }, () => this.#system.vfs.release(held.fh));
  }

  async #rename(op: 'rename' | 'link', path: string, to: string): Promise<void> {
    const { vfs } = this.#system;
    await this.#do({ op, path, to }, () => {
      const [from, into] = [this.#system.nameIn(path), this.#system.nameIn(to)];
      if (op === 'rename') vfs.rename(TOOL, from, into, { noReplace: false, exchange: false });
      else vfs.link(TOOL, this.#system.ino(path), into.parent, into.name);
    });
  }

  /** Gives everything at rest its CID; some of it the block store keeps. */
  async #seal(): Promise<void> {
    const { journal, sealer, content, signal } = this.#system;
    await this.#do({ op: 'other', what: 'seal' }, async () => {
      for (const { id } of journal.contents.frozen(0, 100)) {
        await sealer.seal(id, signal);
        if (this.#dice.below(4) === 0) journal.commit(() => content.hold(id));
      }
    });
  }

  /** As retention does; of what was fsynced nothing, which only a full disk does so soon (SEMANTICS.md). */
  async #forget(): Promise<void> {
    const { journal, content } = this.#system;
    await this.#do({ op: 'other', what: 'forget' }, () => {
      const released = journal.contents.released(2 ** 40, 100);
      const oldest = released.find(({ id }) => content.row(id)?.stable === 0);
      if (oldest !== undefined) journal.commit(() => content.discard(oldest.id));
    });
  }

  async #do(deed: Deed, action: () => unknown): Promise<void> {
    const number = this.#count;
    this.#count += 1;
    this.#mark({ begun: number, deed });
    try {
      await action();
      this.#mark({ done: number, deed });
    } catch (error) {
      if (!(error instanceof OpError)) throw error;
      this.#mark({ done: number, failed: error.failure });
    }
  }

  #mark(mark: Mark): void {
    writeSync(this.#marks, `${JSON.stringify(mark)}\n`);
  }
}

const [, main, directory = '', seed, count] = process.argv;
if (main !== undefined && import.meta.url === pathToFileURL(main).href) {
  await new Workload(directory, Number(seed)).run(Number(count));
}
