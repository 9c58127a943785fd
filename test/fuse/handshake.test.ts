import { describe, expect, test } from 'vitest';
import { Request } from '../../src/fuse/decode.ts';
import { initOut, negotiate, readOffer } from '../../src/fuse/handshake.ts';
import { init, request, u32 } from './requests.ts';

function agreed(bytes: Buffer, wantsPassthrough = false) {
  const read = new Request();
  read.load(bytes, 0, bytes.length);
  return negotiate(readOffer(read), wantsPassthrough);
}

const FORBIDDEN = {
  POSIX_LOCKS: 1 << 1,
  EXPORT_SUPPORT: 1 << 4,
  FLOCK_LOCKS: 1 << 10,
  AUTO_INVAL_DATA: 1 << 12,
  WRITEBACK_CACHE: 1 << 16,
  NO_OPEN_SUPPORT: 1 << 17,
};

describe('the handshake', () => {
  test('takes of a kernel that offers everything what this server can do', () => {
    const features = agreed(init(45));
    expect(features?.minor).toBe(45);
    expect(features?.hasSetxattrExt).toBe(true);
    expect(features?.hasResend).toBe(true);
    const flags = features?.flags ?? 0;
    for (const [name, bit] of Object.entries(FORBIDDEN))
      expect([name, flags & bit]).toEqual([name, 0]);
    const out = initOut(features);
    expect([out.readUInt32LE(0), out.readUInt32LE(4)]).toEqual([7, 45]);
    expect(out.readUInt32LE(8)).toBe(131_072);
    expect(out.readUInt32LE(20)).toBe(1024 * 1024);
    expect(out.readUInt16LE(28)).toBe(256);
    expect(out.length).toBe(64);
  });

  test('takes passthrough when it is wanted and offered, over a disk that nothing is stacked on', () => {
    const PASSTHROUGH = 1 << (37 - 32);
    const out = (features: ReturnType<typeof agreed>) => {
      const bytes = initOut(features);
      return [
        features?.hasPassthrough,
        bytes.readUInt32LE(32) & PASSTHROUGH,
        bytes.readUInt32LE(36),
      ];
    };
    expect(out(agreed(init(45), true))).toEqual([true, PASSTHROUGH, 1]);
    expect(out(agreed(init(45), false))).toEqual([false, 0, 0]);
    expect(out(agreed(init(39, 0xffff_ffff, ~PASSTHROUGH >>> 0), true))).toEqual([false, 0, 0]);
  });

  test('takes nothing that is not offered', () => {
    const features = agreed(init(30, 0, 0xffff_ffff));
    expect([features?.flags, features?.flags2, features?.hasResend]).toEqual([0, 0, false]);
    for (let bit = 0; bit < 32; bit++) {
      const flags = agreed(init(45, (1 << bit) >>> 0, 0))?.flags ?? 0;
      expect(flags & ~(1 << bit)).toBe(0);
    }
  });

  test('reads the short structure of kernels before 7.36', () => {
    const short = request(26, { body: [u32(7, 31, 65_536, 1 << 0)] });
    expect(agreed(short)).toMatchObject({ minor: 31, flags: 1, flags2: 0, maxReadahead: 65_536 });
  });

  test('speaks its own version to a newer kernel', () => {
    expect(agreed(init(99))?.minor).toBe(45);
    expect(agreed(request(26, { body: [u32(8, 0, 0, 0)] }))).toBeUndefined();
    expect(initOut(undefined).readUInt32LE(0)).toBe(7);
  });

  test('refuses a kernel that is too old', () => {
    const refused = expect.objectContaining({ failure: 'version-unsupported' });
    expect(() => agreed(init(24))).toThrow(refused);
    expect(() => agreed(request(26, { body: [u32(6, 99, 0, 0)] }))).toThrow(refused);
  });
});
