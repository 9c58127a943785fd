/**
 * What names point to, for whoever looks at them again and again: the home node is asked once for
 * all who wait, and what it says is kept as long as the record allows, within limits.
 *
 * Invariants: nothing is answered that is older than its record allows (or `NAME_KEPT_MS_MIN`); an
 * asking ends with the last of those who wait for it, and after a time of its own; a name leads to
 * content by CID, or nowhere.
 */
import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import type { NameFacet, Resolved } from '../backend/backend.ts';
import { before } from '../base/before.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import {
  NAME_BYTES_MAX,
  NAME_KEPT_MS_MAX,
  NAME_KEPT_MS_MIN,
  NAME_RESOLVE_MS_MAX,
  NAMES_KEPT_MAX,
} from '../base/limits.ts';
import { type CID, parseCid } from '../content/content.ts';

/** Where a name leads now. */
export interface Target {
  readonly cid: CID;
  /** Names behind it, none of them `.` or `..`. */
  readonly segments: readonly string[];
  /** It holds for so many milliseconds more. */
  readonly validMs: number;
}

export interface ResolveRequest {
  readonly signal: AbortSignal;
  /** Nothing that is kept will do, here or at the node. */
  readonly isFresh?: boolean;
}

/** Gives the names of the home node. @throws OpError not-configured. */
export type NameSource = () => Pick<NameFacet, 'resolve'>;

interface Kept extends Pick<Target, 'cid' | 'segments'> {
  /** On the monotonic clock. */
  readonly untilMs: number;
}

/** A name that is asked for. */
interface Flight {
  readonly kept: Promise<Kept>;
  readonly ended: AbortController;
  waiters: number;
}

export class NameResolver {
  readonly #clock: Clock;
  readonly #source: Promise<NameSource>;
  #attach: (source: NameSource) => void = () => {};
  readonly #kept = new LRUCache<string, Kept>({ max: NAMES_KEPT_MAX });
  readonly #flights = new Map<string, Flight>();

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock;
    this.#source = new Promise((resolve) => {
      this.#attach = resolve;
    });
  }

  /** From now on names are resolved; who asked before has waited. To be called once. */
  attach(source: NameSource): void {
    this.#attach(source);
  }

  /** Whether a word can be a name at all: what file managers look for everywhere is none. */
  isName(word: string): boolean {
    return word.length <= NAME_BYTES_MAX && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(word);
  }

  /**
   * @throws OpError name-not-resolved: it points nowhere, or to no content; node-offline,
   *   not-running and what else keeps the node from answering; timeout; the signal's reason.
   */
  async resolve(name: string, { signal, isFresh = false }: ResolveRequest): Promise<Target> {
    signal.throwIfAborted();
    const known = isFresh ? undefined : this.#keptOf(name);
    return this.#told(known ?? (await this.#asked(name, signal, isFresh)));
  }

  #keptOf(name: string): Kept | undefined {
    const kept = this.#kept.get(name);
    return kept !== undefined && kept.untilMs > this.#clock.monotonicMs() ? kept : undefined;
  }

  #told({ cid, segments, untilMs }: Kept): Target {
    return { cid, segments, validMs: Math.max(0, untilMs - this.#clock.monotonicMs()) };
  }

  async #asked(name: string, signal: AbortSignal, isFresh: boolean): Promise<Kept> {
    const key = isFresh ? `fresh ${name}` : name;
    const flight = this.#flights.get(key) ?? this.#begin(key, name, isFresh);
    flight.waiters += 1;
    setMaxListeners(0, signal);
    try {
      return await before(flight.kept, signal);
    } finally {
      flight.waiters -= 1;
      if (flight.waiters === 0) flight.ended.abort(new OpError('cancelled', `resolve ${name}`));
    }
  }

  #begin(key: string, name: string, isFresh: boolean): Flight {
    const ended = new AbortController();
    const kept = this.#fly(name, ended, isFresh);
    // When nobody waits any more nobody is told either.
    kept.catch(() => {});
    const flight: Flight = { kept, ended, waiters: 0 };
    // Also of one that its waiters have left: who comes then begins another.
    ended.signal.addEventListener('abort', () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    this.#flights.set(key, flight);
    return flight;
  }

  async #fly(name: string, ended: AbortController, isFresh: boolean): Promise<Kept> {
    const op = `resolve /ipns/${name}`;
    this.#clock.sleep(NAME_RESOLVE_MS_MAX, ended.signal).then(
      () => ended.abort(new OpError('timeout', op, { hint: 'the node did not answer in time' })),
      () => {}, // It ended before.
    );
    try {
      const source = await before(this.#source, ended.signal);
      const askedMs = this.#clock.monotonicMs();
      const asking = source().resolve(name, { signal: ended.signal, noCache: isFresh });
      const found = await before(asking, ended.signal);
      const kept = { ...leadsTo(found.path, op), untilMs: askedMs + this.#lastsMs(found) };
      this.#kept.set(name, kept);
      return kept;
    } catch (error) {
      throw asOpError(error, op);
    } finally {
      ended.abort();
    }
  }

  /**
   * A node that says nothing of the time keeps the name itself, as long as its record allows: it is
   * asked again soon.
   */
  #lastsMs({ ttlMs = 0, validUntil }: Resolved): number {
    const lastsMs = Math.min(Math.max(ttlMs, NAME_KEPT_MS_MIN), NAME_KEPT_MS_MAX);
    if (validUntil === undefined) return lastsMs;
    const now = this.#clock.now();
    const leftMs = (validUntil.s - now.s) * 1000 + (validUntil.ns - now.ns) / 1e6;
    return Math.max(0, Math.min(lastsMs, leftMs));
  }
}

/** What a record says is its publisher's word: a path that climbs leads nowhere. */
function leadsTo(path: string, op: string): Pick<Target, 'cid' | 'segments'> {
  const [, kind, root = '', ...rest] = path.split('/');
  const segments = rest.filter((segment) => segment !== '');
  const isPlain = segments.every((one) => one !== '.' && one !== '..' && !one.includes('\0'));
  try {
    if (kind === 'ipfs' && isPlain) return { cid: parseCid(root), segments };
  } catch (error) {
    if (!(error instanceof OpError && error.failure === 'invalid-cid')) throw error;
  }
  throw new OpError('name-not-resolved', op, { hint: 'what it points to is no content by CID' });
}
