/** The laws of manifests that somebody made by hand. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CID, Dag } from '../../src/content/content.ts';
import { cborBlock } from '../../src/sync/cbor.ts';
import { readDiffering, readManifest } from '../../src/sync/manifest.ts';
import { Fixture, failureOf } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const OWN = {
  ...{ type: 'directory', mode: 0o755, uid: 0, gid: 0 },
  ...{ atime: [0, 0], mtime: [0, 0] },
};
const named = (name: string, list?: CID) => ({
  ...{ name: Uint8Array.from(Buffer.from(name)), ...OWN },
  ...(list === undefined ? {} : { list }),
});

function put(value: unknown): CID {
  const block = cborBlock(value);
  world.blocks.put(block.cid, block.bytes);
  return block.cid;
}

const manifestOf = (list: CID) => put({ version: 2, entries: 2, root: { ...OWN, list } });

/** The store, of which it is counted how often it was read. */
function counted() {
  const counts = { reads: 0 };
  const dag = new Dag({
    get: (cid) => {
      counts.reads += 1;
      return world.blocks.get(cid);
    },
    sizeOf: (cid) => world.blocks.sizeOf(cid),
  });
  return { counts, dag };
}

test('one that names a path twice is refused before what is below is read, at each level twice as often', async () => {
  let list = put({ entries: 1, names: [named('a')] });
  for (let depth = 0; depth < 12; depth += 1) {
    list = put({ entries: 1, names: [named('a', list), named('a', list)] });
  }
  const { counts, dag } = counted();
  const manifest = manifestOf(list);
  const failure = await failureOf(readManifest(dag, manifest, world.signal));
  expect(failure.failure).toBe('integrity');
  const other = manifestOf(put({ entries: 1, names: [named('b')] }));
  const sides = { before: manifest, after: other };
  const differing = await failureOf(readDiffering(dag, sides, world.signal));
  expect(differing.failure).toBe('integrity');
  expect(counts.reads).toBeLessThan(10);
});

test('one with parts of a list that name nothing is refused', async () => {
  const parts = Array.from({ length: 100 }, () => put([]));
  const { counts, dag } = counted();
  const manifest = manifestOf(put({ entries: 0, parts }));
  const failure = await failureOf(readManifest(dag, manifest, world.signal));
  expect(failure.failure).toBe('integrity');
  expect(counts.reads).toBeLessThan(30);
});

test('the same list below several names is read below each', async () => {
  const list = put({ entries: 1, names: [named('x')] });
  const twice = put({ entries: 4, names: [named('a', list), named('b', list)] });
  const entries = await readManifest(world.dag, manifestOf(twice), world.signal);
  expect([...entries.keys()]).toEqual(['', 'a', 'b', 'a/x', 'b/x']);
});
