/** Where a daemon that goes on with a mount has its state and its sockets. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KITFS, TestDaemon } from './daemon.ts';

interface Status {
  readonly pid: number;
  readonly keeper: number | null;
}

/** Only the configuration file says where things are. */
const env = { KITFS_STATE: '', KITFS_RUN: '', KITFS_MOUNT: '' };
const LIMIT = { timeout: 20_000 };

const isMounted = (dir: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${dir} `);

/** Directories below one of `daemon`, as the configuration file names them. */
function placesIn(daemon: TestDaemon, folder: string) {
  const [state = '', run = '', mnt = ''] = ['state', 'run', 'mnt'].map((name) =>
    join(daemon.directory, folder, name),
  );
  const text = `state = "${state}"\nrun = "${run}"\nmount_point = "${mnt}"\n`;
  return { state, run, mnt, text, configure: () => configure(daemon, text) };
}

const configure = (daemon: TestDaemon, text: string) =>
  writeFileSync(join(daemon.directory, 'config.toml'), text);

/** Kills the daemon that serves there, and waits until another one does. */
async function crash(daemon: TestDaemon, { run }: { readonly run: string }): Promise<void> {
  const status = () => daemon.json<Status>(['status', '--run', run]);
  const { pid } = await status();
  process.kill(pid, 'SIGKILL');
  const next = () =>
    status().then(
      (now) => now.pid,
      () => pid,
    );
  await expect.poll(next, LIMIT).not.toBe(pid);
}

test('a mount is gone on with in its own directories, whatever the configuration says by then', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const [first, second, third] = ['first', 'second', 'third'].map((name) => placesIn(daemon, name));
  // One that was made already, with another file under the same name.
  second?.configure();
  await daemon.json(['mount', '--background'], { env });
  await daemon.shell('echo second > ipfs/a', { in: second?.mnt ?? '' });
  await daemon.json(['unmount'], { env });
  if (first === undefined) throw new Error('unreachable');
  first.configure();
  await daemon.json(['mount', '--background'], { env });
  await daemon.shell('echo first > ipfs/a; echo memory > mem/b', { in: first.mnt });
  const reader = daemon.spawn('sh', ['-c', 'exec 3>>ipfs/a; read line; echo more >&3'], {
    in: first.mnt,
  });
  for (const other of [second, third]) {
    other?.configure();
    await crash(daemon, first);
    expect(await daemon.shell('cat ipfs/a mem/b', { in: first.mnt })).toBe('first\nmemory\n');
  }
  reader.stdin?.end('\n');
  await expect
    .poll(() => daemon.shell('cat ipfs/a', { in: first.mnt }), LIMIT)
    .toBe('first\nmore\n');
  expect(readFileSync(join(first.run, 'daemon.log'), 'utf8')).toContain(
    '"msg":"the places of the mount hold"',
  );
  expect(existsSync(join(daemon.directory, 'third'))).toBe(false);
  expect(await daemon.json(['unmount', '--run', first.run])).toEqual({ unmounted: first.mnt });
  // Of the next mount the configuration counts again.
  second?.configure();
  await daemon.json(['mount', '--background'], { env });
  expect(await daemon.shell('cat ipfs/a', { in: second?.mnt ?? '' })).toBe('second\n');
  await daemon.json(['unmount'], { env });
});

test('a mount whose directories were moved is gone on with where they are', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const [old, moved] = [placesIn(daemon, 'old'), placesIn(daemon, 'moved')];
  old.configure();
  await daemon.json(['mount', '--background'], { env });
  await daemon.shell('echo kept > ipfs/a; echo memory > mem/b', { in: old.mnt });
  const { pid } = await daemon.json<Status>(['status'], { env });
  renameSync(join(daemon.directory, 'old'), join(daemon.directory, 'moved'));
  // What others put there is not taken for it.
  mkdirSync(old.state, { recursive: true });
  process.kill(pid, 'SIGKILL');
  const now = () =>
    daemon.json<Status>(['status', '--run', moved.run]).then((status) => status.pid);
  await expect.poll(() => now().catch(() => pid), LIMIT).not.toBe(pid);
  expect(await daemon.shell('cat ipfs/a mem/b', { in: moved.mnt })).toBe('kept\nmemory\n');
  expect(existsSync(join(old.state, 'journal.db'))).toBe(false);
  expect(await daemon.json(['unmount', '--run', moved.run])).toEqual({ unmounted: moved.mnt });
});

test('a mount outlives the directory in which it was asked for, and the names that began there', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const typed = join(daemon.directory, 'typed', 'here');
  for (const args of [[], ['--no-keeper']]) {
    mkdirSync(typed, { recursive: true });
    writeFileSync(join(daemon.directory, 'typed', 'config.toml'), '[memory]\nenabled = false\n');
    const relative = { KITFS_STATE: '../../state', KITFS_RUN: '../../run', KITFS_MOUNT: '' };
    const mount = ['mount', '--background', ...args, '--config', '../config.toml', '../../mnt'];
    await daemon.json(mount, { in: typed, env: relative });
    rmSync(typed, { recursive: true });
    await daemon.shell('echo kept > ipfs/a');
    if (args.length === 0) await crash(daemon, { run: daemon.runDirectory });
    expect(await daemon.shell('cat ipfs/a; ls')).toBe('kept\nipfs\nipns\n');
    const status = await daemon.json<Status>(['status']);
    for (const pid of [status.pid, status.keeper ?? status.pid]) {
      expect(readlinkSync(`/proc/${pid}/cwd`)).toBe('/');
    }
    await daemon.json(['unmount']);
  }
});

test('whoever is in a directory that was removed can mount by absolute names', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const script = 'mkdir d; cd d; rmdir ../d; exec "$@"';
  const kitfs = (...args: readonly string[]) =>
    daemon.attempt('sh', ['-c', script, 'sh', process.execPath, KITFS, ...args], {
      in: daemon.directory,
    });
  expect(await kitfs('mount', '--background')).toMatchObject({ code: 0 });
  await daemon.shell('echo kept > ipfs/a');
  const { code, stderr } = await kitfs('status', '--run', 'run');
  expect([code, stderr]).toEqual([1, expect.stringContaining('name absolute paths')]);
  await daemon.json(['unmount']);
});

test.each([
  ['the state directory', (state: string) => rmSync(state, { recursive: true }), 'state directory'],
  ['the journal', (state: string) => rmSync(join(state, 'journal.db')), 'it is gone'],
])(
  'a mount is not gone on with when %s is gone, and no empty tree is shown',
  async (_, remove, why) => {
    await using daemon = await TestDaemon.start();
    await daemon.stop();
    const places = placesIn(daemon, 'one');
    places.configure();
    await daemon.json(['mount', '--background'], { env });
    await daemon.shell('echo kept > ipfs/a', { in: places.mnt });
    const { pid, keeper } = await daemon.json<Status>(['status'], { env });
    remove(places.state);
    process.kill(pid, 'SIGKILL');
    const log = () => readFileSync(join(places.run, 'daemon.log'), 'utf8');
    await expect.poll(log, LIMIT).toContain(why);
    expect(isMounted(places.mnt)).toBe(true);
    if (keeper === null) throw new Error('nobody keeps');
    process.kill(keeper, 'SIGTERM');
    await expect.poll(() => isMounted(places.mnt), LIMIT).toBe(false);
    expect(existsSync(join(places.state, 'journal.db'))).toBe(false);
  },
);
