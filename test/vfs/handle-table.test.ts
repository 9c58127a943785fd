import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Fh, Ino } from '../../src/base/ids.ts';
import { HANDLE_TABLE_BYTES_MAX, HANDLE_TABLE_BYTES_MIN } from '../../src/base/limits.ts';
import { OwnMemory } from '../../src/vfs/table-memory.ts';
import { HandleTable } from '../../src/vfs/vfs.ts';
import { KeptMemory } from './table-memory.ts';

const AGREED = { generation: 7, minor: 45, maxReadahead: 131_072, flags: 0xffff_ffff, flags2: 3 };
const UNIQUE = 2 ** 40 + 2;

const handle = (fh: number, fields: Partial<Parameters<HandleTable['addHandle']>[0]> = {}) => ({
  fh: fh as Fh,
  ino: (2 ** 52 + 5) as Ino,
  unique: UNIQUE,
  flags: 0o2000002,
  uid: 0xffff_fffe,
  gid: 5,
  pid: 77,
  backing: undefined,
  openFlags: 3,
  isDirectory: false,
  ...fields,
});

const SAVED = {
  size: 2 ** 41 + 1,
  mtimeS: -1,
  mtimeNs: 999_999_999,
  atimeS: 2 ** 33,
  atimeNs: 3,
};
const INO = 9 as Ino;

/** A table after a handshake, and where it lies. */
function agreed(): { readonly memory: KeptMemory; readonly table: HandleTable } {
  const memory = new KeptMemory();
  const table = HandleTable.make(memory);
  table.agree(AGREED);
  table.lastFh = 2 ** 40;
  return { memory, table };
}

/** What the next daemon finds. */
function next(memory: KeptMemory): HandleTable {
  const table = HandleTable.adopt(memory.copy());
  if (table === undefined) throw new Error('it is not adopted');
  return table;
}

test('a handle has a place although the table once grew and could not be mapped', () => {
  const whole = Buffer.from(new ArrayBuffer(HANDLE_TABLE_BYTES_MIN * 2));
  let [size, isRefused] = [0, true];
  const memory = {
    get size() {
      return size;
    },
    map(bytes: number): Buffer {
      size = bytes;
      if (bytes <= HANDLE_TABLE_BYTES_MIN || !isRefused) return whole.subarray(0, bytes);
      isRefused = false;
      throw new Error('cannot allocate memory');
    },
  };
  const table = HandleTable.make(memory);
  table.agree(AGREED);
  table.lastFh = 2 ** 40;
  const fill = () => {
    for (let fh = [...table.handles()].length + 1; ; fh++) {
      table.addHandle(handle(fh));
      if (size > HANDLE_TABLE_BYTES_MIN && !isRefused) return fh;
    }
  };
  expect(fill).toThrow('cannot allocate memory');
  const last = fill();
  expect([...table.handles()].map(({ fh }) => fh)).toContain(last);
});

describe('the next daemon finds', () => {
  test('what was agreed with the kernel, and how far it was told', () => {
    const { memory, table } = agreed();
    table.lastFh = 2 ** 40;
    table.notifiedSeq = 2 ** 41;
    const found = next(memory);
    expect(found.agreement).toEqual(AGREED);
    expect([found.lastFh, found.notifiedSeq]).toEqual([2 ** 40, 2 ** 41]);
  });

  test('each open file and directory as it was handed out', () => {
    const { memory, table } = agreed();
    const places = [
      table.addHandle(handle(1)),
      table.addHandle(handle(2, { isDirectory: true, unique: 4 })),
      table.addHandle(handle(2 ** 40, { backing: 12 })),
    ];
    table.told(places[2] ?? -1);
    const fresh = { isTold: false, isRevoked: false };
    expect(next(memory).handles()).toEqual([
      { ...handle(1), ...fresh, place: places[0] },
      { ...handle(2 ** 40, { backing: 12 }), ...fresh, isTold: true, place: places[2] },
      { ...handle(2, { isDirectory: true, unique: 4 }), ...fresh, place: places[1] },
    ]);
  });

  test('a handle that was taken from its holder as one that was', () => {
    const { memory, table } = agreed();
    table.told(table.addHandle(handle(1)));
    table.told(table.addHandle(handle(2)));
    table.revoked(2 as Fh);
    table.revoked(3 as Fh);
    const found = next(memory).handles();
    expect(found.map(({ fh, isTold, isRevoked }) => [fh, isTold, isRevoked])).toEqual([
      [1, true, false],
      [2, true, true],
    ]);
  });

  test('numbers the kernel knows files by, and what the disk said of them', () => {
    const { memory, table } = agreed();
    const backing = table.addBacking(3);
    const saved = table.addSaved(INO, { ...SAVED, size: 0 });
    table.setSaved(saved, SAVED);
    const found = next(memory);
    expect(found.backings()).toEqual([{ place: backing, backing: 3 }]);
    expect(found.leftSaved()).toEqual(new Map([[INO, SAVED]]));
  });

  test.each([
    { version: 4, size: 40 },
    { version: 5, size: 50 },
  ])('what the disk said of a file for its row of version $version', ({ version, size }) => {
    const { memory, table } = agreed();
    table.addSaved(INO, { ...SAVED, size: 40 });
    table.addAhead(INO, { ...SAVED, size: 50 }, 5);
    table.addAhead((INO + 1) as Ino, SAVED, 5);
    const found = next(memory);
    expect(found.leftSaved(() => version)).toEqual(new Map([[INO, { ...SAVED, size }]]));
    expect(found.leftSaved(() => 5)).toEqual(new Map([[INO, { ...SAVED, size }]]));
  });

  test('nothing of what was removed, and room for others in its place', () => {
    const { memory, table } = agreed();
    const places = [1, 2, 3].map((fh) => table.addHandle(handle(fh, { backing: 9 })));
    table.told(places[1] ?? -1);
    table.remove(places[1] ?? -1);
    const found = next(memory);
    expect(found.handles().map(({ fh }) => fh)).toEqual([1, 3]);
    expect(found.addHandle(handle(4))).toBe(places[1]);
    expect(found.handles().map(({ fh, isTold, backing }) => [fh, isTold, backing])).toEqual([
      [1, false, 9],
      [4, false, undefined],
      [3, false, 9],
    ]);
    expect(found.addHandle(handle(5))).toBe(3);
  });
});

describe('a table', () => {
  test('is none before there is a mount', () => {
    const memory = new KeptMemory();
    const table = HandleTable.make(memory);
    expect(table.agreement).toBeUndefined();
    expect(HandleTable.adopt(memory.copy())).toBeUndefined();
    table.agree(AGREED);
    expect(HandleTable.adopt(memory.copy())).toBeDefined();
  });

  test('of another form, or that is none at all, is not taken for one', () => {
    expect(HandleTable.adopt(new KeptMemory())).toBeUndefined();
    for (const at of [0, 4]) {
      const { memory } = agreed();
      memory.put(at, 99);
      expect(HandleTable.adopt(memory)).toBeUndefined();
    }
  });

  test('whose end is missing is not taken for a whole one', () => {
    const { memory, table } = agreed();
    for (let fh = 1; fh <= 1024; fh++) table.addHandle(handle(fh));
    expect(memory.size).toBe(2 * HANDLE_TABLE_BYTES_MIN);
    expect(next(memory).handles()).toHaveLength(1024);
    expect(HandleTable.adopt(memory.cut(HANDLE_TABLE_BYTES_MIN))).toBeUndefined();
  });

  test('that is made anew has nothing of what lay there', () => {
    const { memory, table } = agreed();
    table.addHandle(handle(1));
    table.addDeath(4);
    table.lastFh = 5;
    const anew = HandleTable.make(memory);
    expect([anew.agreement, anew.lastFh, anew.handles()]).toEqual([undefined, 0, []]);
    expect(anew.poisonous(1)).toEqual([]);
    expect(HandleTable.adopt(memory)).toBeUndefined();
    anew.agree(AGREED);
    anew.addBacking(1);
    expect(next(memory).handles()).toEqual([]);
  });

  test('grows, and what is in it stays', () => {
    const { memory, table } = agreed();
    const count = 3 * (HANDLE_TABLE_BYTES_MIN / 64);
    for (let fh = 1; fh <= count; fh++) table.addHandle(handle(fh));
    expect(memory.size).toBe(4 * HANDLE_TABLE_BYTES_MIN);
    const fhs = next(memory)
      .handles()
      .map(({ fh }) => fh);
    expect(fhs).toEqual(Array.from({ length: count }, (_, index) => index + 1));
    expect(table.agreement).toEqual(AGREED);
  });

  test('that cannot grow refuses one more, and is as it was', () => {
    const memory = new KeptMemory(Buffer.alloc(0), HANDLE_TABLE_BYTES_MIN);
    const table = HandleTable.make(memory);
    table.agree(AGREED);
    const roomFor = (HANDLE_TABLE_BYTES_MIN - 4096) / 64;
    for (let fh = 1; fh <= roomFor; fh++) table.addHandle(handle(fh));
    expect(() => table.addHandle(handle(roomFor + 1))).toThrow('no space');
    expect(next(memory).handles()).toHaveLength(roomFor);
    table.remove(4);
    expect(table.addHandle(handle(roomFor + 2))).toBe(4);
  });

  test('has a bound', () => {
    const table = HandleTable.make(new OwnMemory());
    const roomFor = (HANDLE_TABLE_BYTES_MAX - 4096) / 64;
    for (let number = 0; number < roomFor; number++) table.addBacking(number);
    expect(() => table.addBacking(1)).toThrow(expect.objectContaining({ failure: 'busy' }));
    table.remove(77);
    expect(table.addBacking(1)).toBe(77);
  });

  test('gives no place to two', () => {
    const { table } = agreed();
    const place = table.addHandle(handle(1));
    table.remove(place);
    expect(() => table.remove(place)).toThrow('removed once');
  });
});

describe('a request that ends daemons', () => {
  test('is the one that was being served', () => {
    const { memory, table } = agreed();
    expect(table.served).toBe(0);
    table.serving(6, 1);
    expect(next(memory).served).toBe(2 ** 32 + 6);
    table.serving(0, 0);
    expect(next(memory).served).toBe(0);
  });

  test('is known by how many it ended', () => {
    const { memory, table } = agreed();
    expect([table.addDeath(UNIQUE), table.addDeath(8), table.addDeath(UNIQUE)]).toEqual([1, 1, 2]);
    const found = next(memory);
    expect([found.poisonous(1), found.poisonous(2), found.poisonous(3)]).toEqual([
      [UNIQUE, 8],
      [UNIQUE],
      [],
    ]);
    expect(found.addDeath(UNIQUE)).toBe(3);
  });

  test('is remembered when there were more of them than can be, and no record is hurt', () => {
    const { table } = agreed();
    table.addHandle(handle(1));
    for (let unique = 2; unique < 2 + 100 * 2; unique += 2) table.addDeath(unique);
    const last = 2 + 100 * 2;
    expect([table.addDeath(last), table.addDeath(last), table.addDeath(2)]).toEqual([1, 2, 2]);
    expect(table.poisonous(2)).toEqual([2, last]);
    expect(table.poisonous(1)).toHaveLength(64);
    expect(table.handles()).toHaveLength(1);
  });
});

describe('a kill between any two stores', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  let isWatched = false;

  /** Each typed array made from now on calls `stored` after each store into it. */
  function watchStores(stored: () => void): void {
    isWatched = true;
    for (const name of ['Uint32Array', 'Float64Array'] as const) {
      const Real = globalThis[name];
      vi.stubGlobal(name, function make(buffer: ArrayBuffer, offset: number, length: number) {
        const real = new Real(buffer, offset, length);
        return new Proxy(real, {
          get: (target, key) => {
            const value: unknown = Reflect.get(target, key);
            return typeof value === 'function' ? value.bind(target) : value;
          },
          set: (target, key, value) => {
            const isSet = Reflect.set(target, key, value);
            if (isWatched) stored();
            return isSet;
          },
        });
      });
    }
  }

  /** All that a next daemon takes from a table. */
  function contentsOf(memory: KeptMemory) {
    const table = HandleTable.adopt(memory);
    if (table === undefined) return undefined;
    return {
      agreement: table.agreement,
      handles: table.handles(),
      backings: table.backings(),
      saved: table.leftSaved(),
    };
  }

  /** What a table says that was killed somewhere in `step`: each is what it was before, or after. */
  function expectWhole(before: KeptMemory, kills: readonly KeptMemory[], after: KeptMemory): void {
    const [was, is] = [contentsOf(before.copy()), contentsOf(after.copy())];
    for (const kill of kills) expect([was, is]).toContainEqual(contentsOf(kill.copy()));
  }

  test('leaves a table that is as before it, or as after it', () => {
    const memory = new KeptMemory();
    const kills: KeptMemory[] = [];
    watchStores(() => kills.push(memory.copy()));
    const table = HandleTable.make(memory);
    const steps = [
      () => table.agree(AGREED),
      () => table.addHandle(handle(1, { backing: 3 })),
      () => table.told(0),
      () => table.addHandle(handle(2, { isDirectory: true, unique: 6 })),
      () => table.addBacking(5),
      () => table.addSaved(INO, SAVED),
      () => table.revoked(1 as Fh),
      () => table.remove(0),
      () => table.addSaved((INO + 1) as Ino, SAVED),
      () => table.remove(1),
      () => table.addHandle(handle(3)),
      () => table.remove(2),
      () => table.addBacking(6),
      () => table.remove(3),
      () => table.addHandle(handle(4, { backing: 6 })),
    ];
    let stores = 0;
    for (const step of steps) {
      const before = memory.copy();
      kills.length = 0;
      isWatched = true;
      step();
      isWatched = false;
      stores += kills.length;
      expectWhole(before, kills, memory);
    }
    expect(stores).toBeGreaterThan(60);
    expect(contentsOf(memory)?.handles.map(({ fh }) => fh)).toEqual([3, 4]);
  });

  test('of what the disk said leaves the old or the new of each number', () => {
    const { memory, table } = agreed();
    const old = { size: 1, mtimeS: 2, mtimeNs: 3, atimeS: 4, atimeNs: 5 };
    const place = table.addSaved(INO, old);
    const kills: KeptMemory[] = [];
    watchStores(() => kills.push(memory.copy()));
    HandleTable.adopt(memory)?.setSaved(place, SAVED);
    isWatched = false;
    expect(kills).toHaveLength(5);
    for (const kill of kills) {
      const saved = HandleTable.adopt(kill.copy())?.leftSaved().get(INO);
      for (const key of ['size', 'mtimeS', 'mtimeNs', 'atimeS', 'atimeNs'] as const) {
        expect([old[key], SAVED[key]]).toContain(saved?.[key]);
      }
    }
  });

  test('gives no place that is in use to another', () => {
    const memory = new KeptMemory();
    const kills: KeptMemory[] = [];
    watchStores(() => kills.push(memory.copy()));
    const table = HandleTable.make(memory);
    table.agree(AGREED);
    kills.length = 0;
    table.addHandle(handle(1));
    table.remove(table.addHandle(handle(2)));
    table.addHandle(handle(3));
    isWatched = false;
    for (const kill of kills) {
      const found = HandleTable.adopt(kill.copy());
      const was = found?.handles().map(({ fh }) => fh) ?? [];
      for (const fh of [10, 11, 12]) found?.addHandle(handle(fh));
      const is = found?.handles().map(({ fh }) => fh) ?? [];
      expect(is.toSorted((a, b) => a - b)).toEqual([...was, 10, 11, 12]);
    }
  });
});
