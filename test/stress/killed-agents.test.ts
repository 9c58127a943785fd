/**
 * Agents whose daemon is killed at random instants, through the real bridge: every call succeeds, as if nothing had
 * been, and every change is made once.
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { ControlClient } from '../../src/daemon/control-client.ts';
import { call, textOf } from '../integration/agent.ts';
import { TestDaemon } from '../integration/daemon.ts';
import { SEED } from '../model/seed.ts';
import { bridgeTo, randomFrom, recordsOf, Tally, Worker } from './busy-agent.ts';

const KILLS = 10;
/** Every how many of them the keeper is killed too. */
const KILLS_WITH_KEEPER = 4;
/** Times a keeper starts a daemon that answers nobody, as `native/keeper.cc` has it. */
const STARTS_MAX = 10;
const WORKERS = 8;
/** Longest a daemon is left alone after it is ready; the shortest lives end before it has answered any agent. */
const LIFE_MS_MAX = 1500;

test('kills at random instants are nothing but slowness to an agent, and every change is made once', async () => {
  await using daemon = await TestDaemon.start();
  const client = await bridgeTo(daemon);
  const tally = new Tally();
  const random = randomFrom(SEED);
  let isOver = false;
  const workers = Promise.all(
    Array.from({ length: WORKERS }, (_, n) => new Worker(client, tally, n).work(() => isOver)),
  );
  const failed = workers.then(() => undefined);
  for (let kill = 0; kill < KILLS; kill += 1) {
    // The delay is the randomness of this test, not a wait for something.
    const lifeMs = Math.floor(random() * LIFE_MS_MAX);
    await Promise.race([new Promise((resolve) => setTimeout(resolve, lifeMs)), failed]);
    // Most kills spare the keeper, which starts the next one; the others leave it to whoever comes.
    if (kill % KILLS_WITH_KEEPER === 0) {
      await daemon.kill();
      await daemon.restart();
    } else await daemon.crash();
  }
  isOver = true;
  await workers;
  const facts = `seed ${SEED}, ${tally.calls} calls, slowest ${Math.round(tally.slowestMs)} ms`;
  console.log(facts);
  expect(await recordsOf(client), facts).toEqual(tally.records);
  await client.close();
  expect(await daemon.json(['fsck'])).toMatchObject({ findings: [] });
});

test('a job whose handle an agent has goes on in the next daemon, to its end', async () => {
  await using daemon = await TestDaemon.start();
  const client = await bridgeTo(daemon);
  const content = 'x'.repeat(1_000_000);
  for (let n = 0; n < 16; n += 1) {
    await call(client, 'vfs_write', {
      path: `/ipfs/tree/${n}`,
      content: `${n}${content}`,
      parents: true,
    });
  }
  const args = { path: '/ipfs/tree', wait_ms: 0 };
  const { job } = (await call(client, 'vfs_sync_to_ipfs', args)) as { job: { job_id: string } };
  await daemon.crash();
  const asked = { job_id: job.job_id, wait_ms: 20_000 };
  expect(await call(client, 'job_get', asked)).toMatchObject({
    job: { job_id: job.job_id, state: 'done', tool: 'vfs_sync_to_ipfs' },
    result: { status: 'success', data: { changed: true, counts: { files: 16 } } },
  });
  expect((await recordsOf(client))['sync_to']).toBe(1);
  await client.close();
});

test('what a command asked for is done once, by the next daemon if its own is killed', async () => {
  await using daemon = await TestDaemon.start();
  const times = 5;
  for (let n = 0; n < times; n += 1) {
    await using asking = await ControlClient.connect(join(daemon.runDirectory, 'control.sock'));
    const append = { path: '/ipfs/a', content: '+', append: true };
    const params = { tool: 'vfs_write', arguments: append, key: `append ${n}` };
    const answer = asking.askAgain('call', params, { clock: new SystemClock() });
    // Before it is read, while it is run, or before its answer is written: the delay decides.
    await new Promise((resolve) => setTimeout(resolve, 2 * n));
    await daemon.crash();
    expect(await answer).toMatchObject({ status: 'success', data: { size: n + 1 } });
  }
  expect(await daemon.run('cat', ['a'], { in: 'ipfs' })).toBe('+'.repeat(times));
});

test('crashes between which agents are answered are forgiven, whoever looks at the mount', async () => {
  await using daemon = await TestDaemon.start();
  const client = await bridgeTo(daemon);
  // One more than a daemon that answers nobody is started.
  for (let n = 0; n <= STARTS_MAX; n += 1) {
    const append = { path: '/ipfs/a', content: '+', append: true };
    expect(await call(client, 'vfs_write', append)).toMatchObject({ size: n + 1 });
    process.kill(daemon.pid, 'SIGKILL');
  }
  expect(await textOf(client, 'vfs_read', { path: '/ipfs/a' })).toHaveLength(STARTS_MAX + 1);
  await client.close();
});
