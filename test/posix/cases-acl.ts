/** Laws of POSIX access control lists: acl(5), setfacl(1), umask(2). */
import { expect } from 'vitest';
import type { PosixFilesystem } from './filesystem.ts';
import { type Case, failure, O, touch } from './law.ts';

const [OWNER, USER, FRIEND, STRANGER] = [1001, 1002, 1003, 1004];
const GROUP = 1005;
const ACCESS = 'system.posix_acl_access';
const DEFAULT = 'system.posix_acl_default';
const NO_ID = 0xffff_ffff;

/** linux/posix_acl_xattr.h. */
const TAGS = { owner: 1, user: 2, groupOwner: 4, group: 8, mask: 16, other: 32 } as const;
type Entry = readonly [tag: keyof typeof TAGS, bits: number, id?: number];

function listOf(...entries: readonly Entry[]): string {
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2, 0);
  for (const [index, [tag, bits, id = NO_ID]] of entries.entries()) {
    bytes.writeUInt16LE(TAGS[tag], 4 + 8 * index);
    bytes.writeUInt16LE(bits, 6 + 8 * index);
    bytes.writeUInt32LE(id, 8 + 8 * index);
  }
  return bytes.toString('latin1');
}

/** A list that lets USER read and write, GROUP read, and others nothing, within `mask`. */
const named = (mask: number): string =>
  listOf(
    ['owner', 6],
    ['user', 6, USER],
    ['groupOwner', 4],
    ['group', 4, GROUP],
    ['mask', mask],
    ['other', 0],
  );

/** Which of reading and writing somebody may: `rw`, `r`, `w` or `-`. */
async function rights(
  fs: PosixFilesystem,
  path: string,
  uid: number,
  groups: readonly number[] = [],
): Promise<string> {
  await fs.as(uid, uid, groups);
  const may = async (flags: number, word: string) => {
    const code = await failure(fs.open(path, flags).then((fd) => fs.close(fd)));
    return code === 'none' ? word : '';
  };
  const found = `${await may(O.RDONLY, 'r')}${await may(O.WRONLY, 'w')}`;
  await fs.as(0, 0);
  return found === '' ? '-' : found;
}

async function ownFile(fs: PosixFilesystem, path: string): Promise<void> {
  await touch(fs, path, 'text');
  await fs.chown(path, OWNER, OWNER);
}

export const aclCases: readonly Case[] = [
  {
    title: 'an ACL gives named users and groups what it says, within its mask',
    async run(fs, d) {
      await ownFile(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, ACCESS, named(6), 0);
      const all = async () => [
        await rights(fs, `${d}/a`, OWNER),
        await rights(fs, `${d}/a`, USER),
        await rights(fs, `${d}/a`, FRIEND, [GROUP]),
        await rights(fs, `${d}/a`, STRANGER),
      ];
      expect(await all()).toEqual(['rw', 'rw', 'r', '-']);
      await fs.setxattr(`${d}/a`, ACCESS, named(4), 0);
      expect(await all()).toEqual(['rw', 'r', 'r', '-']);
    },
  },
  {
    title: 'a user whom an ACL names has that entry and no group’s, though it gives less',
    async run(fs, d) {
      await ownFile(fs, `${d}/a`);
      const none = listOf(
        ['owner', 6],
        ['user', 0, USER],
        ['groupOwner', 6],
        ['group', 6, GROUP],
        ['mask', 6],
        ['other', 6],
      );
      await fs.setxattr(`${d}/a`, ACCESS, none, 0);
      expect(await rights(fs, `${d}/a`, USER, [GROUP])).toBe('-');
      expect(await rights(fs, `${d}/a`, FRIEND, [GROUP])).toBe('rw');
    },
  },
  {
    title: 'the mode shows an ACL: its mask as the group’s bits, which chmod moves',
    async run(fs, d) {
      await ownFile(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, ACCESS, named(6), 0);
      expect((await fs.stat(`${d}/a`)).mode & 0o777).toBe(0o660);
      await fs.chmod(`${d}/a`, 0o640);
      expect(await fs.getxattr(`${d}/a`, ACCESS)).toBe(named(4));
      expect(await rights(fs, `${d}/a`, USER)).toBe('r');
      await fs.chmod(`${d}/a`, 0o660);
      expect(await rights(fs, `${d}/a`, USER)).toBe('rw');
    },
  },
  {
    title: 'an ACL that says what a mode can say sets the mode, and is none',
    async run(fs, d) {
      await ownFile(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, ACCESS, named(6), 0);
      expect(await fs.listxattr(`${d}/a`)).toEqual([ACCESS]);
      await fs.setxattr(`${d}/a`, ACCESS, listOf(['owner', 7], ['groupOwner', 5], ['other', 1]), 0);
      expect((await fs.stat(`${d}/a`)).mode & 0o777).toBe(0o751);
      expect(await fs.listxattr(`${d}/a`)).toEqual([]);
      expect(await failure(fs.getxattr(`${d}/a`, ACCESS))).toBe('ENODATA');
    },
  },
  {
    title: 'an ACL is taken away, also where there is none, and then the mode decides',
    async run(fs, d) {
      await ownFile(fs, `${d}/a`);
      await fs.setxattr(`${d}/a`, ACCESS, named(6), 0);
      await fs.removexattr(`${d}/a`, ACCESS);
      await fs.removexattr(`${d}/a`, ACCESS);
      expect(await rights(fs, `${d}/a`, USER)).toBe('-');
      expect(await fs.listxattr(`${d}/a`)).toEqual([]);
      await fs.removexattr(d, DEFAULT);
    },
  },
  {
    title: 'a default ACL is what new files get, bounded by their mode, and directories hand on',
    async run(fs, d) {
      await fs.mkdir(`${d}/e`, 0o777);
      await fs.chmod(`${d}/e`, 0o777);
      await fs.setxattr(`${d}/e`, DEFAULT, named(6), 0);
      await touch(fs, `${d}/e/f`, 'x', 0o666);
      await touch(fs, `${d}/e/g`, 'x', 0o640);
      await fs.mkdir(`${d}/e/s`, 0o777);
      await touch(fs, `${d}/e/s/f`, 'x', 0o666);
      expect(await fs.getxattr(`${d}/e/f`, ACCESS)).toBe(named(6));
      expect(await fs.getxattr(`${d}/e/g`, ACCESS)).toBe(named(4));
      expect((await fs.stat(`${d}/e/g`)).mode & 0o777).toBe(0o640);
      expect(await fs.getxattr(`${d}/e/s`, DEFAULT)).toBe(named(6));
      expect(await rights(fs, `${d}/e/f`, USER)).toBe('rw');
      expect(await rights(fs, `${d}/e/g`, USER)).toBe('r');
      expect(await fs.getxattr(`${d}/e/s/f`, ACCESS)).toBe(named(6));
      await fs.symlink('f', `${d}/e/l`);
      expect((await fs.lstat(`${d}/e/l`)).mode & 0o777).toBe(0o777);
    },
  },
  {
    title: 'a default ACL decides nothing about its own directory',
    async run(fs, d) {
      await fs.mkdir(`${d}/e`, 0o700);
      await fs.setxattr(`${d}/e`, DEFAULT, named(7), 0);
      expect((await fs.stat(`${d}/e`)).mode & 0o777).toBe(0o700);
      await fs.as(USER, USER);
      expect(await failure(fs.readdir(`${d}/e`))).toBe('EACCES');
      await fs.as(0, 0);
    },
  },
  {
    title: 'only the owner and root set ACLs, default ones on directories only',
    async run(fs, d) {
      await ownFile(fs, `${d}/a`);
      await fs.as(STRANGER, STRANGER);
      expect(await failure(fs.setxattr(`${d}/a`, ACCESS, named(6), 0))).toBe('EPERM');
      await fs.as(OWNER, OWNER);
      await fs.setxattr(`${d}/a`, ACCESS, named(6), 0);
      expect(await failure(fs.setxattr(`${d}/a`, DEFAULT, named(6), 0))).toBe('EACCES');
      await fs.as(0, 0);
    },
  },
  {
    title: 'what is no ACL is EINVAL',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      const wrong = [
        listOf(['owner', 6], ['groupOwner', 4]),
        listOf(['owner', 6], ['user', 4, USER], ['groupOwner', 4], ['other', 0]),
        listOf(['owner', 8], ['groupOwner', 4], ['other', 0]),
      ];
      for (const value of wrong) {
        expect(await failure(fs.setxattr(`${d}/a`, ACCESS, value, 0))).toBe('EINVAL');
      }
    },
  },
];
