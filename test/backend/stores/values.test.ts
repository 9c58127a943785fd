/** Keys in order, and values in headers, for anything that may come. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compareKeys, nameAtLevel } from '../../../src/backend/keys.ts';
import { headerOfValue, valueOfHeader } from '../../../src/backend/metadata.ts';

const texts = fc.string({ unit: 'binary', maxLength: 12 });

test('keys are in the order of their bytes', () => {
  const near = fc.string({ unit: fc.constantFrom('a', '/', '-', 'é', '\ud7ff', '\ue000', '😀') });
  fc.assert(
    fc.property(fc.oneof(texts, near), fc.oneof(texts, near), (one, other) => {
      const bytes = Buffer.compare(Buffer.from(one), Buffer.from(other));
      expect(Math.sign(compareKeys(one, other))).toBe(bytes);
    }),
    { numRuns: 5000 },
  );
});

test('a value that travelled as a header is what it was, and the header is plain', () => {
  const nearly = fc.constantFrom('=?UTF-8?B?eA==?=', ' a', 'a ', '', '=?', 'a =?UTF-8?Q?b?= c');
  fc.assert(
    fc.property(fc.oneof(texts, nearly), (value) => {
      const header = headerOfValue(value);
      expect(header).toMatch(/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/);
      expect(valueOfHeader(header)).toBe(value);
    }),
    { numRuns: 5000 },
  );
});

test('values that S3 itself encoded are read', () => {
  expect(valueOfHeader('=?UTF-8?Q?gr=C3=BCn_und_blau?=')).toBe('grün und blau');
  expect(valueOfHeader('=?UTF-8?B?w6Q=?= =?UTF-8?B?w7Y=?=')).toBe('äö');
  expect(valueOfHeader('=?ISO-8859-1?Q?=E4?=')).toBe('=?ISO-8859-1?Q?=E4?=');
  expect(valueOfHeader('plain = text?')).toBe('plain = text?');
});

test('a name of one level ends with the first slash behind the prefix', () => {
  expect(nameAtLevel('a/b/c', '')).toBe('a/');
  expect(nameAtLevel('a/b/c', 'a')).toBe('a/');
  expect(nameAtLevel('a/b/c', 'a/')).toBe('a/b/');
  expect(nameAtLevel('a/b/c', 'a/b/')).toBe('a/b/c');
});
