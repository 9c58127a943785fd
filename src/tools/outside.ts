/**
 * A change of the node outside, told by two records: one before, of what is about to be done, and one
 * after it, of what came of it. A daemon that dies in between leaves the first one alone, and so
 * what nobody knows is seen.
 */
import { asOpError } from '../base/errors.ts';
import { codeFor } from './errors.ts';
import { type PinRecord, recordPin } from './pins.ts';
import type { RecordResult, ToolContext } from './tool.ts';

/** What is changed, and how. */
export interface OutsideChange<T, Data> {
  /** As far as it is known before. */
  readonly record: PinRecord;
  readonly make: () => Promise<T>;
  /** What is known of it only then. */
  readonly outcome?: (made: T) => Partial<PinRecord>;
  /** Rows that change with the second record. */
  readonly note?: (made: T) => void;
  readonly tell: (made: T) => RecordResult<Data>;
}

/** @throws what `make` throws. */
export async function changeOutside<T, Data>(
  context: ToolContext,
  { record, make, outcome = () => ({}), note, tell }: OutsideChange<T, Data>,
): Promise<RecordResult<Data>> {
  const { vfs } = context.ports;
  const { journal } = vfs.core;
  journal.commit((tx) => recordPin(context, tx, { ...record, state: 'pending' }));
  await vfs.core.syncJournal();
  let made: T;
  try {
    made = await make();
  } catch (cause) {
    const error = codeFor(asOpError(cause, record.kind));
    const failed = { ...record, state: 'failed', error } as const;
    journal.commit((tx) => recordPin(context, tx, failed));
    throw cause;
  }
  const told = tell(made);
  const seq = journal.group(() => {
    context.keep(() => told);
    return journal.commit((tx) => {
      note?.(made);
      return recordPin(context, tx, { ...record, ...outcome(made) });
    });
  });
  return { ...told, seq };
}
