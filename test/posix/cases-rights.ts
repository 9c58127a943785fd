/** Laws of access(2), of set-id bits and capabilities, and of what extended attributes may hold. */
import { expect } from 'vitest';
import { type Case, contents, failure, O, touch } from './law.ts';

const USER = 1001;

/** linux/capability.h, VFS_CAP_REVISION_2: cap_net_raw, permitted and effective. */
const CAPABILITY = `\x01\0\0\x02\0\x20${'\0'.repeat(14)}`;

export const rightCases: readonly Case[] = [
  {
    title: 'access tells what open would: the first class that fits decides',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.chown(`${d}/a`, USER, USER);
      await fs.chmod(`${d}/a`, 0o516);
      const masks = async (uid: number, gid: number) => {
        await fs.as(uid, gid);
        const codes = await Promise.all([4, 2, 1, 0].map((m) => failure(fs.access(`${d}/a`, m))));
        await fs.as(0, 0);
        return codes.map((code) => (code === 'none' ? 'y' : code));
      };
      const [yes, no] = ['y', 'EACCES'];
      expect(await masks(USER, USER)).toEqual([yes, no, yes, yes]);
      expect(await masks(1002, USER)).toEqual([no, no, yes, yes]);
      expect(await masks(1002, 1002)).toEqual([yes, yes, no, yes]);
    },
  },
  {
    title: 'access lets root read and write anything, and execute what anybody may',
    async run(fs, d) {
      await touch(fs, `${d}/a`, '', 0);
      await fs.access(`${d}/a`, 6);
      expect(await failure(fs.access(`${d}/a`, 1))).toBe('EACCES');
      await fs.chmod(`${d}/a`, 0o010);
      await fs.access(`${d}/a`, 7);
      await fs.mkdir(`${d}/e`, 0);
      await fs.access(`${d}/e`, 7);
    },
  },
  {
    title: 'access of nothing is ENOENT, behind a directory that cannot be searched EACCES',
    async run(fs, d) {
      expect(await failure(fs.access(`${d}/none`, 0))).toBe('ENOENT');
      await fs.mkdir(`${d}/p`, 0o600);
      await touch(fs, `${d}/p/a`);
      await fs.as(USER, USER);
      expect(await failure(fs.access(`${d}/p/a`, 0))).toBe('EACCES');
      expect(await failure(fs.access(`${d}/p/none`, 0))).toBe('EACCES');
      await fs.as(0, 0);
    },
  },
  {
    title: 'another user than who mounted works in a directory of its own (allow_other)',
    async run(fs, d) {
      await fs.mkdir(`${d}/home`, 0o700);
      await fs.chown(`${d}/home`, USER, USER);
      await fs.as(USER, USER);
      await fs.mkdir(`${d}/home/e`, 0o755);
      await touch(fs, `${d}/home/e/a`, 'mine', 0o600);
      await fs.rename(`${d}/home/e/a`, `${d}/home/b`);
      expect(await contents(fs, `${d}/home/b`)).toBe('mine');
      const { uid, gid, mode } = await fs.stat(`${d}/home/b`);
      expect([uid, gid, mode]).toEqual([USER, USER, 0o100600]);
      await fs.as(0, 0);
    },
  },
  {
    title: 'fallocate and copy_file_range by who is not root take set-id bits away',
    async run(fs, d) {
      await touch(fs, `${d}/s`, 'source', 0o644);
      const changes = [
        (fd: number) => fs.fallocate(fd, 0, 0, 100),
        async (fd: number) => {
          const from = await fs.open(`${d}/s`, O.RDONLY);
          await fs.copyRange(from, 0, fd, 0, 6);
          await fs.close(from);
        },
      ];
      for (const change of changes) {
        await touch(fs, `${d}/a`);
        await fs.chmod(`${d}/a`, 0o6777);
        await fs.as(USER, USER);
        const fd = await fs.open(`${d}/a`, O.RDWR);
        await change(fd);
        await fs.close(fd);
        await fs.as(0, 0);
        expect((await fs.stat(`${d}/a`)).mode & 0o6000).toBe(0);
      }
    },
  },
  {
    title: 'a write by root leaves set-id bits',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.chmod(`${d}/a`, 0o6777);
      const fd = await fs.open(`${d}/a`, O.WRONLY);
      await fs.write(fd, 'x', 0);
      await fs.close(fd);
      expect((await fs.stat(`${d}/a`)).mode & 0o6000).toBe(0o6000);
    },
  },
  {
    title: 'chown to nobody else takes set-id bits away too, and of a directory none',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.chmod(`${d}/a`, 0o6755);
      await fs.chown(`${d}/a`, 0, 0);
      expect((await fs.stat(`${d}/a`)).mode & 0o6000).toBe(0);
      await fs.chmod(`${d}/a`, 0o6745);
      await fs.chown(`${d}/a`, 0, 1005);
      expect((await fs.stat(`${d}/a`)).mode & 0o6000).toBe(0o2000);
      await fs.mkdir(`${d}/e`, 0o755);
      await fs.chmod(`${d}/e`, 0o6755);
      await fs.chown(`${d}/e`, 1, 1);
      expect((await fs.stat(`${d}/e`)).mode & 0o6000).toBe(0o6000);
    },
  },
  {
    title: 'a write, a truncation and a chown take capabilities away, by root too',
    async run(fs, d) {
      const a = `${d}/a`;
      await touch(fs, a, 'text');
      const write = async () => {
        const fd = await fs.open(a, O.WRONLY);
        await fs.write(fd, 'x', 0);
        await fs.close(fd);
      };
      for (const change of [write, () => fs.truncate(a, 2), () => fs.chown(a, USER, USER)]) {
        await fs.setxattr(a, 'security.capability', CAPABILITY, 0);
        expect(await fs.getxattr(a, 'security.capability')).toBe(CAPABILITY);
        await change();
        expect(await failure(fs.getxattr(a, 'security.capability'))).toBe('ENODATA');
        expect(await fs.listxattr(a)).toEqual([]);
      }
    },
  },
  {
    title: 'fallocate and copy_file_range take capabilities away',
    async run(fs, d) {
      const a = `${d}/a`;
      await touch(fs, a, 'text');
      const fd = await fs.open(a, O.RDWR);
      for (const change of [
        () => fs.fallocate(fd, 0, 0, 100),
        () => fs.copyRange(fd, 0, fd, 50, 4),
      ]) {
        await fs.setxattr(a, 'security.capability', CAPABILITY, 0);
        await change();
        expect(await failure(fs.getxattr(a, 'security.capability'))).toBe('ENODATA');
      }
      await fs.close(fd);
    },
  },
  {
    title: 'security attributes are root’s to set and anybody’s to read',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, 'security.kitfs', 'label', 0);
      await fs.as(USER, USER);
      expect(await fs.getxattr(`${d}/a`, 'security.kitfs')).toBe('label');
      expect(await failure(fs.setxattr(`${d}/a`, 'security.kitfs', 'x', 0))).toBe('EPERM');
      expect(await failure(fs.removexattr(`${d}/a`, 'security.kitfs'))).toBe('EPERM');
      await fs.as(0, 0);
      await fs.removexattr(`${d}/a`, 'security.kitfs');
    },
  },
  {
    title: 'trusted attributes are set, replaced and removed by root, on fifos and links too',
    async run(fs, d) {
      await fs.mknod(`${d}/p`, 0o010644, 0, 0);
      await fs.setxattr(`${d}/p`, 'trusted.one', '1', 1);
      expect(await failure(fs.setxattr(`${d}/p`, 'trusted.one', '2', 1))).toBe('EEXIST');
      await fs.setxattr(`${d}/p`, 'trusted.one', '3', 2);
      expect(await fs.getxattr(`${d}/p`, 'trusted.one')).toBe('3');
      await fs.removexattr(`${d}/p`, 'trusted.one');
      expect(await failure(fs.setxattr(`${d}/p`, 'trusted.one', '4', 2))).toBe('ENODATA');
    },
  },
  {
    title: 'the name of an attribute has at most 255 bytes, and more than its namespace',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      const longest = `user.${'n'.repeat(250)}`;
      await fs.setxattr(`${d}/a`, longest, 'v', 0);
      expect(await fs.listxattr(`${d}/a`)).toEqual([longest]);
      expect(await failure(fs.setxattr(`${d}/a`, `${longest}n`, 'v', 0))).toBe('ERANGE');
      expect(await failure(fs.getxattr(`${d}/a`, `${longest}n`))).toBe('ERANGE');
      const bare = await failure(fs.setxattr(`${d}/a`, 'user.', 'v', 0));
      expect(['EINVAL', 'EOPNOTSUPP']).toContain(bare);
    },
  },
  {
    title: 'a value of 64 KiB is kept or there is no room for it, a larger one is E2BIG',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      const large = 'v'.repeat(65_536);
      const code = await failure(fs.setxattr(`${d}/a`, 'user.large', large, 0));
      expect(['none', 'ENOSPC']).toContain(code);
      if (code === 'none') expect(await fs.getxattr(`${d}/a`, 'user.large')).toBe(large);
      expect(await failure(fs.setxattr(`${d}/a`, 'user.more', `${large}v`, 0))).toBe('E2BIG');
    },
  },
  {
    title: 'a file without an ACL has none to show and none to list',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      for (const name of ['system.posix_acl_access', 'system.posix_acl_default']) {
        expect(await failure(fs.getxattr(`${d}/a`, name))).toBe('ENODATA');
      }
      expect(await fs.listxattr(`${d}/a`)).toEqual([]);
    },
  },
];
