/** Pins of a Kubo node. */
import type { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';
import type { CallOptions } from '../call.ts';
import { cidOf, Fields, invalid } from '../http/wire.ts';
import type {
  Pin,
  PinAdded,
  PinAddOptions,
  PinFacet,
  PinGetOptions,
  PinListOptions,
  PinOptions,
  PinType,
  PinUpdateOptions,
} from '../node.ts';
import type { Rpc } from './rpc.ts';

export class KuboPins implements PinFacet {
  readonly #rpc: Rpc;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
  }

  async add(cid: CID, options: PinAddOptions): Promise<PinAdded> {
    using deadline = this.#rpc.deadline(`pin/add ${cid}`, options, 'long');
    const before = await this.#own(cid, deadline.options);
    // A recursive pin keeps the block too: it is never made less.
    const recursive = options.recursive !== false || before?.type === 'recursive';
    const type = recursive ? 'recursive' : 'direct';
    // Kubo would forget the name it had.
    const name = options.name ?? before?.name;
    const told = { type, ...(name === undefined ? {} : { name }) } as const;
    if (before?.type === type && before.name === name) return { ...told, alreadyPinned: true };
    const blocks = await this.#pin(cid, { ...deadline.options, recursive, name }, options);
    return { ...told, alreadyPinned: false, ...(blocks === undefined ? {} : { blocks }) };
  }

  /** @returns how many blocks Kubo counted, if it did. */
  async #pin(
    cid: CID,
    { recursive, name, ...within }: PinOptions & { readonly name: string | undefined },
    { onProgress }: PinAddOptions,
  ): Promise<number | undefined> {
    const ask = {
      command: 'pin/add',
      args: [cid.toString()],
      query: { recursive, name, progress: true },
      lane: 'long',
      repeat: 'always',
    } as const;
    return await this.#rpc.gathered(ask, within, async (lines) => {
      let blocks: number | undefined;
      let isPinned = false;
      for await (const line of lines) {
        if (line.has('Progress')) {
          blocks = line.count('Progress');
          onProgress?.(blocks);
        }
        isPinned ||= line.list('Pins').length > 0;
      }
      if (!isPinned) throw invalid(`pin/add ${cid}`, 'the node did not say that it pinned it');
      return blocks;
    });
  }

  async rm(cid: CID, options: PinOptions): Promise<Pin> {
    const op = `pin/rm ${cid}`;
    using deadline = this.#rpc.deadline(op, options);
    const recursive = options.recursive !== false;
    const pin = await this.get(cid, deadline.options);
    if (pin?.type !== (recursive ? 'recursive' : 'direct')) throw notPinned(op, pin?.type);
    const ask = {
      command: 'pin/rm',
      args: [cid.toString()],
      query: { recursive },
      repeat: 'always',
    } as const;
    try {
      demandAmong((await this.#rpc.json(ask, deadline.options)).texts('Pins'), cid, op);
    } catch (error) {
      // It was pinned a moment ago: an answer that was lost had unpinned it.
      if (!isNotPinned(error)) throw error;
    }
    return pin;
  }

  async *ls(options: PinListOptions): AsyncGenerator<Pin, void, undefined> {
    const { type = 'recursive', name } = options;
    const ask = {
      command: 'pin/ls',
      query: { type, name, names: true, stream: true },
      lane: 'long',
      repeat: 'always',
    } as const;
    for await (const line of this.#rpc.lines(ask, options)) {
      yield pinOf(line.cid('Cid'), line, 'pin/ls');
    }
  }

  get(cid: CID, options: PinGetOptions): Promise<Pin | undefined> {
    return options.own === true ? this.#own(cid, options) : this.#look(cid, 'all', options);
  }

  async update(from: CID, to: CID, options: PinUpdateOptions): Promise<void> {
    const op = `pin/update ${from} ${to}`;
    using deadline = this.#rpc.deadline(op, options, 'long');
    const unpin = options.unpin !== false;
    const old = await this.#look(from, 'recursive', deadline.options);
    if (from.equals(to)) {
      if (old === undefined) throw notPinned(op, undefined);
      return;
    }
    // Kubo refuses when `to` is pinned already, or `from` not any more: both are this call, done before.
    const made = await this.#look(to, 'recursive', deadline.options);
    if (old === undefined) {
      if (made === undefined || !unpin) throw notPinned(op, undefined);
      return;
    }
    if (made === undefined) await this.#update(from, to, { ...deadline.options, unpin });
    else if (unpin) await this.rm(from, deadline.options);
  }

  async #update(from: CID, to: CID, { unpin, ...within }: PinUpdateOptions): Promise<void> {
    const ask = {
      command: 'pin/update',
      args: [from.toString(), to.toString()],
      query: { unpin },
      lane: 'long',
      repeat: 'always',
    } as const;
    try {
      const told = (await this.#rpc.json(ask, within)).texts('Pins');
      demandAmong(told, to, `pin/update ${from} ${to}`);
    } catch (error) {
      // Sent again after an answer that was lost it is refused: what counts is how it is now.
      const isRefused =
        error instanceof OpError && ['not-pinned', 'api-error'].includes(error.failure);
      if (!isRefused) throw error;
      const made = await this.#look(to, 'recursive', within);
      if (made === undefined) throw error;
    }
  }

  async #own(cid: CID, options: CallOptions): Promise<Pin | undefined> {
    const recursive = await this.#look(cid, 'recursive', options);
    return recursive ?? (await this.#look(cid, 'direct', options));
  }

  async #look(cid: CID, type: PinType | 'all', options: CallOptions): Promise<Pin | undefined> {
    const op = `pin/ls ${cid}`;
    const ask = {
      command: 'pin/ls',
      args: [cid.toString()],
      query: { type, names: true },
      // Whether it is pinned indirectly costs a walk of all that is pinned.
      lane: type === 'all' ? 'long' : 'short',
      repeat: 'always',
    } as const;
    try {
      const keys = (await this.#rpc.json(ask, options)).object('Keys').all;
      const [found] = Object.values(keys);
      return found === undefined ? undefined : pinOf(cid, new Fields(found, op), op);
    } catch (error) {
      if (isNotPinned(error)) return undefined;
      throw error;
    }
  }
}

/** @throws OpError response-invalid: the node speaks of other pins. */
function demandAmong(told: readonly string[], cid: CID, op: string): void {
  const isOf = (text: string) => Buffer.compare(cidOf(text, op).multihash.bytes, hash) === 0;
  const hash = cid.multihash.bytes;
  if (!told.some(isOf)) throw invalid(op, 'the node speaks of other pins');
}

/** `indirect through bafy…` is one text. */
const THROUGH = /^indirect through (\S+)$/;

function pinOf(cid: CID, fields: Fields, op: string): Pin {
  const text = fields.text('Type');
  const name = fields.optionalText('Name');
  const named = name === undefined ? {} : { name };
  const [, root] = THROUGH.exec(text) ?? [];
  if (root !== undefined) return { cid, type: 'indirect', through: cidOf(root, op), ...named };
  if (text !== 'recursive' && text !== 'direct' && text !== 'indirect') {
    throw invalid(op, `${text} is no type of a pin`);
  }
  return { cid, type: text, ...named };
}

const isNotPinned = (error: unknown): boolean =>
  error instanceof OpError && error.failure === 'not-pinned';

const notPinned = (op: string, type: PinType | undefined): OpError =>
  new OpError('not-pinned', op, {
    details: type === undefined ? {} : { partial: { pin_type: type } },
  });
