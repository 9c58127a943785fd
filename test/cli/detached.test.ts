import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { DAEMON_LOG_BYTES_MAX } from '../../src/base/limits.ts';
import { openLog, toldBy } from '../../src/cli/detached.ts';
import { Scratch } from '../daemon/scratch.ts';

test.each([
  ['all of it', '{"mountPoint":"/srv/tree"}', { mountPoint: '/srv/tree' }],
  ['nothing', '', undefined],
  ['a part, because the daemon was killed', '{"mountPoint":"/sr', undefined],
])('of what a daemon says at its start %s is heard', async (_, text, told) => {
  const pipe = Readable.from([text.slice(0, 3), text.slice(3)].map((part) => Buffer.from(part)));
  expect(await toldBy(pipe)).toEqual(told);
});

describe('the log of a detached daemon', () => {
  async function begin(path: string): Promise<void> {
    await using log = await openLog(path);
    await log.write('begun\n');
  }

  test('goes on behind what is there', async () => {
    using scratch = new Scratch();
    const path = scratch.path('daemon.log');
    await begin(path);
    await begin(path);
    expect(readFileSync(path, 'utf8')).toBe('begun\nbegun\n');
    expect(readdirSync(scratch.directory)).toEqual(['daemon.log']);
  });

  test('is begun anew when it is long, and one is kept', async () => {
    using scratch = new Scratch();
    const path = scratch.path('daemon.log');
    for (const letter of ['a', 'b']) {
      writeFileSync(path, letter);
      truncateSync(path, DAEMON_LOG_BYTES_MAX);
      await begin(path);
      expect(readFileSync(path).length).toBe(DAEMON_LOG_BYTES_MAX + 6);
      await begin(path);
      expect(readFileSync(path, 'utf8')).toBe('begun\n');
      expect(readFileSync(`${path}.1`, 'utf8').startsWith(letter)).toBe(true);
    }
    expect(readdirSync(scratch.directory).sort()).toEqual(['daemon.log', 'daemon.log.1']);
  });

  test('that cannot be written is an operating error', async () => {
    using scratch = new Scratch();
    const refused = openLog(scratch.path('absent', 'daemon.log'));
    await expect(refused).rejects.toMatchObject({ failure: 'not-found' });
  });
});
