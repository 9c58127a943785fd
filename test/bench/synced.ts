/** A daemon with a real Kubo beside it, of which it is measured what publishing costs. */
import { join } from 'node:path';
import { TestDaemon } from '../integration/daemon.ts';
import { KuboNode } from '../services/kubo.ts';
import { plantFiles } from './planted.ts';

const COMMAND_MS_MAX = 600_000;

/** Files of up to 8 KB, a hundred in a directory; their bytes follow from the seed. */
const WRITE = `
import os, sys, random
count, rng = int(sys.argv[1]), random.Random(sys.argv[2])
for i in range(count):
    os.makedirs(f'd{i // 100}', exist_ok=True)
    with open(f'd{i // 100}/f{i}', 'wb') as f: f.write(rng.randbytes(rng.randrange(200, 8000)))`;

/** Creates files one after another; milliseconds of one, the median and the 99th of a hundred. */
const CREATE = `
import os, sys, time
count, took = int(sys.argv[1]), []
os.mkdir(sys.argv[2])
for i in range(count):
    start = time.perf_counter_ns()
    os.close(os.open(f'{sys.argv[2]}/{i}', os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    took.append(time.perf_counter_ns() - start)
took.sort()
print(took[count // 2] / 1e6, took[count * 99 // 100] / 1e6)`;

export interface PublishedIn {
  readonly seconds: number;
  readonly root: string;
  readonly changed: boolean;
  readonly newBlocks: number;
}

export interface Latency {
  readonly medianMs: number;
  readonly p99Ms: number;
}

interface Answer {
  readonly data: {
    readonly root_cid: string;
    readonly changed: boolean;
    readonly counts: { readonly new_blocks: number };
  };
}

export class Synced implements AsyncDisposable {
  readonly kubo: KuboNode;
  readonly daemon: TestDaemon;

  static async start(): Promise<Synced> {
    const kubo = await KuboNode.start();
    try {
      const configuration = `[ipfs.kubo]\napi = "${kubo.api}"\n[sync]\ndebounce_ms = 0\n`;
      return new Synced(kubo, await TestDaemon.start({ configuration }));
    } catch (error) {
      await kubo.close();
      throw error;
    }
  }

  private constructor(kubo: KuboNode, daemon: TestDaemon) {
    this.kubo = kubo;
    this.daemon = daemon;
  }

  /** Writes the files of a seed, those of the last one anew. */
  async write(count: number, seed: number): Promise<void> {
    await this.#python(WRITE, String(count), String(seed));
  }

  /** Files of no bytes, put into the journal while no daemon runs. */
  async plant(count: number): Promise<void> {
    await this.daemon.stop();
    plantFiles(join(this.daemon.state, 'journal.db'), count);
    await this.daemon.restart();
  }

  /** Resolves when every file has its CID, as it gets by itself. */
  async rests(): Promise<void> {
    const dirty = async () =>
      (await this.daemon.json<{ dirty: { files: number } }>(['status'])).dirty.files;
    while ((await dirty()) > 0) await new Promise((resolve) => setTimeout(resolve, 200));
  }

  /** Publishes the tree, and waits until the node has pinned it. */
  async publish(): Promise<PublishedIn> {
    const start = performance.now();
    const call = ['call', 'vfs_sync_to_ipfs', '{"path":"/ipfs","wait_for":"pinned"}'];
    const { data } = await this.daemon.json<Answer>(call, { timeoutMs: COMMAND_MS_MAX });
    const seconds = (performance.now() - start) / 1000;
    const { root_cid: root, changed, counts } = data;
    return { seconds, root, changed, newBlocks: counts.new_blocks };
  }

  /** Seconds that the command takes which `publish` runs, when it has nothing to do. */
  async command(): Promise<number> {
    const start = performance.now();
    await this.daemon.json(['call', 'vfs_stat', '{"path":"/ipfs"}']);
    return (performance.now() - start) / 1000;
  }

  /** Seconds that another Kubo needs for the CAR of a tree; it has that of `base` before. */
  async import(root: string, base?: string): Promise<number> {
    await using other = await KuboNode.start();
    const options = { in: this.daemon.directory, timeoutMs: COMMAND_MS_MAX };
    let seconds = 0;
    for (const cid of [...(base === undefined ? [] : [base]), root]) {
      const made = `'${this.kubo.api}/api/v0/dag/export?arg=${cid}&progress=false' > tree.car`;
      await this.daemon.shell(`curl -sS -X POST ${made}`, options);
      const start = performance.now();
      const taken = `'${other.api}/api/v0/dag/import?pin-roots=true'`;
      await this.daemon.shell(`curl -sS -F file=@tree.car ${taken}`, options);
      seconds = (performance.now() - start) / 1000;
    }
    return seconds;
  }

  async creates(count: number, directory: string): Promise<Latency> {
    const printed = await this.#python(CREATE, String(count), directory);
    const [medianMs = Number.NaN, p99Ms = Number.NaN] = printed.split(' ').map(Number);
    return { medianMs, p99Ms };
  }

  #python(program: string, ...args: readonly string[]): Promise<string> {
    const options = { in: 'ipfs', timeoutMs: COMMAND_MS_MAX };
    return this.daemon.run('python3', ['-c', program, ...args], options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon.close();
    await this.kubo.close();
  }
}
