/** Each driver on a real mount: a file system in a child process, its clients in others. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const SERVER = fileURLToPath(new URL('../../dist/test/fuse/serve.js', import.meta.url));
const COMMAND_MS_MAX = 30_000;

/** A mount and the process that serves it. This process never touches it. */
class ServedMount {
  readonly directory = mkdtempSync(join(tmpdir(), 'kitfs-mount '));
  readonly #server: ChildProcess;
  readonly #lines: Interface;
  readonly #said: string[] = [];
  #heard: () => void = () => {};
  complaints = '';

  constructor(driver: string) {
    this.#server = spawn(process.execPath, [SERVER, this.directory, driver], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const { stdout, stderr } = this.#server;
    if (stdout === null || stderr === null) throw new Error('no pipes');
    stderr.on('data', (bytes) => {
      this.complaints += String(bytes);
    });
    this.#lines = createInterface({ input: stdout });
    this.#lines.on('line', (line) => {
      this.#said.push(line);
      this.#heard();
    });
    // Whoever waits for a line learns that none will come.
    this.#lines.on('close', () => this.#heard());
  }

  /** The next line the server says. */
  async line(): Promise<string> {
    for (;;) {
      const line = this.#said.shift();
      if (line !== undefined) return line;
      if (this.#server.exitCode !== null) throw new Error(`it ended: ${this.complaints}`);
      await new Promise<void>((heard) => {
        this.#heard = heard;
      });
    }
  }

  /** A change that does not come from the mount; resolves when the kernel knows. */
  async change(line: string): Promise<void> {
    this.#server.stdin?.write(`${line}\n`);
    expect(await this.line()).toBe('done');
  }

  /** Asks the server to unmount. */
  unmount(): void {
    this.#server.kill('SIGTERM');
  }

  async exit(): Promise<number | null> {
    if (this.#server.exitCode === null) await once(this.#server, 'exit');
    return this.#server.exitCode;
  }

  /** Runs a script of sh in `/ipfs` of the mount; what it printed. */
  sh(script: string): string {
    const whole = `cd -- "$0/ipfs" && ${script}`;
    const options = { encoding: 'utf8', timeout: COMMAND_MS_MAX, killSignal: 'SIGKILL' } as const;
    const { stdout, stderr, status } = spawnSync('sh', ['-c', whole, this.directory], options);
    expect([status, stderr]).toEqual([0, '']);
    return stdout;
  }

  /** A client that stays; it says what its script prints. */
  client(script: string): ChildProcess {
    return spawn('sh', ['-c', `cd -- "$0/ipfs" && ${script}`, this.directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
  }

  isMounted(): boolean {
    const escaped = this.directory.replaceAll(' ', '\\040');
    return readFileSync('/proc/mounts', 'utf8').includes(escaped);
  }

  async close(): Promise<void> {
    if (this.isMounted()) spawnSync('umount', ['-l', this.directory], { timeout: COMMAND_MS_MAX });
    if (this.#server.exitCode === null) this.#server.kill('SIGKILL');
    await this.exit();
    if (!this.isMounted()) rmdirSync(this.directory);
  }
}

let mount: ServedMount;

/** Mounts, and returns what the server says of its driver. */
async function start(driver: string): Promise<string> {
  mount = new ServedMount(driver);
  const [, what = ''] = /^mounted (.*)$/.exec(await mount.line()) ?? [];
  return what;
}

afterEach(async () => {
  await mount.close();
});

describe.each(['native', 'fuse-native'])('the driver %s', (driver) => {
  beforeEach(async () => {
    expect(await start(driver)).toMatch(`${driver}: chosen in the configuration`);
  });

  test('serves what a shell does', () => {
    expect(mount.sh('echo hello > a && cat a && mkdir d && mv a d/b && cat d/b')).toBe(
      'hello\nhello\n',
    );
    expect(mount.sh('ln d/b c && ln -s d/b s && cat s && stat -c %h c && readlink s')).toBe(
      'hello\n2\nd/b\n',
    );
    expect(mount.sh('chmod 640 c && touch -d @5 c && stat -c "%a %Y %F" d/b')).toBe(
      '640 5 regular file\n',
    );
    expect(mount.sh('rm c s d/b && rmdir d && ls -A')).toBe('');
    expect(mount.complaints).toBe('');
  });

  test('gives what is made to who made it', () => {
    const asUser = (words: string) => `setpriv --reuid 1001 --regid 1002 --clear-groups ${words}`;
    mount.sh(`chmod 777 . && ${asUser("sh -c 'echo x > f && mkdir d && ln -s f s && mkfifo p'")}`);
    expect(mount.sh('stat -c %u:%g f d s p')).toBe('1001:1002\n'.repeat(4));
  });

  test('keeps times to the nanosecond, each its own, also before 1970', () => {
    mount.sh('touch a && touch -a -d @-1.5 a && touch -m -d @77.000000001 a');
    expect(mount.sh('stat -c "%.9X %.9Y" a')).toBe('-1.500000000 77.000000001\n');
  });

  test('keeps names that are not UTF-8', () => {
    expect(mount.sh('touch "$(printf \'a\\377b\')" && ls | od -An -tx1')).toBe(' 61 ff 62 0a\n');
  });

  test('lists 1,000 names, each once, also when it is asked again', () => {
    mount.sh('mkdir many && cd many && seq 1000 | xargs touch');
    const twice = mount.sh('ls many | sort -n; find many -type f | wc -l').trim().split('\n');
    expect(twice).toEqual([...Array.from({ length: 1000 }, (_, i) => String(i + 1)), '1000']);
  });

  test('carries large files unchanged, in and out, past the page cache', () => {
    mount.sh('head -c 20000000 /dev/urandom > one && cp one two && cmp one two');
    mount.sh('dd if=two iflag=direct bs=1M status=none | cmp - one');
    expect(mount.sh('stat -c %s two')).toBe('20000000\n');
  });

  test('shows a change from outside at once, to whoever kept what was there before', async () => {
    for (let round = 0; round < 50; round++) {
      await mount.change(`write file text-${round}`);
      expect(mount.sh('cat file; ls; stat -c %s file')).toBe(
        `text-${round}file\n${`text-${round}`.length}\n`,
      );
      await mount.change('remove file');
      expect(mount.sh('cat file 2>/dev/null || echo none; ls')).toBe('none\n');
    }
  });

  test('takes changes from outside while clients make and remove names beside them', async () => {
    const clients = ['a', 'b', 'c', 'd'].map((name) =>
      mount.client(
        `i=0; while [ $i -lt 300 ]; do : > ${name}$i && ls > /dev/null && rm ${name}$i; i=$((i+1)); done`,
      ),
    );
    const ended = clients.map((client) => once(client, 'exit'));
    for (let round = 0; round < 300; round++) {
      await mount.change(`write outside${round} text`);
      await mount.change(`remove outside${round}`);
    }
    for (const end of ended) expect(await end).toEqual([0, null]);
    expect(mount.sh('ls')).toBe('');
    expect(mount.complaints).toBe('');
  });

  test('unmounts when told to, and gives back all that the kernel held', async () => {
    mount.sh('mkdir -p a/b && echo x > a/b/c && ls -lR > /dev/null');
    mount.unmount();
    expect(JSON.parse(await mount.line())).toEqual({ inodes: 0, handles: 0, waiting: 0, open: 0 });
    expect(await mount.exit()).toBe(0);
    expect(mount.isMounted()).toBe(false);
    expect(mount.complaints).toBe('');
  });

  test('does not unmount under somebody, and says so', async () => {
    const client = mount.client('echo here && read line');
    await once(client.stdout ?? client, 'data');
    mount.unmount();
    expect(await mount.line()).toContain('mount-busy');
    client.stdin?.end('\n');
    await once(client, 'exit');
    mount.unmount();
    expect(await mount.line()).toContain('"handles":0');
    expect(await mount.exit()).toBe(0);
  });

  test('ends when somebody else unmounts, and closes what was open', async () => {
    const client = mount.client('exec 3> file && echo here && read line; exit 0');
    await once(client.stdout ?? client, 'data');
    // Aborts the connection; the file stays open, so the mount stays in the tree.
    spawnSync('umount', ['-f', mount.directory], { timeout: COMMAND_MS_MAX });
    expect(JSON.parse(await mount.line())).toMatchObject({ handles: 0, open: 0 });
    expect(await mount.exit()).toBe(0);
    expect(mount.isMounted()).toBe(false);
    client.stdin?.end('\n');
    await once(client, 'exit');
  });

  test('refuses to mount where there is no directory', () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [SERVER, `${mount.directory}.absent`, driver],
      {
        encoding: 'utf8',
        timeout: COMMAND_MS_MAX,
      },
    );
    expect(status).toBe(1);
    expect(stderr).toContain('mount-failed');
  });
});

describe('the drivers', () => {
  test('native knows when an inode was made', async () => {
    await start('native');
    expect(Number(mount.sh('touch a && stat -c %W a'))).toBeGreaterThan(1_700_000_000);
  });

  test('native is chosen automatically where it works', async () => {
    expect(await start('auto')).toMatch(/^native: chosen automatically/);
  });

  test('fuse-native is chosen automatically where native is refused, and says why', async () => {
    expect(await start('hindered')).toMatch(/^fuse-native: the fallback, because .*mount-failed/);
    expect(mount.sh('echo hello > a && cat a')).toBe('hello\n');
    mount.unmount();
    expect(await mount.line()).toContain('"handles":0');
    expect(mount.complaints).toBe('');
  });

  test('when neither can mount, the failure is that of native, and names both', async () => {
    await start('native');
    const absent = `${mount.directory}.absent`;
    const { status, stderr } = spawnSync(process.execPath, [SERVER, absent, 'auto'], {
      encoding: 'utf8',
      timeout: COMMAND_MS_MAX,
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/mount-failed.*the fallback did not mount either/);
  });
});
