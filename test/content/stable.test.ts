/** When bytes are known to be on stable storage. */
import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import { Fixture, noise } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

describe('stable storage', () => {
  test('a backing file is marked stable by fsync, and unmarked by the next write', async () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(100_000));
    expect(contents.row(id)?.stable).toBe(0);
    await contents.fsync([id]);
    expect(journal.contents.get(id)?.stable).toBe(1);
    journal.commit(() => contents.write(id, Buffer.from('x'), 5));
    expect(journal.contents.get(id)?.stable).toBe(0);
  });

  test('a write during fsync keeps the mark off', async () => {
    const { contents, journal } = fixture;
    const id = fixture.make(noise(100_000));
    const synced = contents.fsync([id]);
    journal.commit(() => contents.write(id, Buffer.from('x'), 5));
    await synced;
    expect(contents.row(id)?.stable).toBe(0);
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
      0, 1,
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
