/**
 * Keys of objects: which of them every store takes, and their order.
 *
 * A key that passes here is a relative path in normal form, so that any store may turn it into one of
 * its own, and no store has to be trusted not to: some servers make `a/b` of `a//b`, and `y` of `x/../y`.
 */
import { OpError } from '../base/errors.ts';
import type { StoreLimits } from './store.ts';

/** Controls, and what XML has no words for: with them no listing of S3 can be read. */
const UNSPEAKABLE = /[\p{Cc}\ufffe\uffff]/u;

/** Whether it has a form in UTF-8: halves of pairs have none. */
export const isText = (text: string): boolean => !/\p{Surrogate}/u.test(text);

/** @throws OpError invalid-path, name-too-long. */
export function demandKey(key: string, limits: StoreLimits, op: string): void {
  const why = faultOfKey(key, limits);
  if (why === undefined) return;
  const { failure, hint } = why;
  throw new OpError(failure, op, { hint });
}

/** Whether calls take it. */
export const isKey = (key: string, limits: StoreLimits): boolean =>
  faultOfKey(key, limits) === undefined;

interface KeyFault {
  readonly failure: 'invalid-path' | 'name-too-long';
  readonly hint: string;
}

function faultOfKey(key: string, limits: StoreLimits): KeyFault | undefined {
  const { keyBytesMax, partBytesMax, reserved } = limits;
  const invalid = (hint: string): KeyFault => ({ failure: 'invalid-path', hint });
  const long = (hint: string): KeyFault => ({ failure: 'name-too-long', hint });
  if (!isText(key)) return invalid('a key is text, without halves of characters');
  if (UNSPEAKABLE.test(key)) return invalid('a key has no control characters in it');
  const parts = key.split('/');
  if (parts.includes('')) return invalid('a key has no empty part, and no / at either end');
  if (parts.includes('.') || parts.includes('..')) return invalid('a key has no part . or ..');
  if (reserved?.test(key) === true) return invalid('the store keeps this name for itself');
  if (Buffer.byteLength(key) > keyBytesMax) return long(`a key has at most ${keyBytesMax} bytes`);
  if (parts.some((part) => Buffer.byteLength(part) > partBytesMax)) {
    return long(`a part of a key has at most ${partBytesMax} bytes`);
  }
  return undefined;
}

/**
 * Byte by byte of their UTF-8, which is by code points. The order of JavaScript is another one:
 * it has U+1F600 before U+FB01.
 */
export function compareKeys(one: string, other: string): number {
  const lengthMin = Math.min(one.length, other.length);
  let at = 0;
  while (at < lengthMin && one.charCodeAt(at) === other.charCodeAt(at)) at += 1;
  if (at === lengthMin) return one.length - other.length;
  return orderOf(one.charCodeAt(at)) - orderOf(other.charCodeAt(at));
}

/** Halves of pairs stand for what is behind everything that fits one unit. */
const orderOf = (unit: number): number =>
  unit >= 0xd800 && unit <= 0xdfff ? unit + 0x1_0000 : unit;

/**
 * What a listing of one level shows in place of a key: the key itself, or its beginning up to the
 * first `/` behind the prefix.
 */
export function nameAtLevel(key: string, prefix: string): string {
  const slash = key.indexOf('/', prefix.length);
  return slash < 0 ? key : key.slice(0, slash + 1);
}
