/** What a call would do, told from the records it would have made. */
import { nameOf, textOf } from '../base/ids.ts';
import type { OpRow } from '../journal/journal.ts';
import type { Plan } from './results.ts';

/** Actions told one by one; the rest is in the counts. */
const ACTIONS_MAX = 20;

export function planOf(records: readonly OpRow[], warnings: readonly string[] = []): Plan {
  const counts: Record<string, number> = {};
  let bytes = 0;
  for (const record of records) {
    counts[record.kind] = (counts[record.kind] ?? 0) + 1;
    bytes += bytesOf(record);
  }
  return {
    actions: records.slice(0, ACTIONS_MAX).map(actionOf),
    counts,
    bytes,
    conflicts: [],
    warnings: [...warnings],
  };
}

function actionOf(record: OpRow): Plan['actions'][number] {
  const path = textOf(nameOf(record.path));
  const from = record.old_path === null ? undefined : textOf(nameOf(record.old_path));
  const bytes = bytesOf(record);
  return {
    op: record.kind,
    ...(from === undefined ? { path } : { path: from, destination: path }),
    ...(bytes === 0 ? {} : { bytes }),
  };
}

/** Bytes written, or bytes that go with a name. */
function bytesOf(record: OpRow): number {
  if (record.kind === 'write') return record.length ?? 0;
  return record.kind === 'unlink' ? (record.old_size ?? 0) : 0;
}
