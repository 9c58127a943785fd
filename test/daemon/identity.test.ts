/** A journal that is gone on with is the one of the mount. */
import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { journalIdOf, openIdentified } from '../../src/daemon/identity.ts';
import { Scratch } from './scratch.ts';

/** The number of the journal at `path`, which is opened and closed. */
function idAt(path: string, journalId?: string): string {
  const journal = openIdentified({
    ...{ path, journalId },
    clock: new SystemClock(),
    random: new SystemRandom(),
  });
  try {
    return journalIdOf(journal);
  } finally {
    journal.close();
  }
}

test('a journal has a number of its own, for ever', () => {
  using scratch = new Scratch();
  const id = idAt(scratch.path('a'));
  expect(id).toHaveLength(22);
  expect(idAt(scratch.path('a'))).toBe(id);
  expect(idAt(scratch.path('a'), id)).toBe(id);
  expect(idAt(scratch.path('b'))).not.toBe(id);
});

test('a mount is not gone on with when another journal lies there, or none, and none is made', () => {
  using scratch = new Scratch();
  const [id, other] = [idAt(scratch.path('a')), idAt(scratch.path('b'))];
  const refused = expect.objectContaining({ failure: 'configuration' });
  expect(() => idAt(scratch.path('b'), id)).toThrow(refused);
  expect(idAt(scratch.path('b'))).toBe(other);
  expect(() => idAt(scratch.path('c'), id)).toThrow(refused);
  expect(existsSync(scratch.path('c'))).toBe(false);
});
