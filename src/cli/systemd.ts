/** `kitfs systemd`: the units with which systemd runs kitfs, with the paths of this installation in them. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { asOpError, OpError } from '../base/errors.ts';
import { DAEMON_NODE_OPTIONS, userUnitFolder } from '../daemon/daemon.ts';
import { type Ending, type JsonOption, runs, withExamples, withJson } from './command.ts';
import { EXIT, print, printJson } from './output.ts';

interface SystemdOptions extends JsonOption {
  readonly user?: boolean;
}

/** A file of ours, and where systemd looks for it. */
interface UnitFile {
  readonly path: string;
  /** Below `systemd/` of the package. */
  readonly source: string;
}

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const PACKAGE = fileURLToPath(new URL('../../..', import.meta.url));

/** What ExecStart= of the files as they are shipped begins with, and what it begins with when installed. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  'kitfs-keeper': [join(PACKAGE, 'native/build/Release/kitfs-keeper')],
  kitfs: [process.execPath, ...DAEMON_NODE_OPTIONS, MAIN],
};

/** Puts the paths of this installation into the text of a unit. */
export const withPaths = (unit: string, programs = PROGRAMS): string =>
  unit.replace(/^ExecStart=([\w-]+)(?= )/gm, (line, name: string) => {
    const words = programs[name];
    return words === undefined ? line : `ExecStart=${words.map(wordOf).join(' ')}`;
  });

/** One word of a command line: systemd.service(5). `%` and `$` have a meaning also between quotes. */
function wordOf(text: string): string {
  const plain = text.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w@%+=:,./$~-]+$/.test(plain) ? plain : `"${plain.replace(/["\\]/g, '\\$&')}"`;
}

const BODIES = { print: printed, install: installed, remove: removed } as const;
type Action = keyof typeof BODIES;

export function addSystemd(program: Command, ending: Ending): void {
  const command = program
    .command('systemd')
    .description('the units with which systemd runs kitfs')
    .option('--user', 'for your own systemd and a tree of your own')
    .addHelpText(
      'after',
      `
print    shows the units as install would write them
install  writes them, and tells systemd; again when Node or kitfs have moved
remove   takes them away, and leaves state and configuration

Changes of yours belong into files beside them (systemctl edit kitfs): install writes over its own.`,
    );
  command.addArgument(
    command.createArgument('<action>', 'what to do').choices(Object.keys(BODIES)),
  );
  withJson(command, 'the files');
  withExamples(command, [
    ['kitfs systemd print', 'look first'],
    ['sudo kitfs systemd install && sudo systemctl enable --now kitfs', 'a tree for the machine'],
    ['kitfs systemd install --user && systemctl --user enable --now kitfs', 'a tree for yourself'],
  ]);
  runs<[Action], SystemdOptions>(command, ending, async (options, action) => {
    await BODIES[action](filesOf(options), options);
    return EXIT.done;
  });
}

function filesOf({ user }: SystemdOptions): readonly UnitFile[] {
  const units = ['kitfs-keeper.service', 'kitfs.service'];
  if (user === true) {
    const folder = userUnitFolder();
    return units.map((name) => ({ path: join(folder, name), source: join('user', name) }));
  }
  return [
    ...units.map((name) => ({ path: `/etc/systemd/system/${name}`, source: name })),
    ...['sysusers.d', 'tmpfiles.d'].map((folder) => ({
      path: `/etc/${folder}/kitfs.conf`,
      source: `${folder}/kitfs.conf`,
    })),
  ];
}

const textOf = async ({ source }: UnitFile): Promise<string> =>
  withPaths(await readFile(join(PACKAGE, 'systemd', source), 'utf8'));

async function printed(files: readonly UnitFile[], { json }: SystemdOptions): Promise<void> {
  const texts = await Promise.all(
    files.map(async (file) => ({ path: file.path, text: await textOf(file) })),
  );
  if (json === true) printJson(texts);
  else print(texts.map(({ path, text }) => `# ---- ${path}\n${text}`).join('\n'));
}

async function installed(files: readonly UnitFile[], options: SystemdOptions): Promise<void> {
  for (const file of files) await put(file.path, await textOf(file));
  if (options.user !== true) {
    // In this order: the directories belong to the group.
    await run('systemd-sysusers', 'kitfs.conf');
    await run('systemd-tmpfiles', '--create', 'kitfs.conf');
  }
  await run('systemctl', ...scopeOf(options), 'daemon-reload');
  const paths = files.map(({ path }) => path);
  if (options.json === true) {
    printJson(paths);
    return;
  }
  const [file, systemctl] =
    options.user === true
      ? ['config.toml in ~/.config/kitfs', 'systemctl --user']
      : ['/etc/kitfs/config.toml', 'systemctl'];
  print(paths.map((path) => `wrote ${path}`).join('\n'));
  print(`It mounts where mount_point in ${file} says, otherwise at ~/kitfs.`);
  print(`To start it now and whenever the machine does: ${systemctl} enable --now kitfs`);
}

async function removed(files: readonly UnitFile[], options: SystemdOptions): Promise<void> {
  for (const { path } of files) {
    await rm(path, { force: true }).catch((error: unknown) => {
      throw asOpError(error, `remove ${path}`);
    });
  }
  await run('systemctl', ...scopeOf(options), 'daemon-reload');
  const paths = files.map(({ path }) => path);
  if (options.json === true) printJson(paths);
  else print(paths.map((path) => `removed ${path}`).join('\n'));
}

const scopeOf = ({ user }: SystemdOptions): readonly string[] => (user === true ? ['--user'] : []);

async function put(path: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text, { mode: 0o644 });
  } catch (error) {
    throw asOpError(error, `write ${path}`);
  }
}

/** @throws OpError dependency-missing, with what the program said. */
async function run(program: string, ...args: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)(program, args);
  } catch (error) {
    const said = String((error as { stderr?: unknown }).stderr ?? '').trim();
    throw new OpError('dependency-missing', `run ${[program, ...args].join(' ')}`, {
      cause: error,
      hint: said === '' ? 'is systemd installed and running?' : (said.split('\n')[0] ?? said),
    });
  }
}
