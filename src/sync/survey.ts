/**
 * A look through all files: what of their bytes is here, what of that must stay, and what may go
 * first. Reads only, a page at a time.
 *
 * Invariant: what is not known to be free to go stays.
 */
import type { ContentId, Ino } from '../base/ids.ts';
import { EVICTED_AT_ONCE_MAX, EVICTED_BYTES_MIN, PINNED_AWAY_MAX } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import { CONTENT_PROFILE } from '../content/content.ts';
import type { Journal, ShownRow, TargetRow } from '../journal/journal.ts';

/** Whoever knows what is done with files. */
export interface FilesInUse {
  /** Whether somebody has it open or mapped. */
  isInUse(ino: Ino): boolean;
  /** Whether its bytes shall stay; `known` remembers directories, within one look. */
  isPinned(ino: Ino, known?: Map<Ino, boolean>): boolean;
}

export interface SurveyPorts {
  readonly journal: Journal;
  readonly files: FilesInUse;
  /** What is held in a store of a file as it is now. */
  readonly ladder: { holding(ino: Ino): TargetRow | undefined };
  /** Content that was read from elsewhere lately, the latest last. */
  recent(): readonly ContentId[];
}

export interface SurveyRun {
  readonly signal: AbortSignal;
  /** Whether something else than the tree needs it here. */
  isNeeded(content: ContentId): boolean;
  /** Whether it was to go a moment ago and had to stay: it takes nobody's place among the victims. */
  isRefused(content: ContentId): boolean;
}

/** Content that may go, if a store has it. */
export interface Victim {
  readonly content: ContentId;
  /** All files that show it. */
  readonly inos: readonly Ino[];
  /** That its going frees. */
  readonly bytes: number;
  /** Its place among those read lately; -1: it is none. */
  readonly recency: number;
  /** When it was read last, by its access time. */
  readonly atimeS: number;
  readonly atimeNs: number;
}

export interface Survey {
  /** Bytes of files that are here and have a CID. */
  readonly cachedBytes: number;
  /** Those that stay because somebody pinned them. */
  readonly pinnedBytes: number;
  /** Those that may go as far as is known. */
  readonly evictableBytes: number;
  /** What may go, first those that are to go first. */
  readonly victims: readonly Victim[];
  /** Pinned files that are elsewhere. */
  readonly away: readonly Ino[];
}

/** Rows read at once, and files looked at before other work gets its turn. */
const ROWS_PER_PAGE = 256;
const FILES_PER_TURN = 64;
/** Objects that several files show, remembered until all of these are found; beyond, they stay. */
const SHARED_MAX = 100_000;

/** The first are to go first: not read for long, and of those the largest. */
const byAge = (one: Victim, other: Victim): number =>
  one.recency - other.recency ||
  one.atimeS - other.atimeS ||
  one.atimeNs - other.atimeNs ||
  other.bytes - one.bytes;

/** @throws the signal's reason. */
export async function survey(ports: SurveyPorts, run: SurveyRun): Promise<Survey> {
  const { signal } = run;
  const look = new Look(ports, run);
  const { contents } = ports.journal;
  let looked = 0;
  for (let after = 0 as Ino | 0; ; ) {
    const page: readonly ShownRow[] = contents.shown(after, ROWS_PER_PAGE);
    const last = page.at(-1);
    if (last === undefined || last.ino <= after) return look.end();
    after = last.ino;
    for (const row of page) {
      look.take(row);
      looked += 1;
      if (looked % FILES_PER_TURN !== 0) continue;
      await turn();
      signal.throwIfAborted();
    }
  }
}

class Look {
  readonly #ports: SurveyPorts;
  readonly #run: SurveyRun;
  readonly #known = new Map<Ino, boolean>();
  readonly #shared = new Map<ContentId, ShownRow[]>();
  readonly #recency: ReadonlyMap<ContentId, number>;
  #cachedBytes = 0;
  #pinnedBytes = 0;
  #evictableBytes = 0;
  #victims: Victim[] = [];
  readonly #away: Ino[] = [];

  constructor(ports: SurveyPorts, run: SurveyRun) {
    this.#ports = ports;
    this.#run = run;
    this.#recency = new Map(ports.recent().map((id, index) => [id, index]));
  }

  take(row: ShownRow): void {
    if (row.refs === 1) {
      this.#judge([row]);
      return;
    }
    const known = this.#shared.get(row.content);
    if (known !== undefined) known.push(row);
    else if (this.#shared.size < SHARED_MAX) this.#shared.set(row.content, [row]);
  }

  end(): Survey {
    for (const rows of this.#shared.values()) this.#judge(rows);
    this.#cut();
    return {
      cachedBytes: this.#cachedBytes,
      pinnedBytes: this.#pinnedBytes,
      evictableBytes: this.#evictableBytes,
      victims: this.#victims,
      away: this.#away,
    };
  }

  /** All files that show one object, or those of them that were found. */
  #judge(rows: readonly ShownRow[]): void {
    const [first] = rows;
    if (first === undefined) return;
    const { bytes, size, refs } = first;
    this.#cachedBytes += bytes;
    const { files } = this.#ports;
    const isPinned = rows.some(({ ino }) => files.isPinned(ino, this.#known));
    if (isPinned) {
      this.#pinnedBytes += bytes;
      if (bytes < size && this.#away.length < PINNED_AWAY_MAX) this.#away.push(first.ino);
      return;
    }
    if (bytes === 0 || rows.length !== refs) return;
    if (rows.some(({ ino }) => files.isInUse(ino)) || !this.#mayGo(rows, first)) return;
    if (this.#run.isNeeded(first.content)) return;
    this.#evictableBytes += bytes;
    if (this.#run.isRefused(first.content)) return;
    this.#victims.push(this.#victimOf(rows, first));
    if (this.#victims.length >= 2 * EVICTED_AT_ONCE_MAX) this.#cut();
  }

  /** A store must have said that it has it. */
  #mayGo(rows: readonly ShownRow[], { state, size, profile }: ShownRow): boolean {
    const isWorthIt = size >= EVICTED_BYTES_MIN && profile === CONTENT_PROFILE;
    if (state === 'sealed' && !isWorthIt) return false;
    return rows.some(({ ino }) => this.#ports.ladder.holding(ino) !== undefined);
  }

  #victimOf(rows: readonly ShownRow[], { content, bytes }: ShownRow): Victim {
    const [last = rows[0]] = [...rows].sort(
      (one, other) => other.atimeS - one.atimeS || other.atimeNs - one.atimeNs,
    );
    return {
      ...{ content, bytes, inos: rows.map(({ ino }) => ino) },
      recency: this.#recency.get(content) ?? -1,
      ...{ atimeS: last?.atimeS ?? 0, atimeNs: last?.atimeNs ?? 0 },
    };
  }

  /** The oldest stay among the victims. */
  #cut(): void {
    this.#victims = this.#victims.sort(byAge).slice(0, EVICTED_AT_ONCE_MAX);
  }
}
