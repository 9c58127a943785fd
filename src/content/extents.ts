/** Whole reads, writes and copies of ranges of open files; the system calls may do less at a time. */
import { fdatasyncSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { codeOf } from '../base/errors.ts';
import type { NativeFiles } from '../base/native.ts';

/** Bytes that pass through this process at a time when the kernel cannot copy by itself. */
const BOUNCE_BYTES = 1024 * 1024;

/** What copy_file_range(2) says of two files it cannot connect: other file systems, mostly. */
const CANNOT_CONNECT = new Set(['EXDEV', 'EINVAL', 'EOPNOTSUPP', 'ENOSYS']);

export interface Range {
  readonly fd: number;
  readonly position: number;
}

/** FALLOC_FL_* of linux/falloc.h. */
const KEEP_SIZE = 0x01;
const PUNCH_HOLE = 0x02;
const ZERO_RANGE = 0x10;

export interface AllocateMode {
  readonly keepSize: boolean;
  /** Implies `keepSize`, as the kernel demands it. */
  readonly punchHole: boolean;
  readonly zeroRange: boolean;
}

type Copier = Pick<NativeFiles, 'copyFileRange' | 'seek'>;

/** Bytes read: fewer than `length` only at the end of the file. */
export function readAt(
  { fd, position }: Range,
  into: Buffer,
  offset: number,
  length: number,
): number {
  let done = 0;
  while (done < length) {
    const count = readSync(fd, into, offset + done, length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

export function writeAt({ fd, position }: Range, bytes: Buffer): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}

/** What file systems allocate at a time, most of them. */
const PAGE_BYTES = 4096;
const ZEROS = Buffer.alloc(PAGE_BYTES);

/** As `writeAt`, of bytes for which the file has a hole: pages of zeros stay one. */
export function writeSparse({ fd, position }: Range, bytes: Buffer): void {
  for (const { from, to } of filledRuns(bytes)) {
    writeAt({ fd, position: position + from }, bytes.subarray(from, to));
  }
  const end = position + bytes.length;
  if (fstatSync(fd).size < end) ftruncateSync(fd, end);
}

/** Runs of pages that are not all zeros. */
export function* filledRuns(
  bytes: Buffer,
): Generator<{ readonly from: number; readonly to: number }> {
  let from: number | undefined;
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
    const page = bytes.subarray(at, at + PAGE_BYTES);
    const isHole = page.equals(page.length === PAGE_BYTES ? ZEROS : ZEROS.subarray(0, page.length));
    if (!isHole) from ??= at;
    else if (from !== undefined) {
      yield { from, to: at };
      from = undefined;
    }
  }
  if (from !== undefined) yield { from, to: bytes.length };
}

/** Bytes copied: fewer than `length` only when `from` ends. The ranges do not overlap. */
export function copyAt(native: Copier, from: Range, to: Range, length: number): number {
  let done = 0;
  try {
    while (done < length) {
      const count = native.copyFileRange(
        from.fd,
        from.position + done,
        to.fd,
        to.position + done,
        length - done,
      );
      if (count === 0) break;
      done += count;
    }
    return done;
  } catch (error) {
    if (!CANNOT_CONNECT.has(codeOf(error) ?? '')) throw error;
  }
  const bounce = Buffer.allocUnsafe(Math.min(BOUNCE_BYTES, length - done));
  while (done < length) {
    const wanted = Math.min(bounce.length, length - done);
    const source = { fd: from.fd, position: from.position + done };
    const count = readAt(source, bounce, 0, wanted);
    writeAt({ fd: to.fd, position: to.position + done }, bounce.subarray(0, count));
    done += count;
    if (count < wanted) break;
  }
  return done;
}

/**
 * Makes the empty file `to` equal to the first `size` bytes of `from`; holes stay holes. Its size is
 * set last, if it ends with a hole, and when the disk has the bytes before it: after a loss of power a copy that is
 * not all there is shorter than it should be.
 */
export function copyWhole(native: Copier, from: number, to: number, size: number): void {
  let [position, written] = [0, 0];
  while (position < size) {
    const start = native.seek(from, position, 'data');
    if (start === undefined || start >= size) break;
    const end = Math.min(size, native.seek(from, start, 'hole') ?? size);
    copyAt(native, { fd: from, position: start }, { fd: to, position: start }, end - start);
    position = end;
    written = end;
  }
  if (written === size) return;
  if (written > 0) fdatasyncSync(to);
  ftruncateSync(to, size);
}

/** fallocate(2); zeroing works on every file system that knows holes. */
export function allocateAt(
  native: Pick<NativeFiles, 'fallocate'>,
  { fd, position }: Range,
  length: number,
  mode: AllocateMode,
): void {
  if (mode.punchHole) {
    native.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, position, length);
    return;
  }
  const flags = mode.keepSize ? KEEP_SIZE : 0;
  if (!mode.zeroRange) {
    native.fallocate(fd, flags, position, length);
    return;
  }
  try {
    native.fallocate(fd, flags | ZERO_RANGE, position, length);
  } catch (error) {
    // tmpfs has no ZERO_RANGE; a hole reads the same.
    if (codeOf(error) !== 'EOPNOTSUPP') throw error;
    native.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, position, length);
  }
}
