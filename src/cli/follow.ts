/** `kitfs follow`: read-only copies of published trees that stay current. */
import type { Command } from 'commander';
import { OpError } from '../base/errors.ts';
import type { ControlClient, FollowStatus, Status } from '../daemon/daemon.ts';
import { callTool, type Envelope } from './call.ts';
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
import { complainOf, EXIT, print, printJson, shown, UsageError } from './output.ts';
import { followText } from './status.ts';
import { treePath } from './tree-path.ts';

interface FollowOptions extends PlaceOptions, JsonOption {
  readonly interval?: string;
  readonly list?: boolean;
  readonly end?: boolean;
}

/** Where copies are shown when nobody says. */
const FOLLOWED = '/followed';
/** A tree of a million names takes its time. */
const BEGIN_MS_MAX = 3_600_000;
const INTERVAL_S_MAX = 86_400;

export function addFollow(program: Command, ending: Ending): void {
  const command = program
    .command('follow')
    .description('keep a read-only copy of a published tree current')
    .argument('[name]', '/ipns/<name>: what was published under it; with --end the path')
    .argument('[path]', `in the tree, or below the mount point; ${FOLLOWED}/<name> when absent`)
    .option('--interval <seconds>', 'how often to ask what the name means')
    .option('--list', 'what is followed, and how current it is')
    .option('--end', 'follow it no more, and take the copy at that path away');
  withJson(withPlaces(command), 'the result');
  withExamples(command, [
    ['kitfs follow /ipns/<name> /site', 'a copy at /site, until it is ended'],
    ['kitfs follow --list', 'all copies'],
    ['kitfs follow --end /site', 'the copy goes'],
  ]);
  runs<[string | undefined, string | undefined], FollowOptions>(
    command,
    ending,
    (options, first, second) => {
      const what = demandOne(options, first, second);
      return withDaemon(options, (daemon) => {
        if (what === undefined) return list(daemon, options);
        if (options.end === true) return end(daemon, what, options);
        return follow(daemon, what, second, options);
      });
    },
  );
}

/** What is named; undefined: all are listed. @throws UsageError. */
function demandOne(
  { list: isList, end: isEnd, interval }: FollowOptions,
  first: string | undefined,
  second: string | undefined,
): string | undefined {
  const isBare = isList === true || isEnd === true;
  if (isList === true && (isEnd === true || first !== undefined)) {
    throw new UsageError('--list goes alone');
  }
  if (isBare && interval !== undefined) throw new UsageError('--interval goes with a name');
  if (isEnd === true && second !== undefined) throw new UsageError('--end goes with one path');
  if (first === undefined && isList !== true) {
    throw new UsageError(isEnd === true ? 'which copy? name its path' : 'name what to follow');
  }
  return first;
}

async function follow(
  daemon: ControlClient,
  named: string,
  path: string | undefined,
  { interval, json }: FollowOptions,
): Promise<number> {
  const source = named.startsWith('/') || named.includes('://') ? named : `/ipns/${named}`;
  const last =
    source
      .split('/')
      .filter((one) => one !== '')
      .at(-1) ?? '';
  const options = interval === undefined ? {} : { refresh_s: secondsOf(interval) };
  const values = {
    backend: 'ipns',
    source,
    mount_point: path === undefined ? `${FOLLOWED}/${last}` : await treePath(daemon, path),
    read_only: true,
    options,
    timeout_ms: BEGIN_MS_MAX,
  };
  const envelope = await callTool(daemon, 'vfs_mount', values, interruptible());
  return told(envelope, json, ({ mount_point: at, local_path: local }) =>
    shown(String(local ?? at)),
  );
}

async function end(daemon: ControlClient, path: string, { json }: FollowOptions): Promise<number> {
  const point = await treePath(daemon, path);
  const copies = copiesIn((await daemon.ask('status')) as Status);
  if (!copies.some((copy) => copy.path === point)) {
    throw new OpError('not-found', `end the copy at ${shown(path)}`, {
      hint: 'see kitfs follow --list',
    });
  }
  const values = { mount_point: point };
  const envelope = await callTool(daemon, 'vfs_unmount', values, interruptible());
  return told(envelope, json, () => `${shown(point)} is gone`);
}

function told(
  envelope: Envelope,
  json: boolean | undefined,
  text: (data: Readonly<Record<string, unknown>>) => string,
): number {
  if (json === true) printJson(envelope.status === 'error' ? envelope : envelope.data);
  else if (envelope.status === 'error') complainOf(envelope);
  else print(text(envelope.data));
  return envelope.status === 'error' ? EXIT.failed : EXIT.done;
}

async function list(daemon: ControlClient, { json }: FollowOptions): Promise<number> {
  const copies = copiesIn((await daemon.ask('status')) as Status);
  if (json === true) printJson(copies);
  else for (const { path, follows } of copies) print(`${shown(path)}  ${followText(follows)}`);
  return EXIT.done;
}

interface ListedCopy {
  readonly path: string;
  readonly follows: FollowStatus;
}

const copiesIn = ({ mounts }: Status): ListedCopy[] =>
  mounts
    .flatMap(({ trees }) => trees)
    .flatMap(({ path, follows }) => (follows === undefined ? [] : [{ path, follows }]));

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (Number.isSafeInteger(seconds) && seconds > 0 && seconds <= INTERVAL_S_MAX) return seconds;
  throw new UsageError(`--interval ${text}: whole seconds, at most a day, are wanted`);
}
