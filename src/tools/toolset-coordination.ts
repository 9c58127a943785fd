/** Toolset coordination: calls that go on as jobs: job_get, job_cancel. */
import { z } from 'zod';
import { jobSchema } from './results.ts';
import * as schema from './schema.ts';
import { recordTool } from './tool.ts';

// A caller may wait 50 s for a job's end, longer than calls on local state may take.
const COMMON = { toolset: 'coordination', version: '1.0.0', deadline: 'job' } as const;

const waitMs = (byDefault: number) => schema.int(0, 50_000).default(byDefault);

export const jobGet = recordTool({
  ...COMMON,
  name: 'job_get',
  title: 'State of a job',
  description:
    'State and, once it has ended, result of a call that goes on as a job; waits up to ' +
    'wait_ms for the end. Without job_id lists your jobs. A failed job is in result.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  changes: 'nothing',
  input: schema.input({
    job_id: schema.handle().optional(),
    wait_ms: waitMs(0),
    ...schema.page,
  }),
  example: { wait_ms: 0 },
  output: z.union([
    z.object({ job: jobSchema, result: z.record(z.string(), z.unknown()).optional() }),
    z.object({ jobs: z.array(jobSchema), ...schema.pageFields }),
  ]),
  run: async (input, { ports, principal, signal }) => {
    const { jobs, cursors } = ports;
    if (input.job_id === undefined) {
      const request = { tool: 'job_get', principal, arguments: input };
      const { items, ...fields } = await cursors.page(request, () => jobs.list(principal));
      return { data: { jobs: [...items], ...fields } };
    }
    const job = await jobs.wait(principal, input.job_id, input.wait_ms, signal);
    const result = jobs.result(principal, input.job_id);
    return { data: { job, ...(result === undefined ? {} : { result: { ...result } }) } };
  },
});

export const jobCancel = recordTool({
  ...COMMON,
  name: 'job_cancel',
  title: 'Cancel a job',
  description:
    'Ask a job of yours to end, and wait up to wait_ms until it has. What it changed is ' +
    'rolled back or finished, never left half done. A finished job stays as it is.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: false },
  changes: 'process',
  input: schema.input({ job_id: schema.handle(), wait_ms: waitMs(20_000) }),
  example: { job_id: 'AAAAAAAAAAAAAAAAAAAAAA' },
  output: z.object({ job: jobSchema }),
  run: async ({ job_id: id, wait_ms: wait }, { ports, principal, signal }) => {
    ports.jobs.cancel(principal, id);
    return { data: { job: await ports.jobs.wait(principal, id, wait, signal) } };
  },
});
