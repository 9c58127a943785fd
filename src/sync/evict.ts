/**
 * Keeps the bytes of files within a quota: what a store has goes, first what was not read for long,
 * until there are no more than there may be; and on a full disk, quota or not, until it is that no more.
 *
 * Invariants: bytes go only when the store was asked for them a moment ago, gave every block of them,
 * and keeps them by a pin of our own; never of a file that somebody has open, pinned or changed since
 * the store had it; a kill at any point loses nothing but time.
 */
import { LRUCache } from 'lru-cache';
import type { CallOptions, IpfsNode } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import type { ContentId, Ino } from '../base/ids.ts';
import {
  EVICTED_AT_ONCE_MAX,
  EVICTION_BUSY_PART,
  EVICTION_LOOK_MS,
  EVICTION_REFUSED_MAX,
  EVICTION_REFUSED_MS,
  EVICTION_SURVEY_MS_MAX,
  EVICTION_UNPIN_MS,
  GIVEN_WAY_BYTES_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { together } from '../base/together.ts';
import { turn } from '../base/turn.ts';
import { blockKey, type ContentStore, cidOfBytes } from '../content/content.ts';
import type { TargetRow } from '../journal/journal.ts';
import { hasBlocks, hasTree, keep, letGo } from './copy.ts';
import { NeededHere, type NeededPorts } from './needed.ts';
import { type FilesInUse, type Survey, type SurveyPorts, survey, type Victim } from './survey.ts';

export interface EvictorPorts extends NeededPorts, SurveyPorts {
  readonly contents: ContentStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly files: FilesInUse & {
    /** Rises when somebody pins something; undefined: nobody ever did. */
    readonly pins: number | undefined;
    /** It takes another room than whoever looked at it was told. */
    changed(ino: Ino): void;
  };
  /** undefined: it is not configured (any more). */
  nodeOf(target: string): IpfsNode | undefined;
  /** Told of pinned files that are elsewhere. */
  onAway(files: readonly Ino[]): void;
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
  /** Whether the disk has so little room that what can go should, whatever the quota. */
  isDiskFull(): boolean;
}

export interface EvictionPolicy {
  /** Bytes of files that may be here; undefined: any number. */
  readonly quotaBytes: number | undefined;
  /** The store whose pins of ours are looked after. */
  readonly target: string | undefined;
  /** Of the pins that keep there what is not here. */
  readonly pinName: string;
}

/** What is known of the room of files. */
export interface Space extends Omit<Survey, 'victims' | 'away'> {
  readonly quotaBytes: number | undefined;
  /** Second of the last look through all files. */
  readonly surveyedS: number;
  /** Why the store could not be asked. */
  readonly error: OpError | undefined;
}

/** What goes in one round. */
interface Round {
  /** Bytes that are to go, those that went, and those of which the store is asked just now. */
  readonly excess: number;
  bytes: number;
  asked: number;
  files: number;
  /** Why the store could not be asked. */
  error: OpError | undefined;
}

/** Files of which the store is asked at once. */
const FILES_AT_ONCE = 4;

/** Why bytes stay that were to go. */
const STAYS = {
  tree: 'bytes of files stay: the store holds their tree no more',
  blocks: 'bytes of files stay: the store lacks blocks of them',
  pinned: 'bytes of files stay: somebody else pinned them at the store, and may unpin them',
} as const;

/** Rows of content counted before other work gets its turn. */
const ROWS_PER_TURN = 2048;

export class Evictor {
  readonly #ports: EvictorPorts;
  readonly #policy: EvictionPolicy;
  readonly #needed: NeededHere;
  /** What a store did not have as it should, or what is needed here. */
  readonly #refused = new LRUCache<ContentId, true>({ max: EVICTION_REFUSED_MAX });
  #refusedFromMs = 0;
  /** Why, and how many, in the round under way. */
  readonly #reasons = new Map<string, number>();
  #space: Space | undefined;
  #error: OpError | undefined;
  /** What was the case at the last survey, and when it was. */
  #seen = '';
  #surveyedSeq = -1;
  #surveyedMs = -Infinity;
  /** How long counting and looking took in the last round. */
  #busyMs = 0;
  #unpinMs = -Infinity;

  constructor(ports: EvictorPorts, policy: EvictionPolicy) {
    this.#ports = ports;
    this.#policy = policy;
    this.#needed = new NeededHere(ports);
  }

  /** undefined: nobody asked for a limit or a pin, or it is not known yet. */
  get space(): Space | undefined {
    return this.#space && { ...this.#space, error: this.#error };
  }

  /** Until the signal aborts. @throws its reason; what the journal throws. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#look(signal);
      await this.#unpin(signal);
      const restMs = this.#busyMs * (EVICTION_BUSY_PART - 1);
      await this.#ports.clock.sleep(Math.max(EVICTION_LOOK_MS, restMs), signal);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { clock, files } = this.#ports;
    const { quotaBytes } = this.#policy;
    const isFull = this.#ports.isDiskFull();
    if (quotaBytes === undefined && files.pins === undefined && !isFull) return;
    const fromMs = clock.monotonicMs();
    const beyond = quotaBytes === undefined ? 0 : (await this.#count(signal)) - quotaBytes;
    const excess = Math.max(beyond, isFull ? GIVEN_WAY_BYTES_MAX : 0);
    this.#forgetRefusals();
    const found = this.#isSurveyDue(excess) ? await this.#survey(signal) : undefined;
    this.#busyMs = clock.monotonicMs() - fromMs;
    if (found !== undefined) await this.#act(found, excess, signal);
  }

  async #survey(signal: AbortSignal): Promise<Survey> {
    await this.#needed.learn(signal);
    return survey(this.#ports, {
      signal,
      isNeeded: (content) => this.#needed.has(content),
      isRefused: (content) => this.#refused.has(content),
    });
  }

  async #act({ victims, away, ...found }: Survey, excess: number, signal: AbortSignal) {
    const { quotaBytes } = this.#policy;
    const { s: surveyedS } = this.#ports.clock.now();
    this.#space = { ...found, quotaBytes, surveyedS, error: undefined };
    if (away.length > 0) this.#ports.onAway(away);
    if (excess > 0) await this.#evict(victims, excess, signal);
  }

  /** Bytes of files that are here. */
  async #count(signal: AbortSignal): Promise<number> {
    let bytes = 0;
    for (let after = 0 as ContentId | 0; ; ) {
      const tally = this.#ports.journal.contents.tally(after, ROWS_PER_TURN);
      bytes += tally.bytes;
      if (tally.last === null || tally.last <= after) return bytes;
      after = tally.last;
      await turn();
      signal.throwIfAborted();
    }
  }

  /** When too much is here and something changed, or a file was pinned; by and by when it may have. */
  #isSurveyDue(excess: number): boolean {
    const { journal, files, clock } = this.#ports;
    const { seq } = journal.head;
    const held = journal.targets.all().map(({ held: root, checkedS }) => [root?.seq, checkedS]);
    const seen = JSON.stringify([files.pins, excess > 0 ? [seq, excess, held] : []]);
    const nowMs = clock.monotonicMs();
    const isLate = nowMs - this.#surveyedMs >= EVICTION_SURVEY_MS_MAX;
    const isStale = isLate && (excess > 0 || seq !== this.#surveyedSeq);
    if (seen === this.#seen && !isStale) return false;
    this.#seen = seen;
    this.#surveyedSeq = seq;
    this.#surveyedMs = nowMs;
    return true;
  }

  async #evict(victims: readonly Victim[], excess: number, signal: AbortSignal): Promise<void> {
    await this.#needed.learn(signal);
    const waiting = victims.values();
    const round: Round = { excess, files: 0, bytes: 0, asked: 0, error: undefined };
    const takers = Array.from({ length: FILES_AT_ONCE }, () =>
      this.#takeAll(waiting, round, signal),
    );
    await together(takers);
    const { files, bytes } = round;
    this.#tell(round.error);
    // There may be more than a list holds, behind those that all stay.
    const isDrained = round.error === undefined && bytes < excess;
    if (isDrained && victims.length === EVICTED_AT_ONCE_MAX) this.#seen = '';
    for (const [why, count] of this.#reasons) this.#ports.log.warn({ files: count }, why);
    this.#reasons.clear();
    if (files === 0) return;
    this.#ports.log.info({ files, bytes }, 'bytes of files went that a store has');
    // Their room is free when the disk knows that they are let go.
    await this.#ports.syncJournal();
    this.#seen = '';
  }

  /** One after another until enough went, or is about to. @throws the signal's reason. */
  async #takeAll(victims: Iterator<Victim>, round: Round, signal: AbortSignal): Promise<void> {
    while (round.bytes + round.asked < round.excess && round.error === undefined) {
      signal.throwIfAborted();
      const { value: victim, done = false } = victims.next();
      if (done || victim === undefined) return;
      round.asked += victim.bytes;
      const taken = await this.#take(victim, { signal }).finally(() => {
        round.asked -= victim.bytes;
      });
      if (taken instanceof OpError) round.error = taken;
      if (taken !== true) continue;
      round.files += 1;
      round.bytes += victim.bytes;
      this.#subtract(victim);
    }
  }

  #subtract({ bytes }: Victim): void {
    const space = this.#space;
    if (space === undefined) return;
    const cachedBytes = space.cachedBytes - bytes;
    this.#space = { ...space, cachedBytes, evictableBytes: space.evictableBytes - bytes };
  }

  /** A store that does not answer is told of once. */
  #tell(error: OpError | undefined): void {
    if (error !== undefined && this.#error?.failure !== error.failure) {
      this.#ports.log.warn({ error }, 'bytes of files stay: the store could not be asked for them');
    }
    this.#error = error;
  }

  #forgetRefusals(): void {
    const nowMs = this.#ports.clock.monotonicMs();
    if (nowMs - this.#refusedFromMs < EVICTION_REFUSED_MS) return;
    this.#refusedFromMs = nowMs;
    this.#refused.clear();
  }

  /**
   * Lets the bytes of one object go, if that is safe; whether they went, or why the store could not be
   * asked.
   */
  async #take(victim: Victim, call: CallOptions): Promise<boolean | OpError> {
    const { journal, contents } = this.#ports;
    const { content } = victim;
    const target = this.#targetOf(victim);
    const key = contents.row(content)?.cid ?? undefined;
    const node = target && this.#ports.nodeOf(target.target);
    if (target === undefined || key === undefined || node === undefined) return false;
    if (contents.remote.isSeen(content)) return false;
    const why = await this.#whyNot(victim, { node, target, key }, call);
    if (why instanceof OpError) return why;
    if (why !== undefined) {
      this.#refused.set(content, true);
      this.#reasons.set(why, (this.#reasons.get(why) ?? 0) + 1);
      return false;
    }
    // Nothing may suspend from here on: a file may be opened, changed or pinned at any time.
    const isStill = contents.row(content)?.cid?.equals(key) === true;
    if (!isStill || this.#targetOf(victim) === undefined) return false;
    if (contents.remote.isSeen(content)) return false;
    journal.commitFreeing(() => {
      if (contents.row(content)?.state === 'sealed') contents.remote.evict(content);
      else contents.remote.drop(content);
    });
    for (const ino of victim.inos) this.#ports.files.changed(ino);
    return true;
  }

  /** Who holds it, as far as is known here; undefined: it has to stay. */
  #targetOf({ content, inos }: Victim): TargetRow | undefined {
    const { journal, contents, files, ladder } = this.#ports;
    const row = contents.row(content);
    const isRight = row?.state === 'sealed' || row?.state === 'remote';
    if (!isRight || row.refs !== inos.length) return undefined;
    const areFree = inos.every((ino) => {
      const shows = journal.inodes.get(ino)?.content === content;
      return shows && !files.isInUse(ino) && !files.isPinned(ino);
    });
    if (!areFree || this.#needed.hasAny(journal.contents.blocksOf(content))) return undefined;
    return inos.map((ino) => ladder.holding(ino)).find((target) => target !== undefined);
  }

  /** Asks the store; undefined: it has all of it, and keeps it. An error: it could not be asked. */
  async #whyNot(
    { content }: Victim,
    { node, target, key }: { node: IpfsNode; target: TargetRow; key: Buffer },
    call: CallOptions,
  ): Promise<string | OpError | undefined> {
    const blocks = this.#ports.journal.contents.blocksOf(content);
    try {
      if (!(await hasTree(node, target, call))) return STAYS.tree;
      if (!(await hasBlocks(node, blocks, call))) return STAYS.blocks;
      const isKept = await keep(node, cidOfBytes(key), this.#policy.pinName, call);
      return isKept ? undefined : STAYS.pinned;
    } catch (error) {
      call.signal.throwIfAborted();
      if (!(error instanceof OpError)) throw error;
      return error.failure === 'content-missing' ? STAYS.blocks : error;
    }
  }

  /** Pins of ours at the store that keep what is here again, or what nobody wants any more. */
  async #unpin(signal: AbortSignal): Promise<void> {
    const { clock, journal, log } = this.#ports;
    const { target, pinName } = this.#policy;
    const node = target === undefined ? undefined : this.#ports.nodeOf(target);
    const nowMs = clock.monotonicMs();
    if (node === undefined || nowMs - this.#unpinMs < EVICTION_UNPIN_MS) return;
    this.#unpinMs = nowMs;
    const { contents } = journal;
    const isNeeded = (key: Buffer) => contents.remoteByCid(key) !== undefined;
    try {
      // What came back is here only when the disk knows it.
      await this.#ports.syncJournal();
      const pins = await letGo(node, pinName, (cid) => isNeeded(blockKey(cid)), { signal });
      if (pins > 0) log.info({ pins, target }, 'pins were ended of bytes that are here again');
    } catch (error) {
      signal.throwIfAborted();
      const { failure } = asOpError(error, 'end pins');
      log.info({ target, failure }, 'pins of bytes that are here again are ended later');
    }
  }
}
