/**
 * The table's file system over a Vfs in this process. It does what the kernel does before it asks: it resolves paths,
 * decides what O_CREAT means, which files may be linked and which modes are taken, and has set-id bits taken away
 * when somebody else than root writes.
 */
import { getSystemErrorName } from 'node:util';
import { OpError } from '../../src/base/errors.ts';
import { type Fh, type Ino, type Name, nameOfText, textOf } from '../../src/base/ids.ts';
import { O_CREAT, O_EXCL, O_RDWR, O_TRUNC } from '../../src/base/posix.ts';
import { errnoOf } from '../../src/fuse/errno.ts';
import {
  type AttributeChange,
  type Caller,
  type Inode,
  resolve,
  type Vfs,
} from '../../src/vfs/vfs.ts';
import type { Facts, Moment, Path, PosixFilesystem, Space, Stat } from './filesystem.ts';

const BYTE_MARK = '\u{10ffff}';
const NO_ONE = 0xffff_ffff;
/** Few, so that a directory is read in many pieces. */
const NAMES_AT_ONCE = 16;

const nameOfPath = (path: Path): Name =>
  path.startsWith(BYTE_MARK) ? (path.slice(BYTE_MARK.length) as Name) : nameOfText(path);

/** What the program that called the kernel would see. */
class SystemError extends Error {
  readonly code: string;

  constructor(error: unknown) {
    super(String(error), { cause: error });
    const name = getSystemErrorName(-errnoOf(error));
    this.code = name === 'ENOTSUP' ? 'EOPNOTSUPP' : name;
  }
}

const statOf = (inode: Inode): Stat => ({
  ino: inode.ino,
  mode: inode.mode,
  nlink: inode.nlink,
  uid: inode.uid,
  gid: inode.gid,
  size: inode.size,
  rdev: inode.rdev,
  atime: { s: inode.atimeS, ns: inode.atimeNs },
  mtime: { s: inode.mtimeS, ns: inode.mtimeNs },
  ctime: { s: inode.ctimeS, ns: inode.ctimeNs },
});

const callerAs = (uid: number, gid: number, groups: readonly number[] = []): Caller => ({
  uid,
  gid,
  groups,
  checked: false,
  actor: () => ({ surface: 'mcp', uid, gid }),
});

export class InProcess implements PosixFilesystem {
  readonly #vfs: Vfs;
  readonly #directory: string;
  #caller = callerAs(0, 0);
  /** Where each open directory was read to. */
  readonly #cookies = new Map<number, number>();
  /** Files made without a name: only they may get one again (I_LINKABLE). */
  readonly #linkable = new Set<number>();

  /** Paths that are not absolute start at `directory`. */
  constructor(vfs: Vfs, directory = '') {
    this.#vfs = vfs;
    this.#directory = directory;
  }

  async as(uid: number, gid: number, groups: readonly number[] = []): Promise<void> {
    this.#caller = callerAs(uid, gid, groups);
  }

  mkdir(path: Path, mode: number): Promise<void> {
    return this.#at(path, (parent, name) =>
      this.#vfs.mkdir(this.#caller, parent, name, mode & 0o1777),
    );
  }

  rmdir(path: Path): Promise<void> {
    return this.#at(path, (parent, name) => this.#vfs.rmdir(this.#caller, parent, name));
  }

  unlink(path: Path): Promise<void> {
    return this.#at(path, (parent, name) => this.#vfs.unlink(this.#caller, parent, name));
  }

  rename(from: Path, to: Path, flags = 0): Promise<void> {
    return this.#call(async () => {
      const [source, target] = [await this.#resolve(from, false), await this.#resolve(to, false)];
      const how = { noReplace: (flags & 1) !== 0, exchange: (flags & 2) !== 0 };
      this.#vfs.rename(this.#caller, source, target, how);
    });
  }

  link(from: Path, to: Path): Promise<void> {
    return this.#call(async () => {
      const { ino } = await this.#inode(from, false);
      const { parent, name } = await this.#resolve(to, false);
      this.#vfs.link(this.#caller, ino, parent, name);
    });
  }

  symlink(target: Path, path: Path): Promise<void> {
    return this.#at(path, (parent, name) =>
      this.#vfs.symlink(this.#caller, parent, name, nameOfPath(target)),
    );
  }

  readlink(path: Path): Promise<string> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, false);
      return textOf(this.#vfs.readlink(this.#caller, ino));
    });
  }

  lstat(path: Path): Promise<Stat> {
    return this.#call(async () => statOf(await this.#inode(path, false)));
  }

  stat(path: Path): Promise<Stat> {
    return this.#call(async () => statOf(await this.#inode(path, true)));
  }

  chmod(path: Path, mode: number): Promise<void> {
    return this.#change(path, { mode });
  }

  chown(path: Path, uid: number, gid: number): Promise<void> {
    return this.#change(path, {
      uid: uid === NO_ONE ? undefined : uid,
      gid: gid === NO_ONE ? undefined : gid,
    });
  }

  utimes(path: Path, atimeS: number, mtimeS: number): Promise<void> {
    return this.#change(path, { atime: { s: atimeS, ns: 0 }, mtime: { s: mtimeS, ns: 0 } });
  }

  utimens(path: Path, atime: Moment, mtime: Moment): Promise<void> {
    const timeOf = (moment: Moment) => (moment === 'omit' ? undefined : moment);
    return this.#call(async () => {
      const { ino } = await this.#inode(path, false);
      // The kernel looks the file up, and asks for nothing.
      if (atime === 'omit' && mtime === 'omit') return;
      void this.#vfs.setattr(this.#caller, ino, { atime: timeOf(atime), mtime: timeOf(mtime) });
    });
  }

  access(path: Path, mask: number): Promise<void> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, true);
      this.#vfs.access(this.#caller, ino, mask);
    });
  }

  statx(path: Path): Promise<Facts> {
    return this.#call(async () => {
      const inode = await this.#inode(path, false);
      const btime = { s: inode.btimeS, ns: inode.btimeNs };
      return { btime, blocks: this.#vfs.sectors(inode) };
    });
  }

  truncate(path: Path, size: number): Promise<void> {
    return this.#change(path, { size, killSetId: this.#killsSetId });
  }

  mknod(path: Path, mode: number, major: number, minor: number): Promise<void> {
    return this.#at(path, (parent, name) =>
      this.#vfs.mknod(this.#caller, parent, name, mode, (major << 8) | minor),
    );
  }

  async readdir(path: Path): Promise<string[]> {
    const fd = await this.opendir(path);
    const names: string[] = [];
    for (;;) {
      const some = await this.readSome(fd);
      if (some.length === 0) break;
      names.push(...some);
    }
    await this.close(fd);
    return names;
  }

  opendir(path: Path): Promise<number> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, true);
      const { fh } = this.#vfs.opendir(this.#caller, ino);
      this.#cookies.set(fh, 0);
      return fh;
    });
  }

  readSome(fd: number): Promise<string[]> {
    return this.#call(async () => {
      const names: string[] = [];
      let left = NAMES_AT_ONCE;
      await this.#vfs.readdir(fd as Fh, this.#cookies.get(fd) ?? 0, true, (entry) => {
        if (left === 0) return false;
        left -= 1;
        this.#cookies.set(fd, entry.cookie);
        if (entry.name !== '.' && entry.name !== '..') names.push(textOf(entry.name));
        return true;
      });
      return names;
    });
  }

  statfs(path: Path): Promise<Space> {
    return this.#call(async () => this.#vfs.statfs((await this.#inode(path, true)).ino));
  }

  open(path: Path, flags: number, mode = 0): Promise<number> {
    return this.#call(async () => {
      const creates = (flags & O_CREAT) !== 0;
      const isNew = creates && (flags & O_EXCL) !== 0;
      const found = await this.#resolve(path, !isNew);
      if (found.inode === undefined) {
        if (!creates) throw new OpError('not-found', path);
        const made = this.#vfs.create(this.#caller, found.parent, found.name, mode, flags);
        return made.handle.fh;
      }
      if (isNew) throw new OpError('exists', path);
      const killsSetId = this.#killsSetId && (flags & O_TRUNC) !== 0;
      return this.#vfs.openNow(this.#caller, found.inode.ino, flags, killsSetId).fh;
    });
  }

  tmpfile(directory: Path, mode: number): Promise<number> {
    return this.#call(async () => {
      const { ino } = await this.#inode(directory, true);
      const { fh } = this.#vfs.tmpfile(this.#caller, ino, mode, O_RDWR).handle;
      this.#linkable.add(fh);
      return fh;
    });
  }

  linkFile(fd: number, path: Path): Promise<void> {
    return this.#at(path, (parent, name) => {
      const { ino, nlink } = this.#vfs.getattr(this.#caller, this.#inoOf(fd));
      if (nlink === 0 && !this.#linkable.has(fd)) throw new OpError('not-found', path);
      this.#vfs.link(this.#caller, ino, parent, name);
    });
  }

  close(fd: number): Promise<void> {
    return this.#call(() => {
      if (this.#cookies.delete(fd)) this.#vfs.releasedir(fd as Fh);
      else this.#vfs.release(fd as Fh);
    });
  }

  read(fd: number, length: number, position: number): Promise<string> {
    return this.#call(async () => {
      const into = Buffer.alloc(length);
      const got = await this.#vfs.read(fd as Fh, into, 0, length, position);
      return into.toString('latin1', 0, got);
    });
  }

  write(fd: number, latin1: string, position: number): Promise<void> {
    return this.#call(() => {
      const bytes = Buffer.from(latin1, 'latin1');
      this.#vfs.write(this.#caller, fd as Fh, bytes, position, this.#killsSetId);
    });
  }

  fsync(fd: number): Promise<void> {
    return this.#call(() => this.#vfs.fsync(fd as Fh, false));
  }

  fstat(fd: number): Promise<Stat> {
    return this.#call(() => statOf(this.#vfs.getattr(this.#caller, this.#inoOf(fd))));
  }

  fallocate(fd: number, mode: number, position: number, length: number): Promise<void> {
    return this.#call(() => {
      const flags = {
        keepSize: (mode & 1) !== 0,
        punchHole: (mode & 2) !== 0,
        zeroRange: (mode & 16) !== 0,
      };
      this.#vfs.fallocate(this.#caller, fd as Fh, flags, position, length);
    });
  }

  seek(fd: number, position: number, whence: 'data' | 'hole'): Promise<number> {
    return this.#call(() => this.#vfs.lseek(fd as Fh, position, whence));
  }

  copyRange(from: number, fromAt: number, to: number, toAt: number, n: number): Promise<number> {
    return this.#call(() => {
      const source = { fh: from as Fh, position: fromAt };
      const target = { fh: to as Fh, position: toAt };
      return this.#vfs.copyFileRange(this.#caller, source, target, n);
    });
  }

  getxattr(path: Path, name: string): Promise<string> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, true);
      const value = this.#vfs.getxattr(this.#caller, ino, nameOfText(name));
      if (value === undefined) throw new OpError('no-attribute', 'getxattr');
      return value.toString('latin1');
    });
  }

  setxattr(path: Path, name: string, latin1: string, flags: number): Promise<void> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, true);
      const mode = flags === 1 ? 'create' : flags === 2 ? 'replace' : 'any';
      const value = Buffer.from(latin1, 'latin1');
      this.#vfs.setxattr(this.#caller, ino, nameOfText(name), value, mode);
    });
  }

  listxattr(path: Path): Promise<string[]> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, true);
      return this.#vfs.listxattr(this.#caller, ino).map(textOf);
    });
  }

  removexattr(path: Path, name: string): Promise<void> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, true);
      this.#vfs.removexattr(this.#caller, ino, nameOfText(name));
    });
  }

  /** The kernel asks for it unless the writer has CAP_FSETID. */
  get #killsSetId(): boolean {
    return this.#caller.uid !== 0;
  }

  #inoOf(fd: number): Ino {
    return this.#vfs.core.handles.get(fd as Fh).ino;
  }

  #resolve(path: Path, follow: boolean) {
    const name = nameOfPath(path);
    const whole = name.startsWith('/') ? name : (`${this.#directory}/${name}` as Name);
    return resolve(this.#vfs, this.#caller, whole, { follow });
  }

  async #inode(path: Path, follow: boolean): Promise<Inode> {
    const { inode } = await this.#resolve(path, follow);
    if (inode === undefined) throw new OpError('not-found', path);
    return inode;
  }

  #at(path: Path, body: (parent: Ino, name: Name) => unknown): Promise<void> {
    return this.#call(async () => {
      const { parent, name } = await this.#resolve(path, false);
      await body(parent, name);
    });
  }

  #change(path: Path, change: AttributeChange): Promise<void> {
    return this.#call(async () => {
      const { ino } = await this.#inode(path, true);
      await this.#vfs.setattr(this.#caller, ino, change);
    });
  }

  async #call<T>(body: () => T | Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      if (error instanceof OpError) throw new SystemError(error);
      throw error;
    }
  }
}
