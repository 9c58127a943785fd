/** `kitfs doctor`: what this machine lacks, and a daemon makes of it. Looks, and changes nothing. */
import type { Command } from 'commander';
import { OpError } from '../base/errors.ts';
import { checkHost, type HostCheck, loadPlaces, type Status } from '../daemon/daemon.ts';
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
import { EXIT, print, printJson, table } from './output.ts';
import { passthroughText } from './status.ts';

const WORD: Readonly<Record<HostCheck['state'], string>> = {
  ok: 'ok',
  limited: 'limited',
  missing: 'MISSING',
};

export function addDoctor(program: Command, ending: Ending): void {
  const command = program
    .command('doctor')
    .description(
      'what this machine lacks, with the package that brings it; exit code 1 if it must',
    );
  withJson(withPlaces(command), 'each check');
  withExamples(command, [
    ['kitfs doctor', 'look at everything'],
    [`kitfs doctor --json | jq '.[] | select(.state != "ok")'`, 'only what is not well'],
  ]);
  runs<[], PlaceOptions & JsonOption>(command, ending, async (options) => {
    const host = await checkHost(await loadPlaces(options));
    const checks = [...host, ...(await checkDaemon(options))];
    if (options.json === true) printJson(checks);
    else print(textOf(checks));
    return checks.some(({ state }) => state === 'missing') ? EXIT.failed : EXIT.done;
  });
}

/** What only a daemon can tell, when one answers. */
async function checkDaemon(options: PlaceOptions): Promise<readonly HostCheck[]> {
  try {
    const status = await withDaemon(options, (daemon) => daemon.ask('status') as Promise<Status>);
    const state = status.passthrough.in_use ? 'ok' : 'limited';
    return [{ name: 'passthrough', state, found: passthroughText(status) }];
  } catch (error) {
    if (error instanceof OpError) return []; // None runs, or it is being started.
    throw error;
  }
}

const textOf = (checks: readonly HostCheck[]): string =>
  table(
    checks.map(({ name, state, found, remedy }) => [
      WORD[state],
      name,
      remedy === undefined ? found : `${found} → ${remedy}`,
    ]),
  );
