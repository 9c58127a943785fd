import { expect, test } from 'vitest';
import { mimeOf, mimeOfName, SNIFFED_BYTES } from '../../src/tools/mime.ts';

test('the end of a name decides, in whatever case', () => {
  expect(mimeOfName('a.PNG')).toBe('image/png');
  expect(mimeOfName('a.tar.gz')).toBe('application/gzip');
  expect(mimeOf('a.json', Buffer.from([0]))).toBe('application/json');
});

test('a name that says nothing leaves it to the bytes', () => {
  for (const name of ['Makefile', '.png', 'a.', 'a.constructor', 'a.unheard-of']) {
    expect(mimeOfName(name)).toBeUndefined();
  }
  expect(mimeOf('Makefile', Buffer.from('all: ä'))).toBe('text/plain');
  expect(mimeOf('Makefile', Buffer.alloc(0))).toBe('text/plain');
  expect(mimeOf('Makefile', Buffer.from([0x61, 0]))).toBe('application/octet-stream');
  expect(mimeOf('Makefile', Buffer.from([0x61, 0xff]))).toBe('application/octet-stream');
});

test('text is text wherever the look at it ends', () => {
  for (let before = 0; before < 4; before += 1) {
    const text = Buffer.from('x'.repeat(before) + '\u{1f600}'.repeat(200));
    expect(mimeOf('a', text.subarray(0, SNIFFED_BYTES))).toBe('text/plain');
  }
  // A short file is whole: what is cut there is broken.
  expect(mimeOf('a', Buffer.from([0x61, 0xf0, 0x9f]))).toBe('application/octet-stream');
});
