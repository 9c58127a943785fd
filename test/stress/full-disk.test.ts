/**
 * A full disk below the state directory, filled for real: what fails and with which errno, what goes on
 * meanwhile, and that all of it works again with space and no restart. The disk is a tmpfs or an ext4 in
 * an image of its own, so these tests need root, as CI has it.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Ending, TestDaemon } from '../integration/daemon.ts';

const MIB = 1024 * 1024;
const DISK_MIB = 96;
const TEST_MS_MAX = 120_000;
const NO_SPACE = expect.stringContaining('No space left on device');

/** Below the state directory; the test's own file on it takes all the space that is left. */
class FullDisk implements AsyncDisposable {
  readonly daemon: TestDaemon;

  private constructor(daemon: TestDaemon) {
    this.daemon = daemon;
  }

  static async start(disk: 'tmpfs' | 'ext4', configuration = ''): Promise<FullDisk> {
    const prepare = (state: string) => {
      mkdirSync(state, { mode: 0o700 });
      if (disk === 'tmpfs') {
        execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m,mode=700`, 'none', state]);
        return;
      }
      const image = `${state}.img`;
      execFileSync('truncate', ['-s', `${DISK_MIB}M`, image]);
      execFileSync('mkfs.ext4', ['-q', '-E', 'lazy_itable_init=0', image]);
      execFileSync('mount', ['-o', 'loop', image, state]);
      rmSync(join(state, 'lost+found'), { recursive: true });
      execFileSync('chmod', ['700', state]);
    };
    return new FullDisk(await TestDaemon.start({ configuration, prepare }));
  }

  get #ballast(): string {
    return join(this.daemon.state, 'ballast');
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.daemon.state);
    return bavail * bsize;
  }

  /** Takes all that is left, to the last block. */
  async fill(): Promise<void> {
    // The large part at once, the rest in small pieces; dd ends with ENOSPC, as it shall.
    for (const size of ['64k', '512']) {
      const args = [
        'if=/dev/zero',
        `of=${this.#ballast}`,
        `bs=${size}`,
        'oflag=append',
        'conv=notrunc,fsync',
      ];
      const { code, stderr } = await this.daemon.attempt('dd', args, { in: '/' });
      expect([code, stderr]).toEqual([1, expect.stringContaining('No space left on device')]);
    }
    expect(this.freeBytes).toBe(0);
  }

  free(): void {
    rmSync(this.#ballast);
  }

  sh(script: string): Promise<string> {
    return this.daemon.shell(script, { in: 'ipfs' });
  }

  attempt(script: string): Promise<Ending> {
    return this.daemon.attempt('/bin/sh', ['-c', script], { in: 'ipfs' });
  }

  /** Until nothing fits into the journal any more, however often its WAL begins anew. */
  async exhaust(): Promise<void> {
    const make = `t=$(head -c 4000 /dev/zero | tr '\\0' t); made=0
      while ln -s "$t" "x$1-$made"; do made=$((made + 1)); done; echo $made`;
    for (let round = 0; ; round++) {
      const { stdout, stderr } = await this.attempt(`set -- ${round}; ${make}`);
      expect(stderr).toEqual(NO_SPACE);
      if (stdout === '0\n') return;
    }
  }

  async expectWhole(): Promise<void> {
    const { findings } = await this.daemon.json<{ findings: unknown[] }>(['fsck'], {
      timeoutMs: TEST_MS_MAX,
    });
    expect(findings).toEqual([]);
  }

  async health(): Promise<{ state: string; because: { error_code: string; text: string }[] }> {
    const { health } = await this.daemon.json<{ health: never }>(['status']);
    return health;
  }

  /** It is made whole again by itself. */
  async expectReserve(): Promise<void> {
    const texts = async () => (await this.health()).because.map(({ text }) => text).join();
    await expect.poll(texts, { timeout: 20_000 }).not.toContain('reserve');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon.close();
  }
}

describe.each(['tmpfs', 'ext4'] as const)('on %s', (disk) => {
  test(
    'files and trees are removed, cut and closed with no byte free, and all is well with space again',
    async () => {
      await using m = await FullDisk.start(disk);
      await m.sh(`mkdir tree; for i in $(seq 200); do echo $i > tree/$i; done; mkdir empty
        head -c ${8 * MIB} /dev/zero > large; head -c 1000 /dev/zero > small; echo kept > kept; sleep 2`);
      // One file is being written when the disk becomes full.
      const writer = m.daemon.spawn(
        '/bin/sh',
        [
          '-c',
          'exec 3> held; echo before >&3; echo ready; read go; echo after >&3; exec 3>&-; echo closed',
        ],
        { in: 'ipfs' },
      );
      const lines: string[] = [];
      writer.stdout?.on('data', (bytes: Buffer) => lines.push(bytes.toString()));
      await expect.poll(() => lines.join('')).toContain('ready');
      await m.fill();
      await m.exhaust();

      expect((await m.attempt('cp kept new')).stderr).toEqual(NO_SPACE);
      expect((await m.health()).because.map(({ error_code }) => error_code)).toContain('NO_SPACE');

      // What reads, and what frees, goes on.
      expect(await m.sh('cat kept tree/7; ls | wc -l')).toContain('kept\n7\n');
      await m.sh('rm -r tree; rmdir empty; rm small; truncate -s 1000 large; stat -c %s large');
      writer.stdin?.write('go\n');
      await expect.poll(() => lines.join('')).toContain('closed');
      expect(await m.sh('head -c 6 held')).toBe('before');
      await m.expectWhole();

      m.free();
      await m.expectReserve();
      await m.sh('rm -f new; echo new > new; mkdir d; ln kept other; cat new other held; rm -r x*');
      await m.expectWhole();
      await m.daemon.stop();
      await m.daemon.restart();
      expect(await m.sh('cat kept other new; ls | wc -l')).toBe('kept\nkept\nnew\n6\n');
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'a file that fills it is as long as the disk took it, and removing it makes space for others',
    async () => {
      await using m = await FullDisk.start(disk);
      await m.sh('echo kept > kept');
      // The kernel writes it by itself: the disk says what it has no space for.
      const dd = 'dd if=/dev/zero of=huge bs=64k; stat -c %s huge';
      const { stdout, stderr } = await m.attempt(dd);
      expect(stderr).toEqual(NO_SPACE);
      const bytes = Number(stdout);
      expect(bytes).toBeGreaterThan(8 * MIB);
      expect(await m.sh('cat huge | wc -c; cat kept')).toBe(`${bytes}\nkept\n`);
      await m.expectWhole();
      // Its bytes are history from then on, which gives way.
      await m.sh('rm huge');
      await expect.poll(() => m.freeBytes, { timeout: 20_000 }).toBeGreaterThan(bytes / 2);
      await m.expectReserve();
      await m.sh(`head -c ${Math.floor(bytes / 2)} /dev/zero > next; stat -c %s next`);
      await m.expectWhole();
      await m.daemon.kill();
      await m.daemon.restart();
      expect(await m.sh('stat -c %s next; cat kept')).toBe(`${Math.floor(bytes / 2)}\nkept\n`);
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'a daemon that was killed starts again with no byte free, and shows all that was acknowledged',
    async () => {
      await using m = await FullDisk.start(disk);
      await m.sh('echo kept > kept; mkdir tree; echo one > tree/one; exec 3> open; echo open >&3');
      await m.fill();
      await m.exhaust();
      const names = await m.sh('ls | sort');
      await m.daemon.kill();
      await m.fill();
      await m.daemon.restart();
      expect(await m.sh('cat kept tree/one open')).toBe('kept\none\nopen\n');
      expect(await m.sh('ls | sort')).toBe(names);
      await m.sh('rm tree/one');
      await m.expectWhole();
      m.free();
      await m.expectReserve();
      await m.sh('echo two > tree/two; cat tree/two');
    },
    TEST_MS_MAX,
  );

  test(
    'without passthrough too: what is refused changes nothing, what frees goes on',
    async () => {
      await using m = await FullDisk.start(disk, '[mount]\npassthrough = false\n');
      await m.sh(
        `head -c ${2 * MIB} /dev/zero | tr '\\0' a > large; echo kept > kept; echo s > small`,
      );
      await m.fill();
      await m.exhaust();
      expect((await m.attempt('cat large > copy')).stderr).toEqual(NO_SPACE);
      expect((await m.attempt('cat large >> large.2')).stderr).toEqual(NO_SPACE);
      expect(await m.sh('tail -c 3 large; stat -c " %s" large; cat kept')).toBe(
        `aaa ${2 * MIB}\nkept\n`,
      );
      await m.sh('truncate -s 100000 large; truncate -s 0 small; rm kept; stat -c %s large small');
      await m.expectWhole();
      m.free();
      await m.expectReserve();
      await m.sh('rm -rf x* copy large.2; cp large copy; cmp large copy');
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'tools are refused with NO_SPACE, and remove what they are asked to',
    async () => {
      await using m = await FullDisk.start(disk);
      await m.sh('mkdir tree; for i in $(seq 50); do echo $i > tree/$i; done; echo kept > kept');
      await m.fill();
      await m.exhaust();
      const tool = (name: string, input: object) =>
        m.daemon.kitfs(['call', name, JSON.stringify(input), '--json']);
      const written = await tool('vfs_write', { path: '/ipfs/new', content: 'x'.repeat(50_000) });
      expect(written.stdout + written.stderr).toContain('NO_SPACE');
      const removed = await tool('vfs_rm', { path: '/ipfs/tree', recursive: true });
      expect([removed.code, removed.stderr]).toEqual([0, '']);
      const read = await tool('vfs_read', { path: '/ipfs/kept' });
      expect(read.stdout).toContain('kept');
      expect((await m.attempt('ls tree')).code).toBe(2);
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );
});

test(
  'on a disk that its file system made read-only changes fail with EROFS, and reading goes on',
  async () => {
    await using m = await FullDisk.start('ext4');
    await m.sh('mkdir tree; echo one > tree/one; head -c 300000 /dev/zero > large; sync tree/one');
    // As after an error on the disk, with `errors=remount-ro`: no umount, no question who writes.
    const device = execFileSync('findmnt', ['-no', 'SOURCE', m.daemon.state], { encoding: 'utf8' });
    execFileSync('mount', ['-o', 'remount,errors=remount-ro', m.daemon.state]);
    const trigger = `/sys/fs/ext4/${basename(device.trim())}/trigger_fs_error`;
    execFileSync('/bin/sh', ['-c', `echo test > ${trigger}`]);
    const refused = expect.stringContaining('Read-only file system');
    expect((await m.attempt('mkdir made')).stderr).toEqual(refused);
    expect((await m.attempt('rm tree/one')).stderr).toEqual(refused);
    expect((await m.attempt('printf x | dd of=large conv=notrunc status=none')).stderr).toEqual(
      refused,
    );
    expect(await m.sh('cat tree/one; ls; stat -c %s large')).toBe('one\nlarge\ntree\n300000\n');
    await m.daemon.kill();
  },
  TEST_MS_MAX,
);
