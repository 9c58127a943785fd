/**
 * What publications took hold of that no snapshot names yet. It is noted with the hold and struck out with the
 * snapshot, so that of one that failed, or ended with the daemon, the rest is known to whoever lets things go.
 *
 * Invariants: one publication at a time; objects are numbered once, so a number of what is gone means nothing.
 */
import type { ContentId } from '../base/ids.ts';
import { UNFINISHED_RANGES_MAX } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import type { Journal } from '../journal/journal.ts';

/** Rows looked at before other work gets its turn. */
const ROWS_PER_TURN = 256;

/** Adds objects to the note; answers what it was before. Inside the transaction that holds them. */
export function noteUnfinished({ meta }: Journal, ids: Iterable<ContentId>): string {
  const before = meta.get('unfinished') ?? '';
  const sorted = [...new Set(ids)].sort((one, other) => one - other);
  const ranges: { from: number; to: number }[] = [];
  for (const id of sorted) {
    const last = ranges.at(-1);
    if (last?.to === id - 1) last.to = id;
    else ranges.push({ from: id, to: id });
  }
  const known = before === '' ? [] : before.split(' ');
  const room = Math.max(0, UNFINISHED_RANGES_MAX - known.length);
  const texts = ranges.slice(0, room).map(({ from, to }) => `${from}-${to}`);
  if (texts.length > 0) meta.set('unfinished', [...known, ...texts].join(' '));
  return before;
}

/** Whether there may be any. */
export const hasUnfinished = ({ meta }: Journal): boolean => (meta.get('unfinished') ?? '') !== '';

/** Those that are there still. What is damaged in the note names nothing. */
export async function* unfinishedOf({ meta, contents }: Journal): AsyncGenerator<ContentId> {
  for (const text of (meta.get('unfinished') ?? '').split(' ')) {
    const [, from, to] = /^(\d{1,15})-(\d{1,15})$/.exec(text) ?? [];
    let after = Number(from) - 1;
    while (after < Number(to)) {
      const page = contents.page(after as ContentId, ROWS_PER_TURN);
      for (const { id } of page) if (id <= Number(to)) yield id;
      after = page.at(-1)?.id ?? Number.POSITIVE_INFINITY;
      await turn();
    }
  }
}
