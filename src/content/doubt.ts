/**
 * Doubt: after a loss of power the disk may not have the bytes a row tells of, unless they are marked
 * stable. What was there before the boot and is not marked is looked at before it is shown: its size,
 * and when it is sealed its CID. What passes is marked, for it was read from the disk.
 *
 * Invariants: a boot is known by the kernel's number for it, so that a kill of the daemon raises no
 * doubt and no kill ends one; nothing here decides what becomes of what fails (`Verdict`).
 */
import { asOpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import { turn } from '../base/turn.ts';
import type { ContentRow, Journal } from '../journal/journal.ts';
import type { ContentStore } from './content.ts';

export interface DoubtOptions {
  readonly journal: Journal;
  readonly contents: ContentStore;
  /** Whether a sealed object's bytes still are those of its CID. @throws OpError io. */
  verify(id: ContentId, signal: AbortSignal): Promise<boolean>;
  readonly log: Log;
  /** What the kernel calls this boot: /proc/sys/kernel/random/boot_id. */
  readonly boot: string;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

/**
 * What is wrong with an object: bytes are missing at its end, or all of them, or others are there, or the disk does
 * not let them be read, which whoever reads them is told by itself.
 */
export type Verdict = 'intact' | 'short' | 'gone' | 'altered' | 'unreadable';

/** More numbers than a WAL has rows: it is folded, and synced, long before. */
const IDS_LOST_MAX = 2 ** 24;
/** Rows looked at before others have their turn. */
const ROWS_PER_TURN = 1024;

export class Doubt {
  readonly log: Log;
  readonly #journal: Journal;
  readonly #contents: ContentStore;
  readonly #verify: DoubtOptions['verify'];
  readonly #boot: string;
  readonly #signal: AbortSignal;
  /** Objects below this number were there when the power came back; 0: nothing is in doubt. */
  #below = 0;
  readonly #looked = new Set<ContentId>();
  readonly #judging = new Map<ContentId, Promise<Verdict | undefined>>();

  constructor({ journal, contents, verify, log, boot, signal }: DoubtOptions) {
    this.#journal = journal;
    this.#contents = contents;
    this.#verify = verify;
    this.log = log;
    this.#boot = boot;
    this.#signal = signal;
  }

  /**
   * Once, before anything is shown: another boot than the last one raises doubt. `isGoneOn`: a
   * connection to the kernel is gone on with, so that it is the boot of the daemon before.
   */
  begin(isGoneOn: boolean): void {
    const { meta, contents } = this.#journal;
    const known = meta.get('boot_id');
    if (known !== this.#boot) {
      this.#journal.commit(() => {
        // What was given out last may be lost with its rows, and its files still be there.
        if (known !== undefined) contents.skipIds(IDS_LOST_MAX);
        // What was fetched can be fetched again, and of what the disk has of it nobody knows.
        contents.forgetFetched();
        // Without a note another version wrote what is there, which knew no marks.
        if (!isGoneOn && known !== undefined) meta.set('doubted_below', String(contents.nextId()));
        meta.set('boot_id', this.#boot);
      });
    }
    this.#below = Number(meta.get('doubted_below') ?? 0);
  }

  /** Whether an object is to be looked at before it is shown, or goes on being written. */
  raises({ id, place, state, stable }: Readonly<ContentRow>): boolean {
    if (id >= this.#below || place !== 'file' || this.#looked.has(id)) return false;
    if (state === 'remote') return false;
    // Before what is sealed is written on the disk hears of it (`distrust`); before other bytes are, it does not.
    return stable !== 1 || state !== 'sealed';
  }

  /** Somebody looked at it, and it is in no doubt until another boot. */
  settle(id: ContentId): void {
    this.#looked.add(id);
  }

  /** Bytes that the disk has of a backing file; undefined when it has none of this object. @throws OpError io. */
  bytesOnDisk({ id, stable }: Readonly<ContentRow>): number | undefined {
    return this.#contents.losses.sizeOnDisk(id, stable !== 0);
  }

  /**
   * What there is of an object at rest, on stable storage; many may ask at once. Undefined when it is in doubt no
   * more, or gone. @throws OpError; the end.
   */
  judge(id: ContentId): Promise<Verdict | undefined> {
    let verdict = this.#judging.get(id);
    if (verdict === undefined) {
      verdict = this.#judge(id).finally(() => this.#judging.delete(id));
      this.#judging.set(id, verdict);
    }
    return verdict;
  }

  async #judge(id: ContentId): Promise<Verdict | undefined> {
    for (;;) {
      const row = this.#contents.row(id);
      if (row === undefined || row.state === 'open' || !this.raises(row)) return undefined;
      const [{ state, size }, stamp] = [row, this.#contents.stampOf(id)];
      const verdict = await this.#look({ ...row });
      const now = this.#contents.row(id);
      // Who wrote it meanwhile, or sealed it, made another one of it.
      const isSame = now?.state === state && now.size === size;
      if (isSame && this.#contents.stampOf(id) === stamp) return verdict;
    }
  }

  async #look(row: Readonly<ContentRow>): Promise<Verdict> {
    try {
      const size = this.bytesOnDisk(row);
      if (size === undefined) return 'gone';
      // They may have been written in this boot: what is marked then was synced, whoever wrote it.
      await this.#contents.losses.sync(row.id);
      if (size < row.size) return 'short';
      if (row.state !== 'sealed') return 'intact';
      return (await this.#verify(row.id, this.#signal)) ? 'intact' : 'altered';
    } catch (error) {
      this.#signal.throwIfAborted();
      const known = asOpError(error, `look at content ${row.id}`);
      if (known.failure !== 'io') throw known;
      this.log.error({ content: row.id, error: known }, 'bytes of a file cannot be read');
      return 'unreadable';
    }
  }

  /** Settles all there is in the background; `settle` decides, and takes the doubt away. */
  async run(settle: (id: ContentId) => Promise<void>, signal: AbortSignal): Promise<void> {
    if (this.#below === 0) return;
    let looked = 0;
    for (let after: ContentId | 0 = 0; ; ) {
      signal.throwIfAborted();
      const page = this.#journal.contents.page(after, ROWS_PER_TURN);
      const last = page.at(-1);
      if (last === undefined || last.id >= this.#below) break;
      after = last.id;
      for (const row of page) {
        if (!this.raises(row)) continue;
        looked += 1;
        await settle(row.id);
        signal.throwIfAborted();
      }
      await turn();
    }
    this.#journal.commit(() => this.#journal.meta.set('doubted_below', '0'));
    this.#below = 0;
    this.#looked.clear();
    if (looked > 0)
      this.log.info({ contents: looked }, 'looked at what the disk has since its boot');
  }
}
