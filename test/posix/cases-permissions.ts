/** Laws of who may do what: path_resolution(7), inode(7), chmod(2), chown(2), xattr(7), acl(5). */
import { expect } from 'vitest';
import type { Filesystem } from './filesystem.ts';
import { type Case, failure, O, touch } from './law.ts';

const USER = 1001;
const KEEP = 0xffff_ffff;

/** Makes a file or directory of `USER`'s. */
async function give(fs: Filesystem, path: string, mode: number): Promise<void> {
  await fs.chown(path, USER, USER);
  await fs.chmod(path, mode);
}

/** How opening as somebody ends; back to root after it. */
async function opening(
  fs: Filesystem,
  path: string,
  who: { uid: number; gid: number; groups?: readonly number[] },
  flags: number,
): Promise<string> {
  await fs.as(who.uid, who.gid, who.groups);
  const code = await failure(fs.open(path, flags).then((fd) => fs.close(fd)));
  await fs.as(0, 0);
  return code;
}

export const permissionCases: readonly Case[] = [
  {
    title: 'a member of the file’s group by a supplementary group has the group’s rights',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x');
      await fs.chown(`${d}/a`, USER, 1005);
      await fs.chmod(`${d}/a`, 0o640);
      const member = { uid: 1002, gid: 1002, groups: [1004, 1005] };
      expect(await opening(fs, `${d}/a`, member, O.RDONLY)).toBe('none');
      expect(await opening(fs, `${d}/a`, member, O.RDWR)).toBe('EACCES');
      const stranger = { uid: 1002, gid: 1002, groups: [1004] };
      expect(await opening(fs, `${d}/a`, stranger, O.RDONLY)).toBe('EACCES');
    },
  },
  {
    title: 'the first class that fits decides: an owner without rights has none by group or others',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await give(fs, `${d}/a`, 0o077);
      expect(await opening(fs, `${d}/a`, { uid: USER, gid: USER }, O.RDONLY)).toBe('EACCES');
      await fs.chmod(`${d}/a`, 0o707);
      const member = { uid: 1002, gid: USER };
      expect(await opening(fs, `${d}/a`, member, O.RDONLY)).toBe('EACCES');
      expect(await opening(fs, `${d}/a`, { uid: 1002, gid: 1002 }, O.RDWR)).toBe('none');
    },
  },
  {
    title: 'who may not write a directory makes, removes and renames nothing in it',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.mkdir(`${d}/e`, 0o755);
      await fs.as(USER, USER);
      expect(await failure(touch(fs, `${d}/b`))).toBe('EACCES');
      expect(await failure(fs.mkdir(`${d}/b`, 0o755))).toBe('EACCES');
      expect(await failure(fs.symlink('x', `${d}/b`))).toBe('EACCES');
      expect(await failure(fs.mknod(`${d}/b`, 0o010644, 0, 0))).toBe('EACCES');
      expect(await failure(fs.unlink(`${d}/a`))).toBe('EACCES');
      expect(await failure(fs.rmdir(`${d}/e`))).toBe('EACCES');
      expect(await failure(fs.rename(`${d}/a`, `${d}/b`))).toBe('EACCES');
      await fs.as(0, 0);
      expect((await fs.readdir(d)).sort()).toEqual(['a', 'e']);
    },
  },
  {
    title: 'a directory that cannot be written keeps its parent, whoever owns the parents',
    async run(fs, d) {
      for (const name of ['a', 'b']) {
        await fs.mkdir(`${d}/${name}`, 0o755);
        await give(fs, `${d}/${name}`, 0o755);
      }
      await fs.mkdir(`${d}/a/x`, 0o555);
      await fs.as(USER, USER);
      expect(await failure(fs.rename(`${d}/a/x`, `${d}/b/x`))).toBe('EACCES');
      await fs.rename(`${d}/a/x`, `${d}/a/y`);
      await fs.as(0, 0);
      expect(await fs.readdir(`${d}/a`)).toEqual(['y']);
    },
  },
  {
    title: 'chmod and times by anybody but owner and root are EPERM',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await give(fs, `${d}/a`, 0o666);
      await fs.as(1002, 1002);
      expect(await failure(fs.chmod(`${d}/a`, 0o777))).toBe('EPERM');
      expect(await failure(fs.utimes(`${d}/a`, 1, 1))).toBe('EPERM');
      await fs.as(USER, USER);
      await fs.chmod(`${d}/a`, 0o600);
      await fs.utimes(`${d}/a`, 1, 2);
      await fs.as(0, 0);
      const { mode, mtime } = await fs.stat(`${d}/a`);
      expect([mode & 0o7777, mtime.s]).toEqual([0o600, 2]);
    },
  },
  {
    title: 'an owner gives a file to groups of his own only, and set-id bits go',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await give(fs, `${d}/a`, 0o6755);
      await fs.as(USER, USER, [1005]);
      expect(await failure(fs.chown(`${d}/a`, KEEP, 1006))).toBe('EPERM');
      expect(await failure(fs.chown(`${d}/a`, 1002, KEEP))).toBe('EPERM');
      await fs.chown(`${d}/a`, KEEP, 1005);
      await fs.as(0, 0);
      const { uid, gid, mode } = await fs.stat(`${d}/a`);
      expect([uid, gid, mode & 0o7777]).toEqual([USER, 1005, 0o755]);
    },
  },
  {
    title: 'set-gid is not given to a file of a group its owner is not in',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.chown(`${d}/a`, USER, 1005);
      await fs.as(USER, USER);
      await fs.chmod(`${d}/a`, 0o2755);
      await fs.as(0, 0);
      expect((await fs.stat(`${d}/a`)).mode & 0o7777).toBe(0o755);
    },
  },
  {
    title: 'emptying needs the right to write, also with O_TRUNC on a handle for reading',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'kept');
      await fs.as(USER, USER);
      expect(await failure(fs.truncate(`${d}/a`, 0))).toBe('EACCES');
      expect(await failure(fs.open(`${d}/a`, O.RDONLY | O.TRUNC))).toBe('EACCES');
      await fs.as(0, 0);
      expect((await fs.stat(`${d}/a`)).size).toBe(4);
    },
  },
  {
    title: 'in a sticky directory nobody renames over what is another’s',
    async run(fs, d) {
      await fs.mkdir(`${d}/t`, 0o777);
      await fs.chmod(`${d}/t`, 0o1777);
      await touch(fs, `${d}/t/root`, '', 0o666);
      await fs.as(USER, USER);
      await touch(fs, `${d}/t/mine`);
      expect(await failure(fs.rename(`${d}/t/mine`, `${d}/t/root`))).toBe('EPERM');
      expect(await failure(fs.rename(`${d}/t/mine`, `${d}/t/root`, 2))).toBe('EPERM');
      await fs.rename(`${d}/t/mine`, `${d}/t/other`);
      await fs.as(0, 0);
      expect((await fs.readdir(`${d}/t`)).sort()).toEqual(['other', 'root']);
    },
  },
  {
    title: 'only root makes devices, everybody makes fifos',
    async run(fs, d) {
      await fs.chmod(d, 0o777);
      await fs.as(USER, USER);
      expect(await failure(fs.mknod(`${d}/c`, 0o020666, 1, 3))).toBe('EPERM');
      expect(await failure(fs.mknod(`${d}/b`, 0o060666, 1, 3))).toBe('EPERM');
      await fs.mknod(`${d}/p`, 0o010666, 0, 0);
      await fs.as(0, 0);
      const { uid, mode } = await fs.lstat(`${d}/p`);
      expect([uid, mode]).toEqual([USER, 0o010666]);
    },
  },
  {
    title: 'user attributes follow the mode bits, trusted ones are root’s and hidden from others',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, 'user.one', '1', 0);
      await fs.setxattr(`${d}/a`, 'trusted.two', '2', 0);
      await fs.as(USER, USER);
      expect(await fs.getxattr(`${d}/a`, 'user.one')).toBe('1');
      expect(await failure(fs.setxattr(`${d}/a`, 'user.one', 'x', 0))).toBe('EACCES');
      expect(await failure(fs.removexattr(`${d}/a`, 'user.one'))).toBe('EACCES');
      expect(await failure(fs.getxattr(`${d}/a`, 'trusted.two'))).toBe('ENODATA');
      expect(await failure(fs.setxattr(`${d}/a`, 'trusted.two', 'x', 0))).toBe('EPERM');
      expect(await fs.listxattr(`${d}/a`)).toEqual(['user.one']);
      await fs.as(0, 0);
      await fs.chmod(`${d}/a`, 0o600);
      await fs.as(USER, USER);
      expect(await failure(fs.getxattr(`${d}/a`, 'user.one'))).toBe('EACCES');
      await fs.as(0, 0);
      expect((await fs.listxattr(`${d}/a`)).sort()).toEqual(['trusted.two', 'user.one']);
    },
  },
  {
    title: 'fifos carry no user attributes, sticky directories only their owner’s',
    async run(fs, d) {
      await fs.mknod(`${d}/p`, 0o010666, 0, 0);
      expect(await failure(fs.setxattr(`${d}/p`, 'user.one', '1', 0))).toBe('EPERM');
      expect(await failure(fs.getxattr(`${d}/p`, 'user.one'))).toBe('ENODATA');
      await fs.mkdir(`${d}/t`, 0o777);
      await fs.chmod(`${d}/t`, 0o1777);
      await fs.as(USER, USER);
      expect(await failure(fs.setxattr(`${d}/t`, 'user.one', '1', 0))).toBe('EPERM');
      await fs.as(0, 0);
      await fs.setxattr(`${d}/t`, 'user.one', '1', 0);
    },
  },
];
