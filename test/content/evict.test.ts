/** The laws of giving back the room of content that somebody else has. */
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import {
  BlockFetcher,
  ContentStore,
  cidOfBytes,
  Dag,
  Filling,
  removeStrays,
} from '../../src/content/content.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture, noise } from './fixture.ts';

const MIB = 1024 * 1024;

let here: Fixture;
let origin: Origin;
let filling: Filling;
/** What waits for the disk to have the journal. */
let waiting: (() => void)[];
beforeEach(() => {
  waiting = [];
  here = new Fixture(undefined, (action) => void waiting.push(action));
  origin = new Origin();
  const { contents, blocks, sealer, clock, log, signal } = here;
  const fetcher = new BlockFetcher({ origin: () => origin, clock });
  filling = new Filling({ contents, blocks, fetcher, sealer, log, signal });
});
afterEach(async () => {
  await filling.settled();
  await here.close();
});

/** A sealed file, of which the node has every block. */
async function stored(bytes: Buffer): Promise<ContentId> {
  const id = here.makeFrozen(bytes);
  const cid = await here.sealer.seal(id, here.signal);
  for await (const { cid: block } of new Dag(here.blocks).walk(cid, here.signal)) {
    const found = here.blocks.get(block);
    if (found !== undefined) origin.put(block, found);
  }
  return id;
}

const evict = (id: ContentId) => here.journal.commit(() => here.contents.remote.evict(id));
const sync = () => {
  for (const action of waiting.splice(0)) action();
};
const stateOf = (id: ContentId) => here.contents.row(id)?.state;
/** Findings but those of the inode that there is not. */
const findings = () => checkJournal(here.journal).filter(({ rule }) => rule !== 'content-refs');
const pathOf = (id: ContentId) => here.contents.backingPath(id) ?? '';

/** The file as whoever reads it finds it. */
async function broughtBack(id: ContentId): Promise<Buffer> {
  await filling.bring(id, { from: 0, to: here.contents.size(id) }, here.signal);
  await filling.settled();
  return here.bytesOf(id);
}

describe.each([1, 4096, 65_536, 65_537, MIB, 3 * MIB + 17])('a file of %i bytes', (size) => {
  test('that is evicted takes no room, keeps its CID, and comes back as it was', async () => {
    const bytes = noise(size);
    const id = await stored(bytes);
    const cid = here.contents.row(id)?.cid;
    evict(id);
    sync();
    expect(stateOf(id)).toBe('remote');
    expect(here.contents.remote.has(id, 0, 1)).toBe(false);
    if (size > 65_536) expect(existsSync(pathOf(id))).toBe(false);
    else expect(here.journal.contents.bytes(id)).toBeUndefined();
    expect(findings()).toEqual([]);
    expect((await broughtBack(id)).equals(bytes)).toBe(true);
    expect(stateOf(id)).toBe('sealed');
    expect(here.contents.row(id)?.cid).toEqual(cid);
    expect(findings()).toEqual([]);
  });
});

test('what came back is on the disk before it counts as here', async () => {
  const id = await stored(noise(2 * MIB));
  evict(id);
  sync();
  await broughtBack(id);
  expect(here.contents.row(id)).toMatchObject({ state: 'sealed', stable: 1 });
});

test('inner nodes stay, so that only leaves are asked for', async () => {
  const id = await stored(noise(3 * MIB));
  const root = cidOfBytes(here.contents.row(id)?.cid ?? Buffer.alloc(0));
  evict(id);
  expect(here.blocks.has(root)).toBe(true);
  await broughtBack(id);
  expect(origin.asked).toHaveLength(3);
  expect(origin.asked).not.toContain(root.toString());
});

test('an eviction that is rolled back never was', async () => {
  const bytes = noise(2 * MIB);
  const id = await stored(bytes);
  const failing = () =>
    here.journal.commit(() => {
      here.contents.remote.evict(id);
      throw new Error('the disk is full');
    });
  expect(failing).toThrow();
  sync();
  expect(stateOf(id)).toBe('sealed');
  expect(here.bytesOf(id).equals(bytes)).toBe(true);
  expect(findings()).toEqual([]);
  evict(id);
  sync();
  expect(existsSync(pathOf(id))).toBe(false);
});

describe('the bytes', () => {
  test('stay until the disk knows that they are let go', async () => {
    const id = await stored(noise(2 * MIB));
    evict(id);
    expect(statSync(pathOf(id)).size).toBe(2 * MIB);
    sync();
    expect(existsSync(pathOf(id))).toBe(false);
  });

  test('that come back before that are not taken away by it', async () => {
    const bytes = noise(2 * MIB);
    const id = await stored(bytes);
    evict(id);
    expect((await broughtBack(id)).equals(bytes)).toBe(true);
    sync();
    expect(here.bytesOf(id).equals(bytes)).toBe(true);
    expect(stateOf(id)).toBe('sealed');
  });

  test('that a kill left are removed by the next start, and nothing else is', async () => {
    const bytes = noise(2 * MIB);
    const [id, other] = [await stored(bytes), await stored(noise(MIB, 2))];
    evict(id);
    // The daemon is killed here: nothing that waited is done.
    const { journal, native, directory, memoryDirectory, clock } = here;
    const next = new ContentStore({
      ...{ journal, native, memoryDirectory, clock },
      directory: `${directory}/content`,
    });
    expect(findings()).toEqual([]);
    expect(await removeStrays(next, here.signal)).toBe(1);
    expect([existsSync(pathOf(id)), existsSync(pathOf(other))]).toEqual([false, true]);
    next.close();
    expect((await broughtBack(id)).equals(bytes)).toBe(true);
  });

  test('are no stray while the disk does not know that they are let go', async () => {
    const id = await stored(noise(2 * MIB));
    evict(id);
    expect(await removeStrays(here.contents, here.signal)).toBe(0);
    expect(existsSync(pathOf(id))).toBe(true);
  });
});

test.each([true, false])(
  'whoever has the file open keeps its bytes when it comes back; the disk knows: %s',
  async (isKnown) => {
    const bytes = noise(2 * MIB);
    const id = await stored(bytes);
    const fd = openSync(pathOf(id), 'r');
    try {
      evict(id);
      if (isKnown) sync();
      await filling.bring(id, { from: MIB, to: 2 * MIB }, here.signal);
      const seen = Buffer.alloc(bytes.length);
      expect(readSync(fd, seen, 0, seen.length, 0)).toBe(bytes.length);
      expect(seen.equals(bytes)).toBe(true);
    } finally {
      closeSync(fd);
    }
  },
);

describe('what was fetched in part', () => {
  test('is dropped whole, and fetched again', async () => {
    const bytes = noise(3 * MIB);
    const id = await stored(bytes);
    evict(id);
    await filling.bring(id, { from: MIB, to: MIB + 1 }, here.signal);
    const row = here.contents.row(id);
    expect(row && here.contents.remote.bytesHere(row)).toBe(MIB);
    here.journal.commit(() => here.contents.remote.drop(id));
    sync();
    expect(row && here.contents.remote.bytesHere(row)).toBe(0);
    expect(existsSync(pathOf(id))).toBe(false);
    expect(findings()).toEqual([]);
    expect((await broughtBack(id)).equals(bytes)).toBe(true);
  });

  test('is not dropped by a transaction that is rolled back', async () => {
    const bytes = noise(3 * MIB);
    const id = await stored(bytes);
    evict(id);
    await filling.bring(id, { from: MIB, to: 2 * MIB }, here.signal);
    const failing = () =>
      here.journal.commit(() => {
        here.contents.remote.drop(id);
        throw new Error('the disk is full');
      });
    expect(failing).toThrow();
    expect(here.contents.remote.has(id, MIB, 2 * MIB)).toBe(true);
    expect((await broughtBack(id)).equals(bytes)).toBe(true);
  });
});
