/**
 * Every call that what is above the engine makes on a real node, each with every harm that can be done to its answer:
 * see `kubo-every-fault.test.ts`. Whatever is done: what a reader gets is right, what is held stays whole over a
 * collection, and the next attempt makes whole what was begun.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bench } from '../backend/bench.ts';
import { prepare } from '../backend/trials.ts';
import { Above } from '../backend/trials-above.ts';
import { KuboNode } from '../services/kubo.ts';

/** Hundreds of calls; the limit is for what hangs, and not for a slow machine. */
const HANGS_MS = 280_000;

const NAMES = [
  'an upload',
  'bytes that are fetched when they are read',
  'ipfs_get',
  'vfs_sync_from_ipfs',
];

let kubo: KuboNode;
let peer: KuboNode;
let above: Above;

beforeAll(async () => {
  const options = { pubsub: true, settings: { 'Datastore.Spec.mounts.0.child.sync': false } };
  kubo = await KuboNode.start(options);
  peer = await KuboNode.start(options);
  await kubo.connect(peer);
  await prepare({ kubo, peer });
  above = await Above.start(kubo);
});
afterAll(async () => {
  await above?.[Symbol.asyncDispose]();
  await peer?.close();
  await kubo?.close();
});

test.each(NAMES)(
  'whatever becomes of an answer, wrong is never taken for right: %s',
  async (name) => {
    const method = above.methods[name];
    if (method === undefined) throw new Error(`${name} has no trial`);
    await using bench = await Bench.start(kubo.api, name, method);
    expect(await bench.faults()).toEqual([]);
  },
  HANGS_MS,
);
