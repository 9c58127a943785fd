/** What the checks say of machines that the test describes. */
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { checkHost, demandFuse, programAt } from '../../src/daemon/host.ts';

const GIB = 1024 ** 3;

const machine = vi.hoisted(() => ({
  release: '6.12.1-amd64',
  /** What a path is: its access fails with that code, or it is a directory. */
  paths: new Map<string, 'file' | 'directory' | 'EACCES'>(),
  texts: new Map<string, string>(),
  disks: new Map<string, { type: number; bavail: number; bsize: number }>(),
  addon: undefined as unknown,
  sqlite: undefined as unknown,
  walVfs: undefined as unknown,
}));

const absent = vi.hoisted(
  () => (path: string) => Object.assign(new Error(`ENOENT ${path}`), { code: 'ENOENT' }),
);

vi.mock('node:fs/promises', () => ({
  constants: { R_OK: 4, W_OK: 2, X_OK: 1 },
  access: async (path: string) => {
    const found = machine.paths.get(path);
    if (found === undefined) throw absent(path);
    if (found === 'EACCES') throw Object.assign(new Error('EACCES'), { code: 'EACCES' });
  },
  stat: async (path: string) => ({ isFile: () => machine.paths.get(path) === 'file' }),
  readFile: async (path: string) => {
    const text = machine.texts.get(path);
    if (text === undefined) throw absent(path);
    return text;
  },
  statfs: async (path: string) => {
    const disk = machine.disks.get(path);
    if (disk === undefined) throw absent(path);
    return disk;
  },
}));
vi.mock('node:os', () => ({ release: () => machine.release }));
vi.mock('node:module', () => ({
  createRequire: () => () => {
    if (machine.sqlite !== undefined) throw machine.sqlite;
  },
}));
vi.mock('../../src/base/native.ts', () => ({
  loadNative: () => {
    if (machine.addon !== undefined) throw machine.addon;
  },
}));
vi.mock('../../src/journal/sqlite.ts', () => ({
  loadWalVfs: () => {
    if (machine.walVfs !== undefined) throw machine.walVfs;
  },
}));

const ROOT = { uid: 0, programFolders: ['/usr/bin', '/opt/bin'], state: '/var/lib/kitfs' };
const USER = { ...ROOT, uid: 1000 };

/** What is said about one thing. */
async function check(name: string, question = ROOT) {
  return (await checkHost(question)).find((candidate) => candidate.name === name);
}

const withVersion = async (node: string) => {
  const whole = Object.getOwnPropertyDescriptor(process, 'versions') ?? {};
  Object.defineProperty(process, 'versions', { ...whole, value: { ...process.versions, node } });
  try {
    return await check('Node.js');
  } finally {
    Object.defineProperty(process, 'versions', whole);
  }
};

const limitOf = (soft: string) =>
  `Limit  Soft  Hard  Units\nMax open files   ${soft}   4096 files\n`;

beforeEach(() => {
  machine.release = '6.12.1-amd64';
  machine.paths.clear();
  machine.paths.set('/dev/fuse', 'file').set('/bin/fusermount3', 'file');
  machine.paths.set('/opt/bin/getfattr', 'file');
  machine.texts.clear();
  machine.texts.set('/proc/self/limits', limitOf('1024'));
  machine.disks.clear();
  machine.disks.set('/', { type: 0xef53, bavail: GIB / 4096, bsize: 4096 });
  machine.addon = undefined;
  machine.sqlite = undefined;
  machine.walVfs = undefined;
});

describe('a machine that has all', () => {
  test('is told so, about each thing once, and no remedy', async () => {
    const checks = await checkHost(ROOT);
    const names = ['Node.js', 'better-sqlite3', 'native addon', 'journal extension'];
    expect(checks.map(({ name }) => name)).toEqual([
      ...names,
      ...['/dev/fuse', 'kernel', 'open files', 'state directory', 'getfattr'],
    ]);
    expect(checks.filter(({ state, remedy }) => state !== 'ok' || remedy !== undefined)).toEqual(
      [],
    );
  });

  test('needs a mount helper of whoever is not root, of either name', async () => {
    expect(await check('fusermount3')).toBeUndefined();
    expect(await check('fusermount3', USER)).toMatchObject({ found: '/bin/fusermount3' });
    machine.paths.delete('/bin/fusermount3');
    machine.paths.set('/usr/local/bin/fusermount', 'file');
    expect(await check('fusermount3', USER)).toMatchObject({
      state: 'ok',
      found: '/usr/local/bin/fusermount',
    });
    await expect(demandFuse(USER.uid)).resolves.toBeUndefined();
  });
});

describe('what is lacking', () => {
  test('of the mount helper stops whoever is not root, and names the package', async () => {
    machine.paths.delete('/bin/fusermount3');
    await expect(demandFuse(USER.uid)).rejects.toMatchObject({
      failure: 'mount-failed',
      op: 'mount without fusermount3',
      hint: 'only root can mount without it: apt-get install fuse3',
    });
    await expect(demandFuse(ROOT.uid)).resolves.toBeUndefined();
  });

  test('of the device is told apart: no right, no node, no FUSE in the kernel', async () => {
    const remedy = async () => (await check('/dev/fuse'))?.remedy;
    machine.paths.set('/dev/fuse', 'EACCES');
    expect(await remedy()).toBe('chmod 666 /dev/fuse');
    machine.paths.delete('/dev/fuse');
    machine.texts.set('/proc/filesystems', 'nodev\tsysfs\nnodev\tfuse\n\text4\n');
    expect(await remedy()).toContain('mknod -m 666 /dev/fuse c 10 229');
    // It can have the control file system of FUSE, or its block device, and that is not enough.
    machine.texts.set('/proc/filesystems', 'nodev\tfusectl\n\tfuseblk\n');
    expect(await remedy()).toContain('modprobe fuse');
    machine.texts.delete('/proc/filesystems');
    expect(await remedy()).toContain('modprobe fuse');
    await expect(demandFuse(ROOT.uid)).rejects.toMatchObject({
      op: 'mount without /dev/fuse',
    });
  });

  test('of a module says in one line why it does not load', async () => {
    machine.sqlite = new Error('Cannot find module\nRequire stack:\n- here');
    machine.addon = 'not an Error';
    expect(await check('better-sqlite3')).toMatchObject({
      state: 'missing',
      found: 'does not load (Cannot find module)',
    });
    expect(await check('native addon')).toMatchObject({
      state: 'missing',
      found: 'does not load (not an Error)',
    });
    const op = 'load the VFS of the WAL';
    machine.walVfs = new OpError('dependency-missing', op, { cause: new Error('no such symbol') });
    expect(await check('journal extension')).toMatchObject({
      state: 'missing',
      found: 'does not load (no such symbol)',
      remedy: 'npm run build',
    });
    machine.walVfs = new OpError('dependency-missing', op);
    expect(await check('journal extension')).toMatchObject({
      found: `does not load (${op}: dependency-missing)`,
    });
  });

  test('of an optional program limits, and names the package', async () => {
    machine.paths.delete('/opt/bin/getfattr');
    expect(await check('getfattr')).toMatchObject({
      state: 'limited',
      remedy: 'apt-get install attr',
    });
  });
});

describe('a version', () => {
  test.each([
    ['18.20.1', 'missing'],
    ['20.18.9', 'missing'],
    ['20.19.0', 'ok'],
    ['21.0.0', 'ok'],
  ])('of Node.js %s is %s', async (version, state) => {
    expect(await withVersion(version)).toMatchObject({ state, found: version });
  });

  test.each([
    ['5.15.0-91', 0, 'limited', 'later can be faster'],
    ['6.8.12-pve', 0, 'limited', 'later can be faster'],
    ['6.9.0-rc1', 0, 'ok', undefined],
    ['7.0.0', 0, 'ok', undefined],
    ['6.9.0', 1000, 'limited', 'for root only'],
    ['strange', 0, 'limited', 'later can be faster'],
  ])('of the kernel %s is for uid %i %s', async (release, uid, state, remedy) => {
    machine.release = release;
    const found = await check('kernel', { ...ROOT, uid });
    expect(found).toMatchObject({ state, found: `Linux ${release}` });
    expect(found?.remedy).toEqual(remedy && expect.stringContaining(remedy));
  });
});

describe('a limit', () => {
  test.each([
    ['256', 'limited'],
    ['1023', 'limited'],
    ['1024', 'ok'],
    ['unlimited', 'ok'],
  ])('of %s open files is %s', async (soft, state) => {
    machine.texts.set('/proc/self/limits', limitOf(soft));
    expect(await check('open files')).toMatchObject({ state, found: soft });
  });

  test('that cannot be read is taken for none', async () => {
    machine.texts.delete('/proc/self/limits');
    expect(await check('open files')).toMatchObject({ state: 'ok', found: 'unlimited' });
  });
});

describe('the state directory', () => {
  const enough = { bavail: GIB / 4096, bsize: 4096 };

  test('is judged by the disk it will be on, the nearest that is there', async () => {
    machine.disks.set('/var', { type: 0xef53, bavail: 3 * 256, bsize: 4096 });
    expect(await check('state directory')).toEqual({
      name: 'state directory',
      state: 'limited',
      found: '/var/lib/kitfs, 3 MiB free',
      remedy: 'make room on that disk',
    });
    machine.disks.set('/var/lib/kitfs', { type: 0xef53, ...enough });
    expect(await check('state directory')).toMatchObject({
      state: 'ok',
      found: '/var/lib/kitfs, 1024 MiB free',
    });
  });

  test.each([
    [0x6969, 'NFS'],
    [0x65735546, 'FUSE'],
  ])('on a disk of type %i, %s, is advised against, however much is free', async (type, name) => {
    machine.disks.set('/var/lib', { type, ...enough });
    expect(await check('state directory')).toMatchObject({
      state: 'limited',
      found: `/var/lib/kitfs, 1024 MiB free, on ${name}`,
      remedy: expect.stringContaining('--state'),
    });
  });

  test('without any disk above it is a failure, not an endless search', async () => {
    machine.disks.clear();
    await expect(checkHost(ROOT)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

test('a program is a file that may be run, in the first folder that has one', async () => {
  machine.paths.set('/a/tool', 'EACCES').set('/b/tool', 'directory').set('/c/tool', 'file');
  machine.paths.set('/d/tool', 'file');
  expect(await programAt('tool', ['/none', '/a', '/b', '/c', '/d'])).toBe('/c/tool');
  expect(await programAt('tool', ['/none', '/a', '/b'])).toBeUndefined();
});
