/** The keeper, with a daemon (kept.mjs) that really dies, hangs and ends. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { COMMAND, KEEPER, keeping, serving, Talker } from './talker.ts';

/** The pauses alone are 22 s; the limit is for what hangs, and not for a slow machine. */
const ATTEMPTS = 240_000;
/** As keeper.cc has it. */
const SERVED_MS = 5000;

const dir = mkdtempSync(join(tmpdir(), 'kitfs-keeper-'));
const file = join(dir, 'held');
writeFileSync(file, '');
afterAll(() => rmSync(dir, { recursive: true }));

describe.concurrent('a daemon that serves', () => {
  for (const [how, command, last] of [
    ['is killed', ['die', 'SIGKILL'], 'signal 9'],
    ['dies of a fault', ['die', 'SIGSEGV'], 'signal 11'],
    ['just exits', ['exit', 7], 'exit 7'],
  ] as const) {
    test(`and ${how} is started again, and told so`, async ({ expect }) => {
      const { talker, first } = await serving();
      using _ = talker;
      expect(first.hello).toBe('hello 1 none');
      talker.tell(...command);
      const second = await talker.said();
      expect(second.hello).toBe(`hello 2 ${last}`);
      expect(second.pid).not.toBe(first.pid);
    });
  }

  test('and hangs is ended and started again', async ({ expect }) => {
    const { talker } = await serving('--watchdog', '1');
    using _ = talker;
    talker.tell('hang');
    expect((await talker.said()).hello).toBe('hello 2 hung');
  });

  test('and hangs beyond all asking is killed', { timeout: ATTEMPTS }, async ({ expect }) => {
    const { talker } = await serving('--watchdog', '1');
    using _ = talker;
    talker.tell('die', 'SIGSTOP');
    expect((await talker.said()).hello).toBe('hello 2 hung');
  });

  test('finds what it gave away, as it last described it', async ({ expect }) => {
    const { talker } = await serving();
    using _ = talker;
    await talker.ask('hold', 'a', 'one\ntwo', file);
    await talker.ask('hold', 'b', '', file);
    await talker.ask('hold', 'gone', '', file);
    await talker.ask('send', 'note b\nnew');
    await talker.ask('send', 'drop gone');
    talker.tell('die', 'SIGKILL');
    const second = await talker.said();
    expect(second).toMatchObject({
      a: { data: 'one\ntwo', place: file },
      b: { data: 'new', place: file },
    });
    expect(second).not.toHaveProperty('gone');
    expect(second.inherited).not.toContain(file);
    expect(await talker.ask('seen')).toBe('0\n1\n2\n3'); // 3 is what ls reads.
  });

  test('is not started again once it said that it is done', async ({ expect }) => {
    const { talker } = await serving();
    await talker.ask('send', 'done');
    talker.tell('exit', 5);
    expect(await talker.ended).toEqual([5, null]);
  });

  test('hears signals, and is not started again after one that ends', async ({ expect }) => {
    const { talker, first } = await serving();
    expect(first.group).toBe(first.pid);
    await talker.ask('hear', 'SIGUSR2', 'SIGHUP', 'SIGINT', 'SIGTERM');
    for (const name of ['SIGUSR2', 'SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
      talker.process.kill(name);
      expect(await talker.said()).toEqual({ heard: name });
    }
    talker.tell('die', 'SIGKILL');
    expect(await talker.ended).toEqual([128 + 9, null]);
  });

  test('goes on without its keeper', async ({ expect }) => {
    const { talker, first } = await serving();
    using _ = talker;
    await talker.ask('stay');
    await talker.ask('hear', 'SIGUSR2');
    talker.process.kill('SIGKILL');
    await once(talker.process, 'exit');
    process.kill(first.pid, 'SIGUSR2');
    expect(await talker.said()).toEqual({ heard: 'SIGUSR2' });
  });
});

describe.concurrent('starting again', () => {
  test('waits longer every time, until something was answered', async ({ expect }) => {
    const { talker } = await serving();
    using _ = talker;
    const die = async () => {
      talker.tell('die', 'SIGKILL');
      await talker.said();
    };
    for (let i = 0; i < 4; i++) await die();
    await talker.ask('send', 'progress');
    for (let i = 0; i < 2; i++) await die();
    const waits = [...talker.errors.matchAll(/again in (\d+) ms/g)].map(([, ms]) => Number(ms));
    expect(waits).toEqual([0, 100, 200, 400, 0, 100]);
  });

  test('waits for nothing after one that served for long, asked or not', async ({ expect }) => {
    const { talker } = await serving();
    using _ = talker;
    talker.tell('die', 'SIGKILL');
    await talker.said();
    await talker.ask('send', 'ready');
    await talker.ask('rest', SERVED_MS);
    talker.tell('die', 'SIGKILL');
    await talker.said();
    const waits = [...talker.errors.matchAll(/again in (\d+) ms/g)].map(([, ms]) => Number(ms));
    expect(waits).toEqual([0, 0]);
  });

  test('is given up when nothing comes of it', { timeout: ATTEMPTS }, async ({ expect }) => {
    const { talker } = await serving();
    for (let generation = 2; generation <= 11; generation++) {
      talker.tell('die', 'SIGKILL');
      expect((await talker.said()).hello).toBe(`hello ${generation} signal 9`);
    }
    talker.tell('die', 'SIGKILL');
    expect(await talker.ended).toEqual([1, null]);
    expect(talker.errors).toContain('gave up');
  });

  test('ends while it waits, when it is told to', async ({ expect }) => {
    const { talker } = await serving();
    for (let generation = 2; generation <= 6; generation++) {
      talker.tell('die', 'SIGKILL');
      await talker.said();
    }
    talker.tell('die', 'SIGKILL');
    while (!talker.errors.includes('in 1600 ms')) await talker.heard();
    talker.process.kill('SIGTERM');
    expect(await talker.ended).toEqual([0, null]);
  });
});

describe.concurrent('a daemon that does not serve yet', () => {
  test('ends its keeper with its own status', async ({ expect }) => {
    const talker = keeping();
    await talker.said();
    talker.tell('exit', 3);
    expect(await talker.ended).toEqual([3, null]);
  });

  test('that cannot be started is said', async ({ expect }) => {
    const talker = new Talker(KEEPER, ['--', join(dir, 'absent')]);
    expect(await talker.ended).toEqual([127, null]);
    expect(talker.errors).toContain('absent');
  });
});

describe.concurrent('the next daemon', () => {
  const childrenOf = (pid: number): number[] =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  const waitingOf = async (talker: Talker, serves: number): Promise<number> => {
    const others = () => childrenOf(talker.process.pid ?? 0).filter((pid) => pid !== serves);
    await vi.waitUntil(() => others().length > 0, { timeout: 10_000 });
    return others()[0] ?? 0;
  };

  test('is there before it is needed, and hears nothing until then', async ({ expect }) => {
    const { talker, first } = await serving();
    using _ = talker;
    const waits = await waitingOf(talker, first.pid);
    await talker.ask('hold', 'a', 'of a', file);
    talker.tell('die', 'SIGKILL');
    const { pid, a, hello } = await talker.said();
    expect([pid, hello]).toEqual([waits, 'hello 2 signal 9']);
    expect(a?.data).toBe('of a');
  });

  test('is followed by one that was started before it served, and by another, once one was killed', async ({
    expect,
  }) => {
    const { talker, first } = await serving();
    using _ = talker;
    await waitingOf(talker, first.pid);
    talker.tell('die', 'SIGKILL');
    const second = await talker.said();
    const waits = await waitingOf(talker, second.pid);
    await talker.ask('send', 'ready');
    await vi.waitUntil(() => childrenOf(talker.process.pid ?? 0).length === 3, { timeout: 10_000 });
    talker.tell('die', 'SIGKILL');
    expect((await talker.said()).pid).toBe(waits);
    talker.tell('exit', 7);
    const { pid } = await talker.said();
    expect(childrenOf(talker.process.pid ?? 0)).toEqual([pid]);
    await talker.ask('send', 'ready');
    await vi.waitUntil(() => childrenOf(talker.process.pid ?? 0).length === 3, { timeout: 10_000 });
  });

  test('is another one after a daemon that ended by itself', async ({ expect }) => {
    const { talker, first } = await serving();
    using _ = talker;
    const waits = await waitingOf(talker, first.pid);
    talker.tell('exit', 7);
    const { pid } = await talker.said();
    expect(pid).not.toBe(waits);
    expect(childrenOf(talker.process.pid ?? 0)).toEqual([pid]);
  });

  test('is another one when another version was installed since, but not in the middle of that', async ({
    expect,
  }) => {
    const version = join(dir, 'version');
    writeFileSync(version, 'old');
    const { talker, first } = await serving('--made-of', version);
    using _ = talker;
    const waits = await waitingOf(talker, first.pid);
    rmSync(version);
    talker.tell('die', 'SIGKILL');
    const second = await talker.said();
    expect(second.pid).toBe(waits);
    writeFileSync(version, 'old');
    await talker.ask('send', 'ready');
    const waitsThen = await waitingOf(talker, second.pid);
    writeFileSync(`${version}.new`, 'new');
    renameSync(`${version}.new`, version);
    talker.tell('die', 'SIGKILL');
    const { pid, hello } = await talker.said();
    expect(hello).toBe('hello 3 signal 9');
    expect(pid).not.toBe(waitsThen);
  });

  test('is started when it is needed, if the one that waited was killed', async ({ expect }) => {
    const { talker, first } = await serving();
    using _ = talker;
    const waits = await waitingOf(talker, first.pid);
    process.kill(waits, 'SIGKILL');
    await vi.waitUntil(() => childrenOf(talker.process.pid ?? 0).length === 1, { timeout: 10_000 });
    talker.tell('die', 'SIGKILL');
    expect((await talker.said()).hello).toBe('hello 2 signal 9');
  });

  test('ends with the keeper, however that ends', async ({ expect }) => {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const { talker, first } = await serving();
      using _ = talker;
      const waits = await waitingOf(talker, first.pid);
      talker.process.kill(signal);
      await talker.ended;
      await vi.waitUntil(() => !existsSync(`/proc/${waits}/fd/3`), { timeout: 10_000 });
      expect(talker.errors).not.toContain('cannot');
    }
  });
});

describe.concurrent('what a keeper is given', () => {
  test('reaches its daemon only when it says so', async ({ expect }) => {
    const { fd } = process.stderr;
    const listed = (...options: readonly string[]) =>
      spawnSync(KEEPER, [...options, '--', '/bin/ls', '/proc/self/fd'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit', fd, fd, fd, fd],
      }).stdout.trim();
    expect(listed()).toBe('0\n1\n2\n3\n4'); // 4 is what ls reads.
    expect(listed('--pass', '6')).toBe('0\n1\n2\n3\n4\n6');
  });

  test('is refused when it makes no sense', ({ expect }) => {
    for (const args of [
      [],
      ['--'],
      ['--listen', 'relative'],
      ['--listen', '/a', '--', '/bin/true'],
      ['--watchdog', '0', '--', '/bin/true'],
      ['--watchdog', 'x', '--', '/bin/true'],
      ['--pass', '3', '--', '/bin/true'],
      ['--pass', '99', '--', '/bin/true'],
      ['--made-of', 'relative', '--', '/bin/true'],
      ['--other', '1', '--', '/bin/true'],
    ]) {
      const { status, stderr } = spawnSync(KEEPER, args, { encoding: 'utf8' });
      expect([args, status, stderr.slice(0, 6)]).toEqual([args, 2, 'usage:']);
    }
  });

  test('as a message that makes no sense is dropped', async ({ expect }) => {
    const { talker } = await serving();
    using _ = talker;
    for (const text of ['what', 'hold a\nno descriptor', 'note a\n', 'drop a']) {
      await talker.ask('send', text);
    }
    for (const text of ['here', '0:1', '0:1\nhere', '\n/here', '0:a\n/here', '0:1\n/a\0b']) {
      await talker.ask('send', `mounted ${text}`);
    }
    for (const name of ['', 'A', 'a b', 'x'.repeat(33)]) await talker.ask('hold', name, '', file);
    for (let i = 0; i < 17; i++) await talker.ask('hold', `n${i}`, '', file);
    talker.tell('die', 'SIGKILL');
    const second = await talker.said();
    const held = Object.keys(second).filter((name) => /^n\d+$/.test(name));
    expect(held.length).toBe(16);
    expect(talker.errors.match(/cannot be obeyed/g)?.length).toBe(15);
  });

  test('comes back however long it is', async ({ expect }) => {
    const { talker } = await serving();
    using _ = talker;
    for (let i = 0; i < 16; i++) await talker.ask('hold', `n${i}`, 'x'.repeat(8180), file);
    talker.tell('die', 'SIGKILL');
    const second: object = await talker.said();
    for (let i = 0; i < 16; i++) {
      expect(second).toHaveProperty(`n${i}`, { data: 'x'.repeat(8180), place: file });
    }
  });
});

describe('a keeper that listens', () => {
  const path = join(dir, 'keeper.sock');

  async function listening(...options: readonly string[]): Promise<Talker> {
    const keeper = new Talker(KEEPER, [...options, '--listen', path]);
    keeper.process.stdin?.end();
    // Refused until it listens; the file is there before.
    while (spawnSync(process.execPath, [...COMMAND.slice(1), '--connect', path]).status !== 0) {
      if (keeper.process.exitCode !== null) throw new Error(keeper.errors);
    }
    return keeper;
  }
  const connected = async () => {
    const talker = new Talker(process.execPath, [...COMMAND.slice(1), '--connect', path]);
    return { talker, first: await talker.said() };
  };

  test('serves one daemon after the other, and refuses a second', async () => {
    using keeper = await listening();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const { talker } = await connected();
    await talker.ask('hold', 'a', 'kept', file);
    const other = await connected();
    expect(other.first.busy).toBe(true);
    other.talker[Symbol.dispose]();
    talker[Symbol.dispose]();
    await talker.ended;
    const next = await connected();
    expect(next.first).toMatchObject({
      hello: 'hello 3 unknown',
      a: { data: 'kept', place: file },
    });
    next.talker[Symbol.dispose]();
    keeper.process.kill('SIGTERM');
    expect(await keeper.ended).toEqual([0, null]);
    expect(existsSync(path)).toBe(false);
  });

  test('takes the place of one that was killed, and of no other', async () => {
    const killed = await listening();
    const second = spawnSync(KEEPER, ['--listen', path], { encoding: 'utf8' });
    expect([second.status, second.stderr]).toEqual([1, expect.stringContaining('cannot listen')]);
    killed[Symbol.dispose]();
    await killed.ended;
    using keeper = await listening();
    const { talker } = await connected();
    talker[Symbol.dispose]();
    expect(keeper.process.exitCode).toBe(null);
  });

  test('ends a daemon that hangs', async () => {
    using _ = await listening('--watchdog', '1');
    const { talker } = await connected();
    await talker.ask('send', 'ready');
    talker.tell('hang');
    expect(await talker.ended).toEqual([null, 'SIGABRT']);
    const next = await connected();
    expect(next.first.hello).toBe('hello 3 hung');
    next.talker[Symbol.dispose]();
  });
});
