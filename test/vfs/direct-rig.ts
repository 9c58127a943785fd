/**
 * A file system whose kernel reads and writes open files by itself. The kernel is this process: it
 * writes to the backing files, and says nothing of it.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type ContentId, type Fh, type Ino, type Name, NO_CONTENT } from '../../src/base/ids.ts';
import { O_CREAT, O_RDONLY, O_RDWR } from '../../src/base/posix.ts';
import { checkJournal, type InodeRow, type OpRow } from '../../src/journal/journal.ts';
import type { Caller, Handle } from '../../src/vfs/vfs.ts';
import { HandPassthrough } from '../fakes/passthrough.ts';
import { Fixture, ROOT } from './fixture.ts';

/** The kernel has checked what this caller may do. */
export const KERNEL: Caller = { ...ROOT, checked: true };
export const USER: Caller = { ...KERNEL, uid: 1000, gid: 1000 };

export class DirectRig {
  readonly fixture: Fixture;
  passthrough: HandPassthrough;
  /** Inodes the kernel was told of, and whether of their bytes too. */
  readonly told: [ino: Ino, bytes: boolean][] = [];

  /** `directory`: the state another one left; absent: a new one. */
  constructor(directory?: string) {
    this.fixture = new Fixture(directory);
    this.passthrough = this.#attach();
  }

  get core() {
    return this.fixture.vfs.core;
  }

  /** Closes without a word, as a kill does; another daemon has another connection. */
  restart(): void {
    this.fixture.reopen();
    this.passthrough = this.#attach();
  }

  /**
   * As `restart`, but the connection goes on: with these handles, when there are some, or else those
   * of the handle table.
   */
  takeOver(...handles: readonly (Handle & { readonly ino: Ino })[]): void {
    const { passthrough } = this;
    if (handles.length === 0) this.fixture.takeOver();
    else {
      this.fixture.reopen(
        handles.map(({ fh, ino, flags, backing }) => {
          return { fh, ino, flags, backing, opener: KERNEL, isRevoked: false };
        }),
      );
    }
    this.#attach(passthrough, true);
  }

  #attach(passthrough = new HandPassthrough(), isProven = false): HandPassthrough {
    const { core } = this.fixture.vfs;
    core.live.attach(passthrough, isProven);
    core.invalidator = {
      entry() {},
      inode: (ino, bytes) => this.told.push([ino, bytes]),
      uncounted() {},
      settled: () => Promise.resolve(),
      knows: () => false,
    };
    return passthrough;
  }

  /** A file with these bytes that nobody has open; packed when they are few. Not sealed. */
  put(name: string, bytes: Uint8Array): Ino {
    const { vfs, ipfs } = this.fixture;
    const { inode, handle } = vfs.create(ROOT, ipfs, name as Name, 0o644, O_RDWR);
    if (bytes.length > 0) vfs.write(ROOT, handle.fh, Buffer.from(bytes), 0, false);
    vfs.release(handle.fh);
    return inode.ino;
  }

  /** The same, with a CID. It is the sealer's business whether that is true; here it is a mark. */
  putSealed(name: string, bytes: Uint8Array): { readonly ino: Ino; readonly cid: Buffer } {
    const ino = this.put(name, bytes);
    const cid = Buffer.from([1, 0x70, 0x12, 0x20, ...Array<number>(32).fill(ino % 256)]);
    const { journal, content } = this.fixture;
    const { content: id } = this.row(ino);
    journal.commit(() => {
      journal.contents.insertBlock({ cid, content: id, position: 0, size: bytes.length });
      content.seal(id, cid, 'unixfs-v1-2025');
    });
    return { ino, cid };
  }

  create(name: string, flags = O_RDWR): { readonly ino: Ino; readonly handle: Handle } {
    const { vfs, ipfs } = this.fixture;
    const { inode, handle } = vfs.create(KERNEL, ipfs, name as Name, 0o644, flags | O_CREAT);
    return { ino: inode.ino, handle };
  }

  open(ino: Ino, flags: number, caller = KERNEL, killSetId = false): Handle {
    const handle = this.fixture.vfs.open(caller, ino, flags, killSetId);
    if (handle instanceof Promise) throw new Error('it is copied first');
    return handle;
  }

  async openLater(ino: Ino, flags: number): Promise<Handle> {
    const handle = this.fixture.vfs.open(KERNEL, ino, flags, false);
    expect(handle).toBeInstanceOf(Promise);
    return await handle;
  }

  release(...handles: readonly { readonly fh: Fh }[]): void {
    for (const { fh } of handles) this.fixture.vfs.release(fh);
  }

  /** A write of the kernel past the daemon. */
  write({ backing }: Handle, bytes: string | Uint8Array, position = 0): void {
    const fd = openSync(this.passthrough.pathOf(backing), 'r+');
    const piece = Buffer.from(bytes as string);
    writeSync(fd, piece, 0, piece.length, position);
    closeSync(fd);
  }

  lengthen({ backing }: Handle, size: number): void {
    const fd = openSync(this.passthrough.pathOf(backing), 'r+');
    ftruncateSync(fd, size);
    closeSync(fd);
  }

  read({ backing }: Handle): string {
    return readFileSync(this.passthrough.pathOf(backing), 'latin1');
  }

  /** A mapping: it outlives the handle. What it gives ends it. */
  map({ backing }: Handle, flags: 'r' | 'r+'): { readonly fd: number; end(): void } {
    const fd = openSync(this.passthrough.pathOf(backing), flags);
    return { fd, end: () => closeSync(fd) };
  }

  row(ino: Ino): InodeRow {
    return this.core.inodes.get(ino);
  }

  contentOf(ino: Ino) {
    return this.contentRow(this.row(ino).content);
  }

  contentRow(id: ContentId | null | undefined) {
    return this.fixture.content.row(id ?? NO_CONTENT);
  }

  /** What a tool reads. */
  bytesOf(ino: Ino): string {
    const { vfs } = this.fixture;
    const handle = vfs.openNow(ROOT, ino, O_RDONLY, false);
    const into = Buffer.alloc(this.row(ino).size + 10);
    const count = vfs.read(handle.fh, into, 0, into.length, 0);
    vfs.release(handle.fh);
    return into.toString('latin1', 0, Number(count));
  }

  /** Bytes of an object, whoever shows it. */
  bytesIn(id: ContentId | null | undefined): string {
    const { content } = this.fixture;
    const into = Buffer.alloc(content.size(id ?? NO_CONTENT));
    content.read(id ?? NO_CONTENT, into, 0, into.length, 0);
    return into.toString('latin1');
  }

  records(ino: Ino): OpRow[] {
    return this.fixture.journal.ops.page(0, 10_000).filter((record) => record.ino === ino);
  }

  kinds(ino: Ino): string[] {
    return this.records(ino).map(({ kind }) => kind);
  }

  /** The file itself, whatever its name is. */
  diskInode({ backing }: Handle): number {
    const fd = openSync(this.passthrough.pathOf(backing), 'r');
    const { ino } = fstatSync(fd);
    closeSync(fd);
    return ino;
  }

  slotFiles(): string[] {
    const directory = join(this.fixture.directory, 'content', 'slots');
    return existsSync(directory) ? readdirSync(directory) : [];
  }

  /** All laws of the journal hold, and nothing is open or live. */
  expectAtRest(): void {
    const { core } = this;
    expect([core.handles.size, core.live.size, core.live.lingering.size]).toEqual([0, 0, 0]);
    const { journal } = this.fixture;
    expect(journal.sessions.all()).toEqual([]);
    expect(journal.contents.open(0, 10)).toEqual([]);
    expect(checkJournal(journal)).toEqual([]);
  }

  close(): void {
    this.fixture.close();
  }
}
