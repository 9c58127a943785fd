/** Laws of the room files take, of open files whose names change, and of large directories. */
import { expect } from 'vitest';
import { type Case, contents, failure, O, touch } from './law.ts';

const MIB = 1024 * 1024;
const SECTOR = 512;

export const spaceCases: readonly Case[] = [
  {
    title: 'du counts what was written of a sparse file, not its holes (st_blocks)',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'x'.repeat(65_536), 8 * MIB);
      await fs.fsync(fd);
      expect((await fs.fstat(fd)).size).toBe(8 * MIB + 65_536);
      const { blocks } = await fs.statx(`${d}/a`);
      expect(blocks * SECTOR).toBeGreaterThanOrEqual(65_536);
      expect(blocks * SECTOR).toBeLessThan(MIB);
      await fs.fallocate(fd, 3, 8 * MIB, 65_536);
      await fs.fsync(fd);
      expect((await fs.statx(`${d}/a`)).blocks * SECTOR).toBeLessThan(65_536);
      await fs.close(fd);
    },
  },
  {
    title: 'a file that is written in full takes its size, an empty one nothing (st_blocks)',
    async run(fs, d) {
      await touch(fs, `${d}/empty`);
      expect((await fs.statx(`${d}/empty`)).blocks).toBe(0);
      for (const size of [5000, 200_000]) {
        const fd = await fs.open(`${d}/a${size}`, O.CREAT | O.RDWR, 0o644);
        await fs.write(fd, 'x'.repeat(size), 0);
        await fs.fsync(fd);
        await fs.close(fd);
        const { blocks } = await fs.statx(`${d}/a${size}`);
        expect(blocks * SECTOR).toBeGreaterThanOrEqual(size);
        expect(blocks * SECTOR).toBeLessThan(size + 65_536);
      }
    },
  },
  {
    title: 'fallocate with keep size makes room behind the end that a read does not see',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'abc', 0);
      await fs.fallocate(fd, 1, 0, 100_000);
      expect([(await fs.fstat(fd)).size, await fs.read(fd, 100, 0)]).toEqual([3, 'abc']);
      await fs.fallocate(fd, 16 | 1, 0, 100_000);
      expect([(await fs.fstat(fd)).size, await fs.read(fd, 100, 0)]).toEqual([3, '\0\0\0']);
      await fs.truncate(`${d}/a`, 6);
      expect(await fs.read(fd, 100, 0)).toBe('\0'.repeat(6));
      await fs.close(fd);
    },
  },
  {
    title: 'a hole punched over the end leaves the size, and one behind it changes nothing',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x'.repeat(10_000));
      const fd = await fs.open(`${d}/a`, O.RDWR);
      await fs.fallocate(fd, 3, 8192, 100_000);
      expect((await fs.fstat(fd)).size).toBe(10_000);
      expect(await fs.read(fd, 3, 8191)).toBe('x\0\0');
      await fs.fallocate(fd, 3, 50_000, 4096);
      expect((await fs.fstat(fd)).size).toBe(10_000);
      await fs.close(fd);
    },
  },
  {
    title: 'an open file goes on under the name it was renamed to',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'one', 0);
      await fs.mkdir(`${d}/e`, 0o755);
      await fs.rename(`${d}/a`, `${d}/e/b`);
      await fs.write(fd, 'two', 3);
      expect(await contents(fs, `${d}/e/b`)).toBe('onetwo');
      await touch(fs, `${d}/a`, 'another');
      await fs.write(fd, 'three', 6);
      await fs.close(fd);
      expect(await contents(fs, `${d}/e/b`)).toBe('onetwothree');
      expect(await contents(fs, `${d}/a`)).toBe('another');
    },
  },
  {
    title: 'a file renamed over while it is written keeps what is written afterwards to itself',
    async run(fs, d) {
      await touch(fs, `${d}/new`, 'new');
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'old', 0);
      await fs.rename(`${d}/new`, `${d}/a`);
      await fs.write(fd, 'more', 3);
      expect(await fs.read(fd, 10, 0)).toBe('oldmore');
      await fs.close(fd);
      expect(await contents(fs, `${d}/a`)).toBe('new');
    },
  },
  {
    title: 'a name that is made anew while the old file is open is another inode',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      const { ino } = await fs.fstat(fd);
      await fs.unlink(`${d}/a`);
      await touch(fs, `${d}/a`, 'new');
      expect((await fs.stat(`${d}/a`)).ino).not.toBe(ino);
      expect(await fs.read(fd, 10, 0)).toBe('');
      await fs.close(fd);
    },
  },
  {
    title: 'copy_file_range within one file, and over its end, copies what is there',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'abcdef');
      const fd = await fs.open(`${d}/a`, O.RDWR);
      expect(await fs.copyRange(fd, 0, fd, 10, 3)).toBe(3);
      expect(await fs.copyRange(fd, 11, fd, 20, 100)).toBe(2);
      await fs.close(fd);
      expect(await contents(fs, `${d}/a`)).toBe('abcdef\0\0\0\0abc\0\0\0\0\0\0\0bc');
    },
  },
  {
    title: 'SEEK_DATA and SEEK_HOLE of a file that is all hole, and of an empty one',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      expect(await failure(fs.seek(fd, 0, 'hole'))).toBe('ENXIO');
      await fs.truncate(`${d}/a`, MIB);
      expect(await fs.seek(fd, 0, 'hole')).toBe(0);
      expect(await failure(fs.seek(fd, 0, 'data'))).toBe('ENXIO');
      await fs.close(fd);
    },
  },
];
