/** What can be wrong with the bytes of a content object, as operating errors that name it. */
import { asOpError, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
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

/** A backing file is gone. Never `not-found`: to who opens a file, that its name is gone. */
export function removed(op: string, id: ContentId, cause: unknown): OpError {
  return new OpError('integrity', op, {
    cause,
    hint: 'the file was removed behind our back; restore the state directory',
    details: { content: id },
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
