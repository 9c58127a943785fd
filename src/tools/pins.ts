/**
 * Pins of the embedded engine: a row that says which DAG is kept. What a recursive pin keeps is
 * found by walking it.
 */

import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { Name } from '../base/ids.ts';
import { SNAPSHOT_ITEMS_MAX } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import { blockKey, type CID, cidOfBytes, type Dag } from '../content/content.ts';
import type { Journal, OpKind, PinRow, Tx } from '../journal/journal.ts';
import { syncBlocks } from '../sync/sync.ts';
import type { ToolContext } from './tool.ts';

export type PinType = PinRow['type'] | 'indirect';

export interface ListedPin {
  readonly cid: string;
  readonly pin_type: PinType;
  readonly pin_name?: string;
  readonly pinned_at?: string;
}

/** Missing blocks that an error names. */
const MISSING_SHOWN = 20;
/** Blocks held in one transaction. */
const BLOCKS_PER_COMMIT = 256;

/**
 * Sees that what a pin keeps is here, holds it, and brings it to stable storage.
 * @returns how many blocks that are.
 * @throws OpError content-missing with details {partial: {missing}}; integrity, unsupported.
 */
export async function keepBlocks(
  context: ToolContext,
  root: CID,
  { recursive, op }: { readonly recursive: boolean; readonly op: string },
): Promise<number> {
  const { vfs, ipfs } = context.ports;
  const { journal, content: contents } = vfs.core;
  const { signal } = context;
  const keys = await presentBlocks(context, root, { recursive, op });
  for (let at = 0; at < keys.length; at += BLOCKS_PER_COMMIT) {
    signal.throwIfAborted();
    journal.commit(() => {
      for (const cid of keys.slice(at, at + BLOCKS_PER_COMMIT)) ipfs.blocks.hold(cid);
    });
    await turn();
  }
  if (recursive) {
    await syncBlocks({ journal, contents, dag: ipfs.dag }, [root], signal);
    return keys.length;
  }
  const own = journal.contents.lastingBlock(blockKey(root));
  if (own !== undefined) await contents.fsync([own.content]);
  return keys.length;
}

/** What a pin would keep, all of it here. @throws OpError as `keepBlocks`. */
export async function presentBlocks(
  context: ToolContext,
  root: CID,
  { recursive, op }: { readonly recursive: boolean; readonly op: string },
): Promise<readonly CID[]> {
  const { ports, signal } = context;
  const { ipfs } = ports;
  const keys: CID[] = [];
  const missing: CID[] = [];
  for await (const { cid, size } of walked(ipfs, root, { recursive, signal })) {
    if (size === undefined) missing.push(cid);
    else keys.push(cid);
    if (missing.length === MISSING_SHOWN) break;
    context.progress({ done: keys.length, unit: 'blocks' });
  }
  demandAll(missing, `${op} ${root}`);
  return keys;
}

/** @throws OpError content-missing when there are any, with the first of them. */
export function demandAll(missing: readonly CID[], op: string): void {
  if (missing.length === 0) return;
  const shown = missing.slice(0, MISSING_SHOWN).map(String);
  throw new OpError('content-missing', op, {
    hint: 'find a provider, or add the content',
    details: { cid: shown[0], partial: { missing: shown } },
  });
}

/** All blocks, or the root alone. */
async function* walked(
  { blocks, dag }: ToolContext['ports']['ipfs'],
  root: CID,
  { recursive, signal }: { readonly recursive: boolean; readonly signal: AbortSignal },
) {
  if (recursive) yield* dag.walk(root, signal);
  else yield { cid: root, size: blocks.sizeOf(root) };
}

/** `afterwards` of what must not be lost with the power: the journal goes to stable storage. */
export async function syncedAfterwards<Data>(
  data: Data,
  _input: unknown,
  { ports }: ToolContext,
): Promise<Data> {
  await ports.vfs.core.syncJournal();
  return data;
}

export interface SetPin {
  readonly type: PinRow['type'];
  readonly name: string | null;
  /** Before, as that or as more. */
  readonly wasPinned: boolean;
  readonly isChanged: boolean;
}

/**
 * Sees that there is the row of a pin, in the transaction that records it. A name stays unless another
 * is given; a recursive pin stays what it is; the time is that of the first.
 */
export function setPin(
  journal: Journal,
  tx: Tx,
  cid: CID,
  wanted: { readonly type: PinRow['type']; readonly name: string | undefined },
): SetPin {
  const key = blockKey(cid);
  const known = journal.contents.pin(key);
  const name = wanted.name ?? known?.name ?? null;
  const type = known?.type === 'recursive' ? known.type : wanted.type;
  const wasPinned = known?.type === type;
  const isChanged = !wasPinned || known.name !== name;
  const { time_s, time_ns } = wasPinned ? known : { time_s: tx.now.s, time_ns: tx.now.ns };
  if (isChanged) journal.contents.setPin({ cid: key, type, name, time_s, time_ns });
  return { type, name, wasPinned, isChanged };
}

export interface PinRecord {
  readonly kind: OpKind;
  /** undefined: it is about a path alone. */
  readonly cid: CID | undefined;
  readonly path?: Name | undefined;
  /** Of two ends the one it came from. */
  readonly oldPath?: Name | undefined;
  readonly size?: number | undefined;
  readonly after: Readonly<Record<string, unknown>>;
  readonly oldCid?: CID | undefined;
  readonly state?: 'pending' | 'done' | 'failed' | undefined;
  readonly error?: string | undefined;
}

/** The record of a change of pins, in the transaction of the change. */
export function recordPin(context: ToolContext, tx: Tx, record: PinRecord): number {
  const { journal } = context.ports.vfs.core;
  const { kind, cid, oldCid, path, oldPath, size, after, state, error } = record;
  return tx.record({
    kind,
    actor: journal.actors.intern(context.caller.actor()),
    ino: 0,
    parent: 0,
    name: '' as Name,
    path: path ?? (`/ipfs/${cid}` as Name),
    oldPath,
    group: context.requestId,
    size,
    cid: cid === undefined ? undefined : Buffer.from(cid.bytes),
    oldCid: oldCid === undefined ? undefined : Buffer.from(oldCid.bytes),
    after,
    state,
    error,
  });
}

/** The pin of what a call stored, when it asks for one, and its record, in one transaction. */
export function recordStored<Input extends { pin: boolean; pin_name?: string | undefined }>(
  context: ToolContext,
  root: CID,
  input: Input,
  recordOf: (named: Input) => PinRecord,
): number {
  const { journal } = context.ports.vfs.core;
  return journal.commit((tx) => {
    const wanted = { type: 'recursive', name: input.pin_name } as const;
    const name = input.pin ? setPin(journal, tx, root, wanted).name : null;
    return recordPin(context, tx, recordOf({ ...input, pin_name: name ?? input.pin_name }));
  });
}

/** What is listed of pins, in bytewise order of their CIDs, each CID once. */
export async function pinsOf(
  { journal, dag, signal }: { journal: Journal; dag: Dag; signal: AbortSignal },
  type: PinType | 'all',
): Promise<ListedPin[]> {
  const rows = journal.contents.pins();
  const shown = rows.filter((row) => type === 'all' || row.type === type).map(listed);
  if (type !== 'all' && type !== 'indirect') return shown;
  const pinned = new Set(rows.map(({ cid }) => cid.toString('hex')));
  const indirect = new Map<string, CID>();
  for (const row of rows.filter((one) => one.type === 'recursive')) {
    const root = cidOfBytes(row.cid);
    for await (const { cid, size } of dag.walk(root, signal)) {
      const key = blockKey(cid).toString('hex');
      if (size !== undefined && !pinned.has(key)) indirect.set(key, cid);
      if (indirect.size > SNAPSHOT_ITEMS_MAX) throw tooMany();
    }
  }
  for (const cid of indirect.values()) {
    shown.push({ cid: cidOfBytes(blockKey(cid)).toString(), pin_type: 'indirect' });
  }
  return shown;
}

const tooMany = (): OpError =>
  new OpError('result-too-large', 'ipfs_pin_ls', {
    hint: 'give ipfs_path, or list recursive and direct pins only',
    details: { partial: { max: SNAPSHOT_ITEMS_MAX } },
  });

/** How one CID is pinned; undefined: not at all. */
export async function pinTypeOf(
  { journal, dag, signal }: { journal: Journal; dag: Dag; signal: AbortSignal },
  wanted: CID,
): Promise<PinType | undefined> {
  const key = blockKey(wanted);
  const row = journal.contents.pin(key);
  if (row !== undefined) return row.type;
  for (const { cid: root, type } of journal.contents.pins()) {
    if (type !== 'recursive') continue;
    for await (const { cid } of dag.walk(cidOfBytes(root), signal)) {
      if (blockKey(cid).equals(key)) return 'indirect';
    }
  }
  return undefined;
}

export const listed = ({ cid, type, name, time_s: s, time_ns: ns }: PinRow): ListedPin => ({
  cid: cidOfBytes(cid).toString(),
  pin_type: type,
  ...(name === null ? {} : { pin_name: name }),
  pinned_at: rfc3339({ s, ns }),
});
