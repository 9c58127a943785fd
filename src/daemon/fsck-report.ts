/** What fsck answers with. */

import type { Severity } from '../journal/invariant.ts';
import type { Finding } from '../journal/journal.ts';
import type { Mended, Outcome } from '../journal/mending.ts';
import type { Fault } from './content-check.ts';
import type { Stray } from './strays.ts';

export interface FsckFinding {
  /** The rule's name in SCHEMA.md. */
  readonly check: string;
  readonly severity: Severity;
  /** What became of it; without a repair everything is left. */
  readonly outcome: Outcome;
  readonly ino?: number;
  /** In the tree. */
  readonly path?: string;
  readonly content?: number;
  readonly superblock?: number;
  /** Number of a record. */
  readonly seq?: number;
  /** In the state directory. */
  readonly file?: string;
  /** What should be, and what is. */
  readonly detail: string;
  /** What the repair did, or why it did not. */
  readonly action?: string;
}

export interface FsckCounts extends Readonly<Record<Outcome, number>> {
  /** Content objects looked at, and their bytes. */
  readonly contents: number;
  readonly bytes: number;
}

export interface FsckReport {
  readonly state: string;
  /** Whether nothing was found. */
  readonly clean: boolean;
  readonly findings: readonly FsckFinding[];
  readonly counts: FsckCounts;
  readonly seconds: number;
  /** Where the journal was put aside before it was rebuilt. */
  readonly aside?: string;
}

const detailOf = (expected: string, actual: string): string =>
  `expected ${expected}, found ${actual}`;

export function foundByRule(finding: Finding & Partial<Mended>): FsckFinding {
  const { rule, severity, ino, path, content, superblock, seq, expected, actual, outcome, action } =
    finding;
  return {
    check: rule,
    severity,
    outcome: outcome ?? 'left',
    ...(ino === undefined ? {} : { ino }),
    ...(path === undefined ? {} : { path }),
    ...(content === undefined ? {} : { content }),
    ...(superblock === undefined ? {} : { superblock }),
    ...(seq === undefined ? {} : { seq }),
    detail: detailOf(expected, actual),
    ...(action === undefined ? {} : { action }),
  };
}

/** `shown`: the file that has these bytes, if one has. */
export function foundInBytes(
  { check, content, expected, actual }: Fault,
  shown: Pick<FsckFinding, 'ino' | 'path'>,
  done?: Mended,
): FsckFinding {
  return {
    check,
    severity: 'loss',
    outcome: done?.outcome ?? 'left',
    ...shown,
    content: content.id,
    detail: detailOf(expected, actual),
    ...(done === undefined ? {} : { action: done.action }),
  };
}

export function foundOnDisk({ path, size }: Stray, done?: Mended): FsckFinding {
  return {
    check: 'stray-file',
    severity: 'minor',
    outcome: done?.outcome ?? 'left',
    file: path,
    detail: detailOf('a row that tells of it', `${size} bytes that no row tells of`),
    ...(done === undefined ? {} : { action: done.action }),
  };
}

export function reportOf(
  findings: readonly FsckFinding[],
  rest: Pick<FsckReport, 'state' | 'seconds'> &
    Partial<Pick<FsckReport, 'aside'>> & {
      readonly checked: Pick<FsckCounts, 'contents' | 'bytes'>;
    },
): FsckReport {
  const { state, seconds, aside, checked } = rest;
  const count = (outcome: Outcome) => findings.filter((found) => found.outcome === outcome).length;
  return {
    state,
    clean: findings.length === 0,
    findings,
    counts: {
      left: count('left'),
      repaired: count('repaired'),
      quarantined: count('quarantined'),
      ...checked,
    },
    seconds,
    ...(aside === undefined ? {} : { aside }),
  };
}
