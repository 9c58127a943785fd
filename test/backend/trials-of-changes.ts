/** Every method of an IPFS node that changes something, as a trial on things of its own: see `trials.ts`. */
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import type { CID } from 'multiformats/cid';
import type { AddEntry, IpfsNode } from '../../src/backend/backend.ts';
import type { Rpc } from '../services/rpc.ts';
import { type Block, carOf, countsOf, directoryOf, rawBlock, streamOf, text } from './engine.ts';
import type { Calling, ChangingName, Method, Nodes, Trial } from './trials.ts';
import { facets } from './trials.ts';

const NO_PATH = 'nothing';

/** What the node itself says of things. */
class Witness {
  readonly #rpc: Rpc;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
  }

  /** `pinned as NAME`, `held`, or `absent`. */
  async content(cid: CID): Promise<string> {
    type Keys = { Keys: Record<string, { Name: string; Type: string }> };
    const pins = await this.#rpc.send(`pin/ls?arg=${cid}&type=recursive&names=true`);
    if (pins.status === 200) {
      const [pin] = Object.values((JSON.parse(pins.body.toString()) as Keys).Keys);
      return `pinned as ${pin?.Name ?? ''}`;
    }
    const block = await this.#rpc.send(`block/stat?arg=${cid}&offline=true`);
    return block.status === 200 ? 'held' : 'absent';
  }

  /** The CID at a path of MFS. */
  async path(path: string): Promise<string> {
    const stat = await this.#rpc.send(`files/stat?arg=${path}`);
    const text = stat.body.toString();
    if (stat.status !== 200) {
      if (!text.includes('file does not exist')) throw new Error(`${path}: ${text}`);
      return NO_PATH;
    }
    return (JSON.parse(text) as { Hash: string }).Hash;
  }

  async put(...blocks: readonly Block[]): Promise<void> {
    const [root] = blocks;
    if (root === undefined) throw new Error('there is nothing to put');
    await this.#rpc.bytes('dag/import?pin-roots=false', carOf(root.cid, blocks));
  }

  async pin(cid: CID, name: string): Promise<void> {
    await this.#rpc.bytes(`pin/add?arg=${cid}&name=${name}`);
  }

  /** A file in MFS, which has `words`. */
  async file(path: string, words: string): Promise<string> {
    await this.#rpc.bytes(`files/write?arg=${path}&create=true&parents=true`, words);
    return await this.path(path);
  }

  async read(path: string): Promise<string> {
    const reply = await this.#rpc.send(`files/read?arg=${path}`);
    return reply.status === 200 ? reply.body.toString() : NO_PATH;
  }

  call(path: string): Promise<Buffer> {
    return this.#rpc.bytes(path);
  }
}

const contentChanges = (witness: Witness) => ({
  'content.blockPut': {
    states: { before: 'absent', after: 'pinned as put', between: ['held', 'pinned as '] },
    begin: async (at: string) => {
      const { cid, bytes } = rawBlock(`put ${at}`);
      return {
        value: undefined,
        run: ({ content }: IpfsNode, options: Calling) =>
          content.blockPut(cid, bytes, { ...options, pin: { name: 'put' } }),
        state: () => witness.content(cid),
      };
    },
  },
  'content.add': {
    states: { before: 'absent', after: 'pinned as added', between: ['held'] },
    begin: async (at: string) => {
      const { cid, bytes } = rawBlock(`add ${at}`);
      const entry = { path: '', type: 'file', content: streamOf(bytes) } satisfies AddEntry;
      const how = { profile: 'unixfs-v1-2025', pin: { name: 'added' } } as const;
      return {
        value: cid.toString(),
        run: async ({ content }: IpfsNode, options: Calling) =>
          (await content.add(streamOf(entry), { ...options, ...how })).cid.toString(),
        state: () => witness.content(cid),
      };
    },
  },
  'content.importCar': {
    states: { before: 'absent', after: 'pinned as ', between: ['held'] },
    begin: async (at: string) => {
      const leaf = rawBlock(`import ${at}`);
      const root = directoryOf({ leaf });
      const blocks = [root, leaf];
      const car = carOf(root.cid, blocks);
      return {
        value: [root.cid.toString(), 2],
        run: async ({ content }: IpfsNode, options: Calling) => {
          const how = { ...options, pinRoots: true, sent: () => countsOf(blocks) };
          const imported = await content.importCar(streamOf(car), how);
          return [imported.roots.join(), imported.blocks];
        },
        state: () => witness.content(root.cid),
      };
    },
  },
});

const pinChanges = (witness: Witness) => ({
  'pins.add': {
    states: { before: 'held', after: 'pinned as added' },
    begin: async (at: string) => {
      const leaf = rawBlock(`pin ${at}`);
      const root = directoryOf({ leaf });
      await witness.put(root, leaf);
      return {
        value: { type: 'recursive', name: 'added' },
        run: async ({ pins }: IpfsNode, options: Calling) => {
          const { type, name } = await pins.add(root.cid, { ...options, name: 'added' });
          return { type, name };
        },
        state: () => witness.content(root.cid),
      };
    },
  },
  'pins.rm': {
    states: { before: 'pinned as old', after: 'held' },
    begin: async (at: string) => {
      const block = rawBlock(`unpin ${at}`);
      await witness.put(block);
      await witness.pin(block.cid, 'old');
      return {
        value: { cid: block.cid, type: 'recursive', name: 'old' },
        run: ({ pins }: IpfsNode, options: Calling) => pins.rm(block.cid, options),
        state: () => witness.content(block.cid),
      };
    },
  },
  'pins.update': {
    states: {
      before: 'pinned as old, held',
      after: 'held, pinned as old',
      between: ['pinned as old, pinned as old'],
    },
    begin: async (at: string) => {
      const [from, to] = [rawBlock(`from ${at}`), rawBlock(`to ${at}`)];
      await witness.put(from, to);
      await witness.pin(from.cid, 'old');
      return {
        value: undefined,
        run: ({ pins }: IpfsNode, options: Calling) => pins.update(from.cid, to.cid, options),
        state: async () => `${await witness.content(from.cid)}, ${await witness.content(to.cid)}`,
      };
    },
  },
});

/** Says where two CIDs are among two paths: `old, nothing`. */
const whereabouts = async (
  witness: Witness,
  paths: readonly string[],
  named: Readonly<Record<string, string>>,
): Promise<string> => {
  const found = await Promise.all(paths.map((path) => witness.path(path)));
  return found.map((cid) => named[cid] ?? cid).join(', ');
};

const fileChanges = (witness: Witness) => ({
  'mfs.write': {
    states: { before: 'old words', after: 'new words' },
    begin: async (at: string) => {
      await witness.file(`/${at}`, 'old words');
      return {
        value: 9,
        run: async ({ mfs }: IpfsNode, options: Calling) => {
          const content = streamOf(text('new words'));
          return (await mfs.write(`/${at}`, content, { ...options, truncate: true })).size;
        },
        state: () => witness.read(`/${at}`),
      };
    },
  },
  'mfs.cp': {
    states: { before: 'file, nothing', after: 'file, file' },
    begin: async (at: string) => {
      const cid = await witness.file(`/${at}/from`, 'words to copy');
      return {
        value: [cid, false],
        run: async ({ mfs }: IpfsNode, options: Calling) => {
          const copied = await mfs.cp(`/${at}/from`, `/${at}/to`, options);
          return [copied.cid.toString(), copied.overwritten];
        },
        state: () => whereabouts(witness, [`/${at}/from`, `/${at}/to`], { [cid]: 'file' }),
      };
    },
  },
  'mfs.mv': {
    states: { before: 'file, nothing', after: 'nothing, file', between: ['file, file'] },
    begin: async (at: string) => {
      const cid = await witness.file(`/${at}/from`, 'words to move');
      return {
        value: [cid, false],
        run: async ({ mfs }: IpfsNode, options: Calling) => {
          const moved = await mfs.mv(`/${at}/from`, `/${at}/to`, options);
          return [moved.cid.toString(), moved.overwritten];
        },
        state: () => whereabouts(witness, [`/${at}/from`, `/${at}/to`], { [cid]: 'file' }),
      };
    },
  },
  'mfs.rm': {
    states: { before: 'file', after: NO_PATH },
    begin: async (at: string) => {
      const cid = await witness.file(`/${at}`, 'words to remove');
      return {
        value: cid,
        run: async ({ mfs }: IpfsNode, options: Calling) =>
          (await mfs.rm(`/${at}`, options)).cid.toString(),
        state: () => whereabouts(witness, [`/${at}`], { [cid]: 'file' }),
      };
    },
  },
  'mfs.flush': {
    states: { before: 'file', after: 'file' },
    begin: async (at: string) => {
      const cid = await witness.file(`/${at}`, 'words to flush');
      return {
        value: cid,
        run: async ({ mfs }: IpfsNode, options: Calling) =>
          (await mfs.flush(`/${at}`, options)).toString(),
        state: () => whereabouts(witness, [`/${at}`], { [cid]: 'file' }),
      };
    },
  },
});

const directoryChanges = (witness: Witness) => ({
  'mfs.mkdir': {
    states: { before: NO_PATH, after: 'there' },
    begin: async (at: string) => ({
      value: true,
      run: async ({ mfs }: IpfsNode, options: Calling) =>
        (await mfs.mkdir(`/${at}/a/b`, { ...options, parents: true })).created,
      state: async () => ((await witness.path(`/${at}/a/b`)) === NO_PATH ? NO_PATH : 'there'),
    }),
  },
  'mfs.chcid': {
    states: { before: 'version 0', after: 'version 1' },
    begin: async (at: string) => {
      await witness.call(`files/mkdir?arg=/${at}&cid-version=0`);
      const version = (cid: string) => `version ${cid.startsWith('Qm') ? 0 : 1}`;
      return {
        value: ['version 0', 'version 1'],
        run: async ({ mfs }: IpfsNode, options: Calling) => {
          const { previous, cid } = await mfs.chcid(`/${at}`, { ...options, cidVersion: 1 });
          return [version(previous.toString()), version(cid.toString())];
        },
        state: async () => version(await witness.path(`/${at}`)),
      };
    },
  },
  'mfs.place': {
    states: {
      before: 'old, nothing',
      after: 'new, nothing',
      // Never with both gone.
      between: ['old, new', 'nothing, new'],
    },
    begin: async (at: string) => {
      const old = await witness.file(`/${at}/name`, 'old words');
      const leaf = rawBlock(`place ${at}`);
      const root = directoryOf({ leaf });
      await witness.put(root, leaf);
      const named = { [old]: 'old', [root.cid.toString()]: 'new' };
      return {
        value: old,
        run: async ({ mfs }: IpfsNode, options: Calling) =>
          (await mfs.place(`/${at}/name`, root.cid, options)).previous?.toString(),
        state: () => whereabouts(witness, [`/${at}/name`, `/${at}/name.kitfs-next`], named),
      };
    },
  },
});

const nameChanges = (witness: Witness, { kubo }: Nodes) => ({
  'names.generateKey': {
    states: { before: '0 keys', after: '1 keys' },
    begin: async (at: string) => ({
      value: at,
      run: async ({ names }: IpfsNode, options: Calling) =>
        (await names.generateKey(at, options)).name,
      state: async () => {
        const { Keys } = await kubo.rpc.json<{ Keys: { Name: string }[] }>('key/ls');
        return `${Keys.filter(({ Name }) => Name === at).length} keys`;
      },
    }),
  },
  'names.publish': {
    states: { before: 'unknown', after: 'published' },
    begin: async (at: string) => {
      const { Id } = await kubo.rpc.json<{ Id: string }>(`key/gen?arg=${at}`);
      const block = rawBlock(`publish ${at}`);
      await witness.put(block);
      const path = `/ipfs/${block.cid}`;
      const how = { key: at, lifetimeS: 3600, ttlS: 60 };
      return {
        value: [Id, path],
        run: async ({ names }: IpfsNode, options: Calling) => {
          const published = await names.publish(path, { ...options, ...how });
          return [published.name, published.path];
        },
        state: async () => {
          const reply = await kubo.rpc.send(
            `name/resolve?arg=/ipns/${Id}&offline=true&nocache=true`,
          );
          if (reply.status !== 200) return 'unknown';
          const { Path } = JSON.parse(reply.body.toString()) as { Path: string };
          return Path === path ? 'published' : Path;
        },
      };
    },
  },
});

/** Hears what the node is told to say on one topic. */
export class Listener implements Disposable {
  readonly topic: string;
  readonly #nodes: Nodes;
  readonly #heard: string[] = [];
  readonly #wake = new Set<() => void>();
  #answer: IncomingMessage | undefined;
  #markers = 0;

  constructor(nodes: Nodes, topic: string) {
    this.#nodes = nodes;
    this.topic = topic;
  }

  get #encoded(): string {
    return `u${Buffer.from(this.topic).toString('base64url')}`;
  }

  async listen(): Promise<void> {
    const answer = await this.#nodes.kubo.rpc.open(`pubsub/sub?arg=${this.#encoded}`);
    this.#answer = answer;
    const lines = createInterface({ input: answer });
    lines.on('error', () => {}); // The node is killed.
    lines.on('line', (line) => {
      const { data } = JSON.parse(line) as { data: string };
      this.#heard.push(Buffer.from(data.slice(1), 'base64url').toString());
      for (const wake of this.#wake) wake();
    });
  }

  /** How often it was said, of all that was said before this was asked. */
  async count(words: string): Promise<number> {
    const marker = `marker ${this.#markers++}`;
    await this.#nodes.kubo.rpc.bytes(`pubsub/pub?arg=${this.#encoded}`, marker);
    while (!this.#heard.includes(marker)) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#wake.delete(wake);
          resolve();
        };
        this.#wake.add(wake);
      });
    }
    return this.#heard.filter((heard) => heard === words).length;
  }

  [Symbol.dispose](): void {
    this.#answer?.destroy();
  }
}

const messages = (listener: Listener) => ({
  'pubsub.publish': {
    states: { before: 'heard 0 times', after: 'heard 1 times' },
    begin: async (at: string): Promise<Trial> => ({
      value: undefined,
      run: (node, options) => facets(node).pubsub.publish(listener.topic, text(at), options),
      state: async () => `heard ${await listener.count(at)} times`,
    }),
  },
});

/** Every method that changes something. */
export function changes(nodes: Nodes, listener: Listener): Readonly<Record<ChangingName, Method>> {
  const witness = new Witness(nodes.kubo.rpc);
  return {
    ...contentChanges(witness),
    ...pinChanges(witness),
    ...fileChanges(witness),
    ...directoryChanges(witness),
    ...nameChanges(witness, nodes),
    ...messages(listener),
  };
}
