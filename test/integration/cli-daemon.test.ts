/** The commands with a daemon: a real mount, driven from child processes. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

interface Listed {
  readonly name: string;
  readonly inputSchema: unknown;
}

/** A record of the journal, as far as it is compared. */
interface Seen {
  readonly seq: number;
  readonly op: string;
  readonly path: string;
  readonly hash: string;
}

/** Its CID may come at any time after the bytes. */
const lasting = ({ seq, op, path, hash }: Seen) => ({ seq, op, path, hash });

const mountsIn = (directory: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${directory}/`));

const mountsSeenBy = (pid: string) => {
  try {
    return readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  } catch {
    return '';
  }
};

/** Unmounts it in every namespace that was made while it was mounted: each has a copy, as those of other tests do. */
function unmountCopies(point: string): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (!mountsSeenBy(pid).includes(` ${point} `)) continue;
    spawnSync('nsenter', [`--target=${pid}`, '--mount', 'umount', point], { timeout: 5_000 });
  }
}

/** A program that is in a directory of the mount, and stays there. */
async function userIn(daemon: TestDaemon, directory: string): Promise<ChildProcess> {
  const user = daemon.spawn('/bin/sh', ['-c', 'echo in; exec sleep 60'], { in: directory });
  if (user.stdout === null) throw new Error('the program has no output');
  await once(user.stdout, 'data');
  return user;
}

async function end(user: ChildProcess): Promise<void> {
  const gone = once(user, 'exit');
  user.kill();
  await gone;
}

describe('a daemon', () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    await daemon.shell('mkdir ipfs/d; echo hello > ipfs/d/a; echo other > ipfs/b');
  });
  afterAll(() => daemon.close());

  test('says at its start that it works, where, and three things to try', async () => {
    await expect.poll(() => daemon.output).toContain('Ctrl-C');
    const { output, mountPoint, mcpSocket } = daemon;
    expect(output).toContain(`is mounted at ${mountPoint}`);
    expect(output).toContain(mcpSocket);
    expect(output).toContain(`echo hello > ${mountPoint}/ipfs/hello.txt`);
    expect(output).toContain('log /ipfs/hello.txt');
    expect(output.trimEnd().split('\n').at(-1)).toBe('Ctrl-C unmounts.');
  });

  test('has a status that scripts can rely on, here and in the tree', async () => {
    const status = await daemon.json<Record<string, unknown>>(['status']);
    expect(status).toMatchObject({
      pid: daemon.pid,
      mounts: [
        {
          mount_point: daemon.mountPoint,
          trees: [{ path: '/ipfs' }, { path: '/ipns' }, { path: '/mem' }],
        },
      ],
      driver: 'native',
      dirty: { files: expect.any(Number), bytes: expect.any(Number) },
      services: [],
      health: { state: 'ok', because: [] },
    });
    const inTree = JSON.parse(await daemon.run('cat', ['.kitfs/status.json']));
    expect(Object.keys(inTree)).toEqual(Object.keys(status));
    const { stdout } = await daemon.kitfs(['status']);
    expect(stdout).toMatch(/^health +ok$/m);
  });

  test('shows the journal in the tree, oldest first, as the tool shows it', async () => {
    const lines = (await daemon.run('cat', ['.kitfs/journal.ndjson'])).trimEnd().split('\n');
    const records = lines.map((line) => JSON.parse(line) as Seen);
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, index) => index + 1));
    const log = await daemon.json<Seen[]>(['log', '--limit', '1000']);
    expect(log.toReversed().map(lasting)).toEqual(records.map(lasting));
    expect(await daemon.run('cat', ['.kitfs/errors.ndjson'])).toBe('');
  });

  test('has a history by path in the tree, by path on the host, and up to a limit', async () => {
    const inTree = await daemon.json<Seen[]>(['log', '/ipfs/d/a']);
    expect(inTree.map(({ op }) => op)).toEqual(['write', 'create']);
    const onHost = await daemon.json<Seen[]>(['log', daemon.path('ipfs/d/a')]);
    expect(onHost.map(lasting)).toEqual(inTree.map(lasting));
    const newest = await daemon.json<Seen[]>(['log', '/ipfs/d/a', '--limit', '1']);
    expect(newest.map(lasting)).toEqual(inTree.slice(0, 1).map(lasting));
    const { stdout } = await daemon.kitfs(['log', '/ipfs/d/a']);
    expect(stdout).toMatch(/ write +\/ipfs\/d\/a \(6 bytes\) +\[fuse, /);
  });

  test('follows the history as it is made', async () => {
    const args = [process.argv[0] ?? 'node', 'log', '/ipfs/followed', '--follow', '--json'];
    const main = new URL('../../dist/src/cli/main.js', import.meta.url).pathname;
    const child = daemon.spawn(args[0] ?? 'node', [main, ...args.slice(1)], { in: '/' });
    const line = new Promise<string>((resolve) => child.stdout?.once('data', resolve));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    // Until it has begun to follow, what is made is not new to it.
    let isSeen = false;
    void line.then(() => {
      isSeen = true;
    });
    await expect
      .poll(
        async () => {
          await daemon.shell('mkdir -p ipfs/followed; touch ipfs/followed/x$(date +%s%N)');
          return isSeen;
        },
        { timeout: 10_000, interval: 200 },
      )
      .toBe(true);
    const first = String(await line).split('\n')[0] ?? '';
    expect(JSON.parse(first)).toMatchObject({ path: expect.stringMatching(/^\/ipfs\/followed/) });
    child.kill('SIGINT');
    expect(await ended).toBe(0);
  });

  test('is called as an agent calls it: the envelope alone, and bytes in it', async () => {
    const path = '/ipfs/d/a';
    const read = await daemon.json<Record<string, unknown>>([
      'call',
      'vfs_read',
      `{"path":"${path}"}`,
    ]);
    expect(read).toMatchObject({
      status: 'success',
      data: { size: 6, encoding: 'utf-8', content: 'hello\n', local_path: daemon.path('ipfs/d/a') },
      context: { request_id: expect.any(String) },
    });
    const bytes = await daemon.kitfs(['call', 'vfs_read', `{"path":"${path}"}`]);
    expect([bytes.code, bytes.stdout]).toEqual([0, 'hello\n']);
    const facts = await daemon.kitfs(['call', 'vfs_stat', '-'], { input: `{"path":"${path}"}` });
    expect(JSON.parse(facts.stdout)).toMatchObject({ path, size: 6 });
  });

  test('carries any bytes to the command line and back', async () => {
    const random = createHash('sha512').update('seed').digest();
    const content = random.toString('base64');
    const write = JSON.stringify({ path: '/ipfs/random', content, encoding: 'base64' });
    await daemon.json(['call', 'vfs_write', '-'], { input: write });
    const { data } = await daemon.json<{ data: { content: string; encoding: string } }>([
      'call',
      'vfs_read',
      '{"path":"/ipfs/random"}',
    ]);
    expect(data).toMatchObject({ encoding: 'base64', content });
    const shown = await daemon.run('cmp', ['ipfs/random', '-'], { input: random });
    expect(shown).toBe('');
  });

  test('answers a call that fails with code 1, in both forms', async () => {
    const asJson = await daemon.kitfs(['call', 'vfs_stat', '{"path":"/none"}', '--json']);
    expect(asJson.code).toBe(1);
    expect(JSON.parse(asJson.stdout)).toMatchObject({ status: 'error', error_code: 'NOT_FOUND' });
    const forPeople = await daemon.kitfs(['call', 'vfs_stat', '{"path":"/none"}']);
    expect([forPeople.code, forPeople.stdout]).toEqual([1, '']);
    expect(forPeople.stderr).toMatch(/^kitfs: .*not found/);
    const unknown = await daemon.kitfs(['call', 'no_such_tool', '--json']);
    expect(unknown.code).toBe(1);
    expect(JSON.parse(unknown.stdout)).toMatchObject({ context: { kind: 'tool' } });
  });

  test('lists its tools, by name for people and with schemas for scripts', async () => {
    const tools = await daemon.json<Listed[]>(['tools']);
    expect(tools.length).toBeGreaterThan(15);
    expect(tools.every(({ inputSchema }) => inputSchema !== undefined)).toBe(true);
    const { stdout } = await daemon.kitfs(['tools']);
    const names = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ')[0]);
    expect(names).toEqual(tools.map(({ name }) => name));
  });

  test('gives a subtree its CID, and all its blocks as a CAR', async () => {
    const car = join(daemon.directory, 'd.car');
    const synced = await daemon.json<{ root_cid: string; car: { bytes: number } }>([
      'sync',
      '/ipfs/d',
      '--car',
      car,
    ]);
    expect(synced.root_cid).toMatch(/^baf/);
    expect(statSync(car).size).toBe(synced.car.bytes);
    expect(existsSync(`${car}.part`)).toBe(false);
    const again = await daemon.json<{ root_cid: string; changed: boolean }>([
      'sync',
      daemon.path('ipfs/d'),
      '--wait',
    ]);
    expect(again).toMatchObject({ root_cid: synced.root_cid, changed: false });
    const nowhere = await daemon.kitfs(['sync', '/ipfs/d', '--car', '/none/d.car']);
    expect(nowhere.code).toBe(1);
    expect(nowhere.stderr).toContain('write /none/d.car');
  });

  test('brings everything to the disk when it is told to', async () => {
    await daemon.shell('head -c 200000 /dev/urandom > ipfs/large');
    expect(await daemon.json(['sync', '--local'])).toEqual({ files: expect.any(Number) });
    expect(await daemon.json(['sync', '--local'])).toEqual({ files: 0 });
  });

  test('is checked while it runs, and is clean', async () => {
    const report = await daemon.json<Record<string, unknown>>(['fsck']);
    expect(report).toMatchObject({ clean: true, findings: [], state: daemon.state });
    const { stdout } = await daemon.kitfs(['fsck']);
    expect(stdout).toMatch(/: clean\n$/);
  });

  test('is the only one on its state, its sockets and its mount point', async () => {
    const other = (...args: readonly string[]) =>
      daemon.kitfs(['mount', join(daemon.directory, 'other'), ...args]);
    const state = await other();
    expect([state.code, state.stderr]).toEqual([1, expect.stringContaining(`pid ${daemon.pid}`)]);
    const sockets = await other('--state', join(daemon.directory, 'state2'));
    expect(sockets.code).toBe(1);
    expect(sockets.stderr).toContain('control.sock');
    const place = await daemon.kitfs([
      'mount',
      ...['--state', join(daemon.directory, 'state2'), '--run', join(daemon.directory, 'run2')],
    ]);
    expect(place.code).toBe(1);
    expect(place.stderr).toContain('fuse.kitfs (kitfs) is mounted there');
  });

  test('is not unmounted by the name of another directory, nor while it is in use', async () => {
    const wrong = await daemon.kitfs(['unmount', '/tmp']);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain(daemon.mountPoint);
    const user = await userIn(daemon, 'ipfs/d');
    const { code, stderr } = await daemon.kitfs(['unmount', daemon.mountPoint]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/in use by \w+ \(pid \d+\)/)]);
    expect(await daemon.json(['status'])).toMatchObject({ health: { state: 'ok' } });
    await end(user);
  });
});

describe('a stop', () => {
  test('by kitfs unmount is complete when the command returns', async () => {
    await using daemon = await TestDaemon.start();
    await daemon.shell('echo kept > ipfs/a; echo gone > mem/b');
    expect(await daemon.json(['unmount'])).toEqual({ unmounted: daemon.mountPoint });
    expect(mountsIn(daemon.directory)).toEqual([]);
    await expect.poll(() => daemon.isRunning, { timeout: 10_000 }).toBe(false);
    expect(daemon.output).toContain(`unmounted ${daemon.mountPoint}`);
    expect(readdirSync(daemon.runDirectory)).toEqual(['memory']);
    expect((await daemon.kitfs(['status'])).code).toBe(3);
    await daemon.restart();
    expect(await daemon.shell('cat ipfs/a; ls mem')).toBe('kept\n');
  });

  test('by force takes the mount from those who use it', async () => {
    await using daemon = await TestDaemon.start();
    const user = await userIn(daemon, 'ipfs');
    expect((await daemon.kitfs(['unmount'])).code).toBe(1);
    expect(await daemon.json(['unmount', '--force'])).toEqual({ unmounted: daemon.mountPoint });
    expect(mountsIn(daemon.directory)).toEqual([]);
    await end(user);
    await expect.poll(() => daemon.isRunning, { timeout: 10_000 }).toBe(false);
  });

  test('by Ctrl-C needs no force, and names who used the mount', async () => {
    await using daemon = await TestDaemon.start();
    const user = await userIn(daemon, 'ipfs');
    await daemon.stop();
    expect(daemon.output).toMatch(/in use by \w+ \(pid \d+\)/);
    user.kill();
  });

  test('follows when somebody else unmounts the tree', async () => {
    await using daemon = await TestDaemon.start();
    await daemon.run('umount', [daemon.mountPoint], { in: '/' });
    unmountCopies(daemon.mountPoint);
    await expect.poll(() => daemon.isRunning, { timeout: 10_000 }).toBe(false);
    await expect.poll(() => daemon.output).toContain('somebody else unmounted the tree');
    expect((await daemon.json<{ clean: boolean }>(['fsck'])).clean).toBe(true);
  });

  test('serves on where a namespace has a copy of the mount, until that is unmounted too', async () => {
    await using daemon = await TestDaemon.start();
    await daemon.shell('echo kept > ipfs/a');
    const copied = ['--mount', '--propagation', 'private', 'sh', '-c', 'echo in; exec sleep 60'];
    const other = spawn('unshare', copied, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(other.stdout, 'data');
    await daemon.run('umount', [daemon.mountPoint], { in: '/' });
    expect(mountsIn(daemon.directory)).toEqual([]);
    const inside = [`--target=${other.pid}`, '--mount'];
    expect(await daemon.run('nsenter', [...inside, 'cat', daemon.path('ipfs/a')])).toBe('kept\n');
    expect(daemon.isRunning).toBe(true);
    await end(other);
    unmountCopies(daemon.mountPoint);
    await expect.poll(() => daemon.isRunning, { timeout: 10_000 }).toBe(false);
  });
});

describe('a daemon that was killed', () => {
  test('leaves a mount that the next one of its state directory removes', async () => {
    await using daemon = await TestDaemon.start();
    await daemon.shell('echo kept > ipfs/a');
    await daemon.kill();
    expect(mountsIn(daemon.directory)).toHaveLength(1);
    await daemon.restart();
    expect(mountsIn(daemon.directory)).toHaveLength(1);
    expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
  });

  test('leaves a mount that kitfs unmount removes', async () => {
    await using daemon = await TestDaemon.start();
    await daemon.kill();
    expect(await daemon.json(['unmount'])).toEqual({ unmounted: daemon.mountPoint });
    expect(mountsIn(daemon.directory)).toEqual([]);
    expect((await daemon.kitfs(['unmount'])).code).toBe(3);
  });

  test('leaves a mount that one of another state directory names and leaves alone', async () => {
    await using daemon = await TestDaemon.start();
    await daemon.kill();
    const { code, stderr } = await daemon.kitfs([
      'mount',
      ...['--state', join(daemon.directory, 'state2'), '--run', join(daemon.directory, 'run2')],
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain('a dead mount of fuse.kitfs (kitfs) lies there');
    expect(mountsIn(daemon.directory)).toHaveLength(1);
  });
});

test('a daemon in the background outlives the command, and tells why when it cannot start', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  const detached = await daemon.json<Record<string, string>>(['mount', '--background']);
  try {
    expect(detached).toMatchObject({
      mount_point: daemon.mountPoint,
      mcp_socket: daemon.mcpSocket,
    });
    expect(await daemon.shell('echo x > ipfs/x; cat ipfs/x')).toBe('x\n');
    const second = await daemon.kitfs(['mount', '--background']);
    expect([second.code, second.stdout]).toEqual([1, '']);
    expect(second.stderr).toContain('kitfs unmount');
  } finally {
    await daemon.kitfs(['unmount', '--force']);
  }
  expect(mountsIn(daemon.directory)).toEqual([]);
});

test('what the configuration says holds: read-only, without /mem, other limits', async () => {
  await using daemon = await TestDaemon.start({
    configuration: '[mount]\nread_only = true\n[memory]\nenabled = false\n[log]\nlevel = "warn"\n',
  });
  expect(await daemon.run('ls')).toBe('ipfs\nipns\n');
  const { stderr } = await daemon.attempt('touch', ['ipfs/a']);
  expect(stderr).toContain('Read-only file system');
  expect(await daemon.json(['status'])).toMatchObject({ mounts: [{ read_only: true }] });
  expect(daemon.output).not.toContain('"msg":"ready"');
  await daemon.stop();
  writeFileSync(join(daemon.directory, 'config.toml'), '[memory]\nsize_max_mib = 1\n');
  await daemon.restart();
  expect(await daemon.run('df', ['-k', '--output=size', 'mem'])).toMatch(/\b1024\b/);
});

interface FsckAnswer {
  readonly clean: boolean;
  readonly findings: readonly { check: string; outcome: string; path?: string; action?: string }[];
  readonly counts: Readonly<Record<string, number>>;
}

test('fsck names bytes that are lost, and --repair keeps what is left of them', async () => {
  await using daemon = await TestDaemon.start();
  const fsck = async (...flags: string[]): Promise<FsckAnswer & { code: number | null }> => {
    const { code, stdout } = await daemon.kitfs(['fsck', '--json', ...flags]);
    return { ...(JSON.parse(stdout) as FsckAnswer), code };
  };
  await daemon.shell(
    'for f in a b; do head -c 300000 /dev/urandom > ipfs/$f; done; echo c > ipfs/c',
  );
  await daemon.json(['sync', '--wait']);
  const busy = await daemon.kitfs(['fsck', '--repair']);
  expect(busy).toMatchObject({ code: 1, stderr: expect.stringContaining(`pid ${daemon.pid}`) });
  await daemon.stop();
  const content = join(daemon.state, 'content');
  const files = readdirSync(content, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'journal-was')
    .map((entry) => join(entry.parentPath, entry.name));
  expect(files).toHaveLength(2);
  const [flipped = '', cut = ''] = files;
  const bytes = readFileSync(flipped);
  bytes[1000] = (bytes[1000] ?? 0) ^ 1;
  writeFileSync(flipped, bytes);
  writeFileSync(cut, readFileSync(cut).subarray(0, 1000));

  const first = await fsck();
  expect(first).toMatchObject({ code: 1, clean: false, counts: { left: 2 } });
  expect(first.findings.map(({ check }) => check).sort()).toEqual(['bytes-cid', 'bytes-size']);
  expect(first.findings.map(({ path }) => path).sort()).toEqual(['/ipfs/a', '/ipfs/b']);
  const forPeople = await daemon.kitfs(['fsck']);
  expect(forPeople.stdout).toContain('2 findings, 2 left');

  // What nothing can mend is left, and said.
  const repaired = await fsck('--repair');
  expect(repaired).toMatchObject({ code: 1, counts: { quarantined: 2, left: 2 } });
  const again = await fsck();
  expect(again.findings.map(({ check }) => check)).toEqual(['content-lost', 'content-lost']);

  await daemon.restart();
  await daemon.shell(
    `test "$(stat -c '%a %F' lost+found)" = '700 directory'
     for f in a b; do ! cat $f > /dev/null 2> said; grep -q 'Input/output error' said; rm said; done
     test "$(cat lost+found/* | wc -c)" = 301000; test "$(cat c)" = c; rm a b`,
    { in: 'ipfs' },
  );
  expect(await fsck()).toMatchObject({ code: 0, clean: true });
  const { stdout } = await daemon.kitfs(['log', '--limit', '9']);
  expect(stdout).toMatch(/ repair +\/ipfs\/lost\+found\/#\d+-content-\d+/);
  await daemon.stop();
  expect(await fsck('--repair')).toMatchObject({ code: 0, clean: true });
});

test('a configuration of another user’s state directory is not taken', async () => {
  await using daemon = await TestDaemon.start();
  const foreign = join(daemon.directory, 'foreign');
  mkdirSync(foreign);
  await daemon.run('chown', ['65534', foreign], { in: '/' });
  const { code, stderr } = await daemon.kitfs([
    'mount',
    join(daemon.directory, 'other'),
    ...['--state', foreign, '--run', join(daemon.directory, 'run2')],
  ]);
  expect(code).toBe(1);
  expect(stderr).toContain('belongs to another user');
});
