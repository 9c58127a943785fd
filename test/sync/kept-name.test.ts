/** The names of what is kept beside what is here. */
import { expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { parseCid } from '../../src/content/content.ts';
import { keptName } from '../../src/sync/kept-name.ts';

const CID = parseCid('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e');

test.each([
  ['notes.txt', 'notes.conflict-wof36n5e.txt'],
  ['a.tar.gz', 'a.tar.conflict-wof36n5e.gz'],
  ['notes', 'notes.conflict-wof36n5e'],
  ['.profile', '.profile.conflict-wof36n5e'],
])('of a conflict about %s the other side is %s', (name, expected) => {
  expect(keptName(nameOfText(name), CID, new Set())).toBe(expected);
});
