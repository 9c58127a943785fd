/** What `kitfs mount` says when the tree is mounted. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Config, packageVersion, programAt } from '../daemon/daemon.ts';
import { print, printJson } from './output.ts';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const PACKAGE = fileURLToPath(new URL('../../..', import.meta.url));

export interface AnnounceOptions {
  readonly json?: boolean;
  readonly background?: boolean;
}

/** The last lines of a start: that it works, and what to do with it. */
export async function announce(
  config: Config,
  mountPoint: string | undefined,
  options: AnnounceOptions,
): Promise<void> {
  const dir = mountPoint ?? config.mountPoint;
  const { state, run, mcpSocket, controlSocket } = config;
  if (options.json === true) {
    const sockets = { mcp_socket: mcpSocket, control_socket: controlSocket };
    printJson({ version: packageVersion(), mount_point: dir, state, run, ...sockets });
    return;
  }
  const kitfs = await ownName(config);
  // Another terminal has not the variables of this one.
  const runOption = config.isDefaultRun ? '' : ` --run ${shellWord(run)}`;
  const file = join(dir, 'ipfs/hello.txt');
  const shown = shellWord(file);
  const getfattr = await programAt('getfattr', config.programFolders);
  const stat = `${kitfs} call vfs_stat '{"path":"/ipfs/hello.txt"}'${runOption}`;
  print(`kitfs ${packageVersion()} is mounted at ${dir}`);
  print(`Agents reach it at ${mcpSocket} (or through: ${kitfs} mcp${runOption})`);
  print('');
  print('Three things to try in another terminal:');
  print(`  echo hello > ${shown}`);
  print(`  ${kitfs} log /ipfs/hello.txt${runOption}`);
  print(`  ${getfattr === undefined ? stat : `getfattr -n user.ipfs.cid ${shown}`}`);
  print('');
  if (kitfs !== 'kitfs') print(`\`npm link\` in ${PACKAGE} makes that just \`kitfs\`.`);
  const stop = `${kitfs} unmount${runOption}`;
  print(options.background === true ? `\`${stop}\` unmounts.` : 'Ctrl-C unmounts.');
}

/** How this command is called, wherever the user is. */
async function ownName({ programFolders }: Config): Promise<string> {
  if ((await programAt('kitfs', programFolders)) !== undefined) return 'kitfs';
  return `node ${shellWord(MAIN)}`;
}

/** Quoted when a shell would take it apart. */
const shellWord = (text: string): string =>
  /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
