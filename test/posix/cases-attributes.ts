/** Laws of attributes, permissions and extended attributes. */
import { expect } from 'vitest';
import type { Time } from './filesystem.ts';
import { type Case, failure, O, touch } from './law.ts';

const later = (a: Time, b: Time) => a.s > b.s || (a.s === b.s && a.ns > b.ns);

export const attributeCases: readonly Case[] = [
  {
    title: 'chmod sets exactly the twelve bits, and moves ctime only',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      const before = await fs.stat(`${d}/a`);
      await fs.chmod(`${d}/a`, 0o6751);
      const after = await fs.stat(`${d}/a`);
      expect(after.mode).toBe(0o106751);
      expect(later(after.ctime, before.ctime)).toBe(true);
      expect(after.mtime).toEqual(before.mtime);
    },
  },
  {
    title: 'chown by root changes owner and group and clears set-id bits',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.chmod(`${d}/a`, 0o6755);
      await fs.chown(`${d}/a`, 1001, 1002);
      const { uid, gid, mode } = await fs.stat(`${d}/a`);
      expect([uid, gid, mode & 0o7777]).toEqual([1001, 1002, 0o755]);
    },
  },
  {
    title: 'chown by anybody else is EPERM',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.chown(`${d}/a`, 1001, 1001);
      await fs.as(1001, 1001);
      expect(await failure(fs.chown(`${d}/a`, 1002, 1001))).toBe('EPERM');
      await fs.as(0, 0);
    },
  },
  {
    title: 'times are kept to the second they were set to, before 1970 and after 2106 too',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.utimes(`${d}/a`, -1000, 5_000_000_000);
      const { atime, mtime } = await fs.stat(`${d}/a`);
      expect([atime.s, mtime.s]).toEqual([-1000, 5_000_000_000]);
    },
  },
  {
    title: 'a write moves mtime and ctime, making and removing names those of the directory',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x');
      await fs.utimes(`${d}/a`, 1, 1);
      await fs.utimes(d, 1, 1);
      const fd = await fs.open(`${d}/a`, O.WRONLY);
      await fs.write(fd, 'y', 0);
      await fs.close(fd);
      expect((await fs.stat(`${d}/a`)).mtime.s).toBeGreaterThan(1);
      expect((await fs.stat(d)).mtime.s).toBe(1);
      await fs.unlink(`${d}/a`);
      expect((await fs.stat(d)).mtime.s).toBeGreaterThan(1);
    },
  },
  {
    title: 'who may not search a directory sees nothing in it',
    async run(fs, d) {
      await fs.mkdir(`${d}/p`, 0o700);
      await touch(fs, `${d}/p/a`);
      await fs.as(1001, 1001);
      expect(await failure(fs.stat(`${d}/p/a`))).toBe('EACCES');
      expect(await failure(fs.readdir(`${d}/p`))).toBe('EACCES');
      await fs.as(0, 0);
    },
  },
  {
    title: 'mode bits decide reading and writing: owner, group, others',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x', 0o640);
      await fs.chown(`${d}/a`, 1001, 1002);
      await fs.chmod(`${d}/a`, 0o640);
      const tries = async (uid: number, gid: number, flags: number) => {
        await fs.as(uid, gid);
        const code = await failure(
          fs.open(`${d}/a`, flags).then(async (fd) => {
            await fs.close(fd);
          }),
        );
        await fs.as(0, 0);
        return code;
      };
      expect(await tries(1001, 1001, O.RDWR)).toBe('none');
      expect(await tries(1003, 1002, O.RDONLY)).toBe('none');
      expect(await tries(1003, 1002, O.WRONLY)).toBe('EACCES');
      expect(await tries(1003, 1003, O.RDONLY)).toBe('EACCES');
    },
  },
  {
    title: 'in a sticky directory only owners remove and rename',
    async run(fs, d) {
      await fs.mkdir(`${d}/t`, 0o777);
      await fs.chmod(`${d}/t`, 0o1777);
      await touch(fs, `${d}/t/a`);
      await fs.as(1001, 1001);
      expect(await failure(fs.unlink(`${d}/t/a`))).toBe('EPERM');
      expect(await failure(fs.rename(`${d}/t/a`, `${d}/t/b`))).toBe('EPERM');
      await touch(fs, `${d}/t/mine`);
      await fs.unlink(`${d}/t/mine`);
      await fs.as(0, 0);
    },
  },
  {
    title: 'a set-gid directory gives its group to what is made in it, and set-gid to directories',
    async run(fs, d) {
      await fs.mkdir(`${d}/g`, 0o755);
      await fs.chown(`${d}/g`, 0, 1005);
      await fs.chmod(`${d}/g`, 0o2755);
      await touch(fs, `${d}/g/f`);
      await fs.mkdir(`${d}/g/d`, 0o755);
      const [f, sub] = [await fs.stat(`${d}/g/f`), await fs.stat(`${d}/g/d`)];
      expect([f.gid, sub.gid, sub.mode & 0o2000]).toEqual([1005, 1005, 0o2000]);
    },
  },
  {
    title: 'extended attributes are set, replaced, listed and removed',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, 'user.one', 'v\0\xff', 0);
      expect(await fs.getxattr(`${d}/a`, 'user.one')).toBe('v\0\xff');
      expect(await failure(fs.setxattr(`${d}/a`, 'user.one', 'x', 1))).toBe('EEXIST');
      expect(await failure(fs.setxattr(`${d}/a`, 'user.two', 'x', 2))).toBe('ENODATA');
      expect(await fs.listxattr(`${d}/a`)).toEqual(['user.one']);
      await fs.removexattr(`${d}/a`, 'user.one');
      expect(await failure(fs.getxattr(`${d}/a`, 'user.one'))).toBe('ENODATA');
    },
  },
  {
    title: 'an attribute may be empty, is listed once, and only known namespaces are taken',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, 'user.b', '', 0);
      await fs.setxattr(`${d}/a`, 'user.a', 'x', 0);
      await fs.setxattr(`${d}/a`, 'user.a', 'y', 2);
      expect(await fs.getxattr(`${d}/a`, 'user.b')).toBe('');
      expect((await fs.listxattr(`${d}/a`)).sort()).toEqual(['user.a', 'user.b']);
      expect(await failure(fs.setxattr(`${d}/a`, 'other.a', 'x', 0))).toBe('EOPNOTSUPP');
      expect(await failure(fs.removexattr(`${d}/a`, 'user.none'))).toBe('ENODATA');
    },
  },
  {
    title: 'attributes belong to the file: all names show them, the last takes them along',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, 'user.one', '1', 0);
      await fs.link(`${d}/a`, `${d}/b`);
      await fs.rename(`${d}/b`, `${d}/c`);
      expect(await fs.getxattr(`${d}/c`, 'user.one')).toBe('1');
      await fs.unlink(`${d}/a`);
      await fs.unlink(`${d}/c`);
      await touch(fs, `${d}/a`);
      expect(await fs.listxattr(`${d}/a`)).toEqual([]);
    },
  },
  {
    title: 'a write by who is not root takes set-id bits away',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.chmod(`${d}/a`, 0o6777);
      await fs.as(1001, 1001);
      const fd = await fs.open(`${d}/a`, O.WRONLY);
      await fs.write(fd, 'x', 0);
      await fs.close(fd);
      await fs.as(0, 0);
      expect((await fs.stat(`${d}/a`)).mode & 0o6000).toBe(0);
    },
  },
  {
    title: 'truncation by who is not root takes set-id bits away, by root it does not',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'text');
      await fs.chmod(`${d}/a`, 0o6777);
      await fs.truncate(`${d}/a`, 3);
      expect((await fs.stat(`${d}/a`)).mode & 0o6000).toBe(0o6000);
      await fs.as(1001, 1001);
      await fs.truncate(`${d}/a`, 2);
      await fs.as(0, 0);
      expect((await fs.stat(`${d}/a`)).mode & 0o6000).toBe(0);
    },
  },
  {
    title: 'statfs gives numbers that fit together',
    async run(fs, d) {
      const space = await fs.statfs(d);
      expect(space.blockSize).toBeGreaterThanOrEqual(512);
      expect(space.blocks).toBeGreaterThan(0);
      expect(space.blocksFree).toBeLessThanOrEqual(space.blocks);
      expect(space.blocksAvailable).toBeGreaterThan(0);
      expect(space.blocksAvailable).toBeLessThanOrEqual(space.blocksFree);
      expect(space.filesFree).toBeGreaterThan(0);
      expect(space.filesFree).toBeLessThanOrEqual(space.files);
    },
  },
];
