/** The order of a daemon's start and stop, with the kernel held by hand. */
import { mkdirSync } from 'node:fs';
import { beforeEach, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { loadConfig } from '../../src/daemon/config.ts';
import { ControlClient } from '../../src/daemon/control-client.ts';
import { Daemon } from '../../src/daemon/serve.ts';
import { Deferred } from './deferred.ts';
import { Scratch } from './scratch.ts';

const kernel = vi.hoisted(() => ({
  /** What became of the mount, in order. */
  events: [] as string[],
  asked: () => {},
  mount: () => Promise.resolve(),
}));

vi.mock('../../src/daemon/host.ts', async (importOriginal) => ({
  ...(await importOriginal<object>()),
  demandFuse: async () => {},
}));

// It is not in the table of mounts.
vi.mock('../../src/daemon/mountpoint.ts', async (importOriginal) => ({
  ...(await importOriginal<object>()),
  recordMount: async () => {},
}));

vi.mock('../../src/fuse/chosen.ts', () => ({
  ChosenDriver: class {
    readonly invalidator = {
      entry: () => {},
      inode: () => {},
      uncounted() {},
      settled: () => Promise.resolve(),
      knows: () => false,
    };
    #mountPoint: string | undefined;
    #end: (end: object) => void = () => {};
    readonly ended = new Promise((resolve) => {
      this.#end = resolve;
    });

    status() {
      return { driver: 'native', reason: 'a test', mountPoint: this.#mountPoint, requests: 0 };
    }

    async mount(dir: string): Promise<void> {
      kernel.asked();
      await kernel.mount();
      kernel.events.push('mounted');
      this.#mountPoint = dir;
    }

    async unmount(): Promise<void> {
      kernel.events.push('unmounted');
      this.abandon();
    }

    abandon(): void {
      this.#mountPoint = undefined;
      this.#end({ error: undefined });
    }
  },
}));

let asked: Deferred<void>;
let mounting: Deferred<void>;
beforeEach(() => {
  asked = new Deferred();
  mounting = new Deferred();
  kernel.events.length = 0;
  kernel.asked = () => asked.resolve();
  kernel.mount = () => mounting.promise;
});

/** A daemon that is being started, and has asked the kernel to mount. */
async function starting(scratch: Scratch) {
  mkdirSync(scratch.path('mnt'));
  const environment = { variables: {}, uid: 0, pid: 1, home: scratch.directory, directory: '/' };
  const flags = {
    state: scratch.path('s'),
    run: scratch.path('r'),
    mountPoint: scratch.path('mnt'),
  };
  const config = await loadConfig(flags, { ...environment, uid: process.getuid?.() ?? 0 });
  const started = Daemon.start(config, { isTerminal: false });
  await Promise.race([asked.promise, started]);
  const client = await ControlClient.connect(config.controlSocket);
  const stopped = client.ask('stop').then(
    () => kernel.events.push('answered'),
    (error: OpError) => kernel.events.push(error.failure),
  );
  // Answered in order: the daemon has heard of the stop.
  await client.ask('status');
  return { started, stopped, client };
}

test('a stop that comes while the daemon starts stops it when it has started', async () => {
  using scratch = new Scratch();
  const { started, stopped, client } = await starting(scratch);
  expect(kernel.events).toEqual([]);
  mounting.resolve();
  const daemon = await started;
  await stopped;
  expect(kernel.events).toEqual(['mounted', 'unmounted', 'answered']);
  expect(await daemon.ended).toEqual({ why: 'asked', troubles: [] });
  await client.closed;
});

test('a stop that comes while the daemon starts hears why it did not', async () => {
  using scratch = new Scratch();
  const { started, stopped, client } = await starting(scratch);
  mounting.reject(new OpError('mount-failed', 'mount'));
  await expect(started).rejects.toMatchObject({ failure: 'mount-failed' });
  await stopped;
  expect(kernel.events).toEqual(['mount-failed']);
  await client.closed;
});
