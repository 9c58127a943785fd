/** Laws of access times, as mount(8) has relatime. */
import { expect } from 'vitest';
import type { PosixFilesystem, Time } from './filesystem.ts';
import { type Case, contents, O, touch } from './law.ts';

const O_NOATIME = 0o1000000;
const LONG_AGO = { s: 1_000_000_000, ns: 1 };
const LONGER_AGO = { s: 900_000_000, ns: 2 };
/** Later than anything that happens here, and less than a day ahead. */
const SOON_S = 3600;

async function readOnce(fs: PosixFilesystem, path: string, flags = 0): Promise<void> {
  const fd = await fs.open(path, O.RDONLY | flags);
  await fs.read(fd, 100, 0);
  await fs.close(fd);
}

async function timesOf(fs: PosixFilesystem, path: string): Promise<Record<string, Time>> {
  const { atime, mtime, ctime } = await fs.stat(path);
  return { atime, mtime, ctime };
}

export const relatimeCases: readonly Case[] = [
  {
    title: 'relatime: the first read after a change moves atime, and no other time',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'text');
      await fs.utimens(`${d}/a`, LONGER_AGO, LONG_AGO);
      const before = await timesOf(fs, `${d}/a`);
      await readOnce(fs, `${d}/a`);
      const { atime, mtime, ctime } = await timesOf(fs, `${d}/a`);
      expect(atime?.s).toBeGreaterThan(LONG_AGO.s);
      expect([mtime, ctime]).toEqual([before['mtime'], before['ctime']]);
    },
  },
  {
    title: 'relatime: a read leaves an atime that is later than mtime and ctime',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'text');
      const { mtime } = await fs.stat(`${d}/a`);
      await fs.utimens(`${d}/a`, { s: mtime.s + SOON_S, ns: 3 }, 'omit');
      const before = await timesOf(fs, `${d}/a`);
      expect(await contents(fs, `${d}/a`)).toBe('text');
      expect(await timesOf(fs, `${d}/a`)).toEqual(before);
    },
  },
  {
    title: 'relatime: who reads a file that changed since it was read leaves no earlier atime',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'text');
      await readOnce(fs, `${d}/a`);
      const fd = await fs.open(`${d}/a`, O.WRONLY);
      await fs.write(fd, 'more', 4);
      await fs.close(fd);
      await readOnce(fs, `${d}/a`);
      const { atime, mtime } = await fs.stat(`${d}/a`);
      const isEarlier = atime.s < mtime.s || (atime.s === mtime.s && atime.ns < mtime.ns);
      expect(isEarlier).toBe(false);
    },
  },
  {
    title: 'relatime: listing a directory moves its atime as reading does a file’s',
    async run(fs, d) {
      await fs.mkdir(`${d}/e`, 0o755);
      await touch(fs, `${d}/e/a`);
      await fs.utimens(`${d}/e`, LONGER_AGO, LONG_AGO);
      await fs.readdir(`${d}/e`);
      const { atime, mtime } = await fs.stat(`${d}/e`);
      expect([atime.s > LONG_AGO.s, mtime]).toEqual([true, LONG_AGO]);
    },
  },
  {
    title: 'relatime: O_NOATIME, a write and a stat leave atime',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'text');
      await fs.utimens(`${d}/a`, LONGER_AGO, LONG_AGO);
      await readOnce(fs, `${d}/a`, O_NOATIME);
      const fd = await fs.open(`${d}/a`, O.WRONLY);
      await fs.write(fd, 'x', 0);
      await fs.close(fd);
      expect((await fs.stat(`${d}/a`)).atime).toEqual(LONGER_AGO);
    },
  },
];
