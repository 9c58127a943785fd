/** A file that somebody cut into single bytes, which costs thousands of times what others do. */
import { createHash } from 'node:crypto';
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { create as digestOf } from 'multiformats/hashes/digest';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockFetcher, CID, Filling, rawCid } from '../../src/content/content.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture } from './fixture.ts';

const SIZE = 1024;
const LEAVES = 256;

let here: Fixture;
let origin: Origin;
let filling: Filling;
beforeEach(() => {
  here = new Fixture();
  origin = new Origin();
  const { contents, blocks, sealer, clock, log, signal } = here;
  const fetcher = new BlockFetcher({ origin: () => origin, clock });
  filling = new Filling({ contents, blocks, fetcher, sealer, log, signal });
});
afterEach(async () => {
  await filling.settled();
  await here.close();
});

function cutFile(): CID {
  const leaves = Array.from({ length: LEAVES }, (_, at) => rawCid(Buffer.of(at)));
  for (const [at, leaf] of leaves.entries()) origin.put(leaf, Buffer.of(at));
  const blockSizes = new Array<bigint>(SIZE).fill(1n);
  const Links = Array.from({ length: SIZE }, (_, at) => {
    return { Name: '', Hash: leaves[at % LEAVES] as CID, Tsize: 1 };
  });
  const Data = new UnixFS({ type: 'file', blockSizes }).marshal();
  const node = encode(prepare({ Data, Links }));
  const cid = CID.createV1(0x70, digestOf(0x12, createHash('sha256').update(node).digest()));
  origin.put(cid, node);
  return cid;
}

test('keeps no other work from its turn while it is brought', async () => {
  const { contents, journal, signal } = here;
  const cid = cutFile();
  const id = journal.commit(() => {
    const made = contents.remote.create({ cid, size: SIZE, profile: undefined });
    contents.retain(made);
    return made;
  });
  let turns = 0;
  const count = (): void => {
    turns += 1;
    counting = setImmediate(count);
  };
  let counting = setImmediate(count);
  await filling.bring(id, { from: 0, to: SIZE }, signal);
  clearImmediate(counting);
  const bytes = Buffer.alloc(SIZE);
  contents.read(id, bytes, 0, SIZE, 0);
  expect(bytes).toEqual(Buffer.from(Array.from({ length: SIZE }, (_, at) => at % LEAVES)));
  expect(turns).toBeGreaterThanOrEqual(SIZE / 128);
});
