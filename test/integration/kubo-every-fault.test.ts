/**
 * Every call of every method of the engine Kubo on a real node, each with every harm that can be done to its answer
 * (`test/backend/harm.ts`), and with the node killed. Whatever is done: the call ends by its deadline; what it gives
 * is right, or it fails with a failure that the harm explains; the node holds what it held before or what was asked
 * for, once; nothing stays open; and the next calls work.
 *
 * A promise that nobody caught fails the file: vitest sees to that.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bench, type Held } from '../backend/bench.ts';
import type { Harm } from '../backend/harm.ts';
import { METHOD_NAMES, type Method, prepare, questions, TOPIC } from '../backend/trials.ts';
import { changes, Listener } from '../backend/trials-of-changes.ts';
import type { Fault, Passed } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';

/** Hundreds of calls each; the limit is for what hangs, and not for a slow machine. */
const HANGS_MS = 180_000;

let kubo: KuboNode;
let peer: KuboNode;
let listener: Listener;
let methods: Readonly<Record<string, Method>>;

beforeAll(async () => {
  const options = { pubsub: true, settings: { 'Datastore.Spec.mounts.0.child.sync': false } };
  kubo = await KuboNode.start(options);
  peer = await KuboNode.start(options);
  const nodes = { kubo, peer };
  listener = new Listener(nodes, 'heard');
  await meet();
  await prepare(nodes);
  await peer.rpc.open(`pubsub/sub?arg=${TOPIC}`);
  methods = { ...questions(nodes), ...changes(nodes, listener) };
});

/** Does what the first node forgets when it is killed. */
async function meet(): Promise<void> {
  await kubo.connect(peer);
  await kubo.rpc.open(`pubsub/sub?arg=${TOPIC}`);
  await listener.listen();
}

afterAll(async () => {
  listener?.[Symbol.dispose]();
  await kubo?.close();
  await peer?.close();
});

function methodOf(name: string): Method {
  const method = methods[name];
  if (method === undefined) throw new Error(`${name} has no trial`);
  return method;
}

/** Kubo loses changes of MFS that several clients make at once; one client makes them one at a time. */
const isOfMfs = (name: string): boolean => name.startsWith('mfs.');
const MFS_NAMES = METHOD_NAMES.filter(isOfMfs);
const OTHER_NAMES = METHOD_NAMES.filter((name) => !isOfMfs(name));

async function expectNoFaults(name: string): Promise<void> {
  await using bench = await Bench.start(kubo.api, name, methodOf(name));
  expect(await bench.faults()).toEqual([]);
}

describe('whatever becomes of an answer, wrong is never taken for right:', () => {
  describe.concurrent('of calls that may be made at once', () => {
    test.each(OTHER_NAMES)('%s', expectNoFaults, HANGS_MS);
  });
  describe('of calls about MFS', () => {
    test.each(MFS_NAMES)('%s', expectNoFaults, HANGS_MS);
  });
});

type FaultFor = (until: Promise<void>, call: Passed) => Fault | undefined;

const KILLS: readonly (readonly [string, FaultFor])[] = [
  ['before it hears of it', (until) => ({ kind: 'hold', when: 'before', until })],
  [
    'in the middle of its answer',
    (until, { bytes }) =>
      bytes > 2 ? { kind: 'hold', when: 'during', keepBytes: bytes >> 1, until } : undefined,
  ],
];

interface Stopped {
  readonly what: string;
  readonly held: Held;
}

/** How a call may end whose node is killed. */
const killed = (fault: Fault): Harm => ({
  title: 'killed',
  fault,
  times: 1,
  failures: ['not-running', 'response-invalid'],
  mayMend: true,
});

/** Stops every call of a method, each on a bench of its own, which it adds to `benches`. */
async function stopEach(
  name: string,
  faultFor: (call: Passed) => Fault | undefined,
  benches: Bench[],
): Promise<Stopped[]> {
  const start = async (): Promise<Bench> => {
    const bench = await Bench.start(kubo.api, name, methodOf(name));
    benches.push(bench);
    return bench;
  };
  const { calls, value } = await (await start()).reference();
  const stopped: Stopped[] = [];
  for (const [at, call] of calls.entries()) {
    const fault = faultFor(call);
    if (fault === undefined) continue;
    const bench = await start();
    const held = await bench.hold(at, killed(fault), value);
    stopped.push({ what: `${name}, call ${at}`, held });
  }
  return stopped;
}

/** @returns what went wrong. */
async function killInEvery(faultFor: FaultFor, benches: Bench[]): Promise<string[]> {
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  const stop = (name: string) => stopEach(name, (call) => faultFor(until, call), benches);
  const stopped = (await Promise.all(OTHER_NAMES.map(stop))).flat();
  for (const name of MFS_NAMES) stopped.push(...(await stop(name)));
  // Kubo writes the root of MFS down some 0.3 s after it acknowledged a change, or when it is told to.
  await kubo.rpc.bytes('files/flush?arg=/');
  await kubo.kill();
  release();
  const asking = stopped.map(async ({ what, held }) => ({ what, ask: await held.ended() }));
  const asked = await Promise.all(asking);
  await kubo.restart();
  await meet();
  const finding = asked.map(async ({ what, ask }) =>
    (await ask()).map((fault) => `${what}: ${fault}`),
  );
  return (await Promise.all(finding)).flat();
}

describe('every call of every method, with a node that is killed', () => {
  test.each(KILLS)(
    '%s, fails or was done, and the next ones work',
    async (_, faultFor) => {
      const benches: Bench[] = [];
      try {
        expect(await killInEvery(faultFor, benches)).toEqual([]);
      } finally {
        await Promise.all(benches.map((bench) => bench[Symbol.asyncDispose]()));
      }
    },
    HANGS_MS,
  );
});
