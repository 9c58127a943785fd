/**
 * What kitfs needs of this machine, and what it lacks, with the Debian package that brings it. Only
 * looks; the start of the daemon and `kitfs doctor` ask the same questions.
 */
import type { StatsFs } from 'node:fs';
import { access, constants, readFile, stat, statfs } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { codeOf, OpError } from '../base/errors.ts';
import { loadNative } from '../base/native.ts';

export interface HostCheck {
  /** What was looked at. */
  readonly name: string;
  readonly state: 'ok' | 'missing' | 'limited';
  /** What was found, or what does not work without it. */
  readonly found: string;
  /** What to do; absent when all is well. */
  readonly remedy?: string | undefined;
}

export interface HostQuestion {
  readonly uid: number;
  readonly programFolders: readonly string[];
  /** The state directory, which need not be there yet. */
  readonly state: string;
}

const NODE_MIN = [20, 19] as const;
/** The kernel's first release with FUSE passthrough. */
const PASSTHROUGH_KERNEL = [6, 9] as const;
/** Where the mount helper is looked for: it is set-user-id, so PATH has no say. */
const HELPER_FOLDERS = ['/usr/bin', '/bin', '/usr/local/bin'];
const FREE_BYTES_MIN = 1024 ** 3;
const OPEN_FILES_MIN = 1024;

const ok = (name: string, found: string): HostCheck => ({ name, state: 'ok', found });
const missing = (name: string, found: string, remedy: string): HostCheck => ({
  name,
  state: 'missing',
  found,
  remedy,
});
const limited = (name: string, found: string, remedy: string): HostCheck => ({
  name,
  state: 'limited',
  found,
  remedy,
});

/** Everything, in the order in which it is needed. */
export async function checkHost(question: HostQuestion): Promise<readonly HostCheck[]> {
  return [
    checkNode(),
    checkSqlite(),
    checkAddon(),
    await checkWalVfs(),
    ...(await checkFuse(question.uid)),
    checkKernel(question.uid),
    await checkOpenFiles(),
    await checkState(question.state),
    await checkProgram(question, 'getfattr', 'attr', 'to show CIDs: getfattr -n user.ipfs.cid'),
  ];
}

/** What mounting needs. */
async function checkFuse(uid: number): Promise<readonly HostCheck[]> {
  const checks = [await checkDevice()];
  if (uid === 0) return checks;
  const helper =
    (await programAt('fusermount3', HELPER_FOLDERS)) ??
    (await programAt('fusermount', HELPER_FOLDERS));
  checks.push(
    helper === undefined
      ? missing('fusermount3', 'only root can mount without it', 'apt-get install fuse3')
      : ok('fusermount3', helper),
  );
  return checks;
}

/** @throws OpError mount-failed, which names what is missing and the package that brings it. */
export async function demandFuse(uid: number): Promise<void> {
  const lacking = (await checkFuse(uid)).find(({ state }) => state === 'missing');
  if (lacking === undefined) return;
  throw new OpError('mount-failed', `mount without ${lacking.name}`, {
    hint: `${lacking.found}: ${lacking.remedy}`,
  });
}

/** The executable of that name, as execvp(3) would find it. */
export async function programAt(
  name: string,
  folders: readonly string[],
): Promise<string | undefined> {
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile()) return path;
    } catch {
      // Not here, or not for us: the next folder.
    }
  }
  return undefined;
}

async function checkProgram(
  { programFolders }: HostQuestion,
  name: string,
  debianPackage: string,
  use: string,
): Promise<HostCheck> {
  const path = await programAt(name, programFolders);
  if (path !== undefined) return ok(name, path);
  return limited(name, `not found; wanted ${use}`, `apt-get install ${debianPackage}`);
}

async function checkDevice(): Promise<HostCheck> {
  const name = '/dev/fuse';
  try {
    await access(name, constants.R_OK | constants.W_OK);
    return ok(name, 'can be opened');
  } catch (error) {
    if (codeOf(error) !== 'ENOENT')
      return missing(name, 'may not be opened', 'chmod 666 /dev/fuse');
  }
  const known = await readFile('/proc/filesystems', 'utf8').catch(() => '');
  return /\bfuse$/m.test(known)
    ? missing(
        name,
        'is not there',
        'mknod -m 666 /dev/fuse c 10 229 (container: --device /dev/fuse)',
      )
    : missing(name, 'the kernel does not know FUSE', 'modprobe fuse (linux-image-amd64 has it)');
}

function checkNode(): HostCheck {
  const { node } = process.versions;
  return isAtLeast(node, NODE_MIN)
    ? ok('Node.js', node)
    : missing('Node.js', node, `install ${NODE_MIN.join('.')} or later: apt-get install nodejs`);
}

function checkSqlite(): HostCheck {
  try {
    createRequire(import.meta.url)('better-sqlite3');
    return ok('better-sqlite3', 'loads');
  } catch (error) {
    return missing('better-sqlite3', `does not load (${firstLine(error)})`, 'npm run build');
  }
}

function checkAddon(): HostCheck {
  try {
    loadNative();
    return ok('native addon', 'loads');
  } catch (error) {
    return missing('native addon', `does not load (${firstLine(error)})`, 'npm run build');
  }
}

/** Loaded here, because it cannot be where SQLite itself does not load. */
async function checkWalVfs(): Promise<HostCheck> {
  const name = 'journal extension';
  try {
    const { loadWalVfs } = await import('../journal/sqlite.ts');
    loadWalVfs();
    return ok(name, 'loads');
  } catch (error) {
    const why = error instanceof OpError && error.cause !== undefined ? error.cause : error;
    return missing(name, `does not load (${firstLine(why)})`, 'npm run build');
  }
}

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';

function checkKernel(uid: number): HostCheck {
  const version = release();
  if (!isAtLeast(version, PASSTHROUGH_KERNEL)) {
    return limited('kernel', `Linux ${version}`, 'Linux 6.9 or later can be faster (passthrough)');
  }
  if (uid === 0) return ok('kernel', `Linux ${version}`);
  return limited('kernel', `Linux ${version}`, 'passthrough is for root only; all else works');
}

async function checkOpenFiles(): Promise<HostCheck> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  const count = soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  const found = soft ?? 'unlimited';
  if (count >= OPEN_FILES_MIN) return ok('open files', found);
  return limited('open files', found, `ulimit -n ${OPEN_FILES_MIN}`);
}

/** File systems on which SQLite's shared memory or locks cannot be relied on (statfs(2)). */
const REMOTE_TYPES: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x65735546, 'FUSE'],
  [0x01021997, '9P'],
]);

async function checkState(state: string): Promise<HostCheck> {
  const name = 'state directory';
  const { type, bavail, bsize } = await statfsAbove(state);
  const remote = REMOTE_TYPES.get(type);
  const found = `${state}, ${Math.floor((bavail * bsize) / 1024 ** 2)} MiB free`;
  if (remote !== undefined) {
    return limited(name, `${found}, on ${remote}`, 'choose one on a local disk with --state');
  }
  if (bavail * bsize < FREE_BYTES_MIN) return limited(name, found, 'make room on that disk');
  return ok(name, found);
}

/** The disk the path is on, or will be. */
async function statfsAbove(path: string): Promise<StatsFs> {
  try {
    return await statfs(path);
  } catch (error) {
    if (dirname(path) === path) throw error;
    return statfsAbove(dirname(path));
  }
}

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [isMajor = 0, isMinor = 0] = version.split('.').map(Number);
  return isMajor > major || (isMajor === major && isMinor >= minor);
}
