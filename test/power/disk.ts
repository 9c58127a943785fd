/**
 * What a disk holds after its power was lost, built from a trace (trace.c). The disk promises what
 * POSIX does, and what journaling file systems do (ext4 in its default mode, xfs, btrfs): a file that became longer by
 * being written is as long as it has bytes, and its size and attributes change in the order in which they were changed;
 * a size that was set (T) is there before bytes that were written below it. What was
 * synced is there; of the rest any part, in any order, names without their files and files without their names.
 */
import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { loadNative } from '../../src/base/native.ts';

export interface TraceEvent {
  readonly kind: 'C' | 'D' | 'L' | 'U' | 'R' | 'S' | 'W' | 'T' | 'X';
  readonly ino: number;
  /** Of W the position, of T the size. */
  readonly number: number;
  /** Paths, or bytes. */
  readonly bytes: Buffer;
}

export function parseTrace(trace: Buffer): TraceEvent[] {
  const events: TraceEvent[] = [];
  for (let at = 0; at < trace.length; ) {
    const end = trace.indexOf(10, at);
    const [kind, ino, number, , length] = trace.toString('latin1', at, end).split(' ');
    const bytes = trace.subarray(end + 1, end + 1 + Number(length));
    const event = { ino: Number(ino), number: Number(number), bytes };
    events.push({ kind: kind as TraceEvent['kind'], ...event });
    at = end + 1 + bytes.length;
  }
  return events;
}

/** Numbers from a seed, the same for the same one (xorshift32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0 || 1;
  }

  /** From 0 to `count` - 1. */
  below(count: number): number {
    let x = this.#state;
    x ^= x << 13;
    x >>>= 0;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return Math.floor((this.#state / 2 ** 32) * count);
  }

  /** One of them. */
  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

const PAGE_BYTES = 4096;

type Pending =
  | { readonly at: number; readonly bytes: Buffer }
  | { readonly size: number }
  | { readonly owner: Buffer };

/** A file's bytes, and what its attribute says. */
interface Kept {
  readonly bytes: Buffer;
  readonly owner: Buffer | undefined;
}

const NOTHING: Kept = { bytes: Buffer.alloc(0), owner: undefined };
/** The attribute of backing files in slots. */
const OWNER = 'user.kitfs.content';

interface TracedFile {
  durable: Kept;
  pending: Pending[];
}

interface NameEvent {
  readonly event: TraceEvent;
  /** Directories whose fsync brings it to the disk: any one of them does. */
  readonly directories: readonly string[];
  isDurable: boolean;
}

/** How much of what was not synced is there; `random`: each file and name as it comes. */
export const FATES = ['nothing', 'everything', 'random', 'bytes only', 'names only'] as const;
export type Fate = (typeof FATES)[number];

export class Disk {
  readonly #files = new Map<number, TracedFile>();
  readonly #names: NameEvent[] = [];
  readonly #directories = new Map<number, string>();
  readonly #root: string;
  readonly #native = loadNative();

  /** `ino`: of the directory whose trace it is. */
  constructor(root: string, ino: number) {
    this.#root = root;
    this.#directories.set(ino, root);
  }

  apply(event: TraceEvent): void {
    const { kind, ino, number, bytes } = event;
    if (kind === 'W') this.#file(ino).pending.push({ at: number, bytes });
    else if (kind === 'T') this.#file(ino).pending.push({ size: number });
    else if (kind === 'X') this.#file(ino).pending.push({ owner: bytes });
    else if (kind === 'S') this.#sync(ino);
    else this.#name(event);
  }

  /** All that was written to a file so far. */
  bytesOf(ino: number): Buffer {
    const { durable, pending } = this.#file(ino);
    return pending.reduce(applied, durable).bytes;
  }

  /** Writes what is left into an empty directory. `torn`: so much of the event that was under way. */
  cut(into: string, dice: Dice, fate: Fate, torn?: { event: TraceEvent; bytes: number }): void {
    const names = this.#survivingNames(dice, fate);
    const directories = new Set([this.#root]);
    const places = new Map<number, string>();
    for (const [path, { ino, isDirectory }] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (!directories.has(dirname(path))) continue;
      const place = join(into, path.slice(this.#root.length));
      if (isDirectory) {
        directories.add(path);
        mkdirSync(place, { mode: 0o700 });
        continue;
      }
      const known = places.get(ino);
      if (known !== undefined) {
        linkSync(known, place);
        continue;
      }
      places.set(ino, place);
      const isTorn = torn?.event.kind === 'W' && torn.event.ino === ino;
      const last = isTorn
        ? { at: torn.event.number, bytes: torn.event.bytes.subarray(0, torn.bytes) }
        : undefined;
      const { bytes, owner } = this.#surviving(ino, dice, fate, last);
      writeFileSync(place, bytes, { mode: 0o600 });
      if (owner !== undefined) this.#native.setXattr(place, OWNER, owner);
    }
  }

  #file(ino: number): TracedFile {
    let file = this.#files.get(ino);
    if (file === undefined) {
      file = { durable: NOTHING, pending: [] };
      this.#files.set(ino, file);
    }
    return file;
  }

  #sync(ino: number): void {
    const directory = this.#directories.get(ino);
    if (directory === undefined) {
      const file = this.#file(ino);
      file.durable = file.pending.reduce(applied, file.durable);
      file.pending = [];
      return;
    }
    for (const name of this.#names) name.isDurable ||= name.directories.includes(directory);
  }

  #name(event: TraceEvent): void {
    const paths = event.bytes.toString('latin1').split('\n');
    // An inode's number is used again: the file of before is gone with its last name.
    if (event.kind === 'C') this.#files.set(event.ino, { durable: NOTHING, pending: [] });
    if (event.kind === 'D') this.#directories.set(event.ino, paths[0] ?? '');
    this.#names.push({ event, directories: paths.map((path) => dirname(path)), isDurable: false });
  }

  #survivingNames(dice: Dice, fate: Fate): Map<string, { ino: number; isDirectory: boolean }> {
    const names = new Map<string, { ino: number; isDirectory: boolean }>();
    const likelihood = 1 + dice.below(9);
    for (const { event, isDurable } of this.#names) {
      const isKept = fate === 'everything' || fate === 'names only';
      const isLucky = fate === 'random' && dice.below(10) < likelihood;
      if (!isDurable && !isKept && !isLucky) continue;
      const [path = '', to = ''] = event.bytes.toString('latin1').split('\n');
      const { kind, ino } = event;
      if (kind === 'R') {
        if (names.get(path)?.ino === ino) names.delete(path);
        names.set(to, { ino, isDirectory: false });
      } else if (kind === 'U') {
        if (names.get(path)?.ino === ino) names.delete(path);
      } else {
        names.set(path, { ino, isDirectory: kind === 'D' });
      }
    }
    return names;
  }

  #surviving(ino: number, dice: Dice, fate: Fate, last: Pending | undefined): Kept {
    const { durable, pending } = this.#file(ino);
    const all = last === undefined ? pending : [...pending, last];
    if (fate === 'nothing' || fate === 'names only' || all.length === 0) return durable;
    const final = all.reduce(applied, durable);
    if (fate === 'everything') return final;
    if (fate === 'random' && dice.below(4) === 0) return durable;
    const isInOrder = all.some((one) => !('bytes' in one));
    if (isInOrder || dice.below(2) === 0) return prefixOf(durable, all, dice);
    return { ...final, bytes: pagesOf(durable.bytes, final.bytes, dice) };
  }
}

function applied({ bytes, owner }: Kept, change: Pending): Kept {
  if ('owner' in change) return { bytes, owner: change.owner };
  const end = 'size' in change ? change.size : change.at + change.bytes.length;
  const size = 'size' in change ? change.size : Math.max(bytes.length, end);
  const next = Buffer.alloc(size);
  bytes.copy(next, 0, 0, Math.min(size, bytes.length));
  if ('bytes' in change) change.bytes.copy(next, change.at);
  return { bytes: next, owner };
}

/**
 * The first few changes, and some bytes of the next one. A size that was set is there before the bytes below it
 * may be: as on ext4, which finds places for bytes when it writes them.
 */
function prefixOf(durable: Kept, all: readonly Pending[], dice: Dice): Kept {
  const count = dice.below(all.length + 1);
  const before = all.slice(0, count);
  const sized = before.findLastIndex((one) => 'size' in one);
  const isLost = before.map((one, at) => 'bytes' in one && at < sized && dice.below(2) === 0);
  const kept = before.filter((_, at) => isLost[at] !== true).reduce(applied, durable);
  const next = all[count];
  if (next === undefined || !('bytes' in next)) return kept;
  return applied(kept, {
    at: next.at,
    bytes: next.bytes.subarray(0, dice.below(next.bytes.length + 1)),
  });
}

/** Of each page the old or the new bytes; of those that lengthened the file the first few. */
function pagesOf(durable: Buffer, final: Buffer, dice: Dice): Buffer {
  const grown = Math.max(0, final.length - durable.length);
  const result = Buffer.from(final.subarray(0, durable.length + dice.below(grown + 1)));
  const likelihood = 1 + dice.below(9);
  for (let at = 0; at < Math.min(result.length, durable.length); at += PAGE_BYTES) {
    if (dice.below(10) < likelihood) continue;
    durable.copy(result, at, at, Math.min(at + PAGE_BYTES, durable.length, result.length));
  }
  return result;
}
