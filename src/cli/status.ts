/** `kitfs status`: what is mounted, what waits for its CID, and how the daemon is. */
import type { Command } from 'commander';
import type { FollowStatus, MfsStatus, Status } from '../daemon/daemon.ts';
import {
  type Ending,
  type JsonOption,
  type PlaceOptions,
  runs,
  withDaemon,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { EXIT, print, printJson, shown, sizeText, table } from './output.ts';

export function addStatus(program: Command, ending: Ending): void {
  const command = program
    .command('status')
    .description('what is mounted, dirty and unhealthy; exit code 3 when no daemon runs');
  withJson(withPlaces(command), 'the status');
  withExamples(command, [
    ['kitfs status', 'for people'],
    ["kitfs status --json | jq -r '.mounts[].mount_point'", 'for scripts'],
  ]);
  runs<[], PlaceOptions & JsonOption>(command, ending, (options) =>
    withDaemon(options, async (daemon) => {
      const status = (await daemon.ask('status')) as Status;
      if (options.json === true) printJson(status);
      else print(textOf(status));
      return EXIT.done;
    }),
  );
}

function textOf(status: Status): string {
  const { pid, version, health, mounts, driver, dirty, journal, kernel, agents, paths } = status;
  const { driver_reason, keeper } = status;
  const up = durationText(status.uptime_s);
  const errors = Object.entries(status.errors_last_hour).map(([code, n]) => `${n} ${code}`);
  const rows = [
    ['kitfs', `${version}, pid ${pid}, up ${up}`],
    ['keeper', keeper === null ? 'none: a kill ends the mount' : `pid ${keeper}`],
    ['health', health.state],
    ...health.because.map(({ error_code, text }) => ['', `${error_code}: ${text}`]),
    ...mounts.map(({ mount_point, read_only }) => [
      'mounted',
      `${mount_point}${read_only ? ', read-only' : ''}`,
    ]),
    ...mounts.flatMap(({ trees }) => trees.map((tree) => ['', treeText(tree)])),
    ['driver', `${driver}: ${driver_reason}`],
    ['passthrough', passthroughText(status)],
    ['dirty', dirty.files === 0 ? 'nothing' : `${dirty.files} files, ${sizeText(dirty.bytes)}`],
    ...rowsOf('arriving', status.arriving === undefined ? [] : [arrivingText(status.arriving)]),
    ...rowsOf('space', status.space === undefined ? [] : [spaceText(status.space)]),
    ...rowsOf('unpublished', status.unpublished.map(unpublishedText)),
    ...rowsOf('stores', status.uploads.map(uploadText)),
    ['journal', `${journal.seq} records`],
    ['kernel', `${kernel.requests} requests, ${kernel.handles} files open`],
    ['agents', String(agents)],
    ['errors', errors.length === 0 ? 'none in the last hour' : errors.join(', ')],
    ['state', paths.state],
    ['socket', paths.mcp_socket],
  ];
  return table(rows);
}

const rowsOf = (title: string, texts: readonly string[]): string[][] =>
  texts.map((text, at) => [at === 0 ? title : '', text]);

const unpublishedText = ({ path, due, error_code: code }: Status['unpublished'][number]): string =>
  `${shown(path)}: ${code === undefined ? '' : `${code}, `}is published at ${timeText(due)}`;

const arrivingText = ({ path, from, ...read }: NonNullable<Status['arriving']>): string =>
  `${path}: ${read.names} of ${read.names_total} names read, from ${shown(from)}`;

function spaceText(space: NonNullable<Status['space']>): string {
  const { quota_bytes: quota, error_code: code } = space;
  const facts = [
    `${sizeText(space.cached_bytes)} of files here`,
    ...(quota === undefined ? [] : [`${sizeText(quota)} may be`]),
    `${sizeText(space.evictable_bytes)} may go`,
    `${sizeText(space.pinned_bytes)} pinned`,
    ...(code === undefined ? [] : [`the store cannot be asked: ${code}`]),
  ];
  return facts.join(', ');
}

type Upload = Status['uploads'][number];

function uploadText({ path, target, state, wanted, held, ...upload }: Upload): string {
  const { progress, attempts, error_code: code, due, checked } = upload;
  const isHeld = held?.root_cid === wanted.root_cid;
  const facts = [
    state,
    ...(progress === undefined ? [] : [progressText(progress)]),
    ...(code === undefined ? [] : [`${code}, tried ${attempts} times`]),
    ...(code === undefined || due === undefined ? [] : [`again at ${timeText(due)}`]),
    ...(isHeld && checked !== undefined ? [`as it said at ${timeText(checked)}`] : []),
    ...(held === undefined || isHeld ? [] : [`has ${held.root_cid} still`]),
  ];
  return `${shown(path)} → ${target}: ${wanted.root_cid} ${facts.join(', ')}`;
}

function progressText({ bytes, bytes_total: total }: NonNullable<Upload['progress']>): string {
  const sent = `${sizeText(bytes)} sent`;
  return total === undefined ? sent : `${sent} of ${sizeText(total)}`;
}

/** To the second, as the host has its time. */
const timeText = (time: string): string => new Date(time).toLocaleTimeString('en-GB');

/** Whether the kernel reads and writes files by itself. */
export const passthroughText = ({ passthrough }: Status): string =>
  passthrough.in_use ? 'in use' : `not in use: ${passthrough.reason}`;

type Tree = Status['mounts'][number]['trees'][number];

const treeText = ({ path, kind, read_only, volatile, follows, mfs }: Tree): string =>
  [
    `  ${path}: ${kind}`,
    ...(read_only ? ['read-only'] : []),
    ...(volatile ? ['gone when the daemon stops'] : []),
    ...(follows === undefined ? [] : [followText(follows)]),
    ...(mfs === undefined ? [] : [mfsText(mfs)]),
  ].join(', ');

/** What a copy follows, and how current it is. */
export function followText({ name, checked_at: at, error }: FollowStatus): string {
  const asked = at === undefined ? 'not asked since the start' : `as of ${at.slice(0, 19)}Z`;
  return `follows ${shown(name)}, ${asked}${error === undefined ? '' : `; ${shown(error.text)}`}`;
}

/** What of the node's tree is shown, and how far the two are in step. */
function mfsText({ source, waiting: { files, bytes }, checked_at: at, error }: MfsStatus): string {
  const asked = at === undefined ? 'not asked since the start' : `as of ${at.slice(0, 19)}Z`;
  const late = files === 0 ? '' : `; ${files} names with ${bytes} bytes wait for the node`;
  const trouble = error === undefined ? '' : `; ${shown(error.text)}`;
  return `shows ${shown(source)} of MFS, ${asked}${late}${trouble}`;
}

function durationText(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min`;
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
