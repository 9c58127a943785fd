/** Jobs whose handle somebody has, over the end of their daemon. */
import { expect, test } from 'vitest';
import { JOB_KEPT_MS, JOB_STARTS_MAX } from '../../src/base/limits.ts';
import { Redactor } from '../../src/base/redaction.ts';
import { jobCallOf } from '../../src/tools/kept-jobs.ts';
import type { CallResult } from '../../src/tools/tools.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import type { Answer, Facts } from './fixture.ts';
import { RememberedCalls, RememberedJobs, type Sample, sample, session } from './sample.ts';

const never = new AbortController().signal;

/** Daemons one after the other, over what the journal would keep. */
class Daemons {
  readonly clock = new TurnedClock();
  readonly calls = new RememberedCalls();
  readonly jobs = new RememberedJobs(() => this.clock.now().s);

  start(): Sample {
    const tools = sample(this.clock, this.calls, this.jobs);
    tools.registry.resume();
    return tools;
  }

  /** The handle of a job that goes on. */
  async begin(tools: Sample, values: Facts = {}): Promise<string> {
    const answer = this.call(tools, values);
    await settle();
    await this.clock.turn(20_000);
    const { data } = envelopeOf(await answer);
    return (data as { job: { job_id: string } }).job.job_id;
  }

  call({ registry }: Sample, values: Facts = {}, key?: string): Promise<CallResult> {
    const tool = registry.get('sample_job');
    if (tool === undefined) throw new Error('no sample_job');
    return registry.call(tool, values, session(), { signal: never, key });
  }
}

const envelopeOf = ({ structuredContent }: CallResult): Answer =>
  JSON.parse(JSON.stringify(structuredContent));

const stateOf = ({ ports }: Sample, id: string) => ports.jobs.get('uid:0', id).state;
const resultOf = ({ ports }: Sample, id: string) => ports.jobs.result('uid:0', id);

test('a job whose handle was given goes on in the next daemon, under the same handle and user', async () => {
  const daemons = new Daemons();
  const id = await daemons.begin(daemons.start(), { stubborn: true });
  const next = daemons.start();
  await settle();
  expect(stateOf(next, id)).toBe('running');
  expect(() => next.ports.jobs.get('uid:1', id)).toThrow();
  expect(next.waiting.started[0]?.caller).toMatchObject({ uid: 0, checked: false });
  next.waiting.open();
  await settle();
  expect(resultOf(next, id)).toMatchObject({ status: 'success', data: { waited: true } });
});

test('nobody has the handle: the job ends with its daemon', async () => {
  const daemons = new Daemons();
  void daemons.call(daemons.start());
  await settle();
  expect(daemons.jobs.all()).toEqual([]);
});

test('what a job had changed when its daemon died is not changed again', async () => {
  const daemons = new Daemons();
  const first = daemons.start();
  const id = await daemons.begin(first);
  // Its answer lies with its change, and the daemon dies before the job is seen to end.
  daemons.jobs.ended = () => {};
  first.waiting.open();
  await settle();
  const next = daemons.start();
  await settle();
  expect(next.waiting.started).toEqual([]);
  expect(resultOf(next, id)).toMatchObject({ status: 'success', data: { waited: true } });
});

test('the end of a job is known for fifteen minutes, to later daemons too', async () => {
  const daemons = new Daemons();
  const first = daemons.start();
  const id = await daemons.begin(first);
  first.waiting.open();
  await settle();
  const [kept] = daemons.jobs.all();
  expect(kept?.end?.result).toMatchObject({ data: { waited: true } });
  const next = daemons.start();
  expect(stateOf(next, id)).toBe('done');
  expect(next.waiting.started).toEqual([]);
  await daemons.clock.turn(JOB_KEPT_MS + 1000);
  expect(() => stateOf(next, id)).toThrow();
  expect(daemons.jobs.all()).toEqual([]);
});

test('a job goes on after a daemon that was stopped, and not when it was cancelled', async () => {
  const daemons = new Daemons();
  const first = daemons.start();
  const [stopped, cancelled] = [await daemons.begin(first), await daemons.begin(first)];
  first.ports.jobs.cancel('uid:0', cancelled);
  await settle();
  await first.ports.jobs.close();
  const next = daemons.start();
  await settle();
  expect(stateOf(next, stopped)).toBe('running');
  expect(daemons.jobs.jobs.get(cancelled)?.end?.result).toMatchObject({ error_code: 'CANCELLED' });
});

test('the deadline of a job is that of its first daemon', async () => {
  const daemons = new Daemons();
  const id = await daemons.begin(daemons.start(), { timeout_ms: 60_000, stubborn: false });
  const next = daemons.start();
  await settle();
  await daemons.clock.turn(39_000);
  expect(stateOf(next, id)).toBe('running');
  await daemons.clock.turn(1500);
  await settle();
  expect(resultOf(next, id)).toMatchObject({ error_code: 'TIMEOUT' });
});

test('a job that ends every daemon is given up after some', async () => {
  const daemons = new Daemons();
  const id = await daemons.begin(daemons.start());
  for (let n = 1; n < JOB_STARTS_MAX; n += 1) {
    const next = daemons.start();
    await settle();
    expect(next.waiting.started).toHaveLength(1);
  }
  const last = daemons.start();
  await settle();
  expect(last.waiting.started).toEqual([]);
  expect(resultOf(last, id)).toMatchObject({ status: 'error', error_code: 'INTERNAL' });
});

test('a job of a tool that is gone, or that takes other arguments, fails and says so', async () => {
  const daemons = new Daemons();
  const id = await daemons.begin(daemons.start());
  const [kept] = daemons.jobs.all();
  if (kept === undefined) throw new Error('nothing is kept');
  const { call } = kept;
  daemons.jobs.jobs.set('gone', { ...kept, id: 'gone', call: { ...call, tool: 'sample_gone' } });
  const values = { colour: 1 };
  daemons.jobs.jobs.set('other', { ...kept, id: 'other', call: { ...call, values } });
  const next = daemons.start();
  await settle();
  expect(resultOf(next, 'gone')).toMatchObject({ error_code: 'VERSION_UNSUPPORTED' });
  expect(resultOf(next, 'other')).toMatchObject({ error_code: 'INVALID_ARGUMENT' });
  expect(stateOf(next, id)).toBe('running');
});

test('a job keeps the bounds its caller had', async () => {
  const daemons = new Daemons();
  await daemons.begin(daemons.start());
  const [kept] = daemons.jobs.all();
  if (kept === undefined) throw new Error('nothing is kept');
  const { call } = kept;
  const bound = { ...call.session, ceiling: { ...call.session.ceiling, readOnly: true } };
  daemons.jobs.jobs.set('bound', { ...kept, id: 'bound', call: { ...call, session: bound } });
  const next = daemons.start();
  await settle();
  expect(resultOf(next, 'bound')).toMatchObject({ error_code: 'TOOL_NOT_ALLOWED' });
});

test('a job whose arguments hold what looks like a secret is not written down', () => {
  const tool = sample().registry.get('sample_job');
  if (tool === undefined) throw new Error('no sample_job');
  const facts = { key: 'k', requestId: 'r', startedAt: { s: 1, ns: 0 }, timeoutMs: 1000 };
  const kept = (values: Facts) => {
    const call = { tool, session: session(), toolCallId: undefined, values, ...facts };
    return jobCallOf(call, new Redactor());
  };
  expect(kept({ content: 'plain' })).toMatchObject({ values: { content: 'plain' } });
  expect(kept({ content: 'token=s3cret-s3cret' })).toBeUndefined();
  expect(kept({ password: 'plain' })).toBeUndefined();
});

test('a call sent again finds the job that goes on', async () => {
  const daemons = new Daemons();
  const first = daemons.start();
  const answer = daemons.call(first, {}, 'k');
  await settle();
  await daemons.clock.turn(20_000);
  const { data } = envelopeOf(await answer);
  const next = daemons.start();
  await settle();
  const again = daemons.call(next, {}, 'k');
  await settle();
  await daemons.clock.turn(20_000);
  const found = envelopeOf(await again).data as { job: { job_id: string } };
  expect(found.job.job_id).toBe((data as typeof found).job.job_id);
  expect(next.waiting.started).toHaveLength(1);
});
