/** The native driver from its mount to its end, with the native calls held by hand. */
import { constants } from 'node:os';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { FUSE_NOTIFIER_CLOSE_MS_MAX } from '../../src/base/limits.ts';
import { FuseServer, type FuseServerOptions } from '../../src/fuse/fuse.ts';
import type { Passthrough } from '../../src/vfs/vfs.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Fixture } from '../vfs/fixture.ts';
import { HandChannel, init } from './requests.ts';
import { gate } from './rig.ts';

const { errno } = constants;
const FD = 7;
/** FUSE_PASSTHROUGH, bit 37 of all flags. */
const PASSTHROUGH = 1 << 5;
/** FUSE_HAS_RESEND, bit 39. */
const RESEND = 1 << 7;
/** In the table of mounts when a test says so. */
const POINT = '/absent/mount';

const machine = vi.hoisted(() => ({
  /** The table of mounts. */
  mounts: '',
  onWrite: (_path: string, _text: string) => {},
}));

// The mount helper is installed, whatever machine this is.
vi.mock('node:fs', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs')>();
  const existsSync = (path: string) => path === '/bin/fusermount3' || real.existsSync(path);
  return {
    ...real,
    existsSync,
    readFileSync: (path: string, encoding: 'latin1') =>
      path === '/proc/self/mountinfo' ? machine.mounts : real.readFileSync(path, encoding),
    writeFileSync: (path: string, text: string) => {
      if (!path.startsWith('/sys/')) return real.writeFileSync(path, text);
      return machine.onWrite(path, text);
    },
  };
});

let fixture: Fixture;
let log: RememberedLog;
let channel: HandChannel;
let calls: [name: string, ...args: unknown[]][];
let kernel: { drain: (count: number) => void; end: (errno: number) => void };

beforeEach(() => {
  vi.spyOn(process, 'geteuid').mockReturnValue(0);
  fixture = new Fixture();
  log = new RememberedLog();
  channel = new HandChannel();
  calls = [];
  kernel = { drain: () => {}, end: () => {} };
  machine.mounts = '';
  machine.onWrite = () => {};
});
afterEach(() => {
  vi.restoreAllMocks();
  fixture.close();
});

const mountLine = (place: string) => `90 20 0:52 / ${place} rw - fuse.kitfs kitfs rw\n`;

const callsOf = (name: string) => calls.filter(([called]) => called === name);

/** A driver of a kernel that does as it is told: who unmounts sees the connection end. */
function serverOf(
  native: Partial<FuseServerOptions['native']> = {},
  options: Partial<FuseServerOptions> = {},
): FuseServer {
  return new FuseServer({
    fileSystem: fixture.vfs,
    table: fixture.vfs.core.table,
    journal: fixture.journal,
    clock: new TurnedClock(),
    log,
    native: {
      openFuseDevice: () => FD,
      mountFuse: (...args) => void calls.push(['mountFuse', ...args]),
      mountWithHelper: () => FD,
      unmount: async (...args) => {
        calls.push(['unmount', ...args]);
        kernel.end(0);
      },
      closeDescriptor: (fd) => void calls.push(['closeDescriptor', fd]),
      hasFailed: () => false,
      openChannel: (_fd, _options, drain, end) => {
        kernel = { drain, end };
        return channel;
      },
      openNotifier: () => ({
        send: async () => 0,
        close: async () => void calls.push(['closeNotifier']),
      }),
      backingOpen: (...args) => {
        calls.push(['backingOpen', ...args]);
        return 31;
      },
      backingClose: (...args) => void calls.push(['backingClose', ...args]),
      ...native,
    },
    ...options,
  });
}

/** Mounts; the kernel says which protocol it speaks. */
async function mounted(server: FuseServer, hello = init(45)): Promise<void> {
  const mounting = server.mount(POINT);
  kernel.drain(channel.lay([hello]));
  await mounting;
}

describe('a mount', () => {
  test('is there when the kernel has agreed, and gone when it is unmounted', async () => {
    const server = serverOf();
    await server.unmount();
    expect(calls).toEqual([]);
    await mounted(server);
    expect(server.status()).toMatchObject({ mountPoint: POINT, protocolMinor: 45, requests: 1 });
    await server.unmount();
    expect(await server.ended).toEqual({ error: undefined });
    expect(server.status()).toMatchObject({ mountPoint: undefined, requests: 0 });
    expect(calls.slice(1)).toEqual([
      ['unmount', POINT, { lazy: false }],
      ['closeNotifier'],
      ['closeDescriptor', FD],
    ]);
    expect(channel.isClosed).toBe(true);
    await server.unmount();
    expect(callsOf('unmount')).toHaveLength(1);
  });

  test('is kept over the end of the daemon when the kernel asks again what was not answered', async () => {
    for (const [flags2, kept] of [
      [RESEND, [{ fd: FD, mountPoint: POINT, device: undefined }]],
      [0, []],
    ] as const) {
      const keeping: unknown[] = [];
      const server = serverOf({}, { keep: (mount) => keeping.push(mount) });
      await mounted(server, init(45, 0xffff_ffff, flags2));
      expect(keeping).toEqual(kept);
      await server.unmount();
    }
  });

  test('lets others in when root mounts, unless it is told not to', async () => {
    for (const allowOther of [undefined, false]) {
      const server = serverOf({}, { allowOther });
      await mounted(server);
      await server.unmount();
    }
    expect(callsOf('mountFuse').map(([, , , options]) => options)).toMatchObject([
      { allowOther: true, readOnly: false, nosuid: true, nodev: true },
      { allowOther: false },
    ]);
  });

  test('that can only be had of an old protocol is taken back, and its device closed once', async () => {
    const server = serverOf();
    await expect(mounted(server, init(20))).rejects.toMatchObject({
      failure: 'version-unsupported',
    });
    await server.ended;
    expect(callsOf('unmount')).toEqual([['unmount', POINT, { lazy: true }]]);
    expect(callsOf('closeDescriptor')).toEqual([['closeDescriptor', FD]]);
  });

  test('without a channel is taken back, and its device closed once', async () => {
    const server = serverOf({
      openChannel: () => {
        throw new Error('no memory');
      },
    });
    await expect(server.mount(POINT)).rejects.toThrow('no memory');
    expect(calls.slice(1)).toEqual([
      ['unmount', POINT, { lazy: true }],
      ['closeDescriptor', FD],
    ]);
  });

  test('that ends before the kernel has said a word fails', async () => {
    const server = serverOf();
    const mounting = server.mount(POINT);
    kernel.end(errno.ENODEV);
    await expect(mounting).rejects.toMatchObject({ failure: 'mount-failed' });
    await server.ended;
    expect(callsOf('closeDescriptor')).toEqual([['closeDescriptor', FD]]);
  });
});

describe('a mount that was moved with a directory above it', () => {
  const MOVED = '/moved/mount';
  /** Whether the kernel has ended the connection. */
  let hasFailed: boolean;
  let server: FuseServer;
  beforeEach(async () => {
    hasFailed = false;
    server = serverOf({ hasFailed: () => hasFailed });
    machine.mounts = mountLine(POINT);
    await mounted(server);
    machine.mounts = mountLine(MOVED);
  });

  test('is unmounted where it is', async () => {
    await server.unmount();
    expect(callsOf('unmount')[0]).toEqual(['unmount', MOVED, { lazy: false }]);
  });

  test('is not left behind by a connection that was aborted, or given up', async () => {
    hasFailed = true;
    kernel.end(errno.ECONNABORTED);
    await server.ended;
    expect(callsOf('unmount')).toEqual([['unmount', MOVED, { lazy: true }]]);
    const second = serverOf();
    machine.mounts = mountLine(POINT);
    await mounted(second);
    machine.mounts = mountLine(MOVED);
    second.abandon();
    await second.ended;
    expect(callsOf('unmount')[1]).toEqual(['unmount', MOVED, { lazy: true }]);
  });

  test('is left alone where another one is mounted over it', async () => {
    machine.mounts += '91 20 0:53 / /moved/mount rw - tmpfs none rw\n';
    await expect(server.unmount()).rejects.toMatchObject({
      failure: 'mount-failed',
      hint: expect.stringContaining('something else is mounted there'),
    });
    server.abandon();
    await server.ended;
    expect(callsOf('unmount')).toEqual([]);
  });

  test('is not one that has its number since it was taken away', async () => {
    hasFailed = true;
    await expect(server.unmount()).rejects.toMatchObject({ failure: 'mount-failed' });
    kernel.end(0);
    await server.ended;
    expect(callsOf('unmount')).toEqual([]);
  });
});

describe('the end', () => {
  test('of a connection that was aborted says so, once', async () => {
    const server = serverOf();
    await mounted(server);
    kernel.end(errno.ECONNABORTED);
    kernel.end(0);
    server.abandon();
    expect(await server.ended).toMatchObject({
      error: { failure: 'io', details: { errno: errno.ECONNABORTED } },
    });
    await settle();
    expect(callsOf('closeDescriptor')).toHaveLength(1);
  });

  test('comes also when a notification waits in the kernel for who waits for us', async () => {
    const clock = new TurnedClock();
    const closing = gate<void>();
    const notifier = { send: async () => 0, close: () => closing.promise };
    const server = serverOf({ openNotifier: () => notifier }, { clock });
    machine.mounts = mountLine(POINT);
    await mounted(server);
    machine.mounts = '';
    const written: string[] = [];
    machine.onWrite = (path, text) => {
      written.push(`${path}=${text}`);
      closing.open();
    };
    server.abandon();
    await clock.turn(FUSE_NOTIFIER_CLOSE_MS_MAX - 1);
    expect(written).toEqual([]);
    await clock.turn(1);
    expect(written).toEqual(['/sys/fs/fuse/connections/52/abort=1']);
    expect(await server.ended).toEqual({ error: undefined });
    expect(callsOf('closeDescriptor')).toEqual([['closeDescriptor', FD]]);
  });

  test('leaves a connection alone whose notifier ends by itself', async () => {
    const clock = new TurnedClock();
    const server = serverOf({}, { clock });
    machine.mounts = mountLine(POINT);
    await mounted(server);
    machine.mounts = '';
    const written = vi.fn();
    machine.onWrite = written;
    server.abandon();
    await server.ended;
    expect([written.mock.calls, clock.sleeping]).toEqual([[], 0]);
  });

  test('comes also when the notifier fails, which is logged', async () => {
    const server = serverOf({
      openNotifier: () => ({
        send: async () => 0,
        close: () => Promise.reject(new Error('stuck')),
      }),
    });
    await mounted(server);
    server.abandon();
    expect(await server.ended).toEqual({ error: undefined });
    const line = { level: 'error', fields: { err: { message: 'stuck' } } };
    expect(log.lines.at(-1)).toMatchObject(line);
    expect(callsOf('closeDescriptor')).toEqual([['closeDescriptor', FD]]);
  });
});

describe('files for the kernel', () => {
  /** A host that keeps what it was offered. */
  function host() {
    const offered: Passthrough[] = [];
    const passthrough = {
      attach: (offer: Passthrough) => void offered.push(offer),
      detach: vi.fn(),
    };
    return { offered, passthrough };
  }

  test('are registered and let go while it is connected, and not touched after that', async () => {
    const { offered, passthrough } = host();
    const server = serverOf({}, { passthrough });
    await mounted(server);
    const [offer] = offered;
    const backing = offer?.register(12);
    expect(callsOf('backingOpen')).toEqual([['backingOpen', FD, 12]]);
    expect(backing).toBe(31);
    expect(server.status().noPassthrough).toBeUndefined();
    offer?.unregister(31);
    await server.unmount();
    offer?.unregister(31);
    expect(callsOf('backingClose')).toEqual([['backingClose', FD, 31]]);
    expect(passthrough.detach).toHaveBeenCalledOnce();
    expect(server.status().noPassthrough).toBe('nothing is mounted');
  });

  test('that the kernel does not let go of fail nobody, and are logged', async () => {
    const { offered, passthrough } = host();
    const backingClose = () => {
      throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    };
    const server = serverOf({ backingClose }, { passthrough });
    await mounted(server);
    offered[0]?.unregister(31);
    const messages = log.lines.filter(({ level }) => level === 'warn').map((line) => line.message);
    expect(messages).toEqual(['the kernel did not let go of a backing file']);
    await server.unmount();
  });

  test('are not offered by whoever is not root, nor to a kernel that takes none', async () => {
    const { offered, passthrough } = host();
    const old = serverOf({}, { passthrough });
    expect(old.status().noPassthrough).toBe('nothing is mounted');
    await mounted(old, init(45, 0xffff_ffff, ~PASSTHROUGH >>> 0));
    expect(old.status().noPassthrough).toBe('the kernel does not offer it');
    old.abandon();
    await old.ended;
    vi.spyOn(process, 'geteuid').mockReturnValue(1000);
    const server = serverOf({}, { passthrough });
    await mounted(server);
    expect(server.status().noPassthrough).toBe('the daemon is not root');
    expect(offered).toEqual([]);
    server.abandon();
    await server.ended;
    const unasked = serverOf();
    await mounted(unasked);
    expect(unasked.status().noPassthrough).toBe('mount.passthrough is false');
    unasked.abandon();
    await unasked.ended;
  });

  test('that the kernel refuses are an operating error, and the mount works without', async () => {
    const { passthrough } = host();
    const refusing = {
      ...passthrough,
      attach: (offer: Passthrough) => void offer.register(12),
    };
    const backingOpen = () => {
      throw Object.assign(new Error('ELOOP'), { code: 'ELOOP' });
    };
    const server = serverOf({ backingOpen }, { passthrough: refusing });
    await mounted(server);
    expect(server.status().mountPoint).toBe(POINT);
    const [line] = log.lines.filter(({ level }) => level === 'warn');
    expect(line).toMatchObject({ fields: { err: { op: 'register a backing file' } } });
    expect(server.status().noPassthrough).toBe('could not register a backing file: ELOOP');
    server.abandon();
    await server.ended;
  });
});
