/** `kitfs snapshot`: what was published of a path, what it held, and how to have it back. */
import { type Command, Option } from 'commander';
import type {
  Compared,
  ControlClient,
  ListedDifference,
  ListedSnapshot,
  ShownSnapshot,
  SnapshotList,
} from '../daemon/daemon.ts';
import { runCommand } from './call.ts';
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
import { finished } from './job.ts';
import {
  complain,
  complainOf,
  EXIT,
  print,
  printJson,
  shown,
  sizeText,
  UsageError,
} from './output.ts';
import { treePath } from './tree-path.ts';

type Options = PlaceOptions & JsonOption;

interface ListOptions extends Options {
  readonly limit: string;
}

interface RestoreOptions extends Options {
  readonly into?: string;
  readonly onConflict: string;
  readonly keepExtra?: boolean;
  readonly discard?: boolean;
  readonly dryRun?: boolean;
}

interface ConflictView {
  readonly path: string;
  readonly what: string;
}

const LIMIT = '50';
const SNAPSHOT = 'its CID, or a path: the last one of that path';

export function addSnapshot(program: Command, ending: Ending): void {
  const command = program
    .command('snapshot')
    .description('what was published of a path: list, show, diff, restore');
  addList(command, ending);
  addShow(command, ending);
  addDiff(command, ending);
  addRestore(command, ending);
  withExamples(command, [
    ['kitfs snapshot list', 'every snapshot of /ipfs, newest first'],
    ['kitfs snapshot diff /ipfs', 'what the last one has that the one before had not'],
    ['kitfs snapshot restore /ipfs <cid> --dry-run', 'what going back would change'],
  ]);
}

function addList(parent: Command, ending: Ending): void {
  const command = parent
    .command('list')
    .description('the snapshots of a path, newest first')
    .argument('[path]', 'in the tree, or of this host below the mount point', '/ipfs')
    .option('--limit <count>', 'how many', LIMIT);
  withJson(withPlaces(command), 'them');
  runs<[string], ListOptions>(command, ending, (options, path) => {
    const limit = limitOf(options.limit);
    return withDaemon(options, async (daemon) => {
      const list = await listOf(daemon, path, limit);
      if (options.json === true) printJson(list);
      else for (const snapshot of list.snapshots) print(lineOf(snapshot));
      if (list.incomplete !== undefined) complain(`the one before is not here: ${list.incomplete}`);
      return EXIT.done;
    });
  });
}

function addShow(parent: Command, ending: Ending): void {
  const command = parent
    .command('show')
    .description('what a snapshot holds')
    .argument('<snapshot>', SNAPSHOT);
  withJson(withPlaces(command), 'it');
  runs<[string], Options>(command, ending, (options, named) =>
    withDaemon(options, async (daemon) => {
      const at = await snapshotNamed(daemon, named);
      const asked = { signal: interruptible() };
      const snapshot = (await daemon.ask('snapshot_show', { at }, asked)) as ShownSnapshot;
      if (options.json === true) printJson(snapshot);
      else print(textOf(snapshot));
      return EXIT.done;
    }),
  );
}

function addDiff(parent: Command, ending: Ending): void {
  const command = parent
    .command('diff')
    .description('names created (+), changed (~) and deleted (-)')
    .argument('<from>', `${SNAPSHOT}; alone: what it has that the one before it had not`)
    .argument('[to]', 'another one, newer or not');
  withJson(withPlaces(command), 'them');
  runs<[string, string | undefined], Options>(command, ending, (options, one, other) =>
    withDaemon(options, async (daemon) => {
      const named = [await snapshotNamed(daemon, one)];
      if (other !== undefined) named.push(await snapshotNamed(daemon, other));
      const [to = '', from] = [...named].reverse();
      const changes: ListedDifference[] = [];
      const onPart = (part: unknown) => {
        const some = part as readonly ListedDifference[];
        if (options.json === true) changes.push(...some);
        else for (const change of some) print(changeOf(change));
      };
      const asked = { signal: interruptible(), onPart };
      const params = { to, ...(from === undefined ? {} : { from }) };
      const compared = (await daemon.ask('snapshot_diff', params, asked)) as Compared;
      if (options.json === true) printJson({ ...compared, changes });
      return EXIT.done;
    }),
  );
}

function addRestore(parent: Command, ending: Ending): void {
  const command = parent
    .command('restore')
    .description('keep what a directory is as a snapshot, and make it what another one was')
    .argument('<path>', 'in the tree, or of this host below the mount point')
    .argument('[snapshot]', 'its CID; the last one of the path when not given')
    .option('--into <dir>', 'leave the path as it is, and show the snapshot there')
    .addOption(
      new Option('--on-conflict <policy>', 'what becomes of names that differ')
        .choices(['fail', 'keep_remote'])
        .default('keep_remote'),
    )
    .option('--keep-extra', 'leave what the last sync had and the snapshot has not')
    .option('--discard', 'make no snapshot first: what was not published is lost')
    .option('--dry-run', 'all checks, and nothing changed');
  withJson(withPlaces(command), 'the result');
  runs<[string, string | undefined], RestoreOptions>(command, ending, (options, path, cid) =>
    withDaemon(options, (daemon) => restore(daemon, path, cid, options)),
  );
}

async function restore(
  daemon: ControlClient,
  path: string,
  cid: string | undefined,
  options: RestoreOptions,
): Promise<number> {
  const { json, into, keepExtra, discard, dryRun, onConflict } = options;
  const signal = interruptible();
  const snapshot = cid ?? (await lastOf(daemon, path));
  const values = {
    ipfs_path: snapshot,
    path: await treePath(daemon, into ?? path),
    on_conflict: onConflict,
    apply_deletions: keepExtra !== true,
    keep_first: discard !== true,
    parents: true,
    dry_run: dryRun === true,
  };
  const envelope = await finished(daemon, 'snapshot_restore', values, signal, runCommand);
  if (json === true) printJson(envelope.status === 'error' ? envelope : envelope.data);
  else if (envelope.status === 'error') complainOf(envelope);
  else print(restoredText(envelope.data, values.path));
  return envelope.status === 'error' ? EXIT.failed : EXIT.done;
}

async function lastOf(daemon: ControlClient, path: string): Promise<string> {
  const { snapshots, incomplete } = await listOf(daemon, path, 1);
  const [last] = snapshots;
  return last?.snapshot_cid ?? incomplete ?? '';
}

async function listOf(daemon: ControlClient, path: string, limit: number): Promise<SnapshotList> {
  const params = { path: await treePath(daemon, path), limit };
  const asked = { signal: interruptible() };
  return (await daemon.ask('snapshot_list', params, asked)) as SnapshotList;
}

/** What looks like a path is one; a CID has neither slash nor dot. */
const snapshotNamed = async (daemon: ControlClient, named: string): Promise<string> =>
  /[/.]/.test(named) ? treePath(daemon, named) : named;

function limitOf(text: string): number {
  const limit = Number(text);
  if (Number.isSafeInteger(limit) && limit > 0) return limit;
  throw new UsageError(`--limit ${text}: a whole number above 0 is wanted`);
}

function lineOf({ snapshot_cid, time, message }: ListedSnapshot): string {
  const said = message === undefined ? '' : `  ${shown(message)}`;
  return `${time.slice(0, 19)}Z  ${snapshot_cid}${said}`;
}

function textOf(snapshot: ShownSnapshot): string {
  const { root_cid, manifest_cid, previous_cid, seq, counts, bytes } = snapshot;
  const names = Object.entries(counts).filter(([, count]) => count > 0);
  return [
    lineOf(snapshot),
    `tree      ${root_cid}  (${sizeText(bytes)})`,
    `manifest  ${manifest_cid}`,
    `before    ${previous_cid ?? 'none'}`,
    `journal   record ${seq}`,
    `names     ${names.map(([type, count]) => `${type} ${count}`).join(', ')}`,
  ].join('\n');
}

const SIGNS = { created: '+', changed: '~', deleted: '-' } as const;

function changeOf({ change, path, what }: ListedDifference): string {
  const aspects = what === undefined ? '' : `  (${what.join(', ')})`;
  return `${SIGNS[change]} ${shown(path === '' ? '.' : path)}${aspects}`;
}

function restoredText(data: Readonly<Record<string, unknown>>, path: string): string {
  const { dry_run, plan, root_cid, counts } = data;
  type Counts = Readonly<Record<string, number>>;
  const told = dry_run === true ? (plan as { readonly counts: Counts }).counts : (counts as Counts);
  const list = Object.entries(told)
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${what} ${count}`)
    .join(', ');
  const what =
    dry_run === true
      ? `${shown(path)} would change: ${list === '' ? 'nothing' : list}`
      : `${shown(path)}  ${root_cid}  (${list === '' ? 'nothing changed' : list})`;
  return [what, ...conflictLines(dry_run === true ? plan : data)].join('\n');
}

/** What was changed here, or made here, and is not any more. */
function conflictLines(told: unknown): string[] {
  const { conflicts = [] } = told as { readonly conflicts?: readonly ConflictView[] };
  return conflicts.map(({ path, what }) => `conflict  ${shown(path)}  (${what})`);
}
