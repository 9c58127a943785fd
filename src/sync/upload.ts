/**
 * One attempt to bring a snapshot to a node: the blocks it lacks as a CAR, the pins, the tree into its
 * MFS. Bytes of files that are elsewhere are not here to be sent: the node finds them where they were
 * found for us, when it is told to pin what they belong to.
 *
 * Invariants: every step may be done twice, and an attempt after a kill finds out what was done by
 * asking the node; what was held before is let go only when the node said that it has the new; what is
 * in its MFS under our name and is not ours is left alone; a pin of another name is never changed.
 */
import { code as RAW_CODEC } from 'multiformats/codecs/raw';
import type { CallOptions, IpfsNode, Pin } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { bytesOf, isUtf8Name, type Name } from '../base/ids.ts';
import { PUBLISHED_IN, PUBLISHED_PIN } from '../base/published.ts';
import { blockKey, CID, carOf, cidOfBytes, type Dag, parseCid } from '../content/content.ts';
import type { Journal, Root, TargetRow } from '../journal/journal.ts';
import { isSameRoot } from './intend.ts';
import { counted, lacking } from './missing.ts';
import { lateAmong, sentCids } from './sent.ts';
import { chainOf, readSnapshot } from './snapshot.ts';

/** Records of a path among which one is looked for that published a tree of it, or brought one there. */
const RECORDS_MAX = 4096;
/** Earlier snapshots among which a tree is looked for: hours of them, and some milliseconds of work. */
const EARLIER_MAX = 1000;

export interface UploadPorts {
  readonly journal: Journal;
  /** Tells its pins from those of any other journal that publishes the same path to the node. */
  readonly journalId: string;
  readonly dag: Dag;
  readonly clock: Clock;
}

export interface UploadRun {
  readonly signal: AbortSignal;
  /** What was given to the node so far. */
  readonly progress: (sent: Sent) => void;
  /** What the bytes pass on their way: a limit of bandwidth. */
  readonly through?: ((bytes: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>) | undefined;
}

export interface Sent {
  readonly blocks: number;
  readonly bytes: number;
  /** Of what the node lacks; undefined: that is not known yet. */
  readonly total?: { readonly blocks: number; readonly bytes: number } | undefined;
}

/** The place of a path in the MFS of a node: one name, whatever is in the path. */
export function placeOf(path: Name): string {
  let name = '';
  for (const byte of bytesOf(path).subarray(1)) {
    const char = String.fromCharCode(byte);
    name += /[\w.-]/.test(char) ? char : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`;
  }
  return `${PUBLISHED_IN}/${name}`;
}

/** The name of the pins that belong to a path of a journal. */
export const pinNameOf = (journalId: string, path: Name): string =>
  `${PUBLISHED_PIN}${journalId} ${pathOf(path)}`;

/** How they were named before: alike in every journal, so a name alone does not say that a pin is ours. */
const oldNameOf = (path: Name): string => `${PUBLISHED_PIN}${pathOf(path)}`;

const pathOf = (path: Name): string =>
  isUtf8Name(path) ? Buffer.from(path, 'latin1').toString('utf8') : placeOf(path);

/**
 * Carries out one intent.
 * @returns the row as it is in the journal afterwards: `stored` or `pinned`.
 * @throws OpError sync-conflict with details {partial: {version}}: another root is published there;
 *   response-invalid: the node says something else than it should; what the node's calls throw;
 *   content-missing, integrity of what is here; the signal's reason.
 */
export const upload = (
  ports: UploadPorts,
  node: IpfsNode,
  row: TargetRow,
  run: UploadRun,
): Promise<TargetRow> => new Upload(ports, node, row, run).run();

/** All that makes a snapshot whole. */
interface Whole {
  readonly tree: CID;
  readonly manifest: CID;
  readonly snapshot: CID;
  /**
   * The record under another codec: a pin of it keeps the block, which nodes know by its hash, and not
   * all snapshots before, to which it links.
   */
  readonly record: CID;
}

class Upload {
  readonly #ports: UploadPorts;
  readonly #node: IpfsNode;
  readonly #run: UploadRun;
  readonly #place: string;
  readonly #name: string;
  readonly #oldName: string;
  readonly #op: string;
  #row: TargetRow;

  constructor(ports: UploadPorts, node: IpfsNode, row: TargetRow, run: UploadRun) {
    this.#ports = ports;
    this.#node = node;
    this.#row = row;
    this.#run = run;
    this.#place = placeOf(row.path);
    this.#name = pinNameOf(ports.journalId, row.path);
    this.#oldName = oldNameOf(row.path);
    this.#op = `sync ${row.path} to ${row.target}`;
  }

  async run(): Promise<TargetRow> {
    const { sent: interrupted, held, wanted: root } = this.#row;
    const wanted = await this.#wholeOf(this.#row.wanted);
    const there = await this.#demandOurs();
    const wasPlaced = held !== undefined && isSameRoot(held, root) && there === keyOf(wanted.tree);
    const before = await this.#pins();
    const roots = rootsOf(wanted);
    if (roots.some((cid) => !isKept(before, cid))) await this.#send(wanted, before);
    for (const cid of roots) await this.#pin(cid, before);
    const old = await this.#underOldName(before);
    // To send takes long, and somebody else may have published there meanwhile.
    await this.#demandOurs();
    await this.#node.mfs.place(this.#place, wanted.tree, this.#call);
    const pins = await this.#demandThere(wanted);
    this.#keep({
      state: this.#row.pin ? 'pinned' : 'stored',
      held: { ...this.#row.wanted, pin: this.#row.pin },
      // With what was held goes what says that these are ours.
      sent: [...new Set([...this.#row.sent, ...old])],
      checkedS: this.#ports.clock.now().s,
      failure: undefined,
    });
    // A kill may take out of its MFS what is there for a moment only: a pin keeps it until the next check.
    await this.#letGo(pins, this.#row.pin || !wasPlaced ? roots : roots.slice(1));
    const sent = lateAmong(interrupted, this.#ports.clock.now().s);
    this.#keep({ sent, attempts: 0, dueS: undefined });
    return this.#row;
  }

  get #call(): CallOptions {
    return { signal: this.#run.signal };
  }

  /** What somebody changed of the row meanwhile, as what is wanted next, stays. */
  #keep(change: Partial<TargetRow>): void {
    const { journal } = this.#ports;
    this.#row = journal.commit(() => {
      const { path, target } = this.#row;
      const now = journal.targets.get(path, target);
      const isAsked = now?.pin === this.#row.pin;
      const isSame = now !== undefined && isAsked && isSameRoot(now.wanted, this.#row.wanted);
      const row = { ...this.#row, ...change, ...(isSame ? { wanted: now.wanted } : {}) };
      // A publication that changed nothing meanwhile may have found that it includes more records.
      const { held, wanted } = row;
      if (held !== undefined && isSameRoot(held, wanted)) row.held = { ...wanted, pin: held.pin };
      if (isSame) journal.targets.put(row);
      else if (now !== undefined) journal.targets.put({ ...now, held: row.held, sent: row.sent });
      return row;
    });
  }

  async #wholeOf({ tree, snapshot }: Root): Promise<Whole> {
    const cid = cidOfBytes(snapshot);
    const { manifest } = await readSnapshot(this.#ports.dag, cid, this.#run.signal);
    const record = CID.createV1(RAW_CODEC, cid.multihash);
    return { tree: cidOfBytes(tree), manifest, snapshot: cid, record };
  }

  /** Nobody else publishes under our name; what is there, if anything. */
  async #demandOurs(): Promise<string | undefined> {
    const there = await this.#node.mfs.stat(this.#place, this.#call);
    if (there === undefined) return undefined;
    const key = keyOf(there.cid);
    const { held, wanted, sent } = this.#row;
    const known = new Set([wanted.tree, ...(held === undefined ? [] : [held.tree])].map(textOf));
    for (const text of sentCids(sent)) known.add(keyOf(parseCid(text)));
    if (known.has(key) || this.#isBefore(there.cid)) return key;
    if (await this.#wasOurs(there.cid)) return key;
    throw new OpError('sync-conflict', this.#op, {
      hint: `somebody else published ${there.cid} there: merge it with vfs_sync_from_ipfs, or move it away`,
      details: { partial: { version: there.cid.toString() } },
    });
  }

  /** Whether what is wanted comes after it: it was published here, or brought here, before. */
  #isBefore(tree: CID): boolean {
    const { path, wanted } = this.#row;
    const roots = this.#ports.journal.ops.rootsOf(path, wanted.seq, RECORDS_MAX);
    return roots.map(textOf).includes(keyOf(tree));
  }

  /**
   * Whether it is an earlier snapshot of this path: what a node puts in its MFS it may lose by a kill, and
   * then shows what was there before.
   */
  async #wasOurs(tree: CID): Promise<boolean> {
    const newest = cidOfBytes(this.#row.wanted.snapshot);
    let looked = 0;
    try {
      for await (const { record } of chainOf(this.#ports.dag, newest, this.#run.signal)) {
        if (keyOf(record.tree) === keyOf(tree)) return true;
        looked += 1;
        if (looked === EARLIER_MAX) return false;
      }
    } catch (error) {
      // The chain ends where a record is lost.
      const isEnd =
        error instanceof OpError && ['content-missing', 'integrity'].includes(error.failure);
      if (!isEnd) throw error;
    }
    return false;
  }

  /** All pins that are no consequence of others. */
  async #pins(): Promise<Pins> {
    const pins = new Map<string, Pin>();
    for (const type of ['direct', 'recursive'] as const) {
      for await (const pin of this.#node.pins.ls({ ...this.#call, type })) {
        pins.set(pinOf(pin.cid), pin);
      }
    }
    return pins;
  }

  async #send(wanted: Whole, before: Pins): Promise<void> {
    const { dag } = this.#ports;
    const roots = rootsOf(wanted);
    // To pin what is pinned takes its name away, and the pin itself for a moment, which may be all there is.
    const fresh = roots.filter((cid) => !isKept(before, cid));
    const sent = new Set([...this.#row.sent, ...fresh.map(String)]);
    const { held, wanted: root, dueS = this.#ports.clock.now().s } = this.#row;
    const isLost = held !== undefined && isSameRoot(held, root);
    // They may be pinned before the node has answered, and nobody after a kill would know why.
    const note = { state: 'uploading', sent: [...sent], dueS } as const;
    this.#keep(isLost ? { ...note, held: undefined } : note);
    const base = await this.#base(held, before);
    const pairs = [
      { root: wanted.tree, base: base?.tree },
      { root: wanted.manifest, base: base?.manifest },
    ];
    const record = {
      cid: wanted.record,
      bytes: await dag.block(wanted.snapshot, this.#run.signal),
    };
    const lacks = await lacking(dag, pairs, this.#run.signal);
    const total = { blocks: 1 + lacks.blocks, bytes: record.bytes.length + lacks.bytes };
    const done = { blocks: 0, bytes: 0 };
    const blocks = async function* () {
      yield record;
      yield* lacks.send();
    };
    const car = carOf(fresh, counted(blocks(), done));
    const { progress, through = (bytes) => bytes } = this.#run;
    const told = telling(car, () => progress({ ...done, total }));
    const imported = await this.#node.content.importCar(through(told), {
      ...this.#call,
      // An import asks no other node: with a part elsewhere the pins come after it.
      pinRoots: lacks.isWhole,
      sent: () => done,
    });
    if (!lacks.isWhole) return;
    const taken = new Set(imported.roots.map(keyOf));
    if (!fresh.every((cid) => taken.has(keyOf(cid)))) {
      throw new OpError('response-invalid', this.#op, { hint: 'the node took other roots' });
    }
  }

  /** The snapshot that the node still keeps whole; undefined: nothing is taken for granted. */
  async #base(
    held: Root | undefined,
    pins: Pins,
  ): Promise<Pick<Whole, 'tree' | 'manifest'> | undefined> {
    const { failure } = this.#row;
    // A node may have lost blocks below a pin: an attempt that failed for it sends everything.
    if (held === undefined || failure === 'content-missing' || failure === 'timeout') {
      return undefined;
    }
    const { tree, manifest } = await this.#wholeOf(held);
    return isKept(pins, tree) && isKept(pins, manifest) ? { tree, manifest } : undefined;
  }

  /**
   * A pin that was there before, and is not ours, keeps its name, also when it becomes a recursive one; ours by a
   * CAR has none yet.
   */
  async #pin(cid: CID, before: Pins): Promise<void> {
    const pin = before.get(pinOf(cid));
    const isSent = pin?.name === undefined && sentCids(this.#row.sent).includes(pinOf(cid));
    const isOurs = isSent || pin?.name === this.#name;
    if (!isOurs && isKept(before, cid)) return;
    const name = isOurs ? this.#name : (pin?.name ?? this.#name);
    await this.#node.pins.add(cid, { ...this.#call, name });
  }

  /** Roots of what was held that an earlier version of this program pinned. */
  async #underOldName(before: Pins): Promise<readonly string[]> {
    const { held } = this.#row;
    const named = [...before.values()].filter(({ name }) => name === this.#oldName);
    if (held === undefined || named.length === 0) return [];
    const roots = new Set(rootsOf(await this.#wholeOf(held)).map(pinOf));
    return named.map(({ cid }) => pinOf(cid)).filter((key) => roots.has(key));
  }

  /** @returns what is pinned now. @throws OpError response-invalid. */
  async #demandThere(wanted: Whole): Promise<Pins> {
    const placed = await this.#node.mfs.stat(this.#place, this.#call);
    const pins = await this.#pins();
    const isPlaced = placed !== undefined && keyOf(placed.cid) === keyOf(wanted.tree);
    const isPinned = rootsOf(wanted).every((cid) => isKept(pins, cid));
    if (isPlaced && isPinned) return pins;
    throw new OpError('response-invalid', this.#op, {
      hint: `the node says that it has no ${isPlaced ? 'pin' : 'entry in MFS'} of what it took`,
    });
  }

  /** Our pins of before, and those that have another name by an upgrade, or none by a kill. */
  async #letGo(pins: Pins, roots: readonly CID[]): Promise<void> {
    const wanted = new Set(roots.map(pinOf));
    const sent = new Set(sentCids(this.#row.sent));
    for (const [key, { cid, type, name }] of pins) {
      const isUnsaid = name === undefined || name === this.#oldName;
      const isOurs = name === this.#name || (isUnsaid && sent.has(key));
      if (!isOurs || wanted.has(key)) continue;
      try {
        await this.#node.pins.rm(cid, { ...this.#call, recursive: type === 'recursive' });
      } catch (error) {
        // Somebody else unpinned it meanwhile.
        if (!(error instanceof OpError && error.failure === 'not-pinned')) throw error;
      }
    }
  }
}

/** By the spelling of the CID: a node that is told of two has two pins, which keep the same blocks. */
type Pins = ReadonlyMap<string, Pin>;
const pinOf = (cid: CID): string => cid.toString();
const isKept = (pins: Pins, cid: CID): boolean => pins.get(pinOf(cid))?.type === 'recursive';

const keyOf = (cid: CID): string => blockKey(cid).toString('latin1');
const textOf = (key: Buffer): string => keyOf(cidOfBytes(key));

/** What is pinned, all of it recursively: the tree first. */
const rootsOf = ({ tree, manifest, record }: Whole): CID[] => [tree, manifest, record];

async function* telling(
  bytes: AsyncIterable<Uint8Array>,
  tell: () => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of bytes) {
    yield piece;
    tell();
  }
}
