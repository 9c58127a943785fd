/** The first answer that an engine reads, harmed; and failures that come behind an answer, told and lost. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import {
  all,
  blockOf,
  calling,
  carBlocks,
  carOf,
  directoryOf,
  engineAt,
  rawBlock,
} from '../backend/engine.ts';
import { harmsOf } from '../backend/harm.ts';
import { FaultyProxy } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';

const LEAF_BYTES = 262_144;
/** Of calls that hang; all others end by themselves. */
const SHORT_MS = 300;

/** One of its leaves is nowhere. */
const leaf = blockOf(Buffer.alloc(LEAF_BYTES, 'here '));
const broken = directoryOf({ one: leaf, two: rawBlock('nowhere') });
const FILE = Buffer.alloc(3 * LEAF_BYTES, 'bytes that are no leaf twice');

let kubo: KuboNode;

beforeAll(async () => {
  kubo = await KuboNode.start({ offline: true });
  await kubo.rpc.bytes('dag/import?pin-roots=false', carOf(broken.cid, [broken, leaf]));
  for (let at = 0; at < FILE.length; at += 4) FILE.writeUInt32LE(at, at);
  const query = `cid-version=1&chunker=size-${LEAF_BYTES}&pin=false`;
  const { Hash } = await kubo.rpc.json<{ Hash: string }>(`add?${query}`, FILE);
  await kubo.rpc.bytes(`files/cp?arg=/ipfs/${Hash}&arg=/broken`);
  const leaves = await kubo.rpc.lines<{ Ref: string }>(`refs?arg=${Hash}`);
  await kubo.rpc.bytes(`block/rm?arg=${leaves[2]?.Ref}&force=true`);
});

afterAll(() => kubo?.close());

const version = { path: 'version', status: 200, bytes: 60 };

test.each(harmsOf(version).map((harm) => [harm.title, harm] as const))(
  'a new engine that asks for the version and gets %s never takes it for right',
  async (_, { fault, times, failures }) => {
    await using proxy = await FaultyProxy.start(kubo.api);
    const planted = proxy.fault('version', fault, { times });
    await using node = engineAt(proxy.api);
    const deadlineMs = fault.kind === 'hang' ? SHORT_MS : undefined;
    const found = await node.stats.id(undefined, { ...calling(), deadlineMs }).then(
      ({ peerId }) => peerId,
      (error: unknown) => (error instanceof OpError ? error.failure : String(error)),
    );
    expect([kubo.id, ...failures]).toContain(found);
    expect(planted.hits).toBeGreaterThan(0);
    planted.lift();
    await proxy.quiet();
    expect((await node.stats.id(undefined, calling())).peerId).toBe(kubo.id);
  },
);

test('a file that breaks off is told as what it lacks, and never as whole when that is lost', async () => {
  await using proxy = await FaultyProxy.start(kubo.api);
  await using node = engineAt(proxy.api);
  const read = () => all(node.mfs.read('/broken', calling()));
  await expect(read()).rejects.toMatchObject({ failure: 'content-missing' });
  const planted = proxy.fault('files/read', { kind: 'trailers' });
  await expect(read()).rejects.toMatchObject({ failure: 'response-invalid' });
  expect(planted.hits).toBe(1);
});

test('a CAR that breaks off is told as what it lacks; when that is lost, it lacks blocks', async () => {
  await using proxy = await FaultyProxy.start(kubo.api);
  await using node = engineAt(proxy.api);
  const blocks = () => carBlocks(node.content.exportCar(broken.cid, { ...calling(), local: true }));
  await expect(blocks()).rejects.toMatchObject({ failure: 'content-missing' });
  const planted = proxy.fault('dag/export', { kind: 'trailers' });
  const held = await blocks();
  expect(held.map(({ cid }) => cid.toString())).toEqual(
    [broken, leaf].map(({ cid }) => cid.toString()),
  );
  expect(planted.hits).toBe(1);
});
