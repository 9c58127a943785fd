/**
 * A real Kubo node on a repository of its own, for tests:
 *
 *     await using node = await KuboNode.start();
 *     const { Hash } = await node.rpc.json<{ Hash: string }>('add?cid-version=1', 'hello');
 *     await node.kill(); // as a power cut would
 *     await node.restart();
 *
 * Invariants: it listens on 127.0.0.1 and Unix sockets only, knows no peer but those it is connected to by `connect`,
 * and tells nobody that it is there; its addresses and its identity stay the same over restarts; every wait has a
 * deadline; it does not outlive the process that started it (prctl(2), PR_SET_PDEATHSIG); its directory is gone after
 * `close`.
 */
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { endsWithin, hasEnded } from '../integration/daemon.ts';
import { Rpc } from './rpc.ts';

/** From the sources, or, when it was built with them, from `dist/`. */
const BUILD = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/test/') ? '../../../test/services/build.mjs' : 'build.mjs',
    import.meta.url,
  ),
);

const READY_MS_MAX = 30_000;
/** Measured: up to 2 s; 31 s while somebody subscribes to a topic, and 0.2 s after the second signal. */
const TERM_MS_MAX = 8_000;
const REAP_MS_MAX = 5_000;
const COMMAND_MS_MAX = 30_000;
/** How long two nodes take to know each other. */
const MEET_MS_MAX = 15_000;
const POLL_MS = 20;
const OUTPUT_CHARS_MAX = 16_384;
const STDOUT_BYTES_MAX = 256 * 1024 * 1024;

/**
 * Ports below the range from which the kernel takes those of connections: one of these is still free when a node that
 * was killed wants it again.
 */
const PORTS = { min: 10_240, end: 32_768 };

export interface Authorization {
  /** `bearer:TOKEN` or `basic:USER:PASSWORD`. */
  readonly secret: string;
  /** As `/api/v0/add`; all when absent. */
  readonly paths?: readonly string[];
}

export interface KuboOptions {
  /** Started with `--offline`: no swarm at all. */
  readonly offline?: boolean;
  /** `auto` when absent: with the profile `test` a server of the DHT on loopback. */
  readonly routing?: 'auto' | 'dhtserver' | 'none';
  readonly pubsub?: boolean;
  /** `tcp` when absent. */
  readonly api?: 'tcp' | 'unix';
  /** Who may call what, by a name; when there are any, everyone else is refused, and `rpc` is one that may all. */
  readonly authorizations?: Readonly<Record<string, Authorization>>;
  /** More of Kubo's configuration, by dotted names: `{ 'Datastore.StorageMax': '1GB' }`. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

type Settings = Record<string, unknown>;

/** `rpc` is this one where authorizations are asked for. */
const OWN_SECRET = 'bearer:kitfs-test';

/** A port of 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  for (;;) {
    server.listen({ host: '127.0.0.1', port: randomInt(PORTS.min, PORTS.end) });
    const isFree = await once(server, 'listening').then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EADDRINUSE') throw error;
        return false;
      },
    );
    if (!isFree) continue;
    const address = server.address();
    server.close();
    await once(server, 'close');
    if (address !== null && typeof address === 'object') return address.port;
  }
}

/** Sets `a.b.c`; what is not there on the way is made. */
function set(settings: Settings, name: string, value: unknown): void {
  const words = name.split('.');
  const last = words.pop() ?? '';
  let at = settings;
  for (const word of words) {
    at[word] ??= {};
    at = at[word] as Settings;
  }
  at[last] = value;
}

/** Where the command `ipfs` is. Throws when it is not built. */
async function findIpfs(): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [BUILD, 'where', 'kubo']);
  return join(stdout.trim(), 'ipfs');
}

export class KuboNode implements AsyncDisposable {
  /** Holds everything else. */
  readonly directory: string;
  /** IPFS_PATH. */
  readonly repo: string;
  /** As the daemon is configured with it: `http://127.0.0.1:PORT` or `unix:/PATH`. */
  readonly api: string;
  /** `http://127.0.0.1:PORT` */
  readonly gateway: string;
  /** A client of its own, which may call everything. */
  readonly rpc: Rpc;
  readonly #ipfs: string;
  readonly #ports: readonly [api: number, gateway: number, swarm: number];
  readonly #options: KuboOptions;
  #child: ChildProcess | undefined;
  #id = '';
  #output = '';

  /** Starts one and waits until it answers; nothing is left when that fails. */
  static async start(options: KuboOptions = {}): Promise<KuboNode> {
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const node = new KuboNode(await findIpfs(), ports, options);
    try {
      await node.cli(['init', '--profile=test']);
      node.#configure();
      await node.restart();
    } catch (error) {
      await node.close();
      throw error;
    }
    return node;
  }

  private constructor(
    ipfs: string,
    ports: readonly [number, number, number],
    options: KuboOptions,
  ) {
    this.#ipfs = ipfs;
    this.#ports = ports;
    this.#options = options;
    this.directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-kubo-'));
    this.repo = join(this.directory, 'repo');
    const [apiPort, gatewayPort] = ports;
    const isUnix = options.api === 'unix';
    this.api = isUnix ? `unix:${join(this.directory, 'rpc.sock')}` : `http://127.0.0.1:${apiPort}`;
    this.gateway = `http://127.0.0.1:${gatewayPort}`;
    this.rpc = new Rpc(this.api, options.authorizations === undefined ? undefined : OWN_SECRET);
  }

  /** The peer ID. */
  get id(): string {
    return this.#id;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the node was not started');
    return pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && !hasEnded(this.#child);
  }

  /** The end of what the daemon wrote, both streams. */
  get output(): string {
    return this.#output;
  }

  get #environment(): NodeJS.ProcessEnv {
    const foreign = /^(IPFS|LIBP2P|GOLOG)_/;
    const own = Object.entries(process.env).filter(([name]) => !foreign.test(name));
    return {
      ...Object.fromEntries(own),
      HOME: this.directory,
      IPFS_PATH: this.repo,
      IPFS_TELEMETRY: 'off',
    };
  }

  #configure(): void {
    const { routing, pubsub, authorizations, settings = {} } = this.#options;
    const path = join(this.repo, 'config');
    const config = JSON.parse(readFileSync(path, 'utf8')) as Settings;
    const [apiPort, gatewayPort, swarmPort] = this.#ports;
    const on = (port: number) => `/ip4/127.0.0.1/tcp/${port}`;
    const isUnix = this.api.startsWith('unix:');
    const own: Settings = {
      'Addresses.API': isUnix ? `/unix${this.api.slice('unix:'.length)}` : on(apiPort),
      'Addresses.Gateway': on(gatewayPort),
      'Addresses.Swarm': [on(swarmPort)],
      // The profile says these too. They are a promise of this file, so it does not lean on the profile.
      Bootstrap: [],
      'Discovery.MDNS.Enabled': false,
      'Swarm.DisableNatPortMap': true,
      'AutoConf.Enabled': false,
      'AutoTLS.Enabled': false,
      ...(routing === undefined ? {} : { 'Routing.Type': routing }),
      ...(pubsub === undefined ? {} : { 'Pubsub.Enabled': pubsub }),
    };
    for (const [name, value] of Object.entries({ ...own, ...settings })) set(config, name, value);
    if (authorizations !== undefined) {
      const all = { ...authorizations, 'kitfs-test': { secret: OWN_SECRET } };
      const entries = Object.entries(all).map(
        ([name, { secret, paths }]: [string, Authorization]) => [
          name,
          { AuthSecret: secret, AllowedPaths: paths ?? ['/api/v0'] },
        ],
      );
      set(config, 'API.Authorizations', Object.fromEntries(entries));
    }
    writeFileSync(path, JSON.stringify(config, null, 2));
    this.#id = (config['Identity'] as { PeerID: string }).PeerID;
  }

  /** Starts the daemon on the same repository and addresses; the one before must have ended. Waits until it answers. */
  async restart(): Promise<void> {
    if (this.isRunning) throw new Error('the node before it is still running');
    // A killed node leaves its socket, and Kubo does not start on one that is there.
    if (this.api.startsWith('unix:')) rmSync(this.api.slice('unix:'.length), { force: true });
    const words = ['daemon', ...(this.#options.offline === true ? ['--offline'] : [])];
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', this.#ipfs, ...words], {
      cwd: this.directory,
      env: this.#environment,
      // Of its own: Ctrl-C is for the test, which then ends it in order.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const ready = new Promise<string>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          this.#output = `${this.#output}${line}\n`.slice(-OUTPUT_CHARS_MAX);
          if (line === 'Daemon is ready') resolve('');
        });
      }
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) => resolve(`it ended with ${signal ?? code}`));
    });
    const timer = new AbortController();
    const late = wait(READY_MS_MAX, `not in ${READY_MS_MAX} ms`, { signal: timer.signal });
    const trouble = await Promise.race([ready, late.catch(() => '')]);
    timer.abort();
    if (trouble !== '') throw new Error(`the node is not ready: ${trouble}\n${this.#output}`);
    await this.rpc.json('version');
    // Somebody else may listen where it should.
    const { ID } = await this.rpc.json<{ ID: string }>('id');
    if (ID !== this.#id) throw new Error(`${this.api} is the node ${ID}, not ${this.#id}`);
  }

  /** Connects the two; where there is routing, waits until each is in the other's table. */
  async connect(other: KuboNode): Promise<void> {
    const { Addresses } = await other.rpc.json<{ Addresses: string[] | null }>('id');
    const address = Addresses?.find((one) => one.startsWith('/ip4/127.0.0.1/'));
    if (address === undefined) throw new Error('the other node listens nowhere');
    await this.rpc.json(`swarm/connect?arg=${encodeURIComponent(address)}`);
    if (this.#options.routing === 'none' || other.#options.routing === 'none') return;
    const deadline = performance.now() + MEET_MS_MAX;
    while (!((await this.#routesTo(other)) && (await other.#routesTo(this)))) {
      if (performance.now() > deadline) {
        throw new Error(`the nodes did not meet in ${MEET_MS_MAX} ms\n${this.#output}`);
      }
      await wait(POLL_MS);
    }
  }

  async #routesTo(other: KuboNode): Promise<boolean> {
    type Table = { Buckets: { Peers: { ID: string }[] | null }[] | null };
    const tables = await this.rpc.lines<Table>('stats/dht?arg=lan');
    const buckets = tables.flatMap(({ Buckets }) => Buckets ?? []);
    return buckets.some(({ Peers }) => (Peers ?? []).some(({ ID }) => ID === other.id));
  }

  /** Collects garbage. Resolves with the CIDs that were removed. */
  async gc(): Promise<string[]> {
    type Line = { Key?: { '/': string }; Error?: string };
    const lines = await this.rpc.lines<Line>('repo/gc');
    const wrong = lines.find(({ Error: text }) => text !== undefined && text !== '');
    if (wrong !== undefined) throw new Error(`repo/gc: ${wrong.Error}`);
    return lines.flatMap(({ Key }) => (Key === undefined ? [] : [Key['/']]));
  }

  /**
   * Runs the command `ipfs`, which must succeed, on this node's repository: through the daemon when one runs. Resolves
   * with its standard output.
   */
  async cli(args: readonly string[], options: { readonly input?: string } = {}): Promise<string> {
    const auth = this.#options.authorizations === undefined ? [] : [`--api-auth=${OWN_SECRET}`];
    const words = ['--pdeathsig', 'KILL', this.#ipfs, ...auth, ...args];
    const running = promisify(execFile)('setpriv', words, {
      cwd: this.directory,
      env: this.#environment,
      timeout: COMMAND_MS_MAX,
      killSignal: 'SIGKILL',
      maxBuffer: STDOUT_BYTES_MAX,
    });
    // A command that does not read its input may end before all of it is written.
    running.child.stdin?.on('error', () => {});
    running.child.stdin?.end(options.input ?? '');
    return (await running).stdout;
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || hasEnded(child)) throw new Error('the node is not running');
    child.kill('SIGKILL');
    if (!(await endsWithin(child, REAP_MS_MAX))) throw new Error('the node survived SIGKILL');
  }

  /**
   * Ends it in order: our streams are closed, since it waits half a minute for those of a subscription; a second
   * SIGTERM makes it wait no longer for those of anybody else. Throws when it had to be killed.
   */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || hasEnded(child)) throw new Error('the node is not running');
    this.rpc.closeAll();
    for (const signal of ['SIGTERM', 'SIGTERM'] as const) {
      child.kill(signal);
      if (await endsWithin(child, TERM_MS_MAX)) return;
    }
    await this.kill();
    throw new Error(`the node did not stop, and was killed:\n${this.#output}`);
  }

  /** Stops a node that still runs, and removes everything, in any case. Throws what `stop` throws. */
  async close(): Promise<void> {
    try {
      if (this.isRunning) await this.stop();
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
