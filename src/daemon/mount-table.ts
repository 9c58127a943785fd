/**
 * What is mounted on this host, as /proc tells it: no mount is touched by asking, so that one that
 * hangs cannot hang us.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { asOpError, codeOf, OpError } from '../base/errors.ts';

/** Of the mounts of kitfs. */
export const FS_TYPE = 'fuse.kitfs';

/** One line of proc_pid_mountinfo(5). */
export interface HostMount {
  /** `major:minor`. */
  readonly device: string;
  readonly dir: string;
  /** As in `fuse.kitfs`. */
  readonly fsType: string;
  readonly source: string;
}

/** In the order of mounting: of several at one place the last one is seen. */
export async function hostMounts(): Promise<readonly HostMount[]> {
  return parseMounts(await readFile('/proc/self/mountinfo', 'utf8'));
}

export function parseMounts(text: string): HostMount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after] = line.split(' - ');
    if (after === undefined) return [];
    const [, , device = '', , dir = ''] = before.split(' ');
    const [fsType = '', source = ''] = after.split(' ');
    return [{ device, dir: unescaped(dir), fsType, source: unescaped(source) }];
  });
}

/** Space, tab, newline and backslash are octal there. */
const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );

export const mountAt = (mounts: readonly HostMount[], dir: string): HostMount | undefined =>
  mounts.findLast((mount) => mount.dir === dir);

export interface MountUser {
  readonly pid: number;
  readonly name: string;
}

/** Processes named at most. */
const USERS_NAMED_MAX = 5;

/** Processes with an open file or their working directory below `dir`, as far as we may see. */
export async function usersOf(dir: string): Promise<readonly MountUser[]> {
  const users: MountUser[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    if (!(await isUsing(entry, dir))) continue;
    const name = await readFile(`/proc/${entry}/comm`, 'utf8').catch(() => '');
    users.push({ pid: Number(entry), name: name.trim() });
    if (users.length === USERS_NAMED_MAX) break;
  }
  return users;
}

/** Links of /proc are names the kernel knows by heart: reading them asks no file system. */
async function isUsing(pid: string, dir: string): Promise<boolean> {
  const links = [`/proc/${pid}/cwd`, `/proc/${pid}/root`, `/proc/${pid}/exe`];
  try {
    for (const fd of await readdir(`/proc/${pid}/fd`)) links.push(`/proc/${pid}/fd/${fd}`);
  } catch (error) {
    // It is gone, or another user's.
    if (!['ENOENT', 'EACCES', 'ESRCH', 'EPERM'].includes(codeOf(error) ?? '')) throw error;
  }
  for (const link of links) {
    const target = await readlink(link).catch(() => '');
    if (target === dir || target.startsWith(`${dir}/`)) return true;
  }
  return false;
}

/** Why the mount at `dir` could not be unmounted, with the names of those in the way. */
export async function busyWith(dir: string | undefined, error: unknown): Promise<OpError> {
  const known = asOpError(error, 'unmount');
  if (known.failure !== 'mount-busy' || dir === undefined) return known;
  const users = await usersOf(dir);
  const names = users.map(({ pid, name }) => `${name} (pid ${pid})`).join(', ');
  const who = names === '' ? 'other programs' : names;
  return new OpError('mount-busy', `unmount ${dir}`, {
    hint: `in use by ${who}: end that, or take the mount away with --force`,
    details: { mount_point: dir, users: who },
  });
}
