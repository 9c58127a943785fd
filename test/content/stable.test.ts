/** When bytes are known to be on stable storage. */
import { copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import type { ContentId } from '../../src/base/ids.ts';
import { ContentStore } from '../../src/content/content.ts';
import { JournalSync, syncAtEnd } from '../../src/daemon/stable.ts';
import { Journal } from '../../src/journal/journal.ts';
import { Fixture, noise } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

describe('stable storage', () => {
  test('a backing file is marked stable by fsync, and stable in part by the next write', async () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(100_000));
    expect(contents.row(id)?.stable).toBe(0);
    await contents.fsync([id]);
    expect(journal.contents.get(id)?.stable).toBe(1);
    journal.commit(() => contents.write(id, Buffer.from('x'), 5));
    expect(journal.contents.get(id)?.stable).toBe(2);
  });

  test('a write during fsync leaves what was there before it marked', async () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(100_000));
    const synced = contents.fsync([id]);
    journal.commit(() => contents.write(id, Buffer.from('x'), 5));
    await synced;
    expect(contents.row(id)?.stable).toBe(2);
  });

  test('an object discarded during fsync is no error', async () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(100_000));
    const synced = contents.fsync([id]);
    journal.commit(() => contents.discard(id));
    await synced;
    expect(contents.row(id)).toBeUndefined();
  });

  test('of many objects those are synced that are there still, and marked as they are', async () => {
    const { contents, journal } = fixture;
    const ids = Array.from({ length: 70 }, (_, seed) => fixture.make(noise(70_000, seed)));
    const [first, last] = [ids[0], ids.at(-1)] as [ContentId, ContentId];
    const native = vi.spyOn(fixture.native, 'fdatasyncMany');
    native.mockImplementationOnce(async () => {
      journal.commit(() => contents.discard(last));
    });
    native.mockImplementationOnce(async () => {
      journal.commit(() => contents.write(first, Buffer.from('x'), 5));
    });
    await contents.fsync(ids);
    expect(native).toHaveBeenCalledTimes(2);
    expect(contents.row(last)).toBeUndefined();
    expect([contents.row(first)?.stable, contents.row(ids[1] as ContentId)?.stable]).toEqual([
      2, 1,
    ]);
  });

  test('a file that is gone fails its fsync, and keeps no other one in use', async () => {
    const { contents } = fixture;
    const [kept, gone] = [fixture.make(noise(70_000, 1)), fixture.make(noise(70_000, 2))];
    // Out of the pool of open descriptors.
    contents.direct.openers(gone);
    rmSync(contents.backingPath(gone) ?? '');
    await expect(contents.fsync([kept, gone])).rejects.toMatchObject({ failure: 'integrity' });
    expect(contents.direct.openers(kept)).toBe('none');
  });

  test('packed and unknown content needs no fsync of its own', async () => {
    const id = fixture.make(Buffer.from('small'));
    await fixture.contents.fsync([id, 99_999 as ContentId]);
    expect(fixture.contents.row(id)?.stable).toBe(1);
  });
});

describe('a stop', () => {
  const all = (signal: AbortSignal) => {
    const { journal, contents, native } = fixture;
    const journalSync = new JournalSync({ journal, native });
    return syncAtEnd({ journal, contents, journalSync, log: fixture.log }, signal);
  };
  const stableOf = (ids: readonly ContentId[]) => ids.map((id) => fixture.contents.row(id)?.stable);
  const large = (count: number) =>
    Array.from({ length: count }, (_, seed) => fixture.makeFrozen(noise(70_000, seed)));

  test('brings all content to stable storage, but for what the disk does not take', async () => {
    const ids = large(130);
    const [bad = 0 as ContentId] = ids;
    fixture.contents.direct.openers(bad);
    rmSync(fixture.contents.backingPath(bad) ?? '');
    await all(fixture.signal);
    expect(new Set(stableOf(ids.slice(64)))).toEqual(new Set([1]));
    expect(fixture.log.messages).toEqual(['not all content was brought to the disk']);
    expect(fixture.journal.contents.unstable(0, 1000)).toEqual(ids.slice(0, 64));
  });

  test('ends when it has taken long enough', async () => {
    const ids = large(2);
    await all(AbortSignal.abort());
    expect(stableOf(ids)).toEqual([0, 0]);
  });
});

describe('a loss of power', () => {
  const waiting: (() => void)[] = [];
  /** What the last start found of the bytes. */
  let isLost = false;
  let f: Fixture;
  beforeEach(() => {
    waiting.length = 0;
    f = new Fixture(new SystemClock(), (action) => waiting.push(action));
  });
  afterEach(() => f.close());

  const journalFiles = ['journal.db', 'journal.db-wal'];

  /** The kernel has written it, and somebody fsynced it; the disk has the journal as it is then. */
  async function fsynced(size: number): Promise<ContentId> {
    const id = written(size);
    await f.contents.fsync([id]);
    await f.native.fdatasyncMany([f.journal.walFd]);
    for (const name of journalFiles) {
      copyFileSync(join(f.directory, name), join(f.directory, `disk-${name}`));
    }
    return id;
  }

  function written(size: number): ContentId {
    const id = f.journal.commit(() => {
      const made = f.contents.direct.create();
      f.contents.retain(made);
      return made;
    });
    writeFileSync(f.contents.backingPath(id) ?? '', noise(size, id));
    return id;
  }

  function rest(id: ContentId): void {
    f.journal.commit(() => {
      f.contents.direct.settle(id, f.contents.direct.openers(id) === 'none');
      f.contents.freeze(id);
    });
  }

  /** The bytes after a start from what the disk has of the journal, and all that was done to files. */
  function bytesAfter(id: ContentId): Buffer {
    const next = join(f.directory, 'next.db');
    copyFileSync(join(f.directory, 'disk-journal.db'), next);
    copyFileSync(join(f.directory, 'disk-journal.db-wal'), `${next}-wal`);
    const journal = new Journal({ path: next, clock: f.clock });
    const { native, clock, memoryDirectory } = f;
    const directory = join(f.directory, 'content');
    const contents = new ContentStore({ journal, native, clock, memoryDirectory, directory });
    contents.recoverOpen();
    isLost = contents.losses.sizeOnDisk(id, contents.row(id)?.stable !== 0) === undefined;
    if (contents.direct.has(id)) contents.direct.sense(id);
    const bytes = Buffer.alloc(contents.size(id));
    contents.read(id, bytes, 0, bytes.length, 0);
    contents.close();
    journal.close();
    return bytes;
  }

  test.each([
    ['packed', 1000],
    ['named', 100_000],
  ])('takes nothing that was fsynced, though it was %s since', async (_, size) => {
    const id = await fsynced(size);
    rest(id);
    // Another one might have its slot.
    written(size);
    expect(bytesAfter(id)).toEqual(noise(size, id));
  });

  test('takes no name that a row relies on, though the row reached the disk before the rest', async () => {
    const directory = join(f.directory, 'content');
    const names = () => readdirSync(directory, { recursive: true, encoding: 'utf8' });
    const id = await fsynced(100_000);
    const synced = new Set(names());
    rest(id);
    for (const name of journalFiles) {
      copyFileSync(join(f.directory, name), join(f.directory, `disk-${name}`));
    }
    const lost = names().filter((name) => !synced.has(name));
    expect(lost).toHaveLength(2);
    for (const name of lost) rmSync(join(directory, name), { recursive: true, force: true });
    expect(bytesAfter(id)).toEqual(noise(100_000, id));
  });

  test('takes nothing that was fsynced, though it was discarded since', async () => {
    const id = f.makeFrozen(noise(100_000, 9));
    await fsynced(10);
    await f.contents.fsync([id]);
    await fsynced(10);
    f.journal.commit(() => f.contents.discard(id));
    expect(bytesAfter(id)).toEqual(noise(100_000, 9));
  });

  test('leaves no bytes of a later file in the slot of an earlier one', async () => {
    const id = written(1000);
    await fsynced(10);
    const slot = f.contents.backingPath(id) ?? '';
    expect(f.contents.losses.sizeOnDisk(id, false)).toBe(1000);
    rest(id);
    const later = written(500);
    expect(f.contents.backingPath(later)).toBe(slot);
    bytesAfter(id);
    expect(isLost).toBe(true);
  });

  test('is waited for by nothing that nobody fsynced, and by the rest until the next sync', async () => {
    const path = (id: ContentId) => f.contents.backingPath(id) ?? '';
    const careless = written(1000);
    const slot = path(careless);
    rest(careless);
    expect([waiting.length, path(written(5))]).toEqual([0, slot]);
    const careful = await fsynced(1000);
    const kept = path(careful);
    rest(careful);
    expect([waiting.length, existsSync(kept)]).toEqual([1, true]);
    for (const action of waiting) action();
    expect(path(written(5))).toBe(kept);
  });
});

describe('a copy whose file gets a size of its own', () => {
  const KIB = 1024;
  const MODE = { keepSize: false, punchHole: false, zeroRange: false };

  /** What a handle of the kernel gets to write of small bytes. */
  function unpacked(): ContentId {
    const { contents, journal } = fixture;
    const packed = fixture.makeFrozen(noise(40 * KIB, 3));
    return journal.commit(() => {
      const copy = contents.direct.unpack(packed);
      contents.retain(copy);
      return copy;
    });
  }

  test.each([
    ['longer', (id: ContentId) => fixture.contents.truncate(id, 10 * KIB * KIB)],
    ['shorter', (id: ContentId) => fixture.contents.truncate(id, 30 * KIB)],
    ['allocated', (id: ContentId) => fixture.contents.allocate(id, MODE, 0, 40 * KIB)],
  ])('is on stable storage before it is %s', (_, change) => {
    const { contents, journal } = fixture;
    const id = unpacked();
    expect(contents.row(id)?.stable).toBe(0);
    journal.commit(() => change(id));
    expect(contents.row(id)?.stable).toBe(2);
  });

  test.each([
    ['emptied', 0, MODE],
    ['given room behind its end', 40 * KIB, { ...MODE, keepSize: true }],
  ])('is not waited for when it is %s', (_, size, mode) => {
    const { contents, journal } = fixture;
    const id = unpacked();
    journal.commit(() => {
      contents.allocate(id, { ...mode, keepSize: true }, 0, 50 * KIB);
      contents.truncate(id, size);
    });
    expect(contents.row(id)?.stable).toBe(0);
  });

  test('packed, that is too large for that now, is no less safe', () => {
    const { contents, journal } = fixture;
    const packed = fixture.makeFrozen(noise(40 * KIB, 3));
    const fork = journal.commit(() => {
      const copy = contents.fork(packed);
      if (copy !== undefined) contents.truncate(copy, 1000 * KIB);
      return copy;
    });
    expect(contents.row(fork as ContentId)).toMatchObject({ place: 'file', stable: 2 });
  });

  test('of a process before this one is one as far as anybody knows', () => {
    const { contents, journal } = fixture;
    const old = fixture.make(noise(100 * KIB));
    journal.commit(() => contents.truncate(old, 90 * KIB));
    expect(contents.row(old)?.stable).toBe(0);
    const next = new ContentStore({
      ...{ journal, native: fixture.native, clock: fixture.clock },
      directory: join(fixture.directory, 'content'),
      memoryDirectory: fixture.memoryDirectory,
    });
    journal.commit(() => next.truncate(old, 80 * KIB));
    expect(next.row(old)?.stable).toBe(2);
    next.close();
  });

  test('is never waited for when it is new bytes that nobody fsynced', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(100 * KIB));
    journal.commit(() => contents.truncate(id, 200 * KIB));
    expect(contents.row(id)?.stable).toBe(0);
  });
});
