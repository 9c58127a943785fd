/**
 * `kitfs mcp`: carries MCP between standard input and output and the daemon's socket. Loads parts of
 * Node and of ours only.
 */
import { parseArgs } from 'node:util';
import { SystemClock } from '../base/clock.ts';
import { codeOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
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
    const places = await loadPlaces(optionsOf(args.slice(1)));
    const stop = new AbortController();
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
    await runBridge({
      socketPath: places.mcpSocket,
      input: process.stdin,
      output: process.stdout,
      clock: new SystemClock(),
      log,
      signal: stop.signal,
    });
    process.stdin.destroy();
    return EXIT.done;
  } catch (error) {
    return report(error, false);
  }
}

function optionsOf(args: string[]): { state?: string; config?: string; run?: string } {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({ args, options: { state: text, config: text, run: text } }).values;
  } catch (error) {
    if (codeOf(error)?.startsWith('ERR_PARSE_ARGS') !== true) throw error;
    throw new UsageError(`${(error as Error).message} (kitfs mcp --help)`);
  }
}
