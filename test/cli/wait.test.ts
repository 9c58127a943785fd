import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/mcp/frames.ts';
import { Asked, REFUSAL, success } from './asking.ts';

const safety = (state: string, facts: object = {}) => ({
  ...{ state, have: 0, want: 1, seq: 7 },
  replicas: [{ backend: 'ipfs', state: 'queued', ...facts }],
});
const stat = (durability: object, type = 'file') => success({ type, inode: 77, durability });

/** A daemon that says this of a file, one after the other; and what it was asked. */
async function saying(...answers: readonly object[]) {
  const calls: unknown[] = [];
  const inTheWay: { hindrance?: string } = {};
  const reached: unknown[] = [];
  const asked = await Asked.open({
    call: async ({ tool, arguments: values }: JsonObject) => {
      calls.push([tool, values]);
      return answers[Math.min(calls.length, answers.length) - 1];
    },
    reach: async (params: JsonObject) => {
      reached.push(params);
      return inTheWay;
    },
  });
  return {
    calls,
    reached,
    inTheWay,
    asked,
    kitfs: (...args: readonly string[]) => asked.kitfs(['wait', '/ipfs/a', ...args]),
    [Symbol.asyncDispose]: () => asked[Symbol.asyncDispose](),
  };
}

describe('waiting', () => {
  test('ends when the rung is reached, or a higher one', async () => {
    await using daemon = await saying(stat(safety('local')), stat(safety('pinned')));
    expect(await daemon.kitfs()).toEqual({ code: 0, stdout: '/ipfs/a  pinned\n', stderr: '' });
    expect(daemon.calls).toEqual([1, 2].map(() => ['vfs_stat', { path: '/ipfs/a' }]));
    expect((await daemon.kitfs('--until', 'pinned', '--json')).stdout).toContain('"pinned"');
  });

  test('shows on a terminal what is lacking', async () => {
    const failing = stat(safety('local', { state: 'failed', error_code: 'TIMEOUT' }));
    await using daemon = await saying(failing, stat(safety('stored')));
    const { stderr } = await daemon.asked.kitfs(['wait', '/ipfs/a'], { isTerminal: true });
    expect(stderr).toContain('/ipfs/a: local, 0 of 1 stores, ipfs failed TIMEOUT');
  });

  test('ends when its time is over, and says how far it came', async () => {
    await using daemon = await saying(stat(safety('local')));
    const { code, stdout, stderr } = await daemon.kitfs('--until', 'pinned', '--timeout', '0');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/until \/ipfs\/a is pinned: timeout; it is local, 0 of 1 stores/);
  });

  test('ends at once for what cannot be, and says why', async () => {
    await using daemon = await saying(stat(safety('local')));
    daemon.inTheWay.hindrance = 'no store is configured';
    const { code, stdout, stderr } = await daemon.kitfs('--until', 'pinned');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/until \/ipfs\/a is pinned: .*; no store is configured/);
    expect(daemon.reached).toEqual([{ inode: 77, rung: 'pinned' }]);
    const { stdout: json } = await daemon.kitfs('--until', 'pinned', '--json');
    expect(JSON.parse(json)).toMatchObject({ status: 'error', error_code: 'NOT_SUPPORTED' });
  });

  test('for what is refused fails', async () => {
    await using daemon = await saying(REFUSAL);
    expect(await daemon.kitfs()).toMatchObject({ code: 1, stdout: '' });
    expect(JSON.parse((await daemon.kitfs('--json')).stdout)).toEqual(REFUSAL);
  });

  test.each([
    [['--until', 'safe'], stat(safety('local'))],
    [['--timeout', 'soon'], stat(safety('local'))],
    [['--timeout', ''], stat(safety('local'))],
    [['--until', 'local'], stat(safety('local'), 'directory')],
  ])('is not called with %s of what is %o', async (args, answer) => {
    await using daemon = await saying(answer);
    expect(await daemon.kitfs(...args)).toMatchObject({ code: 2, stdout: '' });
  });
});
