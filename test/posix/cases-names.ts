/** Laws of names: making, removing, linking and listing them. */
import { expect } from 'vitest';
import { bytePath } from './filesystem.ts';
import { type Case, contents, failure, O, touch } from './law.ts';

export const nameCases: readonly Case[] = [
  {
    title: 'a directory made is there, empty, with two links, and its parent counts it',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o751);
      const stat = await fs.stat(`${d}/a`);
      expect(stat.mode & 0o170777).toBe(0o040751);
      expect([stat.nlink, (await fs.stat(d)).nlink]).toEqual([2, 3]);
      expect(await fs.readdir(`${d}/a`)).toEqual([]);
    },
  },
  {
    title: 'mkdir takes the sticky bit from the mode, and no set-id bits',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o7755);
      expect((await fs.stat(`${d}/a`)).mode & 0o7777).toBe(0o1755);
    },
  },
  {
    title: 'mkdir over any name is EEXIST, in a missing directory ENOENT, below a file ENOTDIR',
    async run(fs, d) {
      await touch(fs, `${d}/f`);
      expect(await failure(fs.mkdir(`${d}/f`, 0o755))).toBe('EEXIST');
      expect(await failure(fs.mkdir(`${d}/x/y`, 0o755))).toBe('ENOENT');
      expect(await failure(fs.mkdir(`${d}/f/y`, 0o755))).toBe('ENOTDIR');
    },
  },
  {
    title: 'a name of 255 bytes is taken, one of 256 is ENAMETOOLONG',
    async run(fs, d) {
      await touch(fs, `${d}/${'n'.repeat(255)}`);
      expect(await failure(touch(fs, `${d}/${'n'.repeat(256)}`))).toBe('ENAMETOOLONG');
      expect(await failure(fs.lstat(`${d}/${'n'.repeat(256)}`))).toBe('ENAMETOOLONG');
      expect(await fs.readdir(d)).toEqual(['n'.repeat(255)]);
    },
  },
  {
    title: 'names are bytes: what is not UTF-8 is kept as it is',
    async run(fs, d) {
      const odd = bytePath(`${d}/\xff\xfe\x01`);
      await touch(fs, odd, 'odd');
      expect(await contents(fs, odd)).toBe('odd');
      await fs.unlink(odd);
      expect(await fs.readdir(d)).toEqual([]);
    },
  },
  {
    title: 'rmdir takes empty directories only, and not files',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o755);
      await touch(fs, `${d}/a/f`);
      expect(await failure(fs.rmdir(`${d}/a`))).toBe('ENOTEMPTY');
      expect(await failure(fs.rmdir(`${d}/a/f`))).toBe('ENOTDIR');
      await fs.unlink(`${d}/a/f`);
      await fs.rmdir(`${d}/a`);
      expect(await failure(fs.stat(`${d}/a`))).toBe('ENOENT');
      expect((await fs.stat(d)).nlink).toBe(2);
    },
  },
  {
    title: 'unlink of a directory is EISDIR, of nothing ENOENT',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o755);
      expect(await failure(fs.unlink(`${d}/a`))).toBe('EISDIR');
      expect(await failure(fs.unlink(`${d}/b`))).toBe('ENOENT');
    },
  },
  {
    title: 'a hard link is the same inode, and the file lives while one name is left',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'text');
      await fs.link(`${d}/a`, `${d}/b`);
      const [a, b] = [await fs.stat(`${d}/a`), await fs.stat(`${d}/b`)];
      expect([b.ino, a.nlink, b.nlink]).toEqual([a.ino, 2, 2]);
      await fs.unlink(`${d}/a`);
      expect((await fs.stat(`${d}/b`)).nlink).toBe(1);
      expect(await contents(fs, `${d}/b`)).toBe('text');
    },
  },
  {
    title: 'a hard link over a name is EEXIST, to a directory EPERM',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      await touch(fs, `${d}/b`);
      await fs.mkdir(`${d}/c`, 0o755);
      expect(await failure(fs.link(`${d}/a`, `${d}/b`))).toBe('EEXIST');
      expect(await failure(fs.link(`${d}/c`, `${d}/e`))).toBe('EPERM');
    },
  },
  {
    title: 'a symbolic link keeps its target as it was given, and is followed',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'target');
      await fs.symlink('a', `${d}/l`);
      expect(await fs.readlink(`${d}/l`)).toBe('a');
      expect(await contents(fs, `${d}/l`)).toBe('target');
      expect((await fs.lstat(`${d}/l`)).mode & 0o170000).toBe(0o120000);
      expect((await fs.lstat(`${d}/l`)).size).toBe(1);
      expect(await failure(fs.readlink(`${d}/a`))).toBe('EINVAL');
    },
  },
  {
    title: 'links that lead in a circle are ELOOP, a link to nothing ENOENT',
    async run(fs, d) {
      await fs.symlink('b', `${d}/a`);
      await fs.symlink('a', `${d}/b`);
      await fs.symlink('none', `${d}/c`);
      expect(await failure(fs.stat(`${d}/a`))).toBe('ELOOP');
      expect(await failure(fs.stat(`${d}/c`))).toBe('ENOENT');
    },
  },
  {
    title: 'fifos, sockets and devices are made and keep type and number',
    async run(fs, d) {
      await fs.mknod(`${d}/p`, 0o010644, 0, 0);
      await fs.mknod(`${d}/s`, 0o140644, 0, 0);
      await fs.mknod(`${d}/c`, 0o020600, 1, 3);
      const modes = await Promise.all(['p', 's', 'c'].map((n) => fs.lstat(`${d}/${n}`)));
      expect(modes.map(({ mode }) => mode & 0o170000)).toEqual([0o010000, 0o140000, 0o020000]);
      expect(modes[2]?.rdev).toBe(0x103);
    },
  },
  {
    title: 'O_EXCL over any name is EEXIST, O_CREAT opens what is there',
    async run(fs, d) {
      await touch(fs, `${d}/a`, 'kept');
      expect(await failure(fs.open(`${d}/a`, O.CREAT | O.EXCL | O.WRONLY))).toBe('EEXIST');
      await fs.close(await fs.open(`${d}/a`, O.CREAT | O.WRONLY));
      expect(await contents(fs, `${d}/a`)).toBe('kept');
    },
  },
  {
    title: 'a directory of 1,000 entries lists each once, and again while half of them go',
    async run(fs, d) {
      for (let i = 0; i < 1000; i++) await fs.mkdir(`${d}/e${i}`, 0o755);
      expect(new Set(await fs.readdir(d)).size).toBe(1000);
      for (let i = 0; i < 1000; i += 2) await fs.rmdir(`${d}/e${i}`);
      const names = await fs.readdir(d);
      expect([names.length, new Set(names).size]).toEqual([500, 500]);
    },
  },
];

export const linkCases: readonly Case[] = [
  {
    title: 'a hard link to a symbolic link is that link, not its target',
    async run(fs, d) {
      await fs.symlink('none', `${d}/l`);
      await fs.link(`${d}/l`, `${d}/m`);
      expect(await fs.readlink(`${d}/m`)).toBe('none');
      expect((await fs.lstat(`${d}/l`)).nlink).toBe(2);
    },
  },
  {
    title: 'a symbolic link over a name is EEXIST, to nothing ENOENT, to 4,096 bytes ENAMETOOLONG',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      expect(await failure(fs.symlink('x', `${d}/a`))).toBe('EEXIST');
      expect(await failure(fs.symlink('', `${d}/b`))).toBe('ENOENT');
      expect(await failure(fs.symlink('t'.repeat(4096), `${d}/c`))).toBe('ENAMETOOLONG');
      await fs.symlink('t'.repeat(4095), `${d}/c`);
      expect((await fs.lstat(`${d}/c`)).size).toBe(4095);
    },
  },
  {
    title: 'O_CREAT through a link to nothing makes its target, with O_EXCL it is EEXIST',
    async run(fs, d) {
      await fs.symlink('target', `${d}/l`);
      const flags = O.CREAT | O.EXCL | O.WRONLY;
      expect(await failure(fs.open(`${d}/l`, flags, 0o644))).toBe('EEXIST');
      await touch(fs, `${d}/l`, 'through');
      expect(await contents(fs, `${d}/target`)).toBe('through');
      expect((await fs.lstat(`${d}/l`)).mode & 0o170000).toBe(0o120000);
    },
  },
  {
    title: 'a link in the middle of a path is followed, a file there is ENOTDIR',
    async run(fs, d) {
      await fs.mkdir(`${d}/a`, 0o755);
      await touch(fs, `${d}/a/f`, 'x');
      await fs.symlink('a', `${d}/l`);
      expect(await contents(fs, `${d}/l/f`)).toBe('x');
      expect(await failure(fs.stat(`${d}/a/f/g`))).toBe('ENOTDIR');
      await fs.unlink(`${d}/l`);
      expect(await contents(fs, `${d}/a/f`)).toBe('x');
    },
  },
  {
    title: 'who is there all the while is listed exactly once, whatever comes and goes meanwhile',
    async run(fs, d) {
      const stay = Array.from({ length: 100 }, (_, i) => `stay${i}`);
      for (const name of stay) {
        await touch(fs, `${d}/${name}`);
        await touch(fs, `${d}/go-${name}`);
      }
      const fd = await fs.opendir(d);
      const seen = await fs.readSome(fd);
      for (const name of stay) {
        await fs.unlink(`${d}/go-${name}`);
        await touch(fs, `${d}/come-${name}`);
      }
      for (;;) {
        const names = await fs.readSome(fd);
        if (names.length === 0) break;
        seen.push(...names);
      }
      await fs.close(fd);
      expect(seen.filter((name) => name.startsWith('stay')).sort()).toEqual([...stay].sort());
      expect(new Set(seen).size).toBe(seen.length);
    },
  },
];
