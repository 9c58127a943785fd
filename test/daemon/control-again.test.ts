/** Commands whose daemon goes away before it answers. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { BRIDGE_LOSSES_MAX } from '../../src/base/limits.ts';
import { loadNative } from '../../src/base/native.ts';
import { type ControlMethods, ControlServer } from '../../src/daemon/control.ts';
import { ControlClient } from '../../src/daemon/control-client.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { ownerOnly } from '../mcp/host.ts';
import { Scratch } from './scratch.ts';

type Call = ControlMethods['call'];

const none = async (): Promise<never> => {
  throw new Error('this was not to be asked');
};

let scratch: Scratch;
const servers: ControlServer[] = [];
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  scratch[Symbol.dispose]();
});

const path = () => scratch.path('run', 'control.sock');

async function serve(call: Call): Promise<ControlServer> {
  const snapshots = { snapshot_list: none, snapshot_show: none, snapshot_diff: none, reach: none };
  const others = {
    status: none,
    stop: none,
    tools: none,
    sync_local: none,
    car: none,
    command: none,
  };
  const methods = { ...others, ...snapshots, call };
  const [native, random, log] = [loadNative(), new CountingRandom(), new RememberedLog()];
  const where = { path: path(), policy: ownerOnly };
  const server = new ControlServer({ ...where, native, methods, random, log });
  await server.listen();
  servers.push(server);
  return server;
}

test('what a daemon did not answer is asked of the next one, in the same words', async () => {
  const asked: unknown[] = [];
  const cut = new OpError('not-running', 'call', { hint: 'it stops' });
  await serve(async (params) => {
    asked.push(params);
    await servers[0]?.close();
    await serve(async (again) => {
      asked.push(again);
      return 'answer';
    });
    throw cut;
  });
  await using client = await ControlClient.connect(path());
  const params = { tool: 'vfs_write', arguments: { path: '/a' }, key: 'k' };
  const clock = new SystemClock();
  expect(await client.askAgain('call', params, { clock })).toBe('answer');
  expect(asked).toEqual([params, params]);
  // The first connection is gone: what is asked on it goes to the next one at once.
  expect(await client.askAgain('call', params, { clock })).toBe('answer');
});

test('an answer that is an error is no reason to ask again', async () => {
  let asked = 0;
  await serve(async () => {
    asked += 1;
    throw new OpError('denied', 'call');
  });
  await using client = await ControlClient.connect(path());
  await expect(client.askAgain('call', {}, { clock: new SystemClock() })).rejects.toMatchObject({
    failure: 'denied',
  });
  expect(asked).toBe(1);
});

test('a daemon that is not ready is asked again, for eight seconds', async () => {
  const clock = new TurnedClock();
  let asked = 0;
  await serve(async () => {
    asked += 1;
    if (asked <= 3) throw new OpError('not-ready', 'call');
    return 'answer';
  });
  await using client = await ControlClient.connect(path());
  const answer = client.askAgain('call', {}, { clock });
  while (asked < 4) {
    if (clock.sleeping > 0) await clock.turn(20);
    else await settle();
  }
  expect(await answer).toBe('answer');
  expect(clock.monotonicMs()).toBe(60);

  asked = Number.NEGATIVE_INFINITY;
  let wrong: unknown;
  client.askAgain('call', {}, { clock }).catch((error: unknown) => {
    wrong = error;
  });
  while (wrong === undefined) {
    if (clock.sleeping > 0) await clock.turn(1000);
    else await settle();
  }
  expect(wrong).toMatchObject({ failure: 'not-ready' });
});

test('a question that ends every daemon is given up after some', async () => {
  let asked = 0;
  await serve(async () => {
    asked += 1;
    throw new OpError('not-running', 'call');
  });
  await using client = await ControlClient.connect(path());
  await expect(client.askAgain('call', {}, { clock: new SystemClock() })).rejects.toMatchObject({
    failure: 'not-running',
  });
  expect(asked).toBe(BRIDGE_LOSSES_MAX + 1);
});

test('who is told to end waits for no next daemon', async () => {
  const controller = new AbortController();
  await serve(async () => {
    await servers[0]?.close();
    throw new OpError('not-running', 'call');
  });
  await using client = await ControlClient.connect(path());
  const { signal } = controller;
  const clock = new TurnedClock();
  const asking = client.askAgain('call', {}, { clock, signal });
  while (clock.sleeping === 0) await settle();
  controller.abort(new OpError('cancelled', 'call'));
  await expect(asking).rejects.toMatchObject({ failure: 'cancelled' });
});
