import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Environment, type Flags, loadConfig, loadPlaces } from '../../src/daemon/config.ts';
import {
  defaultSettings,
  memoryBytesMax,
  paceOf,
  parseSettings,
  retentionOf,
  settingsTable,
} from '../../src/daemon/settings.ts';
import { Scratch } from './scratch.ts';

const user = (
  variables: Environment['variables'] = {},
  uid = 1000,
  directory = '/srv',
): Environment => ({ variables, uid, pid: 7, home: '/home/ann', directory });

const placesOf = (flags: Flags, environment: Environment) => loadPlaces(flags, environment);

describe('where things are by default', () => {
  test('a user has state, sockets and mount point in places of their own', async () => {
    const variables = { XDG_RUNTIME_DIR: '/run/user/1000', PATH: '/usr/bin:/bin:relative' };
    expect(await placesOf({}, user(variables))).toEqual({
      mcpReadOnlySocket: '/run/user/1000/kitfs/mcp-ro.sock',
      secretOf: expect.any(Function),
      uid: 1000,
      state: '/home/ann/.local/state/kitfs',
      run: '/run/user/1000/kitfs',
      isDefaultRun: true,
      mountPoint: '/home/ann/kitfs',
      file: undefined,
      controlSocket: '/run/user/1000/kitfs/control.sock',
      mcpSocket: '/run/user/1000/kitfs/mcp.sock',
      programFolders: ['/usr/bin', '/bin'],
    });
  });

  test('root has those of the machine, whatever the XDG variables say', async () => {
    const variables = { XDG_RUNTIME_DIR: '/run/user/0', XDG_STATE_HOME: '/root/.state' };
    const places = await placesOf({}, user(variables, 0));
    expect(places).toMatchObject({ state: '/var/lib/kitfs', run: '/run/kitfs' });
  });

  test('without XDG_RUNTIME_DIR the sockets are in /tmp, under the number of the user', async () => {
    expect((await placesOf({}, user())).run).toBe('/tmp/kitfs-1000');
  });

  test('the XDG variables count when they are absolute', async () => {
    const absolute = user({ XDG_STATE_HOME: '/data/state' });
    expect((await placesOf({}, absolute)).state).toBe('/data/state/kitfs');
    const relative = user({ XDG_STATE_HOME: 'data/state' });
    expect((await placesOf({}, relative)).state).toBe('/home/ann/.local/state/kitfs');
  });
});

describe('a manager of services', () => {
  const supervised = async (variables: Environment['variables']) =>
    (await loadConfig({}, user(variables))).supervision;

  test('is one that named a socket', async () => {
    expect(await supervised({})).toBeUndefined();
    expect(await supervised({ NOTIFY_SOCKET: '', WATCHDOG_USEC: '1000' })).toBeUndefined();
    const socket = '@manager';
    const expected = { socket, watchdogMs: undefined };
    expect(await supervised({ NOTIFY_SOCKET: socket })).toEqual(expected);
  });

  test('watches this process when it says so, and no other', async () => {
    const watched = async (variables: Environment['variables']) =>
      (await supervised({ NOTIFY_SOCKET: '/n', WATCHDOG_USEC: '2500000', ...variables }))
        ?.watchdogMs;
    expect(await watched({})).toBe(2500);
    expect(await watched({ WATCHDOG_PID: '7' })).toBe(2500);
    expect(await watched({ WATCHDOG_PID: '8' })).toBeUndefined();
    for (const nothing of ['', '0', '-1', 'soon', undefined]) {
      expect(await watched({ WATCHDOG_USEC: nothing }), nothing).toBeUndefined();
    }
  });
});

describe('who says it', () => {
  test('a flag wins over a variable, a variable over the file, the file over the default', async () => {
    using scratch = new Scratch();
    const file = scratch.path('config.toml');
    writeFileSync(file, 'state = "/file/state"\nrun = "/file/run"\nmount_point = "/file/mnt"\n');
    const variables = { KITFS_CONFIG: file, KITFS_STATE: '/env/state', KITFS_RUN: '/env/run' };
    const places = await placesOf({ state: '/flag/state' }, user(variables));
    expect(places).toMatchObject({
      state: '/flag/state',
      run: '/env/run',
      isDefaultRun: false,
      mountPoint: '/file/mnt',
      file,
    });
  });

  test('relative paths of flags and variables start at the working directory', async () => {
    const places = await placesOf({ state: 'a/../b' }, user({ KITFS_RUN: 'run' }));
    expect(places).toMatchObject({ state: '/srv/b', run: '/srv/run' });
  });

  test('a working directory that was removed is missed by relative paths alone', async () => {
    const gone = new OpError('not-found', 'look');
    const environment = Object.defineProperty(user({ KITFS_RUN: '/r' }), 'directory', {
      get: () => {
        throw gone;
      },
    });
    expect((await placesOf({ state: '/s' }, environment)).state).toBe('/s');
    await expect(placesOf({ state: 's' }, environment)).rejects.toBe(gone);
  });

  test('an empty variable is none', async () => {
    const places = await placesOf({}, user({ KITFS_STATE: '', KITFS_CONFIG: '' }));
    expect(places.state).toBe('/home/ann/.local/state/kitfs');
  });

  test('flags of the mount win over the file', async () => {
    using scratch = new Scratch();
    const file = scratch.path('config.toml');
    writeFileSync(file, '[mount]\nread_only = true\nallow_other = true\n');
    const flags = { allowOther: false, driver: 'native' } as const;
    const { settings } = await loadConfig({ config: file, ...flags }, user());
    expect(settings.mount).toMatchObject({
      read_only: true,
      allow_other: false,
      passthrough: true,
      suid: false,
      dev: false,
      driver: 'native',
    });
  });
});

describe('a configuration that cannot be used', () => {
  const refusal = async (text: string): Promise<string> => {
    try {
      parseSettings(text, 'c.toml');
    } catch (error) {
      expect(error).toMatchObject({ failure: 'configuration' });
      return (error as Error).message;
    }
    throw new Error('it was accepted');
  };

  test('names every key that does not exist', async () => {
    const message = await refusal('colour = "red"\n[mount]\nspeed = 3\n');
    expect(message).toContain('colour: there is no such key');
    expect(message).toContain('mount.speed: there is no such key');
  });

  test('names a key with a value of the wrong kind', async () => {
    expect(await refusal('[history]\nkeep_days = "long"\n')).toContain('history.keep_days');
    expect(await refusal('state = "not/absolute"\n')).toContain('state: must be an absolute path');
  });

  test('names the line of what is not TOML', async () => {
    expect(await refusal('state = "/a"\nrun = \n')).toContain('line 2');
  });

  test('is one that a flag or a variable names and that is not there', async () => {
    const file = '/none/config.toml';
    const flag = placesOf({ config: file }, user());
    await expect(flag).rejects.toMatchObject({ failure: 'configuration' });
    const variable = placesOf({}, user({ KITFS_CONFIG: file }));
    await expect(variable).rejects.toMatchObject({ failure: 'configuration' });
  });

  test('is none that only might be there, and is not', async () => {
    expect((await placesOf({}, user())).file).toBeUndefined();
  });

  test('gives way to the last good one, where there is one', async () => {
    using scratch = new Scratch();
    const file = scratch.path('config.toml');
    const lastGood = { file: '/old.toml', text: 'state = "/old"\n[memory]\nenabled = false\n' };
    writeFileSync(file, '[memory\n');
    const broken = await loadConfig({ config: file, run: '/run' }, user(), lastGood);
    expect(broken).toMatchObject({ state: '/old', run: '/run', said: lastGood });
    expect([broken.settings.memory.enabled, broken.fault?.failure]).toEqual([
      false,
      'configuration',
    ]);
    const text = 'state = "/new"\n';
    writeFileSync(file, text);
    const mended = await loadConfig({ config: file }, user(), lastGood);
    expect(mended).toMatchObject({ state: '/new', said: { file, text }, fault: undefined });
    writeFileSync(file, '[memory\n');
    const first = loadConfig({ config: file }, user());
    await expect(first).rejects.toMatchObject({ failure: 'configuration' });
  });

  test('is one that cannot be read', async () => {
    using scratch = new Scratch();
    const load = placesOf({ config: scratch.directory }, user());
    await expect(load).rejects.toMatchObject({ failure: 'configuration' });
  });

  test('is a run directory whose sockets would have too long a path', async () => {
    const run = `/${'r'.repeat(100)}`;
    await expect(placesOf({ run }, user())).rejects.toThrow(/7 bytes too long/);
    expect((await placesOf({ run: `/${'r'.repeat(93)}` }, user())).controlSocket).toHaveLength(107);
  });
});

test('every setting is told with a type and a sentence, and defaults are those that hold', () => {
  const rows = settingsTable();
  expect(rows.map(({ key }) => key)).toEqual([
    'state',
    'run',
    'mount_point',
    'mount.read_only',
    'mount.allow_other',
    'mount.passthrough',
    'mount.suid',
    'mount.dev',
    'mount.driver',
    'memory.enabled',
    'memory.size_max_mib',
    'mounts.mfs',
    'history.keep_days',
    'history.records_max',
    'history.old_bytes_max_mib',
    'access.users',
    'access.groups',
    'access.require_token',
    'access.token',
    'ipfs.home',
    'ipfs.kubo.api',
    'ipfs.kubo.auth',
    'ipfs.kubo.requests_max',
    'ipfs.kubo.deadline_s',
    'sync.debounce_ms',
    'sync.interval_s',
    'sync.at_unmount',
    'sync.bandwidth_kib',
    'sync.stores_at_once',
    'sync.check_s',
    'sync.keep_snapshots',
    'sync.want',
    'content.quota_mib',
    'local.roots',
    'log.level',
  ]);
  for (const { key, type, text } of rows) {
    expect(type, key).not.toBe('');
    expect(text, key).toMatch(/\.$/);
  }
  const level = rows.find(({ key }) => key === 'log.level');
  expect(level).toMatchObject({ type: '"error", "warn", "info"', defaultText: '"info"' });
  expect(parseSettings('', 'c.toml')).toEqual(defaultSettings());
});

describe('the IPFS nodes', () => {
  const read = (text: string) => parseSettings(text, '/c');

  test.each([
    ['ipfs.home', '[ipfs]\nhome = "kubo"'],
    ['ipfs.home', '[ipfs]\nhome = "other"'],
    ['ipfs.kubo.api', '[ipfs.kubo]\napi = "127.0.0.1:5001"'],
    ['ipfs.kubo.api', '[ipfs.kubo]\napi = "http://user:password@host"'],
    ['ipfs.kubo.auth', '[ipfs.kubo]\nauth = "env:TOKEN"'],
    ['ipfs.kubo.requests_max', '[ipfs.kubo]\nrequests_max = 1'],
    ['ipfs.kubo.requests_max', '[ipfs.kubo]\nrequests_max = 257'],
    ['ipfs.kubo.deadline_s', '[ipfs.kubo]\ndeadline_s = 0'],
    ['ipfs.kubo.deadline_s', '[ipfs.kubo]\ndeadline_s = 3601'],
    ['ipfs.kubo.deadline_s', '[ipfs.kubo]\ndeadline_s = 1.5'],
  ])('are refused by the key: %s, %s', (key, text) => {
    expect(() => read(text)).toThrow(key);
  });

  test('take no secret for a reference, and do not show it', () => {
    const text = '[ipfs.kubo]\napi = "unix:/run/kubo.sock"\nauth = "bearer:canary"';
    expect(() => read(text)).toThrow('ipfs.kubo.auth');
    expect(() => read(text)).not.toThrow('canary');
  });
});

test('settings become seconds and bytes', () => {
  const settings = parseSettings(
    '[history]\nkeep_days = 2\nrecords_max = 5\nold_bytes_max_mib = 3\n[memory]\nsize_max_mib = 1\n',
    'c.toml',
  );
  expect(retentionOf(settings)).toEqual({ keepS: 172_800, recordsMax: 5, oldBytesMax: 3_145_728 });
  expect(memoryBytesMax(settings)).toBe(1_048_576);
  const sync =
    '[sync]\ninterval_s = 7\nbandwidth_kib = 3\nstores_at_once = 4\nat_unmount = false\n';
  expect(paceOf(parseSettings(`${sync}check_s = 9\nwant = 2`, 'c.toml'))).toEqual({
    ...{ quietMs: 5000, intervalMs: 7000, isAtUnmount: false, bytesPerS: 3072 },
    ...{ storesAtOnce: 4, checkS: 9, want: 2 },
  });
  expect(paceOf(defaultSettings())).toMatchObject({ bytesPerS: undefined, want: undefined });
});

test('a size or an age that nobody can count in its smallest unit is refused by its key', () => {
  const sizes = ['memory.size_max_mib', 'history.old_bytes_max_mib', 'sync.bandwidth_kib'];
  for (const key of [...sizes, 'history.keep_days']) {
    const read = () => parseSettings(`${key} = 9007199254740991`, '/c');
    expect(read, key).toThrow(key);
  }
});

test('a key that is no plain word is named in quotes', () => {
  expect(() => parseSettings('"" = 1', '/c')).toThrow('"": there is no such key');
});
