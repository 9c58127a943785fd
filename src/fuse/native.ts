/**
 * How a directory becomes a FUSE mount and stops being one: mount(2) and umount2(2) for root,
 * fusermount3 for everybody else.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { codeOf, OpError } from '../base/errors.ts';
import { FUSE_IO_BYTES_MAX } from '../base/limits.ts';
import type { NativeFiles, NativeMounting } from '../base/native.ts';

export interface AttachOptions {
  /** Whether others than the mounting user may enter. */
  readonly allowOther: boolean;
  readonly readOnly: boolean;
  /** Whether set-id bits and file capabilities count on execve(2). Root only. */
  readonly suid: boolean;
  /** Whether device files can be opened. Root only. */
  readonly dev: boolean;
}

/** The calls this takes. */
export type AttachNative = NativeMounting & Pick<NativeFiles, 'closeDescriptor'>;

const SOURCE = 'kitfs';
const SUBTYPE = 'kitfs';
/** Set-user-id, so PATH has no say. Both speak the same protocol; the older one came with libfuse 2. */
const HELPER_PLACES = ['fusermount3', 'fusermount'].flatMap((name) =>
  ['/usr/bin', '/bin', '/usr/local/bin'].map((folder) => `${folder}/${name}`),
);
const UNMOUNT_MS_MAX = 30_000;

const isRoot = (): boolean => process.geteuid?.() === 0;

/**
 * Mounts and returns the open /dev/fuse, which is the caller's to close.
 * @throws OpError mount-failed, dependency-missing.
 */
export function attach(native: AttachNative, dir: string, options: AttachOptions): number {
  try {
    return isRoot() ? attachAsRoot(native, dir, options) : attachByHelper(native, dir, options);
  } catch (error) {
    if (error instanceof OpError) throw error;
    const hint = hintOf(error);
    throw new OpError('mount-failed', `mount ${dir}`, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

function attachAsRoot(native: AttachNative, dir: string, options: AttachOptions): number {
  const fd = native.openFuseDevice();
  try {
    native.mountFuse(fd, dir, {
      source: SOURCE,
      fsType: `fuse.${SUBTYPE}`,
      nosuid: !options.suid,
      nodev: !options.dev,
      defaultPermissions: true,
      allowOther: options.allowOther,
      readOnly: options.readOnly,
    });
  } catch (error) {
    native.closeDescriptor(fd);
    throw error;
  }
  return fd;
}

function attachByHelper(native: AttachNative, dir: string, options: AttachOptions): number {
  if (options.suid || options.dev) {
    throw new OpError('configuration', `mount ${dir}`, {
      hint: 'mount.suid and mount.dev are for root: leave them out',
    });
  }
  // fusermount3 adds nosuid and nodev by itself for whoever is not root.
  const words = ['default_permissions', `fsname=${SOURCE}`, `subtype=${SUBTYPE}`];
  if (options.allowOther) words.push('allow_other');
  if (options.readOnly) words.push('ro');
  return native.mountWithHelper(helper(`mount ${dir}`), dir, words.join(','));
}

function helper(op: string): string {
  const found = HELPER_PLACES.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new OpError('dependency-missing', op, { hint: 'install the package fuse3' });
}

function hintOf(error: unknown): string | undefined {
  switch (codeOf(error)) {
    case 'ENOENT':
      return 'is there a /dev/fuse? try: modprobe fuse';
    case 'EPERM':
    case 'EACCES':
      return 'this process may not mount here';
    case 'ENODEV':
      return 'this kernel has no FUSE; try: modprobe fuse';
    case 'ERR_MOUNT_HELPER':
      return error instanceof Error ? error.message : undefined;
    default:
      return undefined;
  }
}

/** What is mounted, as /proc has it, which touches no mount. */
interface MountLine {
  readonly device: string;
  readonly dir: string;
  /** Of kitfs, and all of it: not a directory in it that was bound to another place. */
  readonly isOurs: boolean;
}

/** In the order of mounting: of several at one place the last one is seen. */
function mountLines(): MountLine[] {
  // proc_pid_mountinfo(5)
  return readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .map((line) => {
      const [, , device = '', root, dir = ''] = line.split(' ');
      const isOurs = root === '/' && line.includes(` - fuse.${SUBTYPE} `);
      return { device, dir: unescaped(dir), isOurs };
    });
}

/** The kernel writes the bytes of a path, some of them in octal. */
const unescaped = (path: string): string =>
  Buffer.from(
    path.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    ),
    'latin1',
  ).toString();

/** The device number (`0:52`) of the mount that is seen at `dir`; undefined: it is none of ours. */
export function deviceAt(dir: string): string | undefined {
  const seen = mountLines().findLast((line) => line.dir === dir);
  return seen?.isOurs === true ? seen.device : undefined;
}

export interface MountPlace {
  readonly dir: string;
  /** Another one may lie over it. */
  readonly isSeen: boolean;
}

/**
 * Where the mount of ours with that device number is: at `dir`, or, when a directory above it was
 * renamed, somewhere else. Undefined: it is gone.
 * @param isCurrent whether the number is still that of our mount: it is given to another one
 *   afterwards, and then only what is at `dir` can be ours.
 */
export function placeOf(device: string, dir: string, isCurrent: boolean): MountPlace | undefined {
  const lines = mountLines();
  const ours = lines.filter((line) => line.isOurs && line.device === device);
  const here = ours.findLast((line) => line.dir === dir);
  const found = here ?? (isCurrent ? ours[0] : undefined);
  if (found === undefined) return undefined;
  return { dir: found.dir, isSeen: lines.findLast((line) => line.dir === found.dir) === found };
}

/**
 * Where what unmounts shall take it away.
 * @param device as last known; undefined: it was not in the table when it was mounted.
 * @throws OpError mount-failed: something else would be taken away in its place. As `placeOf`.
 */
export function detachable(device: string | undefined, dir: string, isCurrent: boolean): string {
  if (device === undefined) return dir;
  const place = placeOf(device, dir, isCurrent);
  if (place?.isSeen === true) return place.dir;
  throw new OpError('mount-failed', `unmount ${place?.dir ?? dir}`, {
    hint:
      place === undefined
        ? 'it is not there any more: it was moved, or taken away'
        : 'something else is mounted there now: unmount that first',
  });
}

/**
 * Lets the kernel read ahead as much as one READ carries; it begins with 128 KiB. False when this
 * process may not say so: reading is slower then, and nothing else.
 */
export function setReadAhead(device: string): boolean {
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(FUSE_IO_BYTES_MAX / 1024));
    return true;
  } catch {
    return false;
  }
}

/**
 * Ends the connection of the mount with that device number, with all that waits in the kernel for
 * an answer. The caller knows that it is still his: a number is given to another mount afterwards.
 * False when this process may not, or the file system for it (fusectl) is not mounted.
 */
export function abortConnection(device: string): boolean {
  const [, minor] = device.split(':');
  try {
    writeFileSync(`/sys/fs/fuse/connections/${minor}/abort`, '1');
    return true;
  } catch {
    return false;
  }
}

/** @throws OpError mount-busy, mount-failed, dependency-missing. */
export async function detach(native: NativeMounting, dir: string, lazy: boolean): Promise<void> {
  try {
    if (isRoot()) await native.unmount(dir, { lazy });
    else await detachByHelper(dir, lazy);
  } catch (error) {
    if (error instanceof OpError) throw error;
    if (codeOf(error) === 'EBUSY' || saysBusy(error)) {
      throw new OpError('mount-busy', `unmount ${dir}`, {
        cause: error,
        hint: 'close the files and leave the directories below it',
      });
    }
    throw new OpError('mount-failed', `unmount ${dir}`, { cause: error });
  }
}

function detachByHelper(dir: string, lazy: boolean): Promise<void> {
  const words = ['-u', ...(lazy ? ['-z'] : []), '--', dir];
  return new Promise((resolve, reject) => {
    execFile(helper(`unmount ${dir}`), words, { timeout: UNMOUNT_MS_MAX }, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** fusermount3 has one exit code; what it says is not translated. */
const saysBusy = (error: unknown): boolean =>
  error instanceof Error && error.message.includes('busy');
