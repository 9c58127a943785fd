/** Toolset ipfs_core, a pin that moves on: ipfs_pin_update. */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { blockKey, type CID } from '../content/content.ts';
import { located } from './content-paths.ts';
import { changeOutside } from './outside.ts';
import { keepBlocks, presentBlocks, recordPin, setPin, syncedAfterwards } from './pins.ts';
import { planOf } from './plans.ts';
import * as schema from './schema.ts';
import { type RecordResult, recordTool, type ToolContext } from './tool.ts';

const OP = 'ipfs_pin_update';

const updateInput = schema.input({
  source: schema.ipfsPath('the old root'),
  destination: schema.ipfsPath('the new root'),
  unpin: schema.flag(true).describe('the old one'),
  ...schema.node,
  ...schema.job,
  ...schema.dryRun,
});
type UpdateInput = z.output<typeof updateInput>;

const updateOutput = z.object({
  source_cid: z.string(),
  destination_cid: z.string(),
  unpinned: z.boolean(),
});

/** From one root to the next. */
interface Move {
  readonly from: CID;
  readonly to: CID;
  readonly unpin: boolean;
}

export const ipfsPinUpdate = recordTool({
  toolset: 'ipfs_core',
  version: '1.0.0',
  deadline: 'job',
  job: true,
  name: OP,
  title: 'Move a pin',
  description:
    'Pin a new root recursively in place of an old one, which shares most of its blocks; the ' +
    'name goes along. Never a moment without a pin.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: true },
  changes: 'journal',
  input: updateInput,
  example: {
    source: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e',
    destination: 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354',
  },
  output: updateOutput,
  run: async (input, context) => {
    const node = context.ports.ipfs.nodes.state(input.node, OP);
    const move = await moveOf(input, context);
    const { from, to, unpin } = move;
    const tell = (): RecordResult<z.input<typeof updateOutput>> => ({
      data: {
        source_cid: from.toString(),
        destination_cid: to.toString(),
        unpinned: unpin && !from.equals(to),
      },
      node: node.kind,
    });
    const { journal } = context.ports.vfs.core;
    if (node.kind === 'embedded') {
      demandPinned(context, move);
      if (input.dry_run) {
        await presentBlocks(context, to, { recursive: true, op: OP });
        return dryRun(context, () => void moveHere(context, move));
      }
      await keepBlocks(context, to, { recursive: true, op: OP });
      const seq = journal.group(() => {
        context.keep(tell);
        return moveHere(context, move);
      });
      return { ...tell(), seq };
    }
    const { signal, timeoutMs: deadlineMs } = context;
    // The node would take a move that was made already for this one.
    const found = await node.pins.get(from, { signal });
    if (found?.type !== 'recursive') throw notPinned(from, found?.type);
    if (input.dry_run) return dryRun(context, () => void recordMove(context, move));
    return changeOutside(context, {
      record: recordOf(move),
      make: () => node.pins.update(from, to, { unpin, signal, deadlineMs }),
      tell,
    });
  },
  afterwards: syncedAfterwards,
});

async function moveOf(input: UpdateInput, context: ToolContext): Promise<Move> {
  const { node, unpin } = input;
  const { cid: from } = await located(context, { node, ipfs_path: input.source }, OP);
  const { cid: to } = await located(context, { node, ipfs_path: input.destination }, OP);
  return { from, to, unpin };
}

function dryRun({ ports }: ToolContext, make: () => void) {
  const plan = planOf(ports.vfs.core.journal.rehearse(make));
  return { data: { dry_run: true as const, plan } };
}

/** @throws OpError not-pinned: not at all, or directly. */
function demandPinned({ ports }: ToolContext, { from }: Move): void {
  const old = ports.vfs.core.journal.contents.pin(blockKey(from));
  if (old?.type !== 'recursive') throw notPinned(from, old?.type);
}

const notPinned = (cid: CID, type: string | undefined): OpError =>
  new OpError('not-pinned', `${OP} ${cid}`, {
    details: { cid: cid.toString(), partial: type === undefined ? undefined : { pin_type: type } },
  });

/** Both rows and the record, in one transaction. @throws OpError not-pinned. */
function moveHere(context: ToolContext, move: Move): number {
  const { from, to, unpin } = move;
  const { journal } = context.ports.vfs.core;
  return journal.commit((tx) => {
    // Asked again: the blocks took their time.
    demandPinned(context, move);
    const old = journal.contents.pin(blockKey(from));
    const made = journal.contents.pin(blockKey(to));
    const name = made?.name ?? old?.name ?? undefined;
    setPin(journal, tx, to, { type: 'recursive', name });
    if (unpin && !from.equals(to)) journal.contents.deletePin(blockKey(from));
    return recordPin(context, tx, recordOf(move));
  });
}

const recordOf = ({ from, to, unpin }: Move) => ({
  kind: 'pin_update' as const,
  cid: to,
  oldCid: from,
  after: { unpin },
});

function recordMove(context: ToolContext, move: Move): number {
  const { journal } = context.ports.vfs.core;
  return journal.commit((tx) => recordPin(context, tx, recordOf(move)));
}
