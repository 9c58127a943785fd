/**
 * Makes system calls for a test that must not make them itself: in the working directory it was started in, one after
 * the other, as the user it was told to be. Asked by one JSON array per line, `[call, ...arguments]`, it answers with
 * one object per line: `{"result": …}` or `{"code": "ENOENT", "message": …}`. Ends with its input.
 *
 * Arguments: the native addon. Paths are text, or bytes in latin1 behind U+10FFFF; bytes of files are latin1.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const native = createRequire(import.meta.url)(process.argv[2]);

const BYTE_MARK = '\u{10ffff}';
const AT_FDCWD = -100;
const O_DIRECTORY = 0o200000;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;
/** The least the addon takes: a directory is then read in many pieces. */
const DIRECTORY_BYTES = 1024;

const pathOf = (path) =>
  path.startsWith(BYTE_MARK) ? Buffer.from(path.slice(BYTE_MARK.length), 'latin1') : path;

function time(ns) {
  const second = 1_000_000_000n;
  const rest = ((ns % second) + second) % second;
  return { s: Number((ns - rest) / second), ns: Number(rest) };
}

function statOf(stat) {
  const numbers = ['ino', 'mode', 'nlink', 'uid', 'gid', 'size', 'rdev'];
  return {
    ...Object.fromEntries(numbers.map((name) => [name, Number(stat[name])])),
    atime: time(stat.atimeNs),
    mtime: time(stat.mtimeNs),
    ctime: time(stat.ctimeNs),
  };
}

const BIG = { bigint: true };

const CALLS = {
  /** Root first: nobody else may change groups. */
  as(uid, gid, groups) {
    process.seteuid(0);
    process.setegid(0);
    process.setgroups(groups);
    process.setegid(gid);
    process.seteuid(uid);
  },
  mkdir: (path, mode) => fs.mkdirSync(pathOf(path), mode),
  rmdir: (path) => fs.rmdirSync(pathOf(path)),
  unlink: (path) => fs.unlinkSync(pathOf(path)),
  rename: (from, to, flags) =>
    native.renameAt2(AT_FDCWD, pathOf(from), AT_FDCWD, pathOf(to), flags ?? 0),
  link: (from, to) => fs.linkSync(pathOf(from), pathOf(to)),
  symlink: (target, path) => fs.symlinkSync(pathOf(target), pathOf(path)),
  readlink: (path) => fs.readlinkSync(pathOf(path)),
  lstat: (path) => statOf(fs.lstatSync(pathOf(path), BIG)),
  stat: (path) => statOf(fs.statSync(pathOf(path), BIG)),
  chmod: (path, mode) => fs.chmodSync(pathOf(path), mode),
  chown: (path, uid, gid) => fs.chownSync(pathOf(path), uid, gid),
  /** As dates: Node takes a negative number for the present. */
  utimes: (path, atimeS, mtimeS) =>
    fs.utimesSync(pathOf(path), new Date(atimeS * 1000), new Date(mtimeS * 1000)),
  truncate: (path, size) => fs.truncateSync(pathOf(path), size),
  mknod: (path, mode, major, minor) => native.mknodAt(AT_FDCWD, pathOf(path), mode, major, minor),
  readdir: (path) => fs.readdirSync(pathOf(path)),
  opendir: (path) => fs.openSync(pathOf(path), O_DIRECTORY),
  readSome: (fd) =>
    native.readDirectory(fd, DIRECTORY_BYTES).map(({ name }) => name.toString('utf8')),
  statx(path) {
    const { btime, blocks } = native.statx(AT_FDCWD, pathOf(path));
    return { btime, blocks };
  },
  statfs(path) {
    const { bsize, blocks, bfree, bavail, files, ffree } = fs.statfsSync(pathOf(path));
    return {
      blockSize: bsize,
      blocks,
      blocksFree: bfree,
      blocksAvailable: bavail,
      files,
      filesFree: ffree,
    };
  },
  open: (path, flags, mode) => fs.openSync(pathOf(path), flags, mode ?? 0),
  tmpfile: (directory, mode) => fs.openSync(pathOf(directory), O_TMPFILE | 2, mode),
  linkFile: (fd, path) =>
    native.linkAt(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, pathOf(path), { follow: true }),
  close: (fd) => fs.closeSync(fd),
  read(fd, length, position) {
    const bytes = Buffer.alloc(length);
    return bytes.toString('latin1', 0, fs.readSync(fd, bytes, 0, length, position));
  },
  write(fd, latin1, position) {
    const bytes = Buffer.from(latin1, 'latin1');
    const written = fs.writeSync(fd, bytes, 0, bytes.length, position);
    if (written !== bytes.length) throw new Error(`wrote ${written} of ${bytes.length}`);
  },
  fsync: (fd) => fs.fsyncSync(fd),
  fstat: (fd) => statOf(fs.fstatSync(fd, BIG)),
  fallocate: (fd, mode, position, length) => native.fallocate(fd, mode, position, length),
  seek(fd, position, whence) {
    const found = native.seek(fd, position, whence);
    if (found === undefined) throw Object.assign(new Error('seek: ENXIO'), { code: 'ENXIO' });
    return found;
  },
  copyRange: (from, fromAt, to, toAt, n) => native.copyFileRange(from, fromAt, to, toAt, n),
  getxattr: (path, name) =>
    native.getXattr(pathOf(path), name, { follow: true }).toString('latin1'),
  setxattr: (path, name, latin1, flags) =>
    native.setXattr(pathOf(path), name, Buffer.from(latin1, 'latin1'), flags, { follow: true }),
  listxattr: (path) =>
    native.listXattr(pathOf(path), { follow: true }).map((name) => name.toString('utf8')),
  removexattr: (path, name) => native.removeXattr(pathOf(path), name, { follow: true }),
};

function answer(line) {
  const [call, ...args] = JSON.parse(line);
  try {
    return { result: CALLS[call](...args) };
  } catch (error) {
    return { code: error.code, message: String(error.message) };
  }
}

process.umask(0);
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(line))}\n`);
}
