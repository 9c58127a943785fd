/** `kitfs log`: the history of the tree, newest first. */
import type { Command } from 'commander';
import { SystemClock } from '../base/clock.ts';
import type { ControlClient } from '../daemon/daemon.ts';
import { callTool } from './call.ts';
import {
  type Ending,
  interruptible,
  type JsonOption,
  type PlaceOptions,
  runs,
  withDaemon,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import {
  complain,
  complainOf,
  EXIT,
  print,
  printJson,
  printLine,
  shown,
  sizeText,
  UsageError,
} from './output.ts';
import { treePath } from './tree-path.ts';

interface LogOptions extends PlaceOptions, JsonOption {
  readonly limit: string;
  readonly since?: string;
  readonly follow?: boolean;
}

/** A record, as far as it is shown here. */
interface LogRecord {
  readonly seq: number;
  readonly time: string;
  readonly op: string;
  readonly path: string;
  readonly old_path?: string;
  readonly size?: number;
  readonly old_size?: number;
  readonly actor: {
    readonly surface: string;
    readonly uid: number;
    readonly pid?: number;
    readonly exe?: string;
    readonly client?: { readonly name: string };
    readonly tool?: string;
  };
}

interface Page {
  readonly entries: readonly LogRecord[];
  readonly next_cursor?: string;
  readonly head: { readonly seq: number };
}

const LIMIT = '50';
/** What one call gives at most. */
const PAGE_MAX = 500;
const FOLLOW_MS = 500;

export function addLog(program: Command, ending: Ending): void {
  const command = program
    .command('log')
    .description('what was done to a path and everything below it, and by whom')
    .argument('[path]', 'in the tree, or of this host below the mount point', '/')
    .option('--limit <count>', 'how many records', LIMIT)
    .option('--since <time>', 'only from then on, in RFC 3339')
    .option('--follow', 'go on with new records as they come, oldest first');
  withJson(withPlaces(command), 'the records');
  withExamples(command, [
    ['kitfs log', 'the last 50 operations'],
    ['kitfs log /ipfs/docs --limit 500', 'those of a directory'],
    ['kitfs log ~/kitfs/ipfs/hello.txt', 'those of one file, by its path on this host'],
    ['kitfs log --follow --json', 'everything as it happens, one line each'],
  ]);
  runs<[string], LogOptions>(command, ending, (options, path) => {
    const limit = limitOf(options.limit);
    return withDaemon(options, async (daemon) => {
      const query = {
        path: await treePath(daemon, path),
        recursive: true,
        ...(options.since === undefined ? {} : { since: options.since }),
      };
      const signal = interruptible();
      return options.follow === true
        ? follow(daemon, query, options.json === true, signal)
        : show(daemon, query, { limit, isJson: options.json === true }, signal);
    });
  });
}

function limitOf(text: string): number {
  const limit = Number(text);
  if (Number.isSafeInteger(limit) && limit > 0) return limit;
  throw new UsageError(`--limit ${text}: a whole number above 0 is wanted`);
}

type Query = Readonly<Record<string, unknown>>;

/** undefined: the tool has answered with an error, which was told. */
async function page(
  daemon: ControlClient,
  query: Query,
  isJson: boolean,
  signal: AbortSignal,
): Promise<Page | undefined> {
  const envelope = await callTool(daemon, 'fs_journal_get_history', query, signal);
  if (envelope.status === 'success') return envelope.data as unknown as Page;
  if (isJson) printJson(envelope);
  else complainOf(envelope);
  return undefined;
}

async function show(
  daemon: ControlClient,
  query: Query,
  { limit, isJson }: { readonly limit: number; readonly isJson: boolean },
  signal: AbortSignal,
): Promise<number> {
  const records: LogRecord[] = [];
  let cursor: string | undefined;
  // The same limit in every page: a cursor belongs to the arguments it was given for.
  const perPage = Math.min(limit, PAGE_MAX);
  do {
    const more = { ...query, limit: perPage, ...(cursor === undefined ? {} : { cursor }) };
    const next = await page(daemon, more, isJson, signal);
    if (next === undefined) return EXIT.failed;
    records.push(...next.entries);
    cursor = next.next_cursor;
  } while (cursor !== undefined && records.length < limit);
  const wanted = records.slice(0, limit);
  if (wanted.length === 0) complain(`nothing is recorded of ${query['path']}`);
  if (isJson) printJson(wanted);
  else for (const record of wanted) print(lineOf(record));
  return EXIT.done;
}

async function follow(
  daemon: ControlClient,
  query: Query,
  isJson: boolean,
  signal: AbortSignal,
): Promise<number> {
  const clock = new SystemClock();
  const first = await page(daemon, { ...query, limit: 1 }, isJson, signal);
  if (first === undefined) return EXIT.failed;
  let seq = query['since'] === undefined ? first.head.seq : 0;
  while (!signal.aborted) {
    const asked = { ...query, order: 'asc', limit: PAGE_MAX, since_seq: seq };
    const next = await page(daemon, asked, isJson, signal);
    if (next === undefined) return EXIT.failed;
    for (const record of next.entries) {
      if (isJson) printLine(record);
      else print(lineOf(record));
    }
    seq = next.entries.at(-1)?.seq ?? seq;
    // Everything there was is shown: wait for more. It ends with Ctrl-C.
    if (next.next_cursor === undefined) await clock.sleep(FOLLOW_MS, signal).catch(() => {});
  }
  return EXIT.done;
}

function lineOf(record: LogRecord): string {
  const { seq, time, op, path, old_path, size, actor } = record;
  const what = shown(old_path === undefined ? path : `${old_path} → ${path}`);
  const bytes = size === undefined ? '' : ` (${sizeText(size)})`;
  return `${String(seq).padStart(8)}  ${time.slice(0, 19)}Z  ${op.padEnd(10)}  ${what}${bytes}  ${whoOf(actor)}`;
}

function whoOf({ surface, uid, pid, exe, client, tool }: LogRecord['actor']): string {
  const program = exe?.split('/').at(-1) ?? client?.name;
  const parts = [
    surface,
    ...(program === undefined ? [] : [program]),
    ...(tool === undefined ? [] : [tool]),
    ...(pid === undefined ? [] : [`pid ${pid}`]),
    `uid ${uid}`,
  ];
  return `[${shown(parts.join(', '))}]`;
}
