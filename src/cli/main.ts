#!/usr/bin/env node
/**
 * The command: argv in, exit code out. The bridge is started once by every agent, and a daemon by its
 * keeper while programs wait, so both are told apart before anything that only people need is loaded.
 */
import { leaveSoon } from './leave.ts';
import type { run } from './program.ts';

// Node would listen on a TCP port and let any user of this host run code in here: at once, or when a
// daemon that waits for its turn gets it.
process.on('SIGUSR1', () => {});

const args = process.argv.slice(2);
const isHelp = args.includes('--help') || args.includes('-h');

async function runOf(): Promise<typeof run> {
  if (args[0] === 'mcp' && !isHelp) return (await import('./mcp.ts')).run;
  if (args[0] === 'mount' && args[1] === '--keeper-fd') return (await import('./kept.ts')).run;
  return (await import('./program.ts')).run;
}

// `kitfs log | head`: whoever has read enough closes the pipe.
process.stdout.on('error', () => process.exit());
// Until it has ended: it may be that nothing is left that could end it.
process.exitCode = 1;
void runOf()
  .then((run) => run(args))
  .then(leaveSoon);
