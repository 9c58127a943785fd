/**
 * The daemon's end of the conversation with its keeper, which holds what must outlive the daemon and
 * starts the next one. The messages are those of native/keeper.cc.
 *
 * Invariants: a keeper that is gone is noticed once, and never an error: the daemon goes on without;
 * nothing here waits longer than `KEEPER_GREETING_MS_MAX` in the beginning, and `KEEPER_ROOM_MS_MAX`
 * for one message, and only for those that may not be lost.
 */
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import {
  KEEPER_ALIVE_MS,
  KEEPER_GREETING_MS_MAX,
  KEEPER_PROGRESS_MS,
  KEEPER_ROOM_MS_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { NativeFiles, NativeKeeping, NativeMessage } from '../base/native.ts';

/** What an earlier daemon gave away. */
export interface Held {
  readonly descriptor: number;
  /** As it was last noted. */
  readonly data: string;
}

export interface KeeperOptions {
  /** Our end of the conversation. The keeper object owns it from then on. */
  readonly fd: number;
  readonly native: NativeKeeping & Pick<NativeFiles, 'closeDescriptor' | 'peerCredentials'>;
  readonly clock: Clock;
  /** The first message, when it has been heard already: see `firstWord`. */
  readonly hello?: NativeMessage;
}

/** The name under which it holds the connection to the kernel. */
export const CONNECTION = 'fuse';

const OP = 'talk to the keeper';
/** The longest that one call may wait. */
const RECEIVE_MS_MAX = 60_000;

export class Keeper {
  /** Of the process that keeps. */
  readonly pid: number;
  /** Which daemon of this keeper we are: 1 for the first. */
  readonly generation: number;
  readonly #fd: number;
  readonly #native: KeeperOptions['native'];
  readonly #clock: Clock;
  readonly #held: Map<string, Held>;
  /** What it holds now. */
  readonly #names: Set<string>;
  readonly #ended = new AbortController();
  #last: string;
  #log: Log | undefined;
  #progressMs = Number.NEGATIVE_INFINITY;

  /**
   * Hears what the keeper holds.
   * @throws OpError busy: another daemon talks to it; timeout, io: it says nothing, or what it says
   *   makes no sense.
   */
  constructor({ fd, native, clock, hello }: KeeperOptions) {
    this.#fd = fd;
    this.#native = native;
    this.#clock = clock;
    try {
      this.pid = native.peerCredentials(fd).pid;
      const { generation, last, held } = new Greeting(native, clock).read(fd, hello);
      this.generation = generation;
      this.#last = last;
      this.#held = held;
      this.#names = new Set(held.keys());
    } catch (error) {
      native.closeDescriptor(fd);
      throw codeOf(error) === 'ETIMEDOUT' ? new OpError('timeout', OP) : asOpError(error, OP);
    }
  }

  /** How the daemon before ended: `none`, `exit N`, `signal N`, `hung` or `unknown`. */
  get last(): string {
    return this.#last;
  }

  /** How the daemon before ended, for a keeper that did not start it and cannot know. */
  learn(ended: string): void {
    if (this.#last === 'unknown') this.#last = ended;
  }

  /** False once it is known to be gone: nothing is kept any more, and nobody starts the next one. */
  get isAlive(): boolean {
    return !this.#ended.signal.aborted;
  }

  /** Where its end is logged, and, now, how the daemon before us ended. */
  tell(log: Log): void {
    this.#log = log;
    const { generation, last } = this;
    if (generation > 1) log.warn({ generation, last }, 'started again by the keeper');
  }

  /** What is held by that name. The descriptor is the caller's from the first call on. */
  held(name: string): Held | undefined {
    return this.#held.get(name);
  }

  /**
   * Keeps a duplicate of the descriptor, in place of an earlier one. At most 16 names of at most 32
   * bytes: a-z, 0-9, `-`, `.`; with its data less than 8 KiB.
   */
  hold(name: string, descriptor: number, data = ''): void {
    this.#names.add(name);
    this.#say(`hold ${name}\n${data}`, descriptor);
  }

  /** Replaces the data of what is held. */
  note(name: string, data: string): void {
    this.#say(`note ${name}\n${data}`);
  }

  /** Nothing, when it holds nothing by that name. */
  drop(name: string): void {
    if (this.#names.delete(name)) this.#say(`drop ${name}`);
  }

  /**
   * What it takes away when no daemon will come back, if it is the mount that is seen at `dir` then.
   * @param device as in /proc/self/mountinfo.
   */
  mounted(dir: string, device: string): void {
    this.#say(`mounted ${device}\n${dir}`);
  }

  unmounted(): void {
    this.#say('unmounted');
  }

  /**
   * We serve: from now on our death is survived. Says every so often that we are alive, and, as long
   * as the number of requests that were answered grows, that this start was not for nothing.
   */
  ready(answered: () => number): void {
    this.#say('ready');
    void this.#sayAlive(answered);
  }

  /** Something was answered: the starts before this one are forgiven. Said once a second at most. */
  progress(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#progressMs < KEEPER_PROGRESS_MS) return;
    this.#progressMs = nowMs;
    this.#mention('progress');
  }

  /** We are in the middle of something long. */
  alive(): void {
    this.#mention('alive');
  }

  /** We end by our own will. What is held is let go, and no other daemon is started. */
  done(): void {
    this.#say('done');
  }

  async #sayAlive(answered: () => number): Promise<void> {
    let [before, saidMs] = [answered(), this.#clock.monotonicMs()];
    while (this.isAlive) {
      try {
        await this.#clock.sleep(KEEPER_PROGRESS_MS, this.#ended.signal);
      } catch {
        return; // It is gone.
      }
      const [now, nowMs] = [answered(), this.#clock.monotonicMs()];
      if (now > before) this.progress();
      else if (nowMs - saidMs >= KEEPER_ALIVE_MS) this.alive();
      else continue;
      [before, saidMs] = [now, nowMs];
    }
  }

  /** What must arrive. */
  #say(text: string, descriptor?: number): void {
    this.#send(text, { descriptor, waitMs: KEEPER_ROOM_MS_MAX });
  }

  /** What need not arrive: a keeper that does not listen just now has heard it often enough. */
  #mention(text: string): void {
    this.#send(text, { descriptor: undefined, waitMs: 0 });
  }

  #send(
    text: string,
    { descriptor, waitMs }: { readonly descriptor: number | undefined; readonly waitMs: number },
  ): void {
    if (!this.isAlive) return;
    try {
      this.#native.sendMessage(this.#fd, Buffer.from(text), descriptor, waitMs);
    } catch (error) {
      const code = codeOf(error) ?? '';
      if (code === 'EAGAIN' && waitMs === 0) return;
      // One that does not listen for so long is as good as gone: what it holds is out of date.
      if (!['EPIPE', 'ECONNRESET', 'ENOTCONN', 'EAGAIN'].includes(code)) throw error;
      this.#lose(code);
    }
  }

  #lose(code: string): void {
    this.#ended.abort();
    this.#native.closeDescriptor(this.#fd);
    this.#log?.error({ code, keeper: this.pid }, 'the keeper is gone: a kill now ends the mount');
  }
}

/** @throws OpError not-running: no keeper listens there; denied, io. */
export function keeperAt(socket: string, native: Pick<NativeKeeping, 'connectSeqpacket'>): number {
  const op = `talk to the keeper at ${socket}`;
  try {
    return native.connectSeqpacket(socket);
  } catch (error) {
    if (!['ENOENT', 'ECONNREFUSED'].includes(codeOf(error) ?? '')) throw asOpError(error, op);
    throw new OpError('not-running', op, { hint: 'start it with kitfs-keeper --listen' });
  }
}

/**
 * What a keeper says first to a daemon that it started, however long that takes: one that is started
 * while another serves hears nothing until its time comes. Until then it does the steps of `prepare`,
 * one after another, and then waits, and nothing else runs while it does.
 * @returns undefined: the keeper has ended. @throws OpError io: that is no keeper.
 */
export async function firstWord(
  fd: number,
  native: Pick<NativeKeeping, 'receiveMessage'>,
  prepare: readonly (() => Promise<unknown>)[],
): Promise<NativeMessage | undefined> {
  const steps = prepare.values();
  for (let step = steps.next(); ; step = steps.next()) {
    try {
      return native.receiveMessage(fd, step.done === true ? RECEIVE_MS_MAX : 0);
    } catch (error) {
      if (codeOf(error) !== 'ETIMEDOUT') throw asOpError(error, OP);
      await step.value?.();
    }
  }
}

/** The first messages of a keeper. */
class Greeting {
  readonly #native: KeeperOptions['native'];
  readonly #clock: Clock;
  readonly #held = new Map<string, Held>();

  constructor(native: KeeperOptions['native'], clock: Clock) {
    this.#native = native;
    this.#clock = clock;
  }

  read(
    fd: number,
    first: NativeMessage | undefined,
  ): {
    readonly generation: number;
    readonly last: string;
    readonly held: Map<string, Held>;
  } {
    const deadlineMs = this.#clock.monotonicMs() + KEEPER_GREETING_MS_MAX;
    const next = (): NativeMessage => {
      const leftMs = Math.max(0, Math.ceil(deadlineMs - this.#clock.monotonicMs()));
      const message = this.#native.receiveMessage(fd, leftMs);
      if (message !== undefined) return message;
      throw new OpError('io', OP, { hint: 'it has ended' });
    };
    try {
      const hello = (first ?? next()).bytes.toString();
      if (hello === 'busy') {
        throw new OpError('busy', OP, { hint: 'another daemon is connected to it' });
      }
      const [, generation, last] = /^hello (\d+) (.+)$/.exec(hello) ?? [];
      if (generation === undefined || last === undefined) throw senseless(hello);
      for (;;) {
        const message = next();
        if (message.bytes.toString() === 'end') break;
        this.#take(message);
      }
      return { generation: Number(generation), last, held: this.#held };
    } catch (error) {
      for (const { descriptor } of this.#held.values()) this.#native.closeDescriptor(descriptor);
      throw error;
    }
  }

  #take({ bytes, descriptor }: NativeMessage): void {
    const [, name, data = ''] = /^held (\S+)\n(.*)$/s.exec(bytes.toString()) ?? [];
    if (name === undefined || descriptor === undefined) throw senseless(bytes.toString());
    this.#held.set(name, { descriptor, data });
  }
}

const senseless = (message: string): OpError =>
  new OpError('io', OP, { hint: `it says ${JSON.stringify(message.slice(0, 40))}` });
