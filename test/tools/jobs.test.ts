import { beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { JOBS_FINISHED_MAX, JOBS_RUNNING_MAX } from '../../src/base/limits.ts';
import type { Envelope } from '../../src/tools/envelope.ts';
import { errorEnvelope } from '../../src/tools/errors.ts';
import { Jobs, type StartedJob } from '../../src/tools/jobs.ts';
import { jobSchema } from '../../src/tools/results.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { CountingRandom } from '../fakes/random.ts';

const SUCCESS: Envelope = {
  status: 'success',
  data: {},
  context: { request_id: 'r', elapsed_ms: 1 },
};
const never = new AbortController().signal;

let clock = new TurnedClock();
let jobs = new Jobs({ clock, random: new CountingRandom() });
beforeEach(() => {
  clock = new TurnedClock();
  jobs = new Jobs({ clock, random: new CountingRandom() });
});

/** A job that ends when it is told, and as the signal says when that aborts. */
function start(principal = 'uid:0', timeoutMs = 1000): StartedJob & { end: () => void } {
  let end = () => {};
  const job = jobs.start({
    tool: 'copy',
    principal,
    timeoutMs,
    run: ({ signal, progress }) =>
      new Promise((resolve) => {
        end = () => {
          progress({ done: 5, total: 5, unit: 'files' });
          resolve(SUCCESS);
        };
        progress({ done: 2, total: 5, unit: 'files' });
        progress({ done: 1, total: 5, unit: 'files' });
        signal.addEventListener('abort', () => {
          const { reason } = signal;
          resolve(errorEnvelope(reason instanceof OpError ? reason : new OpError('io', 'x'), 'r'));
        });
      }),
  });
  return { ...job, end: () => end() };
}

describe('a job', () => {
  test('is seen running with its progress, which never goes back, and then done', async () => {
    const { id, end } = start();
    expect(jobSchema.strict().parse(jobs.get('uid:0', id))).toMatchObject({
      state: 'running',
      progress: { done: 2, total: 5, unit: 'files' },
    });
    expect(jobs.result('uid:0', id)).toBeUndefined();
    end();
    await settle();
    expect(jobSchema.strict().parse(jobs.get('uid:0', id))).toMatchObject({
      state: 'done',
      progress: { done: 5 },
      finished_at: '2023-11-14T22:13:20.000000000Z',
      expires_at: '2023-11-14T22:28:20.000000000Z',
    });
    expect(jobs.result('uid:0', id)).toEqual(SUCCESS);
    expect(clock.sleeping).toBe(0);
  });

  test('that is cancelled ends as cancelled, once', async () => {
    const { id } = start();
    jobs.cancel('uid:0', id);
    await settle();
    jobs.cancel('uid:0', id);
    expect(jobs.get('uid:0', id).state).toBe('cancelled');
  });

  test('that outlives its deadline ends as failed', async () => {
    const { id } = start('uid:0', 700);
    await clock.turn(700);
    await settle();
    expect(jobs.get('uid:0', id).state).toBe('failed');
    expect(jobs.result('uid:0', id)).toMatchObject({ error_code: 'TIMEOUT' });
  });

  test('is nobody’s but its principal’s', () => {
    const { id } = start('uid:0');
    const unknown = expect.objectContaining({ failure: 'handle-unknown' });
    expect(() => jobs.get('uid:1', id)).toThrow(unknown);
    expect(() => jobs.cancel('uid:1', id)).toThrow(unknown);
    expect(() => jobs.result('uid:1', id)).toThrow(unknown);
    expect(jobs.list('uid:1')).toEqual([]);
    expect(jobs.list('uid:0')).toHaveLength(1);
    expect(() => jobs.get('uid:0', 'made-up')).toThrow(unknown);
  });

  test('is kept fifteen minutes after its end', async () => {
    const { id, end } = start();
    end();
    await settle();
    await clock.turn(15 * 60_000);
    expect(jobs.get('uid:0', id).state).toBe('done');
    await clock.turn(1);
    expect(() => jobs.get('uid:0', id)).toThrow(
      expect.objectContaining({ failure: 'handle-unknown' }),
    );
  });

  test('is waited for until it ends, or for as long as was said, or until the waiter leaves', async () => {
    const { id, end } = start('uid:0', 100_000);
    const short = jobs.wait('uid:0', id, 500, never);
    await clock.turn(500);
    expect((await short).state).toBe('running');
    const leaver = new AbortController();
    const left = jobs.wait('uid:0', id, 500, leaver.signal);
    leaver.abort(new OpError('cancelled', 'job_get'));
    await expect(left).rejects.toMatchObject({ failure: 'cancelled' });
    const long = jobs.wait('uid:0', id, 50_000, never);
    end();
    expect((await long).state).toBe('done');
    expect(clock.sleeping).toBe(0);
  });
});

describe('jobs', () => {
  test('of one principal that run at once are bounded, and others are not hindered', async () => {
    const running = Array.from({ length: JOBS_RUNNING_MAX }, () => start('uid:0'));
    expect(() => start('uid:0')).toThrow(expect.objectContaining({ failure: 'rate-limited' }));
    start('uid:1');
    running[0]?.end();
    await settle();
    start('uid:0');
    expect(jobs.running).toBe(JOBS_RUNNING_MAX + 1);
  });

  test('that are finished are bounded, and the oldest goes first', async () => {
    const first = start();
    first.end();
    await settle();
    for (let count = 0; count < JOBS_FINISHED_MAX; count += 1) {
      await clock.turn(1);
      start().end();
      await settle();
    }
    expect(jobs.list('uid:0')).toHaveLength(JOBS_FINISHED_MAX);
    expect(() => jobs.get('uid:0', first.id)).toThrow();
  });

  test('all end when the daemon stops', async () => {
    start('uid:0');
    start('uid:1');
    await jobs.close();
    expect(jobs.running).toBe(0);
  });
});
