/** The laws of what the tree shows of content by CID. */
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID as MultiformatsCid } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { BlockFetcher, type CID, Filling } from '../../src/content/content.ts';
import { contentReader } from '../../src/daemon/content-reader.ts';
import type { ContentReader } from '../../src/vfs/vfs.ts';
import { Fixture, noise } from '../content/fixture.ts';
import { Origin } from '../fakes/origin.ts';

let world: Fixture;
let reader: ContentReader;
beforeEach(() => {
  world = new Fixture();
  reader = contentReader(world.dag);
});
afterEach(() => world.close());

const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
const OPTIONS = { profile: 'unixfs-v1-2025' } as const;

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => (error as { failure: string }).failure,
  );

async function put(code: number, bytes: Uint8Array): Promise<string> {
  const cid = MultiformatsCid.createV1(code, await sha256.digest(bytes)) as CID;
  world.blocks.put(cid, bytes);
  return cid.toString();
}

async function namesOf(cid: string): Promise<string[]> {
  const names = [];
  for await (const { name } of reader.children(cid, world.signal)) names.push(name);
  return names;
}

test('CIDs of every version and base are told from ordinary names', () => {
  const cid = MultiformatsCid.parse('QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE');
  expect(reader.isCid(cid.toString())).toBe(true);
  expect(reader.isCid(cid.toV1().toString())).toBe(true);
  for (const name of ['readme.md', 'node_modules', 'bafybei', 'Qm', '', `${ABSENT}.txt`]) {
    expect(reader.isCid(name), name).toBe(false);
  }
});

test('a file, a directory and a link are what they are', async () => {
  const bytes = noise(1_500_000);
  const file = await world.builder.addBytes(bytes, OPTIONS, world.signal);
  const link = world.builder.buildSymlink('../f' as Name, OPTIONS);
  const children = [
    { name: 'f', ...file },
    { name: 'l', ...link },
  ];
  const directory = await world.builder.buildDirectory(children, OPTIONS, world.signal);
  const node = (cid: CID) => reader.node(cid.toString(), world.signal);
  expect(await node(file.cid)).toMatchObject({ type: 'file', size: bytes.length });
  expect(await node(link.cid)).toMatchObject({ type: 'symlink', target: '../f' });
  expect(await node(directory.cid)).toMatchObject({ type: 'directory' });
  expect(await namesOf(directory.cid.toString())).toEqual(['f', 'l']);
  const read = await reader.read(file.cid.toString(), 1_400_000, 200_000, world.signal);
  expect(Buffer.from(read).equals(bytes.subarray(1_400_000))).toBe(true);
});

test('what is bad, absent or no file is not there', async () => {
  const failures = [
    reader.node('nonsense', world.signal),
    reader.node(ABSENT, world.signal),
    reader.read(ABSENT, 0, 1, world.signal),
    namesOf(ABSENT.replace('bafkrei', 'bafybei')),
    reader.node(await put(0x71, Buffer.from([0xa0])), world.signal),
  ];
  for (const failure of failures) expect(await failureOf(failure)).toBe('not-found');
});

test('damage is damage, and never absence', async () => {
  const { cid } = await world.builder.addBytes(Buffer.from('x'), OPTIONS, world.signal);
  const row = world.journal.contents.byCid(Buffer.from(cid.bytes));
  if (row === undefined) throw new Error('it was added');
  world.flip(row.id, 0);
  expect(await failureOf(reader.read(cid.toString(), 0, 1, world.signal))).toBe('integrity');
});

test.each(['..', '.', '', 'a/b', 'nul\0'])('a link named %j is no entry', async (name) => {
  const Data = new UnixFS({ type: 'directory' }).marshal();
  const Hash = MultiformatsCid.parse(ABSENT);
  const root = await put(0x70, encode(prepare({ Data, Links: [{ Name: name, Hash, Tsize: 1 }] })));
  expect(await failureOf(namesOf(root))).toBe('integrity');
});

test('a name of more than 255 bytes is left out, and hides no other', async () => {
  const Data = new UnixFS({ type: 'directory' }).marshal();
  const Hash = MultiformatsCid.parse(ABSENT);
  const names = ['a', 'é'.repeat(127), 'é'.repeat(128), 'z'];
  const Links = names.map((Name) => ({ Name, Hash, Tsize: 1 }));
  const root = await put(0x70, encode(prepare({ Data, Links })));
  expect((await namesOf(root)).sort()).toEqual(['a', 'z', 'é'.repeat(127)]);
});

describe('with a node that is attached', () => {
  let origin: Origin;
  let raw: CID;
  let directory: CID;
  beforeEach(async () => {
    origin = new Origin();
    const bytes = noise(1000);
    raw = (await world.builder.addBytes(bytes, OPTIONS, world.signal)).cid;
    const children = [{ name: 'f', cid: raw, cumulativeSize: 1000 }];
    const made = await world.builder.buildDirectory(children, OPTIONS, world.signal);
    directory = made.cid;
    for (const cid of [raw, directory]) origin.put(cid, world.blocks.get(cid) ?? Buffer.alloc(0));
    await world.close();
    world = new Fixture();
    const { contents, blocks, sealer, clock, log, signal } = world;
    const fetcher = new BlockFetcher({ origin: () => origin, clock });
    reader = contentReader(new Filling({ contents, blocks, sealer, fetcher, log, signal }).dag);
  });

  test('what is not here is fetched, and the bytes of no file to list its name', async () => {
    expect(await namesOf(directory.toString())).toEqual(['f']);
    expect(origin.asked).toEqual([directory.toString()]);
    expect(await reader.node(raw.toString(), world.signal)).toMatchObject({ size: 1000 });
    const bytes = await reader.read(raw.toString(), 10, 5, world.signal);
    expect(Buffer.from(bytes).equals(noise(1000).subarray(10, 15))).toBe(true);
    expect(origin.asked).toHaveLength(2);
  });

  test.each([
    ['lack', 'not-found'],
    ['offline', 'content-missing'],
    ['lie', 'integrity'],
  ] as const)(
    'a node that is %s makes no absence of it but its own: %s',
    async (manner, failure) => {
      origin.manner = manner;
      expect(await failureOf(reader.node(raw.toString(), world.signal))).toBe(failure);
    },
  );
});
