/** Reading an object of S3, or a part of it, and seeing that all came. */
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { OpError } from '../../base/errors.ts';
import type { Deadline } from '../deadline.ts';
import { type Slice, sliceOf } from '../slice.ts';
import type { GetOptions, ObjectHead, ObjectReading } from '../store.ts';
import { seenOf } from './values.ts';

/** The header `Range`; undefined: the whole object. */
export function rangeOf({ offset = 0, length }: GetOptions): string | undefined {
  if (offset === 0 && length === undefined) return undefined;
  return `bytes=${offset}-${length === undefined ? '' : offset + length - 1}`;
}

/** Nothing to read: at the end, or none was wanted. */
export const emptyReading = (head: ObjectHead, { offset }: Slice): ObjectReading => ({
  head,
  offset,
  length: 0,
  bytes: (async function* () {})(),
  [Symbol.asyncDispose]: async () => {},
});

interface Held {
  readonly deadline: Deadline;
  readonly leave: () => void;
}

/**
 * What an answer gives. Disposes of all it was given when that is disposed of, or this fails.
 * @throws OpError response-invalid, unsupported (the store gave the whole for a part).
 */
export function readingOf(
  key: string,
  answer: GetObjectCommandOutput,
  options: GetOptions,
  { deadline, leave }: Held,
): ObjectReading {
  // Of Node it is a stream; the types speak of browsers too.
  const body = answer.Body as (AsyncIterable<Uint8Array> & { destroy(error?: Error): void }) & {
    on(event: 'error', listener: () => void): void;
  };
  body.on('error', () => {}); // Told by whoever reads; nobody may be reading yet.
  const onAbort = () => body.destroy(deadline.signal.reason);
  deadline.signal.addEventListener('abort', onAbort, { once: true });
  const dispose = (): void => {
    deadline.signal.removeEventListener('abort', onAbort);
    body.destroy();
    leave();
    deadline[Symbol.dispose]();
  };
  try {
    const { head, slice } = placeOf(key, answer, options, deadline.op);
    const bytes = counted(body, slice.length, deadline);
    return { head, ...slice, bytes, [Symbol.asyncDispose]: async () => dispose() };
  } catch (error) {
    dispose();
    throw error;
  }
}

function placeOf(
  key: string,
  answer: GetObjectCommandOutput,
  options: GetOptions,
  op: string,
): { readonly head: ObjectHead; readonly slice: Slice } {
  const { ContentLength, ContentRange } = answer;
  const isPart = rangeOf(options) !== undefined;
  if (isPart && ContentRange === undefined) {
    throw new OpError('unsupported', op, { hint: 'the store gives no parts of objects' });
  }
  const [, from, to, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(ContentRange ?? '') ?? [];
  const seen = seenOf(key, isPart ? numberOf(total) : ContentLength, answer);
  if (seen === undefined) throw invalid(op, 'an answer without a size or a tag');
  const slice = sliceOf(seen.head.size, options, op);
  const isRight =
    !isPart || (Number(from) === slice.offset && Number(to) === slice.offset + slice.length - 1);
  if (!isRight || ContentLength !== slice.length)
    throw invalid(op, 'another part than was asked for');
  return { head: seen.head, slice };
}

const numberOf = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : Number(text);

async function* counted(
  body: AsyncIterable<Uint8Array>,
  length: number,
  deadline: Deadline,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal, op } = deadline;
  let came = 0;
  try {
    for await (const piece of body) {
      came += piece.length;
      if (came > length) break;
      deadline.moved();
      yield piece;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof OpError ? error : invalid(op, 'the connection broke', error);
  }
  signal.throwIfAborted();
  if (came !== length) throw invalid(op, `${came} bytes came of ${length}`);
}

const invalid = (op: string, why: string, cause?: unknown): OpError =>
  new OpError('response-invalid', op, { cause: cause instanceof Error ? cause : new Error(why) });
