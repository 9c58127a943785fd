/**
 * The FUSE protocol in numbers: opcodes, flags, and where each field of each structure lies. The
 * only file of the product that knows them; names are those of <linux/fuse.h> (protocol 7.45), in
 * the case of this language. Offsets count from the start of the structure, sizes are bytes, all
 * integers are little-endian (the byte order of every host this runs on).
 */

export const FUSE_KERNEL_VERSION = 7;
/** The newest minor version this file describes. */
export const FUSE_KERNEL_MINOR_VERSION = 45;
/** The oldest one spoken: Linux 4.8. Older kernels use shorter structures, and do not run Node 20. */
export const MINOR_VERSION_MIN = 25;

/** `enum fuse_opcode`. */
export const OP = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  getlk: 31,
  setlk: 32,
  setlkw: 33,
  access: 34,
  create: 35,
  interrupt: 36,
  bmap: 37,
  destroy: 38,
  ioctl: 39,
  poll: 40,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  lseek: 46,
  copyFileRange: 47,
  tmpfile: 51,
  statx: 52,
  copyFileRange64: 53,
} as const;

/** `enum fuse_notify_code`. */
export const NOTIFY = { invalInode: 2, invalEntry: 3, resend: 7 } as const;

/** INIT flags 0–31 (`flags`). */
export const INIT_FLAG = {
  asyncRead: 2 ** 0,
  atomicOTrunc: 2 ** 3,
  bigWrites: 2 ** 5,
  dontMask: 2 ** 6,
  doReaddirplus: 2 ** 13,
  readdirplusAuto: 2 ** 14,
  parallelDirops: 2 ** 18,
  posixAcl: 2 ** 20,
  abortError: 2 ** 21,
  maxPages: 2 ** 22,
  cacheSymlinks: 2 ** 23,
  noOpendirSupport: 2 ** 24,
  explicitInvalData: 2 ** 25,
  handleKillprivV2: 2 ** 28,
  setxattrExt: 2 ** 29,
  initExt: 2 ** 30,
} as const;

/** INIT flags 32–63 (`flags2`), shifted down by 32. */
export const INIT_FLAG2 = { passthrough: 2 ** (37 - 32), hasResend: 2 ** (39 - 32) } as const;

/** `fuse_open_out.open_flags`. */
export const FOPEN_DIRECT_IO = 1;
export const FOPEN_KEEP_CACHE = 2;
export const FOPEN_CACHE_DIR = 8;
export const FOPEN_NOFLUSH = 0x20;
export const FOPEN_PASSTHROUGH = 0x80;

/** `fuse_setattr_in.valid`. */
export const FATTR = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  atime: 16,
  mtime: 32,
  fh: 64,
  atimeNow: 128,
  mtimeNow: 256,
  killSuidgid: 2048,
} as const;

export const FUSE_OPEN_KILL_SUIDGID = 1;
export const FUSE_WRITE_CACHE = 1;
export const FUSE_WRITE_KILL_SUIDGID = 4;
export const FUSE_SETXATTR_ACL_KILL_SGID = 1;
export const FUSE_FSYNC_FDATASYNC = 1;

/** Flags of rename(2), fallocate(2), setxattr(2), lseek(2) as they travel in requests. */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_ZERO_RANGE = 16;
export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** STATX_BASIC_STATS and STATX_BTIME of statx(2). */
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME = 0x800;

/** Bit 63 of `unique`: the kernel asks again (FUSE_UNIQUE_RESEND). Here bit 31 of its upper word. */
export const UNIQUE_RESEND_HIGH = 0x8000_0000;

export const IN_HEADER = {
  len: 0,
  opcode: 4,
  unique: 8,
  nodeid: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  totalExtlen: 36,
  bytes: 40,
} as const;

export const OUT_HEADER = { len: 0, error: 4, unique: 8, bytes: 16 } as const;

// Requests. Offsets are those behind the header.

export const INIT_IN = { major: 0, minor: 4, maxReadahead: 8, flags: 12, flags2: 16 } as const;
export const FORGET_IN = { nlookup: 0 } as const;
export const BATCH_FORGET_IN = { count: 0, bytes: 8 } as const;
export const FORGET_ONE = { nodeid: 0, nlookup: 8, bytes: 16 } as const;
export const SETATTR_IN = {
  valid: 0,
  fh: 8,
  size: 16,
  atime: 32,
  mtime: 40,
  atimensec: 56,
  mtimensec: 60,
  mode: 68,
  uid: 76,
  gid: 80,
  bytes: 88,
} as const;
export const MKNOD_IN = { mode: 0, rdev: 4, umask: 8, bytes: 16 } as const;
export const MKDIR_IN = { mode: 0, umask: 4, bytes: 8 } as const;
export const RENAME_IN = { newdir: 0, bytes: 8 } as const;
export const RENAME2_IN = { newdir: 0, flags: 8, bytes: 16 } as const;
export const LINK_IN = { oldnodeid: 0, bytes: 8 } as const;
export const OPEN_IN = { flags: 0, openFlags: 4 } as const;
export const CREATE_IN = { flags: 0, mode: 4, umask: 8, bytes: 16 } as const;
export const RELEASE_IN = { fh: 0 } as const;
export const READ_IN = { fh: 0, offset: 8, size: 16 } as const;
export const WRITE_IN = {
  fh: 0,
  offset: 8,
  size: 16,
  writeFlags: 20,
  flags: 32,
  bytes: 40,
} as const;
export const FSYNC_IN = { fh: 0, fsyncFlags: 8 } as const;
/** `fuse_setxattr_in`, and its first half, which is all without FUSE_SETXATTR_EXT. */
export const SETXATTR_IN = {
  size: 0,
  flags: 4,
  setxattrFlags: 8,
  bytes: 16,
  compatBytes: 8,
} as const;
export const GETXATTR_IN = { size: 0, bytes: 8 } as const;
export const ACCESS_IN = { mask: 0 } as const;
export const INTERRUPT_IN = { unique: 0 } as const;
export const FALLOCATE_IN = { fh: 0, offset: 8, length: 16, mode: 24 } as const;
export const LSEEK_IN = { fh: 0, offset: 8, whence: 16 } as const;
export const COPY_FILE_RANGE_IN = {
  fhIn: 0,
  offIn: 8,
  nodeidOut: 16,
  fhOut: 24,
  offOut: 32,
  len: 40,
  flags: 48,
} as const;

// Replies. Offsets are those within the structure.

export const ATTR = {
  ino: 0,
  size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
  bytes: 88,
} as const;
export const ENTRY_OUT = {
  nodeid: 0,
  generation: 8,
  entryValid: 16,
  attrValid: 24,
  attr: 40,
  bytes: 128,
} as const;
export const ATTR_OUT = { attrValid: 0, attr: 16, bytes: 104 } as const;
export const OPEN_OUT = { fh: 0, openFlags: 8, bytes: 16 } as const;
/** Its `backing_id`: padding before protocol 7.40 (Linux 6.9). */
export const OPEN_OUT_BACKING_ID = 12;
export const WRITE_OUT = { size: 0, bytes: 8 } as const;
export const GETXATTR_OUT = { size: 0, bytes: 8 } as const;
export const LSEEK_OUT = { offset: 0, bytes: 8 } as const;
export const COPY_FILE_RANGE_OUT = { bytesCopied: 0, bytes: 8 } as const;
export const KSTATFS = {
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
  bytes: 80,
} as const;
export const DIRENT = { ino: 0, off: 8, namelen: 16, type: 20, name: 24 } as const;
/** A DIRENTPLUS is an ENTRY_OUT and then a DIRENT. Each record begins at a multiple of this. */
export const DIRENT_ALIGN = 8;
export const STATX_OUT = { attrValid: 0, stat: 32, bytes: 288 } as const;
/** `struct fuse_statx`, from `STATX_OUT.stat`. Times are `fuse_sx_time`: seconds, then ns. */
export const STATX = {
  mask: 0,
  blksize: 4,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  atime: 64,
  btime: 80,
  ctime: 96,
  mtime: 112,
  rdevMajor: 128,
  rdevMinor: 132,
} as const;
export const SX_TIME = { sec: 0, nsec: 8 } as const;
export const INIT_OUT = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGran: 24,
  maxPages: 28,
  flags2: 32,
  bytes: 64,
} as const;
/** Its `max_stack_depth`: unused before protocol 7.40. */
export const INIT_OUT_MAX_STACK_DEPTH = 36;

// Notifications. Offsets are those behind the header, whose `error` is the code.

export const NOTIFY_INVAL_INODE_OUT = { ino: 0, off: 8, len: 16, bytes: 24 } as const;
export const NOTIFY_INVAL_ENTRY_OUT = { parent: 0, namelen: 8, flags: 12, bytes: 16 } as const;

/** A target of READLINK is at most a page without the NUL the kernel adds. */
export const READLINK_BYTES_MAX = 4095;
