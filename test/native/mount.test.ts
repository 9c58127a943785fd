/**
 * The addon and the kernel: a real mount, served by a child process (responder.mjs) and used by others. This process
 * does neither. As root it is mounted by mount(2), otherwise by fusermount3.
 */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';

const ADDON = fileURLToPath(new URL('../../native/build/Release/kitfs.node', import.meta.url));
const RESPONDER = fileURLToPath(new URL('responder.mjs', import.meta.url));
const isRoot = process.getuid?.() === 0;

interface Answer {
  readonly done?: string;
  readonly result?: unknown;
  readonly code?: string;
  readonly mounted?: boolean;
  readonly ended?: number;
  readonly failed?: number;
}

let dir = '';
let responder: ChildProcess;
let heard: Answer[] = [];

/** The first message that fits, whether it came already or not. */
async function hear(fits: (answer: Answer) => boolean): Promise<Answer> {
  for (;;) {
    const found = heard.find(fits);
    if (found !== undefined) return found;
    if (!responder.connected) throw new Error('the responder has ended');
    await Promise.race([once(responder, 'message'), once(responder, 'disconnect')]);
  }
}

async function tell(command: string, argument: unknown = null): Promise<Answer> {
  heard = heard.filter(({ done }) => done !== command);
  responder.send({ command, argument });
  return hear(({ done }) => done === command);
}

/** Runs a program that touches the mount. */
function touch(program: string, ...args: string[]) {
  return spawnSync(program, args, { encoding: 'utf8', timeout: 5000, killSignal: 'SIGKILL' });
}

/** The line of the mount table, if it is there. Reading the table does not touch the mount. */
function mounted(): string | undefined {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.find((line) => line.split(' ')[4] === dir);
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  heard = [];
  responder = fork(RESPONDER, [ADDON, dir]);
  responder.on('message', (answer: Answer) => heard.push(answer));
  await hear((answer) => answer.mounted === true);
});

afterEach(async () => {
  if (responder.exitCode === null && responder.signalCode === null) {
    const exited = once(responder, 'exit');
    responder.kill('SIGKILL');
    await exited;
  }
  if (mounted() !== undefined) touch(isRoot ? 'umount' : 'fusermount3', isRoot ? '-l' : '-uz', dir);
  rmdirSync(dir);
});

test('requests reach JavaScript, and replies of every kind the kernel', async () => {
  expect(touch('stat', '-c', '%F %a %i', dir).stdout).toBe('directory 755 1\n');
  const absent = touch('stat', join(dir, 'absent'));
  expect(absent.status).toBe(1);
  expect(absent.stderr).toContain('No such file or directory');
  expect((await tell('inherited')).result).not.toContain('/dev/fuse');
  expect(heard.filter(({ failed }) => failed !== undefined)).toEqual([]);
});

test('the mount table shows what was asked for', () => {
  const line = mounted() ?? '';
  expect(line).toContain('rw,nosuid,nodev');
  expect(line).toContain(' - fuse.kitfs a\\040source ');
  expect(line).toContain(`user_id=${process.getuid?.()},group_id=${process.getgid?.()}`);
  if (isRoot) expect(line).toContain('default_permissions,max_read=65536');
  expect(line).not.toContain('allow_other');
});

test('unmount resolves while the same process answers, and ends the channel', async () => {
  expect(touch('stat', dir).status).toBe(0);
  expect(await tell('unmount', {})).toEqual({ done: 'unmount' });
  expect(await hear(({ ended }) => ended !== undefined)).toEqual({ ended: 0 });
  expect(mounted()).toBeUndefined();
});

test('a mount in use is EBUSY, and may be detached: the channel ends after the last user', async () => {
  const user = spawn('cat', { cwd: dir, stdio: ['pipe', 'ignore', 'ignore'] });
  await once(user, 'spawn');
  const busy = await tell('unmount', {});
  expect(busy.code).toBe(isRoot ? 'EBUSY' : expect.stringContaining('busy'));
  expect(mounted()).toBeDefined();
  expect(await tell('unmount', { lazy: true })).toEqual({ done: 'unmount' });
  expect(mounted()).toBeUndefined();
  expect(heard.filter(({ ended }) => ended !== undefined)).toEqual([]);
  const exited = once(user, 'exit');
  user.stdin.end();
  await exited;
  expect(await hear(({ ended }) => ended !== undefined)).toEqual({ ended: 0 });
});

test('an invalidation resolves to 0 for a known inode and to ENOENT for any other', async () => {
  expect(touch('stat', dir).status).toBe(0);
  expect((await tell('invalidate', 999)).result).toBe(2);
  expect((await tell('invalidate', 1)).result).toBe(0);
});

test('a backing file is registered and released where the kernel and the rights allow it', async () => {
  expect(touch('stat', dir).status).toBe(0); // INIT was answered.
  const { result } = await tell('back');
  const allowed = { passthrough: true, id: expect.any(Number), again: 'ENOENT' };
  expect([
    allowed,
    { passthrough: false, code: 'EPERM' },
    { passthrough: false, code: 'EOPNOTSUPP' },
    { passthrough: false, code: 'ENOTTY' },
  ]).toContainEqual(result);
});

test('what is not mounted cannot be unmounted', async () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  await expect(loadNative().unmount(elsewhere)).rejects.toMatchObject({
    code: isRoot ? 'EINVAL' : 'EPERM',
    syscall: 'umount2',
  });
  rmdirSync(elsewhere);
});

test('what is not a FUSE descriptor cannot be mounted', () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  const options = { source: 'kitfs', fsType: 'fuse' };
  expect(() => loadNative().mountFuse(0, elsewhere, options)).toThrow(
    expect.objectContaining({ code: isRoot ? 'EINVAL' : 'EPERM', syscall: 'mount' }),
  );
  expect(() => loadNative().mountFuse(0, join(elsewhere, 'absent'), options)).toThrow(
    expect.objectContaining({ code: 'ENOENT', syscall: 'stat' }),
  );
  rmdirSync(elsewhere);
});
