import { expect, test } from 'vitest';
import type { Fh, Ino } from '../../src/base/ids.ts';
import { HandleTable } from '../../src/vfs/handle-table.ts';
import { OwnMemory } from '../../src/vfs/table-memory.ts';

const RECORDS_FROM = 4096;
const LAST_FH = 16;

/** The memory of a daemon that has handle 1 open, and knows a file of the kernel's. */
function left(): OwnMemory {
  const memory = new OwnMemory();
  const table = HandleTable.make(memory);
  table.agree({ generation: 1, minor: 45, maxReadahead: 4096, flags: 0, flags2: 0 });
  table.lastFh = 1;
  const [fh, ino] = [1 as Fh, 7 as Ino];
  const who = { uid: 0, gid: 0, pid: 1, flags: 0, openFlags: 0, backing: undefined };
  table.addHandle({ ...who, fh, ino, unique: 2, isDirectory: false });
  table.addSaved(ino, { size: 3, mtimeS: -1, mtimeNs: 0, atimeS: 0, atimeNs: 0 });
  return memory;
}

test('what a daemon left is gone on with', () => {
  expect(HandleTable.adopt(left())?.handles()).toMatchObject([{ fh: 1, ino: 7 }]);
});

for (const [what, at, value] of [
  ['a number of no inode', RECORDS_FROM + 16, 0.5],
  ['a handle that was never given out', RECORDS_FROM + 8, 2],
  ['no number at all', LAST_FH, Number.NaN],
  ['a size below nothing', RECORDS_FROM + 64 + 8, -1],
] as const) {
  test(`a table with ${what} is none`, () => {
    const memory = left();
    memory.map(memory.size).writeDoubleLE(value, at);
    expect(HandleTable.adopt(memory)).toBeUndefined();
  });
}

test('a table with one handle twice is none', () => {
  const memory = left();
  const bytes = memory.map(memory.size);
  bytes.copy(bytes, RECORDS_FROM + 64, RECORDS_FROM, RECORDS_FROM + 64);
  expect(HandleTable.adopt(memory)).toBeUndefined();
});

test('memory of any length is looked at, and none is a table by itself', () => {
  for (const length of [0, 1, 4095, 65_537, 70_001]) {
    const memory = new OwnMemory();
    memory.map(length);
    expect(HandleTable.adopt(memory)).toBeUndefined();
  }
});
