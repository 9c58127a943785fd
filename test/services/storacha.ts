/**
 * A real Storacha service (`storacha/serve.mjs`, from npm), for tests:
 *
 *     await using service = await Storacha.start();
 *     const space = await service.makeSpace();
 *     const { key, proof } = await service.give(space, ['upload/list']);
 *
 * Invariants: it and its storage nodes listen on 127.0.0.1 only; all it has is in memory, and gone with its process; it
 * does not outlive the process that started it.
 */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { base58btc } from 'multiformats/bases/base58';
import type { CID } from 'multiformats/cid';
import { freePort, RunningProgram } from './process.ts';

/** From the sources, or, when it was built with them, from `dist/`. */
const SERVE = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/test/')
      ? '../../../test/services/storacha/serve.mjs'
      : 'storacha/serve.mjs',
    import.meta.url,
  ),
);

/** All that an upload needs, and what is done with it afterwards. */
export const ABILITIES = [
  'space/blob/add',
  'space/index/add',
  'upload/add',
  'upload/get',
  'upload/list',
  'upload/remove',
] as const;

export interface Given {
  readonly key: string;
  readonly proof: string;
}

export interface ListedUpload {
  readonly root: string;
  readonly shards: readonly string[];
}

export interface GiveOptions {
  /** Of whom; somebody new when absent. */
  readonly key?: string;
  /** Seconds since 1970; never when absent. */
  readonly expiration?: number;
}

export class Storacha implements AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly did = 'did:web:test.up.storacha.network';
  readonly #directory: string;
  readonly #process: RunningProgram;

  /** Starts one and waits until it answers; nothing is left when that fails. */
  static async start({ bytesMax }: { readonly bytesMax?: number } = {}): Promise<Storacha> {
    const service = new Storacha(await freePort(), bytesMax);
    try {
      await service.#process.ready(async () => service.#process.output.includes(service.did));
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
    return service;
  }

  private constructor(port: number, bytesMax: number | undefined) {
    this.url = `http://127.0.0.1:${port}`;
    this.#directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-storacha-'));
    const limit = bytesMax === undefined ? [] : [String(bytesMax)];
    this.#process = new RunningProgram({
      program: process.execPath,
      args: [SERVE, String(port), ...limit],
      directory: this.#directory,
      foreign: /^NODE_/,
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    await this.#process.kill();
  }

  /** Another empty space, by its DID. */
  async makeSpace({ provisioned = true } = {}): Promise<string> {
    const { space } = (await this.#arrange('space', { provisioned })) as { readonly space: string };
    return space;
  }

  /** The owner of the space gives somebody these abilities. */
  async give(
    space: string,
    abilities: readonly string[] = ABILITIES,
    options: GiveOptions = {},
  ): Promise<Given> {
    return (await this.#arrange('proof', { space, abilities, ...options })) as Given;
  }

  /** The owner takes back what was given. */
  async revoke(proof: string): Promise<void> {
    await this.#arrange('revoke', { proof });
  }

  /** Puts a file there with the client of Storacha; its root. */
  async upload(space: string, text: string): Promise<string> {
    const { root } = (await this.#arrange('upload', { space, text })) as { readonly root: string };
    return root;
  }

  /** As the client of Storacha lists them, the newest first. */
  async uploads(space: string): Promise<readonly ListedUpload[]> {
    return (await this.#arrange('uploads', { space })) as readonly ListedUpload[];
  }

  /** What the next PUTs to a storage node meet; how many of the last such harms met nobody. */
  async harm(kind: 'hang' | 'reset' | number, times: number): Promise<number> {
    const { left } = (await this.#arrange('harm', { kind, times })) as { readonly left: number };
    return left;
  }

  /** What a storage node has under a CID's hash; undefined: nothing. */
  async blob(cid: CID): Promise<Buffer | undefined> {
    const name = base58btc.encode(cid.multihash.bytes);
    const answer = await fetch(`${this.url}/test/blob/${name}`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw new Error(`${answer.status} ${bytes.toString('utf8')}`);
    return bytes;
  }

  async #arrange(what: string, wish: object): Promise<unknown> {
    const body = JSON.stringify(wish);
    const answer = await fetch(`${this.url}/test/${what}`, { method: 'POST', body });
    const words = await answer.text();
    if (answer.status !== 200) throw new Error(`${what}: ${words}\n${this.#process.output}`);
    return JSON.parse(words);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#process.stop();
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }
}
