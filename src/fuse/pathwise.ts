/**
 * The fallback driver: the package fuse-native, which speaks to the kernel through libfuse 2 and is
 * asked by path. The same file system is behind it as behind the native driver.
 *
 * Invariants: every operation is answered exactly once, whatever is thrown, because its client and a
 * thread of libfuse wait for it without a limit; what an operation changed is committed before its
 * answer; after the end the file system is not touched any more. The kernel keeps no attribute and
 * no name of this mount, because it cannot be told that one has changed.
 */
import { resolve } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { Name } from '../base/ids.ts';
import { FUSE_CID_READS_MAX, FUSE_REQUEST_MS_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Libfuse2, NativeMounting } from '../base/native.ts';
import { Turns } from '../base/turns.ts';
import type { Journal } from '../journal/journal.ts';
import type { Awaitable, FileSystem, Invalidator } from '../vfs/vfs.ts';
import { Callers } from './callers.ts';
import type { Driver, MountEnd, MountStatus } from './driver.ts';
import { EIO, ENOTCONN, errnoOf } from './errno.ts';
import { detach, detachable, deviceAt, placeOf } from './native.ts';
import { type Opening, Openings } from './openings.ts';
import type { InTurn, PathCall } from './pathwise-operations.ts';
import { type Loaded, loadPackage, type PackageMount, type Ticket } from './pathwise-package.ts';
import { type Entry, operationsAt } from './pathwise-table.ts';

export interface PathwiseOptions {
  readonly fileSystem: FileSystem;
  readonly journal: Pick<Journal, 'group'>;
  readonly native: NativeMounting;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether users other than the mounting one may enter; when absent, if that one is root. */
  readonly allowOther?: boolean | undefined;
  readonly readOnly?: boolean | undefined;
  /** Whether set-id bits and capabilities of files count; root only, like `dev`. */
  readonly suid?: boolean | undefined;
  /** Whether device files can be opened. */
  readonly dev?: boolean | undefined;
  /** Loads the package; a test hands in another. */
  readonly load?: () => Loaded;
}

/** The version of the protocol that libfuse 2.9 speaks. */
const PROTOCOL_MINOR = 19;
/** PATH_MAX of the package's own buffers, without a NUL. */
const MOUNT_POINT_BYTES_MAX = 1023;

/**
 * What libfuse is to do besides what the package has options for. Writes are 4 KiB each without
 * `big_writes`, and 128 KiB at most. Without `hard_remove` an open file that is removed would stay
 * in its directory under another name. No user's text ever comes in here.
 */
const MOUNT_WORDS = [
  'kitfs',
  ...['big_writes', 'max_write=131072', 'atomic_o_trunc'],
  ...['hard_remove', 'use_ino'],
  ...['attr_timeout=0', 'entry_timeout=0', 'negative_timeout=0', 'ac_attr_timeout=0'],
];

/** Nothing is kept by the kernel, so there is nothing to announce. */
const NOTHING_KEPT: Invalidator = {
  entry() {},
  inode() {},
  uncounted: () => {},
  settled: () => Promise.resolve(),
  knows: () => false,
};

export class PathwiseServer implements Driver {
  readonly invalidator = NOTHING_KEPT;
  readonly ended: Promise<MountEnd>;
  readonly #options: PathwiseOptions;
  readonly #callers: Callers;
  readonly #openings = new Openings();
  readonly #turns = new Turns({
    atOnce: FUSE_CID_READS_MAX,
    waitingMax: Number.POSITIVE_INFINITY,
  });
  /** Aborts when nobody is there any more who waits. */
  readonly #over = new AbortController();
  #libfuse: Libfuse2 | undefined;
  #fuse: PackageMount | undefined;
  #mountPoint: string | undefined;
  #device: string | undefined;
  #isUsed = false;
  #isServing = false;
  #requests = 0;
  #waiting = 0;
  #setEnded: (end: MountEnd) => void = () => {};

  constructor(options: PathwiseOptions) {
    this.#options = options;
    this.#callers = new Callers(options.clock);
    this.ended = new Promise((take) => {
      this.#setEnded = take;
    });
  }

  status(): MountStatus {
    return {
      driver: 'fuse-native',
      mountPoint: this.#mountPoint,
      protocolMinor: this.#mountPoint === undefined ? undefined : PROTOCOL_MINOR,
      inodes: 0,
      handles: this.#openings.size,
      requests: this.#requests,
      waiting: this.#waiting,
      noPassthrough: 'libfuse 2 does not know it',
      invalidations: 0,
    };
  }

  async mount(dir: string): Promise<void> {
    assert(!this.#isUsed, 'a server mounts once');
    this.#isUsed = true;
    const mountPoint = resolve(dir);
    const { load = loadPackage, native, log } = this.#options;
    const { Fuse, libfuse } = load();
    this.#libfuse = libfuse;
    libfuse.watchEnd(() => void this.#end());
    this.#isServing = true;
    try {
      await this.#attach(Fuse, mountPoint);
    } catch (cause) {
      this.#isServing = false;
      this.#leaveLoop();
      // It may be mounted already when the library gives up.
      if (deviceAt(mountPoint) !== undefined) await detach(native, mountPoint, true);
      const hint = cause instanceof Error ? cause.message : String(cause);
      throw new OpError('mount-failed', `mount ${mountPoint}`, { cause, hint });
    }
    this.#mountPoint = mountPoint;
    this.#device = deviceAt(mountPoint);
    log.info({ mountPoint, protocol: `7.${PROTOCOL_MINOR}` }, 'mounted through fuse-native');
  }

  async unmount({ lazy = false }: { readonly lazy?: boolean } = {}): Promise<void> {
    const mountPoint = this.#mountPoint;
    if (mountPoint === undefined) return;
    // The library does not tell whether its connection lives.
    await detach(this.#options.native, detachable(this.#device, mountPoint, false), lazy);
    if (lazy) return;
    // Nobody waits any more, and libfuse ends only when all that it asked is answered.
    this.#over.abort();
    await this.ended;
  }

  /** libfuse cannot be told to let go; it is answered ENOTCONN until the process ends. */
  abandon(): void {
    void this.#end();
  }

  #attach(Fuse: Loaded['Fuse'], mountPoint: string): Promise<void> {
    if (Buffer.byteLength(mountPoint) > MOUNT_POINT_BYTES_MAX) {
      throw new OpError('name-too-long', `mount ${mountPoint}`);
    }
    const { allowOther, readOnly, suid, dev } = this.#options;
    const words = [
      ...MOUNT_WORDS,
      readOnly === true ? 'ro' : 'rw',
      suid === true ? 'suid' : 'nosuid',
      dev === true ? 'dev' : 'nodev',
    ];
    const fuse = new Fuse(
      mountPoint,
      operationsAt({
        serve: (ticket, entry) => this.#serve(ticket, entry),
        openings: this.#openings,
        giveBack: (opening) => this.#giveBack(opening),
      }),
      {
        fsname: words.join(','),
        subtype: 'kitfs',
        allowOther: allowOther ?? process.geteuid?.() === 0,
        defaultPermissions: true,
        timeout: false,
      },
    );
    this.#fuse = fuse;
    return new Promise((agree, refuse) => {
      fuse.mount((error) => (error === null ? agree() : refuse(error)));
    });
  }

  /** Serves one operation. Never throws: what goes wrong is its answer. */
  #serve<T>(ticket: Ticket, entry: Entry<T>): void {
    const number = Number(ticket);
    this.#trying(entry, () => {
      const answered = new AbortController();
      const result = this.#begin(number, entry, answered.signal);
      if (result instanceof Promise || isInTurn(result))
        this.#wait(number, entry, result, answered);
      else this.#answer(number, entry, result);
    });
  }

  #begin<T>(
    number: number,
    { serve, isSync }: Entry<T>,
    signal: AbortSignal,
  ): Awaitable<T> | InTurn<T> {
    const { journal } = this.#options;
    if (!this.#isServing) throw new OpError('not-running', 'serve a mount that has ended');
    this.#requests += 1;
    const call = this.#callOf(number, signal);
    if (isSync === true) return serve(call);
    const results: (Awaitable<T> | InTurn<T>)[] = [];
    try {
      journal.group(() => {
        results.push(serve(call));
      });
    } catch (error) {
      if (error instanceof OpError) throw error;
      this.#note(error); // It came after the commit, and what was done is done.
    }
    return results[0] as Awaitable<T> | InTurn<T>;
  }

  #callOf(number: number, signal: AbortSignal): PathCall {
    assert(this.#libfuse !== undefined, 'an operation comes from libfuse');
    const turn = this.#libfuse.describe(number);
    const { fileSystem } = this.#options;
    return {
      fileSystem,
      caller: this.#callers.of(turn.pid, turn.uid, turn.gid),
      path: turn.path as Name | undefined,
      other: turn.other as Name,
      opened: this.#openings.find(turn.fh),
      umask: turn.umask,
      flags: turn.flags,
      isWriteback: turn.isWriteback,
      room: turn.room,
      allocate: turn.allocate,
      atime: turn.atime,
      mtime: turn.mtime,
      signal,
    };
  }

  #answer<T>(number: number, { answer }: Entry<T>, value: T): void {
    assert(this.#libfuse !== undefined, 'an operation comes from libfuse');
    answer(value, this.#libfuse, number);
  }

  #refuse<T>({ done }: Entry<T>, error: unknown): void {
    if (!this.#isServing) {
      done(-ENOTCONN);
      return;
    }
    const errno = errnoOf(error);
    if (errno === EIO) this.#note(error);
    done(-errno);
  }

  /** Answers once: with the result, or when the deadline has passed. */
  #wait<T>(
    number: number,
    entry: Entry<T>,
    work: Promise<T> | InTurn<T>,
    answered: AbortController,
  ): void {
    const once = (answer: () => void): boolean => {
      if (answered.signal.aborted) return false;
      answered.abort();
      this.#waiting -= 1;
      this.#trying(entry, answer);
      return true;
    };
    const refuse = (error: unknown) => once(() => this.#refuse(entry, error));
    this.#waiting += 1;
    const leave = () => refuse(new OpError('not-running', 'wait for content'));
    const { signal } = answered;
    this.#over.signal.addEventListener('abort', leave, { once: true, signal });
    if (this.#over.signal.aborted) leave();
    const isBegun = work instanceof Promise;
    const result = isBegun
      ? work
      : this.#turns.run('wait for content', signal, () => work({ signal }));
    result.then((value) => {
      const isAnswered = this.#isServing && once(() => this.#answer(number, entry, value));
      if (!isAnswered) this.#drop(entry, value);
      refuse(new OpError('not-running', 'serve a mount that has ended'));
    }, refuse);
    // An fsync may take as long as the disk takes.
    if (entry.isSync === true) return;
    this.#options.clock.sleep(FUSE_REQUEST_MS_MAX, answered.signal).then(
      () => refuse(new OpError('timeout', 'wait for content')),
      () => {}, // Answered in time.
    );
  }

  #trying<T>(entry: Entry<T>, answer: () => void): void {
    try {
      answer();
    } catch (error) {
      this.#refuse(entry, error);
    }
  }

  #drop<T>({ drop }: Entry<T>, value: T): void {
    try {
      drop?.(value);
    } catch (error) {
      this.#note(error);
    }
  }

  /** The kernel has let go of the mount, or is not listened to any more. */
  async #end(): Promise<void> {
    const { native, log } = this.#options;
    const [mountPoint, device] = [this.#mountPoint, this.#device];
    if (!this.#isServing || mountPoint === undefined) return;
    this.#isServing = false;
    this.#mountPoint = undefined;
    this.#over.abort();
    this.#giveBackAll();
    this.#leaveLoop();
    log.info({ mountPoint }, 'the mount has ended');
    try {
      // A connection that was aborted leaves its mount behind, and that answers nobody.
      const place = device === undefined ? undefined : placeOf(device, mountPoint, false);
      if (place?.isSeen === true) await detach(native, place.dir, true);
    } catch (error) {
      this.#note(error);
    }
    this.#setEnded({ error: undefined });
  }

  /** The package would keep the process alive. */
  #leaveLoop(): void {
    this.#fuse?._close((error) => {
      if (error !== null) this.#note(error);
    });
  }

  /** Joins the group that is open, if one is. */
  #giveBack({ fh, isDirectory }: Opening): void {
    const { fileSystem } = this.#options;
    if (isDirectory) fileSystem.releasedir(fh);
    else fileSystem.release(fh);
  }

  #giveBackAll(): void {
    for (const opening of this.#openings.takeAll()) {
      try {
        this.#giveBack(opening);
      } catch (error) {
        this.#note(error);
      }
    }
  }

  #note(error: unknown): void {
    const failure = error instanceof OpError ? error.failure : 'internal';
    this.#options.log.error({ failure, err: error }, 'a request of the kernel failed');
  }
}

/** No result is a function. */
const isInTurn = <T>(result: T | InTurn<T>): result is InTurn<T> => typeof result === 'function';
