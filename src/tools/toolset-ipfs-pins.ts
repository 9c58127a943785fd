/** Toolset ipfs_core, the pins: ipfs_pin_add, ipfs_pin_rm, ipfs_pin_ls. */
import { z } from 'zod';
import type { KuboNode, NodeKind, Pin, PinType } from '../backend/backend.ts';
import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { SNAPSHOT_ITEMS_MAX } from '../base/limits.ts';
import { isPublishedPin } from '../base/published.ts';
import { blockKey, type CID } from '../content/content.ts';
import { located } from './content-paths.ts';
import { changeOutside } from './outside.ts';
import { demandOwner, isOwner } from './owner.ts';
import {
  keepBlocks,
  type ListedPin,
  listed,
  pinsOf,
  pinTypeOf,
  recordPin,
  setPin,
  syncedAfterwards,
} from './pins.ts';
import { planOf } from './plans.ts';
import * as schema from './schema.ts';
import { type RecordResult, recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_core', version: '1.0.0' } as const;
const pinType = z.enum(['recursive', 'direct']);

const addOutput = z.object({
  cid: z.string(),
  pin_type: pinType,
  pin_name: z.string().optional(),
  already_pinned: z.boolean(),
  blocks: z.int().optional(),
});

const rmOutput = z.object({
  cid: z.string(),
  pin_type: pinType,
  removed: z.boolean(),
  reclaimable_bytes: z.int().optional(),
});

export const ipfsPinAdd = recordTool({
  ...COMMON,
  deadline: 'job',
  job: true,
  name: 'ipfs_pin_add',
  title: 'Pin content',
  description:
    'Keep a DAG, named by its root, on the node that holds it; all its blocks must be ' +
    'there. To add new bytes use ipfs_add, which pins.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: true },
  changes: 'journal',
  input: schema.input({
    ipfs_path: schema.ipfsPath(),
    recursive: schema.recursive(true),
    pin_name: schema.pinName().optional(),
    ...schema.node,
    ...schema.job,
  }),
  example: { ipfs_path: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e' },
  output: addOutput,
  run: async (input, context) => {
    const op = 'ipfs_pin_add';
    const node = context.ports.ipfs.nodes.state(input.node, op);
    const { cid } = await located(context, input, op);
    if (node.kind === 'kubo') return pinOutside(context, node, cid, input);
    const known = context.ports.vfs.core.journal.contents.pin(blockKey(cid));
    // A recursive pin keeps the root too: it is never made less.
    const recursive = input.recursive || known?.type === 'recursive';
    const blocks = await keepBlocks(context, cid, { recursive, op });
    const type = typeBy(recursive);
    const tell = (pinned: Pinned) => ({
      data: {
        cid: cid.toString(),
        pin_type: type,
        ...(pinned.name === null ? {} : { pin_name: pinned.name }),
        already_pinned: pinned.wasPinned,
        blocks,
      },
      seq: pinned.seq,
      node: 'embedded' as const,
    });
    return tell(pin(context, cid, { type, name: input.pin_name }, tell));
  },
  afterwards: syncedAfterwards,
});

async function pinOutside(
  context: ToolContext,
  node: KuboNode,
  cid: CID,
  { recursive, pin_name: name }: { recursive: boolean; pin_name?: string | undefined },
): Promise<RecordResult<z.input<typeof addOutput>>> {
  const onProgress = (done: number) => context.progress({ done, unit: 'blocks' });
  const { signal, timeoutMs: deadlineMs } = context;
  return changeOutside(context, {
    record: { kind: 'pin_add', cid, after: { type: typeBy(recursive), name: name ?? null } },
    make: () => node.pins.add(cid, { recursive, name, onProgress, signal, deadlineMs }),
    tell: (made) => ({
      data: {
        cid: cid.toString(),
        pin_type: made.type,
        ...(made.name === undefined ? {} : { pin_name: made.name }),
        already_pinned: made.alreadyPinned,
        ...(made.blocks === undefined ? {} : { blocks: made.blocks }),
      },
      node: node.kind,
    }),
  });
}

const typeBy = (recursive: boolean) => (recursive ? ('recursive' as const) : ('direct' as const));

interface Pinned {
  readonly name: string | null;
  readonly wasPinned: boolean;
  readonly seq: number | undefined;
}

/** The row and its record, unless the row says so already. */
function pin(
  context: ToolContext,
  cid: CID,
  { type, name }: { type: 'recursive' | 'direct'; name: string | undefined },
  tell: (pinned: Pinned) => RecordResult<unknown>,
): Pinned {
  const { journal } = context.ports.vfs.core;
  return journal.commit((tx) => {
    const { isChanged, wasPinned, ...after } = setPin(journal, tx, cid, { type, name });
    if (!isChanged) return { name: after.name, wasPinned, seq: undefined };
    const seq = recordPin(context, tx, { kind: 'pin_add', cid, after });
    const pinned = { name: after.name, wasPinned, seq };
    context.keep(() => tell(pinned));
    return pinned;
  });
}

export const ipfsPinRm = recordTool({
  ...COMMON,
  deadline: 'remote',
  name: 'ipfs_pin_rm',
  title: 'Unpin content',
  description:
    'End the promise to keep a DAG. Its blocks stay until garbage is collected; the tree ' +
    'and kept snapshots are safe without pins.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: false },
  changes: 'journal',
  input: schema.input({
    ipfs_path: schema.ipfsPath(),
    recursive: schema.recursive(true).describe('false: a direct pin'),
    ...schema.node,
    ...schema.timeout,
    ...schema.dryRun,
  }),
  example: { ipfs_path: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e' },
  output: rmOutput,
  run: async (input, context) => {
    const op = 'ipfs_pin_rm';
    const { dag, nodes } = context.ports.ipfs;
    const { journal } = context.ports.vfs.core;
    const { signal } = context;
    const node = nodes.state(input.node, op);
    const { cid } = await located(context, input, op);
    const type = typeBy(input.recursive);
    if (node.kind === 'kubo') return unpinOutside(context, node, cid, { op, ...input });
    if (journal.contents.pin(blockKey(cid))?.type !== type) {
      throw notPinned(op, cid, await pinTypeOf({ journal, dag, signal }, cid));
    }
    const remove = () =>
      journal.commit((tx) => {
        journal.contents.deletePin(blockKey(cid));
        return recordPin(context, tx, { kind: 'pin_rm', cid, after: { type } });
      });
    if (input.dry_run) return { data: { dry_run: true, plan: planOf(journal.rehearse(remove)) } };
    const data = { cid: cid.toString(), pin_type: type, removed: true };
    const told = { data, node: 'embedded' as const };
    const seq = journal.group(() => {
      context.keep(() => told);
      return remove();
    });
    return { ...told, seq };
  },
  afterwards: syncedAfterwards,
});

interface Unpinning {
  readonly op: string;
  readonly recursive: boolean;
  readonly dry_run: boolean;
}

/** @throws OpError not-pinned, of a dry run too. */
async function unpinOutside(
  context: ToolContext,
  node: KuboNode,
  cid: CID,
  { op, recursive, dry_run: dryRun }: Unpinning,
) {
  const { signal } = context;
  const { journal } = context.ports.vfs.core;
  const type = typeBy(recursive);
  const record = { kind: 'pin_rm', cid, after: { type } } as const;
  const found = await node.pins.get(cid, { signal });
  if (found?.type !== type) throw notPinned(op, cid, found?.type);
  if (dryRun) {
    const rehearsed = journal.rehearse(() =>
      journal.commit((tx) => void recordPin(context, tx, record)),
    );
    return { data: { dry_run: true as const, plan: planOf(rehearsed) } };
  }
  return changeOutside(context, {
    record,
    make: () => node.pins.rm(cid, { recursive, signal }),
    tell: () => ({ data: { cid: cid.toString(), pin_type: type, removed: true }, node: node.kind }),
  });
}

const notPinned = (op: string, cid: CID, type: ListedPin['pin_type'] | undefined): OpError =>
  new OpError('not-pinned', `${op} ${cid}`, {
    details: { cid: cid.toString(), partial: type === undefined ? undefined : { pin_type: type } },
  });

export const ipfsPinLs = recordTool({
  ...COMMON,
  deadline: 'remote',
  name: 'ipfs_pin_ls',
  title: 'List pins',
  description:
    'List what is pinned, or with ipfs_path how one CID is. Indirect pins are found by ' +
    'walking the recursive ones, which takes time.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  changes: 'nothing',
  input: schema.input({
    ipfs_path: schema.ipfsPath().optional(),
    pin_type: z.enum(['recursive', 'direct', 'indirect', 'all']).default('recursive'),
    pin_name: schema.pinName().optional().describe('part of the name'),
    ...schema.node,
    ...schema.page,
    ...schema.timeout,
  }),
  example: { pin_type: 'all' },
  output: z.object({
    pins: z.array(
      z.object({
        cid: z.string(),
        pin_type: z.enum(['recursive', 'direct', 'indirect']),
        pin_name: z.string().optional(),
        pinned_at: z.string().optional(),
      }),
    ),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_pin_ls';
    const { ipfs_path: path, pin_type: type, pin_name: name } = input;
    const { dag } = context.ports.ipfs;
    const { journal } = context.ports.vfs.core;
    const source = { journal, dag, signal: context.signal };
    const request = { tool: op, principal: context.principal, arguments: input };
    const node = context.ports.ipfs.nodes.state(input.node, op);
    const isAll = isOwner(context);
    // Those below what is published have no name that tells them apart.
    if (path === undefined && (type === 'indirect' || type === 'all')) demandOwner(context, op);
    const told = (pins: ListedPin[]) => (isAll ? pins : withoutOurs(pins, path !== undefined));
    const page = await context.ports.cursors.page(request, async () => {
      if (node.kind === 'kubo') return told(await pinsOutside(context, node, input));
      const all =
        path === undefined ? undefined : await located(context, { ...input, ipfs_path: path }, op);
      const pins =
        all === undefined ? await pinsOf(source, type) : await pinOf(source, all.cid, type);
      const isMeant = ({ pin_name }: ListedPin) => name === undefined || pin_name?.includes(name);
      return told(pins.filter(isMeant));
    });
    const { items, ...fields } = page;
    return { data: { pins: [...items], ...fields }, node: node.kind };
  },
});

/** Of a pin of ours that was asked for by its CID, nothing but the name is left out. */
function withoutOurs(pins: readonly ListedPin[], isAskedFor: boolean): ListedPin[] {
  return pins.flatMap((pin) => {
    const { pin_name: name, ...nameless } = pin;
    if (name === undefined || !isPublishedPin(name)) return [pin];
    return isAskedFor ? [nameless] : [];
  });
}

interface PinFilter {
  readonly ipfs_path?: string | undefined;
  readonly pin_type: PinType | 'all';
  readonly pin_name?: string | undefined;
  readonly node?: NodeKind | undefined;
}

/** In bytewise order of their CIDs as text. @throws OpError as `pinOf`. */
async function pinsOutside(
  context: ToolContext,
  { pins }: KuboNode,
  filter: PinFilter,
): Promise<ListedPin[]> {
  const { signal } = context;
  const { ipfs_path: path, pin_type: type, pin_name: name } = filter;
  const found: Pin[] = [];
  if (path === undefined) {
    for await (const one of pins.ls({ type, name, signal })) {
      found.push(one);
      if (found.length > SNAPSHOT_ITEMS_MAX) break; // `page` refuses so many.
    }
  } else {
    const { cid } = await located(context, { ...filter, ipfs_path: path }, 'ipfs_pin_ls');
    const one = await pins.get(cid, { signal });
    const isWanted = one !== undefined && (type === 'all' || type === one.type);
    if (!isWanted) throw notPinned('ipfs_pin_ls', cid, one?.type);
    if (name === undefined || one.name?.includes(name) === true) found.push(one);
  }
  return found.map(shownPin).sort((one, other) => (one.cid < other.cid ? -1 : 1));
}

const shownPin = ({ cid, type, name, pinnedAt }: Pin): ListedPin => ({
  cid: cid.toString(),
  pin_type: type,
  ...(name === undefined ? {} : { pin_name: name }),
  ...(pinnedAt === undefined ? {} : { pinned_at: rfc3339(pinnedAt) }),
});

/** @throws OpError not-pinned: not at all, or not in that way. */
async function pinOf(
  source: Parameters<typeof pinTypeOf>[0],
  cid: CID,
  type: ListedPin['pin_type'] | 'all',
): Promise<ListedPin[]> {
  const found = await pinTypeOf(source, cid);
  if (found === undefined || (type !== 'all' && type !== found)) {
    throw notPinned('ipfs_pin_ls', cid, found);
  }
  const row = source.journal.contents.pin(blockKey(cid));
  return row === undefined ? [{ cid: cid.toString(), pin_type: found }] : [listed(row)];
}
