/**
 * System calls that Node lacks (calls.c), made by another process in the directory it was started in. Failures reject
 * with an error whose `code` is the errno's name, or the name of the signal a call died of.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { bytesOfPath, type Moment, type Path } from './filesystem.ts';

const CALL_MS_MAX = 180_000;
const BUILD_MS_MAX = 60_000;
const SOURCE = fileURLToPath(new URL('calls.c', import.meta.url));

/** The program, built for this run in a directory that every user may enter. */
export class CallsProgram implements Disposable {
  readonly directory: string;
  readonly path: string;

  constructor() {
    this.directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-calls-'));
    chmodSync(this.directory, 0o755);
    this.path = join(this.directory, 'calls');
    const gcc = ['-O1', '-Wall', '-Werror', '-o', this.path, SOURCE];
    const { status, stderr } = spawnSync('gcc', gcc, { timeout: BUILD_MS_MAX, encoding: 'utf8' });
    if (status !== 0) throw new Error(`cannot build ${SOURCE}: ${stderr}`);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Bits of mmap(2). */
export const PROT = { READ: 1, WRITE: 2 } as const;
export const MAP = { SHARED: 1, PRIVATE: 2 } as const;

/** F_SETLK and its kin, and the types of a lock: fcntl(2). */
export const LOCK = { GET: 5, SET: 6, OFD_GET: 36, OFD_SET: 37 } as const;
export const LOCK_TYPE = { READ: 0, WRITE: 1, NONE: 2 } as const;
/** flock(2), never waiting. */
export const FLOCK = { SHARED: 5, EXCLUSIVE: 6, NONE: 8 } as const;

/** utimensat(2). */
const UTIME_NOW = 0x3fff_ffff;
const UTIME_OMIT = 0x3fff_fffe;

export interface Entry {
  /** Where reading goes on behind this entry (telldir(3)). */
  readonly position: number;
  readonly name: string;
}

export class Calls implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #waiting: { resolve(words: string[]): void; reject(error: Error): void }[] = [];

  /** Takes over a child that runs `CallsProgram.path`. */
  constructor(child: ChildProcess) {
    this.#child = child;
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) throw new Error('no pipes');
    createInterface({ input: stdout }).on('line', (line) => this.#answered(line));
    stdin.on('error', () => {});
    const ended = () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error('the caller has ended'));
    };
    child.once('close', ended);
    child.once('error', ended);
  }

  /** Real and effective user and group, without supplementary groups. */
  async as(uid: number, gid: number): Promise<void> {
    await this.#ask('as', uid, gid);
  }

  open(path: Path, flags: number, mode = 0): Promise<number> {
    return this.#number('open', hex(path), flags, mode);
  }

  async close(fd: number): Promise<void> {
    await this.#ask('close', fd);
  }

  /** Latin1. `at`: 'here' is where the descriptor is. */
  read(fd: number, length: number, at: number | 'here'): Promise<string> {
    return this.#bytes('read', fd, length, at === 'here' ? -1 : at);
  }

  /** How much was written, by `times` calls. */
  write(fd: number, latin1: string, at: number | 'here', times = 1): Promise<number> {
    return this.#number('write', fd, at === 'here' ? -1 : at, hexOf(latin1), times);
  }

  async fsync(fd: number): Promise<void> {
    await this.#ask('fsync', fd);
  }

  async ftruncate(fd: number, size: number): Promise<void> {
    await this.#ask('truncate', fd, size);
  }

  async fallocate(fd: number, mode: number, position: number, length: number): Promise<void> {
    await this.#ask('fallocate', fd, mode, position, length);
  }

  /** access(2): by the real user. */
  async access(path: Path, mask: number): Promise<void> {
    await this.#ask('access', hex(path), mask);
  }

  async utimens(path: Path, atime: Moment, mtime: Moment): Promise<void> {
    await this.#ask('utimens', hex(path), ...timespec(atime), ...timespec(mtime));
  }

  /** chown(2) of exactly these: -1 leaves one. */
  async chown(path: Path, uid: number, gid: number): Promise<void> {
    await this.#ask('chown', hex(path), uid, gid);
  }

  /** Maps from the start of the file; answers a number for the calls below. */
  map(fd: number, length: number, prot: number, flags: number): Promise<number> {
    return this.#number('map', fd, length, prot, flags);
  }

  peek(map: number, at: number, length: number): Promise<string> {
    return this.#bytes('peek', map, at, length);
  }

  async poke(map: number, at: number, latin1: string): Promise<void> {
    await this.#ask('poke', map, at, hexOf(latin1));
  }

  async sync(map: number): Promise<void> {
    await this.#ask('sync', map);
  }

  async unmap(map: number): Promise<void> {
    await this.#ask('unmap', map);
  }

  /** With GET: the type of a lock that is in the way (NONE when there is none), and whose it is. */
  async lock(
    fd: number,
    command: number,
    type: number,
    start = 0,
    length = 0,
  ): Promise<{ readonly type: number; readonly pid: number }> {
    const [found, pid] = await this.#ask('lock', fd, command, type, start, length);
    return { type: Number(found), pid: Number(pid) };
  }

  async flock(fd: number, operation: number): Promise<void> {
    await this.#ask('flock', fd, operation);
  }

  /** Runs a program to its end; its exit code. */
  exec(path: Path): Promise<number> {
    return this.#number('exec', hex(path));
  }

  /** Starts a program that reads its standard input; `wait` closes that, and answers the exit code. */
  async start(path: Path): Promise<void> {
    await this.#ask('start', hex(path));
  }

  wait(): Promise<number> {
    return this.#number('wait');
  }

  /** What name_to_handle_at(2) says, to be given to `openHandle`. */
  handle(path: Path): Promise<string> {
    return this.#bytes('handle', hex(path));
  }

  openHandle(handle: string): Promise<number> {
    return this.#number('openHandle', hexOf(handle));
  }

  opendir(path: Path): Promise<number> {
    return this.#number('opendir', hex(path));
  }

  /** At most `count` of the entries that come next, `.` and `..` among them. */
  async entries(directory: number, count: number): Promise<Entry[]> {
    const words = await this.#ask('entries', directory, count);
    const entries: Entry[] = [];
    for (let i = 0; i + 1 < words.length; i += 2) {
      const name = Buffer.from(words[i + 1] ?? '', 'hex').toString('utf8');
      entries.push({ position: Number(words[i]), name });
    }
    return entries;
  }

  async seekdir(directory: number, position: number): Promise<void> {
    await this.#ask('seekdir', directory, position);
  }

  async rewinddir(directory: number): Promise<void> {
    await this.#ask('rewinddir', directory);
  }

  async closedir(directory: number): Promise<void> {
    await this.#ask('closedir', directory);
  }

  /** Makes, or removes, the files `${prefix}${from}` up to, not with, `${prefix}${to}`. */
  async many(
    what: 'make' | 'remove',
    directory: Path,
    prefix: string,
    from: number,
    to: number,
  ): Promise<void> {
    await this.#ask(what, hex(directory), hexOf(prefix), from, to);
  }

  /** A socket that listens at this path. */
  listen(path: Path): Promise<number> {
    return this.#number('socket', hex(path));
  }

  accept(fd: number): Promise<number> {
    return this.#number('accept', fd);
  }

  /** A socket that has sent `hello` to who listens at this path. */
  connect(path: Path): Promise<number> {
    return this.#number('connect', hex(path));
  }

  /** Ends the process: its descriptors, mappings and locks go with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'close');
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), CALL_MS_MAX);
    await ended;
    clearTimeout(timer);
  }

  async #number(call: string, ...words: readonly (string | number)[]): Promise<number> {
    return Number((await this.#ask(call, ...words))[0]);
  }

  async #bytes(call: string, ...words: readonly (string | number)[]): Promise<string> {
    const [text = '-'] = await this.#ask(call, ...words);
    return text === '-' ? '' : Buffer.from(text, 'hex').toString('latin1');
  }

  #ask(call: string, ...words: readonly (string | number)[]): Promise<string[]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), CALL_MS_MAX);
      const settle = <T>(then: (value: T) => void) => {
        return (value: T) => {
          clearTimeout(timer);
          then(value);
        };
      };
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        settle(reject)(new Error('the caller has ended'));
        return;
      }
      this.#waiting.push({ resolve: settle(resolve), reject: settle(reject) });
      this.#child.stdin?.write(`${[call, ...words].join(' ')}\n`);
    });
  }

  #answered(line: string): void {
    const waiting = this.#waiting.shift();
    const [kind, ...words] = line.split(' ');
    if (kind === 'ok') waiting?.resolve(words);
    else waiting?.reject(failureOf(kind, Number(words[0])));
  }
}

function failureOf(kind: string | undefined, number: number): Error {
  const { SIGBUS, SIGSEGV } = constants.signals;
  const signals = new Map([
    [SIGBUS, 'SIGBUS'],
    [SIGSEGV, 'SIGSEGV'],
  ]);
  const names = Object.entries(constants.errno).filter(([, value]) => value === number);
  const [name] = kind === 'signal' ? [signals.get(number)] : names.map(([found]) => found);
  const code = name === 'ENOTSUP' ? 'EOPNOTSUPP' : name;
  return Object.assign(new Error(`${kind} ${number}`), { code });
}

const hexOf = (latin1: string): string =>
  latin1 === '' ? '-' : Buffer.from(latin1, 'latin1').toString('hex');

const hex = (path: Path): string => bytesOfPath(path).toString('hex') || '-';

function timespec(moment: Moment): [number, number] {
  if (moment === 'now') return [0, UTIME_NOW];
  if (moment === 'omit') return [0, UTIME_OMIT];
  return [moment.s, moment.ns];
}
