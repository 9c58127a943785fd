/** The part of an object that a reading gives. */
import { OpError } from '../base/errors.ts';
import type { GetOptions } from './store.ts';

export interface Slice {
  readonly offset: number;
  readonly length: number;
}

/** @throws OpError offset-past-end, invalid-argument. */
export function sliceOf(size: number, { offset = 0, length }: GetOptions, op: string): Slice {
  const isCount = (number: number) => Number.isSafeInteger(number) && number >= 0;
  if (!isCount(offset) || (length !== undefined && !isCount(length))) {
    throw new OpError('invalid-argument', op, { hint: 'offset and length are counts of bytes' });
  }
  if (offset > size) {
    throw new OpError('offset-past-end', op, { hint: `it has ${size} bytes` });
  }
  return { offset, length: Math.min(length ?? size, size - offset) };
}
