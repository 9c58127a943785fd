/**
 * Bytes that somebody else names, of a file the kernel reads by itself and is to write: its file can
 * not be exchanged, so they are kept under their own number in a copy, and every number goes on
 * meaning the bytes it meant.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ContentId, Ino, Name } from '../../src/base/ids.ts';
import { O_RDONLY, O_RDWR, O_TRUNC } from '../../src/base/posix.ts';
import { Slots } from '../../src/content/slots.ts';
import { copyTree, patchBytes, replaceBytes } from '../../src/vfs/vfs.ts';
import { DirectRig } from './direct-rig.ts';
import { ROOT } from './fixture.ts';

const LARGE = Buffer.alloc(200 * 1024, 'l');
const b = 'b' as Name;

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => {
  vi.restoreAllMocks();
  rig.close();
});

/** A file the kernel reads, whose bytes the record of the removal of another one names. */
function readNamed() {
  const { vfs, ipfs } = rig.fixture;
  const { ino, cid } = rig.putSealed('a', LARGE);
  const object = rig.row(ino).content;
  const reader = rig.open(ino, O_RDONLY);
  const { ino: removed } = copyTree(rig.core, ROOT, ino, { parent: ipfs, name: b }, false);
  vfs.unlink(ROOT, ipfs, b);
  return { ino, removed, cid, object, reader, file: rig.diskInode(reader) };
}

/** The record of the removal has the bytes that were removed. */
function expectKept(at: DirectRig, removed: Ino, object: ContentId, cid: Buffer): void {
  const record = at.records(removed).at(-1);
  expect(record).toMatchObject({ kind: 'unlink', old_content: object });
  expect(at.contentRow(object)).toMatchObject({ cid, state: 'sealed' });
  expect(at.bytesIn(object)).toBe(LARGE.toString());
}

/** Nothing at rest lies there. */
function bytesInSlots(at: DirectRig): number {
  const directory = join(at.fixture.directory, 'content', 'slots');
  const sizes = at.slotFiles().map((name) => statSync(join(directory, name)).size);
  return sizes.reduce((sum, size) => sum + size, 0);
}

describe('bytes that history names', () => {
  test('of a file the kernel reads are not those that it writes then', () => {
    const { ino, removed, cid, object, reader, file } = readNamed();
    const writer = rig.open(ino, O_RDWR);
    expect([writer.backing, rig.diskInode(writer)]).toEqual([reader.backing, file]);
    rig.write(writer, 'new');
    expect(rig.read(reader).slice(0, 4)).toBe('newl');
    expect(rig.bytesOf(ino).slice(0, 4)).toBe('newl');
    expectKept(rig, removed, object, cid);
    rig.release(writer, reader);
    expectKept(rig, removed, object, cid);
    expect(rig.records(ino).at(-1)).toMatchObject({ kind: 'write', old_content: object });
    expect(rig.row(ino).content).not.toBe(object);
    expect(rig.bytesOf(ino)).toBe(`new${LARGE.toString().slice(3)}`);
    rig.expectAtRest();
    rig.restart();
    expectKept(rig, removed, object, cid);
    expect(rig.bytesOf(ino).slice(0, 4)).toBe('newl');
  });

  test('are not those that an open empties, or that a tool puts there', () => {
    for (const change of [
      (ino: Ino) => rig.release(rig.open(ino, O_RDWR | O_TRUNC)),
      (ino: Ino) => void replaceBytes(rig.core, ROOT, ino, Buffer.from('new')),
      (ino: Ino) => void patchBytes(rig.core, ROOT, ino, Buffer.from('new'), 1),
      (ino: Ino) => void rig.fixture.vfs.setattr(ROOT, ino, { size: 7 }),
    ]) {
      const { ino, removed, cid, object, reader, file } = readNamed();
      change(ino);
      expect(rig.diskInode(reader)).toBe(file);
      expect(rig.read(reader)).toBe(rig.bytesOf(ino));
      expectKept(rig, removed, object, cid);
      rig.release(reader);
      expectKept(rig, removed, object, cid);
      expect(rig.bytesOf(ino)).not.toBe(LARGE.toString());
      rig.expectAtRest();
      rig.close();
      rig = new DirectRig();
    }
  });

  test('are the file again when nothing was written', () => {
    const { ino, removed, cid, object, reader } = readNamed();
    rig.release(rig.open(ino, O_RDWR), reader);
    expect(rig.row(ino).content).toBe(object);
    expectKept(rig, removed, object, cid);
    expect(rig.fixture.journal.contents.page(0, 10)).toHaveLength(1);
    expect(rig.kinds(ino)).toEqual(['create', 'write']);
    rig.expectAtRest();
  });

  test('stay when the group breaks in which a tool wrote to the file', () => {
    const { ino, removed, cid, object, reader } = readNamed();
    const { vfs, journal } = rig.fixture;
    const tool = vfs.openNow(ROOT, ino, O_RDWR, false);
    expect(() =>
      journal.commit(() => {
        vfs.write(ROOT, tool.fh, Buffer.from('new'), 0, false);
        throw new Error('the group breaks');
      }),
    ).toThrow('internal');
    expectKept(rig, removed, object, cid);
    vfs.write(ROOT, tool.fh, Buffer.from('newer'), 0, false);
    rig.release(tool, reader);
    expectKept(rig, removed, object, cid);
    expect(rig.bytesOf(ino).slice(0, 6)).toBe('newerl');
    rig.expectAtRest();
  });

  test('stay when the group breaks in which the file was opened, and the next open finds it', () => {
    const { ino, removed, cid, object, reader, file } = readNamed();
    expect(() =>
      rig.fixture.journal.commit(() => {
        rig.open(ino, O_RDWR);
        throw new Error('the group breaks');
      }),
    ).toThrow('internal');
    expect(rig.row(ino).content).toBe(object);
    expectKept(rig, removed, object, cid);
    expect([rig.diskInode(reader), bytesInSlots(rig)]).toEqual([file, 0]);
    const writer = rig.open(ino, O_RDWR);
    rig.write(writer, 'new');
    expect([rig.read(reader).slice(0, 4), rig.bytesOf(ino).slice(0, 4)]).toEqual(['newl', 'newl']);
    expectKept(rig, removed, object, cid);
    rig.release(writer, reader);
    rig.expectAtRest();
  });
});

describe('a kill', () => {
  /** The state of this moment, as the next daemon would find it: what has two names has them still. */
  function keepState(into: string[]): void {
    const directory = mkdtempSync(join(tmpdir(), 'kitfs-vfs-'));
    execFileSync('cp', ['-a', `${rig.fixture.directory}/.`, directory]);
    into.push(directory);
  }

  test('at any step of an open for writing leaves history and the file their bytes', () => {
    const states: string[] = [];
    const { ino, removed, cid, object, reader } = readNamed();
    const moveTo = Slots.prototype.moveTo;
    vi.spyOn(Slots.prototype, 'moveTo').mockImplementation(function (this: Slots, slot, path) {
      keepState(states);
      moveTo.call(this, slot, path);
      keepState(states);
    });
    const writer = rig.open(ino, O_RDWR);
    keepState(states);
    rig.write(writer, 'new');
    keepState(states);
    rig.release(reader);
    rig.release(writer);
    keepState(states);
    const found = states.map((directory) => {
      const next = new DirectRig(directory);
      try {
        expectKept(next, removed, object, cid);
        next.expectAtRest();
        expect(bytesInSlots(next)).toBe(0);
        const bytes = next.bytesOf(ino);
        expect(bytes.slice(3)).toBe(LARGE.toString().slice(3));
        // What lies there is not two objects at once.
        const again = next.open(ino, O_RDWR);
        next.write(again, 'xyz');
        next.release(again);
        expectKept(next, removed, object, cid);
        expect(next.bytesOf(ino).slice(0, 4)).toBe('xyzl');
        return bytes.slice(0, 3);
      } finally {
        next.close();
      }
    });
    expect(found).toEqual(['lll', 'lll', 'lll', 'new', 'new']);
  });
});
