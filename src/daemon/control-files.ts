/** The files of `/.kitfs`: what they hold is made when one is opened. */
import type { Name } from '../base/ids.ts';
import { JOURNAL_SHOWN_RECORDS_MAX } from '../base/limits.ts';
import type { HistoryRecord } from '../journal/journal.ts';
import type { ControlFile, Core } from '../vfs/vfs.ts';
import type { ErrorRing } from './errors.ts';
import type { Status } from './status.ts';
import { withoutRoots } from './status-sync.ts';

export interface ControlSources {
  /** The core comes after the files, which it shows. */
  readonly core: () => Core;
  readonly status: () => Status;
  readonly errors: ErrorRing;
  /** A record in the words of the contract. */
  readonly recordOf: (record: HistoryRecord) => unknown;
}

export const controlFiles = (sources: ControlSources): readonly ControlFile[] => [
  {
    name: 'status.json',
    render: () => Buffer.from(`${JSON.stringify(withoutRoots(sources.status()), undefined, 2)}\n`),
  },
  // Both name files that not everybody may see, and the CIDs by which anybody could read them.
  { name: 'journal.ndjson', isPrivate: true, render: () => renderJournal(sources) },
  { name: 'errors.ndjson', isPrivate: true, render: () => sources.errors.render() },
];

/** The newest records, oldest first, one line of JSON each. */
function renderJournal({ core, recordOf }: ControlSources): Buffer {
  const lines: string[] = [];
  let afterSeq: number | undefined;
  do {
    const page = core().history.query({
      path: '/' as Name,
      recursive: true,
      follow: false,
      order: 'desc',
      limit: JOURNAL_SHOWN_RECORDS_MAX - lines.length,
      afterSeq,
    });
    for (const record of page.records) lines.push(`${JSON.stringify(recordOf(record))}\n`);
    afterSeq = page.nextAfterSeq;
  } while (afterSeq !== undefined && lines.length < JOURNAL_SHOWN_RECORDS_MAX);
  return Buffer.from(lines.reverse().join(''));
}
