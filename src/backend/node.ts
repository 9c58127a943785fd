/**
 * What an IPFS node is to kitfs, whichever engine stands behind it: the facets it has, and plain
 * values of ours for what it answers.
 *
 * Invariants: a facet that is absent is an ability the engine does not have; there is no flag.
 * Every call takes a signal and ends with it, its socket too. Nothing a node says is believed where
 * it can be checked: bytes of a block are hashed before they are given.
 *
 * Units: sizes and counts are numbers, in bytes where the name says no other; times are `Instant`;
 * names that end in S or Ms are seconds or milliseconds. Paths of MFS are absolute and normal: they
 * begin with `/`, and have no empty, `.` or `..` segment. Names in them are well-formed text.
 *
 * Thrown by any call: OpError not-running (nobody answers), credentials-invalid,
 * version-unsupported (the node is too old), timeout, cancelled (the signal's reason, when it is
 * an OpError), rate-limited (too many calls wait), response-invalid (what came is no answer),
 * api-error (the node refused, with its words as the cause), configuration (its secret or address
 * cannot be read), not-ready (the engine was closed).
 * A call lists only what it throws besides.
 */
import type { CID } from 'multiformats/cid';
import type { Instant } from '../base/clock.ts';
import type { CallOptions, ReachOptions } from './call.ts';
import type { MfsFacet } from './mfs.ts';
import type { NameFacet, PubsubFacet, RoutingFacet, StatsFacet } from './network.ts';

export type NodeKind = 'embedded' | 'kubo';

export interface IpfsNode extends AsyncDisposable {
  readonly kind: NodeKind;
  /** Where it is, for people: `http://127.0.0.1:5001`, `embedded`. Never a secret. */
  readonly endpoint: string;
  readonly content: ContentFacet;
  readonly pins: PinFacet;
  readonly mfs: MfsFacet;
  readonly names: NameFacet;
  readonly stats: StatsFacet;
  /** Asks other nodes; an engine without a network has none. */
  readonly routing?: RoutingFacet;
  readonly pubsub?: PubsubFacet;
}

/** A node outside of kitfs. */
export interface KuboNode extends IpfsNode {
  readonly kind: 'kubo';
}

export interface ContentFacet {
  /**
   * One block; its bytes hash to the CID.
   * @throws OpError content-missing, integrity, unsupported (a hash kitfs does not know).
   */
  blockGet(cid: CID, options: ReachOptions): Promise<Uint8Array>;
  /** @throws OpError content-missing. */
  blockStat(cid: CID, options: ReachOptions): Promise<BlockStat>;
  /** For each CID whether the node itself holds that block, in the order asked. */
  hasBlocks(cids: readonly CID[], options: CallOptions): Promise<readonly boolean[]>;
  /**
   * Stores one block of any codec, at most BLOCK_BYTES_MAX, and sees that the node knows it by
   * `cid`. A pin is recursive; the caller has seen to it that what the block links to is there.
   * @throws OpError payload-too-large, integrity (`bytes` are not those of `cid`), content-missing.
   */
  blockPut(cid: CID, bytes: Uint8Array, options: BlockPutOptions): Promise<void>;
  /**
   * Files, directories and links as UnixFS, by a profile's parameters, each given explicitly. The
   * last of a directory's entries may come in any order; a parent need not be named.
   * @throws OpError invalid-argument (no entry), no-space, and what reading a source throws.
   */
  add(entries: AsyncIterable<AddEntry>, options: AddOptions): Promise<Added>;
  /**
   * Stores the blocks of a CAR (version 1). The node hashes every block. With `pinRoots` the roots are
   * pinned recursively, which needs every block of theirs; without it nothing keeps the blocks from
   * being collected until somebody pins them.
   * @throws OpError integrity, content-missing (a root cannot be pinned), response-invalid (the
   *   node counted other than was sent), and what reading `car` throws.
   */
  importCar(car: AsyncIterable<Uint8Array>, options: ImportOptions): Promise<Imported>;
  /**
   * The whole DAG below `root` as a CAR (version 1). The blocks are NOT hashed: who reads it parses
   * and hashes, and sees that none is missing: a connection that is cut is told, a Kubo's last words
   * that a proxy loses are not.
   * @throws OpError content-missing, also in the middle.
   */
  exportCar(root: CID, options: ReachOptions): AsyncIterable<Uint8Array>;
  /** Every block the node holds, in any order, each as CIDv1 raw of its multihash on Kubo. */
  refsLocal(options: CallOptions): AsyncIterable<LocalRef>;
}

export interface BlockStat {
  readonly cid: CID;
  readonly size: number;
}

export interface LocalRef {
  readonly cid: CID;
  /** Where it costs nothing to know. */
  readonly size?: number;
}

export interface BlockPutOptions extends CallOptions {
  /** Whether to pin it, and under which name. */
  readonly pin?: { readonly name?: string | undefined } | undefined;
}

export type CidProfile = 'unixfs-v1-2025' | 'unixfs-v0-2015';

export type AddEntry = {
  /** Relative, `/` between its segments; `''` is a single file without a name. */
  readonly path: string;
  /** Permission bits. */
  readonly mode?: number | undefined;
  readonly mtime?: Instant | undefined;
} & (
  | { readonly type: 'file'; readonly content: AsyncIterable<Uint8Array> }
  | { readonly type: 'directory' }
  | { readonly type: 'symlink'; readonly target: string }
);

export interface AddOptions extends CallOptions {
  readonly profile: CidProfile;
  /** Whether to pin the root recursively, and under which name. */
  readonly pin?: { readonly name?: string | undefined } | undefined;
  /**
   * Keep modes and times of the entries in their nodes; other CIDs, and no raw leaves. Without it
   * they are not looked at.
   */
  readonly metadata?: boolean | undefined;
  /** Only compute the CID; store nothing. */
  readonly onlyHash?: boolean | undefined;
  /** Put a directory around the one entry, as `ipfs add -w`. */
  readonly wrap?: boolean | undefined;
  /** Told each entry as its CID is known, directories made on the way too, the root last. */
  readonly onAdded?: ((added: AddedEntry) => void) | undefined;
  /** Told how many bytes of content the node has taken so far, in all. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export interface AddedEntry {
  readonly path: string;
  readonly cid: CID;
  /** Bytes of the whole DAG. */
  readonly cumulativeSize: number;
}

export type Added = AddedEntry;

export interface ImportOptions extends CallOptions {
  readonly pinRoots: boolean;
  /** What was sent, asked once the stream has ended; the node must have counted the same. */
  readonly sent?: (() => { readonly blocks: number; readonly bytes: number }) | undefined;
}

export interface Imported {
  /** Those that were pinned. */
  readonly roots: readonly CID[];
  /** Blocks of the CAR, those that were there already too, and their bytes. */
  readonly blocks: number;
  readonly bytes: number;
}

export interface PinFacet {
  /**
   * Pins a DAG, or with `recursive` false one block. A name replaces the one it had; without a
   * name it keeps the one it had. Direct over recursive stays recursive.
   * @throws OpError content-missing.
   */
  add(cid: CID, options: PinAddOptions): Promise<PinAdded>;
  /**
   * @returns what the pin was.
   * @throws OpError not-pinned: not at all, as the other type, or indirectly, with details
   *   {partial: {pin_type}}.
   */
  rm(cid: CID, options: PinOptions): Promise<Pin>;
  /** Pins in any order. Indirect ones cost a walk of everything. */
  ls(options: PinListOptions): AsyncIterable<Pin>;
  /** How one CID is pinned; undefined: it is not. */
  get(cid: CID, options: PinGetOptions): Promise<Pin | undefined>;
  /**
   * Pins `to` recursively before it lets go of `from` (unless `unpin` is false); the name goes
   * along. Done twice it is as once.
   * @throws OpError not-pinned (`from` is not pinned recursively), content-missing.
   */
  update(from: CID, to: CID, options: PinUpdateOptions): Promise<void>;
}

export type PinType = 'recursive' | 'direct' | 'indirect';

export interface Pin {
  readonly cid: CID;
  readonly type: PinType;
  readonly name?: string;
  /** Of an indirect pin, where it is known: a root that keeps it. */
  readonly through?: CID;
  /** Where the engine notes it. */
  readonly pinnedAt?: Instant;
}

export interface PinOptions extends CallOptions {
  /** True when absent. */
  readonly recursive?: boolean | undefined;
}

export interface PinAddOptions extends PinOptions {
  readonly name?: string | undefined;
  /** Told how many blocks were walked so far. */
  readonly onProgress?: ((blocks: number) => void) | undefined;
}

export interface PinAdded {
  /** What it is pinned as now. */
  readonly type: 'recursive' | 'direct';
  readonly name?: string;
  /** It was pinned so before, under this name. */
  readonly alreadyPinned: boolean;
  /** Blocks walked, where the engine counts them. */
  readonly blocks?: number;
}

export interface PinGetOptions extends CallOptions {
  /** Only a pin of its own counts, and none that keeps it with others: that costs no walk. */
  readonly own?: boolean | undefined;
}

export interface PinListOptions extends CallOptions {
  /** `recursive` when absent. */
  readonly type?: PinType | 'all' | undefined;
  /** Only those whose name contains this, by case. */
  readonly name?: string | undefined;
}

export interface PinUpdateOptions extends CallOptions {
  /** True when absent. */
  readonly unpin?: boolean | undefined;
}
