/**
 * What is above the engine, as trials on a real node: an attempt of the sync engine, a file whose bytes are fetched
 * when they are read, and tools that take whole trees. See `trials.ts`.
 */
import { createHash } from 'node:crypto';
import type { AddEntry, IpfsNode, KuboNode } from '../../src/backend/backend.ts';
import { type Failure, OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import type { BlockOrigin, CID } from '../../src/content/content.ts';
import { cidOfBytes } from '../../src/content/content.ts';
import { pinNameOf, placeOf, upload } from '../../src/sync/upload.ts';
import { CODE_OF } from '../../src/tools/errors.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { noise } from '../content/fixture.ts';
import type { KuboNode as Node } from '../services/kubo.ts';
import { plantFar } from '../sync/far.ts';
import { Fixture as Tree } from '../sync/fixture.ts';
import { type Answer, type Facts, Fixture as Tools } from '../tools/fixture.ts';
import { all, calling, engineAt, streamOf, text } from './engine.ts';
import type { Calling, Method } from './trials.ts';

/** A block that is no leaf, and three that are. */
const BYTES = noise(2 * 1024 * 1024 + 17, 11);
const PLACES_KEPT = 3;

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A tree that is published again and again, and a node that is asked past the proxy. */
export class Above implements AsyncDisposable {
  readonly #kubo: Node;
  readonly #direct: KuboNode;
  readonly #tree = new Tree();
  #file: CID | undefined;
  #directory: CID | undefined;

  static async start(kubo: Node): Promise<Above> {
    const above = new Above(kubo);
    const { content } = above.#direct;
    const how = { ...calling(), profile: 'unixfs-v1-2025', pin: {} } as const;
    const file = { path: '', type: 'file', content: streamOf(BYTES) } satisfies AddEntry;
    above.#file = (await content.add(streamOf(file), how)).cid;
    const entries: AddEntry[] = [
      { path: 'd', type: 'directory' },
      { path: 'd/empty', type: 'directory' },
      { path: 'd/large', type: 'file', content: streamOf(BYTES) },
      { path: 'd/link', type: 'symlink', target: 'large' },
      { path: 'd/sub/f', type: 'file', content: streamOf(text('a small file')) },
    ];
    above.#directory = (await content.add(streamOf(...entries), how)).cid;
    return above;
  }

  private constructor(kubo: Node) {
    this.#kubo = kubo;
    this.#direct = engineAt(kubo.api);
  }

  get methods(): Readonly<Record<string, Method>> {
    const into = '/ipfs/got';
    return {
      'an upload': this.#upload(),
      'bytes that are fetched when they are read': this.#read(),
      ipfs_get: this.#taken('ipfs_get', { ipfs_path: String(this.#directory), output_path: into }),
      vfs_sync_from_ipfs: this.#taken('vfs_sync_from_ipfs', {
        ...{ ipfs_path: String(this.#directory), path: into, parents: true },
      }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tree.close();
    await this.#direct[Symbol.asyncDispose]();
  }

  /** The tree `/ipfs/<at>` is held as it was, and brought to the node as it is. */
  #upload(): Method {
    return {
      // As it was or as it is, and never between them; then a second attempt makes it whole.
      states: { before: 'old', after: 'new', between: ['nothing'] },
      isLong: true,
      begin: async (at) => {
        const tree = this.#tree;
        const path = `/ipfs/${at}`;
        tree.mkdir(path);
        for (const name of ['kept', 'f']) tree.write(`${path}/${name}`, `${name} of ${at}`);
        const old = await this.#want(path);
        await this.#attempt(path, this.#direct, calling());
        tree.write(`${path}/f`, `new of ${at}`);
        const wanted = await this.#want(path);
        return {
          value: 'pinned',
          run: (node: IpfsNode, options: Calling) => this.#attempt(path, node, options),
          state: async () => {
            const found = await this.#whereabouts(path, { [old]: 'old', [wanted]: 'new' });
            await this.#attempt(path, this.#direct, calling());
            await this.#expectWhole(path, wanted);
            await this.#remove(path);
            return found;
          },
        };
      },
    };
  }

  /** Owes the node the tree as it is now. @returns its root. */
  async #want(path: string): Promise<string> {
    const { root } = await this.#tree.want(path);
    return root.toString();
  }

  async #attempt(path: string, node: IpfsNode, { signal }: Calling | { signal: AbortSignal }) {
    const run = { signal, progress: () => undefined };
    return (await upload(this.#tree, node, this.#tree.target(path), run)).state;
  }

  /** What lies at the place of a path; and what the row says is held is whole, after a collection too. */
  async #whereabouts(path: string, named: Readonly<Record<string, string>>): Promise<string> {
    const stat = await this.#direct.mfs.stat(placeOf(nameOfText(path)), calling());
    const { held } = this.#tree.target(path);
    if (held === undefined) throw new Error('what was held is forgotten');
    await this.#kubo.gc();
    const root = cidOfBytes(held.tree);
    await this.#kubo.rpc.lines(`refs?arg=${root}&recursive=true&offline=true`);
    return stat === undefined ? 'nothing' : (named[stat.cid.toString()] ?? 'something else');
  }

  /** @throws unless the tree is there, pinned once, and nothing of before is. */
  async #expectWhole(path: string, wanted: string): Promise<void> {
    const name = nameOfText(path);
    const stat = await this.#direct.mfs.stat(placeOf(name), calling());
    const pins = await this.#pins(path);
    const held = this.#tree.target(path).held?.tree;
    const roots = [stat?.cid, held === undefined ? undefined : cidOfBytes(held)].map(String);
    if (roots.some((root) => root !== wanted) || pins.length !== PLACES_KEPT) {
      throw new Error(`it is not whole: ${roots.join(' ')}, pins ${pins.join(' ')}`);
    }
    await this.#kubo.rpc.lines(`refs?arg=${wanted}&recursive=true&offline=true`);
  }

  /** Ours, of any kind. */
  async #pins(path: string): Promise<string[]> {
    const options = { ...calling(), name: pinNameOf(this.#tree.journalId, nameOfText(path)) };
    const pins = [];
    for (const type of ['recursive', 'direct'] as const) {
      pins.push(...(await all(this.#direct.pins.ls({ ...options, type }))));
    }
    const exact = pins.filter(({ name }) => name === options.name);
    return exact.map(({ cid }) => cid.toString());
  }

  async #remove(path: string): Promise<void> {
    const place = encodeURIComponent(placeOf(nameOfText(path)));
    await this.#kubo.rpc.bytes(`files/rm?arg=${place}&recursive=true`);
    for (const cid of await this.#pins(path)) await this.#kubo.rpc.bytes(`pin/rm?arg=${cid}`);
  }

  #read(): Method {
    return {
      states: { before: 'its bytes', after: 'its bytes' },
      begin: async () => {
        let origin: BlockOrigin = this.#direct.content;
        const here = new Tree({ blockGet: (cid, options) => origin.blockGet(cid, options) });
        if (this.#file === undefined) throw new Error('it was not started');
        plantFar(here, 'far', this.#file, BYTES.length);
        const read = async (signal: AbortSignal) => {
          const { content } = here.inode('/ipfs/far');
          await here.filling.bring(content, { from: 0, to: BYTES.length }, signal);
          return sumOf(here.bytes('/ipfs/far'));
        };
        return {
          value: sumOf(BYTES),
          run: async ({ content }: IpfsNode, { signal }: Calling) => {
            origin = content;
            return await read(signal).catch((error: unknown) => {
              throw reasonOf(error);
            });
          },
          state: async () => {
            origin = this.#direct.content;
            const sum = await read(calling().signal);
            await here.close();
            return sum === sumOf(BYTES) ? 'its bytes' : 'other bytes';
          },
        };
      },
    };
  }

  /** A tool that takes the directory into the tree: all of it, or nothing. */
  #taken(tool: string, values: Facts): Method {
    return {
      states: { before: 'nothing', after: 'all of it' },
      begin: async () => {
        let tools: Tools | undefined;
        return {
          value: 'done',
          run: async (node: IpfsNode) => {
            tools = new Tools(TOOLS, asKubo(node));
            const answer = await tools.ask(tool, { ...values, wait_ms: 50_000 });
            if (answer.status === 'error') throw failed(tool, answer);
            return 'done';
          },
          state: async () => {
            if (tools === undefined) throw new Error('it did not run');
            const found = await inTree(tools);
            await tools.close();
            return found;
          },
        };
      },
    };
  }
}

/** `nothing`, `all of it`, or what else is there. */
async function inTree(tools: Tools): Promise<string> {
  const { entries } = await tools.done('vfs_ls', { path: '/ipfs', recursive: true });
  const names = (entries as Facts[]).map(({ name, path }) => path ?? name).join(' ');
  if (names === '') return 'nothing';
  const whole = sumOf(await tools.bytes('/ipfs/got/large')) === sumOf(BYTES);
  const small = await tools.text('/ipfs/got/sub/f');
  return whole && small === 'a small file' ? 'all of it' : names;
}

/** Bytes that are not here are missing; why is what the engine said. */
function reasonOf(error: unknown): unknown {
  if (!(error instanceof OpError) || error.failure !== 'content-missing') return error;
  return new OpError(error.details['reason'] as Failure, error.op, { cause: error });
}

/** What the envelope says that went wrong: of content that is not here, why. */
function failed(tool: string, { error = '', error_code: code }: Answer): OpError {
  if (code === 'CONTENT_NOT_AVAILABLE') {
    const reason = / could not be asked: ([\w-]+)/.exec(error)?.[1];
    const isLate = error.includes('did not answer in time');
    return new OpError((isLate ? 'timeout' : (reason ?? 'content-missing')) as Failure, tool);
  }
  const known = Object.entries(CODE_OF).find(([, one]) => one === code);
  return new OpError((known?.[0] ?? 'internal') as Failure, tool);
}

function asKubo(node: IpfsNode): KuboNode {
  if (node.kind !== 'kubo') throw new Error('a Kubo was expected');
  return node as KuboNode;
}
