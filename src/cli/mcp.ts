/**
 * `kitfs mcp`: carries MCP between standard input and output and the daemon's socket. Loads parts of
 * Node and of ours only.
 */
import { parseArgs } from 'node:util';
import { SystemClock } from '../base/clock.ts';
import { codeOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { SystemRandom } from '../base/random.ts';
import { parseSecretReference, REFERENCE_FORMS, type SecretReference } from '../base/secrets.ts';
import { loadPlaces } from '../daemon/daemon.ts';
import { runBridge } from '../mcp/mcp.ts';
import { complain, EXIT, report, UsageError } from './output.ts';

/** Standard output belongs to the protocol. */
const log: Log = {
  info: () => {},
  warn: (_, message) => complain(message),
  error: (_, message) => complain(message),
};

/** @returns the exit code: 0 at the end of the input. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    const { token: reference, 'read-only': isReadOnly, ...flags } = optionsOf(args.slice(1));
    const places = await loadPlaces(flags);
    const token = reference === undefined ? undefined : places.secretOf(referenceOf(reference));
    const stop = new AbortController();
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
    await runBridge({
      socketPath: isReadOnly === true ? places.mcpReadOnlySocket : places.mcpSocket,
      input: process.stdin,
      output: process.stdout,
      clock: new SystemClock(),
      random: new SystemRandom(),
      log,
      token,
      signal: stop.signal,
    });
    process.stdin.destroy();
    return EXIT.done;
  } catch (error) {
    return report(error, false);
  }
}

interface McpOptions {
  readonly state?: string;
  readonly config?: string;
  readonly run?: string;
  /** Where the token lies. */
  readonly token?: string;
  readonly 'read-only'?: boolean;
}

function optionsOf(args: string[]): McpOptions {
  const text = { type: 'string' } as const;
  const places = { state: text, config: text, run: text };
  try {
    return parseArgs({
      args,
      options: { ...places, token: text, 'read-only': { type: 'boolean' } },
    }).values;
  } catch (error) {
    if (codeOf(error)?.startsWith('ERR_PARSE_ARGS') !== true) throw error;
    throw new UsageError(`${(error as Error).message} (kitfs mcp --help)`);
  }
}

/** What is no reference may be the token itself, which is not repeated. */
function referenceOf(text: string): SecretReference {
  const reference = parseSecretReference(text);
  if (reference !== undefined) return reference;
  throw new UsageError(`--token says where the token lies and not what it is: ${REFERENCE_FORMS}`);
}
