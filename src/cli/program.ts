/** The command as a whole: its commands, its help, and how it ends. */
import { Command, CommanderError } from 'commander';
import { REFERENCE_FORMS } from '../base/secrets.ts';
import { packageVersion } from '../daemon/daemon.ts';
import { addCall } from './call.ts';
import { type Ending, type PlaceOptions, withExamples, withPlaces } from './command.ts';
import { addDoctor } from './doctor.ts';
import { addFollow } from './follow.ts';
import { addFsck } from './fsck.ts';
import { addLog } from './log.ts';
import { run as runMcp } from './mcp.ts';
import { addMount } from './mount.ts';
import { EXIT, report } from './output.ts';
import { addSnapshot } from './snapshot.ts';
import { addStatus } from './status.ts';
import { addSyncCommand } from './sync.ts';
import { addSystemd } from './systemd.ts';
import { addTools } from './tools.ts';
import { addUnmount } from './unmount.ts';
import { addWait } from './wait.ts';

/** Runs one command line, without the name of the program. @returns the exit code. */
export async function run(args: readonly string[]): Promise<number> {
  const ending: Ending = { code: EXIT.done };
  const program = programOf(ending);
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) return report(error, false);
    // Help and version end with 0; everything else was not called as it should be.
    return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
  return ending.code;
}

function programOf(ending: Ending): Command {
  const program = new Command('kitfs')
    .description('A journaled, content-addressed file system that programs mount and agents call.')
    .version(packageVersion())
    .showHelpAfterError('(add --help for how to call it)')
    .exitOverride();
  for (const add of [
    addMount,
    addUnmount,
    addStatus,
    addLog,
    addSyncCommand,
    addSnapshot,
    addWait,
    addFollow,
    addCall,
    addTools,
    addMcp,
    addDoctor,
    addFsck,
    addSystemd,
  ]) {
    add(program, ending);
  }
  program.addHelpText('after', EXIT_CODES);
  withExamples(program, [
    ['kitfs mount', 'mount at ~/kitfs until Ctrl-C'],
    ['kitfs status', 'what is mounted'],
    ['kitfs log /ipfs', 'what was done, and by whom'],
  ]);
  return program;
}

const EXIT_CODES = `
Exit codes: 0 done, 1 failed, 2 not called as it should be, 3 no daemon runs.
Where things are: --state, --config and --run; else KITFS_STATE, KITFS_CONFIG, KITFS_RUN and
KITFS_MOUNT; else the configuration file; else the defaults.`;

function addMcp(program: Command, ending: Ending): void {
  const command = program
    .command('mcp')
    .description('MCP on standard input and output, for agents that start a program');
  command
    .option('--read-only', 'list and run only tools that change nothing')
    .option('--token <reference>', `present this token: ${REFERENCE_FORMS}`);
  withExamples(withPlaces(command), [
    ['kitfs mcp', 'what an agent is configured to start'],
    ['kitfs mcp --read-only', 'for one that shall change nothing'],
    ['kitfs mcp --token env:DOCS_TOKEN', 'for one that may do what that token may'],
  ]);
  // Mostly `main` has gone there by itself, without loading this file.
  command.action(async ({ readOnly, ...options }: PlaceOptions & { readonly readOnly?: true }) => {
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
    if (readOnly === true) args.push('--read-only');
    ending.code = await runMcp(['mcp', ...args]);
  });
}
