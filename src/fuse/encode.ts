/**
 * Writes one reply into a preallocated arena: the header, and the structures of its body one behind
 * another. Nothing is allocated for a reply but what names need.
 *
 * Invariants, asserted before a byte may leave: the length in the header is the number of bytes
 * written; a successful body has the size its opcode demands; an error has no body; every number
 * fits its field.
 */
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { Fh, Ino, Name } from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import {
  CID_INO_FROM,
  CONTROL_INO_FROM,
  type DirectoryEntry,
  type Inode,
  type Statfs,
} from '../vfs/vfs.ts';
import type { Request } from './decode.ts';
import {
  ATTR,
  ATTR_OUT,
  DIRENT,
  DIRENT_ALIGN,
  ENTRY_OUT,
  KSTATFS,
  OPEN_OUT,
  OPEN_OUT_BACKING_ID,
  OUT_HEADER,
  STATX,
  STATX_BASIC_STATS,
  STATX_BTIME,
  STATX_OUT,
  SX_TIME,
  UNIQUE_RESEND_HIGH,
} from './layout.ts';

const TWO_TO_32 = 2 ** 32;
/** What the kernel takes for an errno; more is refused with EINVAL (fs/fuse/dev.c). */
const ERRNO_MAX = 511;
const IO_BLOCK_BYTES = 4096;
/** No body of structures alone, with its header, is longer. */
const STRUCTURES_BYTES_MAX = 512;

/**
 * How long names and attributes stay valid: for ever, because every change that does not come from
 * this mount is announced to it. Ten years, because the kernel counts jiffies and must not overflow.
 */
const FOREVER_S = 10 * 365 * 24 * 3600;

/** Control files change without being announced, so the kernel keeps nothing of them. */
export const isControl = (ino: Ino): boolean => ino >= CONTROL_INO_FROM && ino < CID_INO_FROM;

/** What a name of IPNS means may change without anybody here being told. */
const entrySeconds = ({ ino, validMs }: Inode): number => {
  if (isControl(ino)) return 0;
  return validMs === undefined ? FOREVER_S : Math.floor(validMs / 1000);
};

/** Of a change through a mapping the kernel does not tell, so it asks each time. */
const attributeSeconds = ({ ino, isMappable }: Inode): number =>
  isControl(ino) || isMappable === true ? 0 : FOREVER_S;

/** Bytes replies are written to. */
export class Arena {
  readonly buffer: Buffer;
  readonly view: DataView;
  /** Answers that are still being read into it; while there are any it is not used again. */
  pins = 0;

  constructor(bytes: number) {
    this.buffer = Buffer.alloc(bytes);
    this.view = new DataView(this.buffer.buffer, this.buffer.byteOffset, bytes);
  }
}

/** A whole number that is not negative, below 2^53. */
export function putU64(view: DataView, at: number, value: number): void {
  assert(value >= 0, 'negative number in a reply');
  putI64(view, at, value);
}

export function putI64(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value), 'a reply takes whole numbers below 2^53');
  view.setUint32(at, value, true);
  view.setInt32(at + 4, Math.floor(value / TWO_TO_32), true);
}

export function putU32(view: DataView, at: number, value: number): void {
  assert(value === value >>> 0, 'a reply takes 32 bits here');
  view.setUint32(at, value, true);
}

export interface ReplyPlace {
  readonly arena: Arena;
  /** Where the header goes. */
  readonly start: number;
  /** Bytes of a successful body: at least and at most. */
  readonly bodyMin: number;
  readonly bodyMax: number;
  /** The request: halves of its number, and who asks. */
  readonly request: Pick<Request, 'uniqueLow' | 'uniqueHigh' | 'uid' | 'gid' | 'pid'>;
}

/** What an OPEN, OPENDIR or CREATE handed out. */
export interface OpenedHandle {
  readonly fh: Fh;
  readonly ino: Ino;
  /** Of open(2). */
  readonly flags: number;
  readonly isDirectory: boolean;
  /** FOPEN_*. */
  readonly openFlags: number;
  /** With FOPEN_PASSTHROUGH. */
  readonly backing: number | undefined;
}

export class Reply {
  /** Inodes of which the kernel gets one reference each with this reply. */
  readonly lookups: Ino[] = [];
  opened: OpenedHandle | undefined;
  /** Whether the two above are counted as held by the kernel. */
  isHandedOut = false;
  /** Whether somebody else may still write into the body (see `lend`). */
  isLent = false;
  /** Who asked. */
  uid = 0;
  gid = 0;
  pid = 0;
  #uniqueLow = 0;
  #uniqueHigh = 0;
  #arena: Arena;
  #start = 0;
  #end = 0;
  #bodyMin = 0;
  #bodyMax = 0;
  #errno = 0;
  readonly #sectorsOf: (inode: Inode) => number;

  /** `sectorsOf`: the room an inode takes, in units of 512 bytes. */
  constructor(arena: Arena, sectorsOf: (inode: Inode) => number) {
    this.#arena = arena;
    this.#sectorsOf = sectorsOf;
  }

  /** Whether a message with a body of `bodyMax` bytes fits behind `start`. */
  static fits(arena: Arena, start: number, bodyMax: number): boolean {
    return start + OUT_HEADER.bytes + bodyMax <= arena.buffer.length;
  }

  /** Starts an empty answer to the request of that number. */
  begin({ arena, start, bodyMin, bodyMax, request }: ReplyPlace): void {
    assert(Reply.fits(arena, start, bodyMax), 'no room for the reply');
    this.#arena = arena;
    this.#start = start;
    this.#uniqueLow = request.uniqueLow;
    this.#uniqueHigh = request.uniqueHigh;
    this.uid = request.uid;
    this.gid = request.gid;
    this.pid = request.pid;
    this.#bodyMin = bodyMin;
    this.#bodyMax = bodyMax;
    this.#errno = 0;
    this.#end = start + OUT_HEADER.bytes;
    this.lookups.length = 0;
    this.opened = undefined;
    this.isHandedOut = false;
    this.isLent = false;
  }

  get arena(): Arena {
    return this.#arena;
  }

  /** Number of the request, without the resend bit. */
  get unique(): number {
    return (this.#uniqueHigh % UNIQUE_RESEND_HIGH) * TWO_TO_32 + this.#uniqueLow;
  }

  get start(): number {
    return this.#start;
  }

  /** Bytes of the whole message so far. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Bytes the message may grow to. */
  get lengthMax(): number {
    return OUT_HEADER.bytes + this.#bodyMax;
  }

  get message(): Buffer {
    return this.#arena.buffer.subarray(this.#start, this.#end);
  }

  /**
   * Moves what is written to an arena of its own, for an answer that comes later. It has room for
   * every structure; for bytes and names not before they come, because many may wait for them.
   */
  moveToOwnArena(): void {
    this.#move(Math.min(this.lengthMax, STRUCTURES_BYTES_MAX));
  }

  /** Makes the answer an error; what the body holds is not sent. */
  fail(errno: number): void {
    assert(errno > 0 && errno <= ERRNO_MAX, `errno ${errno}`);
    this.#errno = errno;
    this.#end = this.#start + OUT_HEADER.bytes;
  }

  /** Completes the message and returns its length. */
  finish(): number {
    const body = this.length - OUT_HEADER.bytes;
    const isWhole = body >= this.#bodyMin && body <= this.#bodyMax;
    assert(this.#errno === 0 ? isWhole : body === 0, `a body of ${body} bytes`);
    const { view } = this.#arena;
    const at = this.#start;
    putU32(view, at + OUT_HEADER.len, this.length);
    view.setInt32(at + OUT_HEADER.error, -this.#errno, true);
    putU32(view, at + OUT_HEADER.unique, this.#uniqueLow);
    putU32(view, at + OUT_HEADER.unique + 4, this.#uniqueHigh);
    return this.length;
  }

  /**
   * Makes the answer that of a message stored before for the same request.
   * @throws OpError invalid: it was for a request of another kind, which had this one's number.
   */
  repeat(stored: Buffer): void {
    const error = stored.readInt32LE(OUT_HEADER.error);
    const body = stored.subarray(OUT_HEADER.bytes);
    const isFitting = body.length >= this.#bodyMin && body.length <= this.#bodyMax;
    if (error !== 0) this.fail(-error);
    else if (isFitting) this.bytes(body);
    else throw new OpError('invalid', 'repeat a reply');
  }

  /**
   * Repeats the entry a stored message begins with, as one lookup of the inode it returns.
   * @throws OpError invalid: as `repeat`.
   */
  repeatEntry(stored: Buffer): Ino {
    const entry = stored.subarray(OUT_HEADER.bytes, OUT_HEADER.bytes + ENTRY_OUT.bytes);
    if (entry.length !== ENTRY_OUT.bytes) throw new OpError('invalid', 'repeat a reply');
    this.bytes(entry);
    const high = entry.readUInt32LE(ENTRY_OUT.nodeid + 4);
    const ino = (high * TWO_TO_32 + entry.readUInt32LE(ENTRY_OUT.nodeid)) as Ino;
    this.lookups.push(ino);
    return ino;
  }

  /** A name and the inode it means; counts as one lookup of it. */
  entry(inode: Inode): void {
    this.#entryAt(this.#take(ENTRY_OUT.bytes), inode);
    this.lookups.push(inode.ino);
  }

  /** There is no such name, and the kernel may keep that. */
  negativeEntry(): void {
    const at = this.#take(ENTRY_OUT.bytes);
    putU64(this.#arena.view, at + ENTRY_OUT.entryValid, FOREVER_S);
  }

  attributes(inode: Inode): void {
    const { view } = this.#arena;
    const at = this.#take(ATTR_OUT.bytes);
    putU64(view, at + ATTR_OUT.attrValid, attributeSeconds(inode));
    putAttributes(view, at + ATTR_OUT.attr, inode, this.#sectorsOf(inode));
  }

  statx(inode: Inode): void {
    const { view } = this.#arena;
    const at = this.#take(STATX_OUT.bytes);
    putU64(view, at + STATX_OUT.attrValid, attributeSeconds(inode));
    putStatx(view, at + STATX_OUT.stat, inode, this.#sectorsOf(inode));
  }

  open(opened: OpenedHandle): void {
    const { view } = this.#arena;
    const at = this.#take(OPEN_OUT.bytes);
    putU64(view, at + OPEN_OUT.fh, opened.fh);
    putU32(view, at + OPEN_OUT.openFlags, opened.openFlags);
    putU32(view, at + OPEN_OUT_BACKING_ID, opened.backing ?? 0);
    this.opened = opened;
  }

  statfs(statfs: Statfs): void {
    const { view } = this.#arena;
    const at = this.#take(KSTATFS.bytes);
    putU64(view, at + KSTATFS.blocks, statfs.blocks);
    putU64(view, at + KSTATFS.bfree, statfs.blocksFree);
    putU64(view, at + KSTATFS.bavail, statfs.blocksAvailable);
    putU64(view, at + KSTATFS.files, statfs.files);
    putU64(view, at + KSTATFS.ffree, statfs.filesFree);
    putU32(view, at + KSTATFS.bsize, statfs.blockSize);
    putU32(view, at + KSTATFS.namelen, NAME_BYTES_MAX);
    putU32(view, at + KSTATFS.frsize, statfs.blockSize);
  }

  /** A structure of 8 bytes that begins with a 32-bit size: WRITE, GETXATTR of size 0. */
  size(bytes: number): void {
    putU32(this.#arena.view, this.#take(8), bytes);
  }

  /** A structure of one 64-bit number: LSEEK, COPY_FILE_RANGE_64. */
  number(value: number): void {
    putU64(this.#arena.view, this.#take(8), value);
  }

  bytes(bytes: Buffer): void {
    const at = this.#take(bytes.length);
    bytes.copy(this.#arena.buffer, at);
  }

  name(name: Name): void {
    const at = this.#take(name.length);
    this.#arena.buffer.write(name, at, 'latin1');
  }

  /**
   * Where the bytes of a READ go. Whoever is given the place may write there until it says how
   * many there are (`lent`); until then the arena is not used for anything else.
   */
  lend(): { readonly into: Buffer; readonly offset: number } {
    this.#makeRoom(this.#bodyMax);
    this.isLent = true;
    return { into: this.#arena.buffer, offset: this.#start + OUT_HEADER.bytes };
  }

  /** Ends `lend`: that many bytes are there now. */
  lent(bytes: number): void {
    const isCount = Number.isInteger(bytes) && bytes >= 0 && bytes <= this.#bodyMax;
    assert(isCount, `${bytes} bytes read`);
    this.#end = this.#start + OUT_HEADER.bytes + bytes;
    this.isLent = false;
  }

  /** One entry of READDIR; false when there is no room for it. */
  dirent(entry: DirectoryEntry): boolean {
    const bytes = alignedDirentBytes(entry.name);
    if (this.length + bytes > this.lengthMax) return false;
    this.#direntAt(this.#take(bytes), entry);
    return true;
  }

  /**
   * One entry of READDIRPLUS; false when there is no room for it. With its inode it counts as a
   * lookup, except for `.` and `..`, of which the kernel takes no attributes (fs/fuse/readdir.c).
   */
  direntplus(entry: DirectoryEntry): boolean {
    const bytes = ENTRY_OUT.bytes + alignedDirentBytes(entry.name);
    if (this.length + bytes > this.lengthMax) return false;
    const at = this.#take(bytes);
    const isDot = entry.name === '.' || entry.name === '..';
    if (entry.inode !== undefined && !isDot) {
      this.#entryAt(at, entry.inode);
      this.lookups.push(entry.inode.ino);
    }
    this.#direntAt(at + ENTRY_OUT.bytes, entry);
    return true;
  }

  /** Zeroed room for `bytes` more. */
  #take(bytes: number): number {
    assert(this.length + bytes <= this.lengthMax, 'the reply is longer than its opcode allows');
    this.#makeRoom(this.length - OUT_HEADER.bytes + bytes);
    const at = this.#end;
    this.#arena.buffer.fill(0, at, at + bytes);
    this.#end = at + bytes;
    return at;
  }

  #move(bytes: number): void {
    assert(!this.isLent, 'bytes that are lent stay where they are');
    const length = this.length;
    const own = new Arena(Math.max(length, bytes));
    this.message.copy(own.buffer);
    this.#arena = own;
    this.#start = 0;
    this.#end = length;
  }

  #makeRoom(body: number): void {
    if (!Reply.fits(this.#arena, this.#start, body)) this.#move(this.lengthMax);
  }

  #entryAt(at: number, inode: Inode): void {
    const { view } = this.#arena;
    putU64(view, at + ENTRY_OUT.nodeid, inode.ino);
    putU64(view, at + ENTRY_OUT.generation, inode.generation);
    putU64(view, at + ENTRY_OUT.entryValid, entrySeconds(inode));
    putU64(view, at + ENTRY_OUT.attrValid, attributeSeconds(inode));
    putAttributes(view, at + ENTRY_OUT.attr, inode, this.#sectorsOf(inode));
  }

  #direntAt(at: number, entry: DirectoryEntry): void {
    const { view, buffer } = this.#arena;
    const { name } = entry;
    assert(name.length > 0 && name.length <= NAME_BYTES_MAX, 'length of a name');
    assert(entry.cookie > 0, 'a cookie says where reading goes on, and 0 is the start');
    putU64(view, at + DIRENT.ino, entry.ino);
    putU64(view, at + DIRENT.off, entry.cookie);
    putU32(view, at + DIRENT.namelen, name.length);
    putU32(view, at + DIRENT.type, entry.type >>> 12);
    buffer.write(name, at + DIRENT.name, 'latin1');
  }
}

const alignedDirentBytes = (name: Name): number =>
  Math.ceil((DIRENT.name + name.length) / DIRENT_ALIGN) * DIRENT_ALIGN;

function putAttributes(view: DataView, at: number, inode: Inode, sectors: number): void {
  putU64(view, at + ATTR.ino, inode.ino);
  putU64(view, at + ATTR.size, inode.size);
  putU64(view, at + ATTR.blocks, sectors);
  putI64(view, at + ATTR.atime, inode.atimeS);
  putI64(view, at + ATTR.mtime, inode.mtimeS);
  putI64(view, at + ATTR.ctime, inode.ctimeS);
  putU32(view, at + ATTR.atimensec, inode.atimeNs);
  putU32(view, at + ATTR.mtimensec, inode.mtimeNs);
  putU32(view, at + ATTR.ctimensec, inode.ctimeNs);
  putU32(view, at + ATTR.mode, inode.mode);
  putU32(view, at + ATTR.nlink, inode.nlink);
  putU32(view, at + ATTR.uid, inode.uid);
  putU32(view, at + ATTR.gid, inode.gid);
  putU32(view, at + ATTR.rdev, inode.rdev);
  putU32(view, at + ATTR.blksize, IO_BLOCK_BYTES);
}

function putStatx(view: DataView, at: number, inode: Inode, sectors: number): void {
  const time = (offset: number, s: number, ns: number) => {
    putI64(view, at + offset + SX_TIME.sec, s);
    putU32(view, at + offset + SX_TIME.nsec, ns);
  };
  putU32(view, at + STATX.mask, STATX_BASIC_STATS | STATX_BTIME);
  putU32(view, at + STATX.blksize, IO_BLOCK_BYTES);
  putU32(view, at + STATX.nlink, inode.nlink);
  putU32(view, at + STATX.uid, inode.uid);
  putU32(view, at + STATX.gid, inode.gid);
  view.setUint16(at + STATX.mode, inode.mode, true);
  putU64(view, at + STATX.ino, inode.ino);
  putU64(view, at + STATX.size, inode.size);
  putU64(view, at + STATX.blocks, sectors);
  time(STATX.atime, inode.atimeS, inode.atimeNs);
  time(STATX.btime, inode.btimeS, inode.btimeNs);
  time(STATX.ctime, inode.ctimeS, inode.ctimeNs);
  time(STATX.mtime, inode.mtimeS, inode.mtimeNs);
  // As new_encode_dev(9) of the kernel packs a device number: 12 bits major, 20 bits minor.
  putU32(view, at + STATX.rdevMajor, (inode.rdev >>> 8) & 0xfff);
  putU32(view, at + STATX.rdevMinor, (inode.rdev & 0xff) | ((inode.rdev >>> 12) & 0xfff00));
}
