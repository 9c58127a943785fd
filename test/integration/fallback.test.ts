/** A daemon that mounts by the driver fuse-native: what it says of it, and that it is the same tree for everybody. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

interface Seen {
  readonly op: string;
  readonly actor: { readonly exe?: string; readonly uid?: number };
}

describe('the driver', () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await TestDaemon.start({ configuration: '[mount]\ndriver = "fuse-native"\n' });
  });
  afterAll(() => daemon.close());

  const tool = async (name: string, input: object) => {
    const { code, stdout, stderr } = await daemon.kitfs(['call', name, JSON.stringify(input)]);
    expect([code, stderr]).toEqual([0, '']);
    return stdout;
  };

  test('is named in the status, with the reason, for scripts and for people', async () => {
    const status = await daemon.json<Record<string, unknown>>(['status']);
    expect(status).toMatchObject({
      driver: 'fuse-native',
      driver_reason: expect.stringMatching(/^chosen in the configuration; mounted by/),
      kernel: { protocol: '7.19' },
    });
    const { stdout } = await daemon.kitfs(['status']);
    expect(stdout).toMatch(/^driver +fuse-native: chosen in the configuration; mounted by/m);
    expect(JSON.parse(await daemon.run('cat', ['.kitfs/status.json']))).toMatchObject({
      driver: 'fuse-native',
    });
  });

  test('shows what a tool did to the next system call, and the reverse', async () => {
    for (const text of ['one', 'another']) {
      await tool('vfs_write', { path: '/ipfs/by-tool', content: text });
      expect(await daemon.run('cat', ['ipfs/by-tool'])).toBe(text);
    }
    await tool('vfs_rm', { path: '/ipfs/by-tool' });
    expect(await daemon.run('ls', ['ipfs'])).toBe('');
    await daemon.shell('echo more > ipfs/by-program');
    expect(await tool('vfs_read', { path: '/ipfs/by-program' })).toContain('more');
  });

  test('tells the journal which program it was', async () => {
    await daemon.run('mkdir', ['ipfs/made']);
    const [record] = await daemon.json<Seen[]>(['log', '/ipfs/made']);
    expect(record).toMatchObject({
      op: 'mkdir',
      actor: { surface: 'fuse', uid: 0, exe: expect.stringMatching(/mkdir$/) },
    });
  });

  test('differs where it says so: locks by name, births, names of attributes, direct reads', async () => {
    await daemon.shell(
      `echo text > one; ln one two; flock one -c 'flock -n two true'; test "$(stat -c %W one)" = 0
       test "$(dd if=one iflag=direct bs=3 count=1 status=none)" = tex`,
      { in: 'ipfs' },
    );
    const script = `import os; os.setxattr('one', b'user.\\xff', b'v'); print(os.listxattr('one'))`;
    const listed = await daemon.run('python3', ['-c', script], { in: 'ipfs' });
    expect(listed.trim()).toBe(`['user.\ufffd']`);
  });

  test('keeps what was acknowledged when the daemon is killed', async () => {
    await daemon.shell('mkdir ipfs/kept && echo text > ipfs/kept/file && mv ipfs/kept ipfs/moved');
    await daemon.kill();
    await daemon.restart();
    expect(await daemon.run('cat', ['ipfs/moved/file'])).toBe('text\n');
  });

  test('is not taken for what is mounted over it', async () => {
    execFileSync('mount', ['-t', 'tmpfs', 'none', daemon.mountPoint]);
    try {
      expect((await daemon.kitfs(['unmount'])).stderr).toContain('something else is mounted there');
      await daemon.run('mountpoint', ['--quiet', daemon.mountPoint], { in: '/' });
    } finally {
      execFileSync('umount', [daemon.mountPoint]);
    }
    await daemon.run('ls', ['ipfs']);
  });

  test('is taken away by force from a program that uses it', async () => {
    const user = daemon.spawn('sh', ['-c', 'exec 3> file && echo in && exec sleep 60'], {
      in: 'ipfs',
    });
    await once(user.stdout ?? user, 'data');
    const refused = await daemon.kitfs(['unmount']);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('sleep')]);
    expect((await daemon.kitfs(['unmount', '--force'])).code).toBe(0);
    await expect.poll(() => daemon.isRunning, { timeout: 10_000 }).toBe(false);
    await daemon.restart();
    expect(await daemon.run('cat', ['ipfs/moved/file'])).toBe('text\n');
  });
});
