/** Toolset journal: fs_journal_get_history. */
import { z } from 'zod';
import { type Instant, parseRfc3339, rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type Name, nameOf, nameOfText } from '../base/ids.ts';
import { PAGE_BYTES_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, R_OK, X_OK } from '../base/posix.ts';
import { REDACTED } from '../base/redaction.ts';
import { type HistoryFilter, OP_KINDS, type OpKind } from '../journal/journal.ts';
import { CONTROL_INO_FROM, type Inode, isPermitted, resolve, type Vfs } from '../vfs/vfs.ts';
import { cidTextOf, typeOf, versionTextOf } from './entries.ts';
import { type Asker, askerOf, find } from './places.ts';
import { type JournalRecord, recordObject, recordSchema } from './record.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';

/** Operations of the contract that no record of this journal can have yet. */
const OTHER_OPERATIONS = [
  'track',
  'untrack',
  'model_register',
  'dataset_register',
  'alert_create',
  'alert_remove',
  'stream_create',
  'stream_publish',
  'stream_close',
  'undo',
  'commit',
  'rollback',
  'service',
] as const;
const OPERATIONS: ReadonlySet<string> = new Set([...OP_KINDS, ...OTHER_OPERATIONS]);

/** Looks into the journal for one page before a short one is answered. */
const LOOKS_MAX = 8;

const historyInput = schema.input({
  path: schema.path().default('/'),
  recursive: schema.recursive(),
  follow: schema.flag(true).describe('across renames'),
  operations: z.array(schema.text(1, 32)).max(32).optional().describe('e.g. write, rename'),
  surface: z.enum(['fuse', 'mcp', 'cli', 'daemon']).optional(),
  session_id: schema.text(1, 64).optional(),
  pid: schema.int(0).optional(),
  since: schema.time().optional(),
  until: schema.time().optional(),
  since_seq: schema.sinceSeq().optional(),
  order: z.enum(['desc', 'asc']).default('desc'),
  ...schema.page,
});
type HistoryInput = z.output<typeof historyInput>;

/** Where a page goes on, and up to which record the pages of one call go. */
interface Position extends Readonly<Record<string, unknown>> {
  readonly afterSeq: number | undefined;
  readonly untilSeq: number;
  /** The commit group whose hash was recomputed last, by its last record. */
  readonly verified: number | undefined;
}

export const fsJournalGetHistory = recordTool({
  toolset: 'journal',
  version: '1.0.0',
  deadline: 'local',
  name: 'fs_journal_get_history',
  title: 'History of a path',
  description:
    'Who did what to a path, and with recursive to everything below it, newest first: ' +
    'programs on the mount and tools alike, removed files too. For one file’s last change ' +
    'vfs_stat is enough.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  changes: 'nothing',
  input: historyInput,
  example: { path: '/ipfs', recursive: true, limit: 10 },
  output: z.object({
    path: z.string(),
    entries: z.array(recordSchema),
    current_state: z
      .object({
        exists: z.literal(true),
        type: z.string(),
        size: z.int(),
        mtime: z.string(),
        version: z.string(),
        cid: z.string().optional(),
      })
      .nullable(),
    head: z.object({ seq: z.int(), hash: z.string() }),
    oldest_seq: z.int(),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const asker = askerOf(context, 'fs_journal_get_history');
    demandOperations(input);
    const { vfs, caller } = asker;
    const inode = await currentInode(asker, input);
    const page = await readPage(input, context, { inode, sees: sightOf(asker, input) });
    const { head } = vfs.core.journal;
    return {
      data: {
        path: input.path,
        entries: page.entries,
        current_state: inode === undefined ? null : await currentState(vfs, caller, inode),
        head: { seq: head.seq, hash: head.hash.toString('hex') },
        oldest_seq: vfs.core.journal.ops.firstSeq(),
        ...(page.cursor === undefined ? {} : { next_cursor: page.cursor }),
        truncated: page.cursor !== undefined,
      },
    };
  },
});

/** @throws OpError invalid-argument. */
function demandOperations({ operations = [] }: HistoryInput): void {
  const unknown = operations.filter((operation) => !OPERATIONS.has(operation));
  if (unknown.length === 0) return;
  throw new OpError('invalid-argument', `fs_journal_get_history of ${unknown.join(', ')}`, {
    details: {
      issues: unknown.map((operation) => ({
        argument: 'operations',
        reason: 'range',
        expected: `an operation such as write, not ${operation}`,
      })),
    },
  });
}

/**
 * What has the path now; undefined: nothing.
 * @throws OpError denied: the caller may not look there.
 */
async function currentInode(asker: Asker, input: HistoryInput): Promise<Inode | undefined> {
  const { path, recursive } = input;
  let inode: Inode | undefined;
  try {
    inode = (await find(asker, path, false)).inode;
  } catch (error) {
    const gone = ['not-found', 'not-directory'];
    if (!(error instanceof OpError) || !gone.includes(error.failure)) throw error;
  }
  const isTree = recursive && inode !== undefined && isDirectory(inode.mode);
  if (isTree && inode !== undefined && !isPermitted(asker.caller, inode, R_OK | X_OK)) {
    throw new OpError('denied', `${asker.tool} ${path}`, { details: { path } });
  }
  return inode;
}

async function currentState(vfs: Vfs, caller: Asker['caller'], inode: Inode) {
  const cid = isRegular(inode.mode) ? await cidTextOf(vfs, caller, inode) : undefined;
  return {
    exists: true as const,
    type: typeOf(inode.mode),
    size: inode.size,
    mtime: rfc3339({ s: inode.mtimeS, ns: inode.mtimeNs }),
    version: await versionTextOf(vfs, caller, inode),
    ...(cid === undefined ? {} : { cid }),
  };
}

interface Page {
  readonly entries: JournalRecord[];
  readonly cursor: string | undefined;
}

/** Records up to `limit` or 48 KiB. May be short, and yet not the last. */
async function readPage(
  input: HistoryInput,
  { ports, principal, caller, signal }: ToolContext,
  { inode, sees }: { readonly inode: Inode | undefined; readonly sees: (path: Name) => boolean },
): Promise<Page> {
  const { cursors, clock, vfs } = ports;
  const { history, journal } = vfs.core;
  const request = { tool: 'fs_journal_get_history', principal, arguments: input };
  const start = cursors.resume<Position>(request);
  const untilSeq = start?.untilSeq ?? journal.head.seq;
  const entries: JournalRecord[] = [];
  let afterSeq = start?.afterSeq;
  let verified = start?.verified;
  let bytes = 0;
  for (let look = 0; look < LOOKS_MAX; look += 1) {
    const limit = input.limit - entries.length;
    const filter = filterOf(input, inode);
    const page = history.query({ ...filter, limit, afterSeq, untilSeq });
    verified = history.verify(page.records, verified);
    for (const record of page.records) {
      const { path, old_path: oldPath, seq } = record.row;
      if (!sees(nameOf(path))) {
        afterSeq = seq;
        continue;
      }
      const isFromHidden = oldPath !== null && !sees(nameOf(oldPath));
      const known = recordObject(vfs.core, record, caller);
      const entry = isFromHidden ? { ...known, old_path: REDACTED } : known;
      bytes += Buffer.byteLength(JSON.stringify(entry)) + 1;
      if (entries.length > 0 && bytes > PAGE_BYTES_MAX) {
        return { entries, cursor: cursors.keep(request, { afterSeq, untilSeq, verified }) };
      }
      entries.push(entry);
      afterSeq = entry.seq;
    }
    afterSeq = page.nextAfterSeq;
    if (afterSeq === undefined) return { entries, cursor: undefined };
    if (entries.length >= input.limit) break;
    await clock.sleep(0, signal); // Others have their turn between two looks.
  }
  return { entries, cursor: cursors.keep(request, { afterSeq, untilSeq, verified }) };
}

/**
 * Whether the caller may look into the directory of a path, as it is now; into one that is gone
 * everybody may.
 */
function sightOf({ vfs, caller }: Asker, { recursive }: HistoryInput): (path: Name) => boolean {
  // Who names a file need only get there; who asks for all there are is told names.
  const mask = recursive ? R_OK | X_OK : X_OK;
  const mayLookInto = (directory: Name): boolean => {
    try {
      const found = resolve(vfs, caller, directory, { follow: true });
      if (!(found instanceof Promise)) {
        return found.inode === undefined || isPermitted(caller, found.inode, mask);
      }
      found.catch(() => {});
      return true; // Content by CID is for everybody.
    } catch (error) {
      if (error instanceof OpError) return error.failure !== 'denied';
      throw error;
    }
  };
  const known = new Map<Name, boolean>();
  return (path) => {
    const directory = (path.slice(0, path.lastIndexOf('/')) || '/') as Name;
    const answer = known.get(directory) ?? mayLookInto(directory);
    known.set(directory, answer);
    return answer;
  };
}

function filterOf(
  input: HistoryInput,
  inode: Inode | undefined,
): Omit<HistoryFilter, 'limit' | 'afterSeq' | 'untilSeq'> {
  const { path, recursive, follow, operations, surface, order, pid, since, until } = input;
  const isManaged = inode !== undefined && inode.ino < CONTROL_INO_FROM;
  return {
    path: nameOfText(path),
    ino: isManaged ? inode.ino : undefined,
    recursive,
    follow,
    // A kind that no record has finds none.
    operations: operations as readonly OpKind[] | undefined,
    surface,
    sessionId: input.session_id,
    pid,
    since: since === undefined ? undefined : instantOf(since),
    until: until === undefined ? undefined : justBefore(instantOf(until)),
    // The contract says "greater than", and 0 for the oldest kept.
    sinceSeq: input.since_seq === undefined || input.since_seq === 0 ? 0 : input.since_seq + 1,
    order,
  };
}

/** @throws OpError invalid-argument. */
function instantOf(text: string): Instant {
  const instant = parseRfc3339(text);
  if (instant !== undefined) return instant;
  throw schema.combination('fs_journal_get_history', 'since', 'a time in RFC 3339');
}

const justBefore = ({ s, ns }: Instant): Instant =>
  ns > 0 ? { s, ns: ns - 1 } : { s: s - 1, ns: 999_999_999 };
