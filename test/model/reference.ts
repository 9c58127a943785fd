/**
 * What a tree should do, in plain maps: the reference of the model tests. Nothing is clever here, nothing is shared
 * with the product. Calls are made as root; paths are relative to the root, and links lead to relative paths
 * without `..`.
 */
import type { Filesystem, Stat } from '../posix/filesystem.ts';
import { O } from '../posix/law.ts';

/** What the model knows. */
export type Tree = Pick<
  Filesystem,
  | 'mkdir'
  | 'rmdir'
  | 'unlink'
  | 'rename'
  | 'link'
  | 'symlink'
  | 'readlink'
  | 'lstat'
  | 'stat'
  | 'chmod'
  | 'chown'
  | 'truncate'
  | 'readdir'
  | 'open'
  | 'close'
  | 'read'
  | 'write'
  | 'fsync'
  | 'fstat'
  | 'fallocate'
  | 'copyRange'
  | 'getxattr'
  | 'setxattr'
  | 'listxattr'
  | 'removexattr'
>;

const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const LINKS_FOLLOWED_MAX = 40;
const NEVER = { s: 0, ns: 0 };

type Kind = 'file' | 'directory' | 'link';

export interface Node {
  readonly ino: number;
  readonly kind: Kind;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  /** Of a file. */
  bytes: Buffer;
  /** Of a link. */
  readonly target: string;
  /** Of a directory. */
  readonly names: Map<string, Node>;
  parent: Node | undefined;
  readonly xattrs: Map<string, string>;
}

interface Open {
  readonly node: Node;
  readonly appends: boolean;
}

/** Where a path ends. */
interface Place {
  readonly directory: Node;
  readonly name: string;
  readonly node: Node | undefined;
}

export class ModelError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

const refuse = (code: string): never => {
  throw new ModelError(code);
};

export class Reference implements Tree {
  readonly root: Node;
  readonly #open = new Map<number, Open>();
  #nextIno = 1;
  #nextFd = 1;

  constructor() {
    this.root = this.#make('directory', S_IFDIR | 0o755);
    this.root.nlink = 2;
  }

  async mkdir(path: string, mode: number): Promise<void> {
    const { directory, name } = this.#free(path);
    const inherited = directory.mode & 0o2000;
    // mkdir(2): set-id bits are not taken from the mode.
    const made = this.#make('directory', S_IFDIR | (mode & 0o1777) | inherited);
    if (inherited !== 0) made.gid = directory.gid;
    made.nlink = 2;
    made.parent = directory;
    directory.nlink += 1;
    directory.names.set(name, made);
  }

  async rmdir(path: string): Promise<void> {
    const { directory, name, node } = this.#present(path, false);
    if (node.kind !== 'directory') refuse('ENOTDIR');
    if (node.names.size > 0) refuse('ENOTEMPTY');
    directory.names.delete(name);
    directory.nlink -= 1;
    node.nlink = 0;
  }

  async unlink(path: string): Promise<void> {
    const { directory, name, node } = this.#present(path, false);
    if (node.kind === 'directory') refuse('EISDIR');
    directory.names.delete(name);
    node.nlink -= 1;
  }

  /** The order of the checks is that of do_renameat2() and vfs_rename() in fs/namei.c. */
  async rename(from: string, to: string, flags = 0): Promise<void> {
    const [source, target] = [this.#place(from, false), this.#place(to, false)];
    const moved = source.node ?? refuse('ENOENT');
    const { node: other } = target;
    if (flags === 1 && other !== undefined) refuse('EEXIST');
    if (flags === 2 && other === undefined) refuse('ENOENT');
    if (isAbove(moved, target.directory)) refuse('EINVAL');
    if (other !== undefined && isAbove(other, source.directory)) {
      refuse(flags === 2 ? 'EINVAL' : 'ENOTEMPTY');
    }
    if (moved === other) return;
    if (flags === 2 && other !== undefined) {
      put(source, other);
      put(target, moved);
      return;
    }
    if (other !== undefined) this.#replace(moved, other, target);
    source.directory.names.delete(source.name);
    if (moved.kind === 'directory') source.directory.nlink -= 1;
    target.directory.names.set(target.name, moved);
    if (moved.kind === 'directory') {
      target.directory.nlink += 1;
      moved.parent = target.directory;
    }
  }

  #replace(moved: Node, other: Node, { directory }: Place): void {
    if (moved.kind === 'directory' && other.kind !== 'directory') refuse('ENOTDIR');
    if (moved.kind !== 'directory' && other.kind === 'directory') refuse('EISDIR');
    if (other.names.size > 0) refuse('ENOTEMPTY');
    if (other.kind === 'directory') {
      directory.nlink -= 1;
      other.nlink = 0;
    } else {
      other.nlink -= 1;
    }
  }

  async link(from: string, to: string): Promise<void> {
    const { node } = this.#present(from, false);
    const { directory, name } = this.#free(to);
    if (node.kind === 'directory') refuse('EPERM');
    directory.names.set(name, node);
    node.nlink += 1;
  }

  async symlink(target: string, path: string): Promise<void> {
    const { directory, name } = this.#free(path);
    const made = this.#make('link', S_IFLNK | 0o777, target);
    if ((directory.mode & 0o2000) !== 0) made.gid = directory.gid;
    directory.names.set(name, made);
  }

  async readlink(path: string): Promise<string> {
    const { node } = this.#present(path, false);
    return node.kind === 'link' ? node.target : refuse('EINVAL');
  }

  async lstat(path: string): Promise<Stat> {
    return statOf(this.#present(path, false).node);
  }

  async stat(path: string): Promise<Stat> {
    return statOf(this.#present(path, true).node);
  }

  async chmod(path: string, mode: number): Promise<void> {
    const { node } = this.#present(path, true);
    node.mode = (node.mode & ~0o7777) | mode;
  }

  async chown(path: string, uid: number, gid: number): Promise<void> {
    const { node } = this.#present(path, true);
    node.uid = uid;
    node.gid = gid;
    // chown(2): set-gid without the right to execute for the group is not a set-gid bit.
    if (node.kind !== 'directory') node.mode &= (node.mode & 0o010) !== 0 ? ~0o6000 : ~0o4000;
  }

  async truncate(path: string, size: number): Promise<void> {
    const { node } = this.#present(path, true);
    if (node.kind === 'directory') refuse('EISDIR');
    resize(node, size);
  }

  async readdir(path: string): Promise<string[]> {
    const { node } = this.#present(path, true);
    if (node.kind !== 'directory') refuse('ENOTDIR');
    return [...node.names.keys()];
  }

  async open(path: string, flags: number, mode = 0): Promise<number> {
    const isNew = (flags & O.CREAT) !== 0 && (flags & O.EXCL) !== 0;
    const place = this.#place(path, !isNew);
    if (place.node !== undefined && isNew) refuse('EEXIST');
    const node = place.node ?? this.#create(place, flags, mode);
    if (node.kind === 'directory') refuse('EISDIR');
    if ((flags & O.TRUNC) !== 0) node.bytes = Buffer.alloc(0);
    const fd = this.#nextFd++;
    this.#open.set(fd, { node, appends: (flags & O.APPEND) !== 0 });
    return fd;
  }

  #create({ directory, name }: Place, flags: number, mode: number): Node {
    if ((flags & O.CREAT) === 0) refuse('ENOENT');
    const made = this.#make('file', S_IFREG | mode);
    if ((directory.mode & 0o2000) !== 0) made.gid = directory.gid;
    directory.names.set(name, made);
    return made;
  }

  async close(fd: number): Promise<void> {
    if (!this.#open.delete(fd)) refuse('EBADF');
  }

  async read(fd: number, length: number, position: number): Promise<string> {
    return this.#file(fd).node.bytes.toString('latin1', position, position + length);
  }

  async write(fd: number, latin1: string, position: number): Promise<void> {
    const { node, appends } = this.#file(fd);
    if (latin1 === '') return;
    const at = appends ? node.bytes.length : position;
    if (node.bytes.length < at + latin1.length) resize(node, at + latin1.length);
    node.bytes.write(latin1, at, 'latin1');
  }

  async fsync(fd: number): Promise<void> {
    this.#file(fd);
  }

  async fstat(fd: number): Promise<Stat> {
    return statOf(this.#file(fd).node);
  }

  /** Bits of `mode`: 1 keep size, 2 punch hole (with 1 only), 16 zero range. */
  async fallocate(fd: number, mode: number, position: number, length: number): Promise<void> {
    const { node } = this.#file(fd);
    const end = position + length;
    if ((mode & 1) === 0 && end > node.bytes.length) resize(node, end);
    const filled = node.bytes.length;
    if ((mode & 18) !== 0) node.bytes.fill(0, Math.min(position, filled), Math.min(end, filled));
  }

  async copyRange(from: number, fromAt: number, to: number, toAt: number, n: number) {
    const [source, target] = [this.#file(from), this.#file(to)];
    if (target.appends) refuse('EBADF');
    const length = Math.max(0, Math.min(n, source.node.bytes.length - fromAt));
    const overlaps = source.node === target.node && Math.abs(fromAt - toAt) < length;
    if (overlaps && length > 0) refuse('EINVAL');
    if (length === 0) return 0;
    if (target.node.bytes.length < toAt + length) resize(target.node, toAt + length);
    source.node.bytes.copy(target.node.bytes, toAt, fromAt, fromAt + length);
    return length;
  }

  async getxattr(path: string, name: string): Promise<string> {
    return this.#present(path, true).node.xattrs.get(name) ?? refuse('ENODATA');
  }

  async setxattr(path: string, name: string, latin1: string, flags: number): Promise<void> {
    const { xattrs } = this.#present(path, true).node;
    if (flags === 1 && xattrs.has(name)) refuse('EEXIST');
    if (flags === 2 && !xattrs.has(name)) refuse('ENODATA');
    xattrs.set(name, latin1);
  }

  async listxattr(path: string): Promise<string[]> {
    return [...this.#present(path, true).node.xattrs.keys()];
  }

  async removexattr(path: string, name: string): Promise<void> {
    if (!this.#present(path, true).node.xattrs.delete(name)) refuse('ENODATA');
  }

  /** The daemon died: nothing is open any more. */
  closeAll(): void {
    this.#open.clear();
  }

  #file(fd: number): Open {
    return this.#open.get(fd) ?? refuse('EBADF');
  }

  #make(kind: Kind, mode: number, target = ''): Node {
    return {
      ino: this.#nextIno++,
      kind,
      mode,
      uid: 0,
      gid: 0,
      nlink: 1,
      bytes: Buffer.alloc(0),
      target,
      names: new Map(),
      parent: undefined,
      xattrs: new Map(),
    };
  }

  #present(path: string, follow: boolean): Place & { readonly node: Node } {
    const place = this.#place(path, follow);
    const { node } = place;
    return node === undefined ? refuse('ENOENT') : { ...place, node };
  }

  #free(path: string): Place {
    const place = this.#place(path, false);
    if (place.node !== undefined) refuse('EEXIST');
    return place;
  }

  #place(path: string, follow: boolean): Place {
    const rest = path.split('/').reverse();
    let directory = this.root;
    let followed = 0;
    for (;;) {
      const name = rest.pop() ?? refuse('ENOENT');
      if (directory.kind !== 'directory') refuse('ENOTDIR');
      const node = directory.names.get(name);
      const isLast = rest.length === 0;
      if (node?.kind === 'link' && (!isLast || follow)) {
        followed += 1;
        if (followed > LINKS_FOLLOWED_MAX) refuse('ELOOP');
        rest.push(...node.target.split('/').reverse());
        continue;
      }
      if (isLast) return { directory, name, node };
      directory = node ?? refuse('ENOENT');
    }
  }
}

/** Whether `node` is `directory`, or above it. */
function isAbove(node: Node, directory: Node): boolean {
  for (let at: Node | undefined = directory; at !== undefined; at = at.parent) {
    if (at === node) return true;
  }
  return false;
}

/** Puts `node` where another was, for an exchange. */
function put({ directory, name, node: before }: Place, node: Node): void {
  directory.names.set(name, node);
  if (before?.kind === 'directory') directory.nlink -= 1;
  if (node.kind === 'directory') {
    directory.nlink += 1;
    node.parent = directory;
  }
}

function resize(node: Node, size: number): void {
  const bytes = Buffer.alloc(size);
  node.bytes.copy(bytes);
  node.bytes = bytes;
}

function sizeOf(node: Node): number {
  if (node.kind === 'file') return node.bytes.length;
  return node.kind === 'link' ? Buffer.byteLength(node.target) : 0;
}

const statOf = (node: Node): Stat => ({
  ino: node.ino,
  mode: node.mode,
  nlink: node.nlink,
  uid: node.uid,
  gid: node.gid,
  size: sizeOf(node),
  rdev: 0,
  atime: NEVER,
  mtime: NEVER,
  ctime: NEVER,
});
