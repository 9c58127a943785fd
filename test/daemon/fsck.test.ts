/** The laws of fsck, on a state that real tools of the tree wrote, and that a test then damages. */
import {
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import { blockKey } from '../../src/content/content.ts';
import type { Checked } from '../../src/daemon/content-check.ts';
import { fsck } from '../../src/daemon/fsck.ts';
import { noise } from '../content/fixture.ts';
import { Fixture, failureOf } from '../sync/fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const check = (signal = world.signal, onProgress?: (now: Checked) => void) =>
  fsck({ state: world.directory, signal, ...(onProgress === undefined ? {} : { onProgress }) });

/** A file of the tree, and the object that has its bytes. */
function written(name: string, bytes: Uint8Array | string): ContentId {
  world.write(`/ipfs/${name}`, bytes);
  return world.inode(`/ipfs/${name}`).content;
}

async function sealed(name: string, bytes: Uint8Array | string): Promise<ContentId> {
  const id = written(name, bytes);
  await world.sealer.seal(id, world.signal);
  return id;
}

function backing(id: ContentId): string {
  const path = world.contents.backingPath(id);
  if (path === undefined) throw new Error('it has no file of its own');
  return path;
}

test('a state in order has no findings, and what was looked at is counted', async () => {
  await sealed('small', 'small');
  await sealed('large', noise(200_000));
  written('frozen', 'not sealed yet');
  world.write('/mem/fleeting', noise(100_000));
  const seen: Checked[] = [];
  const { clean, findings, counts } = await check(world.signal, (now) => seen.push(now));
  expect(findings).toEqual([]);
  expect(clean).toBe(true);
  const checked = { contents: 4, bytes: 5 + 200_000 + 14 + 100_000 };
  expect(counts).toEqual({ ...checked, left: 0, repaired: 0, quarantined: 0 });
  expect(seen).toEqual([checked]);
});

test('where no journal is, nothing is checked and nothing is made', async () => {
  const empty = mkdtempSync(join(tmpdir(), 'kitfs-fsck-'));
  try {
    const state = join(empty, 'none');
    const error = await failureOf(fsck({ state, signal: world.signal }));
    expect(error.failure).toBe('not-found');
    expect(statSync(state, { throwIfNoEntry: false })).toBeUndefined();
    writeFileSync(state, 'a file in the way');
    const other = await failureOf(fsck({ state, signal: world.signal }));
    expect(other).toMatchObject({ code: 'ENOTDIR' });
  } finally {
    rmSync(empty, { recursive: true });
  }
});

test('a check that is given up ends with the reason', async () => {
  written('a', 'a');
  const error = await failureOf(check(AbortSignal.abort(new Error('enough'))));
  expect(error.message).toContain('enough');
});

test('bytes of a file that are another than its CID says are found, by both CIDs', async () => {
  const id = await sealed('large', noise(200_000));
  const expected = (await world.sealer.seal(id, world.signal)).toString();
  writeFileSync(backing(id), noise(200_000, 2));
  const { clean, findings } = await check();
  expect(clean).toBe(false);
  expect(findings).toEqual([
    {
      check: 'bytes-cid',
      severity: 'loss',
      outcome: 'left',
      ino: world.ino('/ipfs/large'),
      path: '/ipfs/large',
      content: id,
      detail: expect.stringMatching(`^expected ${expected}, found baf(?!${expected.slice(3)})`),
    },
  ]);
});

test('a file that is cut or gone is found with the bytes there should be', async () => {
  const cut = written('cut', noise(200_000));
  const gone = written('gone', noise(150_000));
  truncateSync(backing(cut), 1000);
  unlinkSync(backing(gone));
  const { findings } = await check();
  const wrong = { check: 'bytes-size', outcome: 'left' };
  expect(findings).toMatchObject([
    { ...wrong, content: cut, detail: 'expected 200000 bytes, found 1000 bytes' },
    { ...wrong, content: gone, detail: 'expected 150000 bytes, found no bytes' },
  ]);
});

test('packed bytes that are gone, cut or exchanged are found', async () => {
  const gone = await sealed('gone', 'some bytes');
  const cut = await sealed('cut', 'other bytes');
  const exchanged = await sealed('exchanged', 'more');
  world.journal.commit(() => {
    world.journal.contents.deleteBytes(gone);
    world.journal.contents.setBytes(cut, Buffer.from('ot'));
    world.journal.contents.setBytes(exchanged, Buffer.from('less'));
  });
  const { findings } = await check();
  const bytes = findings.filter((found) => found.check.startsWith('bytes-'));
  expect(bytes).toMatchObject([
    { content: gone, check: 'bytes-size', detail: 'expected 10 bytes, found 0 bytes' },
    { content: cut, check: 'bytes-size', detail: 'expected 11 bytes, found 2 bytes' },
    { content: exchanged, check: 'bytes-cid' },
  ]);
});

test('a block that is no file is compared with the CID it is named by', async () => {
  const { cid } = await world.builder.addBytes(
    Buffer.from('old profile'),
    { profile: 'unixfs-v0-2015', dryRun: false },
    world.signal,
  );
  expect((await check()).clean).toBe(true);
  const block = world.journal.contents.block(blockKey(cid));
  if (block === undefined) throw new Error('it is stored');
  const bytes = world.journal.contents.bytes(block.content);
  if (bytes === undefined) throw new Error('it is packed');
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  world.journal.commit(() => world.journal.contents.setBytes(block.content, bytes));
  const { findings } = await check();
  expect(findings).toMatchObject([{ content: block.content, check: 'bytes-block' }]);
});

test('what cannot be read is told by why, and the rest is still checked', async () => {
  const id = await sealed('large', noise(200_000));
  const other = await sealed('other', noise(150_000));
  const path = backing(id);
  unlinkSync(path);
  mkdirSync(path);
  world.journal.commit(() => {
    const row = world.journal.contents.get(id);
    if (row !== undefined) world.journal.contents.update({ ...row, size: 1 });
  });
  writeFileSync(backing(other), noise(150_000, 3));
  const bytes = (await check()).findings.filter((found) => found.check.startsWith('bytes-'));
  expect(bytes).toMatchObject([
    { content: id, check: 'bytes-cid', detail: expect.not.stringMatching(/found baf/) },
    { content: other, check: 'bytes-cid', detail: expect.stringMatching(/found baf/) },
  ]);
});
