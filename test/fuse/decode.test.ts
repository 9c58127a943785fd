import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { Request } from '../../src/fuse/decode.ts';
import { request, text, u32, u64 } from './requests.ts';

/** The bytes amid others that are not the request's. */
function loaded(bytes: Buffer): Request {
  const arena = Buffer.concat([Buffer.alloc(8, 0xee), bytes, Buffer.alloc(64, 0)]);
  const read = new Request();
  read.load(arena, 8, bytes.length);
  return read;
}

const failureOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    if (error instanceof OpError) return error.failure;
    throw error;
  }
  return 'none';
};

describe('a request', () => {
  test('is read as it was written', () => {
    const read = loaded(
      request(16, {
        unique: 0x12_3456_789an,
        nodeid: 2n ** 52n + 1n,
        uid: 1000,
        gid: 0xffff_ffff,
        pid: 77,
        body: [u32(1, 0xffff_ffff), u64(2n ** 40n), text('na\xefve'), Buffer.from('rest')],
      }),
    );
    expect(read.opcode).toBe(16);
    expect(read.unique).toBe(0x12_3456_789a);
    expect(read.isResent).toBe(false);
    expect(read.ino).toBe(2 ** 52 + 1);
    expect([read.uid, read.gid, read.pid]).toEqual([1000, 0xffff_ffff, 77]);
    expect([read.u32(0), read.u32(4), read.u64(8)]).toEqual([1, 0xffff_ffff, 2 ** 40]);
    expect(read.name(16)).toBe('na\xefve');
    expect(read.bytes(22, 4).toString()).toBe('rest');
    expect(read.bodyBytes).toBe(26);
  });

  test('that is resent has the number it had', () => {
    const read = loaded(request(9, { unique: 2n ** 63n + 42n }));
    expect(read.isResent).toBe(true);
    expect(read.unique).toBe(42);
    expect([read.uniqueLow, read.uniqueHigh]).toEqual([42, 0x8000_0000]);
  });

  test('that was cut anywhere is refused, whatever follows it in the arena', () => {
    const whole = request(12, { body: [u64(1), text('old'), text('new')] });
    const read = (bytes: Buffer) => {
      const cut = loaded(bytes);
      cut.inoAt(0);
      const old = cut.name(8);
      return [old, cut.name(8 + old.length + 1)];
    };
    expect(read(whole)).toEqual(['old', 'new']);
    for (let length = 0; length < whole.length; length++) {
      const cut = Buffer.from(whole.subarray(0, length));
      // Once with the length it had, once with the length it has.
      expect(failureOf(() => read(cut))).toBe('invalid');
      if (length >= 4) cut.writeUInt32LE(length, 0);
      expect(failureOf(() => read(cut))).toBe('invalid');
    }
  });

  test('that claims more than the arena holds is refused', () => {
    const bytes = request(3);
    expect(failureOf(() => new Request().load(bytes, 0, 48))).toBe('invalid');
    expect(failureOf(() => new Request().load(bytes, 8, 40))).toBe('invalid');
  });

  test('keeps its number when it is refused, so that it can be answered', () => {
    const read = new Request();
    const bytes = request(3, { unique: 6n, len: 41 });
    expect(failureOf(() => read.load(bytes, 0, 40))).toBe('invalid');
    expect([read.uniqueLow, read.uniqueHigh]).toEqual([6, 0]);
    // And does not keep the number of the one before.
    expect(failureOf(() => read.load(bytes, 0, 39))).toBe('invalid');
    expect([read.uniqueLow, read.uniqueHigh]).toEqual([0, 0]);
  });

  test('ends before its extensions', () => {
    const read = loaded(request(9, { body: [u32(0o755, 0), text('abc'), u64(9)], extensions: 1 }));
    expect(read.bodyBytes).toBe(12);
    expect(failureOf(() => read.u64(8))).toBe('invalid');
    expect(failureOf(() => loaded(request(9, { extensions: 1 })))).toBe('invalid');
  });

  test('holds names that are neither empty nor paths', () => {
    expect(failureOf(() => loaded(request(1, { body: [text('')] })).name(0))).toBe('invalid');
    expect(failureOf(() => loaded(request(1, { body: [text('a/b')] })).name(0))).toBe('invalid');
    expect(loaded(request(6, { body: [text('a/b')] })).text(0)).toBe('a/b');
  });

  test('holds only numbers that may have been handed out', () => {
    const read = loaded(request(15, { body: [u64(2n ** 53n), u64(2n ** 53n - 1n)] }));
    expect(failureOf(() => read.fh(0))).toBe('invalid');
    expect(failureOf(() => read.inoAt(0))).toBe('invalid');
    expect(failureOf(() => read.cookie(0))).toBe('invalid');
    expect(read.fh(8)).toBe(2 ** 53 - 1);
    expect(failureOf(() => loaded(request(3, { nodeid: 2n ** 63n })))).toBe('invalid');
  });

  test('holds positions of any size and times before 1970', () => {
    const read = loaded(request(15, { body: [u64(2n ** 63n), u64(-2n), u32(999_999_999, 1e9)] }));
    expect(read.u64(0)).toBe(2 ** 63);
    expect(read.i64(8)).toBe(-2);
    expect(read.nanoseconds(16)).toBe(999_999_999);
    expect(failureOf(() => read.nanoseconds(20))).toBe('invalid');
  });

  test('has exactly the bytes that it says', () => {
    const read = loaded(request(16, { body: [u64(0), Buffer.from('12345')] }));
    expect(read.bytes(8, 5).toString()).toBe('12345');
    for (const length of [0, 4, 6, 2 ** 32]) {
      expect(failureOf(() => read.bytes(8, length))).toBe('invalid');
    }
    expect(failureOf(() => read.bytes(14, 0))).toBe('invalid');
  });

  test('of forgetting gives back each reference once', () => {
    const given: number[][] = [];
    const give = (ino: number, count: number) => given.push([ino, count]);
    loaded(request(2, { nodeid: 7, body: [u64(3)] })).forgets(give);
    loaded(request(42, { body: [u32(2, 0), u64(8, 1), u64(9, 4)] })).forgets(give);
    expect(given).toEqual([
      [7, 3],
      [8, 1],
      [9, 4],
    ]);
    const short = request(42, { body: [u32(0xffff_ffff, 0), u64(8, 1)] });
    expect(failureOf(() => loaded(short).forgets(() => {}))).toBe('invalid');
  });

  test('of any bytes is read within its bounds or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(100), (body, at) => {
        const read = loaded(request(16, { body: [Buffer.from(body)] }));
        const within = (bytes: number) => at + bytes <= body.length;
        expect(failureOf(() => read.u32(at))).toBe(within(4) ? 'none' : 'invalid');
        expect(failureOf(() => read.u64(at))).toBe(within(8) ? 'none' : 'invalid');
        const nul = body.indexOf(0, at);
        expect(failureOf(() => read.text(at))).toBe(nul > at ? 'none' : 'invalid');
      }),
    );
  });
});
