/**
 * The table's file system through the kernel: a child process (child.mjs) makes the calls, in the directory it was
 * started in. This process touches no file there, so that a mount that hangs costs one call its time, and the child
 * its life.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Facts, Filesystem, Path, Space, Stat } from './filesystem.ts';

const CALL_MS_MAX = 30_000;

/** What to run, in the directory that is meant. */
export const CALLER: readonly [string, ...string[]] = [
  process.execPath,
  fileURLToPath(new URL('child.mjs', import.meta.url)),
  fileURLToPath(new URL('../../native/build/Release/kitfs.node', import.meta.url)),
];

interface Answer {
  readonly result?: unknown;
  readonly code?: string;
  readonly message?: string;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Kernel implements Filesystem, AsyncDisposable {
  readonly #child: ChildProcess;
  /** In the order in which they were asked, which is that of the answers. */
  readonly #waiting: Waiting[] = [];
  #errors = '';

  /** In a directory that cannot hang; on a mount give `TestDaemon.spawn`'s child to the constructor. */
  static in(directory: string): Kernel {
    const [program, ...args] = CALLER;
    return new Kernel(spawn(program, args, { cwd: directory, stdio: 'pipe' }));
  }

  /** Takes over a child that runs `CALLER`. */
  constructor(child: ChildProcess) {
    const { stdin, stdout, stderr } = child;
    if (stdin === null || stdout === null || stderr === null) throw new Error('no pipes');
    this.#child = child;
    createInterface({ input: stdout }).on('line', (line) => this.#answered(JSON.parse(line)));
    stderr.setEncoding('utf8').on('data', (text: string) => (this.#errors += text));
    // What is written to a child that has ended is answered by its end.
    stdin.on('error', () => {});
    const ended = () => {
      const error = new Error(`the calling process has ended: ${this.#errors}`);
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    };
    child.once('close', ended);
    child.once('error', ended);
  }

  as(uid: number, gid: number, groups: readonly number[] = []): Promise<void> {
    return this.#call('as', uid, gid, groups);
  }

  mkdir(path: Path, mode: number): Promise<void> {
    return this.#call('mkdir', path, mode);
  }

  rmdir(path: Path): Promise<void> {
    return this.#call('rmdir', path);
  }

  unlink(path: Path): Promise<void> {
    return this.#call('unlink', path);
  }

  rename(from: Path, to: Path, flags = 0): Promise<void> {
    return this.#call('rename', from, to, flags);
  }

  link(from: Path, to: Path): Promise<void> {
    return this.#call('link', from, to);
  }

  symlink(target: Path, path: Path): Promise<void> {
    return this.#call('symlink', target, path);
  }

  readlink(path: Path): Promise<string> {
    return this.#call('readlink', path);
  }

  lstat(path: Path): Promise<Stat> {
    return this.#call('lstat', path);
  }

  stat(path: Path): Promise<Stat> {
    return this.#call('stat', path);
  }

  chmod(path: Path, mode: number): Promise<void> {
    return this.#call('chmod', path, mode);
  }

  chown(path: Path, uid: number, gid: number): Promise<void> {
    return this.#call('chown', path, uid, gid);
  }

  utimes(path: Path, atimeS: number, mtimeS: number): Promise<void> {
    return this.#call('utimes', path, atimeS, mtimeS);
  }

  truncate(path: Path, size: number): Promise<void> {
    return this.#call('truncate', path, size);
  }

  mknod(path: Path, mode: number, major: number, minor: number): Promise<void> {
    return this.#call('mknod', path, mode, major, minor);
  }

  readdir(path: Path): Promise<string[]> {
    return this.#call('readdir', path);
  }

  opendir(path: Path): Promise<number> {
    return this.#call('opendir', path);
  }

  readSome(fd: number): Promise<string[]> {
    return this.#call('readSome', fd);
  }

  statx(path: Path): Promise<Facts> {
    return this.#call('statx', path);
  }

  statfs(path: Path): Promise<Space> {
    return this.#call('statfs', path);
  }

  open(path: Path, flags: number, mode = 0): Promise<number> {
    return this.#call('open', path, flags, mode);
  }

  tmpfile(directory: Path, mode: number): Promise<number> {
    return this.#call('tmpfile', directory, mode);
  }

  linkFile(fd: number, path: Path): Promise<void> {
    return this.#call('linkFile', fd, path);
  }

  close(fd: number): Promise<void> {
    return this.#call('close', fd);
  }

  read(fd: number, length: number, position: number): Promise<string> {
    return this.#call('read', fd, length, position);
  }

  write(fd: number, latin1: string, position: number): Promise<void> {
    return this.#call('write', fd, latin1, position);
  }

  fsync(fd: number): Promise<void> {
    return this.#call('fsync', fd);
  }

  fstat(fd: number): Promise<Stat> {
    return this.#call('fstat', fd);
  }

  fallocate(fd: number, mode: number, position: number, length: number): Promise<void> {
    return this.#call('fallocate', fd, mode, position, length);
  }

  seek(fd: number, position: number, whence: 'data' | 'hole'): Promise<number> {
    return this.#call('seek', fd, position, whence);
  }

  copyRange(from: number, fromAt: number, to: number, toAt: number, n: number): Promise<number> {
    return this.#call('copyRange', from, fromAt, to, toAt, n);
  }

  getxattr(path: Path, name: string): Promise<string> {
    return this.#call('getxattr', path, name);
  }

  setxattr(path: Path, name: string, latin1: string, flags: number): Promise<void> {
    return this.#call('setxattr', path, name, latin1, flags);
  }

  listxattr(path: Path): Promise<string[]> {
    return this.#call('listxattr', path);
  }

  removexattr(path: Path, name: string): Promise<void> {
    return this.#call('removexattr', path, name);
  }

  /** Ends the child; open files are closed with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'close');
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), CALL_MS_MAX);
    await ended;
    clearTimeout(timer);
  }

  #call<T>(call: string, ...args: readonly unknown[]): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${call} ${JSON.stringify(args)}: took longer than ${CALL_MS_MAX} ms`));
        this.#child.kill('SIGKILL');
      }, CALL_MS_MAX);
      this.#waiting.push({
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value as T);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        this.#waiting.pop()?.reject(new Error(`the calling process has ended: ${this.#errors}`));
        return;
      }
      this.#child.stdin?.write(`${JSON.stringify([call, ...args])}\n`);
    });
  }

  #answered({ result, code, message }: Answer): void {
    const waiting = this.#waiting.shift();
    if (message === undefined) {
      waiting?.resolve(result);
      return;
    }
    const error = Object.assign(new Error(message), {
      code: code === 'ENOTSUP' ? 'EOPNOTSUPP' : code,
    });
    waiting?.reject(error);
  }
}
