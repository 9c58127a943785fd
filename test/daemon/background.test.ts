import { describe, expect, test } from 'vitest';
import { asOpError, OpError } from '../../src/base/errors.ts';
import { LOOP_RESTART_MS, RETENTION_INTERVAL_MS } from '../../src/base/limits.ts';
import type { NativeFiles } from '../../src/base/native.ts';
import { Redactor } from '../../src/base/redaction.ts';
import { retain, saveReads } from '../../src/daemon/background.ts';
import { ErrorRing } from '../../src/daemon/errors.ts';
import { type HealthFacts, healthOf } from '../../src/daemon/health.ts';
import { createLog } from '../../src/daemon/log.ts';
import { Loops } from '../../src/daemon/loops.ts';
import { JournalSync } from '../../src/daemon/stable.ts';
import { Teardown } from '../../src/daemon/teardown.ts';
import { packageVersion } from '../../src/daemon/version.ts';
import type { Journal, Retention } from '../../src/journal/journal.ts';
import type { Core } from '../../src/vfs/vfs.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { Deferred } from './deferred.ts';

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));

describe('a background loop', () => {
  test('that fails is told, shows in the failures, and is begun again', async () => {
    const clock = new TurnedClock();
    const log = new RememberedLog();
    const loops = new Loops({ clock, log });
    let begun = 0;
    loops.start('sealing', async (signal) => {
      begun += 1;
      if (begun === 1) throw new OpError('no-space', 'seal');
      await untilAborted(signal);
    });
    await settle();
    expect(loops.failures()).toMatchObject([{ name: 'sealing', error: { failure: 'no-space' } }]);
    expect(log.lines).toMatchObject([{ level: 'error', fields: { loop: 'sealing' } }]);
    await clock.turn(LOOP_RESTART_MS);
    expect([begun, loops.failures()]).toEqual([2, []]);
    await loops.stop();
  });

  test('lets programs that waited come first, and runs once although it is stopped meanwhile', async () => {
    const clock = new TurnedClock();
    const log = new RememberedLog();
    const begun: string[] = [];
    const run = (name: string) => async (signal: AbortSignal) => {
      begun.push(name);
      if (!signal.aborted) await untilAborted(signal);
    };
    const loops = new Loops({ clock, log, restMs: 300 });
    loops.start('sealing', run('sealing'));
    await clock.turn(299);
    expect(begun).toEqual([]);
    await clock.turn(1);
    loops.start('witness', run('witness'));
    expect(begun).toEqual(['sealing']);
    await loops.stop();
    expect(begun).toEqual(['sealing', 'witness']);
  });

  test('is awaited when it is stopped, the newest first', async () => {
    const order: string[] = [];
    const loops = new Loops({ clock: new TurnedClock(), log: new RememberedLog() });
    for (const name of ['first', 'second']) {
      loops.start(name, async (signal) => {
        await untilAborted(signal);
        await settle();
        order.push(name);
      });
    }
    await loops.stop();
    expect(order).toEqual(['second', 'first']);
  });

  test('that fails because it is stopped has not failed, and one that waits stops at once', async () => {
    const log = new RememberedLog();
    const loops = new Loops({ clock: new TurnedClock(), log });
    loops.start('aborted', async (signal) => {
      await untilAborted(signal);
      throw new Error('aborted');
    });
    loops.start('failed', () => Promise.reject(new Error('bug')));
    await settle();
    await loops.stop();
    expect(log.lines).toHaveLength(1);
  });

  test('of access times writes the last ones also when it is told to end before it begins', async () => {
    let saved = 0;
    const inodes = {
      saveReads: () => {
        saved += 1;
      },
    };
    const core = { inodes } as unknown as Core;
    await saveReads({ core, clock: new TurnedClock() }, AbortSignal.abort());
    expect(saved).toBe(1);
  });

  test('of history takes all steps there are, and looks again after a while', async () => {
    const clock = new TurnedClock();
    const stop = new AbortController();
    const answers = [true, true, false, false];
    let steps = 0;
    const retention = { step: () => answers[steps++] === true } as unknown as Retention;
    const ended = retain({ retention, clock }, stop.signal).catch((error: unknown) => error);
    await expect.poll(() => steps).toBe(3);
    await clock.turn(RETENTION_INTERVAL_MS);
    expect(steps).toBe(4);
    stop.abort();
    await ended;
  });
});

test('what was started is stopped in reverse, and a step that fails keeps none from its turn', async () => {
  const log = new RememberedLog();
  const order: string[] = [];
  const teardown = new Teardown(log);
  teardown.push('first', () => void order.push('first'));
  teardown.push('second', () => {
    throw new Error('no');
  });
  teardown.push('third', async () => void order.push('third'));
  expect(await teardown.run()).toEqual(['second']);
  expect(order).toEqual(['third', 'first']);
  expect(log.lines).toMatchObject([{ level: 'error', fields: { step: 'second' } }]);
  expect(await teardown.run()).toEqual([]);
});

describe('operating errors', () => {
  const rig = (max?: number) => {
    const clock = new TurnedClock();
    const random = new CountingRandom();
    return {
      clock,
      ring: new ErrorRing({
        clock,
        random,
        redactor: new Redactor(),
        ...(max === undefined ? {} : { max }),
      }),
    };
  };

  test('are kept with an id, the newest up to a bound', () => {
    const { ring } = rig(3);
    const ids = Array.from({ length: 10 }, (_, n) =>
      ring.add(new OpError('io', `op ${n}`), 'test'),
    );
    expect(ring.all().map(({ error }) => error.op)).toEqual(['op 7', 'op 8', 'op 9']);
    expect(ring.all().map(({ id }) => id)).toEqual(ids.slice(-3));
  });

  test('are counted by code for an hour', async () => {
    const { clock, ring } = rig();
    ring.add(new OpError('no-space', 'write'), 'test');
    ring.add(new OpError('no-space', 'write'), 'test');
    await clock.turn(3_599_000);
    ring.add(new OpError('integrity', 'read'), 'test');
    expect(ring.lastHour()).toEqual({ NO_SPACE: 2, INTEGRITY_MISMATCH: 1 });
    await clock.turn(2000);
    expect(ring.lastHour()).toEqual({ INTEGRITY_MISMATCH: 1 });
  });

  test('are shown one in a line, with what to do and why', () => {
    const { ring } = rig();
    const cause = new Error('the disk said no');
    const id = ring.add(
      new OpError('io', 'read x', { hint: 'look at the disk', cause }),
      'reading',
    );
    ring.add(new OpError('busy', 'open y'), 'opening');
    const lines = ring.render().toString().trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { id, failure: 'io', op: 'read x', hint: 'look at the disk', cause: 'the disk said no' },
      { error_code: 'MOUNT_BUSY', during: 'opening', time: expect.stringMatching(/Z$/) },
    ]);
  });
});

describe('the log', () => {
  const rig = (isTerminal: boolean, level: 'error' | 'warn' | 'info' = 'info') => {
    const redactor = new Redactor();
    const ports = { clock: new TurnedClock(), random: new CountingRandom(), redactor };
    const errors = new ErrorRing(ports);
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    return { errors, lines, log: createLog({ level, isTerminal, errors, redactor, write }) };
  };

  test('is JSON for machines, one line each, and keeps what went wrong under its id', () => {
    const { errors, lines, log } = rig(false);
    log.info({ files: 3 }, 'counted');
    log.error({ err: new OpError('io', 'read x') }, 'reading failed');
    const [info, error] = lines.map((line) => JSON.parse(line));
    expect(info).toMatchObject({ files: 3, msg: 'counted' });
    expect(error).toMatchObject({ err: { failure: 'io' }, error_id: errors.all()[0]?.id });
    expect(errors.all()).toMatchObject([{ during: 'reading failed', error: { op: 'read x' } }]);
    expect(lines.every((line) => line.endsWith('}\n'))).toBe(true);
  });

  test('is a short line for people', () => {
    const { lines, log } = rig(true);
    log.warn({ files: 3, path: '/a', err: new OpError('io', 'read x') }, 'slow');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d warning: slow files=3 path=\/a err=read x: io\n$/);
  });

  test('leaves out what is below its level', () => {
    const { lines, log } = rig(false, 'warn');
    log.info({}, 'nothing');
    log.warn({}, 'something');
    expect(lines).toHaveLength(1);
  });

  test('writes no secret', () => {
    const { lines, log } = rig(false);
    log.info({ token: 'canary', s3: { secret: 'canary', password: 'canary' } }, 'configured');
    expect(lines[0]).not.toContain('canary');
  });

  test('tells the stack of a bug, and of an operating error what it is and its cause', () => {
    const { lines, log } = rig(false);
    log.error({ err: new TypeError('a bug') }, 'oops');
    log.error({ error: 'only words' }, 'hm');
    log.error({ err: asOpError(new TypeError('inside'), 'call') }, 'oh');
    expect(JSON.parse(lines[0] ?? '').err.stack).toContain('background.test.ts');
    expect(JSON.parse(lines[1] ?? '').error).toBe('only words');
    expect(JSON.parse(lines[2] ?? '').err.cause.message).toBe('inside');
  });
});

describe('health', () => {
  const well: HealthFacts = {
    phase: 'running',
    failedLoops: [],
    errorsLastHour: {},
    freeBytes: 1024 ** 4,
    isReserveWhole: true,
  };
  const failed = (failure: 'no-space' | 'journal-unavailable') => [
    { name: 'history', error: new OpError(failure, 'step') },
  ];

  test.each<[string, Partial<HealthFacts>, string, readonly string[]]>([
    ['nothing is wrong', {}, 'ok', []],
    ['it starts', { phase: 'starting' }, 'recovering', []],
    ['it stops', { phase: 'stopping', freeBytes: 0 }, 'draining', ['NO_SPACE']],
    ['a loop failed', { failedLoops: failed('no-space') }, 'degraded', ['NO_SPACE']],
    [
      'the journal cannot be written',
      { failedLoops: failed('journal-unavailable') },
      'failed',
      ['JOURNAL_UNAVAILABLE'],
    ],
    [
      'a store fails',
      { syncTroubles: [{ error_code: 'TIMEOUT', text: '/ipfs could not be brought to ipfs' }] },
      'degraded',
      ['TIMEOUT'],
    ],
    ['the disk is full', { freeBytes: 1024 }, 'degraded', ['NO_SPACE']],
    ['the reserve is used', { isReserveWhole: false }, 'degraded', ['NO_SPACE']],
    ['somebody asked for what is not there', { errorsLastHour: { NOT_FOUND: 9 } }, 'ok', []],
    ['we have a bug', { errorsLastHour: { INTERNAL: 1 } }, 'degraded', ['INTERNAL']],
  ])('when %s', (_, facts, state, codes) => {
    const health = healthOf({ ...well, ...facts });
    expect(health.state).toBe(state);
    expect(health.because.map(({ error_code }) => error_code)).toEqual(codes);
  });
});

describe('the journal is synced', () => {
  const rig = () => {
    const syncs: Deferred<void>[] = [];
    const native: Pick<NativeFiles, 'fdatasyncMany'> = {
      fdatasyncMany: (fds) => {
        expect(fds).toEqual([7]);
        const sync = new Deferred<void>();
        syncs.push(sync);
        return sync.promise;
      },
    };
    const journal: Partial<Journal> & { failure?: OpError | undefined } = {
      walFd: 7,
      failure: undefined,
      fail: (error) => {
        journal.failure = error;
        return error;
      },
    };
    return { syncs, sync: new JournalSync({ journal: journal as Journal, native }) };
  };

  test('once for all who ask while it is synced, and after they asked', async () => {
    const { syncs, sync } = rig();
    const first = sync.sync();
    const others = [sync.sync(), sync.sync()];
    expect(syncs).toHaveLength(1);
    syncs[0]?.resolve();
    await first;
    await settle();
    expect(syncs).toHaveLength(2);
    syncs[1]?.resolve();
    await Promise.all(others);
    const last = sync.sync();
    expect(syncs).toHaveLength(3);
    syncs[2]?.resolve();
    await last;
  });

  test('and after one that failed the disk is not asked again: it would say that all is well', async () => {
    const { syncs, sync } = rig();
    const first = sync.sync();
    const second = sync.sync();
    syncs[0]?.reject(Object.assign(new Error('no'), { code: 'EIO' }));
    await expect(first).rejects.toMatchObject({ failure: 'io' });
    await expect(second).rejects.toMatchObject({ failure: 'io' });
    await expect(sync.sync()).rejects.toMatchObject({ failure: 'io' });
    expect(syncs.length).toBe(1);
  });

  test('before what waits for it is done, by a sync that began after it was asked for', async () => {
    const { syncs, sync } = rig();
    const done: string[] = [];
    const first = sync.sync();
    sync.afterwards(() => done.push('asked while it ran'));
    syncs[0]?.resolve();
    await first;
    expect([done, syncs.length]).toEqual([[], 1]);
    const second = sync.sync();
    syncs[1]?.resolve();
    await second;
    expect(done).toEqual(['asked while it ran']);
  });

  test('when much waits for it, and nothing of that is done when it fails', async () => {
    const { syncs, sync } = rig();
    let done = 0;
    while (syncs.length === 0) sync.afterwards(() => (done += 1));
    syncs[0]?.reject(Object.assign(new Error('no'), { code: 'EIO' }));
    await expect(sync.sync()).rejects.toMatchObject({ failure: 'io' });
    expect(done).toBe(0);
  });
});

test('the version is that of the package', () => {
  expect(packageVersion()).toMatch(/^\d+\.\d+\.\d+$/);
});
