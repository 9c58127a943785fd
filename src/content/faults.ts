/** What can be wrong with the bytes of a content object, as operating errors that name it. */
import { asOpError, OpError } from '../base/errors.ts';
import { FILE_BYTES_MAX } from '../base/limits.ts';
import type { ContentRow } from '../journal/journal.ts';

/** @throws OpError file-too-large. */
export function checkSize(row: ContentRow, size: number): void {
  if (size <= FILE_BYTES_MAX) return;
  throw new OpError('file-too-large', `write content ${row.id}`, { details: { size } });
}

/** The backing file, or the packed bytes, are shorter than their row. */
export function cutShort(row: Readonly<ContentRow>): OpError {
  return new OpError('integrity', `read content ${row.id}`, {
    hint: `fewer than its ${row.size} bytes are there; restore the state directory`,
    details: { content: row.id },
  });
}

/** Runs system calls; what they throw becomes an operating error that names the object. */
export function attempt<T>(verb: string, row: Readonly<ContentRow>, calls: () => T): T {
  try {
    return calls();
  } catch (error) {
    throw asOpError(error, `${verb} content ${row.id}`);
  }
}
