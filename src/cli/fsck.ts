/** `kitfs fsck`: whether journal, namespace and bytes are what they say they are. */
import type { Command } from 'commander';
import { checkState, type FsckFinding, type FsckReport, loadPlaces } from '../daemon/daemon.ts';
import {
  type Ending,
  interruptible,
  type JsonOption,
  type PlaceOptions,
  runs,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { EXIT, ProgressLine, print, printJson, sizeText } from './output.ts';

export function addFsck(program: Command, ending: Ending): void {
  const command = program
    .command('fsck')
    .description('check journal, namespace and bytes; exit code 1 when something is wrong')
    .addHelpText('after', '\nReads only, with the daemon running or stopped.');
  withJson(withPlaces(command), 'the findings');
  withExamples(command, [
    ['kitfs fsck', 'check everything'],
    ['kitfs fsck --state /var/lib/kitfs --json', 'another state directory, for scripts'],
  ]);
  runs<[], PlaceOptions & JsonOption>(command, ending, async (options) => {
    const { state } = await loadPlaces(options);
    const report = await checked(state);
    if (options.json === true) printJson(report);
    else print(textOf(report));
    return report.clean ? EXIT.done : EXIT.failed;
  });
}

async function checked(state: string): Promise<FsckReport> {
  using line = new ProgressLine();
  return await checkState({
    state,
    signal: interruptible(),
    onProgress: ({ contents, bytes }) => line.show(`${contents} objects, ${sizeText(bytes)}`),
  });
}

function textOf({ state, clean, findings, checked: { contents, bytes } }: FsckReport): string {
  const sum = `${state}: ${contents} objects, ${sizeText(bytes)}`;
  if (clean) return `${sum}: clean`;
  return [...findings.map(lineOf), `${sum}: ${findings.length} findings`].join('\n');
}

function lineOf({ scope, rule, expected, actual, ...where }: FsckFinding): string {
  const place = Object.entries(where).map(([name, value]) => `${name} ${value}`);
  return `${[`${scope}/${rule}`, ...place].join(', ')}: expected ${expected}, found ${actual}`;
}
