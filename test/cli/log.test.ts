import { expect, test } from 'vitest';
import type { JsonObject } from '../../src/mcp/frames.ts';
import { Asked, REFUSAL, success } from './asking.ts';

const record = (seq: number, more: object = {}) => ({
  seq,
  time: '2026-01-02T03:04:05.678Z',
  op: 'write',
  path: '/ipfs/a',
  actor: { surface: 'fuse', uid: 0 },
  ...more,
});

type Values = Readonly<Record<string, unknown>>;

/** A journal of which each answer is the next one given; the last one is given for ever. */
async function journal(...answers: readonly object[]) {
  const questions: Values[] = [];
  const asked = await Asked.open({
    call: async ({ tool, arguments: values }: JsonObject) => {
      expect(tool).toBe('fs_journal_get_history');
      questions.push(values as Values);
      return answers[Math.min(questions.length, answers.length) - 1];
    },
  });
  return {
    questions,
    kitfs: (...args: readonly string[]) => asked.kitfs(['log', ...args]),
    [Symbol.asyncDispose]: () => asked[Symbol.asyncDispose](),
  };
}

const page = (entries: readonly object[], next_cursor?: string) =>
  success({ entries, head: { seq: 40 }, ...(next_cursor === undefined ? {} : { next_cursor }) });

test('a line says what was done, to what, and everything that is known of by whom', async () => {
  await using log = await journal(
    page([
      record(3, { op: 'rename', path: '/ipfs/b', old_path: '/ipfs/a' }),
      record(2, { size: 2048, actor: { surface: 'fuse', uid: 5, pid: 9, exe: '/usr/bin/vi' } }),
      record(1, {
        actor: { surface: 'mcp', uid: 6, client: { name: 'agent' }, tool: 'vfs_write' },
      }),
    ]),
  );
  const { code, stdout } = await log.kitfs('/ipfs');
  expect(code).toBe(0);
  expect(stdout.split('\n')).toEqual([
    '       3  2026-01-02T03:04:05Z  rename      /ipfs/a → /ipfs/b  [fuse, uid 0]',
    '       2  2026-01-02T03:04:05Z  write       /ipfs/a (2.0 KiB)  [fuse, vi, pid 9, uid 5]',
    '       1  2026-01-02T03:04:05Z  write       /ipfs/a  [mcp, agent, vfs_write, uid 6]',
    '',
  ]);
});

test('a name is one line, and tells the terminal nothing', async () => {
  const path =
    '/ipfs/a\n       9  2026-01-02T03:04:05Z  write  /ipfs/b\u001b]0;x\u0007\u009b31m\u202e';
  const actor = { surface: 'mcp', uid: 6, client: { name: 'an\u001b[2Jagent' } };
  await using log = await journal(page([record(1, { path, actor })]));
  const { stdout } = await log.kitfs('/ipfs');
  expect(stdout.split('\n')).toEqual([expect.stringContaining('/ipfs/a\\x0a       9'), '']);
  expect(stdout).toContain('/ipfs/b\\x1b]0;x\\x07\\x9b31m\\u202e  [mcp, an\\x1b[2Jagent, uid 6]');
});

test('pages are put together up to the limit, all asked for alike but for the cursor', async () => {
  const many = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => record(from - i));
  await using log = await journal(page(many(900, 500), 'more'), page(many(400, 300), 'yet more'));
  const since = '2026-01-01T00:00:00Z';
  const args = ['/srv/tree/ipfs', '--limit', '600', '--since', since, '--json'];
  const { code, stdout } = await log.kitfs(...args);
  expect(code).toBe(0);
  const seqs = (JSON.parse(stdout) as { seq: number }[]).map(({ seq }) => seq);
  expect(seqs).toEqual(Array.from({ length: 600 }, (_, i) => 900 - i));
  const same = { path: '/ipfs', recursive: true, since, limit: 500 };
  expect(log.questions).toEqual([same, { ...same, cursor: 'more' }]);
});

test('of what has no history that is said, and it is no failure', async () => {
  await using log = await journal(page([]));
  expect(await log.kitfs('/ipfs/none')).toEqual({
    code: 0,
    stdout: '',
    stderr: 'kitfs: nothing is recorded of /ipfs/none\n',
  });
});

test.each([[[]], [['--follow']]])(
  'what the tool refuses is told and fails, with %j',
  async (args) => {
    await using log = await journal(REFUSAL);
    expect(await log.kitfs(...args)).toEqual({
      code: 1,
      stdout: '',
      stderr: `kitfs: ${REFUSAL.error}\n  path: is no path; expected: a string\n`,
    });
    const asJson = await log.kitfs(...args, '--json');
    expect([asJson.code, asJson.stderr]).toEqual([1, '']);
    expect(JSON.parse(asJson.stdout)).toEqual(REFUSAL);
  },
);

test('following shows what is new, oldest first, each once, page by page without a pause', async () => {
  await using log = await journal(
    page([record(40)]),
    page([record(41), record(42)], 'more'),
    page([record(43)], 'more'),
    page([], 'more'),
    REFUSAL,
  );
  const { code, stdout, stderr } = await log.kitfs('--follow');
  expect([code, stderr]).toEqual([1, expect.stringContaining(REFUSAL.error)]);
  const seqs = stdout
    .trimEnd()
    .split('\n')
    .map((line) => Number(line.slice(0, 8)));
  expect(seqs).toEqual([41, 42, 43]);
  const next = log.questions.slice(1).map(({ since_seq, order }) => [since_seq, order]);
  expect(next).toEqual([40, 42, 43, 43].map((seq) => [seq, 'asc']));
});

test('following since a time begins with what was then', async () => {
  await using log = await journal(page([record(40)]), page([record(12)], 'more'), REFUSAL);
  const { stdout } = await log.kitfs('--follow', '--json', '--since', '2026-01-01T00:00:00Z');
  expect(JSON.parse(stdout.split('\n')[0] ?? '')).toEqual(record(12));
  expect(log.questions.map(({ since_seq }) => since_seq)).toEqual([undefined, 0, 12]);
});
