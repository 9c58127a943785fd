/**
 * `/ipfs/<cid>/…`: content by CID, immutable. Inodes are made as they are looked up: their numbers
 * are a hash of the path, so that the same path means the same inode after a restart. Bytes come
 * verified from a port, which may have to fetch them; a CID that is bad or absent is not-found.
 *
 * `/ipns/<name>` is a symbolic link to what the name means: another link, with another number, when
 * it means something else, so that no link ever changes; only what the name leads to is asked anew.
 */
import { createHash } from 'node:crypto';
import { OpError } from '../base/errors.ts';
import type { Ino, Name, SuperblockId } from '../base/ids.ts';
import { nameOfText, textOf } from '../base/ids.ts';
import { R_OK, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, W_OK } from '../base/posix.ts';
import type { Asking, DirectoryEntry, Inode } from './contract.ts';
import { blankRow, DIRECTORY_SIZE } from './core.ts';

/** Numbers of these inodes: from here to 2^53. */
export const CID_INO_FROM = 2 ** 52;
/**
 * Nodes remembered before the oldest go that the kernel does not hold. More than are copied at
 * once, so that what is being copied stays.
 */
const REMEMBERED_MAX = 131_072;
const EVICTED_AT_ONCE = REMEMBERED_MAX / 8;
/** Belongs to no row of the journal. */
const NO_SUPERBLOCK = 0 as SuperblockId;

export interface ContentNode {
  /** The CID as text, in base32 or as the caller wrote it. */
  readonly cid: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly size: number;
  readonly mode?: number | undefined;
  readonly mtime?: { readonly s: number; readonly ns: number } | undefined;
  readonly target?: string | undefined;
}

export interface ContentLink {
  readonly name: string;
  readonly cid: string;
  /** Where the CID says so, and its block is elsewhere. */
  readonly type?: 'file' | undefined;
}

/**
 * Immutable content, by CID. `content/` has it, or fetches it; all may reject not-found, or
 * content-missing when it is not known whether there is any. What is asked for ends with its signal:
 * who goes on keeps others from their turn.
 */
export interface ContentReader {
  /** Whether this first-level name is a CID at all. */
  isCid(name: string): boolean;
  node(cid: string, signal: AbortSignal): Promise<ContentNode>;
  children(cid: string, signal: AbortSignal): AsyncIterable<ContentLink>;
  read(cid: string, position: number, length: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** Where a name of IPNS leads: the path `/ipfs/<cid>/…`, for so long. */
export interface NameTarget {
  readonly cid: string;
  readonly segments: readonly string[];
  readonly validMs: number;
}

/** The names of IPNS. Whoever resolves them asks a node, and keeps what it said for a while. */
export interface NameReader {
  /** Whether this first-level name can be one at all. */
  isName(name: string): boolean;
  /** @throws OpError name-not-resolved; what keeps the node from answering. */
  resolve(name: string, signal: AbortSignal): Promise<NameTarget>;
}

/** Nodes that the kernel holds, written down for a daemon after this one. */
export interface NodeLog {
  /** What was appended, oldest first; a line that a kill cut off is none. */
  lines(): readonly string[];
  append(line: string): void;
  /** These instead of all that was appended. */
  replace(lines: readonly string[]): void;
}

/** Nobody goes on with what this process knows. */
const UNKEPT: NodeLog = { lines: () => [], append() {}, replace() {} };

/** Nobody resolves names. */
const NO_NAMES: NameReader = {
  isName: () => false,
  resolve: (name) => Promise.reject(new OpError('name-not-resolved', `resolve ${name}`)),
};

/** The log is written anew when it has grown by so many lines beyond twice what is held. */
const LOG_LINES_SPARE = 8192;

/** Where bytes are read to, and which. */
export interface ReadInto {
  readonly into: Buffer;
  readonly offset: number;
  readonly length: number;
  readonly position: number;
}

interface Node {
  readonly node: ContentNode;
  readonly inode: Inode;
  readonly parent: Ino;
  readonly path: string;
  /** Whether the kernel holds it. */
  isHeld: boolean;
  /** Whether it was looked up from a daemon before this one. */
  readonly isAdopted: boolean;
}

export class CidTree {
  readonly #reader: ContentReader;
  readonly #signal: AbortSignal;
  readonly #nodes = new Map<Ino, Node>();
  readonly #log: NodeLog;
  readonly #names: NameReader;
  #evictFrom = REMEMBERED_MAX;
  #held = 0;
  #logged = 0;

  /** What the log holds the kernel may still ask about: it is known again. */
  constructor(
    reader: ContentReader,
    signal: AbortSignal,
    log: NodeLog = UNKEPT,
    names: NameReader = NO_NAMES,
  ) {
    this.#reader = reader;
    this.#names = names;
    this.#signal = signal;
    this.#log = log;
    const lines = log.lines();
    for (const line of lines) this.#adopt(line);
    if (lines.length > 0) this.#rewriteLog();
  }

  isCid(name: Name): boolean {
    return this.#reader.isCid(textOf(name));
  }

  find(ino: Ino): Inode {
    return this.#get(ino).inode;
  }

  cidOf(ino: Ino): string {
    return this.#get(ino).node.cid;
  }

  parentOf(ino: Ino): Ino {
    return this.#get(ino).parent;
  }

  forget(ino: Ino): void {
    const known = this.#nodes.get(ino);
    if (known?.isHeld === true) this.#held -= 1;
    // The kernel may have looked it up again before it gave that back, which nobody counted: so it
    // stays known, until there is too much.
    if (known?.isAdopted === true) known.isHeld = false;
    else this.#nodes.delete(ino);
  }

  /** The content of `name` in `/ipfs`. @throws OpError not-found. */
  async root(parent: Ino, name: Name, isHeld: boolean, asking?: Asking): Promise<Inode> {
    const cid = textOf(name);
    return this.#enter(parent, cid, await this.#node(cid, this.#until(asking)), isHeld);
  }

  /**
   * The link that a name in `/ipns` is now.
   * @throws OpError not-found: it is no name; as `NameReader.resolve`.
   */
  async named(parent: Ino, name: Name, isHeld: boolean, asking?: Asking): Promise<Inode> {
    const text = textOf(name);
    if (!this.#names.isName(text)) throw new OpError('not-found', `lookup /ipns/${text}`);
    const { cid, segments, validMs } = await this.#names.resolve(text, this.#until(asking));
    const target = ['..', 'ipfs', cid, ...segments].join('/');
    const node = { cid, type: 'symlink', size: Buffer.byteLength(target), target } as const;
    const inode = this.#enter(parent, `/ipns/${text} ${target}`, node, isHeld);
    return { ...inode, validMs };
  }

  /** A child of a directory. @throws OpError not-found, not-directory. */
  async child(parent: Ino, name: Name, isHeld: boolean, asking?: Asking): Promise<Inode> {
    const signal = this.#until(asking);
    const above = this.#get(parent);
    if (name === '.') return above.inode;
    const wanted = textOf(name);
    for await (const child of this.#reader.children(above.node.cid, signal)) {
      if (child.name !== wanted) continue;
      const node = await this.#node(child.cid, signal);
      return this.#enter(parent, `${above.path}/${wanted}`, node, isHeld);
    }
    throw new OpError('not-found', `lookup ${above.path}/${wanted}`);
  }

  readlink(ino: Ino): Name {
    const { node } = this.#get(ino);
    if (node.target === undefined) throw new OpError('invalid', 'readlink');
    return nameOfText(node.target);
  }

  async read(
    ino: Ino,
    { into, offset, length, position }: ReadInto,
    asking?: Asking,
  ): Promise<number> {
    const signal = this.#until(asking);
    const { node } = this.#get(ino);
    const wanted = Math.min(length, node.size - position);
    if (wanted <= 0) return 0;
    const bytes = await this.#reader.read(node.cid, position, wanted, signal);
    into.set(bytes, offset);
    return bytes.length;
  }

  async readdir(
    ino: Ino,
    cookie: number,
    take: (entry: DirectoryEntry) => boolean,
    asking?: Asking,
  ): Promise<void> {
    const signal = this.#until(asking);
    const { node, inode, parent, path } = this.#get(ino);
    let index = 0;
    const dots: [string, Ino][] = [
      ['.', inode.ino],
      ['..', parent],
    ];
    for (const [name, number] of dots) {
      index += 1;
      const entry = { name: name as Name, ino: number, type: S_IFDIR, cookie: index };
      if (index > cookie && !take({ ...entry, inode: undefined })) return;
    }
    for await (const child of this.#reader.children(node.cid, signal)) {
      index += 1;
      if (index <= cookie) continue;
      const row = await this.#childRow(ino, `${path}/${child.name}`, child, signal);
      const name = nameOfText(child.name);
      const type = row.mode & S_IFMT;
      if (!take({ name, ino: row.ino, type, cookie: index, inode: undefined })) return;
    }
  }

  access(ino: Ino, mask: number): void {
    const { inode } = this.#get(ino);
    if ((mask & W_OK) !== 0) throw new OpError('read-only', 'access');
    const allowed = (inode.mode >> 6) & 7;
    if ((mask & ~(allowed | R_OK)) !== 0) throw new OpError('denied', 'access');
  }

  /** A listed child; one that cannot be had, or be shown, is still listed, as a file. */
  async #childRow(
    parent: Ino,
    path: string,
    { cid, type }: ContentLink,
    signal: AbortSignal,
  ): Promise<Inode> {
    if (type === 'file') return rowOf(path, { cid, type, size: 0 });
    try {
      return this.#enter(parent, path, await this.#node(cid, signal), false);
    } catch (error) {
      const isAway =
        error instanceof OpError &&
        ['not-found', 'content-missing', 'file-too-large'].includes(error.failure);
      if (!isAway) throw error;
      return rowOf(path, { cid, type: 'file', size: 0 });
    }
  }

  /** Aborts when who asked waits no more; of who does not say, when the daemon ends. */
  #until(asking: Asking | undefined): AbortSignal {
    return asking?.signal ?? this.#signal;
  }

  async #node(cid: string, signal: AbortSignal): Promise<ContentNode> {
    try {
      return await this.#reader.node(cid, signal);
    } catch (error) {
      const absent =
        error instanceof OpError && ['invalid-cid', 'not-found'].includes(error.failure);
      if (absent) throw new OpError('not-found', `lookup ${cid}`, { cause: error });
      throw error;
    }
  }

  #enter(parent: Ino, path: string, node: ContentNode, isHeld: boolean): Inode {
    const inode = rowOf(path, node);
    let known = this.#nodes.get(inode.ino);
    if (known === undefined) {
      if (this.#nodes.size >= this.#evictFrom) this.#evict();
      known = { node, inode, parent, path, isHeld: false, isAdopted: false };
      this.#nodes.set(inode.ino, known);
    }
    if (isHeld && !known.isHeld) this.#hold(known);
    return known.inode;
  }

  #hold(node: Node): void {
    node.isHeld = true;
    this.#held += 1;
    this.#log.append(lineOf(node));
    this.#logged += 1;
    if (this.#logged > 2 * this.#held + LOG_LINES_SPARE) this.#rewriteLog();
  }

  #rewriteLog(): void {
    const held = [...this.#nodes.values()].filter(({ isHeld }) => isHeld);
    this.#log.replace(held.map(lineOf));
    this.#logged = held.length;
  }

  #adopt(line: string): void {
    const noted = notedIn(line);
    if (noted === undefined) return;
    const [parent, path, node] = noted;
    const inode = rowOf(path, node);
    if (!this.#nodes.has(inode.ino)) this.#held += 1;
    this.#nodes.set(inode.ino, { node, inode, parent, path, isHeld: true, isAdopted: true });
  }

  #evict(): void {
    let left = EVICTED_AT_ONCE;
    for (const [ino, { isHeld }] of this.#nodes) {
      if (left === 0) break;
      if (isHeld) continue;
      this.#nodes.delete(ino);
      left -= 1;
    }
    // Where the kernel holds most, looking for the others each time would cost more than they do.
    this.#evictFrom = Math.max(REMEMBERED_MAX, this.#nodes.size + EVICTED_AT_ONCE);
  }

  #get(ino: Ino): Node {
    const node = this.#nodes.get(ino);
    if (node === undefined) throw new OpError('not-found', `inode ${ino}`);
    return node;
  }
}

const TYPE_BITS = { file: S_IFREG | 0o444, directory: S_IFDIR | 0o555, symlink: S_IFLNK | 0o777 };

/** Undefined: it was cut off, or is of another version, and so of no use. */
function notedIn(line: string): [parent: Ino, path: string, node: ContentNode] | undefined {
  try {
    const [parent, path, node] = JSON.parse(line) as [Ino, string, ContentNode];
    const isWhole = typeof parent === 'number' && typeof path === 'string';
    return isWhole && node.type in TYPE_BITS ? [parent, path, node] : undefined;
  } catch {
    return undefined;
  }
}

const lineOf = ({ parent, path, node }: Node): string => JSON.stringify([parent, path, node]);

/** 52 bits of SHA-256 over the path that leads to the content. */
function inoOf(path: string): Ino {
  const digest = createHash('sha256').update(path).digest();
  return (CID_INO_FROM + Number(digest.readBigUInt64LE() & 0xf_ffff_ffff_ffffn)) as Ino;
}

function rowOf(path: string, node: ContentNode): Inode {
  const bits = TYPE_BITS[node.type];
  // Content says who may execute it; nobody may write it, whatever it says.
  const mode = node.mode === undefined ? bits : (bits & S_IFMT) | (node.mode & 0o555);
  const isDirectory = node.type === 'directory';
  return blankRow({
    ino: inoOf(path),
    superblock: NO_SUPERBLOCK,
    mode,
    uid: 0,
    gid: 0,
    nlink: isDirectory ? 2 : 1,
    size: isDirectory ? DIRECTORY_SIZE : node.size,
    rdev: 0,
    parent: 0 as Ino,
    now: node.mtime ?? { s: 0, ns: 0 },
  });
}
