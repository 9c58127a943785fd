/**
 * `kitfs mount --keeper-fd`: the daemon that a keeper starts, with arguments that `kitfs mount` has
 * made (see mount.ts). Programs on the mount wait for it when the one before was killed, so that it
 * loads nothing that only people need.
 */
import { parseArgs } from 'node:util';
import { type Flags, type Keeper, loadKeptConfig, meetKeeper } from '../daemon/daemon.ts';
import { announce } from './announce.ts';
import { EXIT, report } from './output.ts';
import { serve, serveDetached } from './serve.ts';

const OPTIONS = {
  'keeper-fd': { type: 'string' },
  'ready-fd': { type: 'string' },
  state: { type: 'string' },
  config: { type: 'string' },
  run: { type: 'string' },
  driver: { type: 'string' },
  from: { type: 'string' },
  json: { type: 'boolean' },
  'read-only': { type: 'boolean' },
  'allow-other': { type: 'boolean' },
  'no-allow-other': { type: 'boolean' },
} as const;

const parse = (args: readonly string[]) =>
  parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });

/** @param args with `mount` before them. @returns the exit code. */
export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args.slice(1));
  try {
    const keeper = await meetKeeper(Number(values['keeper-fd']));
    return keeper === undefined ? EXIT.done : await serveKept(keeper, values, positionals[0]);
  } catch (error) {
    return report(error, values.json === true);
  }
}

async function serveKept(
  keeper: Keeper,
  values: ReturnType<typeof parse>['values'],
  dir: string | undefined,
): Promise<number> {
  const { state, config, run: runDirectory, json } = values;
  const allowOther = values['no-allow-other'] === true ? false : values['allow-other'];
  const flags = {
    ...{ state, config, run: runDirectory, mountPoint: dir },
    ...{ readOnly: values['read-only'], allowOther, from: values.from },
    driver: values.driver as Flags['driver'],
  };
  const loaded = await loadKeptConfig(flags, keeper);
  const readyFd = values['ready-fd'];
  if (readyFd !== undefined) return serveDetached(loaded, keeper, Number(readyFd));
  const told = json === undefined ? {} : { json };
  return serve(loaded, keeper, ({ mountPoint }) => announce(loaded, mountPoint, told));
}
