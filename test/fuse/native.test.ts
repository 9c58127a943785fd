/** Mounting and unmounting, for root and for everybody else, on a machine that the test describes. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { FUSE_IO_BYTES_MAX } from '../../src/base/limits.ts';
import {
  type AttachNative,
  type AttachOptions,
  abortConnection,
  attach,
  detach,
  deviceAt,
  placeOf,
  setReadAhead,
} from '../../src/fuse/native.ts';

const machine = vi.hoisted(() => ({
  /** Mount helpers that are installed. */
  helpers: ['/bin/fusermount3'],
  mountInfo: '',
  /** What was written, and where. */
  written: [] as [path: string, text: string][],
  isReadOnly: false,
  /** Commands that were run. */
  runs: [] as (readonly [path: string, words: readonly string[]])[],
  runFailure: null as Error | null,
}));

vi.mock('node:fs', () => ({
  existsSync: (path: string) => machine.helpers.includes(path),
  readFileSync: (path: string) => {
    if (path !== '/proc/self/mountinfo') throw new Error(`${path} is none of its business`);
    return machine.mountInfo;
  },
  writeFileSync: (path: string, text: string) => {
    if (machine.isReadOnly) throw new Error('EACCES');
    machine.written.push([path, text]);
  },
}));
vi.mock('node:child_process', () => ({
  execFile: (
    path: string,
    words: readonly string[],
    _options: object,
    done: (error: Error | null) => void,
  ) => {
    machine.runs.push([path, words]);
    done(machine.runFailure);
  },
}));

const DEVICE_FD = 7;
const HELPER_FD = 8;
const PLAIN: AttachOptions = { allowOther: false, readOnly: false, suid: false, dev: false };

const coded = (code: string, message = code) => Object.assign(new Error(message), { code });

/** The native calls, of which each may be made to fail; all are remembered. */
function handNative(failures: Partial<Record<keyof AttachNative, Error>> = {}) {
  const calls: [name: string, ...args: unknown[]][] = [];
  const call = (name: keyof AttachNative, args: unknown[]) => {
    calls.push([name, ...args]);
    const failure = failures[name];
    if (failure !== undefined) throw failure;
  };
  const native: AttachNative = {
    openFuseDevice: () => {
      call('openFuseDevice', []);
      return DEVICE_FD;
    },
    mountFuse: (...args) => call('mountFuse', args),
    mountWithHelper: (...args) => {
      call('mountWithHelper', args);
      return HELPER_FD;
    },
    unmount: async (...args) => call('unmount', args),
    closeDescriptor: (...args) => call('closeDescriptor', args),
  };
  return { native, calls };
}

/** What is thrown by mounting at /m. */
function refusalOf(failures: Parameters<typeof handNative>[0], options = PLAIN): unknown {
  try {
    attach(handNative(failures).native, '/m', options);
  } catch (error) {
    return error;
  }
  throw new Error('it was mounted');
}

const become = (uid: number) => vi.spyOn(process, 'geteuid').mockReturnValue(uid);

beforeEach(() => {
  machine.helpers = ['/bin/fusermount3'];
  machine.mountInfo = '';
  machine.written.length = 0;
  machine.isReadOnly = false;
  machine.runs.length = 0;
  machine.runFailure = null;
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe('root', () => {
  beforeEach(() => {
    become(0);
  });

  test('mounts by itself; set-id bits and devices count only when that is asked for', () => {
    const { native, calls } = handNative();
    expect(attach(native, '/m', PLAIN)).toBe(DEVICE_FD);
    const all = { allowOther: true, readOnly: true, suid: true, dev: true };
    expect(attach(native, '/m', all)).toBe(DEVICE_FD);
    const asked = calls.filter(([name]) => name === 'mountFuse');
    const common = { source: 'kitfs', fsType: 'fuse.kitfs', defaultPermissions: true };
    const careful = { nosuid: true, nodev: true, allowOther: false, readOnly: false };
    const free = { nosuid: false, nodev: false, allowOther: true, readOnly: true };
    expect(asked).toEqual([
      ['mountFuse', DEVICE_FD, '/m', { ...common, ...careful }],
      ['mountFuse', DEVICE_FD, '/m', { ...common, ...free }],
    ]);
  });

  test('keeps no device open for a mount that the kernel refuses', () => {
    const { native, calls } = handNative({ mountFuse: coded('EINVAL') });
    expect(() => attach(native, '/m', PLAIN)).toThrow(OpError);
    expect(calls.at(-1)).toEqual(['closeDescriptor', DEVICE_FD]);
  });

  test.each([
    ['ENOENT', 'is there a /dev/fuse? try: modprobe fuse'],
    ['EPERM', 'this process may not mount here'],
    ['EACCES', 'this process may not mount here'],
    ['ENODEV', 'this kernel has no FUSE; try: modprobe fuse'],
    ['EINVAL', undefined],
  ])('is told what to do about %s, if anything is known', (code, hint) => {
    const cause = coded(code);
    const refusal = refusalOf({ openFuseDevice: cause });
    expect(refusal).toMatchObject({ failure: 'mount-failed', op: 'mount /m', cause });
    expect(refusal).toHaveProperty('hint', hint);
  });

  test('unmounts by itself, and as lazily as is asked', async () => {
    const { native, calls } = handNative();
    await detach(native, '/m', false);
    await detach(native, '/m', true);
    expect(calls).toEqual([
      ['unmount', '/m', { lazy: false }],
      ['unmount', '/m', { lazy: true }],
    ]);
    expect(machine.runs).toEqual([]);
  });

  test('does not unmount what is in use, and tells that from all other failures', async () => {
    const detaching = (error: Error) => detach(handNative({ unmount: error }).native, '/m', false);
    await expect(detaching(coded('EBUSY'))).rejects.toMatchObject({
      failure: 'mount-busy',
      hint: 'close the files and leave the directories below it',
    });
    await expect(detaching(coded('EINVAL'))).rejects.toMatchObject({ failure: 'mount-failed' });
    const own = new OpError('cancelled', 'test');
    await expect(detaching(own)).rejects.toBe(own);
  });
});

describe('whoever is not root', () => {
  beforeEach(() => {
    become(1000);
  });

  test('mounts by the helper, which is told what it cannot know', () => {
    const { native, calls } = handNative();
    expect(attach(native, '/m', PLAIN)).toBe(HELPER_FD);
    attach(native, '/m', { ...PLAIN, allowOther: true, readOnly: true });
    const words = 'default_permissions,fsname=kitfs,subtype=kitfs';
    expect(calls).toEqual([
      ['mountWithHelper', '/bin/fusermount3', '/m', words],
      ['mountWithHelper', '/bin/fusermount3', '/m', `${words},allow_other,ro`],
    ]);
  });

  test.each(['suid', 'dev'] as const)('does not get %s, and nothing is mounted', (right) => {
    const { native, calls } = handNative();
    const options = { ...PLAIN, [right]: true };
    expect(() => attach(native, '/m', options)).toThrow(
      expect.objectContaining({ failure: 'configuration' }),
    );
    expect(calls).toEqual([]);
  });

  test('takes the newer helper, the older one for want of it, and without either is told', () => {
    const { native, calls } = handNative();
    machine.helpers = ['/usr/bin/fusermount', '/usr/local/bin/fusermount3'];
    attach(native, '/m', PLAIN);
    machine.helpers = ['/usr/bin/fusermount'];
    attach(native, '/m', PLAIN);
    expect(calls.map(([, helper]) => helper)).toEqual([
      '/usr/local/bin/fusermount3',
      '/usr/bin/fusermount',
    ]);
    machine.helpers = [];
    const lacking = { failure: 'dependency-missing', hint: 'install the package fuse3' };
    expect(refusalOf({})).toMatchObject(lacking);
  });

  test('is told in the words of the helper why it refuses', () => {
    const said = coded('ERR_MOUNT_HELPER', 'user has no write access to mountpoint /m');
    expect(refusalOf({ mountWithHelper: said })).toMatchObject({
      failure: 'mount-failed',
      hint: 'user has no write access to mountpoint /m',
    });
  });

  test('unmounts by the helper, for which a directory is never an option', async () => {
    const { native, calls } = handNative();
    await detach(native, '-z', false);
    await detach(native, '/m', true);
    expect(machine.runs).toEqual([
      ['/bin/fusermount3', ['-u', '--', '-z']],
      ['/bin/fusermount3', ['-u', '-z', '--', '/m']],
    ]);
    expect(calls).toEqual([]);
  });

  test('learns from what the helper says that the mount is in use', async () => {
    const { native } = handNative();
    machine.runFailure = new Error('fusermount3: failed to unmount /m: Device or resource busy');
    await expect(detach(native, '/m', false)).rejects.toMatchObject({ failure: 'mount-busy' });
    machine.runFailure = new Error('fusermount3: entry for /m not found in /etc/mtab');
    await expect(detach(native, '/m', false)).rejects.toMatchObject({ failure: 'mount-failed' });
    machine.helpers = [];
    await expect(detach(native, '/m', false)).rejects.toMatchObject({
      failure: 'dependency-missing',
    });
  });
});

describe('the device of a mount', () => {
  const line = (number: string, at: string, type: string) =>
    `36 35 ${number} / ${at} rw,nosuid - ${type} kitfs rw\n`;

  test('is that of the last mount on the directory, if it is ours', () => {
    machine.mountInfo =
      line('0:50', '/m', 'fuse.kitfs') +
      line('0:51', '/m/below', 'fuse.kitfs') +
      line('0:52', '/m', 'fuse.kitfs');
    expect(deviceAt('/m')).toBe('0:52');
    expect(deviceAt('/')).toBeUndefined();
    machine.mountInfo += line('0:53', '/m', 'tmpfs');
    expect(deviceAt('/m')).toBeUndefined();
  });

  test('is found by a path that the kernel writes in octal', () => {
    const written = Buffer.from('/ä\\040b\\011c\\012d\\134e').toString('latin1');
    machine.mountInfo = line('0:50', written, 'fuse.kitfs');
    expect(deviceAt('/ä b\tc\nd\\e')).toBe('0:50');
  });

  test('leads to the mount where it is by now, as long as the number is its own', () => {
    machine.mountInfo = line('0:50', '/m', 'fuse.kitfs') + line('0:51', '/m', 'fuse.kitfs');
    expect(placeOf('0:51', '/m', false)).toEqual({ dir: '/m', isSeen: true });
    expect(placeOf('0:50', '/m', false)).toEqual({ dir: '/m', isSeen: false });
    expect(placeOf('0:50', '/old', false)).toBeUndefined();
    expect(placeOf('0:50', '/old', true)).toEqual({ dir: '/m', isSeen: false });
    expect(placeOf('0:52', '/m', true)).toBeUndefined();
    machine.mountInfo = line('0:50', Buffer.from('/ä\\040b').toString('latin1'), 'fuse.kitfs');
    expect(placeOf('0:50', '/old', true)).toEqual({ dir: '/ä b', isSeen: true });
    machine.mountInfo = line('0:50', '/m', 'fuse.other');
    expect(placeOf('0:50', '/m', true)).toBeUndefined();
    // A directory of it that was bound to another place.
    machine.mountInfo = '36 35 0:50 /ipfs /m rw,nosuid - fuse.kitfs kitfs rw\n';
    expect(placeOf('0:50', '/m', true)).toBeUndefined();
  });

  test('reads ahead as much as one request carries, or as before where that is refused', () => {
    expect(setReadAhead('0:52')).toBe(true);
    const kib = String(FUSE_IO_BYTES_MAX / 1024);
    expect(machine.written).toEqual([['/sys/class/bdi/0:52/read_ahead_kb', kib]]);
    machine.isReadOnly = true;
    expect(setReadAhead('0:52')).toBe(false);
  });

  test('is cut off by its number, where fusectl is there for us', () => {
    expect(abortConnection('0:52')).toBe(true);
    expect(machine.written).toEqual([['/sys/fs/fuse/connections/52/abort', '1']]);
    machine.isReadOnly = true;
    expect(abortConnection('0:52')).toBe(false);
  });
});
