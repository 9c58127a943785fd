import { afterEach, beforeEach, expect, test } from 'vitest';
import { Fixture } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

test('health is told in numbers that can be checked', async () => {
  await fixture.write('/ipfs/a', 'abc');
  await fixture.write('/ipfs/b', 'de');
  await fixture.done('vfs_stat', { path: '/ipfs/b', compute_cid: true });
  fixture.daemon.errors = { NOT_FOUND: 2 };
  const { head } = fixture.journal;
  const health = await fixture.done('system_health', {});
  expect(health).toMatchObject({
    state: 'ok',
    because: [],
    version: '9.8.7',
    started_at: '2023-11-14T22:13:20.000000000Z',
    mount: { mounted: true, dir: '/mnt/kitfs' },
    journal: { seq: head.seq, hash: head.hash.toString('hex'), verified_seq: 0 },
    queues: { dirty_files: 1, dirty_bytes: 3, uploads: 0, jobs: 0 },
    space: { cache_used: 5 },
    backends: [{ backend: 'ipfs' }, { backend: 'memory' }],
    errors_last_hour: { NOT_FOUND: 2 },
  });
  expect(health['uptime_s']).toBeGreaterThan(0);
});

test('what is wrong is said, and how bad it is', async () => {
  fixture.mountDir = undefined;
  const unmounted = await fixture.done('system_health', {});
  expect(unmounted).toMatchObject({
    state: 'degraded',
    because: [{ error_code: 'MOUNT_FAILED' }],
    mount: { mounted: false },
  });
  fixture.daemon.troubled = [{ errorCode: 'JOURNAL_UNAVAILABLE', text: 'the disk is gone' }];
  const failed = await fixture.done('system_health', {});
  expect(failed).toMatchObject({ state: 'failed' });
  for (const state of ['recovering', 'draining'] as const) {
    fixture.daemon.now = state;
    expect(await fixture.done('system_health', {})).toMatchObject({ state });
  }
});
