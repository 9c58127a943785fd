/** Each driver on a real mount: a file system in a child process, its clients in others. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { COMMAND_MS_MAX, SERVER, ServedMount } from './served.ts';

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
