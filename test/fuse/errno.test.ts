import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { FAILURES, OpError } from '../../src/base/errors.ts';
import { ERRNO, errnoOf } from '../../src/fuse/errno.ts';

const { errno } = constants;

describe('the errno table', () => {
  test('has a number the kernel takes for every failure', () => {
    expect(Object.keys(ERRNO).sort()).toEqual([...FAILURES].sort());
    for (const failure of FAILURES) {
      expect([failure, Number.isInteger(ERRNO[failure])]).toEqual([failure, true]);
      expect(ERRNO[failure]).toBeGreaterThan(0);
      expect(ERRNO[failure]).toBeLessThan(512);
    }
  });

  test('never says try again, and never says ask never again', () => {
    const numbers = Object.values(ERRNO);
    expect(numbers).not.toContain(errno.EAGAIN);
    expect(numbers).not.toContain(errno.ENOSYS);
  });

  test('answers what is not an operating error with EIO', () => {
    expect(errnoOf(new OpError('not-empty', 'rmdir a'))).toBe(errno.ENOTEMPTY);
    expect(errnoOf(new TypeError('a bug'))).toBe(errno.EIO);
    expect(errnoOf(undefined)).toBe(errno.EIO);
  });
});
