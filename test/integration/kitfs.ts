/** Runs the built command to its end, away from every daemon of this machine. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const COMMAND_MS_MAX = 15_000;

/** `directory` holds state, sockets, mount point and configuration, none of which need be there. */
export function kitfs(directory: string, args: readonly string[], input = ''): Promise<Ran> {
  const configuration = `${directory}/config.toml`;
  const env = {
    ...process.env,
    HOME: directory,
    KITFS_STATE: `${directory}/state`,
    KITFS_RUN: `${directory}/run`,
    KITFS_MOUNT: `${directory}/mnt`,
    // Nothing of the machine's own configuration is read.
    KITFS_CONFIG: existsSync(configuration) ? configuration : '/dev/null',
  };
  return new Promise((resolve, reject) => {
    const options = { cwd: '/', env, timeout: COMMAND_MS_MAX, killSignal: 'SIGKILL' } as const;
    const child = execFile(process.execPath, [MAIN, ...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === 'number') resolve({ code, stdout, stderr });
      else reject(error);
    });
    child.stdin?.end(input);
  });
}
