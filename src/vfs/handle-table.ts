/**
 * The handle table: what the kernel holds of a connection, in memory that outlives the process, so
 * that the daemon after a killed one can go on where it was. Opens are in no journal; this is where
 * they are written down, before the kernel is told of them.
 *
 * Invariants: a record is whole when its kind is set, which comes last; a kill between any two stores
 * leaves a table that `adopt` can read. Numbers lie as the machine has them, for one boot only.
 */
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { Fh, Ino } from '../base/ids.ts';
import { HANDLE_TABLE_BYTES_MAX, HANDLE_TABLE_BYTES_MIN } from '../base/limits.ts';
import { OwnMemory } from './table-memory.ts';
import type {
  Agreement,
  HeldHandle,
  NewHandle,
  SavedFile,
  ShownFile,
  TableMemory,
} from './table-records.ts';

/** `KTHT`, and the form of the table: one of another form cannot be taken over. */
const MAGIC = 0x4b544854;
const FORM = 2;

const HEADER_BYTES = 4096;
/** Numbers of 8 bytes. */
const HEADER = { generation: 1, lastFh: 2, notifiedSeq: 3 } as const;
/** Numbers of 4 bytes. */
const WORDS = {
  magic: 0,
  form: 1,
  isAgreed: 8,
  minor: 9,
  maxReadahead: 10,
  flags: 11,
  flags2: 12,
  /** Records behind this one were never used. */
  used: 13,
  /** Halves of the number of the request that is being served. */
  servedLow: 14,
  servedHigh: 15,
  /** Halves of the numbers of requests that are under way and answered later; 0 and 0: a free place. */
  awaited: 16,
  /** From here on: requests that were being served when the daemon died of itself. */
  deaths: 32,
} as const;
/** More of them are not noted. */
const AWAITED_MAX = 8;
/** Of one request: halves of its number, and how many daemons it cost. */
const DEATH_WORDS = 3;
const DEATHS_MAX = 64;

const RECORD_BYTES = 64;
const RECORD_NUMBERS = RECORD_BYTES / 8;
const RECORD_WORDS = RECORD_BYTES / 4;
const RECORDS_MAX = (HANDLE_TABLE_BYTES_MAX - HEADER_BYTES) / RECORD_BYTES;

const KIND = { free: 0, file: 1, directory: 2, backing: 3, saved: 4, ahead: 5 } as const;
/** Fields of a record, in numbers of 8 bytes. */
const NUMBER = { fh: 1, ino: 2, size: 1, shownS: 3, mtimeS: 4, atimeS: 5 } as const;
/** In numbers of 4 bytes. */
const WORD = {
  kind: 0,
  marks: 1,
  version: 1,
  uniqueLow: 6,
  uniqueHigh: 7,
  flags: 8,
  uid: 9,
  gid: 10,
  pid: 11,
  backing: 12,
  openFlags: 13,
  mtimeNs: 12,
  atimeNs: 13,
  shownNs: 14,
  shownVersion: 15,
} as const;

/** Bits of `marks`. */
const MARK = { told: 1, revoked: 2 } as const;

const TWO_TO_32 = 2 ** 32;

/** Counts and numbers of things: no fraction, not below 0. */
const isNumber = (value: number | undefined): boolean =>
  value !== undefined && Number.isSafeInteger(value) && value >= 0;

/** The number of a record. */
export type TablePlace = number;

export class HandleTable {
  readonly #memory: TableMemory;
  #numbers: Float64Array = new Float64Array(0);
  #words: Uint32Array = new Uint32Array(0);
  readonly #free: TablePlace[] = [];
  /** Records of a daemon before us about files the kernel writes. */
  readonly #left = new Map<Ino, TablePlace>();

  /** The table that lies there, or an empty one in its place. @throws OpError no-space. */
  private constructor(memory: TableMemory, isFresh: boolean) {
    this.#memory = memory;
    this.#map(Math.max(memory.size, HANDLE_TABLE_BYTES_MIN));
    if (!isFresh) return;
    // No record is looked at before `used` counts it.
    this.#words.fill(0, 0, HEADER_BYTES / 4);
    this.#words[WORDS.form] = FORM;
    this.#words[WORDS.magic] = MAGIC;
  }

  /** An empty table, whatever lies there. @throws OpError no-space. */
  static make(memory: TableMemory = new OwnMemory()): HandleTable {
    return new HandleTable(memory, true);
  }

  /**
   * The table that another process left there.
   * @returns undefined when it is none, or of a form that this version does not know, or nothing
   *   was agreed with the kernel yet, or it holds what nobody writes there. @throws OpError no-space.
   */
  static adopt(memory: TableMemory): HandleTable | undefined {
    if (memory.size > HANDLE_TABLE_BYTES_MAX) return undefined;
    const table = new HandleTable(memory, false);
    const isOurs = table.#word(WORDS.magic) === MAGIC && table.#word(WORDS.form) === FORM;
    if (!isOurs || table.agreement === undefined) return undefined;
    const end = HEADER_BYTES + table.#word(WORDS.used) * RECORD_BYTES;
    if (end > memory.size || !table.#isSound()) return undefined;
    table.#free.push(...table.#placesOf(KIND.free));
    return table;
  }

  /** Whether all numbers are such as are given out, and no handle is there twice. */
  #isSound(): boolean {
    const { lastFh, notifiedSeq } = this;
    const inHeader = [this.agreement?.generation, lastFh, notifiedSeq];
    if (!inHeader.every(isNumber)) return false;
    const seen = new Set<Fh>();
    for (const { fh, ino } of this.handles()) {
      if (!isNumber(fh) || !isNumber(ino) || fh === 0 || ino === 0) return false;
      if (fh > lastFh || seen.has(fh)) return false;
      seen.add(fh);
    }
    return this.#placesOf(KIND.saved).every((place) => {
      const { ino, size, mtimeS, atimeS } = this.#savedAt(place);
      const areTimes = Number.isSafeInteger(mtimeS) && Number.isSafeInteger(atimeS);
      return isNumber(ino) && isNumber(size) && areTimes;
    });
  }

  /** The mount works, on these terms. */
  agree(agreement: Agreement): void {
    const words = this.#words;
    this.#numbers[HEADER.generation] = agreement.generation;
    words[WORDS.minor] = agreement.minor;
    words[WORDS.maxReadahead] = agreement.maxReadahead;
    words[WORDS.flags] = agreement.flags;
    words[WORDS.flags2] = agreement.flags2;
    words[WORDS.isAgreed] = 1;
  }

  /** Undefined before there is a mount. */
  get agreement(): Agreement | undefined {
    if (this.#words[WORDS.isAgreed] !== 1) return undefined;
    return {
      generation: this.#numbers[HEADER.generation] ?? 0,
      minor: this.#word(WORDS.minor),
      maxReadahead: this.#word(WORDS.maxReadahead),
      flags: this.#word(WORDS.flags),
      flags2: this.#word(WORDS.flags2),
    };
  }

  /** Numbers of handles up to this one were given out. */
  get lastFh(): number {
    return this.#numbers[HEADER.lastFh] ?? 0;
  }

  set lastFh(fh: number) {
    this.#numbers[HEADER.lastFh] = fh;
  }

  /** The kernel was told of everything that records up to this one say. */
  get notifiedSeq(): number {
    return this.#numbers[HEADER.notifiedSeq] ?? 0;
  }

  set notifiedSeq(seq: number) {
    this.#numbers[HEADER.notifiedSeq] = seq;
  }

  /** A request is served from now on; 0 and 0: none is. */
  serving(uniqueLow: number, uniqueHigh: number): void {
    this.#words[WORDS.servedLow] = uniqueLow;
    this.#words[WORDS.servedHigh] = uniqueHigh;
  }

  /** The request that was being served when the process before ended; 0: none was. */
  get served(): number {
    return this.#word(WORDS.servedHigh) * TWO_TO_32 + this.#word(WORDS.servedLow);
  }

  /** A request is under way from now on, and answered later. */
  awaiting(unique: number): void {
    const place = this.#awaitedAt(0);
    if (place === undefined) return;
    this.#words[place + 1] = Math.floor(unique / TWO_TO_32);
    this.#words[place] = unique % TWO_TO_32;
  }

  /** It is under way no more. */
  awaited(unique: number): void {
    const place = this.#awaitedAt(unique);
    if (place !== undefined) this.#words.fill(0, place, place + 2);
  }

  /** Takes out the requests that were under way, beside the one served, when the process before ended. */
  takeAwaited(): number[] {
    const places = Array.from({ length: AWAITED_MAX }, (_, at) => WORDS.awaited + at * 2);
    const found = places.map((place) => this.#uniqueAt(place)).filter((unique) => unique !== 0);
    this.#words.fill(0, WORDS.awaited, WORDS.awaited + AWAITED_MAX * 2);
    return found;
  }

  #awaitedAt(unique: number): number | undefined {
    for (let at = 0; at < AWAITED_MAX; at++) {
      const place = WORDS.awaited + at * 2;
      if (this.#uniqueAt(place) === unique) return place;
    }
    return undefined;
  }

  /** That request was being served when a daemon died of itself: how often that is now. */
  addDeath(unique: number): number {
    const words = this.#words;
    let place: number = WORDS.deaths;
    // The first one that is free or its own; the last one when none is.
    for (let left = DEATHS_MAX; left > 1; left--, place += DEATH_WORDS) {
      if (words[place + 2] === 0 || this.#uniqueAt(place) === unique) break;
    }
    if (this.#uniqueAt(place) !== unique) words[place + 2] = 0;
    words[place] = unique % TWO_TO_32;
    words[place + 1] = Math.floor(unique / TWO_TO_32);
    const deaths = this.#word(place + 2) + 1;
    words[place + 2] = deaths;
    return deaths;
  }

  /** Requests that cost at least so many daemons. */
  poisonous(deathsMin: number): number[] {
    const found: number[] = [];
    for (let entry = 0; entry < DEATHS_MAX; entry++) {
      const place = WORDS.deaths + entry * DEATH_WORDS;
      if (this.#word(place + 2) >= deathsMin) found.push(this.#uniqueAt(place));
    }
    return found;
  }

  /** The kernel is about to be told of it. @throws OpError busy when there is no room. */
  addHandle(handle: NewHandle): TablePlace {
    if (handle.fh > this.lastFh) this.lastFh = handle.fh;
    const place = this.#take();
    const number = this.#number(place);
    const word = this.#wordOf(place);
    const words = this.#words;
    this.#numbers[number + NUMBER.fh] = handle.fh;
    this.#numbers[number + NUMBER.ino] = handle.ino;
    words[word + WORD.marks] = 0;
    words[word + WORD.uniqueLow] = handle.unique % TWO_TO_32;
    words[word + WORD.uniqueHigh] = Math.floor(handle.unique / TWO_TO_32);
    words[word + WORD.flags] = handle.flags;
    words[word + WORD.uid] = handle.uid;
    words[word + WORD.gid] = handle.gid;
    words[word + WORD.pid] = handle.pid;
    words[word + WORD.backing] = handle.backing ?? 0;
    words[word + WORD.openFlags] = handle.openFlags;
    words[word + WORD.kind] = handle.isDirectory ? KIND.directory : KIND.file;
    return place;
  }

  /** The kernel took the answer with that handle. */
  told(place: TablePlace): void {
    this.#mark(place, MARK.told);
  }

  /** A handle was taken from who holds it: the kernel does not know. */
  revoked(fh: Fh): void {
    const isOf = (place: TablePlace) => this.#numbers[this.#number(place) + NUMBER.fh] === fh;
    const place = this.#placesOf(KIND.file).find(isOf);
    if (place !== undefined) this.#mark(place, MARK.revoked);
  }

  #mark(place: TablePlace, mark: number): void {
    const at = this.#wordOf(place) + WORD.marks;
    this.#words[at] = this.#word(at) | mark;
  }

  /** The kernel knows a file by that number. */
  addBacking(backing: number): TablePlace {
    const place = this.#take();
    this.#words[this.#wordOf(place) + WORD.backing] = backing;
    this.#words[this.#wordOf(place) + WORD.kind] = KIND.backing;
    return place;
  }

  addSaved(ino: Ino, saved: SavedFile): TablePlace {
    const left = this.#left.get(ino);
    const place = left ?? this.#take();
    this.#left.delete(ino);
    this.#numbers[this.#number(place) + NUMBER.ino] = ino;
    if (left === undefined) this.#words[this.#wordOf(place) + WORD.shownVersion] = 0;
    this.setSaved(place, saved);
    this.#words[this.#wordOf(place) + WORD.kind] = KIND.saved;
    return place;
  }

  setSaved(place: TablePlace, { size, mtimeS, mtimeNs, atimeS, atimeNs }: SavedFile): void {
    const number = this.#number(place);
    const word = this.#wordOf(place);
    this.#numbers[number + NUMBER.size] = size;
    this.#numbers[number + NUMBER.mtimeS] = mtimeS;
    this.#numbers[number + NUMBER.atimeS] = atimeS;
    this.#words[word + WORD.mtimeNs] = mtimeNs;
    this.#words[word + WORD.atimeNs] = atimeNs;
  }

  /** What is saved of a file once a row of that version is committed, which it may not be yet. */
  addAhead(ino: Ino, saved: SavedFile, version: number): TablePlace {
    const place = this.#take();
    this.#numbers[this.#number(place) + NUMBER.ino] = ino;
    this.#words[this.#wordOf(place) + WORD.version] = version;
    this.#words[this.#wordOf(place) + WORD.shownVersion] = 0;
    this.setSaved(place, saved);
    this.#words[this.#wordOf(place) + WORD.kind] = KIND.ahead;
    return place;
  }

  /** Somebody may see that from now on. */
  setShown(place: TablePlace, { s, ns, version }: ShownFile): void {
    const word = this.#wordOf(place);
    // Half of it is nothing.
    this.#words[word + WORD.shownVersion] = 0;
    this.#numbers[this.#number(place) + NUMBER.shownS] = s;
    this.#words[word + WORD.shownNs] = ns;
    this.#words[word + WORD.shownVersion] = version;
  }

  /** The record is wanted no more. */
  remove(place: TablePlace): void {
    const kind = this.#word(this.#wordOf(place) + WORD.kind);
    assert(kind !== KIND.free, 'a record is removed once: two would get its place');
    this.#words[this.#wordOf(place) + WORD.kind] = KIND.free;
    this.#free.push(place);
  }

  handles(): (HeldHandle & { readonly place: TablePlace })[] {
    const files = this.#placesOf(KIND.file).map((place) => this.#handleAt(place, false));
    return [
      ...files,
      ...this.#placesOf(KIND.directory).map((place) => this.#handleAt(place, true)),
    ];
  }

  backings(): { readonly place: TablePlace; readonly backing: number }[] {
    return this.#placesOf(KIND.backing).map((place) => ({
      place,
      backing: this.#word(this.#wordOf(place) + WORD.backing),
    }));
  }

  /**
   * What was known of files the kernel writes; `versionOf` tells of which version their rows are.
   * Those that are not entered anew go by `dropLeft`.
   */
  leftSaved(
    versionOf: (ino: Ino) => number | undefined = () => undefined,
  ): ReadonlyMap<Ino, SavedFile> {
    this.#takeAhead(versionOf);
    const found = new Map<Ino, SavedFile>();
    for (const place of this.#placesOf(KIND.saved)) {
      const { ino, ...saved } = this.#savedAt(place);
      this.#left.set(ino, place);
      found.set(ino, saved);
    }
    return found;
  }

  /** The daemon before may have died between a commit and writing down what comes with it. */
  #takeAhead(versionOf: (ino: Ino) => number | undefined): void {
    const saved = new Map(
      this.#placesOf(KIND.saved).map((place) => [this.#savedAt(place).ino, place]),
    );
    for (const ahead of this.#placesOf(KIND.ahead)) {
      const { ino, ...known } = this.#savedAt(ahead);
      const version = versionOf(ino);
      const place = saved.get(ino);
      const isCommitted = version !== undefined && version % TWO_TO_32 === this.#versionAt(ahead);
      if (isCommitted && place !== undefined) this.setSaved(place, known);
      this.remove(ahead);
    }
  }

  #versionAt(place: TablePlace): number {
    return this.#word(this.#wordOf(place) + WORD.version);
  }

  dropLeft(): void {
    for (const place of this.#left.values()) this.remove(place);
    this.#left.clear();
  }

  #savedAt(place: TablePlace): SavedFile & { readonly ino: Ino } {
    const number = this.#number(place);
    const word = this.#wordOf(place);
    return {
      ino: (this.#numbers[number + NUMBER.ino] ?? 0) as Ino,
      size: this.#numbers[number + NUMBER.size] ?? 0,
      mtimeS: this.#numbers[number + NUMBER.mtimeS] ?? 0,
      mtimeNs: this.#word(word + WORD.mtimeNs),
      atimeS: this.#numbers[number + NUMBER.atimeS] ?? 0,
      atimeNs: this.#word(word + WORD.atimeNs),
      shown: this.#shownAt(place),
    };
  }

  #handleAt(place: TablePlace, isDirectory: boolean): HeldHandle & { readonly place: TablePlace } {
    const number = this.#number(place);
    const word = this.#wordOf(place);
    const backing = this.#word(word + WORD.backing);
    return {
      place,
      fh: (this.#numbers[number + NUMBER.fh] ?? 0) as Fh,
      ino: (this.#numbers[number + NUMBER.ino] ?? 0) as Ino,
      unique: this.#uniqueAt(word + WORD.uniqueLow),
      flags: this.#word(word + WORD.flags),
      uid: this.#word(word + WORD.uid),
      gid: this.#word(word + WORD.gid),
      pid: this.#word(word + WORD.pid),
      backing: backing === 0 ? undefined : backing,
      openFlags: this.#word(word + WORD.openFlags),
      isDirectory,
      isTold: (this.#word(word + WORD.marks) & MARK.told) !== 0,
      isRevoked: (this.#word(word + WORD.marks) & MARK.revoked) !== 0,
    };
  }

  #shownAt(place: TablePlace): ShownFile | undefined {
    const word = this.#wordOf(place);
    const version = this.#word(word + WORD.shownVersion);
    if (version === 0) return undefined;
    const s = this.#numbers[this.#number(place) + NUMBER.shownS] ?? 0;
    return { s, ns: this.#word(word + WORD.shownNs), version };
  }

  #placesOf(kind: number): TablePlace[] {
    const found: TablePlace[] = [];
    const used = this.#word(WORDS.used);
    for (let place = 0; place < used; place++) {
      if (this.#words[this.#wordOf(place) + WORD.kind] === kind) found.push(place);
    }
    return found;
  }

  #take(): TablePlace {
    const freed = this.#free.pop();
    if (freed !== undefined) return freed;
    const place = this.#word(WORDS.used);
    if (place >= RECORDS_MAX) throw new OpError('busy', 'open', { hint: 'too many are open' });
    const end = HEADER_BYTES + (place + 1) * RECORD_BYTES;
    if (end > this.#words.byteLength) this.#map(this.#words.byteLength * 2);
    this.#words[this.#wordOf(place) + WORD.kind] = KIND.free;
    this.#words[WORDS.used] = place + 1;
    return place;
  }

  #map(bytes: number): void {
    const { buffer, byteOffset } = this.#memory.map(bytes);
    // What is no whole number at the end is no part of it.
    const numbers = Math.floor(bytes / 8);
    this.#numbers = new Float64Array(buffer, byteOffset, numbers);
    this.#words = new Uint32Array(buffer, byteOffset, numbers * 2);
  }

  #number(place: TablePlace): number {
    return HEADER_BYTES / 8 + place * RECORD_NUMBERS;
  }

  #wordOf(place: TablePlace): number {
    return HEADER_BYTES / 4 + place * RECORD_WORDS;
  }

  #word(at: number): number {
    return this.#words[at] ?? 0;
  }

  #uniqueAt(at: number): number {
    return this.#word(at + 1) * TWO_TO_32 + this.#word(at);
  }
}
