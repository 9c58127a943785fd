/** The directories that are measured side by side: of the disk itself, of bindfs over the same disk, and ours. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Subject } from './table.ts';

const MOUNT_MS_MAX = 10_000;
const POLL_MS = 20;

export interface Place {
  readonly subject: Subject;
  readonly directory: string;
  /** An extended attribute that answers once the bytes of a file are at rest, where there is one. */
  readonly sealedXattr: string;
}

/** Reading the table touches no mount. */
const isMounted = (point: string): boolean =>
  readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .some((line) => line.split(' ')[4] === point);

/** bindfs(1): every call goes through a daemon in C that keeps nothing, and on to the disk. */
export class Bindfs implements AsyncDisposable {
  readonly mountPoint: string;
  readonly #daemon: ChildProcess;

  static async start(base: string): Promise<Bindfs> {
    const [source, mountPoint] = [join(base, 'bindfs'), join(base, 'bindfs-mount')] as const;
    for (const directory of [source, mountPoint]) mkdirSync(directory);
    const args = ['-f', '--multithreaded', source, mountPoint];
    const daemon = spawn('bindfs', args, { cwd: '/', stdio: 'ignore' });
    const bindfs = new Bindfs(mountPoint, daemon);
    const deadline = performance.now() + MOUNT_MS_MAX;
    while (!isMounted(mountPoint)) {
      if (daemon.exitCode !== null || performance.now() > deadline) {
        await bindfs[Symbol.asyncDispose]();
        throw new Error('bindfs does not mount');
      }
      await wait(POLL_MS);
    }
    return bindfs;
  }

  private constructor(mountPoint: string, daemon: ChildProcess) {
    this.mountPoint = mountPoint;
    this.#daemon = daemon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A mount whose daemon has ended is still in the tree; a daemon whose mount is gone ends by itself.
    const unmount = process.getuid?.() === 0 ? ['umount', '-l'] : ['fusermount3', '-uz'];
    const [program = '', ...args] = [...unmount, this.mountPoint];
    const ended = this.#daemon.exitCode === null ? once(this.#daemon, 'exit') : Promise.resolve();
    if (isMounted(this.mountPoint)) spawnSync(program, args, { timeout: MOUNT_MS_MAX });
    else this.#daemon.kill();
    await ended;
  }
}
