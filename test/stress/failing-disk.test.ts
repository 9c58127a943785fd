/**
 * A disk that refuses calls below the state directory, one kind at a time, with the errno a disk gives:
 * faulty-disk.c stands between the daemon and its calls. What a program on the mount is told, what goes
 * on meanwhile, and that nothing is left of it afterwards.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestDaemon } from '../integration/daemon.ts';

const { EDQUOT, EIO, ENOSPC, EROFS } = constants.errno;
const TEST_MS_MAX = 60_000;
const TEXTS = new Map([
  [EDQUOT, 'Disk quota exceeded'],
  [EIO, 'Input/output error'],
  [ENOSPC, 'No space left on device'],
  [EROFS, 'Read-only file system'],
]);
const WAL = 'state/journal.db-wal';
const CONTENT = 'state/content/';

let directory: string;
let library: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'kitfs-faults-'));
  library = join(directory, 'faulty-disk.so');
  const source = fileURLToPath(new URL('faulty-disk.c', import.meta.url));
  const args = ['-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', library, source];
  const { status, stderr } = spawnSync('gcc', args, { encoding: 'utf8', timeout: 30_000 });
  if (status !== 0) throw new Error(`gcc: ${stderr}`);
});
afterAll(() => rmSync(directory, { recursive: true }));

interface Fault {
  /** Names of calls, each with a comma behind it, as faulty-disk.c takes them. */
  readonly calls: string;
  readonly errno: number;
  readonly at: string;
}

class FaultyDisk implements AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly #control: string;

  private constructor(daemon: TestDaemon, control: string) {
    this.daemon = daemon;
    this.#control = control;
  }

  static async start(configuration = ''): Promise<FaultyDisk> {
    const control = join(mkdtempSync(join(directory, 'run-')), 'faults');
    writeFileSync(control, '');
    const env = { KITFS_FAULTS: control, LD_PRELOAD: library };
    return new FaultyDisk(await TestDaemon.start({ configuration, env }), control);
  }

  fail({ calls, errno, at }: Fault): void {
    writeFileSync(this.#control, `${calls} ${errno} ${at}\n`);
  }

  mend(): void {
    writeFileSync(this.#control, '');
  }

  sh(script: string): Promise<string> {
    return this.daemon.shell(script, { in: 'ipfs' });
  }

  /** What a script that fails writes to standard error. */
  async refused(script: string): Promise<string> {
    const { code, stderr } = await this.daemon.attempt('/bin/sh', ['-c', script], { in: 'ipfs' });
    expect([script, code]).not.toEqual([script, 0]);
    return stderr;
  }

  async expectWhole(): Promise<void> {
    const { findings } = await this.daemon.json<{ findings: unknown[] }>(['fsck']);
    expect(findings).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mend();
    await this.daemon.close();
  }
}

const CACHED = '[mount]\npassthrough = false\n';
/** An fsync that is not by close: dd(1) says what it fails with. */
const FSYNCED = (name: string) =>
  `dd if=/dev/zero of=${name} bs=1k count=200 conv=fsync status=none`;

interface Site extends Fault {
  readonly site: string;
  readonly configuration: string;
  /** Fails with the errno while the disk does. */
  readonly script: string;
  /** Works meanwhile. */
  readonly meanwhile: string;
}

const READS = 'cat kept; cat tree/one; ls tree';
const REMOVES = 'rm tree/two; mv tree/one tree/first; mv tree/first tree/one';

const SITES: readonly Site[] = [
  ...[ENOSPC, EDQUOT, EIO, EROFS].map((errno) => ({
    site: 'the WAL',
    ...{ calls: 'write,', errno, at: WAL },
    configuration: '',
    script: 'mkdir made',
    meanwhile: READS,
  })),
  ...[ENOSPC, EDQUOT, EIO, EROFS].map((errno) => ({
    site: 'a backing file',
    ...{ calls: 'write,', errno, at: CONTENT },
    configuration: CACHED,
    script: 'head -c 300000 /dev/zero | cat > made',
    meanwhile: `${READS}; ${REMOVES}`,
  })),
  ...[ENOSPC, EDQUOT, EIO, EROFS].map((errno) => ({
    site: 'the directory of backing files',
    ...{ calls: 'create,mkdir,', errno, at: CONTENT },
    configuration: CACHED,
    script: 'head -c 300000 /dev/zero | cat > made',
    meanwhile: `${READS}; ${REMOVES}`,
  })),
  ...[ENOSPC, EDQUOT].map((errno) => ({
    site: 'the copy of the bytes before',
    ...{ calls: 'write,', errno, at: CONTENT },
    configuration: CACHED,
    script: 'printf x | dd of=large conv=notrunc status=none',
    meanwhile: `${READS}; ${REMOVES}; truncate -s 100000 large`,
  })),
  ...[ENOSPC, EDQUOT, EIO].map((errno) => ({
    site: 'an fsync of bytes',
    ...{ calls: 'fdatasync,', errno, at: CONTENT },
    configuration: '',
    script: FSYNCED('made'),
    meanwhile: `${READS}; ${REMOVES}; mkdir other`,
  })),
];

describe('a disk that refuses', () => {
  test.each(SITES)(
    '$site with errno $errno fails the operation with it, and nothing else',
    async ({ configuration, script, meanwhile, ...fault }) => {
      await using m = await FaultyDisk.start(configuration);
      await m.sh('mkdir tree; echo kept > kept; echo 1 > tree/one; echo 2 > tree/two');
      await m.sh('head -c 200000 /dev/zero > large');
      const cid = ['--only-values', '-n', 'user.ipfs.cid', 'large'];
      const sealed = () => m.daemon.attempt('getfattr', cid, { in: 'ipfs' });
      await expect.poll(async () => (await sealed()).code, { timeout: 20_000 }).toBe(0);
      m.fail(fault);
      expect(await m.refused(script)).toContain(TEXTS.get(fault.errno));
      expect(await m.sh(meanwhile)).toContain('kept\n1\n');
      m.mend();
      await m.sh(`rm -rf made other; ${script}; rm -rf made; ${READS}`);
      await m.expectWhole();
      await m.daemon.kill();
      await m.daemon.restart();
      expect(await m.sh(READS)).toContain('kept\n1\n');
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );
});

describe('what the disk did not take', () => {
  test(
    'is said by each fsync of the file, until the file is another one',
    async () => {
      await using m = await FaultyDisk.start();
      m.fail({ calls: 'fdatasync,', errno: EIO, at: CONTENT });
      const fsync = 'dd if=/dev/null of=file conv=notrunc,fsync status=none';
      await m.sh('head -c 200000 /dev/urandom > file');
      expect(await m.refused(fsync)).toContain('Input/output error');
      m.mend();
      // The kernel would say that all is well.
      expect(await m.refused(fsync)).toContain('Input/output error');
      await m.sh(`${FSYNCED('other')}; cp file copy; mv copy file; ${fsync}`);
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'of the journal makes it fail for good: nothing is called durable, reads go on, a start mends it',
    async () => {
      await using m = await FaultyDisk.start();
      await m.sh('echo kept > kept; echo other > other');
      m.fail({ calls: 'fdatasync,', errno: EIO, at: WAL });
      const fsync = 'dd if=/dev/null of=kept conv=notrunc,fsync status=none';
      expect(await m.refused(fsync)).toContain('Input/output error');
      m.mend();
      expect(await m.refused(fsync)).toContain('Input/output error');
      expect(await m.refused('mkdir made')).toContain('Input/output error');
      expect(await m.sh('cat kept other; ls')).toBe('kept\nother\nkept\nother\n');
      const { health } = await m.daemon.json<{ health: { state: string } }>(['status']);
      expect(health.state).toBe('failed');
      await m.daemon.kill();
      await m.daemon.restart();
      await m.sh(`${fsync}; mkdir made; cat kept other`);
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test.each([ENOSPC, EIO])(
    'of the name of a closed file (errno %i) is tried again until it does, and nobody misses a byte',
    async (errno) => {
      await using m = await FaultyDisk.start();
      await m.sh('mkdir tree');
      m.fail({ calls: 'link,mkdir,', errno, at: CONTENT });
      await m.sh('head -c 200000 /dev/zero | tr "\\0" a > large; stat -c %s large');
      expect(await m.sh('tail -c 3 large; stat -c " %s" large')).toBe('aaa 200000\n');
      await m.sh('mv large tree/large; ls tree');
      m.mend();
      const cid = ['--only-values', '-n', 'user.ipfs.cid', 'tree/large'];
      const sealed = () => m.daemon.attempt('getfattr', cid, { in: 'ipfs' });
      await expect.poll(async () => (await sealed()).code, { timeout: 20_000 }).toBe(0);
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );
});
