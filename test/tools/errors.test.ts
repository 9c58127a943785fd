import { constants } from 'node:os';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FAILURES, OpError } from '../../src/base/errors.ts';
import { ERRNO } from '../../src/fuse/errno.ts';
import { CODES } from '../../src/tools/codes.ts';
import { CODE_OF, errorEnvelope } from '../../src/tools/errors.ts';

/** Not in node:os (asm-generic/errno.h). */
const ENOPKG = 65;

/** Failures of system calls for which the tools have no code of their own. */
const COARSER: readonly string[] = [
  'too-many-links',
  'not-permitted',
  'range',
  'no-attribute',
  'attribute-too-big',
  'bad-handle',
  'no-such-extent',
];

describe('the table of codes', () => {
  test('has the 65 of the contract', () => {
    expect(Object.keys(CODES)).toHaveLength(65);
  });

  test('never tells the mount to try again, nor never to ask again', () => {
    const errnos = Object.values(CODES).map(({ errno }) => errno);
    expect(errnos).not.toContain('EAGAIN');
    expect(errnos).not.toContain('ENOSYS');
  });

  test('promises that a call may succeed later only where something may change by itself', () => {
    for (const [code, { recovery, retryable }] of Object.entries(CODES)) {
      if (recovery === 'retry-backoff') expect([code, retryable]).toEqual([code, true]);
    }
  });

  test.each(FAILURES.filter((failure) => !COARSER.includes(failure)))(
    'the failure %s has one errno, on the mount and in the table',
    (failure) => {
      const name = CODES[CODE_OF[failure]].errno;
      const number =
        name === 'ENOPKG' ? ENOPKG : constants.errno[name as keyof typeof constants.errno];
      expect(number).toBe(ERRNO[failure]);
    },
  );
});

describe('an error envelope', () => {
  test.each(FAILURES)('of %s carries the row of its code', (failure) => {
    const {
      status,
      error,
      error_code: code,
      context,
    } = errorEnvelope(new OpError(failure, 'do it'), 'request-1');
    const { category, severity, retryable, errno, recovery, remedy } = CODES[code];
    expect({ status, error }).toEqual({
      status: 'error',
      error: `do it: ${failure.replaceAll('-', ' ')}; ${remedy}`,
    });
    const isNamed = code === 'NOT_FOUND' || code === 'ALREADY_EXISTS';
    expect(context).toEqual({
      request_id: 'request-1',
      category,
      severity,
      retryable,
      errno,
      recovery,
      ...(isNamed ? { kind: 'path' } : {}),
    });
  });

  test('says what the error itself says to do, and what it concerns', () => {
    const error = new OpError('version-conflict', 'write /a', {
      hint: 'read it again',
      details: { path: '/a', kind: 'object', partial: { version: '1.2' }, fd: 7 },
    });
    expect(errorEnvelope(error, 'r')).toMatchObject({
      error: 'write /a: version conflict; read it again',
      context: { path: '/a', kind: 'object', partial: { version: '1.2' } },
    });
    expect(errorEnvelope(error, 'r').context['fd']).toBeUndefined();
  });

  const causeOf = (cause: unknown) =>
    errorEnvelope(new OpError('io', 'put', { cause }), 'r').context['cause'];

  test('quotes foreign text in at most 512 bytes, without control characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
        const cause = String(causeOf(new Error(text)));
        expect(Buffer.byteLength(cause)).toBeLessThanOrEqual(512);
        expect(cause).not.toMatch(/\p{Cc}|\p{Surrogate}/u);
      }),
    );
    expect(causeOf(new Error('€'.repeat(400)))).toMatch(/^€+…$/);
  });

  test.each([
    ['authorization: Bearer abc.def', 'authorization: [redacted]'],
    ['GET https://key:pass@s3.example/x', 'GET https://[redacted]@s3.example/x'],
    ['X-Amz-Signature=0123abcd&x=1', 'X-Amz-Signature=[redacted]&x=1'],
    ['{"token":"abc"}', '{"token":[redacted]}'],
    ['password hunter2', 'password [redacted]'],
    ['nothing to hide', 'nothing to hide'],
  ])('does not show the secret in: %s', (text, shown) => {
    expect(causeOf(new Error(text))).toBe(shown);
  });

  test('names an error of the host by its code, since its text names paths of the host', () => {
    const cause = Object.assign(new Error("ENOENT: open '/var/lib/x'"), {
      code: 'ENOENT',
      syscall: 'open',
    });
    expect(causeOf(cause)).toBe('ENOENT (open)');
  });

  test('quotes nothing of our own errors', () => {
    expect(causeOf(new OpError('io', 'inner'))).toBeUndefined();
    const inner = new OpError('internal', 'x', { cause: new TypeError('boom') });
    expect(errorEnvelope(inner, 'r').context['cause']).toBeUndefined();
  });
});
