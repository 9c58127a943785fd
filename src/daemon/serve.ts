/**
 * A running daemon: starts everything in order, and stops it in reverse.
 *
 * Invariants: nothing is answered before it is true; a start that fails leaves nothing behind; a
 * mount that is taken over is served before what only agents need is loaded (`faces.ts`), so no
 * import here leads to the tools; a stop takes the mount away first, while everything still
 * answers, and lets go of the state directory last; a stop always ends.
 */
import { aborted, type Clock, type Instant, SystemClock, within } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import { CALLS_END_MS_MAX, STOP_MS_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { loadNative, type Native } from '../base/native.ts';
import { type Random, SystemRandom } from '../base/random.ts';
import { Redactor } from '../base/redaction.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import { ChosenDriver } from '../fuse/chosen.ts';
import { inheritedFrom, type Taken } from '../fuse/fuse.ts';
import { deviceAt } from '../fuse/native.ts';
import type { PeerPolicy } from '../mcp/mcp.ts';
import { recordObject } from '../tools/record.ts';
import { announceSince, type HandleTable } from '../vfs/vfs.ts';
import { type Complain, hostNames, peerPolicyOf } from './access.ts';
import { Activity } from './activity.ts';
import type { Config } from './config.ts';
import { ControlServer } from './control.ts';
import { controlFiles } from './control-files.ts';
import { controlMethods } from './control-methods.ts';
import { type CoreParts, openCore } from './core.ts';
import { ErrorRing } from './errors.ts';
import type { Faces, FacesInputs } from './faces.ts';
import type { FirstTree } from './first-tree.ts';
import type { Phase } from './health.ts';
import { boundHeap } from './heap.ts';
import { demandFuse } from './host.ts';
import { journalIdOf } from './identity.ts';
import { CONNECTION, type Keeper } from './keeper.ts';
import { demandNoOtherKeeper, forgetKeeper, recordKeeper } from './keeper-process.ts';
import { type Kept, keepMount, keptSocket, letGo, takeKept } from './kept.ts';
import { keepConfig } from './kept-config.ts';
import { keepPlaces } from './kept-places.ts';
import { createLog } from './log.ts';
import { busyWith } from './mount-table.ts';
import {
  demandOutside,
  forgetMount,
  prepareMountPoint,
  realMountPlace,
  recordIntent,
  recordMount,
} from './mountpoint.ts';
import { type ConfiguredNodes, openNodes, originOf } from './nodes.ts';
import { pulse } from './pulse.ts';
import { prepareRunDirectory } from './run-directory.ts';
import { openState, type StateDirectory } from './state.ts';
import { type Status, type StatusSources, statusOf } from './status.ts';
import { Systemd } from './systemd.ts';
import { Teardown } from './teardown.ts';
import type { ToolParts } from './toolbox.ts';
import { packageVersion } from './version.ts';

/** Why a daemon ended. */
export interface DaemonEnd {
  readonly why: 'asked' | 'unmounted' | 'broken';
  /** What went wrong on the way, in words; empty when nothing did. */
  readonly troubles: readonly string[];
}

export interface DaemonOptions {
  readonly isTerminal: boolean;
  /** Who started this daemon and will start the next one; absent: nobody does. */
  readonly keeper?: Keeper | undefined;
}

export interface StopRequest {
  /** Take the mount away although programs use it. */
  readonly force: boolean;
  /** Told what keeps the mount busy, before it is taken away. */
  readonly onBusy?: (error: OpError) => void;
}

/** How long programs that use a mount are given to leave it, once it was taken away by force. */
const LEAVE_MS_MAX = 500;

type FacesParts = Pick<FacesInputs, 'core' | 'nodes' | 'state' | 'native' | 'policy'>;

export class Daemon {
  /** Resolves when everything has stopped. Never rejects. */
  readonly ended: Promise<DaemonEnd>;
  readonly config: Config;
  readonly log: Log;
  readonly version = packageVersion();
  readonly #clock: Clock = new SystemClock();
  readonly #random: Random = new SystemRandom();
  readonly #redactor = new Redactor();
  readonly #errors: ErrorRing;
  readonly #teardown: Teardown;
  readonly #keeper: Keeper | undefined;
  readonly #stopping = new AbortController();
  readonly #hurry = new AbortController();
  readonly #startedAt: Instant;
  readonly #startedMs: number;
  /** Whether the mount is that of a daemon before this one. */
  #isTakenOver = false;
  #phase: Phase = 'starting';
  /** A stop was asked for: when the mount ends, that is why. */
  #isAsked = false;
  #mountPoint: string | undefined;
  #core: CoreParts | undefined;
  #systemd: Systemd | undefined;
  #faces: Faces | undefined;
  #first: FirstTree | undefined;
  #fuse: ChosenDriver | undefined;
  readonly #activity = new Activity(this.#clock, () => this.#fuse?.status().requests ?? 0);
  #setEnded: (end: DaemonEnd) => void = () => {};
  /** Settles with the start. */
  #started: Promise<void> | undefined;
  #end: Promise<void> | undefined;

  private constructor(config: Config, { isTerminal, keeper }: DaemonOptions) {
    this.config = config;
    this.#keeper = keeper;
    this.#startedAt = this.#clock.now();
    this.#startedMs = this.#clock.monotonicMs();
    const redactor = this.#redactor;
    this.#errors = new ErrorRing({ clock: this.#clock, random: this.#random, redactor });
    const { level } = config.settings.log;
    this.log = createLog({ level, isTerminal, errors: this.#errors, redactor });
    keeper?.tell(this.log);
    const { fault, state, run, mountPoint, unheeded } = config;
    if (fault !== undefined) this.log.warn({ err: fault }, 'the settings before it hold');
    if (unheeded.length > 0) {
      this.log.warn({ unheeded, state, run, mountPoint }, 'the places of the mount hold');
    }
    this.#teardown = new Teardown(this.log);
    this.ended = new Promise((resolve) => {
      this.#setEnded = resolve;
    });
  }

  /**
   * Resolves when the tree is mounted and the sockets answer.
   * @throws OpError what keeps it from starting; nothing is left behind then.
   */
  static async start(config: Config, options: DaemonOptions): Promise<Daemon> {
    const daemon = new Daemon(config, options);
    daemon.#started = daemon.#start();
    try {
      await daemon.#started;
      return daemon;
    } catch (error) {
      daemon.#stopping.abort();
      // A mount of the daemon before is the next one's to serve, or the keeper's to take away.
      if (!daemon.#isTakenOver) await daemon.#teardown.run();
      throw asOpError(error, 'start kitfs');
    }
  }

  /** Where the tree is mounted; undefined before and after. */
  get mountPoint(): string | undefined {
    return this.#fuse?.status().mountPoint;
  }

  status(): Status {
    return statusOf(this.#sources());
  }

  /**
   * Stops, and resolves when everything has stopped. While it starts, it stops after that: what is
   * half made cannot be taken apart by two.
   * @throws OpError mount-busy: programs use the mount, and `force` was not asked for; the daemon
   *   goes on. What kept it from starting.
   */
  async stop({ force, onBusy = () => {} }: StopRequest): Promise<void> {
    await this.#started;
    if (this.#end === undefined) {
      this.#isAsked = true;
      try {
        await this.#fuse?.unmount();
      } catch (error) {
        const busy = await busyWith(this.#mountPoint, error);
        this.#isAsked = force;
        if (!force) throw busy;
        onBusy(busy);
      }
    }
    await this.#finish('asked');
  }

  /** Makes a stop that is under way wait for nobody any more. */
  hurry(): void {
    this.#hurry.abort();
  }

  async #start(): Promise<void> {
    const { config, log } = this;
    const teardown = this.#teardown;
    boundHeap();
    await demandFuse(config.uid);
    const native = loadNative();
    const systemd = new Systemd({ ...config, native, clock: this.#clock, log });
    this.#systemd = systemd;
    teardown.push('give no more signs of life', () => systemd[Symbol.dispose]());
    await demandOutside(await realMountPlace(config.mountPoint), config);
    const policy = peerPolicyOf(config.settings.access, config.uid, hostNames, this.#complain);
    prepareRunDirectory(config.run, config.uid, policy.gid);
    const control = this.#controlServer(native, policy);
    // First in, last out: who asked for the stop hears when all of it is done.
    teardown.push('close the control socket', () => control.close());
    const state = openState(config.state, native);
    teardown.push('unlock the state directory', () => state[Symbol.dispose]());
    demandNoOtherKeeper(state.keeper, this.#keeper?.pid);
    const keeper = this.#keeper;
    const kept = await takeKept(native, keeper);
    this.#isTakenOver = kept.mount !== undefined;
    const place = { dir: config.mountPoint, recordPath: state.mounted, native };
    const mountPoint =
      kept.mount?.mountPoint ?? (await prepareMountPoint({ ...place, clock: this.#clock }));
    this.#mountPoint = mountPoint;
    await control.listen();
    const nodes = await openNodes(config.settings.ipfs, this.#means); // It ends after all that uses it.
    const core = this.#openCore(state, native, kept, nodes);
    this.#core = core;
    teardown.push('answer no more', async () => {
      this.#stopping.abort();
      await control.quiesce(this.#patience());
      this.#core = undefined;
      this.#faces = undefined;
    });
    teardown.push('forget the mount', async () => {
      if (keeper !== undefined) letGo(keeper);
      await forgetMount(state.mounted);
    });
    if (kept.mount === undefined) {
      if (keeper !== undefined) keepPlaces(keeper, config, journalIdOf(core.journal));
      await recordIntent(state.mounted, mountPoint);
    }
    await this.#foresee(core, nodes);
    const fuse = this.#connect(core, native, kept);
    if (kept.mount === undefined) await this.#mount(fuse, mountPoint);
    else {
      this.#takeOver(fuse, core, kept.mount, kept.table);
      // Watched from the first request on: it may be the one that hung the daemon before.
      await this.#beWatched(state.keeper, mountPoint);
    }
    await this.#first?.arrive();
    await this.#openFaces({ core, nodes, state, native, policy });
    // Good as a whole: the tokens have been read.
    if (keeper !== undefined) keepConfig(native, keeper, config.said);
    await this.#note(() => recordMount(state.mounted, mountPoint));
    this.#phase = 'running';
    if (kept.mount === undefined) await this.#beWatched(state.keeper, mountPoint);
    if (this.mountPoint === undefined) this.#unmounted(undefined);
    const readyMs = Math.round(this.#clock.monotonicMs() - this.#startedMs);
    log.info({ mountPoint, state: config.state, readyMs }, 'ready');
  }

  /** What most parts are made with. */
  get #means() {
    return {
      ...{ config: this.config, log: this.log, clock: this.#clock, random: this.#random },
      ...{ readSecret: this.#readSecret, complain: this.#complain, teardown: this.#teardown },
    };
  }

  #openCore(
    state: StateDirectory,
    native: Native,
    kept: Kept,
    { kubo }: ConfiguredNodes,
  ): CoreParts {
    return openCore({
      ...{ ...this.#means, state, native },
      origin: () => kubo && originOf(kubo),
      table: kept.table,
      journalId: kept.journalId,
      inherited: kept.mount === undefined ? undefined : inheritedFrom(kept.table, this.#clock),
      signal: this.#stopping.signal,
      isBusy: () => this.#activity.isBusy,
      onWork: pulse(this.#clock, [this.#keeper, this.#systemd]),
      controlFiles: controlFiles({
        core: () => this.#sources().core,
        status: () => this.status(),
        errors: this.#errors,
        recordOf: (record) => recordObject(this.#sources().core, record),
      }),
    });
  }

  /** From now on it gives signs of life, and another daemon follows when this one dies or hangs. */
  async #beWatched(recordPath: string, mountPoint: string): Promise<void> {
    this.#systemd?.ready(`mounted at ${mountPoint}`);
    const keeper = this.#keeper;
    if (keeper === undefined) return;
    await this.#note(() => recordKeeper(recordPath, keeper.pid, mountPoint));
    this.#teardown.push('forget the keeper', () => forgetKeeper(recordPath));
    keeper.ready(() => this.#fuse?.status().requests ?? 0);
  }

  /** What only commands read: a mount that is there is not given up because it cannot be written. */
  async #note(write: () => Promise<void> | void): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!this.#isTakenOver) throw error;
      this.log.warn(
        { err: error },
        'kitfs unmount may not find this mount once its daemon is gone',
      );
    }
  }

  /** What the tree begins with, as far as it is not there. */
  async #foresee(core: CoreParts, nodes: ConfiguredNodes): Promise<void> {
    const { config, log } = this;
    if (config.from === undefined && !core.journal.meta.get('arriving')) return;
    const { FirstTree } = await import('./first-tree.ts');
    const inputs = { core, nodes, clock: this.#clock, log, signal: this.#stopping.signal };
    this.#first = FirstTree.of({ ...config, ...inputs, isTakenOver: this.#isTakenOver });
    if (!this.#isTakenOver) await this.#first?.foresee();
  }

  /** The driver, which answers nothing yet. */
  #connect(core: CoreParts, native: Native, kept: Kept): ChosenDriver {
    const { config, log } = this;
    const fuse = new ChosenDriver({
      driver: config.settings.mount.driver,
      ...{ fileSystem: core.vfs, journal: core.journal, native, clock: this.#clock, log },
      allowOther: config.settings.mount.allow_other,
      readOnly: config.settings.mount.read_only,
      // What was agreed with the kernel holds as long as the mount, whatever the settings say by now.
      passthrough:
        config.settings.mount.passthrough || kept.mount !== undefined
          ? core.vfs.core.live
          : undefined,
      suid: config.settings.mount.suid,
      dev: config.settings.mount.dev,
      table: kept.table,
      ...{ arriving: core.vfs.core.arriving, arrived: () => this.#first?.arrive() },
      onAnswered: () => this.#keeper?.progress(),
      keep: (mount) => {
        if (this.#keeper !== undefined) keepMount(this.#keeper, mount);
      },
    });
    this.#fuse = fuse;
    core.vfs.core.invalidator = fuse.invalidator;
    return fuse;
  }

  /** What agents have of it. */
  async #openFaces(parts: FacesParts): Promise<void> {
    const { openFaces } = await import('./faces.ts');
    this.#faces = await openFaces({
      ...{ ...parts, ...this.#means },
      redactor: this.#redactor,
      sources: this.#sources(),
      mountPoint: () => this.mountPoint,
      onAnswered: () => this.#keeper?.progress(),
      keptSocket: (path) => keptSocket(parts.native, this.#keeper, path),
      patience: (ms) => this.#patience(ms),
    });
  }

  async #mount(fuse: ChosenDriver, mountPoint: string): Promise<void> {
    await fuse.mount(mountPoint);
    const device = deviceAt(mountPoint);
    if (device !== undefined) this.#keeper?.mounted(mountPoint, device);
    this.#hasMount(fuse);
  }

  /** First of all: programs wait. */
  #takeOver(fuse: ChosenDriver, core: CoreParts, mount: Taken, table: HandleTable): void {
    const told = table.notifiedSeq;
    fuse.takeOver(mount);
    this.#hasMount(fuse);
    announceSince(core.vfs.core, told);
  }

  #hasMount(fuse: ChosenDriver): void {
    this.#teardown.push('take the mount away', () => this.#takeMountAway());
    void fuse.ended.then(({ error }) => this.#unmounted(error));
  }

  /** Undefined where there is no mount to go on with: whoever makes one hears what is wrong. */
  get #complain(): Complain | undefined {
    if (this.#keeper?.held(CONNECTION) === undefined) return undefined;
    return (fault) =>
      this.log.warn({ err: fault }, 'what cannot be used of the settings is left out');
  }

  /** What is read is known from then on, and shown nowhere. */
  readonly #readSecret = (reference: SecretReference): Secret => {
    const secret = this.config.secretOf(reference);
    this.#redactor.know(secret);
    return secret;
  };

  #controlServer(native: Native, policy: PeerPolicy): ControlServer {
    return new ControlServer({
      path: this.config.controlSocket,
      native,
      policy,
      kept: keptSocket(native, this.#keeper, this.config.controlSocket),
      random: this.#random,
      log: this.log,
      methods: controlMethods({
        parts: () => this.#parts(),
        status: () => this.status(),
        stop: (request) => this.stop(request),
        owner: this.config.uid,
        isTokenRequired: this.config.settings.access.require_token,
      }),
    });
  }

  /** Aborts when calls under way have had their time. */
  #patience(ms = CALLS_END_MS_MAX): AbortSignal {
    return within(this.#clock, ms, this.#hurry.signal);
  }

  /** @throws OpError not-ready while starting, and at the end of a stop. */
  #parts(): { readonly core: CoreParts; readonly tools: ToolParts } {
    const [core, tools] = [this.#core, this.#faces?.tools];
    if (core === undefined || tools === undefined) {
      throw new OpError('not-ready', 'ask the daemon', { hint: 'try again in a moment' });
    }
    return { core, tools };
  }

  #sources(): StatusSources {
    const [core, fuse] = [this.#core, this.#fuse];
    if (core === undefined || fuse === undefined) {
      throw new OpError('not-ready', 'ask the daemon', { hint: 'try again in a moment' });
    }
    return {
      config: this.config,
      version: this.version,
      clock: this.#clock,
      ...{ startedAt: this.#startedAt, startedMs: this.#startedMs },
      phase: () => this.#phase,
      journal: core.journal,
      core: core.vfs.core,
      errors: this.#errors,
      loops: core.loops,
      reserve: core.reserve,
      syncing: () => this.#faces?.tools.syncing() ?? { underWay: [], unpublished: [], mfs: [] },
      space: () => this.#faces?.tools.space(),
      arriving: () => this.#first?.status,
      driver: () => fuse.status(),
      connections: () => this.#faces?.mcp.connections ?? 0,
      stepping: () => this.#faces?.tools.stepping() ?? { followed: [], mfs: [] },
      keeper: () => (this.#keeper?.isAlive === true ? this.#keeper.pid : undefined),
    };
  }

  /** The mount is gone: by us, by somebody's umount, or because the connection broke. */
  #unmounted(error: Error | undefined): void {
    // What a broken connection leaves there is the keeper's to take away.
    if (error === undefined) this.#keeper?.unmounted();
    if (this.#isAsked || this.#phase !== 'running') return;
    void this.#finish(error === undefined ? 'unmounted' : 'broken');
  }

  #finish(why: DaemonEnd['why']): Promise<void> {
    this.#end ??= this.#tearDown(why);
    return this.#end;
  }

  async #tearDown(why: DaemonEnd['why']): Promise<void> {
    this.#phase = 'stopping';
    this.#keeper?.done();
    this.log.info({ why }, 'stopping');
    this.#systemd?.stopping(`stopping: ${why}`);
    const late = new AbortController();
    const troubles = await Promise.race([
      this.#teardown.run(),
      this.#clock.sleep(STOP_MS_MAX, late.signal).then(
        () => ['it took too long'],
        () => [], // Stopped in time.
      ),
    ]);
    late.abort();
    this.#setEnded({ why, troubles });
  }

  /** What a plain unmount could not do, because programs use the mount. */
  async #takeMountAway(): Promise<void> {
    const fuse = this.#fuse;
    if (fuse?.status().mountPoint === undefined) return;
    try {
      await fuse.unmount({ lazy: true });
      const left = within(this.#clock, LEAVE_MS_MAX, this.#hurry.signal);
      await Promise.race([fuse.ended, aborted(left)]);
    } finally {
      // Nothing below may be closed while the kernel can still ask.
      fuse.abandon();
      await fuse.ended;
    }
  }
}
