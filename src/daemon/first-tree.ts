/**
 * `kitfs mount --from`: the tree `/ipfs` of a new state directory is, from the first moment that
 * somebody sees it, the tree of a snapshot. Its bytes may be elsewhere. Of a snapshot the names at its
 * root are known from a few blocks: they are mounted, and all the rest arrives while it is waited for.
 *
 * Invariants: it is all there or nothing of it is, so that a start that was killed is done again; once
 * a name was shown, every start goes on with that tree.
 */
import type { Clock } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import { type Ino, type Name, nameOfText } from '../base/ids.ts';
import { ARRIVAL_REST_MS } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { type CID, cidOfBytes, parseCid } from '../content/content.ts';
import type { Actor, SyncedRow } from '../journal/journal.ts';
import { NameResolver, type NameSource } from '../node/resolver.ts';
import { type Numbered, numbered, OPEN_GATE, Restorer } from '../sync/sync.ts';
import { Arriving, type Caller, resolve, subdirectoriesIn } from '../vfs/vfs.ts';
import type { CoreParts } from './core.ts';
import { meaningOf } from './meaning.ts';
import type { ConfiguredNodes } from './nodes.ts';
import type { ArrivingStatus } from './status.ts';

const TREE = nameOfText('/ipfs');

export interface FirstTreeInputs {
  readonly core: Pick<CoreParts, 'vfs' | 'journal' | 'contents' | 'dag' | 'sealer' | 'filling'>;
  /** The home node says what a name means; in an empty state directory no other one is known. */
  readonly nodes: Pick<ConfiguredNodes, 'home'> & {
    readonly kubo: { readonly names: ReturnType<NameSource> } | undefined;
  };
  /**
   * A CID, also as `/ipfs/CID`: of a snapshot record, or of a UnixFS directory. Or `/ipns/NAME`: what
   * that means when it is asked first. Absent: what is on its way already.
   */
  readonly from: string | undefined;
  /** The mount is that of a daemon before this one: what is on its way was shown. */
  readonly isTakenOver: boolean;
  /** Who runs the daemon; 0 may have devices, owners and set-id bits restored. */
  readonly uid: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** What a start after a kill has to know, as it lies in the journal. */
interface Mark {
  readonly from: string;
  readonly cid: string;
  /** The first of the numbers that were set aside for the names at the root. */
  readonly ino: number;
  readonly cookie: number;
  /** Directories among these names. */
  readonly directories: number;
}

export class FirstTree {
  readonly #inputs: FirstTreeInputs;
  readonly #caller: Caller;
  readonly #restorer: Restorer;
  readonly #root: Ino;
  readonly #from: string;
  #mark: Mark | undefined;
  #foreseen: Numbered | undefined;
  #arrival: Promise<void> | undefined;
  #status: ArrivingStatus | undefined;

  /** @returns undefined: the tree was restored from there before, or nothing is to be restored. */
  static of(inputs: FirstTreeInputs): FirstTree | undefined {
    const { from, isTakenOver, core } = inputs;
    const mark = markIn(core.journal);
    const goesOn = isTakenOver || from === undefined || from === mark?.from;
    if (mark !== undefined && goesOn) return new FirstTree(inputs, mark.from, mark);
    // The name may mean another tree by now, and need not be asked.
    if (from === undefined || core.journal.meta.get('begun_from') === from) return undefined;
    return new FirstTree(inputs, from, undefined);
  }

  private constructor(inputs: FirstTreeInputs, from: string, mark: Mark | undefined) {
    const { vfs } = inputs.core;
    this.#inputs = inputs;
    this.#caller = callerOf(inputs.uid);
    this.#restorer = new Restorer(inputs.core);
    this.#root = treeOf(vfs, this.#caller);
    this.#from = from;
    this.#mark = mark;
    if (mark !== undefined) vfs.core.arriving = new Arriving(this.#root, mark.directories);
  }

  /** How far it is; undefined: it is there, or nobody knows how much it is. */
  get status(): ArrivingStatus | undefined {
    return this.#status;
  }

  /**
   * Resolves when what can be shown of it is known: all of it where that is no snapshot.
   * @throws OpError not-empty; invalid-cid; as `NameResolver.resolve` and `Restorer.restore`.
   */
  async foresee(): Promise<void> {
    const { core, uid, signal } = this.#inputs;
    const cid = await this.#cid();
    if (isFrom(core.journal.superblocks.synced(TREE), cid)) {
      this.#arrival = Promise.resolve();
      return;
    }
    if (!core.journal.dentries.isEmpty(this.#root)) {
      throw new OpError('not-empty', `mount from ${this.#from}`, {
        hint: 'that is for an empty state directory; kitfs snapshot restore is for any other',
      });
    }
    const foreseen = await this.#restorer.foresee(cid, { isRoot: uid === 0 }, signal);
    if (foreseen === undefined) {
      if (this.#mark === undefined) await this.arrive();
      return;
    }
    const { names, metadata, entries } = foreseen;
    const mark = this.#mark ?? this.#begin(cid, names, metadata);
    this.#mark = mark;
    this.#foreseen = numbered(names, mark);
    this.#status = { path: TREE, from: this.#from, names: 0, names_total: entries };
    const arriving = core.vfs.core.arriving ?? new Arriving(this.#root, mark.directories);
    core.vfs.core.arriving = arriving;
    arriving.tell(this.#foreseen.names);
  }

  /** Resolves when all of it is there. @throws OpError as `foresee`; whoever waits for it hears that. */
  arrive(): Promise<void> {
    this.#arrival ??= this.#arrive();
    return this.#arrival;
  }

  async #arrive(): Promise<void> {
    const { core, clock, signal } = this.#inputs;
    try {
      // First those who look at the names.
      if (this.#foreseen !== undefined) await clock.sleep(ARRIVAL_REST_MS, signal);
      if (this.#mark !== undefined && this.#foreseen === undefined) await this.foresee();
      await this.#restore();
    } catch (error) {
      core.vfs.core.arriving?.end(asOpError(error, `restore ${TREE}`));
      throw error;
    }
    this.#status = undefined;
    const { arriving } = core.vfs.core;
    core.vfs.core.arriving = undefined;
    arriving?.end('here');
  }

  async #cid(): Promise<CID> {
    if (this.#mark !== undefined) return parseCid(this.#mark.cid);
    const from = this.#from;
    if (!from.startsWith('/ipns/')) return parseCid(from.replace(/^\/ipfs\//, ''));
    const { core, nodes, clock, signal } = this.#inputs;
    const { home, kubo } = nodes;
    if (home === 'embedded' || kubo === undefined) {
      throw new OpError('node-offline', `resolve ${from}`, {
        hint: 'configure an online Kubo ([ipfs.kubo])',
      });
    }
    // The daemon's own is told of the nodes when its tools are there.
    const names = new NameResolver({ clock });
    names.attach(() => kubo.names);
    return meaningOf({ ...core, names }, from, signal);
  }

  /** From now on it is that tree, whenever it will be there. */
  #begin(
    cid: CID,
    names: Parameters<typeof numbered>[0],
    metadata: Parameters<CoreParts['vfs']['graft']>[1]['metadata'],
  ): Mark {
    const { journal, vfs } = this.#inputs.core;
    return journal.commit(() => {
      const mark: Mark = {
        from: this.#from,
        cid: cid.toString(),
        ino: journal.counters.setAside('ino', names.length),
        cookie: journal.counters.setAside('cookie', names.length),
        directories: subdirectoriesIn(names),
      };
      vfs.graft(this.#caller, { root: this.#root, linksFrom: [], metadata, children: [] });
      journal.meta.set('arriving', JSON.stringify(mark));
      return mark;
    });
  }

  async #restore(): Promise<void> {
    const { core, uid, log, signal } = this.#inputs;
    const { vfs, journal } = core;
    const from = this.#from;
    const { counts, skipped } = await this.#restorer.restore(
      {
        cid: await this.#cid(),
        existing: this.#root,
        missing: [],
        path: TREE,
        conflicts: { how: 'restore', policy: 'fail' },
        applyDeletions: false,
        gate: OPEN_GATE,
        writer: { write: (plan) => vfs.graft(this.#caller, plan) },
        numbers: this.#foreseen?.numbers,
        isRoot: uid === 0,
        actor: () => this.#caller.actor(),
        onRecord: () => {
          journal.meta.set('begun_from', from);
          journal.meta.set('arriving', '');
        },
        dryRun: false,
      },
      { signal, progress: () => {}, read: (names) => this.#read(names) },
    );
    log.info({ from, names: counts.created, devices: skipped.length }, 'restored the tree');
  }

  #read(names: number): void {
    if (this.#status !== undefined) this.#status = { ...this.#status, names };
  }
}

function markIn({ meta }: CoreParts['journal']): Mark | undefined {
  const text = meta.get('arriving') ?? '';
  return text === '' ? undefined : (JSON.parse(text) as Mark);
}

const isFrom = (synced: SyncedRow | undefined, cid: CID): boolean =>
  [synced?.rootCid, synced?.snapshotCid].some(
    (known) => known !== undefined && known !== null && cidOfBytes(known).equals(cid),
  );

function treeOf(vfs: CoreParts['vfs'], caller: Caller): Ino {
  const found = resolve(vfs, caller, TREE as Name, { follow: true });
  if (found instanceof Promise || found.inode === undefined) {
    throw new OpError('not-found', `restore ${TREE}`);
  }
  return found.inode.ino;
}

function callerOf(uid: number): Caller {
  const gid = process.getgid?.() ?? 0;
  const actor: Actor = { surface: 'daemon', uid, gid };
  return { uid, gid, groups: [], checked: false, actor: () => actor };
}
