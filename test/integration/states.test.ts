/**
 * State directories that earlier versions left, each with what it showed them: `test/states/NAME.tar.gz` and
 * `NAME.json`, made by `test/states/make.ts` with the version in question, and never made again. In each: files packed
 * and in files of their own, sparse ones, links, devices, attributes, odd names, old bytes, a pin, a published tree, a
 * second mount; and, since its daemon was killed, open write sessions, an orphan and a WAL.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Observation, observe } from '../states/observe.ts';
import { TestDaemon } from './daemon.ts';

const STATES = fileURLToPath(new URL('../states/', import.meta.url));
const ENDING = '.tar.gz';
const NAMES = readdirSync(STATES)
  .filter((name) => name.endsWith(ENDING))
  .map((name) => name.slice(0, -ENDING.length));

/** The archives only grow older; nothing in them may be let go for its age. */
const CONFIGURATION = '[history]\nkeep_days = 100000\n';

const findingsOf = async (daemon: TestDaemon): Promise<unknown[]> =>
  (await daemon.json<{ findings: unknown[] }>(['fsck'])).findings;

test('there are states of earlier versions', () => {
  expect(NAMES).toContain('foundation');
});

describe.each(NAMES)('a state directory left by %s', (name) => {
  const left = JSON.parse(readFileSync(`${STATES}${name}.json`, 'utf8')) as Observation;
  let daemon: TestDaemon;
  let found: Observation;

  beforeAll(async () => {
    const prepare = (state: string) => {
      mkdirSync(state);
      execFileSync('tar', ['xzf', `${STATES}${name}${ENDING}`, '-C', state, '--no-same-owner']);
    };
    daemon = await TestDaemon.start({ configuration: CONFIGURATION, prepare });
    found = await observe(daemon, ['ipfs', 'second'], Object.keys(left.contents));
  });
  afterAll(() => daemon.close());

  test('shows every name with its attributes and bytes', () => {
    expect(found.entries).toEqual(left.entries);
  });

  test('has kept what was sealed, old bytes too, and what was pinned', () => {
    expect(found.contents).toEqual(left.contents);
    expect(found.pins).toEqual(left.pins);
  });

  test('tells the same history, and then what the kill cut off', () => {
    expect(found.records.slice(0, left.records.length)).toEqual(left.records);
    const more = found.records.slice(left.records.length);
    const ended = more.filter((line) => line.includes(' write ')).map((line) => line.split(' ')[2]);
    const open = ['continued', 'continued-large', 'fresh', 'orphan'];
    expect(ended.sort()).toEqual(open.map((file) => `/ipfs/files/${file}`));
  });

  test('is sound, goes on being written, and is sound again after another start', async () => {
    expect(await findingsOf(daemon)).toEqual([]);
    await daemon.shell(
      `cd files; echo three >> appended; rm packed; mv large ../moved; echo more >> continued
       ln sparse ../links/sparse; mkdir ../again; cp -a ../names ../again; rm -r ../special`,
      { in: 'ipfs' },
    );
    await daemon.stop();
    await daemon.restart();
    expect(await daemon.run('tail', ['-n', '1', 'files/appended'], { in: 'ipfs' })).toBe('three\n');
    await daemon.run('cmp', ['links/sparse', 'files/sparse'], { in: 'ipfs' });
    await daemon.stop();
    expect(await findingsOf(daemon)).toEqual([]);
  });
});
