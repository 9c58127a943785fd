/** A daemon that dies, with its keeper and without one. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { packedPackage } from './booted.ts';
import { TestDaemon } from './daemon.ts';

const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));

const mountLines = (directory: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${directory}/`));

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').match(/\d+/g)?.map(Number) ?? [];

/** The next daemon, once it waits for its turn. */
async function nextOf(keeper: number, served: number): Promise<number> {
  const next = () => childrenOf(keeper).find((pid) => pid !== served);
  // It has its program, and says so by the addon that this has loaded.
  const isLoaded = () => readFileSync(`/proc/${next()}/maps`, 'utf8').includes('kitfs.node');
  await expect.poll(() => next() !== undefined && isLoaded(), { timeout: 20_000 }).toBe(true);
  return next() ?? 0;
}

/** Resolves when the connection is made. */
async function connected(path: string): Promise<void> {
  const socket = createConnection(path);
  await once(socket, 'connect');
  socket.destroy();
}

interface Status {
  readonly pid: number;
  readonly keeper: number | null;
}

test('a daemon that was killed is followed by another one, which has what was acknowledged', async () => {
  await using daemon = await TestDaemon.start();
  const before = await daemon.json<Status>(['status']);
  expect(before).toMatchObject({ pid: daemon.pid, keeper: daemon.startedPid });
  for (const text of ['one', 'two', 'three']) {
    await daemon.shell(`echo ${text} > ipfs/a`);
    await daemon.crash();
    expect(await daemon.shell('cat ipfs/a')).toBe(`${text}\n`);
  }
  const after = await daemon.json<Status>(['status']);
  expect(after).toMatchObject({ pid: daemon.pid, keeper: before.keeper });
  expect(after.pid).not.toBe(before.pid);
  expect(mountLines(daemon.directory)).toHaveLength(1);
  // Whoever started it is told how to use it once.
  expect(daemon.output.match(/is mounted at/g)).toHaveLength(1);
  await daemon.stop();
});

test('who asks while there is no daemon is answered by the next one', async () => {
  await using daemon = await TestDaemon.start();
  await expect.poll(() => daemon.output, { timeout: 20_000 }).toContain('"msg":"ready"');
  const inode = lstatSync(daemon.mcpSocket).ino;
  for (let kills = 0; kills < 3; kills++) {
    const before = daemon.pid;
    process.kill(before, 'SIGKILL');
    // Not refused at any moment in between: the keeper listens.
    const asked = Array.from({ length: 20 }, () => connected(daemon.mcpSocket));
    await Promise.all(asked);
    const { pid } = await daemon.json<Status>(['status']);
    expect(pid).not.toBe(before);
  }
  expect(lstatSync(daemon.mcpSocket).ino).toBe(inode);
  await daemon.stop();
  expect(existsSync(daemon.mcpSocket)).toBe(false);
});

test('a daemon whose keeper is killed goes on, and says so', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.shell('echo kept > ipfs/a');
  process.kill(daemon.startedPid, 'SIGKILL');
  const keeper = async () => (await daemon.json<Status>(['status'])).keeper;
  await expect.poll(keeper, { timeout: 20_000 }).toBe(null);
  expect(daemon.output.match(/the keeper is gone/g)).toHaveLength(1);
  expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
  await daemon.json(['unmount']);
  expect(mountLines(daemon.directory)).toEqual([]);
});

test('no signal makes a daemon listen to a debugger', async () => {
  await using daemon = await TestDaemon.start();
  process.kill(daemon.pid, 'SIGUSR1');
  process.kill(daemon.startedPid, 'SIGUSR1');
  // Handled in order by one thread: what is asked is asked behind them.
  await daemon.json(['status']);
  expect(daemon.output).not.toContain('Debugger');
});

test('nor does a signal to the next daemon, when its turn comes', async () => {
  await using daemon = await TestDaemon.start();
  const next = await nextOf(daemon.startedPid, daemon.pid);
  process.kill(next, 'SIGUSR1');
  await daemon.crash();
  expect((await daemon.json<Status>(['status'])).pid).toBe(next);
  expect(daemon.output).not.toContain('Debugger');
});

test('a mount that is covered by another one is gone on with, and not stopped in its place', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.shell('echo kept > ipfs/a');
  // The last thing of a start, which looks at the mount too.
  await expect.poll(() => existsSync(join(daemon.state, 'keeper.json'))).toBe(true);
  execFileSync('mount', ['-t', 'tmpfs', 'none', daemon.mountPoint]);
  try {
    expect((await daemon.kitfs(['unmount'])).stderr).toContain('something else is mounted there');
    expect(mountLines(daemon.directory)).toHaveLength(2);
    process.kill(daemon.pid, 'SIGKILL');
    await expect.poll(() => daemon.output, { timeout: 20_000 }).toContain('"taken over"');
  } finally {
    execFileSync('umount', [daemon.mountPoint]);
  }
  expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
  await daemon.stop();
  expect(mountLines(daemon.directory)).toEqual([]);
});

test('a mount that was moved with a directory above it is gone on with where it is', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const [old, moved] = [join(daemon.directory, 'old'), join(daemon.directory, 'moved')];
  mkdirSync(old);
  await daemon.json(['mount', '--background', join(old, 'mnt')]);
  await daemon.shell('echo kept > ipfs/a', { in: join(old, 'mnt') });
  renameSync(old, moved);
  // The second daemon is told the new place by the first one.
  for (let kills = 0; kills < 2; kills++) {
    const before = daemon.pid;
    process.kill(before, 'SIGKILL');
    await expect.poll(() => daemon.pid, { timeout: 20_000 }).not.toBe(before);
    expect(await daemon.shell('cat ipfs/a', { in: join(moved, 'mnt') })).toBe('kept\n');
    // What is written down at the end of a start.
    const record = () => readFileSync(join(daemon.state, 'mounted.json'), 'utf8');
    await expect.poll(record, { timeout: 20_000 }).toContain(join(moved, 'mnt'));
  }
  expect(await daemon.json(['unmount'])).toEqual({ unmounted: join(moved, 'mnt') });
  expect(mountLines(daemon.directory)).toEqual([]);
});

test('a mount that was moved is taken away where it is, by a stop and by a keeper that gives up', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const [old, moved] = [join(daemon.directory, 'old'), join(daemon.directory, 'moved')];
  for (const isServed of [true, false]) {
    mkdirSync(join(old, 'mnt'), { recursive: true });
    await daemon.json(['mount', '--background', join(old, 'mnt')]);
    const { keeper } = await daemon.json<Status>(['status']);
    renameSync(old, moved);
    if (isServed) {
      expect((await daemon.kitfs(['unmount'])).code).toBe(0);
    } else {
      const served = daemon.pid;
      process.kill(served, 'SIGSTOP');
      process.kill(keeper ?? 0, 'SIGTERM');
      process.kill(served, 'SIGKILL');
    }
    await expect.poll(() => existsSync(`/proc/${keeper}/exe`)).toBe(false);
    expect(mountLines(daemon.directory)).toEqual([]);
    rmSync(moved, { recursive: true });
  }
});

test('a mount that was taken away is not taken for what was bound of it to another place', async () => {
  await using daemon = await TestDaemon.start();
  const bound = join(daemon.directory, 'bound');
  mkdirSync(bound);
  await daemon.shell('echo kept > ipfs/a');
  execFileSync('mount', ['--bind', join(daemon.mountPoint, 'ipfs'), bound]);
  try {
    execFileSync('umount', [daemon.mountPoint]);
    process.kill(daemon.pid, 'SIGKILL');
    const isMounted = () =>
      mountLines(daemon.directory).some((line) => line.includes(` ${daemon.mountPoint} `));
    await expect.poll(isMounted, { timeout: 20_000 }).toBe(true);
    expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
  } finally {
    execFileSync('umount', ['--lazy', bound]);
  }
  await daemon.stop();
});

test('a daemon that is killed after an upgrade is followed by one of the new version', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const folder = join(daemon.directory, 'kitfs');
  mkdirSync(folder);
  const unpack = ['-xz', '-C', folder, '--strip-components=1'];
  execFileSync('tar', unpack, { input: packedPackage() });
  // npm would install the dependencies into it.
  symlinkSync(MODULES, join(folder, 'node_modules'));
  const main = join(folder, 'dist/bundle/cli/main.js');
  await daemon.run(process.execPath, [main, 'mount', '--background'], { in: daemon.directory });
  const { pid, keeper } = await daemon.json<Status>(['status']);
  const next = await nextOf(keeper ?? 0, pid);
  copyFileSync(main, `${main}.new`);
  renameSync(`${main}.new`, main);
  process.kill(pid, 'SIGKILL');
  await expect.poll(() => daemon.pid, { timeout: 20_000 }).not.toBe(pid);
  expect(daemon.pid).not.toBe(next);
  expect(await daemon.json(['unmount'])).toEqual({ unmounted: daemon.mountPoint });
});

/** The path of a file with a secret. */
function keyIn({ directory }: TestDaemon): string {
  const path = join(directory, 'key');
  writeFileSync(path, randomBytes(16).toString('hex'), { mode: 0o600 });
  return path;
}

test('a configuration that cannot be used any more costs no mount: the last good one holds', async () => {
  const good = '[memory]\nenabled = false\n';
  await using daemon = await TestDaemon.start({ configuration: good });
  const [file, key] = [join(daemon.directory, 'config.toml'), keyIn(daemon)];
  await daemon.shell('echo kept > ipfs/a');
  const bads = [
    ...['[memory\n', 'colour = "red"\n', undefined, '[access]\nusers = ["no-such-user"]\n'],
    '[[access.token]]\nname = "a"\nsecret = "file:/no/such/key"\n',
    `[[access.token]]\nname = "a"\nsecret = "file:${key}"\ntools = ["vfs_reed"]\n`,
  ];
  for (const bad of bads) {
    if (bad === undefined) rmSync(file);
    else writeFileSync(file, bad);
    await daemon.crash();
    expect(await daemon.shell('cat ipfs/a; ls')).toBe('kept\nipfs\nipns\n');
  }
  expect(daemon.output.match(/"msg":"the settings before it hold"/g)).toHaveLength(bads.length);
  expect(daemon.output).toContain('colour: there is no such key');
  writeFileSync(file, '[memory]\nenabled = true\n');
  await daemon.crash();
  expect(await daemon.shell('ls')).toBe('ipfs\nipns\nmem\n');
  writeFileSync(file, good);
  await daemon.crash();
  // Nobody goes on with a mount that is not there: whoever makes one hears what is wrong.
  await daemon.stop();
  writeFileSync(file, '[memory\n');
  const { code, stderr } = await daemon.kitfs(['mount']);
  expect([code, stderr]).toEqual([1, expect.stringContaining('config.toml')]);
  expect(mountLines(daemon.directory)).toEqual([]);
});

test('what a configuration names may go, and costs no mount: it is left out until it is there', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const key = keyIn(daemon);
  const token = `[[access.token]]\nname = "a"\nsecret = "file:${key}"\n`;
  writeFileSync(join(daemon.directory, 'config.toml'), `[access]\nrequire_token = true\n${token}`);
  await daemon.restart();
  await daemon.shell('echo kept > ipfs/a');
  rmSync(key);
  for (let kills = 0; kills < 2; kills++) {
    await daemon.crash();
    expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
    // The last thing of a start.
    const ready = () => daemon.output.match(/"msg":"ready"/g);
    await expect.poll(ready, { timeout: 20_000 }).toHaveLength(kills + 3);
  }
  expect(daemon.output.match(/settings is left out/g)).toHaveLength(2);
  expect(daemon.output.match(/started again by the keeper/g)).toHaveLength(2);
  await daemon.stop();
});

test('a mount that is there is gone on with where nothing about it can be written down', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.shell('echo kept > ipfs/a');
  const ready = () => daemon.output.match(/"msg":"ready"/g);
  await expect.poll(ready, { timeout: 20_000 }).toHaveLength(1);
  const record = join(daemon.state, 'keeper.json');
  rmSync(record);
  symlinkSync(join(daemon.directory, 'no/such'), record);
  for (let kills = 0; kills < 2; kills++) {
    await daemon.crash();
    await expect.poll(ready, { timeout: 20_000 }).toHaveLength(kills + 2);
    expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
  }
  expect(daemon.output.match(/"msg":"kitfs unmount may not find this mount/g)).toHaveLength(2);
  await daemon.stop();
});

test('a daemon without a keeper dies with its mount', async () => {
  await using daemon = await TestDaemon.start({ args: ['--no-keeper'] });
  expect(await daemon.json(['status'])).toMatchObject({ pid: daemon.startedPid, keeper: null });
  await daemon.kill();
  expect(mountLines(daemon.directory)).toHaveLength(1);
  expect((await daemon.kitfs(['status'])).code).toBe(3);
});

test('a keeper in the background ends with its daemon', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  for (const args of [[], ['--no-keeper']]) {
    await daemon.json(['mount', '--background', ...args]);
    const { pid, keeper } = await daemon.json<Status>(['status']);
    expect(keeper === null).toBe(args.length > 0);
    await daemon.json(['unmount']);
    const left = () => [pid, keeper ?? pid].filter((each) => existsSync(`/proc/${each}/exe`));
    await expect.poll(left).toEqual([]);
  }
  expect(mountLines(daemon.directory)).toEqual([]);
});

test('a keeper whose daemon dies again and again is ended by kitfs unmount', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const [dies, deadly] = ['dies.cjs', 'deadly'].map((name) => join(daemon.directory, name));
  const isDaemon = "process.argv.includes('--keeper-fd')";
  const isDeadly = `require('node:fs').existsSync(${JSON.stringify(deadly)})`;
  writeFileSync(dies ?? '', `if (${isDaemon} && ${isDeadly}) process.exit(9);\n`);
  const env = { NODE_OPTIONS: `--require ${dies}` };
  await daemon.json(['mount', '--background'], { env });
  const { keeper } = await daemon.json<Status>(['status']);
  // The next daemon is there already, and serves; the one after it dies as soon as it is started.
  const first = daemon.pid;
  await nextOf(keeper ?? 0, first);
  writeFileSync(deadly ?? '', '');
  process.kill(first, 'SIGKILL');
  await expect.poll(() => daemon.pid, { timeout: 20_000 }).not.toBe(first);
  process.kill(daemon.pid, 'SIGKILL');
  const log = () => readFileSync(join(daemon.runDirectory, 'daemon.log'), 'utf8');
  await expect.poll(log, { timeout: 20_000 }).toContain('again in 100 ms');
  const { code, stderr } = await daemon.kitfs(['mount', '--no-keeper']);
  expect([code, stderr]).toEqual([1, expect.stringContaining(`its keeper (pid ${keeper})`)]);
  expect(await daemon.json(['unmount'])).toEqual({ unmounted: daemon.mountPoint });
  expect(existsSync(`/proc/${keeper}/exe`)).toBe(false);
  expect(mountLines(daemon.directory)).toEqual([]);
  expect((await daemon.kitfs(['unmount'])).code).toBe(3);
});
