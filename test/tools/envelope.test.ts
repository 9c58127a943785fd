import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contentCall, sliceResult, successEnvelope } from '../../src/tools/envelope.ts';

interface Header {
  readonly length: number;
  readonly eof: boolean;
  readonly truncated: boolean;
  readonly next_offset?: number;
  readonly encoding: string;
}

function read(
  all: Buffer,
  {
    offset,
    length,
    encoding,
    mime = 'application/octet-stream',
  }: {
    offset: number;
    length: number;
    encoding?: 'utf-8' | 'base64';
    mime?: string;
  },
) {
  const result = sliceResult({
    op: 'read /a',
    bytes: all.subarray(offset, offset + length),
    offset,
    size: all.length,
    encoding,
    mime,
    uri: 'kitfs://tree/a',
    name: 'a',
  });
  const call = contentCall(result, successEnvelope(result, { requestId: 'r', elapsedMs: 0 }));
  return { header: result.header as unknown as Header, blocks: call.content.slice(1, -1) };
}

/** The bytes a client makes of a payload block. */
function bytesIn(blocks: ReturnType<typeof read>['blocks']): Buffer {
  const [block] = blocks;
  if (block === undefined) return Buffer.alloc(0);
  if (block.type === 'text') return Buffer.from(block.text);
  if (block.type === 'resource') return Buffer.from(block.resource.blob, 'base64');
  if (block.type === 'resource_link') throw new Error('no payload');
  return Buffer.from(block.data, 'base64');
}

function readAll(all: Buffer, length: number, encoding?: 'utf-8' | 'base64'): Buffer {
  const parts: Buffer[] = [];
  let offset: number | undefined = 0;
  while (offset !== undefined) {
    const { header, blocks } = read(all, { offset, length, ...(encoding ? { encoding } : {}) });
    const bytes = bytesIn(blocks);
    expect(bytes).toHaveLength(header.length);
    expect(header.eof).toBe(!header.truncated);
    if (header.truncated) expect(header.next_offset).toBeGreaterThan(offset);
    parts.push(bytes);
    offset = header.next_offset;
  }
  return Buffer.concat(parts);
}

describe('a byte reader', () => {
  test('gives in slices, joined, the whole, whatever the bytes', () => {
    const some = fc.oneof(
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
      fc.string({ unit: 'binary', maxLength: 32 }).map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(some, fc.integer({ min: 1, max: 20 }), (all, length) => {
        expect(readAll(all, length)).toEqual(all);
        expect(readAll(all, length, 'base64')).toEqual(all);
      }),
    );
  });

  test('gives text as text, and only a code point cut by the slice is left out', () => {
    const euro = Buffer.from('€€');
    expect(read(euro, { offset: 0, length: 5 }).header).toMatchObject({
      encoding: 'utf-8',
      length: 3,
      next_offset: 3,
    });
    // Broken at the end of the object: nothing cut it.
    const broken = euro.subarray(0, 5);
    expect(read(broken, { offset: 0, length: 100 }).header.encoding).toBe('base64');
    // Begun inside a code point.
    expect(read(euro, { offset: 1, length: 5 }).header.encoding).toBe('base64');
    // Too short for one: text would never get on.
    expect(read(euro, { offset: 0, length: 2 }).header).toMatchObject({
      encoding: 'base64',
      length: 2,
    });
  });

  test('asked for text where there is none, fails', () => {
    expect(() => read(Buffer.of(0xff), { offset: 0, length: 1, encoding: 'utf-8' })).toThrow(
      expect.objectContaining({ failure: 'encoding' }),
    );
  });

  test('at the end gives nothing, and beyond it fails', () => {
    const { header, blocks } = read(Buffer.from('abc'), { offset: 3, length: 10 });
    expect(header).toMatchObject({ length: 0, eof: true, truncated: false });
    expect(blocks).toEqual([]);
    expect(() => read(Buffer.from('abc'), { offset: 4, length: 10 })).toThrow(
      expect.objectContaining({ failure: 'offset-past-end' }),
    );
  });

  test('shows a whole image, and gives a part of one, or one asked for as base64, as bytes', () => {
    const image = Buffer.from('89504e470d0a1a0a', 'hex');
    const kindOf = (length: number, encoding?: 'base64') =>
      read(image, { offset: 0, length, mime: 'image/png', ...(encoding ? { encoding } : {}) })
        .blocks[0]?.type;
    expect([kindOf(100), kindOf(4), kindOf(100, 'base64')]).toEqual([
      'image',
      'resource',
      'resource',
    ]);
  });
});
