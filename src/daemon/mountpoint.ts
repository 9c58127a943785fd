/**
 * The directory the tree is mounted at: whether it can be, and what a dead daemon left there.
 *
 * Invariants: a mount that somebody else made, or that answers, is never touched; nothing that is
 * asked here waits for a mount longer than `PROBE_MS_MAX`; what we have mounted is written down in
 * the state directory, so that the next start can tell its own dead mount from all others.
 */
import {
  lstat,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import type { NativeMounting } from '../base/native.ts';
import { detach } from '../fuse/native.ts';
import { makeDirectories } from './directories.ts';
import { FS_TYPE, type HostMount, hostMounts, mountAt } from './mount-table.ts';

/** How long a mount may take to answer before it counts as one that hangs. */
const PROBE_MS_MAX = 2000;
/** Links followed in the last name of the mount point, as path_resolution(7). */
const LINKS_MAX = 40;

export interface MountPointOptions {
  /** Absolute. */
  readonly dir: string;
  /** `mounted.json` of the locked state directory. */
  readonly recordPath: string;
  readonly native: NativeMounting;
  readonly clock: Clock;
}

/** What the daemon of a state directory has mounted. */
interface MountRecord {
  readonly dir: string;
  /** Unknown when the daemon was killed while it mounted. */
  readonly device?: string;
}

/**
 * Makes the mount point when it is absent, removes our own dead mount from it, and sees that it
 * can be used.
 * @returns its path without links.
 * @throws OpError mount-busy (something is mounted there: it is named), not-directory, not-empty,
 *   denied, mount-failed, dependency-missing, configuration (a line break in its path).
 */
export async function prepareMountPoint(options: MountPointOptions): Promise<string> {
  await clearDeadMount(options);
  const dir = await realMountPlace(options.dir);
  const op = `mount at ${dir}`;
  if (dir.includes('\n')) {
    // What is said of it to systemd and in tables would be read as lines of their own.
    throw new OpError('configuration', `mount at ${JSON.stringify(dir)}`, {
      hint: 'there is a line break in its path: choose another one',
    });
  }
  const there = mountAt(await hostMounts(), dir);
  if (there !== undefined) throw await occupied(op, there, options.clock);
  try {
    makeDirectories(dir);
    if ((await readdir(dir)).length === 0) return dir;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST' || code === 'ENOTDIR') {
      throw new OpError('not-directory', op, { hint: 'name a directory that is empty' });
    }
    throw asOpError(error, op);
  }
  throw new OpError('not-empty', op, {
    hint: 'what is in it would be hidden: name an empty directory, or move its files away first',
  });
}

/** Writes down that we mount at `dir`, where nothing is mounted now. */
export const recordIntent = (recordPath: string, dir: string): Promise<void> =>
  writeRecord(recordPath, { dir });

/** Writes down what is mounted at `dir` now. @throws OpError mount-failed when nothing is. */
export async function recordMount(recordPath: string, dir: string): Promise<void> {
  const mounts = await hostMounts();
  // Another one may lie over it.
  const there = mounts.findLast((mount) => mount.dir === dir && mount.fsType === FS_TYPE);
  if (there === undefined) throw new OpError('mount-failed', `mount at ${dir}`);
  await writeRecord(recordPath, { dir, device: there.device });
}

async function writeRecord(recordPath: string, record: MountRecord): Promise<void> {
  const whole = `${recordPath}.new`;
  const text = `${JSON.stringify(record)}\n`;
  try {
    await writeFile(whole, text, { mode: 0o600 });
    await rename(whole, recordPath);
  } catch (error) {
    if (!['ENOSPC', 'EDQUOT'].includes(codeOf(error) ?? '')) throw error;
    // A full disk has the block of the record before, which begins alike and is not longer.
    await writeFile(recordPath, text, { flag: 'r+' });
  }
}

/** It is unmounted. */
export const forgetMount = (recordPath: string): Promise<void> => rm(recordPath, { force: true });

/**
 * Removes the mount a killed daemon of this state directory left, wherever it is. The caller holds
 * the lock of the directory, so no daemon of it is alive.
 * @returns where it was; undefined when there was none.
 */
export async function clearDeadMount(options: MountPointOptions): Promise<string | undefined> {
  const record = await readRecord(options.recordPath);
  if (record === undefined) return undefined;
  const { dir, device } = record;
  const there = mountAt(await hostMounts(), dir);
  const isOurs = there?.fsType === FS_TYPE && (device ?? there.device) === there.device;
  // Numbers of devices are used again: what answers is another daemon's.
  const isCleared = isOurs && (await probe(dir, options.clock)) === 'dead';
  if (isCleared) await detach(options.native, dir, true);
  await forgetMount(options.recordPath);
  return isCleared ? dir : undefined;
}

async function readRecord(path: string): Promise<MountRecord | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    return isRecord(value) ? value : undefined;
  } catch (error) {
    // A record that was cut off is none: the mount it spoke of is then like a stranger's.
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw asOpError(error, `read ${path}`);
  }
}

function isRecord(value: unknown): value is MountRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { dir, device } = value as Partial<Record<string, unknown>>;
  return typeof dir === 'string' && (device === undefined || typeof device === 'string');
}

async function occupied(op: string, there: HostMount, clock: Clock): Promise<OpError> {
  const { dir, fsType, source } = there;
  const state = await probe(dir, clock);
  const what = `${fsType} (${source})`;
  const told: Readonly<Record<typeof state, string>> = {
    alive: `${what} is mounted there: unmount it first (kitfs unmount, or umount ${dir})`,
    dead: `a dead mount of ${what} lies there, not of this state directory: fusermount3 -u -z ${dir}`,
    hanging: `${what} is mounted there and does not answer: end its daemon, then umount -l ${dir}`,
  };
  return new OpError('mount-busy', op, { hint: told[state], details: { mount_point: dir } });
}

type Life = 'alive' | 'dead' | 'hanging';

/** Whether somebody answers behind a mount. A thread may wait on, until this process ends. */
async function probe(dir: string, clock: Clock): Promise<Life> {
  const stop = new AbortController();
  // Not stat(2): the kernel answers that from its cache for ever, dead or not.
  const asked = statfs(dir).then(
    (): Life => 'alive',
    (error: unknown): Life => (isDead(error) ? 'dead' : 'alive'),
  );
  const late = clock.sleep(PROBE_MS_MAX, stop.signal).then(
    (): Life => 'hanging',
    (): Life => 'alive', // The answer came first.
  );
  try {
    return await Promise.race([asked, late]);
  } finally {
    stop.abort();
  }
}

/** The daemon is gone, or its connection was aborted. */
const isDead = (error: unknown): boolean =>
  ['ENOTCONN', 'ECONNABORTED'].includes(codeOf(error) ?? '');

/** State and sockets are asked for while the tree is served: they cannot lie in it. */
export async function demandOutside(
  dir: string,
  places: { readonly state: string; readonly run: string },
): Promise<void> {
  const { state, run } = places;
  for (const [option, path] of [
    ['state', state],
    ['run', run],
  ] as const) {
    if (!isWithin(await realPlace(path), dir)) continue;
    throw new OpError('configuration', `use the ${option} directory ${path}`, {
      hint: `it lies under the mount point ${dir}: choose another one with --${option}`,
    });
  }
  if (!isWithin(dir, await realPlace(state))) return;
  throw new OpError('configuration', `mount at ${dir}`, {
    hint: `it lies in the state directory ${state}: choose another one`,
  });
}

const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);

/** The path without links; names that are not there yet are taken as they are. */
async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    // Absent, or beyond a dead mount: what can be known is above.
    const isUnknown = ['ENOENT', 'ENOTCONN', 'ENOTDIR', 'EACCES'].includes(codeOf(error) ?? '');
    if (!isUnknown || dirname(path) === path) throw asOpError(error, `look at ${path}`);
    return join(await realPlace(dirname(path)), basename(path));
  }
}

/** As `realPlace`, but a mount at the path itself is not asked: it may be dead, or hang. */
export async function realMountPlace(path: string, linksMax = LINKS_MAX): Promise<string> {
  const place = join(await realPlace(dirname(path)), basename(path));
  if (mountAt(await hostMounts(), place) !== undefined) return place;
  const there = await lstat(place).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '')) return undefined;
    throw asOpError(error, `mount at ${path}`);
  });
  if (there?.isSymbolicLink() !== true) return place;
  if (linksMax === 0) throw new OpError('too-many-symlinks', `mount at ${path}`);
  return realMountPlace(resolve(dirname(place), await readlink(place)), linksMax - 1);
}
