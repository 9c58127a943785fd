/**
 * A node with blocks, pins and an MFS of one level, as the engines promise them, that can fail at each of
 * its calls: before it does what was asked, or after, as when the answer is lost.
 */
import { CarBlockIterator } from '@ipld/car';
import type { IpfsNode, Pin } from '../../src/backend/backend.ts';
import { digestKind } from '../../src/base/digests.ts';
import { OpError } from '../../src/base/errors.ts';
import { type CID, Dag, parseCid } from '../../src/content/content.ts';

interface Fault {
  /** Calls from now on that go well. */
  left: number;
  readonly when: 'before' | 'after';
}

type Used = Pick<IpfsNode, 'content' | 'pins' | 'mfs'>;

const unused = (): never => {
  throw new Error('nobody should ask this');
};

export class FakeNode {
  readonly blocks = new Map<string, Uint8Array>();
  readonly pins = new Map<string, Pin>();
  readonly placed = new Map<string, CID>();
  /** What others have, which it finds when it is to pin it. */
  readonly elsewhere = new Map<string, Uint8Array>();
  /** Names of all calls, in order. */
  readonly calls: string[] = [];
  /** Blocks that came in CARs. */
  imported = 0;
  #fault: Fault | undefined;
  readonly #dag = new Dag({
    get: (cid) => this.blocks.get(blockOf(cid)),
    sizeOf: (cid) => this.blocks.get(blockOf(cid))?.length,
  });

  /** The call behind the next `left` fails. */
  failAt(left: number, when: Fault['when']): void {
    this.#fault = { left, when };
  }

  heal(): void {
    this.#fault = undefined;
  }

  /** What garbage collection leaves: what is below pins and MFS. */
  async collect(): Promise<void> {
    const kept = new Set<string>();
    const roots = [...this.placed.values()];
    for (const { cid, type } of this.pins.values()) {
      if (type === 'recursive') roots.push(cid);
      else kept.add(blockOf(cid));
    }
    for (const root of roots) for (const key of await this.below(root)) kept.add(key);
    for (const key of this.blocks.keys()) if (!kept.has(key)) this.blocks.delete(key);
  }

  /** Keys of a DAG. @throws when a block is missing. */
  async below(root: CID): Promise<string[]> {
    const keys = [];
    for await (const { cid, size } of this.#dag.walk(root, new AbortController().signal)) {
      if (size === undefined) throw new OpError('content-missing', `walk ${cid}`);
      keys.push(blockOf(cid));
    }
    return keys;
  }

  /** The facets; the others are not there. */
  get node(): IpfsNode {
    const used: Used = {
      content: this.#content(),
      pins: { ...this.#pins(), update: unused },
      mfs: this.#mfs(),
    };
    return { kind: 'kubo', endpoint: 'fake', ...used } as IpfsNode;
  }

  async #call<T>(name: string, act: () => T | Promise<T>): Promise<T> {
    this.calls.push(name);
    const fault = this.#fault;
    const isNow = fault?.left === 0;
    if (fault !== undefined) fault.left -= 1;
    const broken = new OpError('not-running', name);
    if (isNow && fault?.when === 'before') throw broken;
    const result = await act();
    if (isNow) throw broken;
    return result;
  }

  #content(): IpfsNode['content'] {
    return {
      add: unused,
      exportCar: unused,
      refsLocal: unused,
      ...{ blockStat: unused, hasBlocks: unused, blockPut: unused },
      blockGet: (cid) =>
        this.#call('blockGet', () => {
          const bytes = this.blocks.get(blockOf(cid));
          if (bytes === undefined) throw new OpError('content-missing', `get block ${cid}`);
          const digest = digestKind(cid.multihash.code)?.digest(bytes) ?? bytes;
          if (Buffer.compare(digest, cid.multihash.digest) === 0) return bytes;
          throw new OpError('integrity', `get block ${cid}`);
        }),
      importCar: (car, { pinRoots }) =>
        this.#call('importCar', async () => {
          const reader = await CarBlockIterator.fromIterable(car);
          const roots = (await reader.getRoots()).map((root) => parseCid(root.toString()));
          let [blocks, bytes] = [0, 0];
          for await (const block of reader) {
            this.blocks.set(blockOf(parseCid(block.cid.toString())), block.bytes);
            blocks += 1;
            bytes += block.bytes.length;
          }
          this.imported += blocks;
          // As Kubo does it: the name that a pin has goes.
          for (const cid of pinRoots ? roots : []) {
            this.pins.delete(pinOf(cid));
            await this.#pin({ cid, type: 'recursive' });
          }
          return { roots, blocks, bytes };
        }),
    };
  }

  async #pin(pin: Pin): Promise<void> {
    if (pin.type === 'recursive') await this.below(pin.cid);
    else if (!this.blocks.has(blockOf(pin.cid))) throw new OpError('content-missing', 'pin');
    const known = this.pins.get(pinOf(pin.cid));
    const type = known?.type === 'recursive' ? 'recursive' : pin.type;
    const name = pin.name ?? known?.name;
    this.pins.set(pinOf(pin.cid), { cid: pin.cid, type, ...(name === undefined ? {} : { name }) });
  }

  #pins(): Pick<IpfsNode['pins'], 'add' | 'rm' | 'ls' | 'get'> {
    return {
      get: (cid) => this.#call('pins.get', () => this.pins.get(pinOf(cid))),
      add: (cid, { recursive = true, name }) =>
        this.#call('pins.add', async () => {
          const named = name === undefined ? {} : { name };
          for (const [key, bytes] of this.elsewhere) this.blocks.set(key, bytes);
          await this.#pin({ cid, type: recursive ? 'recursive' : 'direct', ...named });
          return { type: recursive ? 'recursive' : 'direct', alreadyPinned: false };
        }),
      rm: (cid) =>
        this.#call('pins.rm', () => {
          const pin = this.pins.get(pinOf(cid));
          if (pin === undefined) throw new OpError('not-pinned', 'pins.rm');
          this.pins.delete(pinOf(cid));
          return pin;
        }),
      ls: ({ type = 'recursive' }) => this.#list(type),
    };
  }

  async *#list(type: string): AsyncGenerator<Pin> {
    yield* await this.#call('pins.ls', () =>
      [...this.pins.values()].filter((pin) => type === 'all' || pin.type === type),
    );
  }

  #mfs(): IpfsNode['mfs'] {
    return {
      ...{ ls: unused, read: unused, mkdir: unused, write: unused, cp: unused, mv: unused },
      ...{ rm: unused, flush: unused, chcid: unused },
      stat: (path) =>
        this.#call('mfs.stat', () => {
          const cid = this.placed.get(path);
          if (cid === undefined) return undefined;
          return { cid, type: 'directory', size: 0, cumulativeSize: 0, blocks: 0 };
        }),
      place: (path, cid) =>
        this.#call('mfs.place', async () => {
          await this.below(cid);
          this.placed.set(path, cid);
          return {};
        }),
    };
  }
}

/** Blocks by their hash alone, as Kubo has them. */
export const blockOf = (cid: CID): string => Buffer.from(cid.multihash.bytes).toString('hex');
/** Pins by their CID, as it is spelled. */
const pinOf = (cid: CID): string => cid.toString();
