/** The package fuse-native and what stands before libfuse, held by hand: operations are called, answers are kept. */
import type { Libfuse2, Libfuse2Turn } from '../../src/base/native.ts';
import type {
  Answer,
  Loaded,
  PackageMount,
  PackageOperations,
  PackageOptions,
} from '../../src/fuse/pathwise-package.ts';

type Call = (ticket: string, ...rest: never[]) => void;

export class HandPackage {
  operations: PackageOperations | undefined;
  options: PackageOptions | undefined;
  /** Stats, names and entries that were left for libfuse, in order. */
  readonly given: unknown[] = [];
  /** What `mount` ends with. */
  failure: Error | null = null;
  /** What letting go of the event loop ends with. */
  closeFailure: Error | null = null;
  /** Whether the package has let go of the event loop. */
  isClosed = false;
  #turns: Partial<Libfuse2Turn>[] = [];
  #end: () => void = () => {};

  /** libfuse has ended. */
  end(): void {
    this.#end();
  }

  /**
   * Calls an operation. `turn` is what it is about, `rest` are the package's own arguments. The answers given so far
   * are in the list, which grows.
   */
  ask(name: keyof PackageOperations, turn: Partial<Libfuse2Turn>, ...rest: unknown[]): unknown[][] {
    if (this.operations === undefined) throw new Error('nothing is mounted');
    const answers: unknown[][] = [];
    const answer: Answer = (...values) => void answers.push(values);
    const ticket = String(this.#turns.push(turn) - 1);
    const call = this.operations[name] as Call;
    call(ticket, ...([...rest, answer] as never[]));
    return answers;
  }

  readonly load = (): Loaded => {
    const hand = this;
    class Fuse implements PackageMount {
      constructor(_dir: string, operations: PackageOperations, options: PackageOptions) {
        hand.operations = operations;
        hand.options = options;
      }
      static unmount(_dir: string, done: (error: Error | null) => void): void {
        done(new Error('the package unmounts by a shell'));
      }
      mount(done: (error: Error | null) => void): void {
        done(hand.failure);
      }
      _close(done: (error: Error | null) => void): void {
        hand.isClosed = true;
        done(hand.closeFailure);
      }
    }
    return { Fuse, libfuse: this.#libfuse() };
  };

  #libfuse(): Libfuse2 {
    return {
      describe: (number) => ({
        other: '',
        pid: 0,
        uid: 0,
        gid: 0,
        umask: 0,
        flags: 0,
        isWriteback: false,
        fh: 0,
        room: 0,
        atime: undefined,
        mtime: undefined,
        ...this.#turns[number],
      }),
      giveStat: (_number, numbers) => void this.given.push(numbers),
      giveName: (_number, name) => void this.given.push(Buffer.from(name).toString('latin1')),
      giveEntry: (_number, name) => void this.given.push(Buffer.from(name).toString('latin1')),
      giveDirect: () => void this.given.push('direct'),
      watchEnd: (told) => {
        this.#end = told;
      },
    };
  }
}
