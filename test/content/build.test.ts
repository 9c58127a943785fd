import { createCipheriv, createHash } from 'node:crypto';
import { type ImportCandidate, importer } from 'ipfs-unixfs-importer';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import type { Built, CID, Profile, TreeEntry } from '../../src/content/content.ts';
import { Fixture, noise } from './fixture.ts';
import { ALPHABET, type DirectoryVector, VECTORS } from './vectors.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const MIB = 1024 * 1024;
const PROFILES: readonly Profile[] = ['unixfs-v0-2015', 'unixfs-v1-2025'];

/** The key stream of ChaCha20 for the hash of a seed. */
function keyStream(seed: string): (length: number) => Buffer {
  const key = createHash('sha256').update(seed).digest();
  const cipher = createCipheriv('chacha20', key, Buffer.alloc(16));
  return (length) => cipher.update(Buffer.alloc(length));
}

function* stream(seed: string, size: number): Generator<Buffer> {
  const next = keyStream(seed);
  for (let left = size; left > 0; left -= MIB) yield next(Math.min(left, MIB));
}

describe.each(VECTORS)("a CID equals Kubo's, by $profile,", (vectors) => {
  const { profile, chunkBytes, linksMax } = vectors;
  const fileCid = async (source: Iterable<Uint8Array>): Promise<string> => {
    const options = { profile, dryRun: true };
    return (await fixture.builder.addStream(source, options, fixture.signal)).cid.toString();
  };

  test('for a few bytes', async () => {
    expect(await fileCid([Buffer.from('hello world')])).toBe(vectors.small);
  });

  test('for one chunk, and a byte more', async () => {
    expect(await fileCid(stream(vectors.chunkSeed, chunkBytes))).toBe(vectors.atChunk);
    expect(await fileCid(stream(vectors.chunkSeed, chunkBytes + 1))).toBe(vectors.overChunk);
  });

  test('for as many chunks as a node has links, and a byte more', {
    timeout: 120_000,
  }, async () => {
    const size = chunkBytes * linksMax;
    expect(await fileCid(stream(vectors.linksSeed, size))).toBe(vectors.atLinks);
    expect(await fileCid(stream(vectors.linksSeed, size + 1))).toBe(vectors.overLinks);
  });

  test.each([
    ['below', 'plain'],
    ['above', 'sharded'],
  ] as const)('for a directory just %s the threshold of sharding', async (_, kind) => {
    const { builder, signal } = fixture;
    const vector: DirectoryVector = vectors[kind];
    const next = keyStream(vectors.directorySeed);
    const file = await builder.addBytes(Buffer.from('x'), { profile }, signal);
    const names = Array.from({ length: vector.files }, (_unused, index) => {
      const length = index === vector.files - 1 ? vector.lastNameLength : vector.nameLength;
      return [...next(length)].map((byte) => ALPHABET[byte % ALPHABET.length]).join('');
    });
    const children = names.map((name) => ({ ...file, name }));
    const built = await builder.buildDirectory(children, { profile }, signal);
    expect(built.cid.toString()).toBe(vector.cid);
  });
});

describe.each(PROFILES)('with profile %s', (profile) => {
  /** What the importer makes of the same tree, from its bytes. */
  const imported = async (candidates: ImportCandidate[]): Promise<Map<string, Built['cid']>> => {
    const cids = new Map<string, CID>();
    const store = { put: (cid: CID) => cid };
    for await (const entry of importer(candidates, store, { profile })) {
      cids.set(entry.path ?? '', entry.cid);
    }
    return cids;
  };

  test('a tree built of finished files equals the one made of its bytes', async () => {
    const { builder, dag, signal } = fixture;
    const files: Record<string, Buffer> = {
      'a.txt': Buffer.from('a'),
      'b/c/empty': Buffer.alloc(0),
      'b/c/large': noise(2 * MIB + 3),
      'b/ünïcode ☃': noise(300_000, 4),
      'b/back\\slash\\': Buffer.from('odd'),
      z: noise(5000, 3),
    };
    const entries: TreeEntry[] = [{ path: 'b/link', type: 'symlink', target: 'c/large' as Name }];
    for (const [path, bytes] of Object.entries(files)) {
      const { cid, cumulativeSize } = await builder.addBytes(bytes, { profile }, signal);
      entries.push({ path, type: 'file', cid, cumulativeSize });
    }
    const visited = new Map<string, string>();
    const visit = (path: string, { cid }: Built) => void visited.set(path, cid.toString());
    const built = await builder.buildTree(entries, { profile }, signal, visit);
    const expected = await imported([
      ...Object.entries(files).map(([path, content]) => ({ path: `d/${path}`, content })),
      { path: 'd/b/link', link: 'c/large' } as ImportCandidate,
    ]);
    expect(built.cid.toString()).toBe(expected.get('d')?.toString());
    expect([...visited.keys()]).toEqual(['b/link', 'b/c', 'b', '']);
    expect(visited.get('b/link')).toBe(expected.get('d/b/link')?.toString());
    for (const [path, bytes] of Object.entries(files)) {
      const cid = await dag.resolve(built.cid, path.split('/'), signal);
      const range = { position: 0, length: bytes.length + 1 };
      expect((await dag.readRange(cid, range, signal)).equals(bytes)).toBe(true);
    }
    const { cumulativeSize } = await dag.entryOf(built.cid, signal);
    expect(built.cumulativeSize).toBe(cumulativeSize);
  });

  test.each([0, 1, 1000, 256 * 1024 + 1, MIB, MIB + 1, 3 * MIB])(
    'a file of %i bytes has the CID of the importer and is read back',
    async (size) => {
      const { builder, dag, signal } = fixture;
      const bytes = noise(size);
      const [cid] = [...(await imported([{ path: 'f', content: bytes }])).values()];
      const dry = await builder.addBytes(bytes, { profile, dryRun: true }, signal);
      // A raw block of no bytes is always here.
      expect(fixture.blocks.has(dry.cid)).toBe(size === 0 && profile === 'unixfs-v1-2025');
      const built = await builder.addBytes(bytes, { profile }, signal);
      expect(built).toMatchObject({ size, blocksReused: dry.blocksReused });
      expect(dry).toEqual(built);
      expect(built.cid.toString()).toBe(cid?.toString());
      const range = { position: 0, length: size + 1 };
      expect((await dag.readRange(built.cid, range, signal)).equals(bytes)).toBe(true);
      expect((await dag.entryOf(built.cid, signal)).cumulativeSize).toBe(built.cumulativeSize);
      const again = await builder.addBytes(bytes, { profile }, signal);
      expect(again).toEqual({
        ...built,
        blocksNew: 0,
        blocksReused: built.blocksNew + built.blocksReused,
      });
    },
  );

  test.each([0, 1000, 2 * MIB])('mode and time of a file of %i bytes are kept', async (size) => {
    const { builder, dag, signal } = fixture;
    const bytes = noise(size);
    const metadata = { mode: 0o640, mtime: { s: 1_700_000_000, ns: 5 } };
    const built = await builder.addBytes(bytes, { profile, ...metadata }, signal);
    expect(await dag.entryOf(built.cid, signal)).toMatchObject({ type: 'file', size, ...metadata });
    const range = { position: 0, length: size + 1 };
    expect((await dag.readRange(built.cid, range, signal)).equals(bytes)).toBe(true);
  });

  test('mode and time of a directory are kept, with children and without', async () => {
    const { builder, dag, signal } = fixture;
    const options = { profile, mode: 0o711, mtime: { s: -1, ns: 0 } };
    const file = await builder.addBytes(Buffer.from('x'), { profile }, signal);
    for (const children of [[], [{ ...file, name: 'x' }]]) {
      const { cid } = await builder.buildDirectory(children, options, signal);
      expect(await dag.entryOf(cid, signal)).toMatchObject({
        type: 'directory',
        mode: 0o711,
        mtime: { s: -1, ns: 0 },
      });
    }
  });

  test("the empty directory is everybody's", async () => {
    const { builder, signal } = fixture;
    const { cid } = await builder.buildDirectory([], { profile }, signal);
    expect(cid.toV1().toString()).toBe(
      'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354',
    );
    expect(cid.version).toBe(profile === 'unixfs-v0-2015' ? 0 : 1);
  });

  test('a directory of many directories is sharded by its finished size', async () => {
    const { builder, dag, signal } = fixture;
    const empty = await builder.buildDirectory([], { profile }, signal);
    const children = Array.from({ length: 9000 }, (_, index) => ({ ...empty, name: `d${index}` }));
    const { cid } = await builder.buildDirectory(children, { profile }, signal);
    const first = await dag.list(cid, signal).next();
    expect(first.done).toBe(false);
    const names = new Set<string>();
    for await (const { name } of dag.list(cid, signal)) names.add(name);
    expect(names.size).toBe(9000);
    const found = await dag.resolve(cid, ['d4711'], signal);
    expect(found.equals(empty.cid)).toBe(true);
    const root = fixture.blocks.get(cid);
    expect(root?.length).toBeLessThan(100_000);
  });
});

test('added bytes lie once, as one held object whose ranges are the leaves', async () => {
  const { builder, journal, signal } = fixture;
  const built = await builder.addBytes(noise(3 * MIB), { profile: 'unixfs-v1-2025' }, signal);
  const rows = journal.contents.page(0, 10);
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject({ held: 1, refs: 0, state: 'sealed', size: 3 * MIB });
  expect(built).toMatchObject({ blocksNew: 4, blocksReused: 0 });
});

test('bytes whose source fails leave nothing behind', async () => {
  const { builder, journal, signal } = fixture;
  async function* failing(): AsyncGenerator<Buffer> {
    yield noise(2 * MIB);
    throw new Error('the source failed');
  }
  const added = builder.addStream(failing(), { profile: 'unixfs-v1-2025' }, signal);
  await expect(added).rejects.toThrowError('the source failed');
  expect(journal.contents.page(0, 10)).toEqual([]);
});

test('an abort ends the adding', async () => {
  const { builder } = fixture;
  const stop = new AbortController();
  async function* endless(): AsyncGenerator<Buffer> {
    for (let count = 0; ; count++) {
      if (count === 5) stop.abort(new Error('enough'));
      yield noise(MIB, count);
    }
  }
  const added = builder.addStream(endless(), { profile: 'unixfs-v0-2015' }, stop.signal);
  await expect(added).rejects.toThrowError('enough');
});

test('a link keeps the bytes of its target, whatever they are', async () => {
  const { builder, dag, signal } = fixture;
  for (const target of [nameOfText('ü/☃'), '\xff\xfe/raw' as Name]) {
    const { cid } = builder.buildSymlink(target, { profile: 'unixfs-v1-2025' });
    expect(await dag.entryOf(cid, signal)).toMatchObject({ type: 'symlink', target });
  }
});
