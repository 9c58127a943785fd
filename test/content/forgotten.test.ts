/** What a store that remembers little makes of what it has forgotten. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import { Fixture, noise } from './fixture.ts';

const REMEMBERED_MAX = 3;
vi.mock(import('../../src/base/limits.ts'), async (original) => ({
  ...(await original()),
  CONTENTS_CACHED_MAX: 3 as 65_536,
}));

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

function freezeOthers(): void {
  for (let seed = 0; seed <= REMEMBERED_MAX; seed++) fixture.makeFrozen(noise(10, seed));
}

/** Written by somebody else, and frozen again. */
function rewrite(id: ContentId): void {
  const { contents, journal } = fixture;
  journal.commit(() => {
    contents.reopen(id);
    contents.write(id, Buffer.from('other'), 0);
    contents.freeze(id);
  });
}

test('an object whose freezing was forgotten is not sealed with the CID it had before', async () => {
  const { contents, sealer, signal } = fixture;
  const id = fixture.makeFrozen(noise(1000));
  freezeOthers();
  const sealing = sealer.seal(id, signal);
  rewrite(id);
  freezeOthers();
  const before = await sealing;
  expect(contents.row(id)).toMatchObject({ state: 'frozen', cid: null });
  expect((await sealer.seal(id, signal)).equals(before)).toBe(false);
  expect(await sealer.verify(id, signal)).toBe(true);
});
