/**
 * Files whose bytes the kernel reads and writes itself (passthrough), from their first open to the
 * moment nobody holds them open or mapped: what we know of their sizes and times is asked of the
 * disk whenever somebody wants to know.
 *
 * Invariants: all opens of a live file use one backing id, and its backing file is never exchanged
 * (the kernel refuses another one with EIO); a row that the disk contradicts is put right before
 * anybody sees it (`sense`), and written with its next change, at the latest at rest.
 */
import { assert } from '../base/assert.ts';
import type { Clock, Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type ContentId, type Ino, NO_CONTENT } from '../base/ids.ts';
import { O_ACCMODE, O_RDWR } from '../base/posix.ts';
import type { ContentStore, Sealing, Sensed } from '../content/content.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import type { Handle } from './contract.ts';
import type { HandleTable, TablePlace } from './handle-table.ts';
import { StalePages } from './stale-pages.ts';

/** What a driver offers whose kernel can read and write local files by itself. */
export interface Passthrough {
  /** Registers an open file; its number. @throws OpError io. */
  register(fd: number): number;
  /** Never throws: it is told of what is committed already. */
  unregister(backing: number): void;
}

export interface Live {
  readonly ino: Ino;
  /** What lies in the backing file. */
  content: ContentId;
  /** Undefined after a start, until somebody opens the file again. */
  backing: number | undefined;
  /** Whether that number is its slot's, and stays with it. */
  isInSlot: boolean;
  /** Whether somebody may write; else the object is at rest. */
  isWritable: boolean;
  /** Whether somebody may write through a mapping, which the kernel says nothing about. */
  isMappable: boolean;
  /** Made by the open that made it live: the kernel has no pages of it. */
  readonly isNew: boolean;
  /** The object at rest whose bytes it began with; NO_CONTENT when there was none. */
  copiedFrom: ContentId;
  /** What the object was before it was opened for writing, and the copy of it made then. */
  before: { readonly sealing: Sealing; readonly aside: ContentId } | undefined;
  /** Whether the bytes changed since it is writable. */
  isChanged: boolean;
  /** What the disk said last, and what it said when the row was last written. */
  seen: Sensed;
  saved: Sensed;
  row: InodeRow;
  /** While a change of ours is not carried out on the disk yet. */
  isHeld: boolean;
  /** Where the handle table has `saved`. */
  place: TablePlace;
}

const NS_PER_S = 1_000_000_000;
/** The longest a tick of the kernel lasts (CONFIG_HZ=100). */
const TICK_NS = 10_000_000;

/** A row the kernel may keep only for this moment is marked. */
export interface MarkedRow extends InodeRow {
  isMappable?: boolean;
}

export interface LiveFilesOptions {
  readonly content: ContentStore;
  readonly clock: Clock;
  readonly table: HandleTable;
  /** Counts bytes that came or went in the row's tree. */
  readonly charge: (row: InodeRow, bytes: number) => void;
}

export class LiveFiles {
  readonly #content: ContentStore;
  readonly #charge: (row: InodeRow, bytes: number) => void;
  readonly #clock: Clock;
  readonly #table: HandleTable;
  readonly #files = new Map<Ino, Live>();
  /** Backing ids of slots: a slot serves one file after another. */
  readonly #slots = new Map<number, number>();
  /** Nobody has them open, and somebody may have them mapped. */
  readonly lingering = new Set<Ino>();
  /** Of these the kernel may keep pages that are not true any more. */
  readonly stalePages = new StalePages();
  #passthrough: Passthrough | undefined;

  constructor({ content, clock, table, charge }: LiveFilesOptions) {
    this.#content = content;
    this.#clock = clock;
    this.#table = table;
    this.#charge = charge;
    content.direct.whenSlotGone((slot) => this.#forgetSlot(slot));
  }

  get size(): number {
    return this.#files.size;
  }

  get isOffered(): boolean {
    return this.#passthrough !== undefined;
  }

  /**
   * A kernel that can do it is there. `isProven`: it did with this disk, and may have files open in this
   * way, which it then opens in no other; a disk that is full by now is no reason to stop.
   * @throws OpError when it will not with this disk.
   */
  attach(passthrough: Passthrough, isProven = false): void {
    try {
      const { slot, fd } = this.#content.direct.prepare();
      this.#slots.set(slot, passthrough.register(fd));
    } catch (error) {
      // Files that it has are opened by their numbers, whatever keeps it from new ones.
      const isOperating = error instanceof OpError && error.failure !== 'internal';
      if (!isProven || !isOperating) throw error;
    }
    this.#passthrough = passthrough;
  }

  /** It is gone, and all its backing ids with it. */
  detach(): void {
    this.#passthrough = undefined;
    this.#slots.clear();
    this.stalePages.clear();
    for (const live of this.#files.values()) live.backing = undefined;
  }

  find(ino: Ino): Live | undefined {
    return this.#files.get(ino);
  }

  all(): IterableIterator<Live> {
    return this.#files.values();
  }

  /**
   * From now on the file is live. `seen`: what the disk says of it; by default its row and its object
   * are in step. @throws OpError integrity, io.
   */
  add(
    tx: Tx | undefined,
    row: InodeRow,
    given: Pick<Live, 'isWritable' | 'isMappable' | 'isNew'> & Partial<Pick<Live, 'copiedFrom'>>,
    seen: Sensed = this.#content.direct.senseAtRest(row.content),
  ): Live {
    assert(!this.#files.has(row.ino) && row.content !== NO_CONTENT, 'a file becomes live once');
    const live: Live = {
      isWritable: given.isWritable,
      isMappable: given.isMappable,
      isNew: given.isNew,
      copiedFrom: given.copiedFrom ?? NO_CONTENT,
      before: undefined,
      ino: row.ino,
      content: row.content,
      backing: undefined,
      isInSlot: false,
      isChanged: false,
      seen,
      saved: seen,
      row,
      isHeld: false,
      place: this.#table.addSaved(row.ino, seen),
    };
    this.#files.set(row.ino, live);
    tx?.onRollback(() => {
      this.#files.delete(row.ino);
      this.#table.remove(live.place);
      this.letGo(live);
    });
    this.#mark(live);
    return live;
  }

  remove(tx: Tx | undefined, live: Live): void {
    this.#files.delete(live.ino);
    const row: MarkedRow = live.row;
    delete row.isMappable;
    tx?.onRollback(() => this.#files.set(live.ino, live));
    if (tx === undefined) this.#table.remove(live.place);
    else tx.afterCommit(() => this.#table.remove(live.place));
  }

  /** The kernel has had it open, by that number, since before this process. */
  adopt(live: Live, { backing, flags }: Required<Pick<Handle, 'backing' | 'flags'>>): void {
    live.isMappable ||= live.isWritable && (flags & O_ACCMODE) === O_RDWR;
    this.#mark(live);
    if (live.backing !== undefined || backing === undefined) return;
    const slot = this.#content.direct.slotOf(live.content)?.slot;
    live.backing = backing;
    live.isInSlot = slot !== undefined;
    if (slot !== undefined) this.#slots.set(slot, backing);
  }

  /** The number the kernel knows the backing file by. @throws OpError io. */
  backingOf(live: Live): number {
    if (live.backing !== undefined) return live.backing;
    const { direct } = this.#content;
    const lent = direct.slotOf(live.content);
    live.isInSlot = lent !== undefined;
    if (lent !== undefined) {
      live.backing = this.#slots.get(lent.slot) ?? this.#register(lent.fd);
      this.#slots.set(lent.slot, live.backing);
      return live.backing;
    }
    live.backing = direct.lend(live.content, (fd) => this.#register(fd));
    return live.backing;
  }

  /** The file is live no more. The number of a slot ends with the slot. */
  letGo(live: Live): void {
    const { backing } = live;
    live.backing = undefined;
    if (backing !== undefined && !live.isInSlot) this.#passthrough?.unregister(backing);
  }

  /** Puts the row right when the disk says something else than before; see `takeOver` for `now`. */
  sense(row: InodeRow, now?: Instant): void {
    const live = this.#files.get(row.ino);
    if (live === undefined || live.isHeld) return;
    const seen = this.#content.direct.sense(live.content);
    const known = live.row === row ? live.seen : live.saved;
    live.row = row;
    live.seen = seen;
    this.#mark(live);
    if (!isSameWrite(seen, known) || seen.size !== known.size) this.takeOver(row, now);
    if (!isSameRead(seen, known)) takeAtime(row, seen);
  }

  /**
   * Somebody may read from now on. The disk's clock is that of the last tick: of a file that it has
   * seen read in this one it would show no other read, so it is made to forget that.
   */
  expectRead(live: Live): void {
    if (live.seen.atimeS === 0) return;
    this.#content.direct.unread(live.content);
    const never = { atimeS: 0, atimeNs: 0 };
    live.seen = { ...live.seen, ...never };
    live.saved = { ...live.saved, ...never };
    this.#table.setSaved(live.place, live.saved);
  }

  /** The bytes of a live file changed, until `now`: the row follows what the disk said last. */
  takeOver(row: InodeRow, now: Instant = this.#clock.now()): void {
    const live = this.#files.get(row.ino);
    assert(live !== undefined, 'only live files change past us');
    const { seen } = live;
    live.isChanged = true;
    if (seen.size !== row.size) {
      this.#charge(row, seen.size - row.size);
      row.size = seen.size;
    }
    row.version += 1;
    takeTimes(row, seen, now);
    // The row may not be written before a kill.
    const { version, ctimeS: s, ctimeNs: ns } = row;
    this.#table.setShown(live.place, { s, ns, version });
  }

  /** The disk was changed by us, and the row says so already. @throws OpError io, integrity. */
  restamp(ino: Ino): void {
    const live = this.#files.get(ino);
    if (live === undefined) return;
    live.isChanged = true;
    live.seen = this.#content.direct.sense(live.content);
  }

  /** What the disk says counts again once the transaction is over. */
  hold(tx: Tx, live: Live): void {
    live.isHeld = true;
    const end = () => {
      live.isHeld = false;
    };
    tx.onRollback(end);
    tx.afterCommit(() => {
      end();
      try {
        this.restamp(live.ino);
      } catch (error) {
        // The change is made, and answered as made. Who looks at the file next asks the disk anew.
        if (!(error instanceof OpError)) throw error;
      }
    });
  }

  /** The row was written; the transaction has still to commit. */
  written(tx: Tx, { ino, version }: InodeRow): void {
    const live = this.#files.get(ino);
    if (live === undefined) return;
    const { seen } = live;
    // For a kill right behind the commit: what its row says already would count as written after it.
    const ahead = this.#table.addAhead(ino, seen, version);
    tx.onRollback(() => this.#table.remove(ahead));
    tx.afterCommit(() => {
      live.saved = seen;
      if (this.#files.get(ino) === live) this.#table.setSaved(live.place, seen);
      this.#table.remove(ahead);
    });
  }

  #mark(live: Live): void {
    const row: MarkedRow = live.row;
    row.isMappable = live.isMappable;
  }

  #forgetSlot(slot: number): void {
    const backing = this.#slots.get(slot);
    if (backing === undefined) return;
    this.#slots.delete(slot);
    this.#passthrough?.unregister(backing);
  }

  #register(fd: number): number {
    const passthrough = this.#passthrough;
    if (passthrough === undefined) throw new OpError('io', 'register a backing file');
    return passthrough.register(fd);
  }
}

/** Whether there is no room for what was to be done. */
export const isFull = (error: unknown): boolean =>
  error instanceof OpError && (error.failure === 'no-space' || error.failure === 'quota-exceeded');

const isSameWrite = (one: Sensed, other: Sensed): boolean =>
  one.mtimeNs === other.mtimeNs && one.mtimeS === other.mtimeS;

/** Whether nobody read between the two, as far as the disk says. */
export const isSameRead = (one: Sensed, other: Sensed): boolean =>
  one.atimeNs === other.atimeNs && one.atimeS === other.atimeS;

/** Negative when `one` is before `other`, positive when behind it. */
export const compareTimes = (one: Instant, other: Instant): number =>
  one.s === other.s ? one.ns - other.ns : one.s - other.s;

/**
 * The disk's clock is that of the last tick, ours is exact: what happened after a change must not
 * seem to have happened with it or before it. Then it happened within the tick that followed.
 */
function takeTimes(row: InodeRow, { mtimeS, mtimeNs }: Sensed, now: Instant): void {
  const changed = { s: row.ctimeS, ns: row.ctimeNs };
  const told = { s: mtimeS, ns: mtimeNs };
  const written = compareTimes(told, changed) > 0 ? told : earlier(tickAfter(told), now);
  if (compareTimes(written, changed) > 0) {
    row.ctimeS = written.s;
    row.ctimeNs = written.ns;
  }
  row.mtimeS = row.ctimeS;
  row.mtimeNs = row.ctimeNs;
}

/** A read that the disk saw with the last write, or behind it, is not earlier than that in the row. */
function takeAtime(row: InodeRow, seen: Sensed): void {
  const told = { s: seen.atimeS, ns: seen.atimeNs };
  const written = { s: row.mtimeS, ns: row.mtimeNs };
  const isBehind = compareTimes(told, { s: seen.mtimeS, ns: seen.mtimeNs }) >= 0;
  const read = isBehind && compareTimes(told, written) < 0 ? written : told;
  if (compareTimes(read, { s: row.atimeS, ns: row.atimeNs }) <= 0) return;
  row.atimeS = read.s;
  row.atimeNs = read.ns;
}

const earlier = (one: Instant, other: Instant): Instant =>
  compareTimes(one, other) < 0 ? one : other;

function tickAfter({ s, ns }: Instant): Instant {
  const end = ns + TICK_NS;
  return end < NS_PER_S ? { s, ns: end } : { s: s + 1, ns: end - NS_PER_S };
}
