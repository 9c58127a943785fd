/** `kitfs systemd` for a user, with a home of its own and a systemctl that notes what it is told. */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Scratch } from '../daemon/scratch.ts';
import type { Ran } from './kitfs.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const KEEPER = fileURLToPath(new URL('../../native/build/Release/kitfs-keeper', import.meta.url));

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
  mkdirSync(scratch.path('bin'));
  systemctl('echo "$@" >> "$(dirname "$0")/../told"');
});
afterEach(() => scratch[Symbol.dispose]());

function systemctl(script: string): void {
  const path = scratch.path('bin/systemctl');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

const unit = (name: string): string => scratch.path(`config/systemd/user/${name}.service`);
const told = (): string => readFileSync(scratch.path('told'), 'utf8');

function systemd(...args: readonly string[]): Promise<Ran> {
  const env = {
    ...process.env,
    PATH: `${scratch.path('bin')}:/usr/bin:/bin`,
    HOME: scratch.directory,
    XDG_CONFIG_HOME: scratch.path('config'),
  };
  return new Promise((resolve, reject) => {
    const words = [MAIN, 'systemd', ...args, '--user'];
    execFile(process.execPath, words, { env, timeout: 15_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === 'number') resolve({ code, stdout, stderr });
      else reject(error);
    });
  });
}

test('install writes the units of a user with the paths of this kitfs, and tells systemd', async () => {
  const { code, stdout, stderr } = await systemd('install');
  expect([code, stderr]).toEqual([0, '']);
  expect(readFileSync(unit('kitfs'), 'utf8')).toContain(
    `\nExecStart=${process.execPath} --max-semi-space-size=4 ${MAIN} mount --keeper %t/kitfs/keeper.sock\n`,
  );
  expect(readFileSync(unit('kitfs-keeper'), 'utf8')).toContain(`\nExecStart=${KEEPER} --listen `);
  expect(told()).toBe('--user daemon-reload\n');
  expect(stdout).toContain('systemctl --user enable --now kitfs');
});

test('install over an older one, and remove, leave what install makes, and nothing', async () => {
  await systemd('install');
  writeFileSync(unit('kitfs'), 'of an older kitfs');
  expect(JSON.parse((await systemd('install', '--json')).stdout)).toEqual([
    unit('kitfs-keeper'),
    unit('kitfs'),
  ]);
  expect(readFileSync(unit('kitfs'), 'utf8')).toContain('[Service]');
  const { stdout } = await systemd('remove');
  expect(stdout).toBe(`removed ${unit('kitfs-keeper')}\nremoved ${unit('kitfs')}\n`);
  expect(existsSync(unit('kitfs'))).toBe(false);
  expect(JSON.parse((await systemd('remove', '--json')).stdout)).toHaveLength(2);
  expect(told()).toBe('--user daemon-reload\n'.repeat(4));
});

test('print shows what install would write, and writes nothing', async () => {
  const { stdout } = await systemd('print');
  expect(stdout).toContain(`# ---- ${unit('kitfs')}\n`);
  const files = JSON.parse((await systemd('print', '--json')).stdout) as { text: string }[];
  for (const { text } of files) expect(stdout).toContain(text);
  expect(existsSync(scratch.path('config'))).toBe(false);
});

test('a systemd that does not hear is an error with its own words', async () => {
  systemctl('echo "Failed to connect to bus" >&2; exit 1');
  const { code, stderr } = await systemd('install');
  expect(code).toBe(1);
  expect(stderr).toBe(
    'kitfs: run systemctl --user daemon-reload: dependency missing; Failed to connect to bus\n',
  );
});

test('a place that cannot be written is an error that names it', async () => {
  writeFileSync(scratch.path('config'), 'a file');
  const { code, stderr } = await systemd('install');
  expect(code).toBe(1);
  expect(stderr).toContain(`write ${unit('kitfs-keeper')}: not directory`);
});
