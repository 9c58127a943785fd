/** Laws of times: utimensat(2), statx(2), inode(7); and of what moves which of them. */
import { expect } from 'vitest';
import type { PosixFilesystem, Time } from './filesystem.ts';
import { type Case, contents, failure, O, touch } from './law.ts';

const USER = 1001;

/** Times of a path, so that what moved can be told by name. */
async function moved(
  fs: PosixFilesystem,
  path: string,
  change: () => Promise<unknown>,
): Promise<string[]> {
  const before = await fs.lstat(path);
  await change();
  const after = await fs.lstat(path);
  const differs = (a: Time, b: Time) => a.s !== b.s || a.ns !== b.ns;
  return (['atime', 'mtime', 'ctime'] as const).filter((name) =>
    differs(before[name], after[name]),
  );
}

export const timeCases: readonly Case[] = [
  {
    title: 'utimensat keeps nanoseconds, and leaves what is UTIME_OMIT',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.utimens(`${d}/a`, { s: 1, ns: 123_456_789 }, { s: -5, ns: 999_999_999 });
      await fs.utimens(`${d}/a`, 'omit', { s: 7, ns: 1 });
      const { atime, mtime } = await fs.stat(`${d}/a`);
      expect([atime, mtime]).toEqual([
        { s: 1, ns: 123_456_789 },
        { s: 7, ns: 1 },
      ]);
    },
  },
  {
    title: 'utimensat with UTIME_NOW takes the present, with UTIME_OMIT twice it changes nothing',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.utimens(`${d}/a`, { s: 1, ns: 1 }, { s: 1, ns: 1 });
      await fs.utimens(`${d}/a`, 'now', 'omit');
      const { atime, mtime, ctime } = await fs.stat(`${d}/a`);
      expect([atime, mtime.s]).toEqual([ctime, 1]);
      expect(await moved(fs, `${d}/a`, () => fs.utimens(`${d}/a`, 'omit', 'omit'))).toEqual([]);
    },
  },
  {
    title: 'utimensat of a symbolic link sets its own times, not those of its target',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await fs.symlink('a', `${d}/l`);
      await fs.utimens(`${d}/l`, { s: 3, ns: 4 }, { s: 5, ns: 6 });
      expect((await fs.lstat(`${d}/l`)).mtime).toEqual({ s: 5, ns: 6 });
      expect((await fs.stat(`${d}/a`)).mtime.s).toBeGreaterThan(5);
    },
  },
  {
    title: 'UTIME_NOW for both needs the right to write, any other times the owner',
    async run(fs, d) {
      await touch(fs, `${d}/a`, '', 0o666);
      await touch(fs, `${d}/b`, '', 0o644);
      await fs.as(USER, USER);
      await fs.utimens(`${d}/a`, 'now', 'now');
      expect(await failure(fs.utimens(`${d}/b`, 'now', 'now'))).toBe('EACCES');
      expect(await failure(fs.utimens(`${d}/a`, 'now', 'omit'))).toBe('EPERM');
      expect(await failure(fs.utimens(`${d}/a`, { s: 1, ns: 1 }, 'now'))).toBe('EPERM');
      await fs.as(0, 0);
    },
  },
  {
    title: 'what changes attributes or names of a file moves its ctime, and not its mtime',
    async run(fs, d) {
      const a = `${d}/a`;
      await touch(fs, a, 'x');
      expect(await moved(fs, a, () => fs.chmod(a, 0o600))).toEqual(['ctime']);
      expect(await moved(fs, a, () => fs.chown(a, 1, 1))).toEqual(['ctime']);
      expect(await moved(fs, a, () => fs.link(a, `${d}/b`))).toEqual(['ctime']);
      expect(await moved(fs, a, () => fs.unlink(`${d}/b`))).toEqual(['ctime']);
      expect(await moved(fs, a, () => fs.setxattr(a, 'user.a', '1', 0))).toEqual(['ctime']);
      expect(await moved(fs, a, () => fs.removexattr(a, 'user.a'))).toEqual(['ctime']);
    },
  },
  {
    title: 'what changes the bytes of a file moves its mtime and ctime',
    async run(fs, d) {
      const a = `${d}/a`;
      await touch(fs, a, 'x'.repeat(9000));
      const fd = await fs.open(a, O.RDWR);
      const both = ['mtime', 'ctime'];
      expect(await moved(fs, a, () => fs.write(fd, 'y', 0))).toEqual(both);
      expect(await moved(fs, a, () => fs.truncate(a, 8500))).toEqual(both);
      expect(await moved(fs, a, () => fs.fallocate(fd, 3, 0, 4096))).toEqual(both);
      expect(await moved(fs, a, () => fs.fallocate(fd, 16, 0, 4096))).toEqual(both);
      await touch(fs, `${d}/b`, 'source');
      const from = await fs.open(`${d}/b`, O.RDONLY);
      expect(await moved(fs, a, () => fs.copyRange(from, 0, fd, 0, 6))).toEqual(both);
      await fs.close(from);
      await fs.close(fd);
    },
  },
  {
    title: 'what makes or removes a name moves mtime and ctime of its directory, and no atime',
    async run(fs, d) {
      const changes = [
        () => touch(fs, `${d}/a`),
        () => fs.link(`${d}/a`, `${d}/b`),
        () => fs.symlink('a', `${d}/l`),
        () => fs.mkdir(`${d}/e`, 0o755),
        () => fs.rename(`${d}/b`, `${d}/c`),
        () => fs.rmdir(`${d}/e`),
        () => fs.unlink(`${d}/c`),
      ];
      for (const change of changes) {
        expect(await moved(fs, d, change)).toEqual(['mtime', 'ctime']);
      }
    },
  },
  {
    title: 'what fails moves no time',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      const attempts = [
        () => failure(fs.mkdir(`${d}/a`, 0o755)),
        () => failure(fs.unlink(`${d}/none`)),
        () => failure(fs.rename(`${d}/none`, `${d}/b`)),
        () => failure(fs.link(`${d}/a`, `${d}/a`)),
      ];
      for (const attempt of attempts) {
        expect(await moved(fs, d, attempt)).toEqual([]);
        expect(await moved(fs, `${d}/a`, attempt)).toEqual([]);
      }
    },
  },
  {
    title: 'statx tells when a file was born, which nothing moves afterwards (btime)',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x');
      const { ctime } = await fs.stat(`${d}/a`);
      const { btime } = await fs.statx(`${d}/a`);
      expect(btime.s).toBeLessThanOrEqual(ctime.s);
      expect(btime.s).toBeGreaterThan(ctime.s - 60);
      await fs.utimens(`${d}/a`, { s: 1, ns: 1 }, { s: 1, ns: 1 });
      await touch(fs, `${d}/a`, 'other');
      await fs.rename(`${d}/a`, `${d}/b`);
      expect((await fs.statx(`${d}/b`)).btime).toEqual(btime);
    },
  },
  {
    title: 'a new file has one time as atime, mtime and ctime',
    async run(fs, d) {
      await fs.close(await fs.open(`${d}/a`, O.CREAT | O.EXCL | O.WRONLY, 0o644));
      const { atime, mtime, ctime } = await fs.stat(`${d}/a`);
      expect([atime, mtime]).toEqual([ctime, ctime]);
      expect(await contents(fs, `${d}/a`)).toBe('');
    },
  },
];
