/** Requests that end the daemon each time they are served, as test/faults/points.c makes them do. */
import { spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import { POISON_DEATHS_MAX } from '../../src/base/limits.ts';
import { keeperProgram } from '../../src/base/native.ts';
import { Scratch } from '../daemon/scratch.ts';
import { FaultPoints } from '../faults/points.ts';
import { receiver } from '../native/receiver.ts';
import { CALLER, Kernel } from '../posix/kernel.ts';
import { TestDaemon } from './daemon.ts';

const TEST_MS_MAX = 120_000;
const RATHER_LARGE = 300_000;

/** Nobody is to blame for the first one: others were served beside it. */
const DEATHS = { least: POISON_DEATHS_MAX, most: POISON_DEATHS_MAX + 1 };

/** A daemon, and two programs on its mount. */
class Poisoned implements AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly points: FaultPoints;
  readonly victim: Kernel;
  readonly other: Kernel;

  private constructor(daemon: TestDaemon, points: FaultPoints) {
    this.daemon = daemon;
    this.points = points;
    const [program, ...args] = CALLER;
    const client = () => new Kernel(daemon.spawn(program, args, { in: 'ipfs' }));
    [this.victim, this.other] = [client(), client()];
  }

  static async start(): Promise<Poisoned> {
    const points = new FaultPoints();
    const daemon = await TestDaemon.start({ env: points.env });
    // The kernel lets one at a time change a directory.
    await daemon.shell('mkdir ipfs/here ipfs/beside');
    return new Poisoned(daemon, points);
  }

  /** What another program makes while `poison` is tried; all of it is made. */
  async beside(poison: Promise<unknown>): Promise<void> {
    let isOver = false;
    const end = () => {
      isOver = true;
    };
    const over = poison.then(end, end);
    let made = 0;
    do await this.other.mkdir(`beside/${made++}`, 0o755);
    while (!isOver);
    await over;
    expect(await this.other.readdir('beside')).toHaveLength(made);
  }

  async expectTold(): Promise<void> {
    expect(this.daemon.output).toContain('so it is tried no more');
    expect(await this.daemon.shell('cat .kitfs/errors.ndjson')).toContain('tried no more');
    const { findings } = await this.daemon.json<{ findings: unknown[] }>(['fsck']);
    expect(findings).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.points.off();
    await this.victim[Symbol.asyncDispose]();
    await this.other[Symbol.asyncDispose]();
    await this.daemon.close();
    this.points[Symbol.dispose]();
  }
}

test(
  'a request that ends the daemon whenever it is served is answered EIO, and nobody else is',
  async () => {
    await using m = await Poisoned.start();
    m.points.arm({ point: 'commit', part: 'poisonous', signal: 'SIGSEGV', times: 0 });
    const poison = m.victim.mkdir('here/poisonous', 0o755);
    await m.beside(poison);
    await expect(poison).rejects.toMatchObject({ code: 'EIO' });
    expect(m.points.deaths).toBeGreaterThanOrEqual(DEATHS.least);
    expect(m.points.deaths).toBeLessThanOrEqual(DEATHS.most);
    await m.expectTold();
    m.points.off();
    await m.victim.mkdir('here/poisonous', 0o755);
    expect(await m.daemon.json(['status'])).toMatchObject({ pid: m.daemon.pid });
  },
  TEST_MS_MAX,
);

test(
  'a read of content that ends the daemon whenever it is tried is answered EIO, and nobody else is',
  async () => {
    await using m = await Poisoned.start();
    const file = await m.victim.open('file', 0o101, 0o644);
    await m.victim.write(file, 'venomous '.repeat(RATHER_LARGE / 9), 0);
    await m.victim.close(file);
    const attribute = ['--only-values', '-n', 'user.ipfs.cid', 'file'];
    const asked = () => m.daemon.attempt('getfattr', attribute, { in: 'ipfs' });
    await expect.poll(async () => (await asked()).code, { timeout: 20_000 }).toBe(0);
    const cid = (await asked()).stdout;
    const content = await m.victim.open(cid, 0);
    m.points.arm({ point: 'backing-read', part: 'venomous', signal: 'SIGSEGV', times: 0 });
    const poison = m.victim.read(content, 4096, 0);
    await m.beside(poison);
    await expect(poison).rejects.toMatchObject({ code: 'EIO' });
    expect(m.points.deaths).toBeGreaterThanOrEqual(DEATHS.least);
    await m.expectTold();
    m.points.off();
    expect(await m.victim.read(content, 9, 0)).toBe('venomous ');
  },
  TEST_MS_MAX,
);

test(
  'a request during which the daemon is killed, however often, is done',
  async () => {
    await using m = await Poisoned.start();
    const times = POISON_DEATHS_MAX + 2;
    m.points.arm({ point: 'commit', part: 'unlucky', times });
    await m.victim.mkdir('here/unlucky', 0o755);
    expect(m.points.died).toBe(1);
    expect(await m.victim.readdir('here')).toEqual(['unlucky']);
  },
  TEST_MS_MAX,
);

test(
  'a daemon that takes a mount over is watched before it serves what may have hung the one before',
  async () => {
    await using m = await Poisoned.start();
    m.points.trace();
    await Promise.all([m.daemon.crash(), m.beside(m.daemon.shell('sleep 1'))]);
    const passed = m.points.traced();
    const next = passed.slice(passed.indexOf('resent') + 1);
    const found = next.find((point) => point === 'keeper-told' || point.startsWith('request.'));
    expect(found).toBe('keeper-told');
    expect(next.some((point) => point.startsWith('request.'))).toBe(true);
  },
  TEST_MS_MAX,
);

test(
  'a daemon that systemd starts anew is watched before it serves what may have hung the one before',
  async () => {
    using scratch = new Scratch();
    using points = new FaultPoints();
    await using manager = await receiver(scratch.path('manager.sock'));
    const told = { NOTIFY_SOCKET: scratch.path('manager.sock') };
    const socket = scratch.path('keeper.sock');
    const env = { ...process.env, ...told };
    const keeper = spawn(keeperProgram(), ['--listen', socket], { env, stdio: 'ignore' });
    try {
      expect(await manager.next()).toBe('READY=1');
      await using daemon = await TestDaemon.start({
        env: { ...points.env, ...told },
        args: ['--keeper', socket],
      });
      const ready = `READY=1\nSTATUS=mounted at ${daemon.mountPoint}`;
      expect(await manager.next()).toBe(ready);
      points.arm({ point: 'commit', part: 'poisonous', signal: 'SIGSTOP', times: 2 });
      const limits = { in: 'ipfs', timeoutMs: TEST_MS_MAX };
      const poison = daemon.run('mkdir', ['poisonous'], limits);
      await expect.poll(() => points.deaths, { timeout: 20_000 }).toBe(1);
      await daemon.kill();
      const hung = Promise.allSettled([daemon.restart()]);
      expect(await manager.next()).toBe(ready);
      await expect.poll(() => points.died, { timeout: 20_000 }).toBe(1);
      await daemon.kill();
      await hung;
      await daemon.restart();
      await poison;
      expect(await daemon.run('ls', ['ipfs'])).toBe('poisonous\n');
    } finally {
      keeper.kill('SIGKILL');
    }
  },
  TEST_MS_MAX,
);
