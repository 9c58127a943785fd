import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { loadNative } from '../../src/base/native.ts';
import { hostMounts, mountAt, parseMounts, usersOf } from '../../src/daemon/mount-table.ts';
import {
  clearDeadMount,
  demandOutside,
  forgetMount,
  prepareMountPoint,
  realMountPlace,
  recordIntent,
  recordMount,
} from '../../src/daemon/mountpoint.ts';
import { prepareRunDirectory } from '../../src/daemon/run-directory.ts';
import { Scratch } from './scratch.ts';

const optionsFor = (scratch: Scratch, dir: string) => ({
  dir,
  recordPath: scratch.path('mounted.json'),
  native: loadNative(),
  clock: new SystemClock(),
});

describe('the mount table', () => {
  const text = [
    '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
    '43 22 0:40 / /srv/with\\040space\\134 rw - fuse.kitfs kitfs rw,user_id=0',
    '44 22 0:41 / /srv rw master:1 propagate_from:2 - tmpfs none rw',
    '45 44 0:42 / /srv rw - fuse.other o rw',
    '',
  ].join('\n');

  test('is read with its escapes and its optional fields', () => {
    const mounts = parseMounts(text);
    expect(mounts.map(({ dir }) => dir)).toEqual(['/', '/srv/with space\\', '/srv', '/srv']);
    expect(mounts[1]).toEqual({
      device: '0:40',
      dir: '/srv/with space\\',
      fsType: 'fuse.kitfs',
      source: 'kitfs',
    });
  });

  test('of several mounts at one place the last is the one that is seen', () => {
    expect(mountAt(parseMounts(text), '/srv')?.fsType).toBe('fuse.other');
    expect(mountAt(parseMounts(text), '/none')).toBeUndefined();
  });

  test('of this host has /proc in it', async () => {
    expect(mountAt(await hostMounts(), '/proc')?.fsType).toBe('proc');
  });
});

test('a directory that nobody uses has no users', async () => {
  using scratch = new Scratch();
  expect(await usersOf(scratch.directory)).toEqual([]);
});

describe('the mount point', () => {
  test('is made when it is absent, with what is above it', async () => {
    using scratch = new Scratch();
    const dir = scratch.path('a', 'b');
    expect(await prepareMountPoint(optionsFor(scratch, dir))).toBe(dir);
    expect(statSync(dir).isDirectory()).toBe(true);
  });

  test('is refused when it is a file, or below one', async () => {
    using scratch = new Scratch();
    writeFileSync(scratch.path('file'), '');
    for (const dir of [scratch.path('file'), scratch.path('file', 'below')]) {
      const prepared = prepareMountPoint(optionsFor(scratch, dir));
      await expect(prepared).rejects.toMatchObject({ failure: 'not-directory' });
    }
  });

  test('is refused when there is a line break in its path', async () => {
    using scratch = new Scratch();
    const prepared = prepareMountPoint(optionsFor(scratch, scratch.path('a\nb')));
    await expect(prepared).rejects.toMatchObject({ failure: 'configuration' });
  });

  test('is refused when it is not empty, with what to do', async () => {
    using scratch = new Scratch();
    mkdirSync(scratch.path('mnt', 'inside'), { recursive: true });
    await expect(prepareMountPoint(optionsFor(scratch, scratch.path('mnt')))).rejects.toMatchObject(
      {
        failure: 'not-empty',
        hint: expect.stringContaining('name an empty directory'),
      },
    );
  });

  test('is refused when something else is mounted there, which is named', async () => {
    using scratch = new Scratch();
    await expect(prepareMountPoint(optionsFor(scratch, '/proc'))).rejects.toMatchObject({
      failure: 'mount-busy',
      hint: expect.stringContaining('proc (proc) is mounted there'),
    });
  });

  test('that can neither be made nor looked at is refused for what the kernel says', async () => {
    using scratch = new Scratch();
    // sysfs lets nobody make a directory.
    const refused = prepareMountPoint(optionsFor(scratch, '/sys/kitfs-none'));
    await expect(refused).rejects.toMatchObject({
      op: 'mount at /sys/kitfs-none',
      failure: expect.stringMatching(/^(denied|not-permitted|read-only)/),
    });
    // Nor does procfs, which says that what is to be made is not there.
    await expect(prepareMountPoint(optionsFor(scratch, '/proc/none/a/b'))).rejects.toMatchObject({
      op: 'mount at /proc/none/a/b',
      failure: 'not-found',
    });
    const long = prepareMountPoint(optionsFor(scratch, scratch.path('x'.repeat(300))));
    await expect(long).rejects.toMatchObject({ failure: 'name-too-long' });
  });

  test('is not prepared while what was mounted before cannot be read', async () => {
    using scratch = new Scratch();
    const options = optionsFor(scratch, scratch.path('mnt'));
    mkdirSync(options.recordPath);
    await expect(prepareMountPoint(options)).rejects.toMatchObject({
      op: `read ${options.recordPath}`,
    });
    expect(() => statSync(options.dir)).toThrow();
  });

  test('is the directory that a link leads to', async () => {
    using scratch = new Scratch();
    mkdirSync(scratch.path('real'));
    symlinkSync('real', scratch.path('link'));
    symlinkSync(scratch.path('link'), scratch.path('link2'));
    expect(await realMountPlace(scratch.path('link2'))).toBe(scratch.path('real'));
    symlinkSync('loop', scratch.path('loop'));
    await expect(realMountPlace(scratch.path('loop'))).rejects.toMatchObject({
      failure: 'too-many-symlinks',
    });
  });
});

describe('what was mounted', () => {
  test('is forgotten when it is mounted no more, or another thing is', async () => {
    using scratch = new Scratch();
    const options = optionsFor(scratch, scratch.path('mnt'));
    await recordIntent(options.recordPath, scratch.path('mnt'));
    expect(JSON.parse(readFileSync(options.recordPath, 'utf8'))).toEqual({ dir: options.dir });
    expect(await clearDeadMount(options)).toBeUndefined();
    expect(() => statSync(options.recordPath)).toThrow();
    await recordIntent(options.recordPath, '/proc');
    expect(await clearDeadMount(options)).toBeUndefined();
    expect(mountAt(await hostMounts(), '/proc')).toBeDefined();
  });

  test('is not believed when the record is damaged', async () => {
    using scratch = new Scratch();
    const options = optionsFor(scratch, scratch.path('mnt'));
    for (const text of ['', '{"dir":', '[]', '{"dir":3}', '{"dir":"/a","device":4}', 'null']) {
      writeFileSync(options.recordPath, text);
      expect(await clearDeadMount(options), text).toBeUndefined();
    }
  });

  test('is written down only when it is ours', async () => {
    using scratch = new Scratch();
    const path = scratch.path('mounted.json');
    await expect(recordMount(path, '/proc')).rejects.toMatchObject({ failure: 'mount-failed' });
    await forgetMount(path);
  });
});

describe('state and sockets', () => {
  const refusal = { failure: 'configuration' };

  test('never lie under the mount point, by whatever name', async () => {
    using scratch = new Scratch();
    const dir = scratch.path('mnt');
    mkdirSync(dir);
    symlinkSync(dir, scratch.path('link'));
    const apart = { state: scratch.path('state'), run: scratch.path('run') };
    await demandOutside(dir, apart);
    for (const inside of [dir, `${dir}/state`, scratch.path('link', 'a', 'b')]) {
      await expect(demandOutside(dir, { ...apart, state: inside })).rejects.toMatchObject({
        ...refusal,
        hint: expect.stringContaining('--state'),
      });
      await expect(demandOutside(dir, { ...apart, run: inside })).rejects.toMatchObject({
        ...refusal,
        hint: expect.stringContaining('--run'),
      });
    }
  });

  test('lie under the root wherever they are', async () => {
    using scratch = new Scratch();
    const places = { state: scratch.path('state'), run: scratch.path('run') };
    await expect(demandOutside('/', places)).rejects.toMatchObject(refusal);
  });

  test('are refused when links lead nowhere', async () => {
    using scratch = new Scratch();
    symlinkSync('loop', scratch.path('loop'));
    const places = { state: scratch.path('loop', 'state'), run: scratch.path('run') };
    await expect(demandOutside(scratch.path('mnt'), places)).rejects.toMatchObject({
      failure: 'too-many-symlinks',
    });
  });

  test('do not hold the mount point either', async () => {
    using scratch = new Scratch();
    const state = scratch.path('state');
    mkdirSync(state);
    const inside = demandOutside(`${state}/mnt`, { state, run: scratch.path('run') });
    await expect(inside).rejects.toMatchObject(refusal);
  });
});

describe('the run directory', () => {
  const uid = process.getuid?.() ?? 0;

  test('is made for us alone', () => {
    using scratch = new Scratch();
    const run = scratch.path('a', 'run');
    prepareRunDirectory(run, uid);
    expect(statSync(run).mode & 0o027).toBe(0);
    prepareRunDirectory(run, uid);
  });

  test('is refused when others may write to it, and when it is a link or a file', () => {
    using scratch = new Scratch();
    mkdirSync(scratch.path('open'));
    const mask = process.umask(0);
    mkdirSync(scratch.path('wide'), { mode: 0o777 });
    process.umask(mask);
    mkdirSync(scratch.path('real'), { mode: 0o700 });
    symlinkSync('real', scratch.path('link'));
    writeFileSync(scratch.path('file'), '');
    for (const name of ['wide', 'link', 'file']) {
      expect(() => prepareRunDirectory(scratch.path(name), uid), name).toThrow(
        expect.objectContaining({ failure: 'configuration' }),
      );
    }
    expect(() => prepareRunDirectory(scratch.path('file', 'below'), uid)).toThrow();
    expect(() => prepareRunDirectory(scratch.path('real'), uid + 1)).toThrow();
  });
});
