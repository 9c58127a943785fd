/** A daemon in this process, from its start to its end, and what signals do to it. */
import { createWriteStream } from 'node:fs';
import { asOpError, type OpError } from '../base/errors.ts';
import {
  type Config,
  type Daemon,
  HANDED_OVER_STATUS,
  type Keeper,
  startDaemon,
} from '../daemon/daemon.ts';
import type { Told } from './detached.ts';
import { leave } from './leave.ts';
import { complain, EXIT, print, report, sentenceOf } from './output.ts';

/** Signals this close together are one: Ctrl-C reaches us from the terminal and from npm. */
const SAME_SIGNAL_MS = 500;

/** Runs the daemon to its end. @returns the exit code. */
export async function serve(
  config: Config,
  keeper: Keeper | undefined,
  onReady: (daemon: Daemon) => Promise<void>,
): Promise<number> {
  const stop = new Stop(keeper);
  const isTerminal = process.stderr.isTTY === true;
  const daemon = await startDaemon(config, { isTerminal, keeper });
  stop.attach(daemon);
  // Whoever waited for the first daemon has been told.
  const isFirst = keeper === undefined || keeper.generation === 1;
  // A manager of services is told by other means, and tries nothing in another terminal.
  const isWaitedFor = isFirst && config.supervision === undefined;
  if (isWaitedFor && !stop.isAsked) await onReady(daemon);
  const { why, troubles } = await daemon.ended;
  print(`kitfs: unmounted ${config.mountPoint}`);
  if (why === 'unmounted') complain('somebody else unmounted the tree, so the daemon has stopped');
  if (why === 'broken') complain('the kernel ended the connection, so the daemon has stopped');
  for (const trouble of troubles) complain(`while stopping: ${trouble} failed`);
  return why === 'broken' || troubles.length > 0 ? EXIT.failed : EXIT.done;
}

/** What Ctrl-C and systemd do: the first signal stops, the second hurries, the third ends. */
class Stop {
  #daemon: Daemon | undefined;
  readonly #keeper: Keeper | undefined;
  #count = 0;
  #atMs = Number.NEGATIVE_INFINITY;

  constructor(keeper: Keeper | undefined) {
    this.#keeper = keeper;
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(name, () => this.#signalled());
    }
    process.on('SIGUSR2', () => this.#handOver());
  }

  get isAsked(): boolean {
    return this.#count > 0;
  }

  attach(daemon: Daemon): void {
    this.#daemon = daemon;
    if (this.isAsked) this.#stop(daemon);
  }

  #signalled(): void {
    const nowMs = process.uptime() * 1000;
    if (nowMs - this.#atMs < SAME_SIGNAL_MS) return;
    this.#atMs = nowMs;
    this.#count += 1;
    if (this.#count === 1 && this.#daemon !== undefined) this.#stop(this.#daemon);
    if (this.#count === 2) this.#daemon?.hurry();
    if (this.#count <= 2) return;
    this.#keeper?.done();
    leave(EXIT.failed);
  }

  /**
   * What `systemctl restart` does: ends between two turns of the event loop, when all that was
   * answered is in the journal, and leaves the mount to the next daemon. That one takes over as it
   * would after a crash; there is no second way that could be wrong by itself.
   */
  #handOver(): void {
    if (this.#keeper?.isAlive !== true) {
      this.#signalled();
      return;
    }
    this.#daemon?.log.info({}, 'leaves the mount to the next daemon');
    leave(HANDED_OVER_STATUS);
  }

  #stop(daemon: Daemon): void {
    const onBusy = ({ details, failure }: OpError) => {
      const why = details['users'] ?? failure;
      complain(`the mount is in use by ${why}: it is taken away all the same`);
    };
    // What goes wrong is in the daemon's end.
    daemon.stop({ force: true, onBusy }).catch((error: unknown) => {
      complain(sentenceOf(asOpError(error, 'stop')));
    });
  }
}

/** In the detached process: tells who waits, on `fd`. */
export async function serveDetached(
  config: Config,
  keeper: Keeper | undefined,
  fd: number,
): Promise<number> {
  const tell = (told: Told) => void createWriteStream('', { fd }).end(JSON.stringify(told));
  let isTold = false;
  try {
    return await serve(config, keeper, async ({ mountPoint }) => {
      isTold = true;
      tell({ mountPoint });
    });
  } catch (error) {
    // The pipe is gone with the first daemon of a keeper.
    if (isTold || (keeper !== undefined && keeper.generation > 1)) throw error;
    const { failure, op, hint, details } = asOpError(error, 'start kitfs');
    tell({ error: { failure, op, hint, details } });
    return report(error, false);
  }
}
