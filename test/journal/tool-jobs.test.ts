/** Jobs that outlive their daemon, in the journal. */
import { expect, test } from 'vitest';
import { JournaledJobs } from '../../src/tools/kept-jobs.ts';
import { session } from '../tools/sample.ts';
import { openScratch } from './scratch.ts';

const CALL = {
  tool: 'vfs_rm',
  values: { path: '/ipfs/a', wait_ms: 0 },
  key: 'k',
  requestId: 'r',
  toolCallId: undefined,
  session: { ...session(7), ceiling: { readOnly: false, tools: ['vfs_rm'], places: ['/ipfs'] } },
  startedAt: { s: 1, ns: 2 },
  timeoutMs: 300_000,
};

test('a job is known from its handle to its end, and until it is forgotten', () => {
  const { journal } = openScratch();
  const jobs = new JournaledJobs(journal);
  jobs.keep('a', CALL);
  jobs.keep('b', CALL);
  expect(jobs.all()).toEqual(
    ['a', 'b'].map((id) => ({ id, call: CALL, starts: 1, end: undefined })),
  );
  jobs.started('a');
  const result = {
    status: 'success',
    data: {},
    context: { request_id: 'r', elapsed_ms: 1 },
  } as const;
  jobs.ended('b', result);
  expect(jobs.all()).toMatchObject([
    { id: 'a', starts: 2 },
    { id: 'b', end: { result, atS: expect.any(Number) } },
  ]);
  jobs.forget('b');
  expect(jobs.all()).toHaveLength(1);
});
