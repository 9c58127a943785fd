/** Blocks and DAGs of a Kubo node. */
import type { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';
import { BLOCK_BYTES_MAX } from '../../base/limits.ts';
import type { CallOptions, ReachOptions } from '../call.ts';
import { type Fields, invalid } from '../http/wire.ts';
import type {
  AddEntry,
  Added,
  AddOptions,
  BlockPutOptions,
  BlockStat,
  ContentFacet,
  Imported,
  ImportOptions,
  LocalRef,
  PinFacet,
} from '../node.ts';
import { demandBytesOf, hashName, inlineBytes } from '../verify.ts';
import { addQuery, readAdded } from './add.ts';
import { FAULTS } from './faults.ts';
import { multipart, oneBuffer, oneFile } from './multipart.ts';
import type { Rpc } from './rpc.ts';

/** Questions about single blocks that are under way at once for one caller. */
const BLOCKS_ASKED_AT_ONCE = 8;

/** Codecs by the names that Kubo has for them (the multicodec table). */
const CODECS: Readonly<Record<number, string>> = {
  81: 'cbor',
  85: 'raw',
  112: 'dag-pb',
  113: 'dag-cbor',
  297: 'dag-json',
  512: 'json',
};

export class KuboContent implements ContentFacet {
  readonly #rpc: Rpc;
  readonly #pins: PinFacet;

  constructor(rpc: Rpc, pins: PinFacet) {
    this.#rpc = rpc;
    this.#pins = pins;
  }

  async blockGet(cid: CID, options: ReachOptions): Promise<Uint8Array> {
    const inline = inlineBytes(cid);
    if (inline !== undefined) return inline;
    const op = `block/get ${cid}`;
    hashName(cid, op); // Before anything is fetched that could not be verified.
    const ask = {
      command: 'block/get',
      args: [cid.toString()],
      query: { offline: options.local === true },
      repeat: 'always',
    } as const;
    const bytes = await this.#rpc.bytes(ask, options, BLOCK_BYTES_MAX);
    demandBytesOf(cid, bytes, op);
    return bytes;
  }

  async blockStat(cid: CID, options: ReachOptions): Promise<BlockStat> {
    const inline = inlineBytes(cid);
    if (inline !== undefined) return { cid, size: inline.length };
    const ask = {
      command: 'block/stat',
      args: [cid.toString()],
      query: { offline: options.local === true },
      repeat: 'always',
    } as const;
    const stat = await this.#rpc.json(ask, options);
    return { cid, size: stat.count('Size') };
  }

  async hasBlocks(cids: readonly CID[], options: CallOptions): Promise<readonly boolean[]> {
    using deadline = this.#rpc.deadline(`look for ${cids.length} blocks`, options, 'long');
    const over = new AbortController();
    const signal = AbortSignal.any([deadline.signal, over.signal]);
    const held: boolean[] = [];
    let next = 0;
    const ask = async (): Promise<void> => {
      for (let at = next++; at < cids.length; at = next++) {
        const cid = cids[at];
        if (cid === undefined) return;
        try {
          held[at] = await this.#holds(cid, { ...deadline.options, signal });
        } catch (error) {
          over.abort(error); // One answer that lacks is enough: the others stop too.
          return;
        }
      }
    };
    await Promise.all(Array.from({ length: BLOCKS_ASKED_AT_ONCE }, ask));
    over.signal.throwIfAborted();
    return held;
  }

  async #holds(cid: CID, options: CallOptions): Promise<boolean> {
    try {
      await this.blockStat(cid, { ...options, local: true });
      return true;
    } catch (error) {
      if (error instanceof OpError && error.failure === 'content-missing') return false;
      throw error;
    }
  }

  /** By `block/put`, which keeps the bytes as they are, and not `dag/put`, which encodes anew. */
  async blockPut(cid: CID, bytes: Uint8Array, options: BlockPutOptions): Promise<void> {
    const op = `block/put ${cid}`;
    if (bytes.length > BLOCK_BYTES_MAX) {
      throw new OpError('payload-too-large', op, { details: { cid: cid.toString() } });
    }
    demandBytesOf(cid, bytes, op);
    using deadline = this.#rpc.deadline(op, options);
    const ask = {
      command: 'block/put',
      query: {
        'cid-codec': CODECS[cid.code] ?? `0x${cid.code.toString(16)}`,
        mhtype: hashName(cid, op),
        pin: options.pin !== undefined,
      },
      body: () => oneBuffer(bytes, this.#rpc.random),
      repeat: 'always',
    } as const;
    const stored = (await this.#rpc.json(ask, deadline.options)).cid('Key');
    if (Buffer.compare(stored.multihash.bytes, cid.multihash.bytes) !== 0) {
      throw new OpError('integrity', op, { details: { cid: cid.toString() } });
    }
    const name = options.pin?.name;
    if (name !== undefined) await this.#pins.add(cid, { ...deadline.options, name });
  }

  async add(entries: AsyncIterable<AddEntry>, options: AddOptions): Promise<Added> {
    const ask = {
      command: 'add',
      query: addQuery(options),
      body: () => multipart(entries, this.#rpc.random),
      lane: 'long',
    } as const;
    return await readAdded(this.#rpc.lines(ask, options), options);
  }

  async importCar(car: AsyncIterable<Uint8Array>, options: ImportOptions): Promise<Imported> {
    const op = 'dag/import';
    const { pinRoots, sent } = options;
    const ask = {
      command: op,
      query: { 'pin-roots': pinRoots, stats: true },
      body: () => oneFile(car, this.#rpc.random),
      lane: 'long',
    } as const;
    const roots: CID[] = [];
    let counted: Omit<Imported, 'roots'> | undefined;
    for await (const line of this.#rpc.lines(ask, options)) {
      if (line.has('Root')) roots.push(pinnedRoot(line.object('Root'), op));
      if (line.has('Stats')) counted = countsOf(line.object('Stats'));
    }
    // Nothing at all is what Kubo says of a body that it did not take for a CAR.
    if (counted === undefined) throw invalid(op, 'the node counted no blocks');
    const wanted = sent?.() ?? counted;
    if (wanted.blocks !== counted.blocks || wanted.bytes !== counted.bytes) {
      throw invalid(op, `the node counted ${counted.blocks} blocks of ${wanted.blocks}`);
    }
    return { roots, ...counted };
  }

  exportCar(root: CID, options: ReachOptions): AsyncIterable<Uint8Array> {
    const ask = {
      command: 'dag/export',
      args: [root.toString()],
      query: { progress: false, offline: options.local === true },
      lane: 'long',
      repeat: 'always',
    } as const;
    return this.#rpc.stream(ask, options);
  }

  async *refsLocal(options: CallOptions): AsyncGenerator<LocalRef, void, undefined> {
    const ask = { command: 'refs/local', lane: 'long', repeat: 'always' } as const;
    for await (const line of this.#rpc.lines(ask, options)) {
      const fault = line.optionalText('Err');
      if (fault !== undefined) throw invalid('refs/local', fault);
      yield { cid: line.cid('Ref') };
    }
  }
}

const countsOf = (stats: Fields): Omit<Imported, 'roots'> => ({
  blocks: stats.count('BlockCount'),
  bytes: stats.count('BlockBytesCount'),
});

/** @throws OpError content-missing: it was imported, and could not be pinned. */
function pinnedRoot(root: Fields, op: string): CID {
  const cid = root.link('Cid');
  const words = root.optionalText('PinErrorMsg');
  if (words === undefined) return cid;
  const known = FAULTS.find(({ text }) => text.test(words));
  throw new OpError(known?.failure ?? 'content-missing', `${op} ${cid}`, {
    cause: new Error(words),
    hint: 'send every block below the root',
    details: { cid: cid.toString() },
  });
}
