/** How a set-user-id mount helper is run, on programs that speak its protocol but need no privilege. */
import { spawnSync } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';

const native = loadNative();
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

let dir = '';

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
});

afterEach(() => {
  rmSync(dir, { recursive: true });
});

function program(interpreter: string, script: string): string {
  const path = join(dir, 'program');
  writeFileSync(path, `#!${interpreter}\n${script}\n`, { mode: 0o755 });
  return path;
}

const shell = (script: string) => program('/bin/sh', script);

/** node-gyp needs Python, so where the addon was built it is. Hands over its own source file, and ends so. */
function sender(status: number): string {
  const python = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], {
    encoding: 'utf8',
  }).stdout.trim();
  return program(
    python,
    `import array, os, socket, sys
ours = socket.socket(fileno=int(os.environ['_FUSE_COMMFD']))
fd = os.open(sys.argv[0], os.O_RDONLY)
ours.sendmsg([b'\\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [fd]))])
sys.exit(${status})`,
  );
}

const failure = (text: string) =>
  expect.objectContaining({ code: 'ERR_MOUNT_HELPER', message: expect.stringContaining(text) });

test('the descriptor that is handed over is returned, non-blocking and close-on-exec', () => {
  const path = sender(0);
  const fd = native.mountWithHelper(path, dir, '');
  expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(path);
  const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  expect(Number.parseInt(flags ?? '', 8) & (O_NONBLOCK | O_CLOEXEC)).toBe(O_NONBLOCK | O_CLOEXEC);
  native.closeDescriptor(fd);
});

test('a failing helper leaves no descriptor and no process behind', () => {
  const before = readdirSync('/proc/self/fd').length;
  expect(() => native.mountWithHelper(sender(3), dir, '')).toThrow(failure('exit status 3'));
  expect(readdirSync('/proc/self/fd').length).toBe(before);
  const children = `/proc/self/task/${process.pid}/children`;
  expect(readFileSync(children, 'utf8')).toBe('');
});

test('what the helper said is in the error', () => {
  const path = shell('echo not for you >&2; exit 1');
  expect(() => native.mountWithHelper(path, dir, '')).toThrow(
    failure(`${path}: exit status 1: not for you`),
  );
});

test('a helper that says more than anybody reads is not held up by it', () => {
  const path = shell('head -c 1000000 /dev/zero | tr "\\0" x >&2; exit 1');
  expect(() => native.mountWithHelper(path, dir, '')).toThrow(failure('exit status 1: xxx'));
});

test('a helper that hands over nothing has failed', () => {
  expect(() => native.mountWithHelper(shell('exit 0'), dir, '')).toThrow(
    failure('without handing over a descriptor'),
  );
});

test('a helper that is killed has failed', () => {
  expect(() => native.mountWithHelper(shell('kill -TERM $$'), dir, '')).toThrow(
    failure(`killed by signal ${constants.signals.SIGTERM}`),
  );
});

test('a helper that is not there is an error of the system', () => {
  expect(() => native.mountWithHelper(join(dir, 'absent'), dir, '')).toThrow(
    expect.objectContaining({ code: 'ENOENT', syscall: 'posix_spawn' }),
  );
});

test('the helper gets the options, the directory, its socket and nothing else', () => {
  const path = shell(
    'echo "$#" "$@" >&2; ls /proc/self/fd | tr "\\n" " " >&2; env | sort >&2; exit 1',
  );
  let said = '';
  try {
    native.mountWithHelper(path, dir, 'rw,fsname=a b');
  } catch (error) {
    said = String(error);
  }
  expect(said).toContain(`4 -o rw,fsname=a b -- ${dir}\n`);
  expect(said).toContain('\n0 1 2 3 4 '); // 4 is how `ls` reads the directory.
  const variables = [...said.matchAll(/([A-Z_]+)=/g)].map(([, name]) => name);
  expect(variables.filter((name) => name !== 'PWD' && name !== '_').sort()).toEqual(
    ['LC_ALL', 'PATH', '_FUSE_COMMFD'].sort(),
  );
});
