/** What all commands share: options, how their bodies are run, how a daemon is reached. */
import type { Command } from 'commander';
import { OpError } from '../base/errors.ts';
import { ControlClient, loadPlaces, type Places } from '../daemon/daemon.ts';
import { report } from './output.ts';

/** Where the daemon is, as options say it. */
export interface PlaceOptions {
  readonly state?: string;
  readonly config?: string;
  readonly run?: string;
}

export interface JsonOption {
  readonly json?: boolean;
}

/** What the program answers with when it ends. */
export interface Ending {
  code: number;
}

/** Adds the options that say where the daemon is. */
export const withPlaces = (command: Command): Command =>
  command
    .option('--state <dir>', 'directory of journal and content')
    .option('--config <file>', 'configuration file')
    .option('--run <dir>', 'directory of the sockets');

export const withJson = (command: Command, what: string): Command =>
  command.option('--json', `print ${what} as JSON`);

/** Adds examples to the help of a command: pairs of a line to type and what it does. */
export function withExamples(command: Command, examples: readonly (readonly string[])[]): Command {
  const width = Math.max(...examples.map(([line = '']) => line.length));
  const lines = examples.map(([line = '', does = '']) => `  ${line.padEnd(width)}  ${does}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}

/** Runs the body when the command is called. What it throws is reported, and decides the ending. */
export function runs<Args extends readonly unknown[], Options extends JsonOption>(
  command: Command,
  ending: Ending,
  body: (options: Options, ...args: Args) => Promise<number>,
): void {
  command.action(async (...given: unknown[]) => {
    // Commander hands over the arguments, then the options, then the command.
    const options = given.at(-2) as Options;
    const args = given.slice(0, -2) as unknown as Args;
    try {
      ending.code = await body(options, ...args);
    } catch (error) {
      ending.code = await report(error, options.json === true);
    }
  });
}

/** Ends with the first Ctrl-C. A second one ends the process, as it would without us. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  const onSignal = () => controller.abort(new OpError('cancelled', 'run the command'));
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, onSignal);
  return controller.signal;
}

/** Asks the daemon that the options mean. @throws OpError not-running. */
export async function withDaemon<T>(
  options: PlaceOptions,
  body: (daemon: ControlClient, places: Places) => Promise<T>,
): Promise<T> {
  const places = await loadPlaces(options);
  await using daemon = await ControlClient.connect(places.controlSocket);
  return await body(daemon, places);
}
