/** What a start tells people to try works from wherever they try it. */
import { isAbsolute } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { announce } from '../../src/cli/announce.ts';
import { loadConfig } from '../../src/daemon/daemon.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

/** The lines, where no program is found by its name alone. */
async function told(variables: Readonly<Record<string, string>>): Promise<string> {
  const lines: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(String(line)) > 0);
  const place = { uid: 1000, pid: 7, home: '/home/ann', directory: '/srv' };
  const config = await loadConfig({}, { variables, ...place });
  await announce(config, '/srv/tree', { background: true });
  return lines.join('');
}

test('the run directory is named when a variable alone says which it is', async () => {
  const text = await told({ KITFS_RUN: '/srv/run' });
  for (const command of ['mcp', 'log /ipfs/hello.txt', 'unmount']) {
    expect(text).toContain(`${command} --run /srv/run`);
  }
});

test('the default run directory is not, and the command is called by its whole path', async () => {
  const text = await told({});
  expect(text).not.toContain('--run');
  const programs = [...text.matchAll(/node (\S+)/g)].map(([, program = '']) => program);
  expect(programs.length).toBeGreaterThan(2);
  expect(programs.filter((program) => !isAbsolute(program))).toEqual([]);
});
