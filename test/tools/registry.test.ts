import { describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { UNLIMITED } from '../../src/tools/ceiling.ts';
import type { CallResult } from '../../src/tools/envelope.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { type Sample, sample, session } from './sample.ts';

const never = new AbortController().signal;

function call(
  { registry }: Sample,
  name: string,
  values: unknown,
  signal = never,
): Promise<CallResult> {
  const tool = registry.get(name);
  if (tool === undefined) throw new Error(`no tool ${name}`);
  return registry.call(tool, values, session(), { signal });
}

/** The envelope of a result, after the wire. */
function envelopeOf(result: CallResult): {
  status: string;
  error_code?: string;
  data?: unknown;
  error?: string;
  context: Record<string, unknown>;
} {
  return JSON.parse(JSON.stringify(result.structuredContent));
}

describe('the registry', () => {
  test('a tool that is not there is absent, not an error', () => {
    expect(sample().registry.get('sample_nope')).toBeUndefined();
  });

  test('what is listed has all four hints, strict schemas and no noise', async () => {
    for (const tool of await sample().registry.list(UNLIMITED)) {
      expect(Object.keys(tool.annotations).sort()).toEqual([
        'destructiveHint',
        'idempotentHint',
        'openWorldHint',
        'readOnlyHint',
        'title',
      ]);
      expect(tool.inputSchema['additionalProperties']).toBe(false);
      expect(JSON.stringify(tool.inputSchema)).not.toMatch(/\$schema|9007199254740991/);
      expect(tool.outputSchema === undefined).toBe(tool.name === 'sample_bytes');
    }
  });

  test('whoever changes something counts among those who store blocks until it ends', async () => {
    for (const [name, isQuiet] of [
      ['sample_wait', true],
      ['sample_change', false],
      ['sample_job', false],
    ] as const) {
      const tools = sample();
      const calling = call(tools, name, {});
      await settle();
      expect(tools.holding.isQuiet, name).toBe(isQuiet);
      tools.waiting.fail(new OpError('io', name));
      await calling;
      expect(tools.holding.isQuiet, name).toBe(true);
    }
  });

  test('two tools of one name are our bug', () => {
    const { registry, ports } = sample();
    const [tool] = registry.allowed(UNLIMITED);
    if (tool === undefined) throw new Error('no tool');
    expect(
      () => new (Object.getPrototypeOf(registry).constructor)({ tools: [tool, tool], ports }),
    ).toThrow(/one name/);
  });

  test('a record is one text block equal to its structured content', async () => {
    const result = await call(sample(), 'sample_echo', { path: '/ipfs/a/' });
    expect(result.isError).toBeUndefined();
    expect(result.content).toHaveLength(1);
    const [block] = result.content;
    expect(block?.type).toBe('text');
    expect(JSON.parse(block?.type === 'text' ? block.text : '')).toEqual(envelopeOf(result));
    expect(envelopeOf(result)).toMatchObject({
      status: 'success',
      data: { path: '/ipfs/a', limit: 50 },
      context: { seq: 7, warnings: ['only a sample'], request_id: expect.stringMatching(/.{22}/) },
    });
  });

  test('content has a header line, a payload and a link, and no structured content', async () => {
    const result = await call(sample(), 'sample_bytes', { text: 'hällo', length: 2 });
    expect(result.structuredContent).toBeUndefined();
    const [header, payload, link] = result.content;
    expect(JSON.parse(header?.type === 'text' ? header.text : '')).toEqual({
      kitfs: {
        uri: 'kitfs://tree/a',
        size: 6,
        offset: 0,
        length: 1, // The code point that the end cuts is left for the next slice.
        eof: false,
        truncated: true,
        next_offset: 1,
        encoding: 'utf-8',
        mime: 'text/plain',
      },
    });
    expect(payload).toEqual({ type: 'text', text: 'h' });
    expect(link).toMatchObject({ type: 'resource_link', uri: 'kitfs://tree/a', size: 6 });
    expect(result._meta?.['kitfs/envelope']).toMatchObject({
      status: 'success',
      data: { size: 6 },
    });
  });

  test('everything wrong with the arguments is listed, before anything happens', async () => {
    const result = await call(sample(), 'sample_echo', {
      limit: 0,
      colour: 1,
      note: 'much too long',
      cid: 7,
    });
    expect(result.isError).toBe(true);
    const { error_code, context } = envelopeOf(result);
    expect(error_code).toBe('INVALID_ARGUMENT');
    expect(context['issues']).toEqual(
      expect.arrayContaining([
        { argument: 'path', reason: 'missing', expected: 'string' },
        { argument: 'limit', reason: 'range', expected: 'at least 1' },
        { argument: 'colour', reason: 'unknown' },
        { argument: 'note', reason: 'range', expected: 'text of 0 to 8 bytes' },
        { argument: 'cid', reason: 'type', expected: 'string' },
      ]),
    );
    expect(context['issues']).toHaveLength(5);
  });

  test('a path or a CID that is nothing of the kind has a code of its own', async () => {
    const path = await call(sample(), 'sample_echo', { path: '/ipfs/../etc' });
    expect(envelopeOf(path)).toMatchObject({
      error_code: 'INVALID_PATH',
      context: { path: '/ipfs/../etc', issues: [{ argument: 'path' }] },
    });
    const long = await call(sample(), 'sample_echo', { path: `/${'x'.repeat(256)}` });
    expect(envelopeOf(long).error_code).toBe('NAME_TOO_LONG');
    const cid = await call(sample(), 'sample_echo', { path: '/a', cid: 'QmNot' });
    expect(envelopeOf(cid)).toMatchObject({ error_code: 'INVALID_CID', context: { cid: 'QmNot' } });
  });

  test('arguments that are no object are an error of arguments', async () => {
    const result = await call(sample(), 'sample_echo', 'path');
    expect(envelopeOf(result).error_code).toBe('INVALID_ARGUMENT');
  });

  test('an operating error is told with what it concerns, without secrets or inner facts', async () => {
    const result = await call(sample(), 'sample_fail', { how: 'not-found' });
    const { error_code, error, context } = envelopeOf(result);
    expect(result.isError).toBe(true);
    expect(error_code).toBe('NOT_FOUND');
    expect(error).toBe('stat /ipfs/none: not found; list the parent');
    expect(context).toMatchObject({ kind: 'path', path: '/ipfs/none', errno: 'ENOENT' });
    expect(context['inner']).toBeUndefined();
    expect(context['cause']).toBe('password=[redacted] \\u0000 https://[redacted]@host/x');
  });

  test('an error nobody foresaw is INTERNAL, logged under its request and not shown', async () => {
    const it = sample();
    const { error_code, context, error } = envelopeOf(
      await call(it, 'sample_fail', { how: 'untyped' }),
    );
    expect(error_code).toBe('INTERNAL');
    expect(JSON.stringify({ context, error })).not.toContain('secret');
    expect(it.log.lines).toEqual([
      expect.objectContaining({
        level: 'error',
        fields: expect.objectContaining({ request_id: context['request_id'] }),
      }),
    ]);
  });

  test('a change that was made is answered, however long the answer', async () => {
    const result = await call(sample(), 'sample_fail', { how: 'large' });
    expect(envelopeOf(result).status).toBe('success');
  });

  test('a call that takes too long is TIMEOUT, with what it had done', async () => {
    const clock = new TurnedClock();
    const answer = call(sample(clock), 'sample_wait', { steps: 3, timeout_ms: 400 });
    await clock.turn(400);
    expect(envelopeOf(await answer)).toMatchObject({
      error_code: 'TIMEOUT',
      context: { partial: { progress: { done: 3, total: 3 } }, retryable: true },
    });
    expect(clock.sleeping).toBe(0);
  });

  test('a reader that does not heed its deadline does not keep its caller', async () => {
    const clock = new TurnedClock();
    const answer = call(sample(clock), 'sample_wait', { stubborn: true });
    await clock.turn(10_000);
    expect(envelopeOf(await answer).error_code).toBe('TIMEOUT');
  });

  test('a change that ends after its deadline is told as what it became', async () => {
    const clock = new TurnedClock();
    const it = sample(clock);
    const answer = call(it, 'sample_change', { stubborn: true });
    await clock.turn(10_000);
    it.waiting.open();
    expect(envelopeOf(await answer)).toMatchObject({ status: 'success', data: { waited: true } });
  });

  test('a change that neither ends nor heeds is told as still running', async () => {
    const clock = new TurnedClock();
    const answer = call(sample(clock), 'sample_change', { stubborn: true });
    await clock.turn(15_000);
    expect(envelopeOf(await answer)).toMatchObject({
      error_code: 'TIMEOUT',
      context: { partial: { still_running: true } },
    });
  });

  test('a call that failed of itself while it was given up says what it failed of', async () => {
    const clock = new TurnedClock();
    const it = sample(clock);
    const answer = call(it, 'sample_change', { stubborn: true });
    await clock.turn(10_000);
    it.waiting.fail(new OpError('no-space', 'write'));
    expect(envelopeOf(await answer).error_code).toBe('NO_SPACE');
  });

  test('a call given up for a reason that is no error of ours is CANCELLED', async () => {
    const it = sample();
    const stop = new AbortController();
    const answer = call(it, 'sample_wait', {}, stop.signal);
    await settle();
    stop.abort(new Error('the connection is gone'));
    expect(envelopeOf(await answer).error_code).toBe('CANCELLED');
    expect(it.log.lines).toEqual([]);
  });

  test('a call cancelled before it began runs nothing', async () => {
    const it = sample();
    const cancelled = AbortSignal.abort(new OpError('cancelled', 'call'));
    const result = await call(it, 'sample_wait', {}, cancelled);
    expect(envelopeOf(result).error_code).toBe('CANCELLED');
    expect(it.waiting.started).toHaveLength(0);
  });

  test('a call acts with the rights of its peer and is known to the journal', async () => {
    const it = sample();
    const tool = it.registry.get('sample_wait');
    if (tool === undefined) throw new Error('no tool');
    const controller = new AbortController();
    const answer = it.registry.call(tool, {}, session(1000), {
      signal: controller.signal,
      toolCallId: '17',
    });
    await settle();
    const [context] = it.waiting.started;
    expect(context?.caller).toMatchObject({ uid: 1000, gid: 1000, groups: [1000], checked: false });
    expect(context?.caller.actor()).toEqual({
      surface: 'mcp',
      uid: 1000,
      gid: 1000,
      pid: 1,
      client: 'test',
      clientVersion: '1',
      session: 'session-1',
      tool: 'sample_wait',
      toolCall: '17',
    });
    it.waiting.open();
    await answer;
  });
});

describe('a job tool', () => {
  test('answers with its result when it ends soon enough, and leaves no job', async () => {
    const it = sample();
    it.waiting.open();
    const result = await call(it, 'sample_job', {});
    expect(envelopeOf(result).data).toEqual({ waited: true });
    expect(it.ports.jobs.list('uid:0')).toEqual([]);
  });

  test('answers with a job when it does not, and the job has the result later', async () => {
    const clock = new TurnedClock();
    const it = sample(clock);
    const answer = call(it, 'sample_job', { wait_ms: 500, steps: 2 });
    await clock.turn(500);
    const { data } = envelopeOf(await answer) as { data: { job: { job_id: string } } };
    expect(data).toEqual({
      job: {
        job_id: expect.any(String),
        tool: 'sample_job',
        state: 'running',
        progress: { done: 2, total: 2, unit: 'items' },
        started_at: '2023-11-14T22:13:20.000000000Z',
        deadline: '2023-11-14T22:18:20.000000000Z',
      },
    });
    it.waiting.open();
    await settle();
    const { job_id: id } = data.job;
    expect(it.ports.jobs.get('uid:0', id)).toMatchObject({ state: 'done' });
    expect(it.ports.jobs.result('uid:0', id)).toMatchObject({ data: { waited: true } });
  });

  test('goes on when its connection closes after the job was handed over', async () => {
    const clock = new TurnedClock();
    const it = sample(clock);
    const controller = new AbortController();
    const answer = call(it, 'sample_job', { wait_ms: 0 }, controller.signal);
    await clock.turn(0);
    const { data } = envelopeOf(await answer) as { data: { job: { job_id: string } } };
    controller.abort();
    await settle();
    expect(it.ports.jobs.get('uid:0', data.job.job_id).state).toBe('running');
  });

  test('given up while it winds up is not handed over as a job', async () => {
    const clock = new TurnedClock();
    const controller = new AbortController();
    const values = { wait_ms: 500, stubborn: true };
    const answer = call(sample(clock), 'sample_job', values, controller.signal);
    await clock.turn(0);
    controller.abort(new OpError('cancelled', 'call'));
    await clock.turn(6000);
    expect(envelopeOf(await answer)).toMatchObject({
      error_code: 'CANCELLED',
      context: { partial: { still_running: true } },
    });
  });

  test('whose caller was gone before it began is given up, and leaves no job', async () => {
    const it = sample(new TurnedClock());
    const gone = AbortSignal.abort(new OpError('cancelled', 'call'));
    expect(envelopeOf(await call(it, 'sample_job', {}, gone)).error_code).toBe('CANCELLED');
    for (const { signal } of it.waiting.started) expect(signal.aborted).toBe(true);
    expect(it.ports.jobs.list('uid:0')).toEqual([]);
  });

  test('is given up with its call while that waits', async () => {
    const it = sample(new TurnedClock());
    const controller = new AbortController();
    const answer = call(it, 'sample_job', {}, controller.signal);
    await settle();
    controller.abort(new OpError('cancelled', 'call'));
    expect(envelopeOf(await answer).error_code).toBe('CANCELLED');
    expect(it.ports.jobs.list('uid:0')).toEqual([]);
  });
});
