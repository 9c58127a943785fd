import {
  existsSync,
  fstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import { SLOTS_FREE_MAX, SLOTS_USED_MAX } from '../../src/base/limits.ts';
import { loadNative } from '../../src/base/native.ts';
import { Slots } from '../../src/content/slots.ts';

/** Descriptors whose close tells of bytes that did not reach the disk. */
const faulty = vi.hoisted(() => new Set<number>());
vi.mock('node:fs', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs')>();
  const closeSync = (fd: number) => {
    real.closeSync(fd);
    if (faulty.delete(fd)) throw Object.assign(new Error('EIO: close'), { code: 'EIO' });
  };
  return { ...real, closeSync };
});

let scratch: string;
let directory: string;
let slots: Slots;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'kitfs-slots-'));
  directory = join(scratch, 'slots');
  slots = new Slots(directory, loadNative());
});
afterEach(() => {
  slots.close();
  rmSync(scratch, { recursive: true, force: true });
});

const names = (): string[] => (existsSync(directory) ? readdirSync(directory).sort() : []);

function take(): number {
  const slot = slots.take();
  if (slot === undefined) throw new Error('no slot');
  return slot;
}

test('a slot is an empty file of its own, readable through a descriptor that stays', () => {
  const [one, other] = [take(), take()];
  expect(one).not.toBe(other);
  expect(names()).toEqual([String(one), String(other)].sort());
  expect(statSync(slots.path(one))).toMatchObject({ size: 0 });
  const fd = slots.descriptor(one);
  writeFileSync(slots.path(one), 'bytes');
  expect(fstatSync(slots.descriptor(one)).size).toBe(5);
  expect(slots.descriptor(one)).toBe(fd);
});

test('slots are made before anybody asks, and those are taken first', () => {
  slots.prepare(3);
  const made = names();
  expect(made).toHaveLength(3);
  expect(made).toContain(String(slots.sample));
  expect([take(), take(), take()].map(String).sort()).toEqual(made);
  slots.prepare(0);
  expect(names()).toEqual(made);
});

test('a slot given back is empty, and is taken again instead of another one', () => {
  const slot = take();
  const fd = slots.descriptor(slot);
  writeFileSync(slots.path(slot), 'bytes of somebody');
  slots.giveBack(slot);
  expect(statSync(slots.path(slot)).size).toBe(0);
  expect(take()).toBe(slot);
  expect(slots.descriptor(slot)).toBe(fd);
});

test('a slot says whose bytes it holds, and what never was one says nothing', () => {
  const slot = take();
  expect(slots.ownerOf(slots.path(slot))).toBeUndefined();
  slots.mark(slot, 7 as ContentId);
  slots.mark(slot, 8 as ContentId);
  expect(slots.ownerOf(slots.path(slot))).toBe(8);
  expect(slots.ownerOf(join(directory, 'none'))).toBeUndefined();
});

test('a slot that cannot be told whose bytes it holds says nothing, and not whose it held before', () => {
  const slot = take();
  slots.mark(slot, 7 as ContentId);
  vi.spyOn(loadNative(), 'setXattr').mockImplementationOnce(() => {
    throw Object.assign(new Error('ENOSPC: setxattr'), { code: 'ENOSPC' });
  });
  slots.mark(slot, 8 as ContentId);
  expect(slots.ownerOf(slots.path(slot))).toBeUndefined();
});

test('no more empty ones are kept than have a use', () => {
  const taken = Array.from({ length: SLOTS_FREE_MAX + 3 }, take);
  const gone: number[] = [];
  slots.whenGone((slot) => gone.push(slot));
  for (const slot of taken) slots.giveBack(slot);
  expect(names()).toHaveLength(SLOTS_FREE_MAX);
  expect(gone).toEqual(taken.slice(-3));
});

test('a slot that cannot be emptied is not used again', () => {
  const slot = take();
  rmSync(slots.path(slot));
  const gone: number[] = [];
  slots.whenGone((one) => gone.push(one));
  slots.giveBack(slot);
  expect(gone).toEqual([slot]);
  expect(take()).not.toBe(slot);
});

test('what was committed is not undone by a disk that fails at the close of a slot', () => {
  const slot = take();
  faulty.add(slots.descriptor(slot));
  const gone: number[] = [];
  slots.whenGone((one) => gone.push(one));
  slots.retire(slot);
  expect([names(), gone, faulty.size]).toEqual([[], [slot], 0]);
});

test('there is a bound on those in use, and each that is given back makes room', () => {
  const taken = Array.from({ length: SLOTS_USED_MAX }, take);
  expect(slots.take()).toBeUndefined();
  slots.giveBack(taken[0] ?? 0);
  slots.retire(taken[1] ?? 0);
  expect([typeof slots.take(), typeof slots.take(), slots.take()]).toEqual([
    'number',
    'number',
    undefined,
  ]);
});

test('the file of a retired slot goes on under its other name, and the number is not given again', () => {
  const slot = take();
  writeFileSync(slots.path(slot), 'kept');
  const kept = join(scratch, 'kept');
  slots.linkTo(slot, kept);
  slots.retire(slot);
  expect(names()).toEqual([]);
  expect(readFileSync(kept, 'utf8')).toBe('kept');
  expect(take()).not.toBe(slot);
});

test('a name that a kill left behind is given to the file that has it now', () => {
  const slot = take();
  writeFileSync(slots.path(slot), 'of now');
  const path = join(scratch, 'left');
  writeFileSync(path, 'left behind');
  slots.linkTo(slot, path);
  expect(readFileSync(path, 'utf8')).toBe('of now');
  slots.linkTo(slot, path);
  expect(readFileSync(path, 'utf8')).toBe('of now');
  const nowhere = join(scratch, 'absent', 'name');
  expect(() => slots.linkTo(slot, nowhere)).toThrow(
    expect.objectContaining({ failure: 'not-found' }),
  );
});

test('after a kill slots with content are as they were, and all others are gone', () => {
  const [used, lost] = [take(), take()];
  slots.prepare(2);
  writeFileSync(slots.path(used), 'content');
  writeFileSync(slots.path(lost), 'of nobody');
  writeFileSync(join(directory, 'no-number'), '');
  const next = new Slots(directory, loadNative());
  next.recover(new Set([used]));
  next.removeStrays();
  expect(names()).toEqual([String(used), 'no-number'].sort());
  expect(fstatSync(next.descriptor(used)).size).toBe(7);
  expect(next.take()).toBeGreaterThan(lost);
  // It counts among those in use.
  for (let count = 2; count < SLOTS_USED_MAX; count++) expect(next.take()).toBeDefined();
  expect(next.take()).toBeUndefined();
  next.close();
});

test('nothing to recover is no error', () => {
  slots.recover(new Set());
  expect(names()).toEqual([]);
  expect(take()).toBeGreaterThan(0);
});

test('at the end empty ones go and content stays', () => {
  const used = take();
  slots.prepare(4);
  slots.close();
  expect(names()).toEqual([String(used)]);
});

test('a disk that gives none says so', () => {
  writeFileSync(directory, 'in the way');
  expect(() => slots.take()).toThrow(expect.objectContaining({ name: 'OpError' }));
});
