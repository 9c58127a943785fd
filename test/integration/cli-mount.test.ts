/** How `kitfs mount` starts, what it says, and how it ends. */
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KITFS, TestDaemon } from './daemon.ts';

const mountLines = (directory: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${directory}/`));

/** A daemon that has ended, so that another one can be started on its directories. */
async function ended(): Promise<TestDaemon> {
  const daemon = await TestDaemon.start();
  await daemon.stop();
  return daemon;
}

/** Starts one that waits while it reads what was mounted before; ended by what is written there. */
async function held(daemon: TestDaemon) {
  const record = join(daemon.state, 'mounted.json');
  await daemon.run('mkfifo', [record], { in: '/' });
  const child = daemon.spawn(process.execPath, [KITFS, 'mount'], { in: '/' });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (text: Buffer) => {
      output += text.toString();
    });
  }
  const exit = once(child, 'close').then(([code]: unknown[]) => code);
  // Resolves when the other end is read.
  const gate = await open(record, 'w');
  return { child, exit, gate, output: () => output };
}

test('all options of a start go on to the daemon in the background', async () => {
  await using daemon = await ended();
  const place = join(daemon.directory, "it's here");
  mkdirSync(place);
  const programs = join(daemon.directory, 'bin');
  mkdirSync(programs);
  writeFileSync(join(programs, 'kitfs'), '', { mode: 0o755 });
  const places = ['--state', daemon.state, '--run', daemon.runDirectory];
  const options = ['--read-only', '--no-allow-other', '--driver', 'native'];
  try {
    const { code, stdout } = await daemon.kitfs(['mount', '--background', ...places, ...options], {
      env: { PATH: programs, KITFS_MOUNT: place },
    });
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toContain(`is mounted at ${place}`);
    const quoted = `'${daemon.directory}/it'\\''s here/ipfs/hello.txt'`;
    expect(lines).toContain(`  echo hello > ${quoted}`);
    // There is no getfattr where programs are looked for, and a kitfs is.
    const stat = `  kitfs call vfs_stat '{"path":"/ipfs/hello.txt"}' --run ${daemon.runDirectory}`;
    expect(lines).toContain(stat);
    expect(lines.at(-1)).toBe(`\`kitfs unmount --run ${daemon.runDirectory}\` unmounts.`);
    expect(stdout).not.toContain('npm link');

    const [line = ''] = mountLines(daemon.directory);
    expect(line).toContain("it's\\040here ro");
    expect(line).not.toContain('allow_other');
    expect(await daemon.json(['status'])).toMatchObject({
      mounts: [{ mount_point: place, read_only: true }],
      driver: 'native',
    });
  } finally {
    await daemon.kitfs(['unmount', '--force']);
  }
});

test('others are let in by a daemon in the background that is told so', async () => {
  await using daemon = await ended();
  try {
    await daemon.json(['mount', daemon.mountPoint, '--background', '--allow-other']);
    expect(mountLines(daemon.directory)[0]).toContain('allow_other');
  } finally {
    await daemon.kitfs(['unmount', '--force']);
  }
});

test('a failure in the background is told as it is in the foreground', async () => {
  await using daemon = await ended();
  const place = join(daemon.directory, 'x'.repeat(300));
  const env = { KITFS_MOUNT: place };
  const there = await daemon.kitfs(['mount'], { env });
  expect([there.code, there.stderr]).toEqual([1, `kitfs: mount at ${place}: name too long\n`]);
  expect(await daemon.kitfs(['mount', '--background'], { env })).toEqual(there);
});

test('a daemon in the background that ends without a word is told of, with where to look', async () => {
  await using daemon = await ended();
  const ends = join(daemon.directory, 'ends.cjs');
  writeFileSync(ends, "if (process.argv.includes('--ready-fd')) process.exit(0);\n");
  const { code, stderr } = await daemon.kitfs(['mount', '--background'], {
    env: { NODE_OPTIONS: `--require ${ends}` },
  });
  expect(code).toBe(1);
  expect(stderr).toContain(`it ended before it was ready: see ${daemon.runDirectory}/daemon.log`);
});

test('a signal while it starts stops it as soon as it has started, with nothing left', async () => {
  await using daemon = await ended();
  const { child, exit, gate, output } = await held(daemon);
  child.kill('SIGTERM');
  await gate.close();
  expect(await exit).toBe(0);
  expect(output()).not.toContain('is mounted at');
  expect(output()).toContain(`unmounted ${daemon.mountPoint}`);
  expect(mountLines(daemon.directory)).toEqual([]);
  expect(existsSync(join(daemon.state, 'mounted.json'))).toBe(false);
});

test('a connection that the kernel ends is a failure, which is told, and leaves no mount', async () => {
  await using daemon = await TestDaemon.start({ configuration: '[mount]\npassthrough = false\n' });
  await daemon.shell('echo kept > ipfs/a');
  const minor = mountLines(daemon.directory)[0]?.split(' ')[2]?.split(':')[1] ?? '';
  const connections = '/sys/fs/fuse/connections';
  await daemon.attempt('mount', ['-t', 'fusectl', 'none', connections], { in: '/' });
  await daemon.shell(`echo 1 > ${connections}/${minor}/abort`, { in: '/' });
  await expect.poll(() => daemon.isRunning, { timeout: 10_000 }).toBe(false);
  expect(daemon.output).toContain('the kernel ended the connection');
  expect(mountLines(daemon.directory)).toEqual([]);
  await daemon.restart();
  expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
});

test('a start at a mount that does not answer says so, and ends', async () => {
  await using hanging = await TestDaemon.start();
  await using daemon = await ended();
  process.kill(hanging.pid, 'SIGSTOP');
  try {
    const place = { env: { KITFS_MOUNT: hanging.mountPoint }, in: '/', timeoutMs: 15_000 };
    const { code, signal, stderr } = await daemon.kitfs(['mount'], place);
    expect([code, signal]).toEqual([1, null]);
    expect(stderr).toContain('does not answer');
  } finally {
    process.kill(hanging.pid, 'SIGCONT');
  }
});
