import { rmSync } from 'node:fs';
import { CarReader } from '@ipld/car';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import {
  SEAL_DELAY_MS,
  SEAL_RETRY_MS_MIN,
  SEAL_ROWS_PER_COMMIT_MAX,
} from '../../src/base/limits.ts';
import {
  CID,
  CONTENT_PROFILE,
  ContentStore,
  exportCar,
  HashPool,
  Sealer,
} from '../../src/content/content.ts';
import { hashChunk, hashStream } from '../../src/content/hash.ts';
import { Fixture, noise, TurnedClock } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const MIB = 1024 * 1024;
const failing = (failure: string) => expect.objectContaining({ failure });

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const hashed = (bytes: Buffer) => hashStream(pieces(bytes, 100_000));

describe('sealing', () => {
  test.each([
    ['nothing', 0, 'local'],
    ['packed bytes', 1000, 'local'],
    ['one chunk in a file', MIB, 'local'],
    ['many chunks in a file', 3 * MIB + 5, 'local'],
    ['many chunks in memory', 2 * MIB + 1, 'memory'],
  ] as const)('gives %s the CID of its bytes, and every block verifies', async (_, size, place) => {
    const { blocks, contents, journal, sealer, signal } = fixture;
    const bytes = noise(size);
    const id = fixture.makeFrozen(bytes, place);
    const cid = await sealer.seal(id, signal);
    const expected = await hashed(bytes);
    expect(cid.equals(CID.decode(expected.cid))).toBe(true);
    const row = contents.row(id);
    expect(row).toMatchObject({ state: 'sealed', profile: CONTENT_PROFILE });
    expect(row?.cid?.equals(cid.bytes)).toBe(true);
    const rows = journal.contents.blocksOf(id);
    expect(rows).toHaveLength(expected.leaves.length + expected.nodes.length);
    for (const leaf of expected.leaves) {
      const block = blocks.get(CID.decode(leaf.cid));
      const range = bytes.subarray(leaf.position, leaf.position + leaf.size);
      expect(range.equals(block ?? Buffer.from('absent'))).toBe(true);
    }
    for (const node of expected.nodes) {
      expect(
        Buffer.from(node.bytes).equals(blocks.get(CID.decode(node.cid)) ?? Buffer.alloc(0)),
      ).toBe(true);
    }
    expect(fixture.bytesOf(id).equals(bytes)).toBe(true);
    expect(await sealer.verify(id, signal)).toBe(true);
  });

  test('objects are sealed together with one call of the threads, open ones and strangers left', async () => {
    const { contents, journal, clock, hasher, log, signal } = fixture;
    const calls: number[] = [];
    const counting = {
      width: 1,
      hash: (...call: Parameters<HashPool['hash']>) => {
        calls.push(call[0].length);
        return hasher.hash(...call);
      },
    };
    const sealer = new Sealer({ journal, contents, hasher: counting, clock, log });
    const bytes = [noise(10), noise(5000), noise(200_000)];
    const ids = bytes.map((one) => fixture.makeFrozen(one));
    const open = journal.commit(() => contents.create('local'));
    await sealer.sealTogether([...ids, open, 4711 as ContentId], signal);
    expect(calls).toEqual([3]);
    for (const [index, id] of ids.entries()) {
      const expected = await hashed(bytes[index] ?? Buffer.alloc(0));
      expect(contents.row(id)).toMatchObject({ state: 'sealed' });
      expect(contents.row(id)?.cid?.equals(expected.cid)).toBe(true);
    }
    expect(contents.row(open)?.state).toBe('open');
  });

  test('a chunk by itself and as a stream has one CID', async () => {
    for (const size of [0, 1, 1000, MIB]) {
      const bytes = noise(size);
      const { cid } = await hashStream(pieces(bytes, 333_333));
      expect(Buffer.from(cid).equals(hashChunk(bytes).cid)).toBe(true);
    }
  });

  test('more blocks than one transaction takes are all stored', async () => {
    const { contents, journal, signal } = fixture;
    const count = SEAL_ROWS_PER_COMMIT_MAX * 2 + 7;
    const leaves = Array.from({ length: count }, (_, index) => ({
      ...hashChunk(Buffer.from(`${index}`)),
      position: index,
      size: 1,
    }));
    // Only the hashes are made up: a file of that many chunks would be gigabytes.
    const hasher = {
      width: 1,
      hash: async () => [{ cid: hashChunk(Buffer.from('root')).cid, leaves, nodes: [] }],
    };
    const { clock, log } = fixture;
    const id = fixture.makeFrozen(noise(count));
    await new Sealer({ journal, contents, hasher, clock, log }).seal(id, signal);
    expect(journal.contents.blocksOf(id).map(({ position }) => position)).toEqual(
      leaves.map(({ position }) => position),
    );
  });

  test('reopening takes the CID and the blocks away', async () => {
    const { blocks, contents, journal, sealer, signal } = fixture;
    const id = fixture.makeFrozen(noise(2 * MIB));
    const cid = await sealer.seal(id, signal);
    expect(blocks.has(cid)).toBe(true);
    journal.commit(() => contents.reopen(id));
    expect(contents.row(id)).toMatchObject({ state: 'open', cid: null, profile: null });
    expect(blocks.has(cid)).toBe(false);
    journal.commit(() => contents.freeze(id));
    expect(journal.contents.blocksOf(id)).toEqual([]);
    expect(journal.contents.bytes(id)).toBeUndefined();
  });

  test('discarding takes the blocks away, leaves and nodes', async () => {
    const { contents, journal, sealer, signal } = fixture;
    const id = fixture.makeFrozen(noise(2 * MIB));
    await sealer.seal(id, signal);
    journal.commit(() => contents.discard(id));
    expect(journal.contents.blocks(Buffer.alloc(0), 10)).toEqual([]);
    expect(journal.contents.bytes(id)).toBeUndefined();
  });

  test('an object opened again meanwhile is not sealed', async () => {
    const { contents, journal, sealer, signal } = fixture;
    const id = fixture.makeFrozen(noise(5000));
    const sealing = sealer.seal(id, signal);
    journal.commit(() => {
      contents.reopen(id);
      contents.write(id, Buffer.from('new'), 0);
      contents.freeze(id);
    });
    await sealing;
    expect(contents.row(id)?.state).toBe('frozen');
    const cid = await sealer.seal(id, signal);
    expect(Buffer.from(cid.bytes).equals(hashChunk(fixture.bytesOf(id)).cid)).toBe(true);
  });

  test('an open object has a CID too, and stays open', async () => {
    const bytes = noise(70_000);
    const id = fixture.make(bytes);
    const cid = await fixture.sealer.seal(id, fixture.signal);
    expect(Buffer.from(cid.bytes).equals(hashChunk(bytes).cid)).toBe(true);
    expect(fixture.contents.row(id)).toMatchObject({ state: 'open', cid: null });
  });

  test('damage of a sealed object is noticed by reading it again', async () => {
    const { contents, sealer, signal } = fixture;
    for (const size of [5000, 100_000, 2 * MIB]) {
      const id = fixture.makeFrozen(noise(size));
      await sealer.seal(id, signal);
      fixture.flip(id, size - 1);
      expect(await sealer.verify(id, signal)).toBe(false);
    }
    const gone = fixture.makeFrozen(noise(100_000, 5));
    await sealer.seal(gone, signal);
    rmSync(contents.backingPath(gone) ?? '');
    expect(await sealer.verify(gone, signal)).toBe(false);
  });

  test('a flipped byte of a sealed file is an error of its block, also in a CAR', async () => {
    const { blocks, dag, sealer, signal } = fixture;
    const id = fixture.makeFrozen(noise(2 * MIB));
    const cid = await sealer.seal(id, signal);
    fixture.flip(id, MIB + 1);
    const [, second] = (await hashed(noise(2 * MIB))).leaves;
    const leaf = CID.decode(second?.cid ?? new Uint8Array());
    expect(() => blocks.get(leaf)).toThrowError(
      expect.objectContaining({ failure: 'integrity', details: { cid: leaf.toString() } }),
    );
    await expect(CarReader.fromIterable(exportCar(dag, cid, signal))).rejects.toThrowError(
      failing('integrity'),
    );
  });

  test('what does not exist cannot be sealed', async () => {
    const id = fixture.make(Buffer.from('x'));
    fixture.journal.commit(() => fixture.contents.discard(id));
    await expect(fixture.sealer.seal(id, fixture.signal)).rejects.toThrowError(
      failing('content-missing'),
    );
  });
});

describe('in the background', () => {
  const running = () => {
    const clock = new TurnedClock();
    const background = new Fixture(clock);
    const stop = new AbortController();
    const ended = background.sealer.run(stop.signal);
    const finish = async () => {
      stop.abort(new Error('stopped'));
      await ended;
      await background.close();
    };
    return { clock, background, finish };
  };
  const until = (condition: () => boolean) =>
    vi.waitFor(() => expect(condition()).toBe(true), { timeout: 5000, interval: 5 });

  test('frozen content is sealed once it has been left alone for a moment', async () => {
    const { clock, background, finish } = running();
    const { contents, sealer } = background;
    const ids = Array.from({ length: 300 }, (_, index) =>
      background.makeFrozen(Buffer.from(`${index}`)),
    );
    ids.push(background.makeFrozen(noise(2 * MIB)));
    sealer.notify();
    await until(() => clock.sleepers > 0);
    expect(ids.every((id) => contents.row(id)?.state === 'frozen')).toBe(true);
    clock.turn(SEAL_DELAY_MS);
    await until(() => ids.every((id) => contents.row(id)?.state === 'sealed'));
    await finish();
  });

  test('content frozen while others wait has to wait for itself', async () => {
    const { clock, background, finish } = running();
    const { contents, sealer } = background;
    const stateOf = (id: typeof first) => contents.row(id)?.state;
    const first = background.makeFrozen(Buffer.from('first'));
    sealer.notify();
    await until(() => clock.sleepers > 0);
    clock.turn(SEAL_DELAY_MS / 2);
    const second = background.makeFrozen(Buffer.from('second'));
    sealer.notify();
    clock.turn(SEAL_DELAY_MS / 2);
    await until(() => stateOf(first) === 'sealed');
    await until(() => clock.sleepers > 0);
    expect(stateOf(second)).toBe('frozen');
    clock.turn(SEAL_DELAY_MS / 2);
    await until(() => stateOf(second) === 'sealed');
    await finish();
  });

  test('content frozen before the start is sealed at once', async () => {
    const clock = new TurnedClock();
    const before = new Fixture(clock);
    const { directory, hasher, journal, log, memoryDirectory, native } = before;
    const id = before.makeFrozen(Buffer.from('left over'));
    const contents = new ContentStore({
      journal,
      native,
      directory: `${directory}/content`,
      memoryDirectory,
      clock,
    });
    const stop = new AbortController();
    const ended = new Sealer({ journal, contents, hasher, clock, log }).run(stop.signal);
    await until(() => journal.contents.get(id)?.state === 'sealed');
    stop.abort(new Error('stopped'));
    await ended;
    contents.close();
    await before.close();
  });

  test('content that fails stays frozen, is reported, and is tried again', async () => {
    const { clock, background, finish } = running();
    const { contents, journal, log, sealer } = background;
    const id = background.makeFrozen(noise(100_000));
    const sound = background.makeFrozen(Buffer.from('sound'));
    const path = contents.backingPath(id) ?? '';
    rmSync(path);
    sealer.notify();
    await until(() => clock.sleepers > 0);
    clock.turn(SEAL_DELAY_MS);
    await until(() => log.messages.length > 0);
    expect(log.messages).toEqual(['content could not be sealed yet']);
    expect(contents.row(id)?.state).toBe('frozen');
    await until(() => contents.row(sound)?.state === 'sealed');
    journal.commit(() => {
      contents.reopen(id);
      contents.discard(id);
    });
    const next = background.makeFrozen(Buffer.from('next'));
    await until(() => clock.sleepers > 0);
    clock.turn(SEAL_RETRY_MS_MIN * 2);
    await until(() => contents.row(next)?.state === 'sealed');
    await finish();
  });
});

describe('the hashing threads', () => {
  test('give each item its own outcome', async () => {
    const { contents, hasher, signal } = fixture;
    const id = fixture.make(noise(100_000));
    const path = contents.backingPath(id) ?? '';
    const outcomes = await hasher.hash(
      [
        { bytes: Buffer.from('a') },
        { path, size: 100_001 },
        { path: `${path}x`, size: 1 },
        { path, size: 100_000 },
      ],
      signal,
    );
    expect(outcomes[0]).toMatchObject({ leaves: [{ position: 0, size: 1 }] });
    expect(outcomes[1]).toMatchObject({ failure: 'integrity' });
    expect(outcomes[2]).toMatchObject({ failure: 'integrity' });
    expect(outcomes[3]).toMatchObject({ leaves: [{ position: 0, size: 100_000 }] });
  });

  test('an abort ends the wait, and the thread takes other work', async () => {
    const { hasher, signal } = fixture;
    const stop = new AbortController();
    const id = fixture.make(noise(MIB), 'memory');
    fixture.journal.commit(() => fixture.contents.truncate(id, 4096 * MIB));
    const path = fixture.contents.backingPath(id) ?? '';
    const hashing = hasher.hash([{ path, size: 4096 * MIB }], stop.signal);
    stop.abort(new Error('enough'));
    await expect(hashing).rejects.toThrowError('enough');
    expect(await hasher.hash([{ bytes: Buffer.from('a') }], signal)).toHaveLength(1);
    await expect(hasher.hash([], AbortSignal.abort(new Error('before')))).rejects.toThrowError(
      'before',
    );
  });

  test('a thread that cannot run fails its work, by name', async () => {
    const hasher = new HashPool({ script: new URL('file:///nowhere/seal.worker.js') });
    const hashing = hasher.hash([{ bytes: Buffer.from('a') }], fixture.signal);
    await expect(hashing).rejects.toThrowError(failing('io'));
    await hasher.close();
    await expect(hasher.hash([], fixture.signal)).rejects.toThrowError(failing('not-running'));
  });
});
