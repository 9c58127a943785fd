/** What every command keeps, with no daemon anywhere. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Scratch } from '../daemon/scratch.ts';
import { kitfs } from './kitfs.ts';

const COMMANDS = [
  'mount',
  'unmount',
  'status',
  'log',
  'sync',
  'call',
  'tools',
  'mcp',
  'doctor',
  'fsck',
  'systemd',
] as const;

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(() => scratch[Symbol.dispose]());

const run = (...args: readonly string[]) => kitfs(scratch.directory, args);

describe('help', () => {
  test.each(COMMANDS)('of %s shows examples', async (command) => {
    const { code, stdout, stderr } = await run(command, '--help');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`Usage: kitfs ${command}`);
    expect(stdout).toMatch(new RegExp(`Examples:\n  kitfs ${command}`));
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
  });

  test('of all names every command, and the exit codes', async () => {
    const { code, stdout } = await run('--help');
    expect(code).toBe(0);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command}[ |]`, 'm'));
    expect(stdout).toContain('Exit codes: 0 done, 1 failed, 2');
  });

  test('of every command but the bridge says how to have JSON', async () => {
    for (const command of COMMANDS.filter((name) => name !== 'mcp')) {
      expect((await run(command, '--help')).stdout, command).toContain('--json');
    }
  });
});

describe('exit codes', () => {
  test('0 for the version', async () => {
    expect(await run('--version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d/) });
  });

  test.each([
    [[]],
    [['nonsense']],
    [['status', '--nonsense']],
    [['status', 'surplus']],
    [['call']],
    [['call', 'vfs_ls', '{']],
    [['mcp', '--nonsense']],
    [['mcp', 'surplus']],
    [['log', '--limit', '0']],
    [['log', '--limit', 'x']],
    [['sync', '--local', '--wait']],
    [['sync', '--local', '--car', 'x']],
  ])('2 for %j, which no help says', async (args) => {
    const { code, stdout, stderr } = await run(...args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).not.toBe('');
  });

  test.each([['status'], ['unmount'], ['tools'], ['log'], ['sync'], ['call', 'vfs_ls']])(
    '3 for %s when no daemon runs, in one line that says what to do',
    async (...args) => {
      const { code, stdout, stderr } = await run(...args);
      expect([code, stdout]).toEqual([3, '']);
      expect(stderr).toMatch(/^kitfs: ask the daemon at .*: not running; .+\n$/);
      expect(stderr.trimEnd()).not.toContain('\n');
    },
  );

  test('1 for a configuration that cannot be used, which is named', async () => {
    writeFileSync(scratch.path('config.toml'), 'colour = "red"\n');
    const { code, stderr } = await run('status');
    expect(code).toBe(1);
    expect(stderr).toContain('colour: there is no such key');
  });
});

test('with --json an error is an object on standard output, and nothing else is', async () => {
  const { code, stdout, stderr } = await run('status', '--json');
  expect([code, stderr]).toEqual([3, '']);
  expect(JSON.parse(stdout)).toMatchObject({
    status: 'error',
    error: expect.stringContaining('start it with kitfs mount'),
    error_code: 'NOT_READY',
    context: { request_id: expect.any(String) },
  });
});

test('asking makes nothing', async () => {
  await run('status');
  await run('doctor');
  await run('fsck');
  await run('unmount');
  expect(readdirSync(scratch.directory)).toEqual([]);
});

test('doctor looks at what is needed, and says which package brings it', async () => {
  const { code, stdout } = await run('doctor', '--json');
  const checks = JSON.parse(stdout) as { name: string; state: string; remedy?: string }[];
  expect(checks.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['Node.js', 'native addon', '/dev/fuse', 'state directory']),
  );
  for (const { state, remedy } of checks) {
    expect(['ok', 'limited', 'missing']).toContain(state);
    expect(remedy === undefined).toBe(state === 'ok');
  }
  expect(code).toBe(checks.some(({ state }) => state === 'missing') ? 1 : 0);
  const forPeople = await run('doctor');
  expect(forPeople.stdout.trimEnd().split('\n')).toHaveLength(checks.length);
});

describe('fsck', () => {
  test('of what is not there says so', async () => {
    const { code, stderr } = await run('fsck');
    expect(code).toBe(1);
    expect(stderr).toContain('there is no journal');
  });

  test('of a file that is no journal says so', async () => {
    mkdirSync(scratch.path('state'));
    writeFileSync(scratch.path('state', 'journal.db'), 'not a database, whatever its name\n');
    const { code, stdout } = await run('fsck', '--json');
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error_code: 'JOURNAL_CORRUPT' });
  });
});

describe('mount', () => {
  test.each([
    [
      'a directory with files in it',
      () => mkdirSync(scratch.path('mnt', 'x'), { recursive: true }),
    ],
    ['a file', () => writeFileSync(scratch.path('mnt'), '')],
    [
      'a state directory of something else',
      () => {
        mkdirSync(scratch.path('state'));
        writeFileSync(scratch.path('state', 'letter.txt'), '');
      },
    ],
    [
      'a state directory that a newer kitfs made',
      () => {
        mkdirSync(scratch.path('state'));
        writeFileSync(scratch.path('state', 'format'), 'kitfs-state 9\n');
      },
    ],
  ])('on %s is refused with what to do', async (_, prepare) => {
    prepare();
    const { code, stdout, stderr } = await run('mount');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^kitfs: .+\n$/);
    const detached = await run('mount', '--background', '--json');
    expect(detached.code).toBe(1);
    expect(JSON.parse(detached.stdout)).toMatchObject({ status: 'error' });
  });

  test('with state or sockets under the mount point is refused, and makes nothing there', async () => {
    for (const option of ['--state', '--run']) {
      const { code, stderr } = await run('mount', option, scratch.path('mnt', 'inside'));
      expect(code).toBe(1);
      expect(stderr).toContain(`choose another one with ${option}`);
    }
    expect(readdirSync(scratch.directory)).not.toContain('mnt');
  });
});
