/** Jobs that outlive their daemon, in the journal. */
import { expect, test } from 'vitest';
import { JournaledJobs } from '../../src/tools/kept-jobs.ts';
import { CALL, plantCalls } from './calls.ts';
import { openScratch } from './scratch.ts';

const noneDamaged = (id: string): never => {
  throw new Error(`${id} is damaged`);
};

test('a job is known from its handle to its end, and until it is forgotten', () => {
  const { journal } = openScratch();
  const jobs = new JournaledJobs(journal);
  jobs.keep('a', CALL);
  jobs.keep('b', CALL);
  expect(jobs.all(noneDamaged)).toEqual(
    ['a', 'b'].map((id) => ({ id, call: CALL, starts: 1, end: undefined })),
  );
  jobs.started('a');
  const result = {
    status: 'success',
    data: {},
    context: { request_id: 'r', elapsed_ms: 1 },
  } as const;
  jobs.ended('b', result);
  expect(jobs.all(noneDamaged)).toMatchObject([
    { id: 'a', starts: 2 },
    { id: 'b', end: { result, atS: expect.any(Number) } },
  ]);
  jobs.forget('b');
  expect(jobs.all(noneDamaged)).toHaveLength(1);
});

test('a job that cannot be read is told of and stays, and the others go on', () => {
  const { journal } = openScratch();
  plantCalls(journal);
  const jobs = new JournaledJobs(journal);
  for (const [id, damage] of [
    ['running', `call = '{"session":{}}'`],
    ['ended', `result = '{"status":'`],
  ]) {
    jobs.keep('other', CALL);
    journal.connection.exec(`UPDATE tool_job SET ${damage} WHERE id = '${id}'`);
    const damaged: string[] = [];
    const read = jobs.all((one) => damaged.push(one)).map((job) => job.id);
    expect(damaged).toContain(id);
    expect(read).not.toContain(id);
    expect(read).toContain('other');
    jobs.forget('other');
  }
  expect(journal.toolJobs.all()).toHaveLength(2);
});
