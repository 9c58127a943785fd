/** `kitfs fsck`: whether journal, namespace and bytes are what they say they are, and mending them. */
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
import { EXIT, ProgressLine, print, printJson, shown, sizeText } from './output.ts';

interface FsckCommandOptions extends PlaceOptions, JsonOption {
  readonly repair?: boolean;
}

const MORE = `
Without --repair it reads only, with the daemon running or stopped. With --repair the daemon must be
stopped; what has no place any more goes to lost+found of its tree, and nothing with bytes is removed.
The exit code is 0 when nothing is found, or all of it was put in order; else 1.`;

export function addFsck(program: Command, ending: Ending): void {
  const command = program
    .command('fsck')
    .description('check journal, namespace and bytes; exit code 1 when something is wrong')
    .option('--repair', 'put in order what can be, while no daemon runs')
    .addHelpText('after', MORE);
  withJson(withPlaces(command), 'the findings');
  withExamples(command, [
    ['kitfs fsck', 'check everything'],
    ['kitfs fsck --repair', 'and put it in order'],
    ['kitfs fsck --state /var/lib/kitfs --json', 'another state directory, for scripts'],
  ]);
  runs<[], FsckCommandOptions>(command, ending, async (options) => {
    const { state } = await loadPlaces(options);
    const report = await checked(state, options.repair === true);
    if (options.json === true) printJson(report);
    else print(textOf(report));
    return report.counts.left === 0 ? EXIT.done : EXIT.failed;
  });
}

async function checked(state: string, repair: boolean): Promise<FsckReport> {
  using line = new ProgressLine();
  return await checkState({
    state,
    repair,
    signal: interruptible(),
    onProgress: ({ contents, bytes }) => line.show(`${contents} objects, ${sizeText(bytes)}`),
  });
}

function textOf({ state, clean, findings, counts, aside }: FsckReport): string {
  const sum = `${state}: ${counts.contents} objects, ${sizeText(counts.bytes)}`;
  if (clean) return `${sum}: clean`;
  const { repaired, quarantined, left } = counts;
  const mended = [
    ...(repaired === 0 ? [] : [`${repaired} repaired`]),
    ...(quarantined === 0 ? [] : [`${quarantined} in lost+found`]),
    ...(left === 0 ? [] : [`${left} left`]),
  ].join(', ');
  const kept = aside === undefined ? [] : [`the journal as it was is kept in ${aside}`];
  const end = `${sum}: ${findings.length} findings, ${mended}`;
  return [...findings.map(lineOf), ...kept, end].join('\n');
}

function lineOf(finding: FsckFinding): string {
  const { check, severity, outcome, detail, action, ...where } = finding;
  const place = Object.entries(where).map(([name, value]) => `${name} ${value}`);
  const what = shown(`${[`${check} (${severity})`, ...place].join(', ')}: ${detail}`);
  return action === undefined ? what : `${what}\n  ${outcome}: ${shown(action)}`;
}
