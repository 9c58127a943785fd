/**
 * The native driver: mounts a file system and serves the kernel on the event loop. The entry of this
 * module.
 */
import { resolve } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import {
  FUSE_IO_BYTES_MAX,
  FUSE_NOTIFIER_CLOSE_MS_MAX,
  FUSE_REQUEST_ARENA_BYTES,
  NOTIFICATIONS_QUEUED_MAX,
  REQUESTS_PER_DRAIN_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import {
  type Channel,
  type NativeConnection,
  type NativeFiles,
  type NativeKeeping,
  type NativeMounting,
  type Notifier,
  notifyProgram,
} from '../base/native.ts';
import type { Journal } from '../journal/journal.ts';
import type {
  Arriving,
  FileSystem,
  HandleTable,
  Invalidator,
  Passthrough,
  TablePlace,
} from '../vfs/vfs.ts';
import type { Driver, MountEnd, MountStatus } from './driver.ts';
import { ECONNABORTED } from './errno.ts';
import type { Features } from './handshake.ts';
import { OUT_HEADER } from './layout.ts';
import {
  abortConnection,
  attach,
  detach,
  detachable,
  deviceAt,
  placeOf,
  setReadAhead,
} from './native.ts';
import { KernelInvalidator } from './notify.ts';
import { KernelReferences } from './references.ts';
import { Session, type SessionOptions } from './session.ts';
import { agreedIn, askForOrphans, blame, resendMessage } from './take-over.ts';

export type { MountEnd, MountStatus } from './driver.ts';
export { inheritedFrom } from './take-over.ts';

/** What the driver uses of the addon. */
export type FuseNative = NativeMounting &
  NativeConnection &
  Pick<NativeFiles, 'closeDescriptor'> &
  Pick<NativeKeeping, 'hasFailed'>;

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
  /** What the kernel holds, written down for a daemon after this one. */
  readonly table: HandleTable;
  /** Told of the mount once it works, for who keeps it over the end of this process. */
  readonly keep?: ((mount: Pick<Taken, 'fd' | 'mountPoint' | 'device'>) => void) | undefined;
  /** Called when the kernel has taken the first answer. */
  readonly onAnswered?: (() => void) | undefined;
  /** A tree that is not there yet. */
  readonly arriving?: Arriving | undefined;
}

/** A mount of a daemon before this one. */
export interface Taken {
  readonly fd: number;
  readonly mountPoint: string;
  /** As in /proc/self/mountinfo. */
  readonly device: string | undefined;
  /** Whether that daemon crashed or hung, rather than being killed or stopped. */
  readonly diedOfItself: boolean;
}

/** Who decides which files that are. */
export interface PassthroughHost {
  /** `isProven`: a daemon before this one had it on this connection. */
  attach(passthrough: Passthrough, isProven?: boolean): void;
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
  /** A second one from when it is needed. */
  readonly notifiers: Notifier[];
}

export class FuseServer implements Driver {
  readonly invalidator: Invalidator;
  readonly ended: Promise<MountEnd>;
  readonly #options: FuseServerOptions;
  readonly #references: KernelReferences;
  readonly #invalidator: KernelInvalidator;
  #connected: Connected | undefined;
  #features: Features | undefined;
  #device: string | undefined;
  #noPassthrough: string | undefined = NOT_MOUNTED;
  #isUsed = false;
  #isServing = false;
  #hasAnswered = false;
  /** Where the table has the numbers by which the kernel knows files. */
  readonly #backings = new Map<number, TablePlace>();
  readonly #over = new AbortController();
  #refuse: (error: OpError) => void = () => {};
  #setEnded: (end: MountEnd) => void = () => {};

  constructor(options: FuseServerOptions) {
    this.#options = options;
    this.#references = new KernelReferences(options.table);
    const onQuiet = () => this.#noteQuiet();
    this.#invalidator = new KernelInvalidator(
      this.#references,
      options.clock,
      options.log,
      onQuiet,
    );
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
      await this.#begin(mountPoint, fd);
    } catch (error) {
      await detach(native, mountPoint, true);
      // Once it is served, the end of the connection closes it.
      if (!this.#isServing) native.closeDescriptor(fd);
      throw error;
    }
    this.#device = deviceAt(mountPoint);
    if (this.#device !== undefined) setReadAhead(this.#device);
    log.info({ mountPoint, protocol: `7.${this.#features?.minor}` }, 'mounted');
    // A kernel that sends nothing again would let whoever waits for an answer wait for ever.
    if (this.#features?.hasResend === true) {
      this.#options.keep?.({ fd, mountPoint, device: this.#device });
    }
  }

  /**
   * Goes on with a mount that another daemon made, as the handle table says it was: `fd` is its open
   * /dev/fuse, and this server's from now on. The file system has taken the handles over.
   */
  takeOver({ fd, mountPoint, device, diedOfItself }: Taken): void {
    assert(!this.#isUsed, 'a server mounts once');
    this.#isUsed = true;
    const { table, clock, log, journal, fileSystem } = this.#options;
    const agreed = agreedIn(table);
    const generation = table.agreement?.generation;
    assert(agreed !== undefined && generation !== undefined, 'there was a mount');
    this.#features = agreed;
    this.#device = device;
    const poisonous = blame(table, diedOfItself);
    this.#references.inherit(table.handles(), journal.counters.reserved('ino') as Ino);
    const before = { agreed, poisonous, isCareful: diedOfItself };
    const { channel } = this.#connect(mountPoint, fd, { ...before, generation, onInit() {} });
    if (agreed.hasPassthrough) this.#offerPassthrough(fd);
    else this.#noPassthrough = this.#unwanted() ?? 'the kernel does not offer it';
    this.#closeUnused(fd);
    const errno = channel.reply(resendMessage(), 0, OUT_HEADER.bytes);
    log.info({ mountPoint, errno, poisonous: poisonous.size }, 'taken over');
    const parts = { fileSystem, clock, references: this.#references };
    const forget = (ino: Ino) => this.#connected?.session.forgotten(ino);
    askForOrphans({ ...parts, invalidator: this.#invalidator }, forget, this.#over.signal).catch(
      () => {}, // The end of the mount.
    );
  }

  async unmount({ lazy = false }: { readonly lazy?: boolean } = {}): Promise<void> {
    const connected = this.#connected;
    if (connected === undefined) return;
    const { native } = this.#options;
    const { mountPoint, fd } = connected;
    const place = detachable(this.#device, mountPoint, !native.hasFailed(fd));
    await detach(native, place, lazy);
    if (!lazy) await this.ended;
  }

  abandon(): void {
    this.#end(0);
  }

  /** Resolves when the kernel and this server have agreed. */
  #begin(mountPoint: string, fd: number): Promise<void> {
    const { journal, table } = this.#options;
    const generation = journal.commit(() => journal.counters.next('connection'));
    return new Promise((agree, refuse) => {
      const onInit = (result: Features | OpError) => {
        if (result instanceof OpError) {
          refuse(result);
          return;
        }
        this.#features = result;
        table.agree({ generation, ...result });
        if (result.hasPassthrough) this.#offerPassthrough(fd);
        else this.#noPassthrough = this.#unwanted() ?? 'the kernel does not offer it';
        agree();
      };
      this.#refuse = refuse;
      this.#connect(mountPoint, fd, { generation, onInit });
    });
  }

  #connect(
    mountPoint: string,
    fd: number,
    terms: Pick<SessionOptions, 'generation' | 'onInit' | 'agreed' | 'poisonous' | 'isCareful'>,
  ): Connected {
    const { native, journal, fileSystem, clock, log, table, arriving } = this.#options;
    const session = new Session({
      ...{ fileSystem, journal, clock, log, table, arriving },
      ...terms,
      references: this.#references,
      wantsPassthrough: this.#unwanted() === undefined,
      told: () => this.#invalidator.told(),
      onAnswered: () => this.#answered(),
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
        this.#refuse(new OpError('mount-failed', `mount ${mountPoint}`));
        this.#end(errno);
      },
    );
    session.attach(channel);
    const notifiers: Notifier[] = [];
    const begin = (): Notifier => {
      const program = notifyProgram();
      const notifier = native.openNotifier(fd, { queueMax: NOTIFICATIONS_QUEUED_MAX, program });
      notifiers.push(notifier);
      return notifier;
    };
    this.#invalidator.attach(begin(), begin);
    this.#connected = { mountPoint, fd, session, channel, notifiers };
    this.#isServing = true;
    return this.#connected;
  }

  #answered(): void {
    this.#noteQuiet();
    if (this.#hasAnswered) return;
    this.#hasAnswered = true;
    this.#options.onAnswered?.();
  }

  /** Up to here the kernel knows everything. */
  #noteQuiet(): void {
    const { table, journal } = this.#options;
    if (this.#invalidator.queuedCount === 0) table.notifiedSeq = journal.head.seq;
  }

  /** Why the kernel is not asked to take files for itself. */
  #unwanted(): string | undefined {
    if (this.#options.passthrough === undefined) return 'mount.passthrough is false';
    // Registering files needs CAP_SYS_ADMIN.
    return process.geteuid?.() === 0 ? undefined : 'the daemon is not root';
  }

  #offerPassthrough(fd: number): void {
    const { native, passthrough, log, table } = this.#options;
    const registering: Passthrough = {
      register: (file) => {
        let backing: number | undefined;
        try {
          backing = native.backingOpen(fd, file);
          this.#backings.set(backing, table.addBacking(backing));
          return backing;
        } catch (error) {
          // One that is not in the table nobody would let go of.
          if (backing !== undefined) native.backingClose(fd, backing);
          throw asOpError(error, 'register a backing file');
        }
      },
      // It is gone with the connection, if that has ended.
      unregister: (backing) => {
        const place = this.#backings.get(backing);
        this.#backings.delete(backing);
        try {
          // First: of one that is not in the table nobody lets go any more.
          if (this.#connected?.fd === fd) native.backingClose(fd, backing);
        } catch (error) {
          log.warn({ err: error }, 'the kernel did not let go of a backing file');
        }
        if (place !== undefined) table.remove(place);
      },
    };
    try {
      passthrough?.attach(registering, table.backings().length > 0);
      this.#noPassthrough = undefined;
    } catch (error) {
      this.#noPassthrough = refusalOf(error);
      // The disk may be one that nothing can be stacked on (ELOOP), or this process lack the right.
      log.warn({ err: error }, 'the kernel takes no files for itself: all bytes go through here');
    }
  }

  /** Numbers of files that a daemon before this one registered, and that nobody has open any more. */
  #closeUnused(fd: number): void {
    const { native, table } = this.#options;
    const used = new Set(table.handles().map(({ backing }) => backing));
    for (const { place, backing } of table.backings()) {
      if (this.#backings.has(backing)) continue;
      if (used.has(backing)) {
        this.#backings.set(backing, place);
        continue;
      }
      try {
        native.backingClose(fd, backing);
      } catch {
        // It was closed, and a kill came before that was written down.
      }
      table.remove(place);
    }
  }

  /** A connection that was aborted leaves its mount behind, and that answers nobody. */
  async #clearAway({ mountPoint, fd }: Connected, errno: number): Promise<void> {
    if (this.#device === undefined) return;
    const { native } = this.#options;
    // Ended by an unmount, its number may be that of another mount by now.
    const isCurrent = errno === ECONNABORTED || !native.hasFailed(fd);
    const place = placeOf(this.#device, mountPoint, isCurrent);
    if (place?.isSeen === true) await detach(native, place.dir, true);
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
    const { mountPoint, fd, session, channel, notifiers } = connected;
    const { native, log } = this.#options;
    this.#connected = undefined;
    this.#over.abort();
    this.#noPassthrough = NOT_MOUNTED;
    channel.close();
    this.#invalidator.detach();
    this.#options.passthrough?.detach();
    session.end();
    const error =
      errno === 0 ? undefined : new OpError('io', `serve ${mountPoint}`, { details: { errno } });
    log.info({ mountPoint, errno }, 'the mount has ended');
    Promise.all([
      ...notifiers.map((each) => this.#closeNotifier(each)),
      this.#clearAway(connected, errno),
    ])
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
