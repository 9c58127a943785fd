import { encode as encodeCbor } from '@ipld/dag-cbor';
import { create as digestOf } from 'multiformats/hashes/digest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Wanted } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import { CID, Dag, type Keep, type StoredBlock, takeComplete } from '../../src/content/content.ts';
import { blockOf, streamOf } from '../backend/engine.ts';
import { Fixture, noise } from './fixture.ts';

let fixture: Fixture;
let kept: Map<string, StoredBlock>;

beforeEach(() => {
  fixture = new Fixture();
  kept = new Map();
});
afterEach(() => fixture.close());

const MIB = 1024 * 1024;
const PROFILE = { profile: 'unixfs-v1-2025' } as const;
const failing = (failure: string) => expect.objectContaining({ failure });
const keep: Keep = {
  put: (block) => void kept.set(String(block.cid), block),
  get: (cid) => kept.get(String(cid))?.bytes,
};
async function take(
  part: Partial<Wanted> & { readonly root: CID },
  blocks: AsyncIterable<StoredBlock>,
  signal = fixture.signal,
) {
  const wanted: Wanted = { names: [], scope: 'all', ...part };
  const taken = await takeComplete(wanted, blocks, keep, signal);
  return { ...taken, cid: String(taken.cid) };
}
const keptCids = () => [...kept.keys()];
const textsOf = (blocks: readonly StoredBlock[]) => blocks.map(({ cid }) => String(cid));

const addBytes = (bytes: Uint8Array) => fixture.builder.addBytes(bytes, PROFILE, fixture.signal);
const blockAt = (cid: CID): StoredBlock => {
  const bytes = fixture.blocks.get(cid);
  if (bytes === undefined) throw new Error(`no block ${cid}`);
  return { cid, bytes };
};

/** All blocks below a root, parents first, each once. */
async function blocksOf(root: CID): Promise<StoredBlock[]> {
  const blocks: StoredBlock[] = [];
  for await (const { cid } of new Dag(fixture.blocks).walk(root, fixture.signal)) {
    blocks.push(blockAt(cid));
  }
  return blocks;
}

/** d/{large, small, sub/} */
async function madeTree() {
  const large = await addBytes(noise(5 * MIB + 100));
  const small = await addBytes(Buffer.from('small'));
  const root = await fixture.builder.buildTree(
    [
      { path: 'large', type: 'file', ...large },
      { path: 'small', type: 'file', ...small },
      { path: 'sub', type: 'directory' },
      { path: 'sub/again', type: 'file', ...small },
    ],
    PROFILE,
    fixture.signal,
  );
  return { root: root.cid, large: large.cid, small: small.cid };
}

describe('a DAG that comes from strangers', () => {
  test('is whole when all of its blocks came', async () => {
    const { root } = await madeTree();
    const blocks = await blocksOf(root);
    const bytes = blocks.reduce((sum, block) => sum + block.bytes.length, 0);
    const done = await take({ root }, streamOf(...blocks));
    expect(done).toEqual({ cid: String(root), blocks: blocks.length, bytes });
    expect(keptCids()).toEqual(textsOf(blocks));
  });

  test('is never whole when one of them is missing, whichever it is', async () => {
    const { root } = await madeTree();
    const blocks = await blocksOf(root);
    for (const [at, { cid }] of blocks.entries()) {
      const rest = streamOf(...blocks.filter((_, other) => other !== at));
      await expect(take({ root }, rest)).rejects.toMatchObject({
        failure: 'response-invalid',
        details: { cid: String(cid) },
      });
    }
  });

  test('is never whole when it ends early, wherever that is', async () => {
    const { root } = await madeTree();
    const blocks = await blocksOf(root);
    for (let count = 0; count < blocks.length; count++) {
      const cut = streamOf(...blocks.slice(0, count));
      await expect(take({ root }, cut)).rejects.toEqual(failing('response-invalid'));
    }
  });

  test('may come with doubles, and in another order', async () => {
    const { root } = await madeTree();
    const blocks = await blocksOf(root);
    await take({ root }, streamOf(...blocks.flatMap((block) => [block, block])));
    expect(keptCids()).toEqual(textsOf(blocks));
    kept.clear();
    await take({ root }, streamOf(...blocks.toReversed()));
    expect(keptCids().sort()).toEqual(textsOf(blocks).sort());
  });

  test('may be larger than what is held, and come with doubles all the same', async () => {
    const { cid: root } = await addBytes(noise(18 * MIB));
    const blocks = await blocksOf(root);
    await take({ root }, streamOf(...blocks.flatMap((block) => [block, block])));
    expect(keptCids()).toEqual(textsOf(blocks));
  });

  test('keeps nothing that does not belong to it', async () => {
    const { root } = await madeTree();
    const blocks = await blocksOf(root);
    const foreign = blockOf(Buffer.from('foreign'));
    await take({ root }, streamOf(foreign, ...blocks));
    expect(keptCids()).toEqual(textsOf(blocks));
  });

  test('is not waited for among blocks without an end', async () => {
    const { root } = await madeTree();
    let given = 0;
    async function* flood() {
      for (;;) {
        given += 1;
        yield blockOf(Buffer.concat([Buffer.from(String(given)), Buffer.alloc(MIB)]));
      }
    }
    await expect(take({ root }, flood())).rejects.toEqual(failing('response-invalid'));
    expect(given).toBeLessThanOrEqual(17);
    expect(keptCids()).toEqual([]);
  });

  test('is not waited for among tiny blocks without an end', async () => {
    const { root } = await madeTree();
    let given = 0;
    async function* flood() {
      for (; given < 100_000; given++) yield blockOf(Buffer.from(String(given)));
    }
    await expect(take({ root }, flood())).rejects.toEqual(failing('response-invalid'));
    expect(given).toBeLessThan(32_768);
  });

  test('of other codecs is walked too, and a block that is its own CID never comes', async () => {
    const leaf = blockOf(Buffer.from('leaf'));
    const inline = CID.createV1(0x55, digestOf(0, Buffer.from('inline')));
    const value = { b: leaf.cid, 10: inline, list: [leaf.cid] };
    const top = blockOf(encodeCbor(value), 0x71);
    expect(await take({ root: top.cid }, streamOf(top, leaf))).toMatchObject({ blocks: 2 });
    await expect(take({ root: top.cid }, streamOf(top))).rejects.toEqual(
      failing('response-invalid'),
    );
  });

  test('of a codec that nobody here knows is no whole', async () => {
    const strange = blockOf(Buffer.from('strange'), 0x78);
    const asked = take({ root: strange.cid }, streamOf(strange));
    await expect(asked).rejects.toEqual(failing('unsupported'));
    const block = take({ root: strange.cid, scope: 'block' }, streamOf(strange));
    expect(await block).toMatchObject({ blocks: 1 });
  });

  test('ends with what its blocks end with, and tells them when it needs no more', async () => {
    const { root } = await madeTree();
    const blocks = await blocksOf(root);
    let isOver = false;
    async function* failing500() {
      try {
        yield* blocks.slice(0, 2);
        throw new OpError('timeout', 'read');
      } finally {
        isOver = true;
      }
    }
    await expect(take({ root }, failing500())).rejects.toEqual(failing('timeout'));
    expect(isOver).toBe(true);
    isOver = false;
    async function* endless() {
      try {
        yield* blocks;
        for (;;) yield blockOf(Buffer.from('more'));
      } finally {
        isOver = true;
      }
    }
    await take({ root }, endless());
    expect(isOver).toBe(true);
  });

  test('ends with its signal', async () => {
    const { root } = await madeTree();
    const controller = new AbortController();
    controller.abort(new OpError('cancelled', 'read'));
    const asked = take({ root }, streamOf(...(await blocksOf(root))), controller.signal);
    await expect(asked).rejects.toEqual(failing('cancelled'));
    expect(keptCids()).toEqual([]);
  });

  test('that cannot be kept is not taken', async () => {
    const { root } = await madeTree();
    const full: Keep = {
      ...keep,
      put: () => {
        throw new OpError('no-space', 'put');
      },
    };
    const wanted: Wanted = { root, names: [], scope: 'all' };
    const asked = takeComplete(wanted, streamOf(...(await blocksOf(root))), full, fixture.signal);
    await expect(asked).rejects.toEqual(failing('no-space'));
  });
});

describe('a part of a DAG', () => {
  test('is found by its path, whose blocks come along', async () => {
    const { root, small } = await madeTree();
    const sub = await new Dag(fixture.blocks).resolve(root, ['sub'], fixture.signal);
    const way = [root, sub, small].map(blockAt);
    const done = await take({ root, names: ['sub', 'again'] }, streamOf(...way));
    expect(done).toMatchObject({ cid: String(small), blocks: 3 });
    const cut = take({ root, names: ['sub', 'again'] }, streamOf(...way.slice(0, 2)));
    await expect(cut).rejects.toEqual(failing('response-invalid'));
  });

  test('that leads nowhere is absent only when verified blocks say so', async () => {
    const { root, small } = await madeTree();
    const way = () => streamOf(blockAt(root), blockAt(small));
    const nowhere = take({ root, names: ['nobody'] }, way());
    await expect(nowhere).rejects.toEqual(failing('not-found'));
    const through = take({ root, names: ['small', 'x'] }, way());
    await expect(through).rejects.toEqual(failing('not-directory'));
    const unproven = take({ root, names: ['nobody'] }, streamOf());
    await expect(unproven).rejects.toEqual(failing('response-invalid'));
  });

  test('is one block when one block was wanted', async () => {
    const { root, large } = await madeTree();
    const way = streamOf(blockAt(root), blockAt(large));
    expect(await take({ root, names: ['large'], scope: 'block' }, way)).toMatchObject({
      cid: String(large),
      blocks: 2,
    });
  });

  test('is a directory without what is in it, or a file with all of it', async () => {
    const { root, large } = await madeTree();
    const entity = { root, scope: 'entity' } as const;
    expect(await take(entity, streamOf(blockAt(root)))).toMatchObject({ blocks: 1 });
    const file = await blocksOf(large);
    expect(await take({ ...entity, root: large }, streamOf(...file))).toMatchObject({
      blocks: file.length,
    });
    for (let count = 0; count < file.length; count++) {
      const cut = take({ ...entity, root: large }, streamOf(...file.slice(0, count)));
      await expect(cut).rejects.toEqual(failing('response-invalid'));
    }
  });

  test('of a sharded directory is every shard of it', async () => {
    const { cid: file } = await addBytes(Buffer.from('x'));
    const entries = Array.from({ length: 4000 }, (_, at) => {
      const path = `entry with a name of some length, so that they are sharded ${at}`;
      return { path, type: 'file', cid: file, size: 1, cumulativeSize: 1 } as const;
    });
    const { cid: root } = await fixture.builder.buildTree(entries, PROFILE, fixture.signal);
    const shards = (await blocksOf(root)).filter(({ cid }) => !cid.equals(file));
    expect(shards.length).toBeGreaterThan(60);
    const entity = { root, scope: 'entity' } as const;
    expect(await take(entity, streamOf(...shards))).toMatchObject({ blocks: shards.length });
    for (const at of [1, 50, shards.length - 1]) {
      const rest = streamOf(...shards.filter((_, other) => other !== at));
      await expect(take(entity, rest)).rejects.toEqual(failing('response-invalid'));
    }
  });

  test.each([
    [{ from: 0 }, [0, 1, 2, 3, 4, 5]],
    [{ from: 0, to: 0 }, [0]],
    [{ from: 0, to: MIB }, [0, 1]],
    [{ from: MIB, to: 2 * MIB - 1 }, [1]],
    [{ from: 3 * MIB - 1, to: 3 * MIB }, [2, 3]],
    [{ from: -100 }, [5]],
    [{ from: -101 }, [4, 5]],
    [{ from: -100 * MIB, to: 1 }, [0]],
    [{ from: 5 * MIB, to: 100 * MIB }, [5]],
    [{ from: 100 * MIB }, []],
  ])('is the bytes %j of a file, and no leaf less', async (bytes, leaves) => {
    const { cid: root } = await addBytes(noise(5 * MIB + 100));
    const [top, ...below] = await blocksOf(root);
    if (top === undefined) throw new Error('it has a root');
    const needed = leaves.flatMap((at) => below[at] ?? []);
    const part = { root, scope: 'entity', bytes } as const;
    const done = await take(part, streamOf(top, ...needed));
    expect(done).toMatchObject({ blocks: 1 + leaves.length });
    for (const missing of needed) {
      const rest = needed.filter((one) => one !== missing);
      const asked = take(part, streamOf(top, ...rest));
      await expect(asked).rejects.toEqual(failing('response-invalid'));
    }
  });

  test('whose leaf is not as long as its parent says is no file', async () => {
    const { cid: root } = await addBytes(noise(2 * MIB + 100));
    const [top, ...leaves] = await blocksOf(root);
    const [first, second] = leaves;
    if (top === undefined || first === undefined || second === undefined) throw new Error('three');
    const short = blockOf(Buffer.from('short'));
    // The same parent, but for the CID of one leaf.
    const forged = Buffer.from(top.bytes);
    const at = forged.indexOf(first.cid.bytes);
    forged.set(short.cid.bytes, at);
    const parent = blockOf(forged, 0x70);
    const asked = take({ root: parent.cid, scope: 'entity' }, streamOf(parent, short, second));
    await expect(asked).rejects.toEqual(failing('integrity'));
  });

  test('with the same leaf in several places needs it once', async () => {
    const { cid: root } = await addBytes(Buffer.alloc(5 * MIB));
    const blocks = await blocksOf(root);
    expect(blocks).toHaveLength(2);
    const done = await take({ root, scope: 'entity' }, streamOf(...blocks));
    expect(done).toMatchObject({ blocks: 2 });
  });
});
