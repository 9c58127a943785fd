import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { FrameReader, frameOf, idOf, parseFrame } from '../../src/mcp/frames.ts';

function framesOf(chunks: readonly Buffer[], bytesMax?: number): string[] {
  const reader = new FrameReader(bytesMax);
  const frames: string[] = [];
  for (const chunk of chunks) reader.push(chunk, (frame) => frames.push(frame.toString('utf8')));
  return frames;
}

const STREAM = Buffer.from(`${frameOf({ a: 'ä€𝄞' })}${frameOf({ b: [1] })}\r\n\n${frameOf('c')}`);
const FRAMES = ['{"a":"ä€𝄞"}', '{"b":[1]}', '"c"'];

test('frames are the same wherever the stream is cut', () => {
  expect(framesOf([STREAM])).toEqual(FRAMES);
  for (let at = 0; at <= STREAM.length; at += 1) {
    expect(framesOf([STREAM.subarray(0, at), STREAM.subarray(at)])).toEqual(FRAMES);
  }
  expect(framesOf([...STREAM].map((byte) => Buffer.of(byte)))).toEqual(FRAMES);
});

test('any values come back as they were, cut anyhow', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), fc.array(fc.nat(200)), (values, cuts) => {
      let rest = Buffer.from(values.map(frameOf).join(''));
      const chunks = cuts.map((cut) => {
        const chunk = rest.subarray(0, cut);
        rest = rest.subarray(cut);
        return chunk;
      });
      const frames = framesOf([...chunks, rest]).map((frame) => parseFrame(Buffer.from(frame)));
      expect(frames).toEqual(values.map((value) => JSON.parse(JSON.stringify(value))));
    }),
  );
});

test('a frame over the bound is refused, after the whole ones before it', () => {
  const seen: string[] = [];
  const reader = new FrameReader(4);
  const push = (text: string) =>
    reader.push(Buffer.from(text), (frame) => seen.push(frame.toString()));
  push('1234\n12');
  expect(() => push('34\n12345')).toThrow(OpError);
  expect(seen).toEqual(['1234', '1234']);
});

test('malformed JSON is no value', () => {
  for (const text of ['', '{', 'undefined', '{"a":1}}', "{'a':1}"]) {
    expect(parseFrame(Buffer.from(text))).toBeUndefined();
  }
  expect(parseFrame(Buffer.from('null'))).toBeNull();
});

test('an id is a text or a whole number', () => {
  expect([{ id: 0 }, { id: 'a' }, { id: 1.5 }, { id: null }, {}].map(idOf)).toEqual([
    0,
    'a',
    undefined,
    undefined,
    undefined,
  ]);
});
