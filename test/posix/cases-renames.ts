/** Laws of rename(2) and renameat2(2). */
import { expect } from 'vitest';
import { type Case, contents, failure, O, touch } from './law.ts';

export const renameCases: readonly Case[] = [
  {
    title: 'rename moves a name and nothing else',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x');
      const { ino } = await fs.stat(`${d}/a`);
      await fs.mkdir(`${d}/e`, 0o755);
      await fs.rename(`${d}/a`, `${d}/e/b`);
      expect((await fs.stat(`${d}/e/b`)).ino).toBe(ino);
      expect(await failure(fs.stat(`${d}/a`))).toBe('ENOENT');
    },
  },
  {
    title: 'rename over a file replaces it, over itself or its hard link does nothing',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'new');
      await touch(fs, `${d}/b`, 'old');
      await fs.rename(`${d}/a`, `${d}/b`);
      expect(await contents(fs, `${d}/b`)).toBe('new');
      await fs.link(`${d}/b`, `${d}/c`);
      await fs.rename(`${d}/b`, `${d}/c`);
      expect((await fs.readdir(d)).sort()).toEqual(['b', 'c']);
    },
  },
  {
    title: 'a directory replaces an empty directory only, and never a file',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o755);
      await fs.mkdir(`${d}/b`, 0o755);
      await touch(fs, `${d}/b/f`);
      await touch(fs, `${d}/f`);
      expect(await failure(fs.rename(`${d}/a`, `${d}/b`))).toBe('ENOTEMPTY');
      expect(await failure(fs.rename(`${d}/a`, `${d}/f`))).toBe('ENOTDIR');
      expect(await failure(fs.rename(`${d}/f`, `${d}/a`))).toBe('EISDIR');
      await fs.unlink(`${d}/b/f`);
      await fs.rename(`${d}/a`, `${d}/b`);
      expect((await fs.stat(d)).nlink).toBe(3);
    },
  },
  {
    title: 'a directory cannot be moved into itself',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o755);
      await fs.mkdir(`${d}/a/b`, 0o755);
      expect(await failure(fs.rename(`${d}/a`, `${d}/a/b/c`))).toBe('EINVAL');
    },
  },
  {
    title: 'a directory moved between directories moves its link count',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o755);
      await fs.mkdir(`${d}/b`, 0o755);
      await fs.mkdir(`${d}/a/x`, 0o755);
      await fs.rename(`${d}/a/x`, `${d}/b/x`);
      expect([(await fs.stat(`${d}/a`)).nlink, (await fs.stat(`${d}/b`)).nlink]).toEqual([2, 3]);
      expect((await fs.stat(`${d}/b/x/..`)).ino).toBe((await fs.stat(`${d}/b`)).ino);
    },
  },
  {
    title: 'RENAME_NOREPLACE keeps what is there, RENAME_EXCHANGE swaps',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'A');
      await fs.mkdir(`${d}/b`, 0o755);
      expect(await failure(fs.rename(`${d}/a`, `${d}/b`, 1))).toBe('EEXIST');
      await fs.rename(`${d}/a`, `${d}/b`, 2);
      expect(await contents(fs, `${d}/b`)).toBe('A');
      expect((await fs.stat(`${d}/a`)).mode & 0o170000).toBe(0o040000);
      expect(await failure(fs.rename(`${d}/a`, `${d}/none`, 2))).toBe('ENOENT');
    },
  },
  {
    title: 'directories exchanged between directories take links and `..` along',
    async run(fs, d) {
      for (const name of ['a', 'b', 'a/x', 'a/x/y']) await fs.mkdir(`${d}/${name}`, 0o755);
      await touch(fs, `${d}/b/f`);
      await fs.rename(`${d}/a/x`, `${d}/b/f`, 2);
      expect([(await fs.stat(`${d}/a`)).nlink, (await fs.stat(`${d}/b`)).nlink]).toEqual([2, 3]);
      expect((await fs.stat(`${d}/b/f/..`)).ino).toBe((await fs.stat(`${d}/b`)).ino);
      expect(await fs.readdir(`${d}/b/f`)).toEqual(['y']);
      expect(await failure(fs.rename(`${d}/b`, `${d}/b/f/y`, 2))).toBe('EINVAL');
      expect(await failure(fs.rename(`${d}/b/f/y`, `${d}/b`, 2))).toBe('EINVAL');
      expect(await failure(fs.rename(`${d}/a`, `${d}/b`, 3))).toBe('EINVAL');
    },
  },
  {
    title: 'rename of nothing is ENOENT, over a directory above it ENOTEMPTY',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o755);
      await fs.mkdir(`${d}/a/b`, 0o755);
      expect(await failure(fs.rename(`${d}/none`, `${d}/a`))).toBe('ENOENT');
      expect(await failure(fs.rename(`${d}/a`, `${d}/none/x`))).toBe('ENOENT');
      await touch(fs, `${d}/a/f`);
      expect(await failure(fs.rename(`${d}/a/b`, `${d}/a`))).toBe('ENOTEMPTY');
      expect(await failure(fs.rename(`${d}/a/f`, `${d}/a`))).toBe('ENOTEMPTY');
    },
  },
  {
    title: 'rename moves the times of both directories and the ctime of what moved',
    async run(fs, d) {
      for (const name of ['a', 'b']) await fs.mkdir(`${d}/${name}`, 0o755);
      await touch(fs, `${d}/a/f`);
      for (const name of ['a', 'b', 'a/f']) await fs.utimes(`${d}/${name}`, 1, 1);
      const { ctime } = await fs.stat(`${d}/a/f`);
      await fs.rename(`${d}/a/f`, `${d}/b/f`);
      expect((await fs.stat(`${d}/a`)).mtime.s).toBeGreaterThan(1);
      expect((await fs.stat(`${d}/b`)).mtime.s).toBeGreaterThan(1);
      const moved = await fs.stat(`${d}/b/f`);
      expect(moved.mtime.s).toBe(1);
      expect(moved.ctime).not.toEqual(ctime);
    },
  },
  {
    title: 'a file renamed over while it is open is read to its end by who has it open',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'new');
      await touch(fs, `${d}/b`, 'old');
      const fd = await fs.open(`${d}/b`, O.RDONLY);
      await fs.rename(`${d}/a`, `${d}/b`);
      expect(await fs.read(fd, 10, 0)).toBe('old');
      expect((await fs.fstat(fd)).nlink).toBe(0);
      await fs.close(fd);
    },
  },
];
