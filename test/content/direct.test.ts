import {
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { ContentId } from '../../src/base/ids.ts';
import { PACKED_BYTES_MAX, SLOTS_USED_MAX } from '../../src/base/limits.ts';
import { ContentStore } from '../../src/content/content.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { Fixture, noise } from './fixture.ts';

const LARGE = PACKED_BYTES_MAX + 1;

let f: Fixture;
beforeEach(() => {
  f = new Fixture();
});
afterEach(() => f.close());

const direct = () => f.contents.direct;
const row = (id: ContentId) => f.contents.row(id);
const pathOf = (id: ContentId): string => f.contents.backingPath(id) ?? 'packed';
const slotFiles = () => readdirSync(join(f.directory, 'content', 'slots'));

/** But for references, which are inodes', of which there are none here. */
const brokenRules = () => checkJournal(f.journal).filter(({ rule }) => rule !== 'content-refs');

/** A direct object of a file, in a slot; the kernel has written it. */
function written(bytes: Uint8Array): ContentId {
  const id = f.journal.commit(() => {
    const made = direct().create();
    f.contents.retain(made);
    return made;
  });
  writeFileSync(pathOf(id), bytes);
  return id;
}

/** Nobody writes any more. */
function rest(id: ContentId): void {
  f.journal.commit(() => {
    direct().settle(id, direct().openers(id) === 'none');
    f.contents.freeze(id);
  });
}

async function seal(id: ContentId): Promise<void> {
  await f.sealer.seal(id, f.signal);
  expect(row(id)?.state).toBe('sealed');
}

/** What throws takes the transaction back. */
function rolledBack(body: () => void): void {
  expect(() =>
    f.journal.commit(() => {
      body();
      throw new OpError('no-space', 'planted');
    }),
  ).toThrow('planted');
}

describe('direct content', () => {
  test('is made in a slot, and its size is what the disk says', () => {
    const id = written(noise(1000));
    expect(row(id)).toMatchObject({ state: 'open', place: 'file', stable: 0, size: 0 });
    expect(direct().slotOf(id)?.slot).toBe(row(id)?.slot);
    expect(direct().sense(id).size).toBe(1000);
    expect(f.contents.size(id)).toBe(1000);
    expect(f.bytesOf(id)).toEqual(noise(1000));
    const { mtimeNs } = statSync(pathOf(id), { bigint: true });
    const sensed = direct().sense(id);
    expect(BigInt(sensed.mtimeS) * 1_000_000_000n + BigInt(sensed.mtimeNs)).toBe(mtimeNs);
  });

  test('that is small is packed at rest, and its slot serves others', () => {
    const id = written(noise(PACKED_BYTES_MAX));
    const slot = direct().slotOf(id)?.slot;
    rest(id);
    expect(row(id)).toMatchObject({ state: 'frozen', place: 'packed', slot: null, stable: 1 });
    expect(f.bytesOf(id)).toEqual(noise(PACKED_BYTES_MAX));
    expect(direct().has(id)).toBe(false);
    const next = f.journal.commit(() => direct().create());
    expect(direct().slotOf(next)?.slot).toBe(slot);
    expect(statSync(pathOf(next)).size).toBe(0);
  });

  test('that is large keeps its file under its own name', () => {
    const id = written(noise(LARGE));
    const before = statSync(pathOf(id)).ino;
    rest(id);
    expect(row(id)).toMatchObject({ state: 'frozen', place: 'file', slot: null, size: LARGE });
    expect(statSync(pathOf(id)).ino).toBe(before);
    expect(slotFiles()).toEqual([]);
    expect(f.bytesOf(id)).toEqual(noise(LARGE));
  });

  test('that is small keeps its file while somebody sees it', () => {
    const id = written(noise(1000));
    const reader = openSync(pathOf(id), 'r');
    expect(direct().openers(id)).toBe('readers');
    rest(id);
    closeSync(reader);
    expect(row(id)).toMatchObject({ place: 'file', slot: null, size: 1000 });
    expect(f.bytesOf(id)).toEqual(noise(1000));
  });

  test('that is large and lay in a file of its own stays there, or is packed when it was cut', () => {
    for (const [size, place] of [
      [LARGE, 'file'],
      [10, 'packed'],
    ] as const) {
      const id = f.makeFrozen(noise(LARGE));
      f.journal.commit(() => {
        f.contents.reopen(id);
        direct().enter(id);
      });
      const path = pathOf(id);
      expect([direct().slotOf(id), row(id)?.slot]).toEqual([undefined, 0]);
      const fd = openSync(path, 'r+');
      ftruncateSync(fd, size);
      closeSync(fd);
      rest(id);
      expect(row(id)).toMatchObject({ place, size, slot: null });
      expect(existsSync(path)).toBe(place === 'file');
      expect(f.bytesOf(id)).toEqual(noise(LARGE).subarray(0, size));
    }
  });

  test('says who else has its file open', () => {
    const id = written(noise(10));
    expect(direct().openers(id)).toBe('none');
    const writer = openSync(pathOf(id), 'r+');
    expect(direct().openers(id)).toBe('writers');
    closeSync(writer);
    // Descriptors of ours do not count.
    f.bytesOf(id);
    expect(direct().openers(id)).toBe('none');
  });

  test('is made in a file of its own when too many slots are in use', () => {
    const ids = f.journal.commit(() =>
      Array.from({ length: SLOTS_USED_MAX + 1 }, () => direct().create()),
    );
    const last = ids.at(-1) as ContentId;
    expect(direct().slotOf(last)).toBeUndefined();
    expect([direct().has(last), row(last)?.slot]).toEqual([true, 0]);
    writeFileSync(pathOf(last), 'bytes');
    rest(last);
    expect(row(last)).toMatchObject({ place: 'packed', size: 5 });
  });

  test('is not offered where nobody can tell who has a file open', () => {
    const openers = vi.spyOn(f.native, 'otherOpeners');
    openers.mockImplementation(() => {
      throw Object.assign(new Error('leases are off'), { code: 'EINVAL' });
    });
    expect(() => direct().prepare()).toThrow(expect.objectContaining({ failure: 'unsupported' }));
    openers.mockReturnValue('writers');
    expect(() => direct().prepare()).toThrow(expect.objectContaining({ failure: 'unsupported' }));
    openers.mockRestore();
    expect(direct().prepare().fd).toBeGreaterThan(0);
  });

  test('is lent open to whoever registers it', () => {
    const id = written(noise(10));
    const seen = direct().lend(id, (fd) => readFileSync(fd));
    expect(seen).toEqual(noise(10));
  });

  test('is marked as stable in part by an fsync, for nobody tells of the next write', async () => {
    const id = written(noise(10));
    await f.contents.fsync([id]);
    expect(row(id)?.stable).toBe(2);
    rest(id);
    expect(row(id)?.stable).toBe(1);
  });

  test('whose file is shorter than it was asked to pack fails by name', () => {
    const id = written(noise(100));
    direct().sense(id);
    f.journal.commit(() => f.contents.truncate(id, 50));
    expect(statSync(pathOf(id)).size).toBe(50);
    rest(id);
    expect(f.contents.size(id)).toBe(50);
  });
});

describe('packed bytes opened to be direct', () => {
  test('are copied to a slot, and stay what they were', () => {
    const packed = f.makeFrozen(noise(500));
    const id = f.journal.commit(() => direct().unpack(packed));
    expect(row(id)).toMatchObject({ state: 'open', place: 'file', size: 500, refs: 0 });
    expect(readFileSync(pathOf(id))).toEqual(noise(500));
    writeFileSync(pathOf(id), 'other');
    expect(f.bytesOf(packed)).toEqual(noise(500));
  });
});

describe('bytes copied aside', () => {
  test('are an object at rest with the CID and the blocks, and the original may change', async () => {
    const id = f.makeFrozen(noise(3 * 1024 * 1024));
    await seal(id);
    const cid = row(id)?.cid;
    const blocks = f.journal.contents.blocksOf(id).length;
    expect(blocks).toBeGreaterThan(2);
    const slot = direct().copyAside(id) ?? 0;
    const aside = f.journal.commit(() => {
      const made = direct().setAside(id, slot, 77);
      f.contents.reopen(id);
      direct().enter(id);
      return made;
    });
    writeFileSync(pathOf(id), 'changed');
    rest(id);
    expect(row(aside)).toMatchObject({ state: 'sealed', cid, refs: 0, released_s: 77, held: 0 });
    expect(f.journal.contents.blocksOf(aside)).toHaveLength(blocks);
    expect(f.journal.contents.blocksOf(id)).toEqual([]);
    expect(f.bytesOf(aside).equals(noise(3 * 1024 * 1024))).toBe(true);
    expect(slotFiles()).toEqual([]);
    expect(brokenRules()).toEqual([]);
  });

  test('in a thread of the pool are the same', async () => {
    const id = f.makeFrozen(noise(LARGE));
    const slot = (await direct().copyAsideLater(id)) ?? 0;
    const aside = f.journal.commit(() => direct().setAside(id, slot, 1));
    expect(row(aside)).toMatchObject({ state: 'frozen', cid: null, size: LARGE });
    expect(f.bytesOf(aside)).toEqual(noise(LARGE));
  });

  test('are dropped when nobody wants them', () => {
    const id = f.makeFrozen(noise(LARGE));
    const slot = direct().copyAside(id) ?? 0;
    direct().dropAside(slot);
    expect(f.journal.commit(() => direct().create()) > 0).toBe(true);
    expect(statSync(join(f.directory, 'content', 'slots', String(slot))).size).toBe(0);
  });

  test('are not made when too many slots are in use, and that is no error', async () => {
    const id = f.makeFrozen(noise(LARGE));
    f.journal.commit(() => {
      for (let count = 0; count < SLOTS_USED_MAX; count++) direct().create();
    });
    expect(direct().copyAside(id)).toBeUndefined();
    expect(await direct().copyAsideLater(id)).toBeUndefined();
  });

  test('that cannot be copied leave no slot in use', async () => {
    const id = f.makeFrozen(noise(LARGE));
    const path = pathOf(id);
    rmSync(path);
    for (let count = 0; count < SLOTS_USED_MAX + 1; count++) {
      expect(() => direct().copyAside(id)).toThrow(expect.objectContaining({ name: 'OpError' }));
    }
    await expect(direct().copyAsideLater(id)).rejects.toMatchObject({ name: 'OpError' });
    expect(f.journal.commit(() => direct().slotOf(direct().create()))).toBeDefined();
  });
});

describe('an object parted from its file', () => {
  function part(id: ContentId): ContentId {
    const slot = direct().copyAside(id) ?? 0;
    return f.journal.commit(() => {
      const made = direct().part(id, slot);
      f.contents.retain(made);
      return made;
    });
  }

  test('keeps its bytes, its CID and its blocks, and the file is the new one of another', async () => {
    const id = f.makeFrozen(noise(3 * 1024 * 1024));
    await seal(id);
    const before = { ...row(id) };
    const { ino } = statSync(pathOf(id));
    const made = part(id);
    expect(row(made)).toMatchObject({ state: 'open', size: before.size, cid: null });
    expect([statSync(pathOf(made)).ino, statSync(pathOf(id)).ino === ino]).toEqual([ino, false]);
    writeFileSync(pathOf(made), noise(LARGE));
    expect(row(id)).toEqual(before);
    expect(f.bytesOf(id).equals(noise(3 * 1024 * 1024))).toBe(true);
    rest(made);
    expect(f.bytesOf(made)).toEqual(noise(LARGE));
    expect(statSync(pathOf(made)).nlink).toBe(1);
    expect(slotFiles()).toEqual([]);
  });

  test('is not marked stable by an fsync of the file it lay in', async () => {
    const id = f.makeFrozen(noise(LARGE));
    const syncing = f.contents.fsync([id]);
    part(id);
    await syncing;
    expect(row(id)).toMatchObject({ stable: 0 });
    await f.contents.fsync([id]);
    expect(row(id)).toMatchObject({ stable: 1 });
  });

  test('is hashed in the file it lies in now', async () => {
    const id = f.makeFrozen(noise(3 * 1024 * 1024));
    const other = f.makeFrozen(noise(3 * 1024 * 1024));
    const sealing = seal(id);
    writeFileSync(pathOf(part(id)), 'changed');
    await sealing;
    await seal(other);
    expect(row(id)?.cid).toEqual(row(other)?.cid);
  });
});

describe('what was opened and not changed', () => {
  test('is sealed again as it was', async () => {
    const id = f.makeFrozen(noise(LARGE));
    await seal(id);
    const { cid, profile } = row(id) ?? {};
    f.journal.commit(() => {
      f.contents.reopen(id);
      direct().enter(id);
    });
    expect(row(id)).toMatchObject({ state: 'open', cid: null });
    if (cid == null || profile == null) throw new Error('not sealed');
    f.journal.commit(() => f.contents.resume(id, { cid, profile }));
    expect(row(id)).toMatchObject({ state: 'sealed', cid, profile, slot: null });
    expect(direct().has(id)).toBe(false);
    expect(brokenRules()).toEqual([]);
  });
});

describe('a transaction that is rolled back', () => {
  test('makes nothing direct, and its slot serves others', () => {
    let made = 0 as ContentId;
    rolledBack(() => {
      made = direct().create();
    });
    expect(direct().has(made)).toBe(false);
    expect(row(made)).toBeUndefined();
    const files = slotFiles();
    f.journal.commit(() => direct().create());
    expect(slotFiles()).toEqual(files);
  });

  test('leaves what was direct as it was', async () => {
    const id = written(noise(LARGE));
    const before = { ...row(id), size: LARGE };
    const path = pathOf(id);
    rolledBack(() => {
      direct().settle(id, direct().openers(id) === 'none');
      f.contents.freeze(id);
    });
    direct().sense(id);
    expect([direct().has(id), pathOf(id), row(id)]).toEqual([true, path, before]);
    rest(id);
    expect(f.bytesOf(id)).toEqual(noise(LARGE));
  });

  test('sets nothing aside, and the next one can', () => {
    const id = f.makeFrozen(noise(LARGE));
    const before = { ...row(id) };
    const slot = direct().copyAside(id) ?? 0;
    rolledBack(() => {
      direct().setAside(id, slot, 1);
      f.contents.reopen(id);
      direct().enter(id);
    });
    expect([direct().has(id), row(id)]).toEqual([false, before]);
    const again = direct().copyAside(id) ?? 0;
    const aside = f.journal.commit(() => direct().setAside(id, again, 1));
    expect(f.bytesOf(aside)).toEqual(noise(LARGE));
  });

  test('does not bring to rest what went on', () => {
    const id = f.makeFrozen(noise(LARGE));
    f.journal.commit(() => {
      f.contents.reopen(id);
      direct().enter(id);
    });
    rolledBack(() => f.contents.resume(id, { cid: Buffer.alloc(36), profile: 'x' }));
    expect([direct().has(id), row(id)?.state, row(id)?.slot]).toEqual([true, 'open', 0]);
  });
});

describe('after a kill', () => {
  /** Another process on the same journal and the same files. */
  function next(): ContentStore {
    const { journal, native, memoryDirectory, clock } = f;
    const directory = join(f.directory, 'content');
    // Descriptors of a process end with it.
    f.contents.close();
    return new ContentStore({ journal, native, directory, memoryDirectory, clock });
  }

  test('content is found in its slot, or in its own file, as long as the disk says', () => {
    const inSlot = written(noise(2000));
    const own = f.makeFrozen(noise(LARGE));
    f.journal.commit(() => {
      f.contents.reopen(own);
      direct().enter(own);
    });
    const fd = openSync(pathOf(own), 'r+');
    writeSync(fd, noise(10), 0, 10, LARGE);
    closeSync(fd);
    const daemon = next();
    expect(daemon.recoverOpen().map(({ id }) => id)).toEqual([inSlot, own]);
    expect(daemon.direct.sense(inSlot).size).toBe(2000);
    expect(daemon.direct.sense(own).size).toBe(LARGE + 10);
    f.journal.commit(() => {
      for (const id of [inSlot, own]) {
        daemon.direct.settle(id, daemon.direct.openers(id) === 'none');
        daemon.freeze(id);
      }
    });
    expect(daemon.row(inSlot)).toMatchObject({ place: 'packed', size: 2000 });
    expect(daemon.row(own)).toMatchObject({ place: 'file', size: LARGE + 10, slot: null });
    expect(daemon.read(own, Buffer.alloc(10), 0, 10, LARGE)).toBe(10);
    daemon.close();
  });

  test('content that was named, but not committed under its name, is named again', () => {
    const id = written(noise(LARGE));
    // The link was made, and then came the kill.
    const named = join(f.directory, 'content', (id % 256).toString(16).padStart(2, '0'));
    mkdirSync(named, { recursive: true });
    linkSync(pathOf(id), join(named, String(id)));
    const daemon = next();
    daemon.recoverOpen();
    f.journal.commit(() => {
      daemon.direct.settle(id, daemon.direct.openers(id) === 'none');
      daemon.freeze(id);
    });
    expect(daemon.row(id)).toMatchObject({ place: 'file', slot: null, size: LARGE });
    expect(readFileSync(join(named, String(id)))).toEqual(noise(LARGE));
    daemon.close();
  });
});
