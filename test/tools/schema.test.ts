import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { CONTENT_BYTES_MAX } from '../../src/base/limits.ts';
import * as schema from '../../src/tools/schema.ts';

describe('the JSON Schema of an input', () => {
  test('is closed, lean and true to the tags', () => {
    const input = schema.input({
      path: schema.path(),
      name: schema.text(1, 255),
      count: schema.int(0),
      ...schema.page,
      ...schema.dryRun,
      metadata: schema.metadata().optional(),
    });
    expect(schema.inputJsonSchema(input)).toEqual({
      type: 'object',
      properties: {
        path: { type: 'string', description: 'absolute path in the tree' },
        name: { type: 'string', minLength: 1, maxLength: 255 },
        count: { type: 'integer', minimum: 0 },
        limit: { type: 'integer', minimum: 1, maximum: 500, default: 50 },
        cursor: {
          type: 'string',
          minLength: 1,
          maxLength: 512,
          description: 'next_cursor of the page before',
        },
        dry_run: { type: 'boolean', default: false },
        metadata: { type: 'object', additionalProperties: { type: 'string' } },
      },
      required: ['path', 'name', 'count'],
      additionalProperties: false,
    });
  });

  test('keeps a parameter that is named like a keyword', () => {
    const { properties } = schema.inputJsonSchema(schema.input({ maximum: schema.int(0) }));
    expect(properties).toHaveProperty('maximum');
  });
});

describe('validation', () => {
  const input = schema.input({
    options: z.strictObject({ uid: schema.int(0).optional() }).optional(),
    kind: z.enum(['a', 'b']).default('a'),
    path: schema.path(),
  });

  test('fills in defaults and drops the slash at the end of a path', () => {
    expect(schema.validate(input, { path: '/a/' }, 'law')).toEqual({ kind: 'a', path: '/a' });
  });

  test('names arguments inside objects, and tells unknown ones there too', () => {
    const run = () =>
      schema.validate(input, { path: '/a', kind: 'c', options: { uid: 'x', gid: 1 } }, 'law');
    expect(run).toThrow(
      expect.objectContaining({
        failure: 'invalid-argument',
        details: {
          issues: [
            { argument: 'options.uid', reason: 'type', expected: 'number' },
            { argument: 'options.gid', reason: 'unknown' },
            { argument: 'kind', reason: 'range', expected: 'one of a, b' },
          ],
        },
      }),
    );
  });

  test('a bad path beside another fault is one issue of two', () => {
    expect(() => schema.validate(input, { path: 'a', kind: 'c' }, 'law')).toThrow(
      expect.objectContaining({ failure: 'invalid-argument' }),
    );
  });

  test('never throws anything but an operating error, whatever it is given', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (values) => {
        try {
          schema.validate(input, values, 'law');
        } catch (error) {
          expect(error).toMatchObject({ name: 'OpError', details: { issues: expect.anything() } });
        }
      }),
    );
  });

  test('names like those of every object are unknown arguments', () => {
    const values = JSON.parse('{"path":"/a","__proto__":{"kind":"b"},"constructor":1}');
    expect(() => schema.validate(input, values, 'law')).toThrow(
      expect.objectContaining({ failure: 'invalid-argument' }),
    );
  });
});

describe('inline content', () => {
  test('comes back as the bytes it was made of', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const text = Buffer.from(bytes).toString('base64');
        expect(schema.decodeContent(text, 'base64', 'law')).toEqual(Buffer.from(bytes));
      }),
    );
    expect(schema.decodeContent('ä\0', 'utf-8', 'law')).toEqual(Buffer.from('ä\0'));
    expect(schema.decodeContent('', 'utf-8', 'law')).toHaveLength(0);
  });

  test.each(['a', 'ab=c', '====', 'YQ=', 'Y Q==', 'YQ==YQ=='])('%j is no base64', (text) => {
    expect(() => schema.decodeContent(text, 'base64', 'law')).toThrow(
      expect.objectContaining({ failure: 'encoding' }),
    );
  });

  test('may be as large as the bound, after decoding, and no larger', () => {
    const most = Buffer.alloc(CONTENT_BYTES_MAX).toString('base64');
    expect(schema.decodeContent(most, 'base64', 'law')).toHaveLength(CONTENT_BYTES_MAX);
    expect(() => schema.decodeContent('x'.repeat(CONTENT_BYTES_MAX + 1), 'utf-8', 'law')).toThrow(
      expect.objectContaining({ failure: 'payload-too-large' }),
    );
  });

  test('of half a character is refused', () => {
    expect(() => schema.decodeContent('\ud800', 'utf-8', 'law')).toThrow(
      expect.objectContaining({ failure: 'encoding' }),
    );
  });
});
