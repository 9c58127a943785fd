/**
 * The engine Storacha: a space of any service that speaks its protocol. The public service ended in
 * 2026; the code of it still runs wherever somebody runs it.
 *
 * Invariants: an upload is registered after the last of its CARs was accepted; what is asked twice is as
 * once, so that a call may be repeated after any interruption.
 */
import { CID } from 'multiformats/cid';
import { assert } from '../../base/assert.ts';
import { before } from '../../base/before.ts';
import { type Instant, parseRfc3339 } from '../../base/clock.ts';
import { OpError } from '../../base/errors.ts';
import {
  BLOCK_BYTES_MAX,
  CAR_CID_BYTES_MAX,
  CAR_HEADER_BYTES_MAX,
  CAR_PIECE_BYTES,
  SHARD_BYTES,
  SHARD_INDEX_BYTES_MAX,
  STORE_CALL_MS,
  STORE_TRANSFER_MS,
  UPLOADS_PER_PAGE,
} from '../../base/limits.ts';
import { turn } from '../../base/turn.ts';
import type { Timing } from '../backoff.ts';
import type { CallOptions } from '../call.ts';
import type {
  CarCapabilities,
  CarLimits,
  CarStore,
  ListUploadsOptions,
  RemovedUpload,
  Upload,
  Uploaded,
  UploadsFacet,
  UploadsPage,
} from '../cars.ts';
import { Deadline } from '../deadline.ts';
import { addressOfWebUrl } from '../http/address.ts';
import { invalid } from '../http/wire.ts';
import type { Block } from '../retrieval/car.ts';
import { openSource, type TrustlessSource } from '../retrieval/retrieval.ts';
import type { Identity } from './agent.ts';
import { addBlob } from './blobs.ts';
import { okOf } from './messages.ts';
import { Requests } from './requests.ts';
import { demandAlive, PUBLIC_SERVICE_URL } from './retired.ts';
import { ShardIndex, shardsOf } from './shards.ts';

export interface StorachaOptions extends Identity, Timing {
  /** The public one when absent, which ended. */
  readonly serviceUrl?: string | undefined;
  /** `did:web:…` of the service. */
  readonly serviceDid?: string | undefined;
  /** Where it keeps its receipts; `/receipt/` of its URL when absent. */
  readonly receiptsUrl?: string | undefined;
  /** A trustless gateway that has what the service has; nothing is read without one. */
  readonly gatewayUrl?: string | undefined;
  /** Connections in use at once, from 2: half of them carry bytes. */
  readonly requestsMax: number;
  /** Of one CAR: so much is held in memory. 32 MiB when absent. */
  readonly carBytesMax?: number | undefined;
}

/** So that any block fits in a CAR of its own. */
const CAR_BYTES_MIN = BLOCK_BYTES_MAX + CAR_CID_BYTES_MAX + CAR_HEADER_BYTES_MAX;
/** What the index says of one block. */
const INDEXED_BYTES = 48;

const DID = /^did:[a-z0-9]+:[A-Za-z0-9._:%-]+$/;
type Did = `did:${string}:${string}`;

/**
 * The space. Nothing is asked of it yet: whether it is there shows with the first call.
 * @throws OpError configuration: an address is none, or of a service that ended.
 */
export function openStoracha(options: StorachaOptions): CarStore {
  const { serviceUrl = PUBLIC_SERVICE_URL, gatewayUrl, space } = options;
  const op = 'open the space';
  const url = urlOf(serviceUrl, 'service_url', op);
  const receipts = urlOf(options.receiptsUrl ?? new URL('/receipt/', url).href, 'receipts_url', op);
  if (gatewayUrl !== undefined) urlOf(gatewayUrl, 'gateway_url', op);
  const did = didOf(options.serviceDid, 'service_did', op);
  didOf(space, 'space_did', op);
  const { carBytesMax = SHARD_BYTES } = options;
  assert(carBytesMax >= CAR_BYTES_MIN, 'a CAR has room for the largest block');
  const { requestsMax, clock, random } = options;
  const source =
    gatewayUrl === undefined
      ? undefined
      : openSource({ kind: 'gateway', url: gatewayUrl, requestsMax, clock, random });
  const requests = new Requests({ ...options, url, did, receipts, identity: options });
  return new Space(requests, source, {
    timing: options,
    carBytesMax,
    place: `storacha://${space} at ${url.origin}`,
  });
}

/** @throws OpError configuration. */
function urlOf(text: string, setting: string, op: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || addressOfWebUrl(url) === undefined || url.hash !== '') {
    throw new OpError('configuration', op, {
      hint: `${setting}: http://HOST:PORT or https://HOST`,
    });
  }
  demandAlive(url, op);
  return url;
}

function didOf(text: string | undefined, setting: string, op: string): Did {
  if (text !== undefined && DID.test(text)) return text as Did;
  throw new OpError('configuration', op, { hint: `${setting}: did:METHOD:NAME` });
}

interface SpaceOptions {
  readonly timing: Timing;
  readonly carBytesMax: number;
  readonly place: string;
}

class Space implements CarStore, UploadsFacet {
  readonly kind = 'storacha';
  readonly place: string;
  readonly limits: CarLimits;
  readonly uploads = this;
  readonly source?: TrustlessSource & AsyncDisposable;
  readonly #requests: Requests;
  readonly #timing: Timing;
  readonly #closed = new AbortController();

  constructor(
    requests: Requests,
    source: (TrustlessSource & AsyncDisposable) | undefined,
    { timing, carBytesMax, place }: SpaceOptions,
  ) {
    this.#requests = requests;
    this.#timing = timing;
    this.place = place;
    if (source !== undefined) this.source = source;
    this.limits = {
      carBytesMax,
      blockBytesMax: BLOCK_BYTES_MAX,
      blocksMax: Math.floor(SHARD_INDEX_BYTES_MAX / INDEXED_BYTES),
    };
  }

  async head(root: CID, options: CallOptions): Promise<Upload | undefined> {
    using deadline = this.#asking(`head ${root}`, options);
    const found = await this.#unlessAbsent('upload/get', root, deadline);
    return found === undefined ? undefined : uploadOf(found, deadline.op, root);
  }

  async put(root: CID, blocks: AsyncIterable<Block>, options: CallOptions): Promise<Uploaded> {
    const op = `put ${root}`;
    using deadline = this.#moving(op, options);
    const requests = this.#requests;
    const index = new ShardIndex(op);
    const cars: CID[] = [];
    const sum = { blocks: 0, bytes: 0, hasRoot: false };
    const counted = counting(root, blocks, sum, deadline);
    for await (const shard of shardsOf(root, counted, { bytesMax: this.limits.carBytesMax, op })) {
      index.add(shard);
      await addBlob(requests, shard, deadline);
      cars.push(shard.cid);
      sum.bytes += shard.size;
    }
    if (!sum.hasRoot) {
      throw new OpError('invalid-argument', op, { hint: 'the root is not among the blocks' });
    }
    const said = index.blobFor(root);
    await addBlob(requests, said, deadline);
    await requests.ask('space/index/add', { index: said.cid }, deadline);
    const added = await requests.ask('upload/add', { root, shards: cars }, deadline);
    const upload = uploadOf(okOf(added, op), op, root);
    // Others may have put the same in other CARs: theirs are named besides.
    const named = new Set(upload.cars.map(String));
    if (!cars.every((car) => named.has(String(car)))) throw invalid(op, 'a CAR is missing');
    return { ...upload, cars, index: said.cid, blocks: sum.blocks, bytes: sum.bytes };
  }

  async remove(root: CID, options: CallOptions): Promise<RemovedUpload> {
    using deadline = this.#asking(`remove ${root}`, options);
    const removed = await this.#unlessAbsent('upload/remove', root, deadline);
    if (removed === undefined) return { outcome: 'absent', cars: [] };
    return { outcome: 'removed', cars: uploadOf(removed, deadline.op, root).cars };
  }

  async *list(options: ListUploadsOptions): AsyncGenerator<UploadsPage, void, undefined> {
    const { perPage: size = UPLOADS_PER_PAGE } = options;
    using deadline = this.#moving('list uploads', options);
    const { op } = deadline;
    for (let after = options.after; ; ) {
      const nb = { size, ...(after === undefined ? {} : { cursor: after }) };
      const page = okOf(await this.#requests.ask('upload/list', nb, deadline), op);
      deadline.moved();
      const uploads = listIn(page['results'], op).map((one) => uploadOf(one, op));
      const next = cursorIn(page, op);
      // Who has no more may still say where one could go on.
      const isLast = next === undefined || uploads.length === 0;
      if (!isLast && next === after) throw invalid(op, 'it goes on where it was');
      yield isLast ? { uploads } : { uploads, next };
      if (isLast) return;
      after = next;
    }
  }

  async probe(options: CallOptions): Promise<CarCapabilities> {
    const requests = this.#requests;
    using deadline = this.#asking(`probe ${this.place}`, options);
    await requests.ask('upload/list', { size: 1 }, deadline);
    const needed = ['space/blob/add', 'space/index/add', 'upload/add'] as const;
    const given = await Promise.all(needed.map((ability) => requests.may(ability, deadline)));
    return {
      list: true,
      put: given.every((is) => is),
      remove: await requests.may('upload/remove', deadline),
      read: this.source !== undefined,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new OpError('not-ready', `close ${this.place}`));
    this.#requests.close();
    await this.source?.[Symbol.asyncDispose]();
  }

  /** undefined: there is no such upload. */
  async #unlessAbsent(ability: 'upload/get' | 'upload/remove', root: CID, deadline: Deadline) {
    try {
      return okOf(await this.#requests.ask(ability, { root }, deadline), deadline.op);
    } catch (error) {
      const isAbsent = error instanceof OpError && error.details['code'] === 'UploadNotFound';
      if (isAbsent) return undefined;
      throw error;
    }
  }

  #asking(op: string, options: CallOptions): Deadline {
    const deadlineMs = options.deadlineMs ?? STORE_CALL_MS;
    return this.#deadline(op, { ...options, deadlineMs });
  }

  /** How much there is nobody knows here: without an end of the caller's, standing still is one. */
  #moving(op: string, options: CallOptions): Deadline {
    if (options.deadlineMs !== undefined) return this.#asking(op, options);
    return this.#deadline(op, { ...options, deadlineMs: STORE_TRANSFER_MS, isIdle: true });
  }

  #deadline(op: string, ends: ConstructorParameters<typeof Deadline>[1]): Deadline {
    const { clock } = this.#timing;
    return new Deadline(op, ends, { clock, closed: this.#closed.signal });
  }
}

/** As they come, also when their source never gives another one. @throws the deadline's reason. */
async function* counting(
  root: CID,
  blocks: AsyncIterable<Block>,
  sum: { blocks: number; hasRoot: boolean },
  deadline: Deadline,
): AsyncGenerator<Block, void, undefined> {
  const source = blocks[Symbol.asyncIterator]();
  let isAsked = false;
  let turnBytes = 0;
  try {
    for (;;) {
      isAsked = true;
      const { done, value } = await before(source.next(), deadline.signal);
      isAsked = false;
      if (done === true) return;
      deadline.moved();
      sum.blocks += 1;
      sum.hasRoot ||= value.cid.equals(root);
      yield value;
      turnBytes += value.bytes.length;
      if (turnBytes < CAR_PIECE_BYTES) continue;
      turnBytes = 0;
      await turn();
    }
  } finally {
    const told = Promise.resolve(source.return?.()).catch(() => {});
    // A generator that still owes an answer hears of it only when it has given that.
    if (!isAsked) await told;
  }
}

/** A link of the library, which has a CID of its own kind. */
function cidOf(value: unknown, op: string): CID {
  const cid = CID.asCID(value);
  if (cid === null) throw invalid(op, 'a CID was expected');
  return CID.decode(cid.bytes);
}

function listIn(value: unknown, op: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(op, 'a list was expected');
  return value;
}

/** @throws OpError response-invalid: it is none, or about another root. */
function uploadOf(value: unknown, op: string, wanted?: CID): Upload {
  if (typeof value !== 'object' || value === null) throw invalid(op, 'an upload was expected');
  const { root, shards, insertedAt } = value as Readonly<Record<string, unknown>>;
  const cid = cidOf(root, op);
  if (wanted !== undefined && !cid.equals(wanted)) throw invalid(op, 'it is about another root');
  const cars = listIn(shards ?? [], op).map((shard) => cidOf(shard, op));
  const added = timeOf(insertedAt);
  return { root: cid, cars, ...(added === undefined ? {} : { added }) };
}

const timeOf = (value: unknown): Instant | undefined =>
  typeof value === 'string' ? parseRfc3339(value) : undefined;

function cursorIn({ after, cursor }: Readonly<Record<string, unknown>>, op: string) {
  const next = after ?? cursor;
  if (next !== undefined && typeof next !== 'string') throw invalid(op, 'text was expected');
  return next;
}
