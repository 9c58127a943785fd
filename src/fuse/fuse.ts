/**
 * The native driver: mounts a file system and serves the kernel on the event loop. The entry of this
 * module.
 */
import { resolve } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import {
  FUSE_IO_BYTES_MAX,
  FUSE_NOTIFIER_CLOSE_MS_MAX,
  FUSE_REQUEST_ARENA_BYTES,
  NOTIFICATIONS_QUEUED_MAX,
  REQUESTS_PER_DRAIN_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type {
  Channel,
  NativeConnection,
  NativeFiles,
  NativeMounting,
  Notifier,
} from '../base/native.ts';
import type { Journal } from '../journal/journal.ts';
import type { FileSystem, Invalidator, Passthrough } from '../vfs/vfs.ts';
import type { Driver, MountEnd, MountStatus } from './driver.ts';
import type { Features } from './handshake.ts';
import { abortConnection, attach, detach, deviceAt, setReadAhead } from './native.ts';
import { KernelInvalidator } from './notify.ts';
import { KernelReferences } from './references.ts';
import { Session } from './session.ts';

export type { MountEnd, MountStatus } from './driver.ts';

/** What the driver uses of the addon. */
export type FuseNative = NativeMounting & NativeConnection & Pick<NativeFiles, 'closeDescriptor'>;

export interface FuseServerOptions {
  readonly fileSystem: FileSystem;
  readonly journal: Journal;
  readonly native: FuseNative;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether users other than the mounting one may enter; when absent, if that one is root. */
  readonly allowOther?: boolean | undefined;
  readonly readOnly?: boolean | undefined;
  /** Whether set-id bits and capabilities of files count; root only, like `dev`. */
  readonly suid?: boolean | undefined;
  /** Whether device files can be opened. */
  readonly dev?: boolean | undefined;
  /** Told of a kernel that can read and write local files by itself; absent: it shall not. */
  readonly passthrough?: PassthroughHost | undefined;
}

/** Who decides which files that are. */
export interface PassthroughHost {
  attach(passthrough: Passthrough): void;
  detach(): void;
}

/** The largest request is a WRITE: its header, its structure, its bytes; a page is room enough. */
const REQUEST_BYTES_MAX = FUSE_IO_BYTES_MAX + 4096;

const NOT_MOUNTED = 'nothing is mounted';

/** A mount that lives. */
interface Connected {
  readonly mountPoint: string;
  readonly fd: number;
  readonly session: Session;
  readonly channel: Channel;
  readonly notifier: Notifier;
}

export class FuseServer implements Driver {
  readonly invalidator: Invalidator;
  readonly ended: Promise<MountEnd>;
  readonly #options: FuseServerOptions;
  readonly #references = new KernelReferences();
  readonly #invalidator: KernelInvalidator;
  #connected: Connected | undefined;
  #features: Features | undefined;
  #device: string | undefined;
  #noPassthrough: string | undefined = NOT_MOUNTED;
  #isUsed = false;
  #isServing = false;
  #setEnded: (end: MountEnd) => void = () => {};

  constructor(options: FuseServerOptions) {
    this.#options = options;
    this.#invalidator = new KernelInvalidator(this.#references, options.clock, options.log);
    this.invalidator = this.#invalidator;
    this.ended = new Promise((take) => {
      this.#setEnded = take;
    });
  }

  status(): MountStatus {
    const connected = this.#connected;
    return {
      driver: 'native',
      mountPoint: connected?.mountPoint,
      protocolMinor: this.#features?.minor,
      inodes: this.#references.inodeCount,
      handles: this.#references.handleCount,
      requests: connected?.session.requestCount ?? 0,
      waiting: connected?.session.waitingCount ?? 0,
      noPassthrough: this.#noPassthrough,
      invalidations: this.#invalidator.queuedCount,
    };
  }

  async mount(dir: string): Promise<void> {
    assert(!this.#isUsed, 'a server mounts once');
    this.#isUsed = true;
    const { native, allowOther, readOnly, suid, dev, log } = this.#options;
    const mountPoint = resolve(dir);
    const fd = attach(native, mountPoint, {
      allowOther: allowOther ?? process.geteuid?.() === 0,
      readOnly: readOnly ?? false,
      suid: suid ?? false,
      dev: dev ?? false,
    });
    try {
      await this.#connect(mountPoint, fd);
    } catch (error) {
      await detach(native, mountPoint, true);
      // Once it is served, the end of the connection closes it.
      if (!this.#isServing) native.closeDescriptor(fd);
      throw error;
    }
    this.#device = deviceAt(mountPoint);
    if (this.#device !== undefined) setReadAhead(this.#device);
    log.info({ mountPoint, protocol: `7.${this.#features?.minor}` }, 'mounted');
  }

  async unmount({ lazy = false }: { readonly lazy?: boolean } = {}): Promise<void> {
    const connected = this.#connected;
    if (connected === undefined) return;
    await detach(this.#options.native, connected.mountPoint, lazy);
    if (!lazy) await this.ended;
  }

  abandon(): void {
    this.#end(0);
  }

  /** Resolves when the kernel and this server have agreed. */
  #connect(mountPoint: string, fd: number): Promise<void> {
    const { native, journal, fileSystem, clock, log } = this.#options;
    return new Promise((agree, refuse) => {
      const session = new Session({
        fileSystem,
        journal,
        clock,
        log,
        references: this.#references,
        wantsPassthrough: this.#unwanted() === undefined,
        generation: journal.commit(() => journal.counters.next('connection')),
        onInit: (result) => {
          if (result instanceof OpError) {
            refuse(result);
            return;
          }
          this.#features = result;
          if (result.hasPassthrough) this.#offerPassthrough(fd);
          else this.#noPassthrough = this.#unwanted() ?? 'the kernel does not offer it';
          agree();
        },
      });
      const channel = native.openChannel(
        fd,
        {
          requestBytesMax: REQUEST_BYTES_MAX,
          arenaBytes: FUSE_REQUEST_ARENA_BYTES,
          requestsMax: REQUESTS_PER_DRAIN_MAX,
        },
        (count) => session.drain(count),
        (errno) => {
          refuse(new OpError('mount-failed', `mount ${mountPoint}`));
          this.#end(errno);
        },
      );
      session.attach(channel);
      const notifier = native.openNotifier(fd, { queueMax: NOTIFICATIONS_QUEUED_MAX });
      this.#invalidator.attach(notifier);
      this.#connected = { mountPoint, fd, session, channel, notifier };
      this.#isServing = true;
    });
  }

  /** Why the kernel is not asked to take files for itself. */
  #unwanted(): string | undefined {
    if (this.#options.passthrough === undefined) return 'mount.passthrough is false';
    // Registering files needs CAP_SYS_ADMIN.
    return process.geteuid?.() === 0 ? undefined : 'the daemon is not root';
  }

  #offerPassthrough(fd: number): void {
    const { native, passthrough, log } = this.#options;
    const registering: Passthrough = {
      register: (file) => {
        try {
          return native.backingOpen(fd, file);
        } catch (error) {
          throw asOpError(error, 'register a backing file');
        }
      },
      // It is gone with the connection, if that has ended.
      unregister: (backing) => {
        if (this.#connected?.fd !== fd) return;
        try {
          native.backingClose(fd, backing);
        } catch (error) {
          log.warn({ err: error }, 'the kernel did not let go of a backing file');
        }
      },
    };
    try {
      passthrough?.attach(registering);
      this.#noPassthrough = undefined;
    } catch (error) {
      this.#noPassthrough = refusalOf(error);
      // The disk may be one that nothing can be stacked on (ELOOP), or this process lack the right.
      log.warn({ err: error }, 'the kernel takes no files for itself: all bytes go through here');
    }
  }

  /** A connection that was aborted leaves its mount behind, and that answers nobody. */
  async #clearAway(mountPoint: string): Promise<void> {
    if (this.#device === undefined || deviceAt(mountPoint) !== this.#device) return;
    await detach(this.#options.native, mountPoint, true);
  }

  /**
   * A notification may wait for the lock of a directory whose holder waits for an answer that never
   * comes. Then the mount is there for certain, and has its number: it is cut off.
   */
  async #closeNotifier(notifier: Notifier): Promise<void> {
    const { clock, log } = this.#options;
    const device = this.#device;
    const closed = new AbortController();
    clock.sleep(FUSE_NOTIFIER_CLOSE_MS_MAX, closed.signal).then(
      () => {
        const isAborted = device !== undefined && abortConnection(device);
        log.warn(
          { device, isAborted },
          'a notification waits in the kernel at the end of the mount',
        );
      },
      () => {}, // Closed in time.
    );
    try {
      await notifier.close();
    } finally {
      closed.abort();
    }
  }

  /** The kernel has let go of the mount. */
  #end(errno: number): void {
    const connected = this.#connected;
    if (connected === undefined) return;
    const { mountPoint, fd, session, channel, notifier } = connected;
    const { native, log } = this.#options;
    this.#connected = undefined;
    this.#noPassthrough = NOT_MOUNTED;
    channel.close();
    this.#invalidator.detach();
    this.#options.passthrough?.detach();
    session.end();
    const error =
      errno === 0 ? undefined : new OpError('io', `serve ${mountPoint}`, { details: { errno } });
    log.info({ mountPoint, errno }, 'the mount has ended');
    Promise.all([this.#closeNotifier(notifier), this.#clearAway(mountPoint)])
      .catch((cause: unknown) => log.error({ err: cause }, 'the mount did not end cleanly'))
      .finally(() => {
        native.closeDescriptor(fd);
        this.#setEnded({ error });
      });
  }
}

/** In a few words what did not work, and how the kernel or the disk said so. */
function refusalOf(error: unknown): string {
  const { op, hint, failure, cause } = asOpError(error, 'offer passthrough');
  return `could not ${op}: ${hint ?? codeOf(cause) ?? failure}`;
}
