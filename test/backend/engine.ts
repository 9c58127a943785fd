/** The engine Kubo on whatever answers at an address, and what tests send through it. */
import { createHash } from 'node:crypto';
import { CarBlockIterator, CarBufferWriter } from '@ipld/car';
import { createLink, encode } from '@ipld/dag-pb';
import { CID } from 'multiformats/cid';
import { create } from 'multiformats/hashes/digest';
import {
  demandBytesOf,
  type KuboNode,
  type KuboOptions,
  openKubo,
} from '../../src/backend/backend.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { Secret } from '../../src/base/secrets.ts';

export const engineAt = (api: string, more: Partial<KuboOptions> = {}): KuboNode =>
  openKubo({
    api,
    requestsMax: 8,
    deadlineMs: 20_000,
    clock: new SystemClock(),
    random: new SystemRandom(),
    ...more,
  });

export const secretOf = (value: string): Secret => new Secret(value, { kind: 'env', name: 'TEST' });

/** Options of a call that nobody tells to end. */
export const calling = () => ({ signal: new AbortController().signal });

export const text = (words: string): Uint8Array => Buffer.from(words, 'utf8');

export async function* streamOf<T>(...items: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* items;
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

export interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

const SHA2_256 = 0x12;
const DAG_PB = 0x70;
const RAW = 0x55;

export function blockOf(bytes: Uint8Array, codec = RAW): Block {
  const digest = new Uint8Array(createHash('sha256').update(bytes).digest());
  return { cid: CID.createV1(codec, create(SHA2_256, digest)), bytes };
}

export const rawBlock = (words: string): Block => blockOf(text(words));

/** A directory of UnixFS with such entries. */
export function directoryOf(entries: Readonly<Record<string, Block>>): Block {
  const links = Object.entries(entries)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, { cid, bytes }]) => createLink(name, bytes.length, cid));
  return blockOf(encode({ Data: Uint8Array.of(0x08, 0x01), Links: links }), DAG_PB);
}

/** A CAR of exactly these blocks. */
export function carOf(root: CID, blocks: readonly Block[]): Uint8Array {
  const room = blocks.reduce((sum, { bytes }) => sum + bytes.length + 128, 1024);
  const writer = CarBufferWriter.createWriter(new ArrayBuffer(room), { roots: [root] });
  for (const block of blocks) writer.write(block);
  return writer.close({ resize: true });
}

/** The blocks of a CAR, each of which must hash to its CID. */
export async function carBlocks(car: AsyncIterable<Uint8Array>): Promise<Block[]> {
  const blocks: Block[] = [];
  const source = car[Symbol.asyncIterator]();
  // The reader of CARs does not tell its source that it has given up.
  const shared = { [Symbol.asyncIterator]: () => source };
  try {
    for await (const { cid, bytes } of await CarBlockIterator.fromIterable(shared)) {
      demandBytesOf(cid, bytes, 'read a CAR');
      blocks.push({ cid, bytes });
    }
  } finally {
    await source.return?.();
  }
  return blocks;
}

export const countsOf = (blocks: readonly Block[]) => ({
  blocks: blocks.length,
  bytes: blocks.reduce((sum, { bytes }) => sum + bytes.length, 0),
});
