/**
 * A record of the journal in the words of the contract. Apart from the tools that page through
 * history, because `/.kitfs` shows records before there are tools.
 */
import { z } from 'zod';
import { rfc3339 } from '../base/clock.ts';
import { type ContentId, nameOf, textOf } from '../base/ids.ts';
import { R_OK } from '../base/posix.ts';
import { cidOfBytes } from '../content/content.ts';
import type { Actor, HistoryRecord, OpKind, OpRow } from '../journal/journal.ts';
import { type Caller, type Core, isPermitted } from '../vfs/vfs.ts';
import { actorObject, actorSchema, octal, typeOf } from './entries.ts';

export const recordSchema = z.object({
  seq: z.int(),
  time: z.string(),
  op: z.string(),
  path: z.string(),
  old_path: z.string().optional(),
  inode: z.int().optional(),
  type: z.string().optional(),
  size: z.int().optional(),
  old_size: z.int().optional(),
  cid: z.string().optional(),
  old_cid: z.string().optional(),
  mode: z.string().optional(),
  old_mode: z.string().optional(),
  offset: z.int().optional(),
  length: z.int().optional(),
  actor: actorSchema,
  group: z.string().optional(),
  result: z.object({
    state: z.enum(['pending', 'done', 'failed', 'rolled_back']),
    error_code: z.string().optional(),
  }),
  undo: z.object({ state: z.enum(['available', 'undone', 'blocked', 'expired', 'impossible']) }),
  prev_hash: z.string(),
  hash: z.string(),
});
export type JournalRecord = z.output<typeof recordSchema>;

/** A record in the words of the contract; with a `caller`, CIDs only when they are for it. */
export function recordObject(
  core: Core,
  { row, actor, prevHash, hash }: HistoryRecord,
  caller?: Caller,
): JournalRecord {
  const isTold = caller === undefined || mayKnowCids(core, caller, row, actor);
  const fields: Readonly<Record<string, unknown>> = {
    old_path: row.old_path === null ? undefined : textOf(nameOf(row.old_path)),
    inode: row.ino === 0 ? undefined : row.ino,
    type: row.mode === null || isChmod(row) ? undefined : typeOf(row.mode),
    size: row.size,
    old_size: row.old_size,
    cid: isTold ? cidOfRow(core, row.cid, row.content) : undefined,
    old_cid: isTold ? cidOfRow(core, row.old_cid, row.old_content) : undefined,
    mode: row.mode === null ? undefined : octal(row.mode),
    old_mode: row.old_mode === null ? undefined : octal(row.old_mode),
    offset: row.position,
    length: row.length,
    group: row.call_group,
  };
  const known = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return {
    seq: row.seq,
    time: rfc3339({ s: row.time_s, ns: row.time_ns }),
    op: row.kind,
    path: textOf(nameOf(row.path)),
    ...Object.fromEntries(known),
    actor: actorObject(actor),
    result: {
      state: row.state as JournalRecord['result']['state'],
      ...(row.error === null ? {} : { error_code: row.error }),
    },
    undo: { state: undoState(core, row) },
    prev_hash: prevHash.toString('hex'),
    hash: hash.toString('hex'),
  };
}

const isChmod = ({ kind }: OpRow): boolean => kind === 'chmod';

/**
 * Who has a CID has the bytes. So they are for who may read the file, as it is now; when it is gone,
 * for root and for its owner; of what is no file, for root and for who did it.
 */
function mayKnowCids(core: Core, caller: Caller, row: OpRow, actor: Actor): boolean {
  if (caller.uid === 0) return true;
  if (row.ino === 0) return actor.uid === caller.uid;
  const inode = core.inodes.find(row.ino);
  if (inode !== undefined) return isPermitted(caller, inode, R_OK);
  return ownerBefore(row) === caller.uid;
}

function ownerBefore({ before }: OpRow): unknown {
  const known = JSON.parse(before ?? '{}') as { uid?: unknown; attributes?: { uid?: unknown } };
  return known.attributes?.uid ?? known.uid;
}

/** As recorded, or what the bytes hash to that the record names and that were hashed since. */
function cidOfRow(core: Core, known: Buffer | null, content: ContentId | null): string | undefined {
  if (known !== null) return cidOfBytes(known).toString();
  if (content === null) return undefined;
  const row = core.journal.contents.get(content);
  const isKnown = row?.state === 'sealed' || row?.state === 'remote';
  return isKnown && row.cid !== null ? cidOfBytes(row.cid).toString() : undefined;
}

const CHANGES_OF_BYTES: ReadonlySet<OpKind> = new Set(['write', 'truncate', 'fallocate']);
const WITHOUT_INVERSE: ReadonlySet<OpKind> = new Set([
  'mount',
  'unmount',
  'sync_to',
  'checkpoint',
  'repair',
  'dag_put',
  'name_publish',
  'pubsub_publish',
  'fetch',
  'backend_register',
  'backend_remove',
  'backend_store',
  'backend_delete',
  'backend_copy',
  'cluster_pin',
]);

/** Whether what taking the record back needs is kept. */
function undoState(core: Core, row: OpRow): JournalRecord['undo']['state'] {
  if (WITHOUT_INVERSE.has(row.kind)) return 'impossible';
  const { old_content: old, old_size: oldSize } = row;
  if (old !== null) {
    return core.journal.contents.get(old) === undefined ? 'expired' : 'available';
  }
  // The bytes before were too many to keep, or of a tree in memory.
  const lost = CHANGES_OF_BYTES.has(row.kind) && oldSize !== null && oldSize > 0;
  return lost ? 'impossible' : 'available';
}
