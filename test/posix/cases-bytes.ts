/** Laws of the bytes of a file. */
import { expect } from 'vitest';
import { type Case, contents, failure, O, touch } from './law.ts';

export const byteCases: readonly Case[] = [
  {
    title: 'what is written is read, at any offset, and holes are zeros',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'end', 100_000);
      await fs.write(fd, 'start', 0);
      expect(await fs.read(fd, 8, 0)).toBe('start\0\0\0');
      expect(await fs.read(fd, 10, 99_998)).toBe('\0\0end');
      expect((await fs.fstat(fd)).size).toBe(100_003);
      await fs.close(fd);
    },
  },
  {
    title: 'a read behind the end gives nothing',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'abc');
      const fd = await fs.open(`${d}/a`, O.RDONLY);
      expect([await fs.read(fd, 10, 3), await fs.read(fd, 10, 1000)]).toEqual(['', '']);
      await fs.close(fd);
    },
  },
  {
    title: 'writing nothing changes nothing, behind the end too',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'abc');
      await fs.utimes(`${d}/a`, 1, 1);
      const fd = await fs.open(`${d}/a`, O.WRONLY);
      await fs.write(fd, '', 100);
      await fs.close(fd);
      const { size, mtime } = await fs.stat(`${d}/a`);
      expect([size, mtime.s]).toEqual([3, 1]);
    },
  },
  {
    title: 'O_APPEND writes at the end whoever wrote there last',
    async run(fs, d) {
      const a = await fs.open(`${d}/a`, O.CREAT | O.WRONLY | O.APPEND, 0o644);
      const b = await fs.open(`${d}/a`, O.WRONLY | O.APPEND);
      for (let i = 0; i < 10; i++) await fs.write(i % 2 === 0 ? a : b, String(i), 0);
      await fs.close(a);
      await fs.close(b);
      expect(await contents(fs, `${d}/a`)).toBe('0123456789');
    },
  },
  {
    title: 'O_TRUNC empties, truncate cuts and extends with zeros',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'abcdef');
      await fs.truncate(`${d}/a`, 3);
      expect(await contents(fs, `${d}/a`)).toBe('abc');
      await fs.truncate(`${d}/a`, 6);
      expect(await contents(fs, `${d}/a`)).toBe('abc\0\0\0');
      await touch(fs, `${d}/a`);
      expect((await fs.stat(`${d}/a`)).size).toBe(0);
    },
  },
  {
    title: 'a small file that grows large, and is cut small again, keeps its bytes',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      const block = 'x'.repeat(50_000);
      for (let i = 0; i < 5; i++) await fs.write(fd, block, i * 50_000);
      await fs.write(fd, 'MARK', 123_456);
      expect(await fs.read(fd, 6, 123_455)).toBe('xMARKx');
      await fs.close(fd);
      await fs.truncate(`${d}/a`, 123_460);
      expect((await contents(fs, `${d}/a`)).slice(-5)).toBe('xMARK');
    },
  },
  {
    title: 'an unlinked file is read and written until its last close',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'before', 0);
      await fs.unlink(`${d}/a`);
      await fs.write(fd, 'AFTER!', 0);
      expect(await fs.read(fd, 6, 0)).toBe('AFTER!');
      expect((await fs.fstat(fd)).nlink).toBe(0);
      await fs.close(fd);
      expect(await fs.readdir(d)).toEqual([]);
    },
  },
  {
    title: 'two handles of one file see each other at once',
    async run(fs, d) {
      const a = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      const b = await fs.open(`${d}/a`, O.RDWR);
      await fs.write(a, 'from a', 0);
      expect(await fs.read(b, 10, 0)).toBe('from a');
      await fs.write(b, 'from b', 0);
      expect(await fs.read(a, 10, 0)).toBe('from b');
      await fs.close(a);
      await fs.close(b);
    },
  },
  {
    title: 'writing to a handle opened for reading is EBADF, and the reverse',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x');
      const r = await fs.open(`${d}/a`, O.RDONLY);
      const w = await fs.open(`${d}/a`, O.WRONLY);
      expect(await failure(fs.write(r, 'y', 0))).toBe('EBADF');
      expect(await failure(fs.read(w, 1, 0))).toBe('EBADF');
      await fs.close(r);
      await fs.close(w);
    },
  },
  {
    title: 'opening a directory for writing is EISDIR',
    async run(fs, d) {
      expect(await failure(fs.open(d, O.WRONLY))).toBe('EISDIR');
    },
  },
  {
    title: 'fallocate extends, keeps the size when asked, and punches holes that read as zeros',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.fallocate(fd, 0, 0, 10_000);
      expect((await fs.fstat(fd)).size).toBe(10_000);
      await fs.fallocate(fd, 1, 0, 50_000);
      expect((await fs.fstat(fd)).size).toBe(10_000);
      await fs.write(fd, 'x'.repeat(10_000), 0);
      await fs.fallocate(fd, 3, 4096, 4096);
      expect(await fs.read(fd, 4, 4094)).toBe('xx\0\0');
      expect(await fs.read(fd, 4, 8190)).toBe('\0\0xx');
      await fs.close(fd);
    },
  },
  {
    title: 'SEEK_DATA and SEEK_HOLE tell the end, and ENXIO behind it',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'data');
      const fd = await fs.open(`${d}/a`, O.RDONLY);
      expect([await fs.seek(fd, 0, 'data'), await fs.seek(fd, 0, 'hole')]).toEqual([0, 4]);
      expect(await failure(fs.seek(fd, 4, 'data'))).toBe('ENXIO');
      await fs.close(fd);
    },
  },
  {
    title: 'copy_file_range copies bytes between files',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'abcdef'.repeat(20_000));
      const from = await fs.open(`${d}/a`, O.RDONLY);
      const to = await fs.open(`${d}/b`, O.CREAT | O.RDWR, 0o644);
      let done = 0;
      while (done < 120_000) {
        const n = await fs.copyRange(from, done, to, done, 120_000 - done);
        expect(n).toBeGreaterThan(0);
        done += n;
      }
      await fs.close(from);
      await fs.close(to);
      expect(await contents(fs, `${d}/b`)).toBe('abcdef'.repeat(20_000));
    },
  },
  {
    title: 'fsync of a written file succeeds',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.WRONLY, 0o644);
      await fs.write(fd, 'x'.repeat(200_000), 0);
      await fs.fsync(fd);
      await fs.write(fd, 'y', 0);
      await fs.fsync(fd);
      await fs.close(fd);
      expect((await contents(fs, `${d}/a`)).slice(0, 2)).toBe('yx');
    },
  },
  {
    title: 'offsets above 4 GiB are kept apart from those below',
    isLarge: true,
    async run(fs, d) {
      const far = 5 * 2 ** 30;
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'far', far);
      await fs.write(fd, 'near', far - 2 ** 32);
      expect([await fs.read(fd, 9, far), await fs.read(fd, 4, far - 2 ** 32)]).toEqual([
        'far',
        'near',
      ]);
      expect((await fs.fstat(fd)).size).toBe(far + 3);
      await fs.truncate(`${d}/a`, 0);
      await fs.close(fd);
    },
  },
  {
    title: 'data is found behind a hole, and a hole behind data',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.write(fd, 'x'.repeat(4096), 1_048_576);
      // A file system may show a hole as data: lseek(2).
      expect(await fs.seek(fd, 0, 'data')).toBeLessThanOrEqual(1_048_576);
      expect(await fs.seek(fd, 1_048_576, 'data')).toBe(1_048_576);
      expect(await fs.seek(fd, 1_048_576, 'hole')).toBe(1_052_672);
      await fs.close(fd);
    },
  },
  {
    title: 'fallocate zeroes a range, takes no empty one, and no handle for reading',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'x'.repeat(20_000));
      const fd = await fs.open(`${d}/a`, O.RDWR);
      await fs.fallocate(fd, 16, 4096, 8192);
      expect(await fs.read(fd, 2, 4095)).toBe('x\0');
      expect(await fs.read(fd, 2, 12_287)).toBe('\0x');
      expect(await failure(fs.fallocate(fd, 0, 0, 0))).toBe('EINVAL');
      expect(await failure(fs.fallocate(fd, 2, 0, 10))).toBe('EOPNOTSUPP');
      await fs.close(fd);
      const reader = await fs.open(`${d}/a`, O.RDONLY);
      expect(await failure(fs.fallocate(reader, 0, 0, 10))).toBe('EBADF');
      await fs.close(reader);
    },
  },
  {
    title: 'copy_file_range over its own source is EINVAL, behind the end it copies nothing',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'abcdef');
      const fd = await fs.open(`${d}/a`, O.RDWR);
      expect(await failure(fs.copyRange(fd, 0, fd, 2, 4))).toBe('EINVAL');
      expect(await fs.copyRange(fd, 6, fd, 100, 4)).toBe(0);
      await fs.close(fd);
      expect(await contents(fs, `${d}/a`)).toBe('abcdef');
    },
  },
  {
    title: 'a file without a name is written, linked into the tree, and gone when it is not',
    async run(fs, d) {
      const fd = await fs.tmpfile(d, 0o640);
      await fs.write(fd, 'no name', 0);
      expect((await fs.fstat(fd)).nlink).toBe(0);
      expect(await fs.readdir(d)).toEqual([]);
      await fs.linkFile(fd, `${d}/a`);
      await fs.close(fd);
      expect(await contents(fs, `${d}/a`)).toBe('no name');
      expect((await fs.stat(`${d}/a`)).nlink).toBe(1);
      await fs.close(await fs.tmpfile(d, 0o600));
      expect(await fs.readdir(d)).toEqual(['a']);
    },
  },
  {
    title: 'an unlinked file takes no new name',
    async run(fs, d) {
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o644);
      await fs.unlink(`${d}/a`);
      expect(await failure(fs.linkFile(fd, `${d}/b`))).toBe('ENOENT');
      await fs.close(fd);
    },
  },
  {
    title: 'a handle keeps its right when the mode is taken away',
    async run(fs, d) {
      await fs.chmod(d, 0o777);
      await fs.as(1001, 1001);
      const fd = await fs.open(`${d}/a`, O.CREAT | O.RDWR, 0o600);
      await fs.chmod(`${d}/a`, 0);
      await fs.write(fd, 'still', 0);
      expect(await fs.read(fd, 5, 0)).toBe('still');
      await fs.close(fd);
      expect(await failure(fs.open(`${d}/a`, O.RDONLY))).toBe('EACCES');
      await fs.as(0, 0);
    },
  },
];
