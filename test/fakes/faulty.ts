/** A file system that works, but for what a test makes of some of its operations. */
import type { FileSystem } from '../../src/vfs/vfs.ts';

/** Takes the place of an operation; `real` is the operation with the arguments it was given. */
export type Fault = (real: () => unknown, args: readonly unknown[]) => unknown;

export class FaultyFileSystem {
  /** What the operations do while they are in here. */
  readonly faults = new Map<keyof FileSystem, Fault>();
  /** Operations called so far, each with its arguments. */
  readonly calls: (readonly [name: string, args: readonly unknown[]])[] = [];
  readonly fileSystem: FileSystem;

  constructor(inner: FileSystem) {
    this.fileSystem = new Proxy(inner, {
      get: (target, key) => {
        const method: unknown = Reflect.get(target, key);
        if (typeof method !== 'function') return method;
        return (...args: unknown[]) => {
          this.calls.push([String(key), args]);
          const real = (): unknown => Reflect.apply(method, target, args);
          const fault = this.faults.get(key as keyof FileSystem);
          return fault === undefined ? real() : fault(real, args);
        };
      },
    });
  }

  /** The arguments of each call of one operation. */
  callsOf(name: keyof FileSystem): (readonly unknown[])[] {
    return this.calls.filter(([called]) => called === name).map(([, args]) => args);
  }
}
