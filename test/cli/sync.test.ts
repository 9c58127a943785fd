import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { JsonObject } from '../../src/mcp/frames.ts';
import { Asked, REFUSAL, success } from './asking.ts';

const SYNCED = { path: '/ipfs', root_cid: 'bafyroot', snapshot_cid: 'bafysnap', changed: true };

const jobAt = (progress: object) =>
  success({ job: { job_id: 'j1', state: 'running', progress: { unit: 'files', ...progress } } });
const JOB = jobAt({ done: 1 });

/** A daemon whose tools give these answers one after the other, and whose CAR has these parts. */
async function syncing(answers: readonly object[], parts: readonly string[] = []) {
  const calls: unknown[] = [];
  const asked = await Asked.open({
    call: async ({ tool, arguments: values }: JsonObject) => {
      calls.push([tool, values]);
      return answers[calls.length - 1];
    },
    sync_local: async () => ({ files: 3 }),
    car: async ({ cid }, { part }) => {
      expect(cid).toBe(SYNCED.root_cid);
      for (const text of parts) await part(Buffer.from(text).toString('base64'));
      if (parts.length === 0) throw new OpError('no-space', 'export');
      return {};
    },
  });
  return {
    calls,
    asked,
    car: asked.scratch.path('site.car'),
    kitfs: (...args: readonly string[]) => asked.kitfs(['sync', ...args]),
    [Symbol.asyncDispose]: () => asked[Symbol.asyncDispose](),
  };
}

test('bringing everything to the disk says how many files were not there', async () => {
  await using sync = await syncing([]);
  const { stdout } = await sync.kitfs('--local');
  expect(stdout).toBe('everything is on the disk (3 files were not)\n');
  expect(sync.calls).toEqual([]);
});

test.each([
  [true, ''],
  [false, '  (unchanged)'],
])('a subtree has its CID and its snapshot shown; changed: %s', async (changed, mark) => {
  await using sync = await syncing([success({ ...SYNCED, changed })]);
  const { code, stdout } = await sync.kitfs();
  expect([code, stdout]).toEqual([0, `/ipfs  bafyroot${mark}\nsnapshot  bafysnap\n`]);
  expect(sync.calls).toEqual([['vfs_sync_to_ipfs', { path: '/ipfs', wait_ms: 2000 }]]);
});

test('a sync that is not waited for and goes on says how to look at it', async () => {
  await using sync = await syncing([JOB]);
  const { code, stdout } = await sync.kitfs('/ipfs');
  expect([code, stdout]).toEqual([0, `it goes on: kitfs call job_get '{"job_id":"j1"}'\n`]);
});

describe('a sync that no store took', () => {
  const partial = { root_cid: 'bafyroot', snapshot_cid: 'bafysnap' };
  const HERE_ONLY = { ...REFUSAL, context: { partial } };

  test('shows what was made here, says why it is nowhere else, and fails', async () => {
    await using sync = await syncing([HERE_ONLY]);
    const { code, stdout, stderr } = await sync.kitfs();
    expect([code, stdout]).toEqual([1, '/ipfs  bafyroot\nsnapshot  bafysnap\n']);
    expect(stderr).toBe(`kitfs: ${REFUSAL.error}\n`);
  });

  test('has it in the envelope, too', async () => {
    await using sync = await syncing([HERE_ONLY]);
    const { code, stdout } = await sync.kitfs('--json');
    expect([code, JSON.parse(stdout)]).toEqual([1, HERE_ONLY]);
  });
});

describe('a sync that is waited for', () => {
  test('is looked at until it has a result, its progress on the terminal', async () => {
    const two = jobAt({ done: 2, total: 9 });
    await using sync = await syncing([JOB, two, success({ result: success(SYNCED) })]);
    const { code, stdout, stderr } = await sync.asked.kitfs(['sync', '--wait'], {
      isTerminal: true,
    });
    expect([code, stdout]).toEqual([0, '/ipfs  bafyroot\nsnapshot  bafysnap\n']);
    const lines = stderr.split('\r\u001b[K').filter((line) => line !== '');
    expect(lines).toEqual(['1 files', `[#####${'.'.repeat(19)}]  22 %  2 of 9 files`]);
    expect(stderr.endsWith('\r\u001b[K')).toBe(true);
    expect(sync.calls.slice(1)).toEqual(
      [1, 2].map(() => ['job_get', { job_id: 'j1', wait_ms: 500 }]),
    );
  });

  test('tells of its progress in lines when there is no terminal', async () => {
    await using sync = await syncing([JOB, success({ result: success(SYNCED) })]);
    const { stdout, stderr } = await sync.kitfs('--wait');
    expect([stdout.split('\n')[0], stderr]).toEqual(['/ipfs  bafyroot', '1 files\n']);
  });

  test.each([
    ['at once', [REFUSAL]],
    ['when it is looked at', [JOB, REFUSAL]],
    ['as its result', [JOB, success({ result: REFUSAL })]],
  ])('tells what is refused %s, and fails', async (_, answers) => {
    for (const args of [['--wait'], ['--wait', '--json']]) {
      await using sync = await syncing(answers);
      const { code, stdout, stderr } = await sync.kitfs(...args);
      expect(code).toBe(1);
      if (args.includes('--json')) expect(JSON.parse(stdout)).toEqual(REFUSAL);
      else {
        expect(stdout).toBe('');
        expect(stderr.split('\n')).toContain(`kitfs: ${REFUSAL.error}`);
      }
    }
  });
});

describe('a CAR', () => {
  test('is all parts in their order, under its name when it is whole', async () => {
    await using sync = await syncing([success(SYNCED)], ['one ', 'two ', 'three']);
    const { code, stdout } = await sync.kitfs('--car', sync.car);
    expect([code, stdout.split('\n')[2]]).toEqual([0, `${sync.car}  13 bytes`]);
    expect(readFileSync(sync.car, 'utf8')).toBe('one two three');
    expect(existsSync(`${sync.car}.part`)).toBe(false);
  });

  test('that cannot be made whole leaves no file, and says which', async () => {
    await using sync = await syncing([success(SYNCED)]);
    const { code, stdout, stderr } = await sync.kitfs('--car', sync.car);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/no space/);
    expect([existsSync(sync.car), existsSync(`${sync.car}.part`)]).toEqual([false, false]);
  });
});
