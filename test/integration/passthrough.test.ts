/**
 * Large files that somebody holds open or mapped while others replace, cut and copy them: the rules of a file
 * system whose kernel reads and writes by itself. Without passthrough they are the same, where they can.
 */
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { describe, expect, test } from 'vitest';
import { SLOTS_USED_MAX } from '../../src/base/limits.ts';
import { Calls, CallsProgram, MAP, PROT } from '../posix/calls.ts';
import { call, connectAgent } from './agent.ts';
import { TestDaemon } from './daemon.ts';

const O_RDONLY = 0;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const MIB = 1024 * 1024;
const SIZE = 2 * MIB;
const PAGE = 4096;
const TEST_MS_MAX = 240_000;
/** Hashing waits for a while without writes, and a loaded machine is slow at it. */
const AT_REST_MS_MAX = 60_000;

class Mounted implements AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly agent: Client;
  readonly #program: CallsProgram;
  readonly #calls: Calls[] = [];

  static async start(configuration: string): Promise<Mounted> {
    const daemon = await TestDaemon.start({ configuration });
    return new Mounted(daemon, await connectAgent(daemon.mcpSocket));
  }

  private constructor(daemon: TestDaemon, agent: Client) {
    this.daemon = daemon;
    this.agent = agent;
    this.#program = new CallsProgram();
  }

  /** Somebody who holds files open. */
  holder(): Calls {
    const calls = new Calls(this.daemon.spawn(this.#program.path, [], { in: 'ipfs' }));
    this.#calls.push(calls);
    return calls;
  }

  sh(script: string): Promise<string> {
    return this.daemon.shell(script, { in: 'ipfs', timeoutMs: TEST_MS_MAX });
  }

  /** A file of `size` bytes, all of them this letter. */
  async fill(name: string, letter: string, size = SIZE): Promise<void> {
    await this.sh(`head -c ${size} /dev/zero | tr '\\0' ${letter} > ${name}`);
  }

  /** The first bytes and the size, as a program sees that opens it now. */
  async seen(name: string): Promise<string> {
    return (await this.sh(`head -c 4 ${name}; stat -c ' %s' ${name}`)).trim();
  }

  /** Whether the file is this letter and nothing else. */
  async isAll(name: string, letter: string, size = SIZE): Promise<boolean> {
    const rest = await this.sh(`tr -d ${letter} < ${name} | wc -c; stat -c %s ${name}`);
    return rest === `0\n${size}\n`;
  }

  /** Known once the bytes are at rest. */
  async cidOf(name: string): Promise<string> {
    const args = ['--only-values', '-n', 'user.ipfs.cid', name];
    const ask = () => this.daemon.attempt('getfattr', args, { in: 'ipfs' });
    await expect.poll(async () => (await ask()).code, { timeout: AT_REST_MS_MAX }).toBe(0);
    return (await ask()).stdout.trim();
  }

  /** By a tool: the whole content. */
  async replace(name: string, content: string): Promise<void> {
    await call(this.agent, 'vfs_write', { path: `/ipfs/${name}`, content });
  }

  async copy(source: string, destination: string): Promise<void> {
    const paths = { source: `/ipfs/${source}`, destination: `/ipfs/${destination}` };
    await call(this.agent, 'vfs_copy', paths);
  }

  async expectWhole(): Promise<void> {
    const { findings } = await this.daemon.json<{ findings: unknown[] }>(['fsck'], {
      timeoutMs: TEST_MS_MAX,
    });
    expect(findings).toEqual([]);
    expect(this.daemon.output).not.toContain('a request of the kernel failed');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const calls of this.#calls) await calls[Symbol.asyncDispose]();
    await this.agent.close();
    await this.daemon.close();
    this.#program[Symbol.dispose]();
  }
}

const MODES = [
  { mode: 'with passthrough', configuration: '', isDirect: true },
  { mode: 'without it', configuration: '[mount]\npassthrough = false\n', isDirect: false },
];

describe.each(MODES)('a large file, $mode,', ({ configuration, isDirect }) => {
  test(
    'is renamed over, emptied, cut and written anew while others hold it open',
    async () => {
      await using m = await Mounted.start(configuration);
      const holder = m.holder();
      await m.fill('a', 'a');
      const reader = await holder.open('a', O_RDONLY);
      const map = await holder.map(reader, SIZE, PROT.READ, MAP.SHARED);
      expect(await holder.peek(map, 0, 4)).toBe('aaaa');

      // Renamed over: who has the old one has it still.
      await m.fill('b', 'b');
      await m.sh('mv b a');
      expect([await holder.read(reader, 4, SIZE - 4), await holder.peek(map, PAGE, 4)]).toEqual([
        'aaaa',
        'aaaa',
      ]);
      expect(await m.seen('a')).toBe(`bbbb ${SIZE}`);
      await holder.unmap(map);
      await holder.close(reader);

      // Rewritten from nothing: it is the same file, and who has it open sees what it is now.
      const second = await holder.open('a', O_RDONLY);
      const again = await holder.map(second, SIZE, PROT.READ, MAP.SHARED);
      expect(await holder.peek(again, 0, 4)).toBe('bbbb');
      await m.fill('a', 'c');
      expect([await holder.read(second, 4, 0), await holder.peek(again, SIZE - 4, 4)]).toEqual([
        'cccc',
        'cccc',
      ]);

      // Cut, and grown again: what was cut off is zeros.
      await m.sh(`truncate -s ${PAGE} a; truncate -s ${SIZE} a`);
      expect([await holder.read(second, 4, PAGE - 4), await holder.read(second, 4, PAGE)]).toEqual([
        'cccc',
        '\0\0\0\0',
      ]);
      expect(await holder.peek(again, PAGE, 4)).toBe('\0\0\0\0');
      await holder.unmap(again);
      await holder.close(second);
      expect(await m.seen('a')).toBe(`cccc ${SIZE}`);

      // By a tool, while somebody reads, while somebody writes, and while nobody has it open.
      for (const flags of [O_RDONLY, O_RDWR]) {
        await m.fill('a', 'd');
        const held = await holder.open('a', flags);
        expect(await holder.read(held, 4, 0)).toBe('dddd');
        await m.replace('a', `tool ${flags}`);
        expect(await holder.read(held, 10, 0)).toBe(`tool ${flags}`);
        if (flags === O_RDWR) await holder.write(held, 'hold', 0);
        await holder.close(held);
        expect(await m.seen('a')).toBe(flags === O_RDWR ? 'hold 6' : 'tool 6');
      }
      await m.fill('a', 'e');
      await m.replace('a', 'nobody');
      expect(await m.seen('a')).toBe('nobo 6');
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'is copied while others read and write it, and the copies stay what they were',
    async () => {
      await using m = await Mounted.start(configuration);
      const holder = m.holder();
      await m.fill('a', 'a');
      await m.cidOf('a');
      const reader = await holder.open('a', O_RDONLY);
      expect(await holder.read(reader, 4, 0)).toBe('aaaa');
      // Its bytes are shared from now on, and it is open.
      await m.copy('a', 'shared');
      await m.sh('cp --reflink=auto a reflinked; cp a plain');
      expect(await m.seen('a')).toBe(`aaaa ${SIZE}`);
      const writer = await holder.open('a', O_RDWR);
      await holder.write(writer, 'WWWW', 0);
      expect(await holder.read(reader, 5, 0)).toBe('WWWWa');
      await m.copy('a', 'written');
      await holder.write(writer, 'NEWS', 0);
      await m.sh('cp --reflink=auto a later');
      await holder.close(writer);
      await holder.close(reader);
      for (const name of ['shared', 'reflinked', 'plain']) {
        expect([name, await m.isAll(name, 'a')]).toEqual([name, true]);
      }
      expect([await m.seen('written'), await m.seen('later'), await m.seen('a')]).toEqual([
        `WWWW ${SIZE}`,
        `NEWS ${SIZE}`,
        `NEWS ${SIZE}`,
      ]);
      // Nobody has it open: all of it once more.
      await m.copy('a', 'shared-2');
      await m.fill('a', 'b');
      expect(await m.seen('shared-2')).toBe(`NEWS ${SIZE}`);
      expect(await m.isAll('a', 'b')).toBe(true);
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'is written by several at once, and read by who had it open before',
    async () => {
      await using m = await Mounted.start(configuration);
      await m.fill('a', 'a');
      await m.cidOf('a');
      const [reader, ...writers] = [m.holder(), m.holder(), m.holder()];
      const fd = await reader.open('a', O_RDONLY);
      const pieces = SIZE / PAGE;
      await Promise.all(
        writers.map(async (writer, index) => {
          const own = await writer.open('a', O_RDWR);
          for (let piece = index; piece < pieces; piece += writers.length) {
            await writer.write(own, `${index}`.repeat(PAGE), piece * PAGE);
          }
          await writer.close(own);
        }),
      );
      for (let piece = 0; piece < pieces; piece += 37) {
        const expected = `${piece % writers.length}`.repeat(4);
        expect(await reader.read(fd, 4, piece * PAGE + 8)).toBe(expected);
      }
      await reader.close(fd);
      await m.sh('cat a > same; cmp a same');
      expect(await m.cidOf('a')).toBe(await m.cidOf('same'));
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'that is too large for history to copy is opened and written where it lies',
    async () => {
      await using m = await Mounted.start(configuration);
      const size = 70 * MIB;
      await m.sh(`truncate -s ${size} big; printf begin | dd of=big conv=notrunc status=none`);
      const before = await m.cidOf('big');
      const holder = m.holder();
      const untouched = await holder.open('big', O_RDWR);
      await holder.close(untouched);
      if (isDirect) expect(await m.cidOf('big')).toBe(before);
      const fd = await holder.open('big', O_RDWR);
      await holder.write(fd, 'BEGIN', 0);
      await holder.write(fd, 'END', size);
      expect(await m.seen('big')).toBe(`BEGI ${size + 3}`);
      await holder.close(fd);
      await m.sh('cp big copy; cmp big copy');
      const after = await m.cidOf('big');
      expect(after).not.toBe(before);
      expect(after).toBe(await m.cidOf('copy'));
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test(
    'may be open for writing together with very many others',
    async () => {
      await using m = await Mounted.start(configuration);
      const holder = m.holder();
      const count = SLOTS_USED_MAX + 50;
      const fds: number[] = [];
      for (let index = 0; index < count; index++) {
        const fd = await holder.open(`f${index}`, O_RDWR | O_CREAT | O_TRUNC, 0o644);
        await holder.write(fd, `number ${index}`, 0);
        fds.push(fd);
      }
      await m.fill('large', 'l');
      const large = await holder.open('large', O_RDWR);
      await holder.write(large, 'X', 0);
      for (const [index, fd] of fds.entries()) {
        expect(await holder.read(fd, 100, 0)).toBe(`number ${index}`);
        expect(await holder.write(fd, '!', `number ${index}`.length)).toBe(1);
      }
      expect(await m.sh('cat f0 f299 f305; head -c 2 large')).toBe(
        'number 0!number 299!number 305!Xl',
      );
      for (const fd of [...fds, large]) await holder.close(fd);
      expect(await m.sh('cat f* | wc -c')).toBe(`${8 * count + 10 + 90 * 2 + (count - 100) * 3}\n`);
      expect(await m.sh('cat f0 f305; head -c 2 large')).toBe('number 0!number 305!Xl');
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );
});

describe('a mapping that outlives its descriptor', () => {
  /** A page of each letter, through a map whose file is closed. */
  async function mapClosed(holder: Calls, name: string, size: number): Promise<number> {
    const fd = await holder.open(name, O_RDWR);
    const map = await holder.map(fd, size, PROT.READ | PROT.WRITE, MAP.SHARED);
    await holder.close(fd);
    return map;
  }

  test.each([PAGE * 4, SIZE])(
    'of %i bytes: size, time and CID are right soon after what it writes',
    async (size) => {
      await using m = await Mounted.start('');
      const holder = m.holder();
      await m.fill('a', 'a', size);
      await m.sh('touch -d @1 a');
      const before = await m.cidOf('a');
      const map = await mapClosed(holder, 'a', size);
      await holder.poke(map, PAGE + 1, 'MAPPED');
      await expect
        .poll(() => m.sh('tail -c +4098 a | head -c 6; stat -c " %s" a'))
        .toBe(`MAPPED ${size}\n`);
      await expect.poll(async () => Number(await m.sh('stat -c %Y a'))).toBeGreaterThan(1);
      await holder.unmap(map);
      expect(await m.cidOf('a')).not.toBe(before);
      await m.sh('cat a > same');
      expect(await m.cidOf('a')).toBe(await m.cidOf('same'));
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );

  test.each([PAGE * 4, SIZE])(
    'of %i bytes: outlives the daemon too, and the next one sees what it writes',
    async (size) => {
      await using m = await Mounted.start('');
      const holder = m.holder();
      await m.fill('a', 'a', size);
      await m.cidOf('a');
      const map = await mapClosed(holder, 'a', size);
      await holder.poke(map, 0, 'before');
      await m.daemon.kill();
      await m.daemon.restart();
      expect(await m.sh('head -c 8 a')).toBe('beforeaa');
      await holder.poke(map, PAGE, 'after');
      await expect.poll(() => m.sh(`tail -c +${PAGE + 1} a | head -c 6`)).toBe('aftera');
      // It can be opened and written meanwhile, and both see each other.
      await m.sh('printf shell | dd of=a conv=notrunc status=none');
      expect(await holder.peek(map, 0, 8)).toBe('shelleaa');
      await holder.unmap(map);
      await m.sh('cat a > same');
      expect(await m.cidOf('a')).toBe(await m.cidOf('same'));
      expect(await m.seen('a')).toBe(`shel ${size}`);
      await m.expectWhole();
    },
    TEST_MS_MAX,
  );
});
