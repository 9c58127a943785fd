#!/usr/bin/env node
/**
 * The command: argv in, exit code out. The bridge is started once by every agent, so it is told
 * apart before anything that only people need is loaded.
 */
import { leaveSoon } from './leave.ts';
import type { run } from './program.ts';

const args = process.argv.slice(2);
const load = (): Promise<{ run: typeof run }> =>
  args[0] === 'mcp' && !args.includes('--help') && !args.includes('-h')
    ? import('./mcp.ts')
    : import('./program.ts');

// `kitfs log | head`: whoever has read enough closes the pipe.
process.stdout.on('error', () => process.exit());
leaveSoon(await (await load()).run(args));
