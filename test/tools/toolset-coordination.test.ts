import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { TOOLS } from '../../src/tools/inventory.ts';
import * as schema from '../../src/tools/schema.ts';
import { recordTool } from '../../src/tools/tool.ts';
import { type Facts, Fixture } from './fixture.ts';

/** A job that ends when it is told to. */
class Slow {
  end: () => void = () => {};
  readonly ended = new Promise<void>((resolve) => {
    this.end = resolve;
  });
  readonly tool = recordTool({
    toolset: 'vfs',
    version: '1.0.0',
    deadline: 'job',
    job: true,
    name: 'slow',
    title: 'Slow',
    description: 'Takes its time.',
    hints: { readOnly: false, destructive: false, idempotent: true, openWorld: false },
    changes: 'nothing',
    input: schema.input({ ...schema.job }),
    example: {},
    output: z.object({ answer: z.int() }),
    run: async (_, { signal, progress }) => {
      progress({ done: 1, total: 2, unit: 'items', message: 'half' });
      const aborted = new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
      await Promise.race([this.ended, aborted]);
      return { data: { answer: 42 } };
    },
  });
}

let slow: Slow;
let fixture: Fixture;
beforeEach(() => {
  slow = new Slow();
  fixture = new Fixture([...TOOLS, slow.tool]);
});
afterEach(() => fixture.close());

async function started(): Promise<string> {
  const { job } = await fixture.done('slow', { wait_ms: 0 });
  return String((job as Facts)['job_id']);
}

test('a job is looked at while it runs, and has its result when it has ended', async () => {
  const id = await started();
  const { job } = await fixture.done('job_get', { job_id: id });
  expect(job).toMatchObject({
    job_id: id,
    tool: 'slow',
    state: 'running',
    progress: { done: 1, total: 2, unit: 'items', message: 'half' },
  });
  const later = fixture.done('job_get', { job_id: id, wait_ms: 50_000 });
  slow.end();
  expect(await later).toMatchObject({
    job: { state: 'done' },
    result: { status: 'success', data: { answer: 42 } },
  });
});

test('jobs are listed to whom they belong, in pages', async () => {
  const ids = [await started(), await started(), await started()];
  const first = await fixture.done('job_get', { limit: 2 });
  expect(first).toMatchObject({ total: 3, truncated: true });
  const rest = await fixture.done('job_get', { limit: 2, cursor: first['next_cursor'] });
  const listed = [...(first['jobs'] as Facts[]), ...(rest['jobs'] as Facts[])];
  expect(listed.map((job) => job['job_id'])).toEqual(ids);
  expect(await fixture.done('job_get', {}, { uid: 1000 })).toMatchObject({ jobs: [] });
  slow.end();
});

test('a job of somebody else does not exist', async () => {
  const id = await started();
  for (const tool of ['job_get', 'job_cancel']) {
    await fixture.refused(tool, { job_id: id }, 'HANDLE_NOT_FOUND', { uid: 1000 });
    await fixture.refused(tool, { job_id: 'x'.repeat(22) }, 'HANDLE_NOT_FOUND');
  }
  slow.end();
});

test('a cancelled job ends, its result says so, and nothing more can change it', async () => {
  const id = await started();
  const data = await fixture.done('job_cancel', { job_id: id });
  expect(data).toMatchObject({ job: { state: 'cancelled' } });
  expect(await fixture.done('job_get', { job_id: id })).toMatchObject({
    result: { status: 'error', error_code: 'CANCELLED' },
  });
  expect(await fixture.done('job_cancel', { job_id: id })).toEqual(data);
});
