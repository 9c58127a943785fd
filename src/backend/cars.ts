/**
 * What a store of CARs is to kitfs: it keeps DAGs, each under its root, and takes them as CARs.
 *
 * It is no store of objects (`store.ts`), and cannot be made one: a name there is whatever the caller
 * says and can mean other bytes later; here a DAG is named by its root, and there is nothing to
 * overwrite, no version and no condition.
 *
 * Invariants: a facet that is absent is an ability the store does not have. Every block is hashed
 * before it leaves, and after it came. An upload is there when all its CARs are, and not before; putting
 * it twice is as once.
 *
 * What it cannot do: `remove` takes away the upload, not the bytes of its CARs, which other uploads may
 * share: whoever knows their CIDs may go on reading them, and they count until they are removed with
 * the service's own tools. A put that was cut off may leave such bytes. What is there is public.
 *
 * Thrown by any call: OpError unavailable (nobody answers, or not now), timeout, cancelled (the
 * signal's reason, when it is an OpError), rate-limited, credentials-invalid (the key, or what it was
 * given, does not do), credentials-expired, configuration (what it was opened with leads nowhere),
 * response-invalid (what came is no answer), version-unsupported, api-error (refused, with its words as
 * the cause), not-ready (the store was closed). A call lists only what it throws besides.
 */
import type { CID } from 'multiformats/cid';
import type { Instant } from '../base/clock.ts';
import type { CallOptions } from './call.ts';
import type { Block } from './retrieval/car.ts';
import type { TrustlessSource } from './retrieval/retrieval.ts';

export interface CarStore extends AsyncDisposable {
  readonly kind: 'storacha';
  /** Where it is, for people. Never a secret. */
  readonly place: string;
  readonly limits: CarLimits;
  readonly uploads: UploadsFacet;
  /** Where its blocks are read; undefined: it was given none, and its bytes come from elsewhere. */
  readonly source?: TrustlessSource;
  /** Asks it, and changes nothing. */
  probe(options: CallOptions): Promise<CarCapabilities>;
}

export interface CarLimits {
  /** Of one CAR; a larger DAG travels in several. So much of it is held in memory. */
  readonly carBytesMax: number;
  readonly blockBytesMax: number;
  /** Blocks of one DAG, about: what says where each lies is one piece. */
  readonly blocksMax: number;
}

/** What it was found to allow; a change cannot be tried without leaving something that is public. */
export interface CarCapabilities {
  /** Asked for, and answered. */
  readonly list: boolean;
  /** What the key was given says so. */
  readonly put: boolean;
  readonly remove: boolean;
  /** There is a `source`. */
  readonly read: boolean;
}

export interface Upload {
  readonly root: CID;
  /** The CARs that its blocks are in. */
  readonly cars: readonly CID[];
  readonly added?: Instant;
}

export interface UploadsFacet {
  /** undefined: there is none. */
  head(root: CID, options: CallOptions): Promise<Upload | undefined>;
  /**
   * Stores blocks as CARs, and these as the DAG of this root. Each block comes once; that they are all of
   * the DAG is for the caller to see to. Read once, and told when nobody wants the rest. Without a
   * deadline it lasts as long as anything moves.
   * @throws OpError integrity (a block is not its CID), unsupported (a hash that kitfs does not know),
   *   invalid-argument (the root is not among them), file-too-large (a block, or all of them),
   *   quota-exceeded, and what reading `blocks` throws.
   */
  put(root: CID, blocks: AsyncIterable<Block>, options: CallOptions): Promise<Uploaded>;
  remove(root: CID, options: CallOptions): Promise<RemovedUpload>;
  /**
   * Page by page, as the store orders them. What is added or removed meanwhile may make others come
   * twice, or not at all.
   */
  list(options: ListUploadsOptions): AsyncIterable<UploadsPage>;
}

export interface Uploaded extends Upload {
  /** Says where in the CARs which block lies. */
  readonly index: CID;
  readonly blocks: number;
  /** Of the CARs. */
  readonly bytes: number;
}

export interface RemovedUpload {
  readonly outcome: 'removed' | 'absent';
  /** Those that are left, and are read by whoever knows them. */
  readonly cars: readonly CID[];
}

export interface ListUploadsOptions extends CallOptions {
  /** `next` of a page before; from the beginning when absent. */
  readonly after?: string | undefined;
  readonly perPage?: number | undefined;
}

export interface UploadsPage {
  readonly uploads: readonly Upload[];
  /** Where to go on; undefined: that was all. It belongs to the store, and means nothing to others. */
  readonly next?: string;
}
