/** What the command line gets, and who. */
import { expect, test } from 'vitest';
import { turn } from '../../src/base/turn.ts';
import type { ControlCall } from '../../src/daemon/control.ts';
import { controlMethods } from '../../src/daemon/control-methods.ts';
import type { CallOptions } from '../../src/tools/registry.ts';
import { Fixture } from '../sync/fixture.ts';

const OWNER = 0;
const CID = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';

test('where a token is required, others than the owner get no bytes and cause no work without one', async () => {
  const world = new Fixture();
  try {
    await world.builder.addBytes(
      Buffer.from('hello world'),
      { profile: 'unixfs-v1-2025', dryRun: false },
      world.signal,
    );
    const none = () => {
      throw new Error('nobody asks for this');
    };
    const methods = (isTokenRequired: boolean) =>
      controlMethods({
        parts: () => ({ core: { dag: world.dag }, tools: {} }) as never,
        status: none,
        stop: none,
        owner: OWNER,
        isTokenRequired,
      });
    const callOf = (uid: number): ControlCall => ({
      peer: { uid, gid: uid, groups: [], pid: 1 },
      session: 'a',
      signal: world.signal,
      part: async () => {},
    });
    const exported = { bytes: expect.any(Number) };
    expect(await methods(true).car({ cid: CID }, callOf(OWNER))).toEqual(exported);
    expect(await methods(false).car({ cid: CID }, callOf(1000))).toEqual(exported);
    const refused = { failure: 'not-allowed' };
    await expect(methods(true).car({ cid: CID }, callOf(1000))).rejects.toMatchObject(refused);
    await expect(methods(true).sync_local({}, callOf(1000))).rejects.toMatchObject(refused);
  } finally {
    await world.close();
  }
});

test('who takes his time is told the newest of what happens, and not all of it', async () => {
  const told: unknown[] = [];
  let take: () => void = () => undefined;
  const call = async (_: unknown, __: unknown, ___: unknown, { progress }: CallOptions) => {
    for (let done = 1; done <= 1000; done++) progress?.({ done, unit: 'items' });
    take();
    await turn();
    await turn();
    return { structuredContent: { status: 'success' } };
  };
  const registry = { get: () => ({}), call };
  const none = () => {
    throw new Error('nobody asks for this');
  };
  const methods = controlMethods({
    parts: () => ({ core: {}, tools: { registry } }) as never,
    status: none,
    stop: none,
    owner: OWNER,
    isTokenRequired: false,
  });
  const part = async (value: unknown) => {
    told.push(value);
    await new Promise<void>((resolve) => {
      take = resolve;
    });
  };
  const peer = { uid: OWNER, gid: OWNER, groups: [], pid: 1 };
  const signal = new AbortController().signal;
  await methods.call({ tool: 'x', arguments: {} }, { peer, session: 'a', signal, part });
  expect(told).toMatchObject([{ done: 1 }, { done: 1000 }]);
});
