/** Laws of locks, of several processes at one file, of FIFOs and sockets, and of positions in large directories. */
import { expect } from 'vitest';
import { type Calls, type Entry, FLOCK, LOCK, LOCK_TYPE } from './calls.ts';
import { contents, failure, type KernelCase, O, touch } from './law.ts';
import type { Processes } from './processes.ts';

/** PATH_MAX of Linux, without its NUL. */
const PATH_BYTES_MAX = 4095;
const NAMES_AT_ONCE = 1000;
/** Files that come, and that go, while a directory is read. */
const PASSING = 1000;
const [FALLOC_COLLAPSE, FALLOC_INSERT] = [8, 32];

/** The entries from where the directory is, without `.` and `..`; `during` runs between two pieces. */
async function rest(
  calls: Calls,
  directory: number,
  during: (seen: number) => Promise<void> = async () => {},
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (;;) {
    const some = await calls.entries(directory, NAMES_AT_ONCE);
    if (some.length === 0) return entries;
    entries.push(...some.filter(({ name }) => name !== '.' && name !== '..'));
    await during(entries.length);
  }
}

/** A directory of `count` files that stay, and some that do not. */
export async function readWhileItChanges(fs: Processes, d: string, count: number): Promise<void> {
  const { calls, other } = fs;
  const half = Math.floor(count / 2);
  // At once, so that a journal commits them in groups.
  await Promise.all([
    calls.many('make', d, 'stay', 0, half),
    other.many('make', d, 'stay', half, count),
  ]);
  await calls.many('make', d, 'go', 0, PASSING);
  const directory = await calls.opendir(d);
  let isChanged = false;
  const entries = await rest(calls, directory, async (seen) => {
    if (isChanged || seen < half) return;
    isChanged = true;
    await other.many('remove', d, 'go', 0, PASSING);
    await other.many('make', d, 'come', 0, PASSING);
  });
  await calls.closedir(directory);
  const seen = new Map<string, number>();
  for (const { name } of entries) seen.set(name, (seen.get(name) ?? 0) + 1);
  const stayed = Array.from({ length: count }, (_, i) => `stay${i}`);
  expect(stayed.filter((name) => seen.get(name) !== 1)).toEqual([]);
  expect([...seen].filter(([, times]) => times > 1)).toEqual([]);
}

const lockCases: readonly KernelCase[] = [
  {
    title: 'POSIX locks keep other processes out of a range, and tell whose they are',
    async run(fs, d) {
      const { calls, other } = fs;
      await touch(fs, `${d}/a`, 'x'.repeat(100));
      const mine = await calls.open(`${d}/a`, O.RDWR);
      const theirs = await other.open(`${d}/a`, O.RDWR);
      await calls.lock(mine, LOCK.SET, LOCK_TYPE.WRITE, 10, 10);
      expect(await failure(other.lock(theirs, LOCK.SET, LOCK_TYPE.READ, 15, 1))).toBe('EAGAIN');
      const found = await other.lock(theirs, LOCK.GET, LOCK_TYPE.READ, 0, 100);
      expect(found.type).toBe(LOCK_TYPE.WRITE);
      expect(found.pid).toBeGreaterThan(0);
      await other.lock(theirs, LOCK.SET, LOCK_TYPE.WRITE, 20, 10);
      await calls.lock(mine, LOCK.SET, LOCK_TYPE.NONE, 0, 0);
      await other.lock(theirs, LOCK.SET, LOCK_TYPE.READ, 15, 1);
      await other.close(theirs);
      await calls.close(mine);
    },
  },
  {
    title: 'POSIX locks end with the first close of the file by their process, not by another',
    async run(fs, d) {
      const { calls, other } = fs;
      await touch(fs, `${d}/a`);
      const [first, second] = [
        await calls.open(`${d}/a`, O.RDWR),
        await calls.open(`${d}/a`, O.RDWR),
      ];
      await calls.lock(first, LOCK.SET, LOCK_TYPE.WRITE);
      const theirs = await other.open(`${d}/a`, O.RDWR);
      await other.close(await other.open(`${d}/a`, O.RDWR));
      expect(await failure(other.lock(theirs, LOCK.SET, LOCK_TYPE.WRITE))).toBe('EAGAIN');
      await calls.close(second);
      await other.lock(theirs, LOCK.SET, LOCK_TYPE.WRITE);
      await other.close(theirs);
      await calls.close(first);
    },
  },
  {
    title: 'flock belongs to the open file: two of one process keep each other out',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`);
      const [a, b] = [await calls.open(`${d}/a`, O.RDWR), await calls.open(`${d}/a`, O.RDWR)];
      await calls.flock(a, FLOCK.SHARED);
      await calls.flock(b, FLOCK.SHARED);
      expect(await failure(calls.flock(a, FLOCK.EXCLUSIVE))).toBe('EAGAIN');
      await calls.close(b);
      await calls.flock(a, FLOCK.EXCLUSIVE);
      await calls.close(a);
    },
  },
  {
    title: 'OFD locks belong to the open file, and end with it and not before',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`);
      const [a, b, c] = [
        await calls.open(`${d}/a`, O.RDWR),
        await calls.open(`${d}/a`, O.RDWR),
        await calls.open(`${d}/a`, O.RDWR),
      ];
      await calls.lock(a, LOCK.OFD_SET, LOCK_TYPE.WRITE, 0, 10);
      expect(await failure(calls.lock(b, LOCK.OFD_SET, LOCK_TYPE.READ, 5, 1))).toBe('EAGAIN');
      expect(await calls.lock(b, LOCK.OFD_GET, LOCK_TYPE.READ, 5, 1)).toEqual({
        type: LOCK_TYPE.WRITE,
        pid: -1,
      });
      await calls.close(c);
      expect(await failure(calls.lock(b, LOCK.OFD_SET, LOCK_TYPE.READ, 5, 1))).toBe('EAGAIN');
      await calls.close(a);
      await calls.lock(b, LOCK.OFD_SET, LOCK_TYPE.READ, 5, 1);
      await calls.close(b);
    },
  },
];

const sharedCases: readonly KernelCase[] = [
  {
    title: 'O_APPEND from two processes at once: every record is whole, and none is lost',
    async run(fs, d) {
      const { calls, other } = fs;
      await touch(fs, `${d}/a`);
      const times = 500;
      const append = async (who: Calls, record: string) => {
        const fd = await who.open(`${d}/a`, O.WRONLY | O.APPEND);
        await who.write(fd, record, 'here', times);
        await who.close(fd);
      };
      const [a, b] = [`${'a'.repeat(60)}\n`, `${'b'.repeat(100)}\n`];
      await Promise.all([append(calls, a), append(other, b)]);
      const lines = (await contents(fs, `${d}/a`)).split('\n').slice(0, -1);
      expect(lines.filter((line) => line === a.trim())).toHaveLength(times);
      expect(lines.filter((line) => line === b.trim())).toHaveLength(times);
      expect(lines).toHaveLength(2 * times);
    },
  },
  {
    title: 'a FIFO carries bytes between processes, and keeps none',
    async run(fs, d) {
      const { calls, other } = fs;
      await fs.mknod(`${d}/p`, 0o010666, 0, 0);
      const [reader, writer] = [
        await calls.open(`${d}/p`, O.RDWR),
        await other.open(`${d}/p`, O.WRONLY),
      ];
      await other.write(writer, 'through', 'here');
      expect(await calls.read(reader, 100, 'here')).toBe('through');
      await other.close(writer);
      await calls.close(reader);
      expect((await fs.lstat(`${d}/p`)).size).toBe(0);
    },
  },
  {
    title: 'a socket is bound as a file, found by its path, and connected to',
    async run(fs, d) {
      const { calls, other } = fs;
      const socket = await calls.listen(`${d}/s`);
      expect((await fs.lstat(`${d}/s`)).mode & 0o170000).toBe(0o140000);
      expect(await failure(other.listen(`${d}/s`))).toBe('EADDRINUSE');
      const client = await other.connect(`${d}/s`);
      const peer = await calls.accept(socket);
      expect(await calls.read(peer, 5, 'here')).toBe('hello');
      expect(await failure(fs.open(`${d}/s`, O.RDONLY))).toBe('ENXIO');
      for (const fd of [socket, peer]) await calls.close(fd);
      await other.close(client);
      await fs.unlink(`${d}/s`);
      expect(await failure(other.connect(`${d}/s`))).toBe('ENOENT');
    },
  },
  {
    title: 'a path of PATH_MAX bytes is taken, one more is ENAMETOOLONG',
    async run(fs, d) {
      await touch(fs, `${d}/a`);
      const pathOf = (length: number) => {
        const slashes = length - d.length - 1;
        return `${d}${'/'.repeat(slashes)}a`;
      };
      expect((await fs.stat(pathOf(PATH_BYTES_MAX))).size).toBe(0);
      expect(await failure(fs.stat(pathOf(PATH_BYTES_MAX + 1)))).toBe('ENAMETOOLONG');
      const above = await failure(fs.rename(`${d}/a`, pathOf(PATH_BYTES_MAX + 1)));
      expect(above).toBe('ENAMETOOLONG');
    },
  },
  {
    title:
      'fallocate that collapses or inserts a range does it whole, or is refused and does nothing',
    async run(fs, d) {
      const { calls } = fs;
      const text = `${'a'.repeat(4096)}${'b'.repeat(4096)}${'c'.repeat(4096)}`;
      await touch(fs, `${d}/a`, text);
      const fd = await calls.open(`${d}/a`, O.RDWR);
      const collapsed = await failure(calls.fallocate(fd, FALLOC_COLLAPSE, 4096, 4096));
      expect(['none', 'EOPNOTSUPP']).toContain(collapsed);
      const left = collapsed === 'none' ? text.replace(/b+/, '') : text;
      expect(await contents(fs, `${d}/a`)).toBe(left);
      const inserted = await failure(calls.fallocate(fd, FALLOC_INSERT, 4096, 4096));
      expect(['none', 'EOPNOTSUPP']).toContain(inserted);
      const size = left.length + (inserted === 'none' ? 4096 : 0);
      expect((await fs.stat(`${d}/a`)).size).toBe(size);
      await calls.close(fd);
    },
  },
  {
    title: 'chown of neither owner nor group moves ctime, and takes set-id bits away',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`);
      await fs.chmod(`${d}/a`, 0o6755);
      const { ctime } = await fs.stat(`${d}/a`);
      await calls.chown(`${d}/a`, -1, -1);
      const after = await fs.stat(`${d}/a`);
      expect(after.mode & 0o6000).toBe(0);
      expect(after.ctime).not.toEqual(ctime);
    },
  },
  {
    title: 'a file handle of a removed file is ESTALE, and never another file (generation numbers)',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`, 'first');
      const handle = await calls.handle(`${d}/a`);
      const fd = await calls.openHandle(handle);
      expect(await calls.read(fd, 100, 0)).toBe('first');
      await calls.close(fd);
      await fs.unlink(`${d}/a`);
      for (let i = 0; i < 10; i++) await touch(fs, `${d}/b${i}`, 'second');
      expect(await failure(calls.openHandle(handle))).toBe('ESTALE');
    },
  },
];

const directoryCases: readonly KernelCase[] = [
  {
    title: 'seekdir goes back to where telldir was, also when names before it have gone',
    async run(fs, d) {
      const { calls } = fs;
      await calls.many('make', d, 'f', 0, 3000);
      const directory = await calls.opendir(d);
      const head = await calls.entries(directory, 1000);
      const position = head.at(-1)?.position ?? 0;
      const first = await rest(calls, directory);
      const names = (entries: readonly Entry[]) => entries.map(({ name }) => name).sort();
      const files = names([...head, ...first]).filter((name) => name.startsWith('f'));
      expect([files.length, new Set(files).size]).toEqual([3000, 3000]);
      await calls.seekdir(directory, position);
      expect(names(await rest(calls, directory))).toEqual(names(first));
      const gone = head.filter(({ name }) => name.startsWith('f')).slice(0, 10);
      for (const { name } of gone) await fs.unlink(`${d}/${name}`);
      await calls.seekdir(directory, position);
      expect(names(await rest(calls, directory))).toEqual(names(first));
      await calls.rewinddir(directory);
      expect(await rest(calls, directory)).toHaveLength(2990);
      await calls.closedir(directory);
    },
  },
  {
    title: 'a large directory read while it changes shows once what stays throughout',
    run: (fs, d) => readWhileItChanges(fs, d, 3000),
  },
];

export const processCases: readonly KernelCase[] = [
  ...lockCases,
  ...sharedCases,
  ...directoryCases,
];
