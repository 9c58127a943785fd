/** `kitfs status`: what is mounted, what waits for its CID, and how the daemon is. */
import type { Command } from 'commander';
import type { FollowStatus, Status } from '../daemon/daemon.ts';
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
    ['journal', `${journal.seq} records`],
    ['kernel', `${kernel.requests} requests, ${kernel.handles} files open`],
    ['agents', String(agents)],
    ['errors', errors.length === 0 ? 'none in the last hour' : errors.join(', ')],
    ['state', paths.state],
    ['socket', paths.mcp_socket],
  ];
  return table(rows);
}

/** Whether the kernel reads and writes files by itself. */
export const passthroughText = ({ passthrough }: Status): string =>
  passthrough.in_use ? 'in use' : `not in use: ${passthrough.reason}`;

type Tree = Status['mounts'][number]['trees'][number];

const treeText = ({ path, kind, read_only, volatile, follows }: Tree): string =>
  [
    `  ${path}: ${kind}`,
    ...(read_only ? ['read-only'] : []),
    ...(volatile ? ['gone when the daemon stops'] : []),
    ...(follows === undefined ? [] : [followText(follows)]),
  ].join(', ');

/** What a copy follows, and how current it is. */
export function followText({ name, checked_at: at, error }: FollowStatus): string {
  const asked = at === undefined ? 'not asked since the start' : `as of ${at.slice(0, 19)}Z`;
  return `follows ${shown(name)}, ${asked}${error === undefined ? '' : `; ${shown(error.text)}`}`;
}

function durationText(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min`;
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
