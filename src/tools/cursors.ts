/**
 * Cursors: where a paged answer goes on, with the snapshot it pages through, so that writers
 * never make a page skip or repeat.
 *
 * Invariants: a cursor works only for the tool, the arguments and the principal it was made for;
 * the same cursor gives the same page again; memory is bounded by number and by bytes, and the
 * least recently used snapshot goes first.
 */
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import {
  CURSOR_KEPT_MS,
  CURSORS_BYTES_MAX,
  CURSORS_MAX,
  PAGE_BYTES_MAX,
  SNAPSHOT_ITEMS_MAX,
} from '../base/limits.ts';
import type { Random } from '../base/random.ts';

/** Items looked at to guess the size of a snapshot. */
const SAMPLED_ITEMS = 64;

/** Arguments that say how to page and not what. */
const PAGING_ARGUMENTS: ReadonlySet<string> = new Set(['cursor', 'limit', 'timeout_ms', 'wait_ms']);

/** One call of a paged tool. */
export interface PageRequest {
  readonly tool: string;
  readonly principal: string;
  /** The whole input, defaults filled in. */
  readonly arguments: {
    readonly limit: number;
    readonly cursor?: string | undefined;
    readonly [name: string]: unknown;
  };
}

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next_cursor?: string;
  readonly truncated: boolean;
  readonly total: number;
}

interface Snapshot {
  readonly binding: string;
  readonly items: readonly unknown[];
  readonly bytes: number;
  usedAtMs: number;
}

export class Cursors {
  readonly #clock: Clock;
  readonly #random: Random;
  /** In order of use: the first is the least recently used. */
  readonly #snapshots = new Map<string, Snapshot>();
  #bytes = 0;

  constructor(ports: { readonly clock: Clock; readonly random: Random }) {
    this.#clock = ports.clock;
    this.#random = ports.random;
  }

  /**
   * The page that `request` asks for. `take` makes the snapshot of a first page; `show` turns an
   * item into what is answered, when its page comes (a snapshot of names is small).
   * @throws OpError cursor-expired, invalid-argument (other arguments), result-too-large (more
   * than 100,000 items).
   */
  async page<Item, Shown = Item>(
    request: PageRequest,
    take: () => readonly Item[] | Promise<readonly Item[]>,
    show: (item: Item) => Shown | Promise<Shown> = (item) => item as unknown as Shown,
  ): Promise<Page<Shown>> {
    const { cursor } = request.arguments;
    const found = cursor === undefined ? undefined : this.#find(cursor, request);
    // What was bound to this tool and these arguments was taken by this very `take`.
    const items = (found?.snapshot.items as readonly Item[] | undefined) ?? (await take());
    if (items.length > SNAPSHOT_ITEMS_MAX) {
      throw new OpError('result-too-large', request.tool, {
        hint: 'ask for a smaller part',
        details: { partial: { count: items.length, max: SNAPSHOT_ITEMS_MAX } },
      });
    }
    const from = found?.position ?? 0;
    const shown = await fill(items, from, request.arguments.limit, show);
    const position = from + shown.length;
    const isTruncated = position < items.length;
    const token = isTruncated ? (found?.token ?? this.#keep(items, request)) : undefined;
    return {
      items: shown,
      ...(token === undefined ? {} : { next_cursor: `${token}.${position}` }),
      truncated: isTruncated,
      total: items.length,
    };
  }

  /**
   * What `keep` was given for the cursor of this request; undefined on a first page. For sources
   * that can go on by themselves and need no list of what is to come.
   * @throws OpError cursor-expired, invalid-argument (other arguments).
   */
  resume<State>(request: PageRequest): State | undefined {
    const { cursor } = request.arguments;
    if (cursor === undefined) return undefined;
    // What was bound to this tool was kept by this very tool.
    return this.#find(cursor, request).snapshot.items[0] as State;
  }

  /** A cursor for the next page of this request, which goes on from `state`. */
  keep(request: PageRequest, state: Readonly<Record<string, unknown>>): string {
    return `${this.#keep([state], request)}.0`;
  }

  #keep(items: readonly unknown[], request: PageRequest): string {
    const token = this.#random.token();
    const bytes = guessedBytes(items);
    const usedAtMs = this.#clock.monotonicMs();
    this.#snapshots.set(token, { binding: bindingOf(request), items, bytes, usedAtMs });
    this.#bytes += bytes;
    for (const [old] of this.#snapshots) {
      if (this.#snapshots.size <= CURSORS_MAX && this.#bytes <= CURSORS_BYTES_MAX) break;
      if (old !== token) this.#drop(old);
    }
    return token;
  }

  #find(cursor: string, request: PageRequest) {
    const match = /^([\w-]+)\.(\d{1,9})$/.exec(cursor);
    const [, token = '', digits = ''] = match ?? [];
    this.#expire();
    const snapshot = this.#snapshots.get(token);
    const position = Number(digits);
    const binding = bindingOf(request);
    // Who does not own a cursor must not learn that it exists.
    const isOwned = snapshot?.binding.startsWith(ownerOf(request)) === true;
    if (match === null || !isOwned || position > snapshot.items.length) {
      throw new OpError('cursor-expired', request.tool);
    }
    if (snapshot.binding !== binding) {
      throw new OpError('invalid-argument', `${request.tool} with a cursor of another call`, {
        hint: 'repeat the arguments the cursor came from',
        details: {
          issues: [{ argument: 'cursor', reason: 'combination', expected: 'the same arguments' }],
        },
      });
    }
    snapshot.usedAtMs = this.#clock.monotonicMs();
    this.#snapshots.delete(token);
    this.#snapshots.set(token, snapshot);
    return { token, position, snapshot };
  }

  #expire(): void {
    const oldestMs = this.#clock.monotonicMs() - CURSOR_KEPT_MS;
    for (const [token, { usedAtMs }] of this.#snapshots) {
      if (usedAtMs >= oldestMs) break;
      this.#drop(token);
    }
  }

  #drop(token: string): void {
    this.#bytes -= this.#snapshots.get(token)?.bytes ?? 0;
    this.#snapshots.delete(token);
  }
}

/** Items from `from` on, up to `limit` of them or 48 KiB of JSON, but at least one. */
async function fill<Item, Shown>(
  items: readonly Item[],
  from: number,
  limit: number,
  show: (item: Item) => Shown | Promise<Shown>,
): Promise<readonly Shown[]> {
  const shown: Shown[] = [];
  let bytes = 0;
  for (const item of items.slice(from, from + limit)) {
    const next = await show(item);
    bytes += Buffer.byteLength(JSON.stringify(next) ?? '') + 1;
    if (shown.length > 0 && bytes > PAGE_BYTES_MAX) break;
    shown.push(next);
  }
  return shown;
}

function guessedBytes(items: readonly unknown[]): number {
  const sample = items.slice(0, SAMPLED_ITEMS);
  const bytes = sample.reduce<number>((sum, item) => sum + jsonLength(item), 0);
  return Math.ceil((bytes / Math.max(1, sample.length)) * items.length);
}

/** Of a row of the journal too, whose numbers JSON may not know. */
const jsonLength = (item: unknown): number =>
  (JSON.stringify(item, (_, value) => (typeof value === 'bigint' ? `${value}` : value)) ?? '')
    .length;

const ownerOf = ({ principal, tool }: PageRequest): string =>
  `${JSON.stringify([principal, tool])}`;

function bindingOf(request: PageRequest): string {
  const asked = Object.entries(request.arguments)
    .filter(([name, value]) => !PAGING_ARGUMENTS.has(name) && value !== undefined)
    .sort(([one], [other]) => (one < other ? -1 : 1));
  return `${ownerOf(request)}${JSON.stringify(asked)}`;
}
