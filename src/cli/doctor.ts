/** `kitfs doctor`: what this machine lacks. Looks, and changes nothing. */
import type { Command } from 'commander';
import { checkHost, type HostCheck, loadPlaces } from '../daemon/daemon.ts';
import {
  type Ending,
  type JsonOption,
  type PlaceOptions,
  runs,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { EXIT, print, printJson, table } from './output.ts';

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
    const checks = await checkHost(await loadPlaces(options));
    if (options.json === true) printJson(checks);
    else print(textOf(checks));
    return checks.some(({ state }) => state === 'missing') ? EXIT.failed : EXIT.done;
  });
}

const textOf = (checks: readonly HostCheck[]): string =>
  table(
    checks.map(({ name, state, found, remedy }) => [
      WORD[state],
      name,
      remedy === undefined ? found : `${found} → ${remedy}`,
    ]),
  );
