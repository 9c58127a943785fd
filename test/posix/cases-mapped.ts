/** Laws of mmap(2) and O_DIRECT, and of programs that are run or written: what the kernel does with our pages. */
import { expect } from 'vitest';
import { MAP, PROT } from './calls.ts';
import { contents, failure, type KernelCase, O, touch } from './law.ts';

const PAGE = 4096;
const { READ, WRITE } = PROT;
const O_DIRECT = 0o40000;
/** cat ends with its input, and needs nothing but its libraries. */
const PROGRAM = '/bin/cat';

export const mappedCases: readonly KernelCase[] = [
  {
    title: 'mmap shared: the file is written through the map after its descriptor is closed',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`, 'x'.repeat(3 * PAGE));
      await fs.utimens(`${d}/a`, { s: 1, ns: 1 }, { s: 1, ns: 1 });
      const fd = await calls.open(`${d}/a`, O.RDWR);
      const map = await calls.map(fd, 3 * PAGE, READ | WRITE, MAP.SHARED);
      await calls.close(fd);
      await calls.poke(map, PAGE, 'through the map');
      expect((await contents(fs, `${d}/a`)).slice(PAGE, PAGE + 15)).toBe('through the map');
      await calls.unmap(map);
      expect((await contents(fs, `${d}/a`)).slice(PAGE, PAGE + 15)).toBe('through the map');
      const { size, mtime } = await fs.stat(`${d}/a`);
      expect(size).toBe(3 * PAGE);
      expect(mtime.s).toBeGreaterThan(1);
    },
  },
  {
    title: 'mmap shared: a write to the file is seen in the map, and msync brings the map to all',
    async run(fs, d) {
      const { calls, other } = fs;
      await touch(fs, `${d}/a`, 'x'.repeat(PAGE));
      const fd = await calls.open(`${d}/a`, O.RDWR);
      const map = await calls.map(fd, PAGE, READ | WRITE, MAP.SHARED);
      expect(await calls.peek(map, 0, 2)).toBe('xx');
      const writer = await other.open(`${d}/a`, O.RDWR);
      await other.write(writer, 'written', 0);
      expect(await calls.peek(map, 0, 7)).toBe('written');
      await calls.poke(map, 100, 'mapped');
      await calls.sync(map);
      expect(await other.read(writer, 6, 100)).toBe('mapped');
      const theirs = await other.map(writer, PAGE, READ | WRITE, MAP.SHARED);
      await other.poke(theirs, 200, 'theirs');
      expect(await calls.peek(map, 200, 6)).toBe('theirs');
      await other.unmap(theirs);
      await other.close(writer);
      await calls.unmap(map);
      await calls.close(fd);
    },
  },
  {
    title: 'mmap private: what is written to the map stays in it',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`, 'original');
      const { mtime } = await fs.stat(`${d}/a`);
      const fd = await calls.open(`${d}/a`, O.RDONLY);
      const map = await calls.map(fd, PAGE, READ | WRITE, MAP.PRIVATE);
      await calls.poke(map, 0, 'changed!');
      expect(await calls.peek(map, 0, 8)).toBe('changed!');
      await calls.unmap(map);
      await calls.close(fd);
      expect(await contents(fs, `${d}/a`)).toBe('original');
      expect((await fs.stat(`${d}/a`)).mtime).toEqual(mtime);
    },
  },
  {
    title: 'mmap: behind the end the last page is zeros, and further pages are SIGBUS',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`, 'x'.repeat(100));
      const fd = await calls.open(`${d}/a`, O.RDWR);
      const map = await calls.map(fd, 3 * PAGE, READ | WRITE, MAP.SHARED);
      expect(await calls.peek(map, 98, 4)).toBe('xx\0\0');
      expect(await failure(calls.peek(map, PAGE, 1))).toBe('SIGBUS');
      await calls.ftruncate(fd, 3 * PAGE);
      expect(await calls.peek(map, 2 * PAGE, 1)).toBe('\0');
      await calls.poke(map, 2 * PAGE, 'grown');
      await calls.ftruncate(fd, 50);
      expect(await failure(calls.peek(map, 2 * PAGE, 1))).toBe('SIGBUS');
      expect(await calls.peek(map, 48, 4)).toBe('xx\0\0');
      await calls.unmap(map);
      await calls.close(fd);
      expect(await contents(fs, `${d}/a`)).toBe('x'.repeat(50));
    },
  },
  {
    title: 'mmap: a map of an unlinked file, closed everywhere, is read and written on',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`, 'x'.repeat(PAGE));
      const fd = await calls.open(`${d}/a`, O.RDWR);
      const map = await calls.map(fd, PAGE, READ | WRITE, MAP.SHARED);
      await calls.close(fd);
      await fs.unlink(`${d}/a`);
      await calls.poke(map, 0, 'still');
      await calls.sync(map);
      expect(await calls.peek(map, 0, 6)).toBe('stillx');
      await calls.unmap(map);
    },
  },
  {
    title: 'mmap shared for writing needs a descriptor for both (EACCES)',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`, 'x');
      const reader = await calls.open(`${d}/a`, O.RDONLY);
      expect(await failure(calls.map(reader, PAGE, READ | WRITE, MAP.SHARED))).toBe('EACCES');
      const writer = await calls.open(`${d}/a`, O.WRONLY);
      expect(await failure(calls.map(writer, PAGE, READ, MAP.SHARED))).toBe('EACCES');
      await calls.close(reader);
      await calls.close(writer);
    },
  },
  {
    title: 'O_DIRECT reads what was written in the ordinary way, and the reverse',
    async run(fs, d) {
      const { calls } = fs;
      await touch(fs, `${d}/a`, 'x'.repeat(4 * PAGE));
      const direct = await calls.open(`${d}/a`, O.RDWR | O_DIRECT);
      expect(await calls.read(direct, PAGE, PAGE)).toBe('x'.repeat(PAGE));
      await calls.write(direct, 'd'.repeat(PAGE), PAGE);
      expect((await contents(fs, `${d}/a`)).slice(PAGE - 1, PAGE + 2)).toBe('xdd');
      const fd = await fs.open(`${d}/a`, O.RDWR);
      await fs.write(fd, 'ordinary', 2 * PAGE);
      expect((await calls.read(direct, PAGE, 2 * PAGE)).slice(0, 9)).toBe('ordinaryx');
      await calls.write(direct, 'e'.repeat(PAGE), 4 * PAGE);
      expect((await fs.fstat(fd)).size).toBe(5 * PAGE);
      expect(await calls.read(direct, 2 * PAGE, 4 * PAGE)).toBe('e'.repeat(PAGE));
      await fs.close(fd);
      await calls.close(direct);
    },
  },
  {
    title: 'a program runs, and while it runs nobody opens it for writing (ETXTBSY)',
    async run(fs, d) {
      const { calls } = fs;
      await copyProgram(fs, `${d}/a`);
      await calls.start(`${d}/a`);
      expect(await failure(fs.open(`${d}/a`, O.WRONLY))).toBe('ETXTBSY');
      expect(await failure(fs.truncate(`${d}/a`, 0))).toBe('ETXTBSY');
      await fs.rename(`${d}/a`, `${d}/b`);
      await fs.unlink(`${d}/b`);
      expect(await calls.wait()).toBe(0);
    },
  },
  {
    title:
      'what is open for writing does not run (ETXTBSY), what nobody may execute neither (EACCES)',
    async run(fs, d) {
      const { calls } = fs;
      await copyProgram(fs, `${d}/a`);
      const fd = await fs.open(`${d}/a`, O.WRONLY);
      expect(await failure(calls.exec(`${d}/a`))).toBe('ETXTBSY');
      await fs.close(fd);
      expect(await calls.exec(`${d}/a`)).toBe(0);
      await fs.chmod(`${d}/a`, 0o644);
      expect(await failure(calls.exec(`${d}/a`))).toBe('EACCES');
    },
  },
];

async function copyProgram(fs: Parameters<typeof touch>[0], path: string): Promise<void> {
  const { readFileSync } = await import('node:fs');
  await touch(fs, path, readFileSync(PROGRAM, 'latin1'), 0o755);
}
