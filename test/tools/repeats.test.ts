/** Calls that are sent again under their idempotency key: what changes something, changes it once. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Redactor } from '../../src/base/redaction.ts';
import { READ_ONLY, Scope, UNLIMITED } from '../../src/tools/ceiling.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { Registry } from '../../src/tools/registry.ts';
import type { CallResult } from '../../src/tools/tools.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { type Answer, type Facts, Fixture } from './fixture.ts';
import { RememberedCalls, type Sample, sample, session } from './sample.ts';

const never = new AbortController().signal;

const envelopeOf = (result: CallResult): Answer =>
  JSON.parse(JSON.stringify(result.structuredContent ?? result._meta?.['kitfs/envelope']));

describe('over a journal', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = new Fixture();
  });
  afterEach(() => fixture.close());

  /** A daemon that knows of the calls of others only what the journal says. */
  const another = () =>
    new Registry({ tools: TOOLS, ports: fixture.ports, redactor: new Redactor() });

  async function call(registry: Registry, name: string, values: Facts, key: unknown, uid = 0) {
    const tool = registry.get(name);
    if (tool === undefined) throw new Error(`no tool ${name}`);
    const answer = envelopeOf(
      await registry.call(tool, values, session(uid), { signal: never, key }),
    );
    const { elapsed_ms: _, ...context } = answer.context;
    return { ...answer, context };
  }

  /** What the last call before gave. */
  const CID = 'the cid';
  const HELLO = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';

  /** For each tool that changes the journal: a call of it, and what has to be there before. */
  const CALLS: Readonly<Record<string, { before?: [string, Facts][]; values: Facts }>> = {
    vfs_write: { values: { path: '/ipfs/a', content: 'x', append: true, sync: true } },
    vfs_mkdir: { values: { path: '/ipfs/d', parents: true } },
    vfs_copy: {
      before: [['vfs_write', { path: '/ipfs/a', content: 'x' }]],
      values: { source: '/ipfs/a', destination: '/ipfs/b' },
    },
    vfs_move: {
      before: [['vfs_write', { path: '/ipfs/a', content: 'x' }]],
      values: { source: '/ipfs/a', destination: '/ipfs/b' },
    },
    vfs_rm: {
      before: [['vfs_write', { path: '/ipfs/a', content: 'x' }]],
      values: { path: '/ipfs/a' },
    },
    vfs_rmdir: {
      before: [['vfs_mkdir', { path: '/ipfs/d' }]],
      values: { path: '/ipfs/d' },
    },
    mbfs_register_backend: { values: { backend: 'shelf', kind: 'memory', config: {} } },
    mbfs_remove_backend: {
      before: [['mbfs_register_backend', { backend: 'shelf', kind: 'memory', config: {} }]],
      values: { backend: 'shelf' },
    },
    mbfs_store: { values: { backend: 'memory', identifier: 'k', content: 'x' } },
    mbfs_delete: {
      before: [['mbfs_store', { backend: 'memory', identifier: 'k', content: 'x' }]],
      values: { backend: 'memory', identifier: 'k', force: true },
    },
    mbfs_copy_between_backends: {
      before: [['mbfs_store', { backend: 'memory', identifier: 'k', content: 'x' }]],
      values: { source_backend: 'memory', identifier: 'k', destination_backend: 'local' },
    },
    vfs_mount: { values: { backend: 'memory', mount_point: '/scratch' } },
    vfs_unmount: {
      before: [['vfs_mount', { backend: 'memory', mount_point: '/scratch' }]],
      values: { mount_point: '/scratch' },
    },
    vfs_sync_to_ipfs: {
      before: [['vfs_write', { path: '/ipfs/a', content: 'x' }]],
      values: { path: '/ipfs' },
    },
    vfs_sync_from_ipfs: {
      before: [['ipfs_add', { content: 'hello', filename: 'a', wrap_with_directory: true }]],
      values: {
        ipfs_path: CID,
        path: '/ipfs/restored',
        parents: true,
      },
    },
    ipfs_add: { values: { content: 'hello world' } },
    ipfs_pin_add: {
      before: [['ipfs_add', { content: 'hello world\n', pin: false }]],
      values: { ipfs_path: CID },
    },
    ipfs_pin_rm: {
      before: [['ipfs_add', { content: 'hello world\n' }]],
      values: { ipfs_path: CID },
    },
    ipfs_pin_update: {
      before: [
        ['ipfs_add', { content: 'hello world' }],
        ['ipfs_add', { content: 'the next', pin: false }],
      ],
      values: { source: HELLO, destination: CID },
    },
    ipfs_get: {
      before: [['ipfs_add', { content: 'hello world' }]],
      values: { ipfs_path: CID, output_path: '/ipfs/got' },
    },
    ipfs_dag_put: { values: { value: { hello: 'world' }, pin: true } },
    ipfs_name_publish: {
      before: [['ipfs_add', { content: 'hello world' }]],
      values: { ipfs_path: CID, allow_offline: true },
    },
    ipfs_files_mkdir: { values: { path: '/d' } },
    ipfs_files_write: { values: { path: '/f', content: 'x' } },
    ipfs_files_cp: {
      before: [['ipfs_files_write', { path: '/f', content: 'x' }]],
      values: { source: '/f', destination: '/g' },
    },
    ipfs_files_mv: {
      before: [['ipfs_files_write', { path: '/f', content: 'x' }]],
      values: { source: '/f', destination: '/g' },
    },
    ipfs_files_rm: {
      before: [['ipfs_files_write', { path: '/f', content: 'x' }]],
      values: { path: '/f' },
    },
    ipfs_files_chcid: {
      before: [['ipfs_files_mkdir', { path: '/d' }]],
      values: { path: '/d', hash: 'sha2-512' },
    },
  };
  /** Those that need others, whose law is that of `kubo-net-tools.test.ts` and `backend-tools.test.ts`. */
  const OVER_A_NETWORK = ['ipfs_pubsub_publish', 'ipfs_cluster_pin'];

  test('every tool says what it changes, and says so only when it is not read-only', () => {
    const wrong = TOOLS.filter(({ hints, changes }) => hints.readOnly !== (changes === 'nothing'));
    expect(wrong.map(({ name }) => name)).toEqual([]);
    const journaled = TOOLS.filter(({ changes }) => changes === 'journal');
    const known = [...Object.keys(CALLS), ...OVER_A_NETWORK];
    expect(journaled.map(({ name }) => name).sort()).toEqual(known.sort());
  });

  for (const [name, { before = [], values: given }] of Object.entries(CALLS)) {
    test(`${name} under one key changes once, and gives one answer`, async () => {
      let cid: unknown;
      for (const [tool, needed] of before) ({ cid } = await fixture.done(tool, needed));
      const named = Object.entries(given).map(([key, value]) => [key, value === CID ? cid : value]);
      const values: Facts = Object.fromEntries(named);
      const first = await call(fixture.registry, name, values, 'k');
      expect(first, JSON.stringify(first)).toMatchObject({ status: 'success' });
      expect(first.context['seq']).toBe(fixture.journal.head.seq);
      const after = fixture.fingerprint();
      expect(await call(another(), name, values, 'k')).toEqual(first);
      expect(fixture.fingerprint()).toEqual(after);
      // The key does it: under another one the call is another call.
      const again = await call(another(), name, values, 'l');
      expect(again.context['request_id']).not.toBe(first.context['request_id']);
    });
  }

  test('the order of arguments makes no other call; another value does, and is refused', async () => {
    const { registry } = fixture;
    const first = await call(registry, 'vfs_write', { path: '/ipfs/a', content: 'x' }, 'k');
    const turned = { content: 'x', path: '/ipfs/a' };
    expect(await call(another(), 'vfs_write', turned, 'k')).toEqual(first);
    for (const [tool, values] of [
      ['vfs_write', { path: '/ipfs/a', content: 'y' }],
      ['vfs_mkdir', { path: '/ipfs/d' }],
    ] as const) {
      const refused = await call(another(), tool, values, 'k');
      expect(refused).toMatchObject({
        error_code: 'INVALID_ARGUMENT',
        context: { issues: [{ argument: '_meta.kitfs/idempotency', reason: 'combination' }] },
      });
    }
    expect(await fixture.text('/ipfs/a')).toBe('x');
  });

  test.each([7, '', 'k'.repeat(129), null])('a key that is none is refused: %s', async (key) => {
    const refused = await call(fixture.registry, 'vfs_mkdir', { path: '/ipfs/d' }, key);
    expect(refused).toMatchObject({ error_code: 'INVALID_ARGUMENT' });
  });

  test('the key of one user never answers another', async () => {
    const values = { path: '/ipfs/d' };
    await call(fixture.registry, 'vfs_mkdir', values, 'k', 0);
    const other = await call(another(), 'vfs_mkdir', values, 'k', 1000);
    expect(other).toMatchObject({ error_code: 'ALREADY_EXISTS' });
    const others = await call(another(), 'vfs_mkdir', { path: '/ipfs/e' }, 'k', 1000);
    expect(others).toMatchObject({ status: 'success' });
  });

  test('an answer that was kept is given only within the ceiling of who asks now', async () => {
    const tool = another().get('vfs_mkdir');
    if (tool === undefined) throw new Error('no vfs_mkdir');
    const options = { signal: never, key: 'k' };
    const as = async (facts: object) =>
      envelopeOf(
        await another().call(tool, { path: '/ipfs/d' }, { ...session(0), ...facts }, options),
      );
    expect(await as({})).toMatchObject({ status: 'success' });
    expect(await as({ ceiling: { ...UNLIMITED, scope: new Scope(['/ipfs']) } })).toMatchObject({
      data: { created: true },
    });
    expect(await as({ ceiling: READ_ONLY })).toMatchObject({ error_code: 'TOOL_NOT_ALLOWED' });
    expect(
      await as({ ceiling: { ...UNLIMITED, scope: new Scope(['/ipfs/other']) } }),
    ).toMatchObject({ error_code: 'POLICY_DENIED' });
    // A token makes another caller, to whom nothing was answered yet.
    expect(await as({ principal: 'uid:0 token:a' })).toMatchObject({ status: 'error' });
  });

  test('a key that holds a secret is refused, and written nowhere', async () => {
    const answer = await call(another(), 'vfs_mkdir', { path: '/ipfs/d' }, 'token=s3cret');
    expect(answer).toMatchObject({ status: 'error', error_code: 'INVALID_ARGUMENT' });
    expect(JSON.stringify(answer)).not.toContain('s3cret');
  });

  test('what failed changed nothing, and is run again', async () => {
    const values = { source: '/ipfs/a', destination: '/ipfs/b' };
    const first = await call(fixture.registry, 'vfs_move', values, 'k');
    expect(first).toMatchObject({ error_code: 'NOT_FOUND' });
    await fixture.write('/ipfs/a', 'x');
    expect(await call(another(), 'vfs_move', values, 'k')).toMatchObject({ status: 'success' });
  });

  test('a rehearsal uses up no key', async () => {
    const values = { path: '/ipfs/a', content: 'x' };
    await call(fixture.registry, 'vfs_write', { ...values, dry_run: true }, 'k');
    expect(await call(another(), 'vfs_write', values, 'k')).toMatchObject({ status: 'success' });
    const plan = await call(another(), 'vfs_write', { ...values, dry_run: true }, 'k');
    expect(plan).toMatchObject({ data: { dry_run: true } });
  });

  test('two at once change once: the second waits, and gets the same answer', async () => {
    const values = { path: '/ipfs/a', content: 'x', append: true };
    const { registry } = fixture;
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => call(registry, 'vfs_write', values, 'k')),
    );
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(await fixture.text('/ipfs/a')).toBe('x');
  });
});

describe('while the first is at work', () => {
  const call = ({ registry }: Sample, name: string, values: Facts, signal = never) => {
    const tool = registry.get(name);
    if (tool === undefined) throw new Error(`no tool ${name}`);
    return registry.call(tool, values, session(), { signal, key: 'k' });
  };

  test('a repeat whose first was cut off with its connection is run', async () => {
    const tools = sample();
    const cut = new AbortController();
    const first = call(tools, 'sample_change', {}, cut.signal);
    const second = call(tools, 'sample_change', {});
    await settle();
    expect(tools.waiting.started).toHaveLength(1);
    cut.abort();
    expect(envelopeOf(await first)).toMatchObject({ error_code: 'CANCELLED' });
    await settle();
    expect(tools.waiting.started).toHaveLength(2);
    tools.waiting.open();
    expect(envelopeOf(await second)).toMatchObject({ status: 'success' });
  });

  test('work that goes on after its call gave up is waited for', async () => {
    const clock = new TurnedClock();
    const tools = sample(clock);
    const cut = new AbortController();
    const first = call(tools, 'sample_change', { stubborn: true }, cut.signal);
    await settle();
    cut.abort();
    await settle();
    await clock.turn(5000);
    expect(envelopeOf(await first)).toMatchObject({ error_code: 'CANCELLED' });
    const second = call(tools, 'sample_change', { stubborn: true });
    await settle();
    expect(tools.waiting.started).toHaveLength(1);
    tools.waiting.open();
    expect(envelopeOf(await second)).toMatchObject({ status: 'success' });
    expect(tools.waiting.started).toHaveLength(1);
  });

  test('a repeat waits no longer than a call may take', async () => {
    const clock = new TurnedClock();
    const tools = sample(clock);
    const cut = new AbortController();
    const first = call(tools, 'sample_change', { stubborn: true }, cut.signal);
    await settle();
    cut.abort();
    await settle();
    await clock.turn(5000);
    await first;
    const second = call(tools, 'sample_change', { stubborn: true });
    await settle();
    await clock.turn(10_000);
    expect(envelopeOf(await second)).toMatchObject({ error_code: 'TIMEOUT' });
  });

  test('a repeat of a job gets the handle of the same job, which is kept for it', async () => {
    const clock = new TurnedClock();
    const tools = sample(clock);
    const first = call(tools, 'sample_job', {});
    await settle();
    const second = call(tools, 'sample_job', {});
    await settle();
    await clock.turn(20_000);
    const [one, other] = [envelopeOf(await first), envelopeOf(await second)];
    expect(one.data).toEqual(other.data);
    expect(tools.waiting.started).toHaveLength(1);
    tools.waiting.open();
    await settle();
    const { job_id: id } = (one.data as { job: { job_id: string } }).job;
    expect(tools.ports.jobs.get('uid:0', id).state).toBe('done');
    expect(envelopeOf(await call(tools, 'sample_job', {}))).toMatchObject({
      data: { waited: true },
    });
    expect(tools.waiting.started).toHaveLength(1);
  });

  test('what reads only is run each time', async () => {
    const tools = sample(undefined, new RememberedCalls());
    tools.waiting.open();
    await call(tools, 'sample_wait', {});
    await call(tools, 'sample_wait', {});
    expect(tools.waiting.started).toHaveLength(2);
  });
});
