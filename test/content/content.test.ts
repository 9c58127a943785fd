import { existsSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import {
  BACKING_FILES_OPEN_MAX,
  FILE_BYTES_MAX,
  HISTORY_COPY_BYTES_MAX,
  PACKED_BYTES_MAX,
} from '../../src/base/limits.ts';
import { ContentStore, removeStrays } from '../../src/content/content.ts';
import { Fixture, noise } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

type Step =
  | { readonly do: 'write'; readonly position: number; readonly length: number }
  | { readonly do: 'truncate'; readonly size: number }
  | {
      readonly do: 'punch' | 'zero' | 'zeroKeep';
      readonly position: number;
      readonly length: number;
    }
  | { readonly do: 'allocate' | 'reserve'; readonly position: number; readonly length: number }
  | { readonly do: 'copy'; readonly from: number; readonly to: number; readonly length: number };

/** Positions on both sides of what is packed, often exactly at the edge. */
const position = fc.oneof(
  fc.nat(PACKED_BYTES_MAX * 2),
  fc.constantFrom(0, PACKED_BYTES_MAX - 1, PACKED_BYTES_MAX, PACKED_BYTES_MAX + 1),
  fc.nat(100),
);
const length = fc.integer({ min: 1, max: 20_000 });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('write' as const), position, length }),
  fc.record({ do: fc.constant('truncate' as const), size: position }),
  fc.record({ do: fc.constantFrom('punch', 'zero', 'zeroKeep'), position, length }),
  fc.record({ do: fc.constantFrom('allocate', 'reserve'), position, length }),
  fc.record({ do: fc.constant('copy' as const), from: position, to: position, length }),
);

const grown = (bytes: Buffer, size: number): Buffer =>
  size <= bytes.length ? bytes : Buffer.concat([bytes, Buffer.alloc(size - bytes.length)]);

/** What POSIX says the bytes are afterwards. */
function modelled(bytes: Buffer, taken: Step, seed: number): Buffer {
  switch (taken.do) {
    case 'write': {
      const result = Buffer.from(grown(bytes, taken.position + taken.length));
      noise(taken.length, seed).copy(result, taken.position);
      return result;
    }
    case 'truncate':
      return Buffer.from(grown(bytes, taken.size).subarray(0, taken.size));
    case 'punch':
    case 'zeroKeep':
      return Buffer.from(bytes).fill(
        0,
        Math.min(taken.position, bytes.length),
        Math.min(bytes.length, taken.position + taken.length),
      );
    case 'zero': {
      const end = taken.position + taken.length;
      return Buffer.from(grown(bytes, end)).fill(0, taken.position, end);
    }
    case 'allocate':
      return grown(bytes, taken.position + taken.length);
    case 'reserve':
      return bytes;
    case 'copy': {
      const source = bytes.subarray(taken.from, taken.from + taken.length);
      if (source.length === 0) return bytes;
      const result = Buffer.from(grown(bytes, taken.to + source.length));
      source.copy(result, taken.to);
      return result;
    }
  }
}

function take(contents: ContentStore, id: ContentId, taken: Step, seed: number): void {
  const plain = { keepSize: false, punchHole: false, zeroRange: false };
  switch (taken.do) {
    case 'write':
      contents.write(id, noise(taken.length, seed), taken.position);
      break;
    case 'truncate':
      contents.truncate(id, taken.size);
      break;
    case 'punch':
      contents.allocate(id, { ...plain, punchHole: true }, taken.position, taken.length);
      break;
    case 'zero':
      contents.allocate(id, { ...plain, zeroRange: true }, taken.position, taken.length);
      break;
    case 'zeroKeep':
      contents.allocate(
        id,
        { ...plain, zeroRange: true, keepSize: true },
        taken.position,
        taken.length,
      );
      break;
    case 'allocate':
      contents.allocate(id, plain, taken.position, taken.length);
      break;
    case 'reserve':
      contents.allocate(id, { ...plain, keepSize: true }, taken.position, taken.length);
      break;
    case 'copy':
      contents.copy(id, taken.from, id, taken.to, taken.length);
      break;
  }
}

const overlaps = (taken: Step, size: number): boolean => {
  if (taken.do !== 'copy') return false;
  const count = Math.min(taken.length, size - taken.from);
  return count > 0 && taken.from < taken.to + count && taken.to < taken.from + count;
};

describe('bytes', () => {
  test.each(['local', 'memory'] as const)('of %s content are those of a plain buffer', (place) => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const { contents, journal } = fixture;
        const id = journal.commit(() => contents.create(place));
        let model: Buffer = Buffer.alloc(0);
        for (const [index, taken] of steps.entries()) {
          if (overlaps(taken, model.length)) continue;
          journal.group(() => take(contents, id, taken, index + 1));
          model = modelled(model, taken, index + 1);
          expect(contents.size(id)).toBe(model.length);
        }
        expect(fixture.bytesOf(id).equals(model)).toBe(true);
        journal.commit(() => contents.discard(id));
      }),
      { numRuns: 60 },
    );
  });

  test('small content lies packed, and moves to a file of its own when it grows', () => {
    const { contents, journal } = fixture;
    const first = noise(PACKED_BYTES_MAX);
    const id = fixture.make(first);
    expect(contents.row(id)?.place).toBe('packed');
    expect(contents.backingPath(id)).toBeUndefined();
    journal.commit(() => contents.write(id, Buffer.from('x'), PACKED_BYTES_MAX));
    expect(contents.row(id)?.place).toBe('file');
    expect(journal.contents.bytes(id)).toBeUndefined();
    expect(fixture.bytesOf(id).equals(Buffer.concat([first, Buffer.from('x')]))).toBe(true);
  });

  test('a read ends where the content ends', () => {
    const id = fixture.make(Buffer.from('abcdef'));
    const into = Buffer.alloc(10, '.');
    expect(fixture.contents.read(id, into, 2, 8, 4)).toBe(2);
    expect(into.toString()).toBe('..ef......');
    expect(fixture.contents.read(id, into, 0, 10, 6)).toBe(0);
  });

  test('bytes left behind the end by a write that did not count never come back', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(PACKED_BYTES_MAX + 1));
    const path = contents.backingPath(id) ?? '';
    writeFileSync(path, Buffer.alloc(200_000, 'x'), { flag: 'r+' });
    journal.commit(() => contents.write(id, Buffer.from('end'), 150_000));
    const bytes = fixture.bytesOf(id);
    expect(bytes.subarray(PACKED_BYTES_MAX + 1, 150_000).every((byte) => byte === 0)).toBe(true);
    writeFileSync(path, Buffer.alloc(10, 'y'), { flag: 'a' });
    journal.commit(() => contents.truncate(id, 150_020));
    expect(fixture.bytesOf(id).subarray(150_003).equals(Buffer.alloc(17))).toBe(true);
  });

  test('a size nobody can count is refused before anything changes', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(Buffer.from('abc'));
    const write = () => contents.write(id, Buffer.from('x'), FILE_BYTES_MAX);
    expect(() => journal.commit(write)).toThrowError(
      expect.objectContaining({ failure: 'file-too-large' }),
    );
    expect(fixture.bytesOf(id).toString()).toBe('abc');
  });

  test('what a backing file lacks is an error, never zeros', () => {
    const id = fixture.make(noise(100_000));
    truncateSync(fixture.contents.backingPath(id) ?? '', 50_000);
    expect(() => fixture.bytesOf(id)).toThrowError(
      expect.objectContaining({ failure: 'integrity' }),
    );
  });

  test('a backing file that vanished is an error, and no missing name', () => {
    const id = fixture.make(noise(100_000));
    rmSync(fixture.contents.backingPath(id) ?? '');
    fixture.contents.close();
    expect(() => fixture.bytesOf(id)).toThrowError(
      expect.objectContaining({ failure: 'integrity', details: { content: id } }),
    );
  });

  test('packed bytes that vanished are an error, never zeros', () => {
    const id = fixture.make(Buffer.from('abc'));
    fixture.journal.commit(() => fixture.journal.contents.deleteBytes(id));
    expect(() => fixture.bytesOf(id)).toThrowError(
      expect.objectContaining({ failure: 'integrity', details: { content: id } }),
    );
  });

  test('a hole is found as the kernel finds it, and packed content has none', () => {
    const { contents, journal } = fixture;
    const id = journal.commit(() => contents.create('local'));
    journal.commit(() => contents.write(id, Buffer.from('end'), 1024 * 1024));
    expect(contents.seek(id, 0, 'data')).toBe(1024 * 1024);
    expect(contents.seek(id, 0, 'hole')).toBe(0);
    expect(contents.seek(id, 1024 * 1024 + 3, 'data')).toBeUndefined();
    const packed = fixture.make(Buffer.from('abc'));
    expect(contents.seek(packed, 1, 'data')).toBe(1);
    expect(contents.seek(packed, 1, 'hole')).toBe(3);
    expect(contents.seek(packed, 3, 'hole')).toBeUndefined();
  });

  test('ranges are copied between objects wherever they lie', () => {
    const { contents, journal } = fixture;
    const sizes = [1000, 200_000];
    for (const fromPlace of ['local', 'memory'] as const) {
      for (const toPlace of ['local', 'memory'] as const) {
        for (const size of sizes) {
          const bytes = noise(size, 7);
          const from = fixture.make(bytes, fromPlace);
          const to = journal.commit(() => contents.create(toPlace));
          expect(journal.commit(() => contents.copy(from, 100, to, 50, size))).toBe(size - 100);
          const expected = Buffer.concat([Buffer.alloc(50), bytes.subarray(100)]);
          expect(fixture.bytesOf(to).equals(expected)).toBe(true);
        }
      }
    }
  });

  test('a copy onto itself is refused', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(Buffer.from('abcdef'));
    expect(() => journal.commit(() => contents.copy(id, 0, id, 3, 6))).toThrowError(
      expect.objectContaining({ failure: 'invalid' }),
    );
  });

  test('more objects than descriptors are read and written', () => {
    const { contents, journal } = fixture;
    const ids = Array.from({ length: BACKING_FILES_OPEN_MAX + 20 }, (_, index) =>
      fixture.make(Buffer.alloc(PACKED_BYTES_MAX + 1, index % 251)),
    );
    const opened = readdirSync('/proc/self/fd').length;
    expect(opened).toBeLessThan(BACKING_FILES_OPEN_MAX + 100);
    for (const [index, id] of ids.entries()) {
      expect(fixture.bytesOf(id)[PACKED_BYTES_MAX]).toBe(index % 251);
      journal.commit(() => contents.discard(id));
    }
  });
});

describe('a rollback', () => {
  const failing = (body: () => void) => () =>
    fixture.journal.commit(() => {
      body();
      throw new Error('no');
    });

  test('leaves packed bytes as they were', () => {
    const { contents } = fixture;
    const id = fixture.make(Buffer.from('before'));
    expect(failing(() => contents.write(id, Buffer.from('afterwards'), 0))).toThrow();
    expect(fixture.bytesOf(id).toString()).toBe('before');
  });

  test('leaves packed what had just moved to a file', () => {
    const { contents } = fixture;
    const id = fixture.make(Buffer.from('before'));
    let path = '';
    const grow = () => {
      contents.write(id, noise(100_000), 0);
      path = contents.backingPath(id) ?? '';
    };
    expect(failing(grow)).toThrow();
    expect(fixture.bytesOf(id).toString()).toBe('before');
    expect(path).not.toBe('');
    expect(existsSync(path)).toBe(false);
  });

  test('brings back what was discarded, and forgets what was made', () => {
    const { contents } = fixture;
    const id = fixture.make(noise(100_000));
    expect(failing(() => contents.discard(id))).toThrow();
    expect(fixture.bytesOf(id).equals(noise(100_000))).toBe(true);
    let made: ContentId | undefined;
    expect(
      failing(() => {
        made = contents.create('memory');
      }),
    ).toThrow();
    expect(made === undefined ? 'nothing' : contents.row(made)).toBeUndefined();
    expect(existsSync(`${fixture.memoryDirectory}/${shard(made)}/${made}`)).toBe(false);
  });
});

const shard = (id: number | undefined): string => ((id ?? 0) % 256).toString(16).padStart(2, '0');

describe('lives', () => {
  test.each([
    ['packed', 1000, 'local'],
    ['in a file', 300_000, 'local'],
    ['in memory', 300_000, 'memory'],
  ] as const)('a fork of content %s is equal, and independent', (_, size, place) => {
    const { contents, journal } = fixture;
    const bytes = noise(size);
    const id = fixture.make(bytes, place);
    const fork = journal.commit(() => contents.fork(id));
    if (fork === undefined) throw new Error('not forked');
    expect(contents.row(fork)).toMatchObject({ state: 'open', refs: 0, size });
    journal.commit(() => contents.write(fork, Buffer.from('mine'), 10));
    expect(fixture.bytesOf(id).equals(bytes)).toBe(true);
    expect(fixture.bytesOf(fork).subarray(10, 14).toString()).toBe('mine');
    journal.commit(() => contents.write(id, Buffer.from('his'), 20));
    expect(fixture.bytesOf(fork).subarray(20, 23).equals(bytes.subarray(20, 23))).toBe(true);
  });

  test('holes stay holes in a fork', () => {
    const { contents, journal } = fixture;
    const id = journal.commit(() => contents.create('memory'));
    journal.commit(() => contents.write(id, Buffer.from('end'), 8 * 1024 * 1024));
    const fork = journal.commit(() => contents.fork(id));
    if (fork === undefined) throw new Error('not forked');
    expect(contents.seek(fork, 0, 'data')).toBe(8 * 1024 * 1024);
    expect(fixture.bytesOf(fork).equals(fixture.bytesOf(id))).toBe(true);
  });

  test('what is too much to copy is not forked, and leaves nothing behind', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(Buffer.from('x'), 'memory');
    journal.commit(() => contents.truncate(id, HISTORY_COPY_BYTES_MAX + 1));
    expect(journal.commit(() => contents.fork(id))).toBeUndefined();
    const rows = journal.contents.page(0, 10);
    expect(rows.map((row) => row.id)).toEqual([id]);
  });

  test('content that nobody shows any more waits with the second of its release', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(Buffer.from('old'));
    journal.commit(() => {
      contents.retain(id);
      contents.retain(id);
      contents.release(id);
    });
    // Whoever let go of it has it in its history.
    expect(journal.contents.get(id)?.released_s).toBeGreaterThan(0);
    expect(journal.contents.released(Number.MAX_SAFE_INTEGER, 9)).toEqual([]);
    journal.commit(() => contents.release(id));
    expect(journal.contents.get(id)?.released_s).toBeGreaterThan(0);
    expect(journal.contents.released(Number.MAX_SAFE_INTEGER, 9).map((row) => row.id)).toEqual([
      id,
    ]);
    journal.commit(() => contents.retain(id));
    expect(journal.contents.get(id)).toMatchObject({ refs: 1 });
    expect(journal.contents.get(id)?.released_s).toBeGreaterThan(0);
    expect(journal.contents.released(Number.MAX_SAFE_INTEGER, 9)).toEqual([]);
  });

  test('content without bytes goes with its last reference', () => {
    const { contents, journal } = fixture;
    const id = journal.commit(() => contents.create('local'));
    journal.commit(() => contents.retain(id));
    journal.commit(() => contents.release(id));
    expect(contents.row(id)).toBeUndefined();
  });

  test('a discarded object is gone with its file', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(100_000));
    const path = contents.backingPath(id) ?? '';
    expect(existsSync(path)).toBe(true);
    journal.commit(() => {
      contents.discard(id);
      expect(existsSync(path)).toBe(true);
    });
    expect(existsSync(path)).toBe(false);
    expect(contents.row(id)).toBeUndefined();
  });

  test('held content is not wanted by history only', () => {
    const { contents, journal } = fixture;
    const id = fixture.make(Buffer.from('kept'));
    journal.commit(() => contents.hold(id));
    expect(journal.contents.released(Number.MAX_SAFE_INTEGER, 9)).toEqual([]);
    journal.commit(() => contents.unhold(id));
    expect(journal.contents.released(Number.MAX_SAFE_INTEGER, 9)).toHaveLength(1);
  });

  test('only open content is written', () => {
    const { contents, journal } = fixture;
    const id = fixture.makeFrozen(Buffer.from('done'));
    const write = () => journal.commit(() => contents.write(id, Buffer.from('x'), 0));
    expect(write).toThrowError(expect.objectContaining({ failure: 'internal' }));
    expect(fixture.bytesOf(id).toString()).toBe('done');
    journal.commit(() => contents.reopen(id));
    write();
    expect(fixture.bytesOf(id).toString()).toBe('xone');
  });

  test('content is changed inside a transaction only', () => {
    const id = fixture.make(Buffer.from('abc'));
    expect(() => fixture.contents.write(id, Buffer.from('x'), 0)).toThrow(/inside a transaction/);
    expect(() => fixture.contents.create('local')).toThrow(/inside a transaction/);
    expect(() => fixture.contents.retain(id)).toThrow(/inside a transaction/);
  });
});

describe('after a start', () => {
  test('everything is there as it was committed', () => {
    const { contents, journal, native, clock, directory, memoryDirectory } = fixture;
    const small = fixture.make(Buffer.from('small'));
    const large = fixture.make(noise(100_000));
    const again = new ContentStore({
      journal,
      native,
      clock,
      directory: `${directory}/content`,
      memoryDirectory,
    });
    const into = Buffer.alloc(100_000);
    expect(again.read(small, into, 0, 100_000, 0)).toBe(5);
    expect(again.read(large, into, 0, 100_000, 0)).toBe(100_000);
    expect(into.equals(noise(100_000))).toBe(true);
    again.close();
    expect(contents.size(large)).toBe(100_000);
  });

  test('files that no row knows are removed, and no others', async () => {
    const { contents } = fixture;
    const id = fixture.make(noise(100_000));
    const path = contents.backingPath(id) ?? '';
    const stray = path.replace(/[^/]+$/, String(id + 256));
    const misplaced = path.replace(/[^/]+$/, '777777');
    const foreign = path.replace(/[^/]+$/, 'README');
    for (const made of [stray, misplaced, foreign]) writeFileSync(made, 'x');
    expect(await removeStrays(contents, fixture.signal)).toBe(1);
    expect(existsSync(stray)).toBe(false);
    expect(existsSync(path)).toBe(true);
    expect(existsSync(foreign) && existsSync(misplaced)).toBe(true);
  });
});
