/** What checks and repairs have in common: what they are given, and what they answer. */
import type { Clock } from '../base/clock.ts';
import type { ContentId } from '../base/ids.ts';
import type { HashPool } from '../content/hasher.ts';
import { Counters } from '../journal/counters.ts';
import { Inodes } from '../journal/inodes.ts';
import { Places, shown } from '../journal/places.ts';
import type { Database } from '../journal/sqlite.ts';
import type { Checked } from './content-check.ts';
import type { FsckFinding } from './fsck-report.ts';

/** What checks and repairs work with. */
export interface FsckWork {
  readonly state: string;
  readonly signal: AbortSignal;
  readonly hasher: HashPool;
  readonly clock: Clock;
  readonly onProgress: (checked: Checked) => void;
}

export interface FsckDone {
  readonly findings: readonly FsckFinding[];
  readonly checked: Checked;
  readonly aside?: string;
}

/** The first file that shows an object. */
export function shownBy(db: Database, id: ContentId): Pick<FsckFinding, 'ino' | 'path'> {
  const ino = new Inodes(db, new Counters(db)).ofContent(id);
  return ino === undefined ? {} : { ino, path: shown(new Places(db).of(ino)) };
}
