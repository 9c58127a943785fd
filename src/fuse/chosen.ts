/**
 * The driver that the configuration asks for. `auto` is the native one, unless it cannot be used on
 * this machine; then it is the fallback, and the status says why.
 *
 * Invariant: the invalidator can be handed out before it is known which driver will mount.
 */
import { asOpError, type Failure, OpError } from '../base/errors.ts';
import type { Invalidator } from '../vfs/vfs.ts';
import type { Driver, MountEnd, MountStatus } from './driver.ts';
import { FuseServer, type FuseServerOptions, type Taken } from './fuse.ts';
import { PathwiseServer } from './pathwise.ts';

export type DriverChoice = 'auto' | 'native' | 'fuse-native';

export interface ChosenDriverOptions extends FuseServerOptions {
  readonly driver: DriverChoice;
  /** Resolves when the tree that `arriving` is about is there: only the native driver can wait for it. */
  readonly arrived?: (() => Promise<void> | undefined) | undefined;
}

export interface ChosenStatus extends MountStatus {
  /** Why it is this driver, and how it mounts; for people. */
  readonly reason: string;
}

/** What says that this machine cannot be served natively, and not only that place. */
const UNUSABLE: readonly Failure[] = ['dependency-missing', 'version-unsupported', 'mount-failed'];

export class ChosenDriver implements Driver {
  readonly invalidator: Invalidator;
  readonly ended: Promise<MountEnd>;
  readonly #options: ChosenDriverOptions;
  #driver: Driver;
  #reason: string;
  #setEnded: (end: MountEnd) => void = () => {};

  constructor(options: ChosenDriverOptions) {
    this.#options = options;
    const isFallback = options.driver === 'fuse-native';
    this.#driver = isFallback ? new PathwiseServer(options) : new FuseServer(options);
    this.#reason =
      options.driver === 'auto'
        ? 'chosen automatically, because the native driver works here'
        : 'chosen in the configuration';
    this.invalidator = {
      entry: (parent, name) => this.#driver.invalidator.entry(parent, name),
      inode: (ino, bytes) => this.#driver.invalidator.inode(ino, bytes),
      uncounted: (ino) => this.#driver.invalidator.uncounted(ino),
      settled: () => this.#driver.invalidator.settled(),
      knows: (ino) => this.#driver.invalidator.knows(ino),
    };
    this.ended = new Promise((take) => {
      this.#setEnded = take;
    });
  }

  status(): ChosenStatus {
    return { ...this.#driver.status(), reason: `${this.#reason}; ${mountedBy()}` };
  }

  async mount(dir: string): Promise<void> {
    try {
      if (this.#driver instanceof PathwiseServer) await this.#options.arrived?.();
      await this.#driver.mount(dir);
    } catch (error) {
      if (this.#options.driver !== 'auto') throw error;
      await this.#fallBack(dir, asOpError(error, `mount ${dir}`));
    }
    void this.#driver.ended.then(this.#setEnded);
  }

  /** Goes on with a mount that the native driver of a daemon before this one made. */
  takeOver(taken: Taken): void {
    const driver = new FuseServer(this.#options);
    this.#driver = driver;
    this.#reason = 'that of the mount that was taken over';
    driver.takeOver(taken);
    void driver.ended.then(this.#setEnded);
  }

  unmount(options?: { readonly lazy?: boolean }): Promise<void> {
    return this.#driver.unmount(options);
  }

  abandon(): void {
    this.#driver.abandon();
  }

  /** @throws OpError why the native driver did not mount, when the fallback does not either. */
  async #fallBack(dir: string, native: OpError): Promise<void> {
    if (!UNUSABLE.includes(native.failure)) throw native;
    const fallback = new PathwiseServer(this.#options);
    try {
      await this.#options.arrived?.();
      await fallback.mount(dir);
    } catch (error) {
      const { message } = asOpError(error, `mount ${dir}`);
      const { failure, op, hint, details } = native;
      const hints = [hint, `the fallback did not mount either (${message})`];
      throw new OpError(failure, op, {
        cause: native,
        hint: hints.filter((text) => text !== undefined).join('; '),
        details,
      });
    }
    this.#driver = fallback;
    this.#reason = `the fallback, because the native driver cannot be used here (${native.message})`;
    this.#options.log.warn({ err: native }, 'mounted by the fallback driver');
  }
}

const mountedBy = (): string =>
  process.geteuid?.() === 0
    ? 'mounted by mount(2), because the daemon is root'
    : 'mounted by the set-user-id helper of FUSE, because the daemon is not root';
