/** `kitfs call`: any tool, by the code path agents use. Also how other commands call tools. */
import { text as wholeText } from 'node:stream/consumers';
import type { Command } from 'commander';
import { SystemClock } from '../base/clock.ts';
import { SystemRandom } from '../base/random.ts';
import type { ControlClient } from '../daemon/daemon.ts';
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
import { complainOf, EXIT, ProgressLine, printJson, type ToolError, UsageError } from './output.ts';
import { type Progress, progressText } from './progress.ts';

/** An envelope, as far as the command line looks into it. */
export type Envelope =
  | { readonly status: 'success'; readonly data: Readonly<Record<string, unknown>> }
  | (ToolError & { readonly status: 'error'; readonly error_code: string });

export function addCall(program: Command, ending: Ending): void {
  const command = program
    .command('call')
    .description('call a tool as an agent would')
    .argument('<tool>', 'its name, as kitfs tools shows it')
    .argument('[json]', 'its arguments; - reads them from standard input', '{}');
  withJson(withPlaces(command), 'the whole envelope');
  withExamples(command, [
    [`kitfs call vfs_ls '{"path":"/ipfs"}'`, 'what is in /ipfs'],
    [`kitfs call vfs_read '{"path":"/ipfs/hello.txt"}'`, 'the bytes of a file'],
    ['kitfs call vfs_write - --json < arguments.json', 'arguments of any length'],
  ]);
  runs<[string, string], PlaceOptions & JsonOption>(
    command,
    ending,
    async (options, tool, json) => {
      const values = parsed(json === '-' ? await wholeText(process.stdin) : json);
      const signal = interruptible();
      const envelope = await withDaemon(options, (daemon) =>
        callTool(daemon, tool, values, signal),
      );
      if (options.json === true) printJson(envelope);
      else show(envelope);
      return envelope.status === 'error' ? EXIT.failed : EXIT.done;
    },
  );
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    // What V8 says quotes the text, and with it what nobody else shall read.
    const [where = ''] = / at position \d+/.exec(error.message) ?? [];
    throw new UsageError(`the arguments are not JSON${where}`);
  }
}

type Show = (progress: Progress) => void;

/**
 * Progress is shown on a terminal, or as `show` does.
 * @throws OpError what the daemon answers.
 */
export const callTool = (
  daemon: ControlClient,
  tool: string,
  values: unknown,
  signal: AbortSignal,
  show?: Show,
): Promise<Envelope> => ask(daemon, ['call', { tool, arguments: values }], signal, show);

/** The same of what has no tool. */
export const runCommand = (
  daemon: ControlClient,
  command: string,
  values: unknown,
  signal: AbortSignal,
  show?: Show,
): Promise<Envelope> => ask(daemon, ['command', { command, arguments: values }], signal, show);

async function ask(
  daemon: ControlClient,
  [method, asked]: readonly ['call' | 'command', object],
  signal: AbortSignal,
  show: Show | undefined,
): Promise<Envelope> {
  using line = new ProgressLine();
  const tell = show ?? ((progress: Progress) => line.show(progressText(progress)));
  const onPart = (part: unknown) => tell(part as Progress);
  // The next daemon knows the call by its key, if this one goes away with it.
  const params = { ...asked, key: new SystemRandom().token() };
  const options = { signal, onPart, clock: new SystemClock() };
  return (await daemon.askAgain(method, params, options)) as Envelope;
}

/** Bytes as they are, facts as JSON. */
function show(envelope: Envelope): void {
  if (envelope.status === 'error') {
    complainOf(envelope);
    return;
  }
  const { content, encoding } = envelope.data;
  if (typeof content !== 'string') {
    printJson(envelope.data);
    return;
  }
  process.stdout.write(Buffer.from(content, encoding === 'base64' ? 'base64' : 'utf8'));
}
