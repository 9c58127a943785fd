/** The first command of the README, as a newcomer types it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

let home: string;
let npm: ChildProcess | undefined;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'kitfs-home-'));
});
afterEach(async () => {
  if (npm?.pid !== undefined && npm.exitCode === null && npm.signalCode === null) {
    const ended = once(npm, 'exit');
    process.kill(-npm.pid, 'SIGKILL');
    await ended;
  }
  // Nothing may be mounted there any more; if it is, the removal must not reach into it.
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
  if (mounts.includes(`${home}/`)) await run('umount', ['-l', join(home, 'kitfs')]);
  rmSync(home, { recursive: true, force: true });
});

/** Starts `npm start` with a home of its own; resolves with its output once it says that it is ready. */
function start(): Promise<{ child: ChildProcess; output: () => string }> {
  const environment = {
    ...process.env,
    HOME: home,
    KITFS_STATE: join(home, 'state'),
    KITFS_RUN: join(home, 'run'),
    KITFS_CONFIG: '/dev/null',
  };
  const child = spawn('npm', ['start'], { cwd: ROOT, env: environment, detached: true });
  npm = child;
  let text = '';
  return new Promise((resolve, reject) => {
    const take = (bytes: Buffer): void => {
      text += bytes.toString();
      if (text.includes('Ctrl-C')) resolve({ child, output: () => text });
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('exit', (code) => reject(new Error(`npm start ended with ${code}\n${text}`)));
  });
}

test('npm start mounts at ~/kitfs, says how to use it, and Ctrl-C unmounts', async () => {
  const { child, output } = await start();
  const mountPoint = join(home, 'kitfs');
  expect(output()).toContain(mountPoint);
  expect(output()).toContain(join(home, 'run', 'mcp.sock'));
  const shell = (script: string) => run('timeout', ['20', 'sh', '-euc', script], { cwd: home });
  const { stdout } = await shell('echo hello > kitfs/ipfs/a; cat kitfs/ipfs/a; ls kitfs');
  expect(stdout).toBe('hello\nipfs\nipns\nmem\n');
  const ended = once(child, 'exit');
  // What a terminal does: the signal reaches the whole foreground group.
  process.kill(-(child.pid ?? 0), 'SIGINT');
  await ended;
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(mountPoint);
  expect(output()).toMatch(/unmounted/i);
});
