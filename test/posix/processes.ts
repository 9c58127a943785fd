/**
 * The table's file system through the kernel, with all that takes more than Node, and more than one process: the
 * child that makes the ordinary calls, and two that make the others (calls.ts), in one directory.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { Calls, type CallsProgram } from './calls.ts';
import type { Moment, Path, PosixFilesystem } from './filesystem.ts';
import { CALLER, Kernel } from './kernel.ts';

/** Starts a program in the directory that is meant. */
export type Spawn = (program: string, args: readonly string[]) => ChildProcess;

export class Processes extends Kernel implements PosixFilesystem {
  /** Follows `as`. Descriptors are its own. */
  readonly calls: Calls;
  /** Another process, which stays root unless told. */
  readonly other: Calls;

  static start(program: CallsProgram, start: Spawn): Processes {
    const [caller, ...args] = CALLER;
    const calls = () => new Calls(start(program.path, []));
    return new Processes(start(caller, args), calls(), calls());
  }

  /** In a directory that cannot hang. */
  static startIn(directory: string, program: CallsProgram): Processes {
    return Processes.start(program, (command, args) =>
      spawn(command, args, { cwd: directory, stdio: 'pipe' }),
    );
  }

  private constructor(child: ChildProcess, calls: Calls, other: Calls) {
    super(child);
    this.calls = calls;
    this.other = other;
  }

  override async as(uid: number, gid: number, groups: readonly number[] = []): Promise<void> {
    await super.as(uid, gid, groups);
    await this.calls.as(uid, gid);
  }

  access(path: Path, mask: number): Promise<void> {
    return this.calls.access(path, mask);
  }

  utimens(path: Path, atime: Moment, mtime: Moment): Promise<void> {
    return this.calls.utimens(path, atime, mtime);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.calls[Symbol.asyncDispose]();
    await this.other[Symbol.asyncDispose]();
    await super[Symbol.asyncDispose]();
  }
}
