/**
 * A real IPFS Cluster, for tests: peers that keep their pins by CRDT, each with a Kubo node of its own:
 *
 *     await using cluster = await TestCluster.start(3);
 *     const [first] = cluster.peers;
 *     await first.kill(); // as a power cut would
 *     await first.restart();
 *
 * Invariants: peers and nodes listen on 127.0.0.1 only, and know each other and nobody else; identities and addresses
 * stay over restarts; every wait has a deadline; nothing outlives the process that started it; directories are gone
 * after the end. A peer looks for a router to map its ports (UDP), which no setting of it forbids: where there is
 * none, nothing comes of it.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { KuboNode } from './kubo.ts';
import { freePort, programOf, RunningProgram, until } from './process.ts';

const COMMAND_MS_MAX = 30_000;
const FOREIGN = /^(CLUSTER|IPFS|LIBP2P|GOLOG)_/;

export interface TestClusterOptions {
  /** Who may call, as Basic and for a token; everybody when absent. */
  readonly credentials?: Readonly<Record<string, string>>;
  /** How long a peer tries to pin before it says that it could not. */
  readonly pinTimeoutS?: number;
}

interface Ports {
  readonly api: number;
  readonly proxy: number;
  readonly pinning: number;
  readonly swarm: number;
}

// biome-ignore lint/suspicious/noExplicitAny: a configuration of somebody else's, with no type of ours.
type Settings = any;

export class TestPeer {
  readonly kubo: KuboNode;
  /** `http://127.0.0.1:PORT` */
  readonly api: string;
  readonly id: string;
  readonly #program: string;
  readonly #directory: string;
  readonly #ports: Ports;
  #process: RunningProgram | undefined;

  constructor(
    kubo: KuboNode,
    { program, directory, ports }: { program: string; directory: string; ports: Ports },
  ) {
    this.kubo = kubo;
    this.#program = program;
    this.#directory = directory;
    this.#ports = ports;
    this.api = `http://127.0.0.1:${ports.api}`;
    const identity = JSON.parse(readFileSync(join(directory, 'identity.json'), 'utf8'));
    this.id = (identity as { readonly id: string }).id;
  }

  /** Where other peers find it. */
  get address(): string {
    return `/ip4/127.0.0.1/tcp/${this.#ports.swarm}/p2p/${this.id}`;
  }

  get pid(): number {
    if (this.#process === undefined) throw new Error('the peer was not started');
    return this.#process.pid;
  }

  /** Before it is started for the first time. */
  configure(
    { name, secret, others }: { name: string; secret: string; others: readonly string[] },
    { credentials, pinTimeoutS = 20 }: TestClusterOptions,
  ): void {
    const path = join(this.#directory, 'service.json');
    const ports = this.#ports;
    const settings: Settings = JSON.parse(readFileSync(path, 'utf8'));
    const on = (port: number) => `/ip4/127.0.0.1/tcp/${port}`;
    const node = on(Number(new URL(this.kubo.api).port));
    const { cluster, api, ipfs_connector: connector, monitor, datastore, consensus } = settings;
    Object.assign(cluster, {
      peername: name,
      secret,
      listen_multiaddress: [on(ports.swarm)],
      peer_addresses: others, // A peer that was killed has not written down whom it knew.
      mdns_interval: '0s',
      enable_relay_hop: false,
      monitor_ping_interval: '1s',
      peer_watch_interval: '1s',
    });
    Object.assign(api.restapi, {
      http_listen_multiaddress: [on(ports.api)],
      basic_auth_credentials: credentials ?? null,
    });
    Object.assign(api.ipfsproxy, {
      listen_multiaddress: [on(ports.proxy)],
      node_multiaddress: node,
    });
    Object.assign(api.pinsvcapi, { http_listen_multiaddress: [on(ports.pinning)] });
    Object.assign(connector.ipfshttp, {
      node_multiaddress: node,
      connect_swarms_delay: '1s',
      pin_timeout: `${pinTimeoutS}s`,
    });
    Object.assign(monitor.pubsubmon, { check_interval: '1s' });
    for (const informer of Object.values<Settings>(settings.informer)) {
      if (informer.metric_ttl !== undefined) informer.metric_ttl = '5s';
    }
    if (datastore.pebble?.pebble_options !== undefined) {
      datastore.pebble.pebble_options.cache_size_bytes = 16 * 1024 * 1024;
    }
    // How soon a peer that comes back hears what was pinned meanwhile.
    Object.assign(consensus.crdt, { trusted_peers: ['*'], rebroadcast_interval: '1s' });
    writeFileSync(path, JSON.stringify(settings, null, 2));
  }

  /** Starts it, or starts it again, and waits until it answers. */
  async restart(): Promise<void> {
    if (this.#process?.isRunning === true) throw new Error('the peer before it is still running');
    this.#process = new RunningProgram({
      program: this.#program,
      args: ['daemon'],
      directory: this.#directory,
      environment: { IPFS_CLUSTER_PATH: this.#directory },
      foreign: FOREIGN,
    });
    await this.#process.ready(async () =>
      fetch(`${this.api}/health`).then(
        ({ status }) => status === 204,
        () => false,
      ),
    );
  }

  async kill(): Promise<void> {
    await this.#process?.kill();
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }
}

export class TestCluster implements AsyncDisposable {
  readonly peers: readonly TestPeer[];
  /** Holds everything of the peers. */
  readonly directory: string;
  readonly #kubos: readonly KuboNode[];

  /** Starts so many peers and waits until each sees all; nothing is left when that fails. */
  static async start(count: number, options: TestClusterOptions = {}): Promise<TestCluster> {
    const directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-cluster-'));
    const kubos: KuboNode[] = [];
    const peers: TestPeer[] = [];
    const service = new TestCluster(directory, kubos, peers);
    try {
      const program = await programOf('cluster', 'ipfs-cluster-service');
      const secret = randomBytes(32).toString('hex');
      for (let at = 1; at <= count; at++) {
        const kubo = await KuboNode.start();
        kubos.push(kubo);
        const place = join(directory, `peer${at}`);
        const ports = await portsOf();
        await promisify(execFile)(program, ['init', '--consensus', 'crdt'], {
          env: { PATH: process.env['PATH'], HOME: directory, IPFS_CLUSTER_PATH: place },
          timeout: COMMAND_MS_MAX,
          killSignal: 'SIGKILL',
        });
        peers.push(new TestPeer(kubo, { program, directory: place, ports }));
      }
      for (const [at, peer] of peers.entries()) {
        const others = peers.filter((other) => other !== peer).map(({ address }) => address);
        peer.configure({ name: `peer${at + 1}`, secret, others }, options);
      }
      for (const [at, kubo] of kubos.entries()) {
        for (const other of kubos.slice(0, at)) await kubo.connect(other);
      }
      for (const peer of peers) await peer.restart();
      await service.meet(options.credentials);
    } catch (error) {
      await service[Symbol.asyncDispose]().catch(() => {});
      throw error;
    }
    return service;
  }

  private constructor(directory: string, kubos: readonly KuboNode[], peers: readonly TestPeer[]) {
    this.directory = directory;
    this.#kubos = kubos;
    this.peers = peers;
  }

  /** Waits until each peer sees all of them, and knows of each how much room it has: it may then choose it. */
  async meet(credentials: TestClusterOptions['credentials'] = {}): Promise<void> {
    const [[user, password] = []] = Object.entries(credentials);
    const basic = Buffer.from(`${user}:${password}`).toString('base64');
    const headers: Record<string, string> =
      user === undefined ? {} : { authorization: `Basic ${basic}` };
    const textOf = async (url: string) => {
      const answer = await fetch(url, { headers });
      if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
      return await answer.text();
    };
    for (const { api } of this.peers) {
      await until(`${api} sees all peers`, async () => {
        const seen = (await textOf(`${api}/peers`)).split('\n').filter((line) => line !== '');
        const told = await textOf(`${api}/monitor/metrics/freespace`);
        const known = this.peers.filter(({ id }) => told.includes(id));
        return [seen, known].every(({ length }) => length === this.peers.length);
      });
    }
  }

  /** Ends peers, then nodes, and removes everything, in any case. Throws what could not be ended in order. */
  async [Symbol.asyncDispose](): Promise<void> {
    const wrong: unknown[] = [];
    const note = (error: unknown) => void wrong.push(error);
    await Promise.all(this.peers.map((peer) => peer.stop().catch(note)));
    await Promise.all(this.#kubos.map((kubo) => kubo.close().catch(note)));
    rmSync(this.directory, { recursive: true, force: true });
    if (wrong.length > 0) throw new AggregateError(wrong, 'the cluster did not end in order');
  }
}

const portsOf = async (): Promise<Ports> => ({
  api: await freePort(),
  proxy: await freePort(),
  pinning: await freePort(),
  swarm: await freePort(),
});
