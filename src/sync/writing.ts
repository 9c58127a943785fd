/**
 * Files that somebody is writing, as a publication shows them: as the journal's records tell of them, that is
 * without what the write sessions under way did, which have no record yet.
 *
 * Invariants: bytes of two moments are never mixed; where the bytes of before are not kept, a session gets time to
 * end, and then the file is copied as it is at one moment, or there is no publication.
 */
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type ContentId, type Ino, NO_CONTENT } from '../base/ids.ts';
import {
  COPY_BYTES_PER_CALL_MAX,
  HISTORY_COPY_BYTES_MAX,
  SYNC_COPIED_BYTES_MAX,
  SYNC_SETTLE_S,
} from '../base/limits.ts';
import type { ContentStore } from '../content/content.ts';
import type { InodeRow, Journal, WriteSessionRow } from '../journal/journal.ts';

export interface WritingPorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly clock: Clock;
}

/** Bytes that stay as they are, and the row that tells of them. */
export interface Kept {
  readonly content: ContentId;
  readonly isCopy: boolean;
  readonly row: Readonly<InodeRow>;
}

/** Copies of a file that the kernel writes meanwhile, before it is given up. */
const COPIES_MAX = 4;
/** The longest a tick of the kernel lasts (CONFIG_HZ=100): times of files may be as coarse. */
const TICK_MS = 10;
const NS_PER_MS = 1_000_000;

export class Writing {
  readonly #ports: WritingPorts;
  /** Sessions of one file that overlap say the same of what was before. */
  readonly #sessions: ReadonlyMap<Ino, WriteSessionRow>;

  constructor(ports: WritingPorts) {
    this.#ports = ports;
    this.#sessions = new Map(ports.journal.sessions.all().map((session) => [session.ino, session]));
  }

  /**
   * Gives sessions whose bytes of before are not kept the time to end.
   * @throws OpError locked.
   */
  demandSettled(superblock: InodeRow['superblock']): void {
    const { clock, journal } = this.#ports;
    const nowS = clock.now().s;
    for (const session of this.#sessions.values()) {
      const isYoung = nowS - session.begunS < SYNC_SETTLE_S;
      if (!isYoung || session.oldSize === 0 || this.#isKept(session)) continue;
      if (journal.inodes.get(session.ino)?.superblock === superblock) throw locked(session);
    }
  }

  /** The row of a file as it was before its session; of any other, as it is. */
  rowOf(row: InodeRow): Readonly<InodeRow> {
    const session = this.#sessions.get(row.ino);
    if (session === undefined || (session.oldSize > 0 && !this.#isKept(session))) return row;
    const { before, oldSize: size } = session;
    // Its times may have been set since.
    if (before['version'] === row.version) return { ...row, size };
    const [mtimeS = row.mtimeS, mtimeNs = row.mtimeNs] = timesOf(before).slice(2);
    return { ...row, size, mtimeS, mtimeNs };
  }

  /** What the file of a row shows, or showed before its session. */
  contentOf(row: Readonly<InodeRow>): ContentId {
    const session = this.#sessions.get(row.ino);
    if (session === undefined) return row.content;
    if (session.oldSize === 0) return NO_CONTENT;
    return this.#isKept(session) ? session.oldContent : row.content;
  }

  /**
   * An object with the bytes of the file that `row`, as `rowOf` gave it, tells of, which stays as it is and is held.
   * Inside a transaction. @throws OpError locked: it changed under each copy; no-space, io.
   */
  keep(row: Readonly<InodeRow>): Kept {
    const { contents } = this.#ports;
    const content = this.contentOf(row);
    if (content !== NO_CONTENT && contents.direct.has(content)) return this.#copyOfMoment(row);
    if (row.size === 0) return { content: NO_CONTENT, isCopy: false, row };
    if (this.#isAtRest(content, row.size)) {
      contents.hold(content);
      return { content, isCopy: false, row };
    }
    const copy = copyOf(contents, content);
    if (contents.size(copy) !== row.size) contents.truncate(copy, row.size);
    return this.#settled(copy, row);
  }

  /**
   * Nobody has a turn while files are copied: there may be only so much of it.
   * @param rows as `rowOf` gave them. @throws OpError locked.
   */
  demandCopiable(rows: Iterable<Readonly<InodeRow>>): void {
    let bytes = 0;
    for (const row of rows) {
      bytes += this.#copiedBytes(row);
      if (bytes > SYNC_COPIED_BYTES_MAX) throw tooLarge(this.#sessions.get(row.ino));
    }
  }

  #copiedBytes(row: Readonly<InodeRow>): number {
    if (!this.#sessions.has(row.ino)) return 0;
    const { contents } = this.#ports;
    const content = this.contentOf(row);
    if (content === NO_CONTENT) return 0;
    const isDirect = contents.direct.has(content);
    if (!isDirect && (row.size === 0 || this.#isAtRest(content, row.size))) return 0;
    const size = isDirect ? contents.direct.sense(content).size : contents.size(content);
    const isShared = size > HISTORY_COPY_BYTES_MAX && contents.canFork(content);
    return isShared ? 0 : size;
  }

  #isKept({ oldContent, oldSize }: WriteSessionRow): boolean {
    return this.#isAtRest(oldContent, oldSize);
  }

  #isAtRest(content: ContentId, size: number): boolean {
    const row = content === NO_CONTENT ? undefined : this.#ports.contents.row(content);
    return row !== undefined && row.state !== 'open' && row.place !== 'memory' && row.size === size;
  }

  /** The kernel writes to it while it is copied, perhaps: then its time, or its size, is another one. */
  #copyOfMoment(row: Readonly<InodeRow>): Kept {
    const { contents, clock } = this.#ports;
    for (let copies = 0; copies < COPIES_MAX; copies += 1) {
      const before = contents.direct.sense(row.content);
      const began = clock.now();
      const copy = copyOf(contents, row.content);
      const after = contents.direct.sense(row.content);
      const sinceMs = (began.s - before.mtimeS) * 1000 + (began.ns - before.mtimeNs) / NS_PER_MS;
      const isSame =
        after.size === before.size &&
        after.mtimeS === before.mtimeS &&
        after.mtimeNs === before.mtimeNs;
      if (!isSame || sinceMs <= TICK_MS) {
        contents.discard(copy);
        continue;
      }
      return this.#settled(copy, { ...row, size: after.size, ...laterOf(row, after) });
    }
    throw locked(this.#sessions.get(row.ino));
  }

  #settled(copy: ContentId, row: Readonly<InodeRow>): Kept {
    const { contents } = this.#ports;
    if (row.size === 0) {
      contents.discard(copy);
      return { content: NO_CONTENT, isCopy: false, row };
    }
    contents.hold(copy);
    contents.freeze(copy);
    return { content: copy, isCopy: true, row };
  }
}

type Written = Pick<InodeRow, 'mtimeS' | 'mtimeNs'>;

const laterOf = (one: Written, other: Written): Written => {
  const { mtimeS, mtimeNs } =
    (other.mtimeS - one.mtimeS || other.mtimeNs - one.mtimeNs) > 0 ? other : one;
  return { mtimeS, mtimeNs };
};

function copyOf(contents: ContentStore, id: ContentId): ContentId {
  if (id === NO_CONTENT) return contents.create('local');
  const isMemory = contents.row(id)?.place === 'memory';
  const fork = isMemory ? undefined : contents.fork(id);
  if (fork !== undefined) return fork;
  const size = contents.size(id);
  // The disk was believed to share bytes, and cannot.
  if (size > SYNC_COPIED_BYTES_MAX) throw tooLarge(undefined);
  const copy = contents.create('local');
  for (let at = 0; at < size; ) {
    at += contents.copy(id, at, copy, at, Math.min(COPY_BYTES_PER_CALL_MAX, size - at));
  }
  return copy;
}

/** Seconds and nanoseconds of atime, mtime and btime. */
function timesOf(before: Readonly<Record<string, unknown>>): readonly number[] {
  const { times } = before;
  const isTimes = Array.isArray(times) && times.every((one) => typeof one === 'number');
  return isTimes ? (times as readonly number[]) : [];
}

const locked = (session: WriteSessionRow | undefined): OpError =>
  new OpError('locked', `publish ${session?.path ?? 'a file'}`, {
    hint: 'it is being written to; try again',
  });

/** Why such a file is not published now. */
export const tooLarge = (session: Pick<WriteSessionRow, 'path'> | undefined): OpError =>
  new OpError('locked', `publish ${session?.path ?? 'a file'}`, {
    hint: 'it is large and being written to; it is published when it is closed',
  });
