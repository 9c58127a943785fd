/** Writing into files that others made. */
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID as MultiformatsCid } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CID } from '../../src/content/content.ts';
import { PLAIN_FORM } from '../../src/node/forms.ts';
import { rewritten } from '../../src/node/rewrite.ts';
import { Fixture } from '../content/fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

async function put(code: number, bytes: Uint8Array): Promise<CID> {
  const cid = MultiformatsCid.createV1(code, await sha256.digest(bytes)) as CID;
  world.blocks.put(cid, bytes);
  return cid;
}

const nodeOf = (parts: readonly { readonly cid: CID; readonly size: number }[]) => {
  const unixfs = new UnixFS({ type: 'file', blockSizes: parts.map(({ size }) => BigInt(size)) });
  const Links = parts.map(({ cid: Hash }) => ({ Name: '', Hash, Tsize: 1 }));
  return put(0x70, encode(prepare({ Data: unixfs.marshal(), Links })));
};

const appended = (old: CID, offset: number) =>
  rewritten({
    ...{ dag: world.dag, old, offset, bytes: Buffer.from('!'), truncate: false },
    ...{ metadata: {}, form: PLAIN_FORM, signal: world.signal },
    sink: { put: (cid, bytes) => void world.blocks.put(cid, bytes) },
  });

test('parts without bytes are left out, and not looked at', async () => {
  const leaf = await put(0x55, Buffer.from('leaf'));
  const nothing = MultiformatsCid.parse(
    'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354',
  ) as CID;
  const file = await nodeOf([
    { cid: leaf, size: 4 },
    { cid: nothing, size: 0 },
  ]);
  const { cid, size } = await appended(file, 4);
  expect(size).toBe(5);
  const bytes = await world.dag.readRange(cid, { position: 0, length: 9 }, world.signal);
  expect(String(bytes)).toBe('leaf!');
});

test('a node that has more bytes than the one above it says is refused', async () => {
  const leaf = await put(0x55, Buffer.from('leaf'));
  let file = await nodeOf([{ cid: leaf, size: 4 }]);
  for (let depth = 0; depth < 3; depth += 1) {
    file = await nodeOf([
      { cid: file, size: 1 },
      { cid: file, size: 1 },
    ]);
  }
  await expect(appended(file, 0)).rejects.toMatchObject({ failure: 'integrity' });
});
