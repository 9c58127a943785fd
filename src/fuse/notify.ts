/**
 * Tells the kernel of changes that did not come from it, so that what it keeps can be kept for ever.
 *
 * Messages are written by a native thread, in order: a client blocked in a directory may hold the
 * lock a message wants while it waits for an answer of ours. The order matters: INVAL_ENTRY waits
 * for whoever reads that directory, so that an INVAL_INODE of it behind it finds all pages that
 * the reader put there (fs/fuse/dir.c, fuse_reverse_inval_entry).
 *
 * An INVAL_INODE may come before the kernel has made the inode out of our answer, and then finds
 * nothing (ENOENT), while the attributes in that answer are still to be kept for ever. So it is
 * repeated as long as the kernel holds a reference, for a while; soon it has the inode, or has
 * given the reference back.
 *
 * What the kernel does not count of its own changes goes past all that: its answer waits for it, and
 * a message in the queue may wait for a page whose writing is that answer. An INVAL_INODE of
 * attributes alone takes no lock, so it needs only a writer of its own, begun when it is first needed.
 *
 * The bound of the queue is back-pressure: whoever changes the tree from outside awaits `settled`
 * before the next change, so that it holds no more than what the changes under way announced.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { Ino, Name } from '../base/ids.ts';
import { NOTIFICATIONS_QUEUED_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Notifier } from '../base/native.ts';
import type { Invalidator } from '../vfs/vfs.ts';
import { putI64, putU32, putU64 } from './encode.ts';
import { ECANCELED, ENODEV, ENOENT, ENOTCONN } from './errno.ts';
import { NOTIFY, NOTIFY_INVAL_ENTRY_OUT, NOTIFY_INVAL_INODE_OUT, OUT_HEADER } from './layout.ts';
import type { KernelReferences } from './references.ts';

/** Answers that mean the kernel keeps nothing of it, or that the mount has ended. */
const HARMLESS: ReadonlySet<number> = new Set([0, ENOENT, ENODEV, ENOTCONN, ECANCELED]);

/** Milliseconds before an invalidation is repeated; they double, so all are a second. */
const REPEAT_MS = 1;
const REPEATS_MAX = 10;

interface Message {
  readonly bytes: Buffer;
  /** Of an INVAL_INODE, which is repeated. */
  readonly ino: Ino | undefined;
  repeats: number;
}

interface Settling {
  /** Messages that are still waited for. */
  readonly left: Set<Message>;
  readonly resolve: () => void;
}

export class KernelInvalidator implements Invalidator {
  readonly #references: KernelReferences;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onQuiet: () => void;
  #notifier: Notifier | undefined;
  /** Waiting to be handed to the thread, in order. */
  readonly #queue = new Set<Message>();
  /** Handed to the thread and not written yet, or to be repeated. */
  readonly #sent = new Set<Message>();
  #settling: Settling[] = [];
  #begin: (() => Notifier) | undefined;
  #swift: Notifier | undefined;
  /** Told past the queue, and not taken yet. */
  readonly #uncounted = new Set<Promise<void>>();
  readonly #ended = new AbortController();

  /** `onQuiet` is called when the kernel has taken all there was. */
  constructor(references: KernelReferences, clock: Clock, log: Log, onQuiet = () => {}) {
    this.#references = references;
    this.#clock = clock;
    this.#log = log;
    this.#onQuiet = onQuiet;
  }

  /** From now on there is a kernel to tell; `begin` makes another way to it. */
  attach(notifier: Notifier, begin: () => Notifier): void {
    this.#notifier = notifier;
    this.#begin = begin;
  }

  /** There is none any more; nobody waits for it. */
  detach(): void {
    this.#notifier = undefined;
    this.#swift = undefined;
    this.#ended.abort();
    this.#queue.clear();
    for (const { resolve } of this.#settling) resolve();
    this.#settling = [];
  }

  knows(ino: Ino): boolean {
    return this.#notifier !== undefined && this.#references.knows(ino);
  }

  entry(parent: Ino, name: Name): void {
    if (this.knows(parent)) this.#enqueue(invalEntry(parent, name), undefined);
  }

  inode(ino: Ino, bytes: boolean): void {
    if (this.knows(ino)) this.#enqueue(invalInode(ino, bytes), ino);
  }

  uncounted(ino: Ino): void {
    if (!this.knows(ino)) return;
    const told = this.#tellSwiftly(ino).then(() => {
      this.#uncounted.delete(told);
      if (this.queuedCount === 0) this.#onQuiet();
    });
    this.#uncounted.add(told);
  }

  /** Resolves when the kernel has taken all it was told by `uncounted`; undefined when it has. */
  told(): Promise<void> | undefined {
    if (this.#uncounted.size === 0) return undefined;
    return Promise.all(this.#uncounted).then(() => {});
  }

  /** Whether the kernel has the inode; true when it cannot be asked. */
  async has(ino: Ino): Promise<boolean> {
    const errno = await this.#notifier?.send(invalInode(ino, false));
    return errno !== ENOENT;
  }

  settled(): Promise<void> {
    const left = new Set([...this.#sent, ...this.#queue]);
    if (left.size === 0) {
      // Of what was changed the kernel has nothing, so nothing was enqueued and nothing will be written.
      this.#onQuiet();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#settling.push({ left, resolve });
    });
  }

  /** Messages that wait or are being written. */
  get queuedCount(): number {
    return this.#sent.size + this.#queue.size + this.#uncounted.size;
  }

  /** Never rejects: what cannot be told so is told later, and the answer waits no more. */
  async #tellSwiftly(ino: Ino): Promise<void> {
    try {
      this.#swift ??= this.#begin?.();
      const errno = await this.#swift?.send(invalInode(ino, false));
      if (errno !== undefined && !HARMLESS.has(errno)) this.#logUntaken(errno);
    } catch (error) {
      this.#log.error({ err: error }, 'an invalidation could not be sent');
      this.#enqueue(invalInode(ino, false), ino);
    }
  }

  #logUntaken(errno: number): void {
    this.#log.error({ errno }, 'the kernel did not take an invalidation');
  }

  #enqueue(bytes: Buffer, ino: Ino | undefined): void {
    this.#queue.add({ bytes, ino, repeats: 0 });
    this.#pump();
  }

  #pump(): void {
    for (const message of this.#queue) {
      if (this.#notifier === undefined || this.#sent.size >= NOTIFICATIONS_QUEUED_MAX) return;
      this.#queue.delete(message);
      this.#sent.add(message);
      this.#send(this.#notifier, message);
    }
  }

  #send(notifier: Notifier, message: Message): void {
    notifier.send(message.bytes).then(
      (errno) => this.#written(message, errno),
      (error: unknown) => this.#lost(message, error),
    );
  }

  #written(message: Message, errno: number): void {
    if (errno === ENOENT && this.#isOnItsWay(message)) {
      void this.#repeat(message);
      return;
    }
    if (!HARMLESS.has(errno)) this.#logUntaken(errno);
    this.#advance(message);
  }

  #lost(message: Message, error: unknown): void {
    this.#log.error({ err: error }, 'an invalidation could not be sent');
    this.#advance(message);
  }

  /** Whether the kernel was given the inode, as far as we know, and still has it. */
  #isOnItsWay({ ino, repeats }: Message): boolean {
    return ino !== undefined && repeats < REPEATS_MAX && this.#references.isCounted(ino);
  }

  async #repeat(message: Message): Promise<void> {
    const delayMs = REPEAT_MS * 2 ** message.repeats;
    message.repeats += 1;
    await this.#clock.sleep(delayMs, this.#ended.signal).catch(() => {});
    const notifier = this.#notifier;
    if (notifier !== undefined && message.ino !== undefined && this.knows(message.ino)) {
      this.#send(notifier, message);
    } else {
      this.#advance(message);
    }
  }

  #advance(message: Message): void {
    this.#sent.delete(message);
    this.#pump();
    if (this.queuedCount === 0) this.#onQuiet();
    let isReached = false;
    for (const { left } of this.#settling) {
      isReached = (left.delete(message) && left.size === 0) || isReached;
    }
    if (!isReached) return;
    const reached = this.#settling.filter(({ left }) => left.size === 0);
    this.#settling = this.#settling.filter(({ left }) => left.size > 0);
    for (const { resolve } of reached) resolve();
  }
}

/** With `bytes` all pages (offset 0, no length), else the attributes alone (a negative offset). */
function invalInode(ino: Ino, bytes: boolean): Buffer {
  const { buffer, view, body } = notification(NOTIFY.invalInode, NOTIFY_INVAL_INODE_OUT.bytes);
  putU64(view, body + NOTIFY_INVAL_INODE_OUT.ino, ino);
  putI64(view, body + NOTIFY_INVAL_INODE_OUT.off, bytes ? 0 : -1);
  putI64(view, body + NOTIFY_INVAL_INODE_OUT.len, 0);
  return buffer;
}

function invalEntry(parent: Ino, name: Name): Buffer {
  assert(name.length > 0, 'an entry has a name');
  const bytes = NOTIFY_INVAL_ENTRY_OUT.bytes + name.length + 1;
  const { buffer, view, body } = notification(NOTIFY.invalEntry, bytes);
  putU64(view, body + NOTIFY_INVAL_ENTRY_OUT.parent, parent);
  putU32(view, body + NOTIFY_INVAL_ENTRY_OUT.namelen, name.length);
  putU32(view, body + NOTIFY_INVAL_ENTRY_OUT.flags, 0);
  buffer.write(name, body + NOTIFY_INVAL_ENTRY_OUT.bytes, 'latin1');
  return buffer;
}

/** The header of a message without a number: its `error` is the code. */
function notification(code: number, bodyBytes: number) {
  const buffer = Buffer.alloc(OUT_HEADER.bytes + bodyBytes);
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  putU32(view, OUT_HEADER.len, buffer.length);
  view.setInt32(OUT_HEADER.error, code, true);
  return { buffer, view, body: OUT_HEADER.bytes };
}
