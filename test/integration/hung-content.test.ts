/** A backend that hangs costs those who asked it their answer, and nobody anything else. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cidThat, type Hang } from '../fakes/hung.ts';
import { COMMAND_MS_MAX, ServedMount } from './served.ts';

/** A request that nobody ends is given up a minute and more later. */
const END_MS_MAX = 15_000;
const DIRECT = ['iflag=direct', 'bs=64k', 'count=1', 'status=none'];

let mount: ServedMount;
const clients = new Set<ChildProcess>();

async function start(driver: string): Promise<void> {
  mount = new ServedMount(driver, 'hung');
  expect(await mount.line()).toContain(`mounted ${driver}`);
  mount.sh('mkdir other');
}

afterEach(async () => {
  for (const client of clients) client.kill('SIGKILL');
  clients.clear();
  await mount.close();
});

/** A program that asks for the content, with a time limit in case nothing else ends it. */
function client(program: string, ...args: readonly string[]): ChildProcess {
  const started = spawn(program, args, { stdio: 'ignore', timeout: COMMAND_MS_MAX });
  clients.add(started);
  return started;
}

const pathOf = (hang: Hang): string => `${mount.directory}/ipfs/${cidThat(hang)}`;
const cat = (hang: Hang) => client('cat', pathOf(hang));
const readDirectly = (hang: Hang) => client('dd', `if=${pathOf(hang)}`, ...DIRECT);

/** Sends the signal; how the client ended, and how long that took. */
async function signalled(asking: ChildProcess, signal: NodeJS.Signals) {
  const began = performance.now();
  const ended = once(asking, 'exit');
  asking.kill(signal);
  const [code, by] = await ended;
  clients.delete(asking);
  return { code, by, isSoon: performance.now() - began < END_MS_MAX };
}

/** Not in `/ipfs` itself: while a name is looked for there the kernel lets nobody change names beside it. */
function expectOthersServed(): void {
  expect(mount.sh('cd other && echo here > a && cat a && rm a')).toBe('here\n');
  const whole = `wc -c < ${cidThat('none')}`;
  expect(mount.sh(whole)).toBe('1048576\n');
}

describe.each(['SIGINT', 'SIGKILL'] as const)('%s', (signal) => {
  beforeEach(() => start('native'));

  const by = { code: null, by: signal, isSoon: true };

  test.each([
    ['a name', 'name', () => cat('name')],
    ['bytes past the page cache', 'read', () => readDirectly('read')],
    ['names in a directory', 'list', () => client('ls', pathOf('list'))],
  ] as const)(
    'ends a program that waits for %s at once, and the request with it',
    async (_, hang, begin) => {
      const asking = begin();
      expect(await mount.line()).toBe(`asked ${hang}`);
      expectOthersServed();
      expect(await signalled(asking, signal)).toEqual(by);
      expect(await mount.line()).toBe(`gave up ${hang}`);
      expectOthersServed();
      mount.unmount();
      expect(JSON.parse(await mount.line())).toEqual({
        inodes: 0,
        handles: 0,
        waiting: 0,
        open: 0,
      });
      expect(await mount.exit()).toBe(0);
      expect(mount.complaints).toBe('');
    },
  );

  test('ends a cat of bytes that the kernel reads ahead at once, and an unmount the request', async () => {
    const asking = cat('read');
    expect(await mount.line()).toBe('asked read');
    expectOthersServed();
    expect(await signalled(asking, signal)).toEqual(by);
    expectOthersServed();
    mount.unmount();
    const said = [await mount.line()];
    while (!said.at(-1)?.startsWith('{')) said.push(await mount.line());
    const count = (line: string) => said.filter((one) => one === line).length;
    // One was asked for before.
    expect(count('gave up read')).toBe(count('asked read') + 1);
    expect(await mount.exit()).toBe(0);
    expect(mount.complaints).toBe('');
  });
});

test('by the driver fuse-native a cat of bytes ends at once too, and the mount goes', async () => {
  await start('fuse-native');
  const asking = cat('read');
  expect(await mount.line()).toBe('asked read');
  expectOthersServed();
  expect(await signalled(asking, 'SIGINT')).toEqual({ code: null, by: 'SIGINT', isSoon: true });
  expectOthersServed();
  mount.unmount();
  const said = [await mount.line()];
  while (!said.at(-1)?.startsWith('{')) said.push(await mount.line());
  expect(said).toContain('gave up read');
  expect(await mount.exit()).toBe(0);
});
