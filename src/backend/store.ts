/**
 * What a store of objects is to kitfs, whichever engine stands behind it: bytes under keys, the
 * facets it has, its limits as values, and what a probe found that it does.
 *
 * Invariants: a facet that is absent is an ability the store does not have; there is no flag. What a
 * store does with conditions is found out by trying it, never assumed. A put is whole or has not
 * happened: no reader sees a part of one. A version is opaque: equal means unchanged, and nothing
 * else can be read from it. Keys are checked before anybody is asked.
 *
 * Keys are well-formed text of parts with `/` between them; in every order here they are compared
 * byte by byte of their UTF-8. Sizes, offsets and lengths are bytes.
 *
 * Thrown by any call: OpError unavailable (nobody answers, or not now), timeout, cancelled (the signal's
 * reason, when it is an OpError), rate-limited (with details {retry_after_ms} where the store says),
 * credentials-invalid, credentials-expired, denied, configuration (what it was opened with leads
 * nowhere: no such bucket, no such directory), response-invalid (what came is no answer), api-error
 * (refused, with its words as the cause), not-ready (the store was closed). With a key:
 * invalid-path, name-too-long. A call lists only what it throws besides.
 */
import type { Brand } from '../base/brand.ts';
import type { Instant } from '../base/clock.ts';
import type { CallOptions } from './call.ts';

export type StoreKind = 'local' | 'memory' | 's3';

/** What a store holds under a key, as long as it is unchanged. */
export type ObjectVersion = Brand<string, 'ObjectVersion'>;

/** What may be replaced: whatever is there; nothing; only what has this version. */
export type Over = 'any' | 'absent' | ObjectVersion;

export interface Store extends AsyncDisposable {
  readonly kind: StoreKind;
  /** Where it is, for people: `s3://bucket/prefix`. Never a secret. */
  readonly place: string;
  readonly limits: StoreLimits;
  readonly objects: ObjectsFacet;
  readonly listing?: ListingFacet;
  /** Copies within the store, of bytes that do not travel. */
  readonly copying?: CopyingFacet;
  /** For stores where a put that was cut off can leave something behind. */
  readonly leftovers?: LeftoversFacet;
  /**
   * Tries what the store does, with objects of its own that are gone afterwards, also when the probe
   * fails or is told to end. What it cannot do is no error.
   * @throws OpError what keeps the store from being of any use: nobody answers, wrong credentials,
   *   no such bucket or directory.
   */
  probe(options: ProbeOptions): Promise<Capabilities>;
}

/** All are inclusive; undefined: none that is known. */
export interface StoreLimits {
  readonly keyBytesMax: number;
  /** Of what stands between two `/`. */
  readonly partBytesMax: number;
  readonly objectBytesMax: number;
  /** Names and values of metadata together; 0: it keeps none. */
  readonly metadataBytesMax: number;
  /** Keys that one request of a listing brings. */
  readonly keysPerRequestMax: number;
  /** How larger objects travel; undefined: in one piece, however large. */
  readonly multipart?: {
    /** Up to here an object travels in one piece. */
    readonly fromBytes: number;
    readonly partBytesMin: number;
    readonly partsMax: number;
  };
  /** First parts of keys that the store keeps for itself, as a pattern. */
  readonly reserved?: RegExp;
}

export interface ProbeOptions extends CallOptions {
  /** Where the objects of the probe lie: empty when absent, or a prefix that ends with `/`. */
  readonly prefix?: string | undefined;
}

/** Each found by doing it. */
export interface Capabilities {
  readonly list: boolean;
  readonly write: boolean;
  /** Gives a part of an object when asked for a part. */
  readonly range: boolean;
  /** Refuses bytes that do not hash to what was said they would. */
  readonly checksum: boolean;
  /** It looks itself, at the moment of the change, whether there is nothing. */
  readonly putAbsent: boolean;
  /** Likewise, whether there is that version. */
  readonly putOver: boolean;
  readonly removeVersion: boolean;
  readonly copy: boolean;
  readonly copyAbsent: boolean;
}

export interface ObjectHead {
  readonly key: string;
  readonly size: number;
  readonly version: ObjectVersion;
  readonly modified?: Instant;
  readonly contentType?: string;
  /** Hexadecimal; of its bytes as whoever stored them through kitfs noted it. Not checked yet. */
  readonly sha256?: string;
  /** Names are of lower case. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface ObjectsFacet {
  /** undefined: there is none. */
  head(key: string, options: CallOptions): Promise<ObjectHead | undefined>;
  /**
   * Whoever is given it disposes of it, read or not.
   * @throws OpError not-found, version-conflict (there is another version, now or while it is read),
   *   offset-past-end (behind the end; at the end there are no bytes), unsupported (no ranges).
   */
  get(key: string, options: GetOptions): Promise<ObjectReading>;
  /**
   * Stores all that `bytes` gives, or nothing. `bytes` is read once, and told when nobody wants the
   * rest.
   * @throws OpError exists, version-conflict, integrity (what came is not what was announced, or what
   *   is there afterwards is not what was sent), file-too-large, quota-exceeded, no-space,
   *   payload-too-large (metadata), not-directory and is-directory (a store that keeps keys as a
   *   tree), and what reading `bytes` throws.
   */
  put(key: string, bytes: AsyncIterable<Uint8Array>, options: PutOptions): Promise<Stored>;
  /** @throws OpError version-conflict. */
  remove(key: string, options: RemoveOptions): Promise<Removed>;
}

export interface GetOptions extends CallOptions {
  /** 0 when absent. */
  readonly offset?: number | undefined;
  /** To the end when absent; what goes beyond it is cut. */
  readonly length?: number | undefined;
  /** Only this version will do. */
  readonly version?: ObjectVersion | undefined;
}

export interface ObjectReading extends AsyncDisposable {
  /** Of the whole object. */
  readonly head: ObjectHead;
  readonly offset: number;
  /** Bytes that come. */
  readonly length: number;
  /**
   * Once. What ends without an error came whole.
   * @throws OpError response-invalid (it broke off, or is longer than was said), and as any call.
   */
  readonly bytes: AsyncIterable<Uint8Array>;
}

export interface PutOptions extends CallOptions {
  /** `any` when absent. */
  readonly over?: Over | undefined;
  /** Where it is known. */
  readonly size?: number | undefined;
  /** Hexadecimal, where it is known. Without it the digest of a large object is not noted beside it. */
  readonly sha256?: string | undefined;
  readonly contentType?: string | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

export interface Stored {
  readonly key: string;
  readonly size: number;
  readonly version: ObjectVersion;
  /** Hexadecimal; of what was sent. */
  readonly sha256: string;
  /** False: the condition was looked at before, not at the moment of the change. */
  readonly isAtomic: boolean;
}

export interface RemoveOptions extends CallOptions {
  readonly version?: ObjectVersion | undefined;
}

export interface Removed {
  /** `marked`: a store that keeps versions shows it no more, and has it still. */
  readonly outcome: 'removed' | 'marked' | 'absent';
  readonly isAtomic: boolean;
}

export interface ListingFacet {
  /**
   * In the order of keys. What is there from beginning to end comes exactly once, whatever else
   * changes meanwhile. A listing that was broken off goes on behind the last name it gave.
   * @throws OpError response-invalid (out of order).
   */
  list(options: ListOptions): AsyncIterable<Listed>;
}

export interface ListOptions extends CallOptions {
  /** Only keys that begin with it, byte by byte; all when absent. */
  readonly prefix?: string | undefined;
  /** Only what comes behind this name; of a listing before, `nameOf` its last item. */
  readonly after?: string | undefined;
  /** Whether keys with a `/` behind the prefix are given as one name up to there; false when absent. */
  readonly oneLevel?: boolean | undefined;
}

export type Listed =
  | ({ readonly kind: 'object' } & ListedObject)
  /** Ends with `/`: keys begin with it. */
  | { readonly kind: 'prefix'; readonly key: string }
  /** What others put there under a key that no call here takes. */
  | { readonly kind: 'foreign'; readonly key: string };

export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly version: ObjectVersion;
  readonly modified?: Instant;
}

export interface CopyingFacet {
  /**
   * @throws OpError not-found, version-conflict (of the source, or of what is replaced), exists,
   *   file-too-large (for one request), not-directory, is-directory.
   */
  copy(from: string, to: string, options: CopyOptions): Promise<Copied>;
}

export interface CopyOptions extends CallOptions {
  /** Of the source. */
  readonly version?: ObjectVersion | undefined;
  /** `any` when absent. */
  readonly over?: 'any' | 'absent' | undefined;
}

export interface Copied {
  readonly version: ObjectVersion;
  readonly isAtomic: boolean;
}

export interface LeftoversFacet {
  /**
   * Removes what puts left that were cut off, and began so long ago that none of those that are under
   * way can be one of them, whoever began it.
   * @returns how many.
   */
  sweep(options: SweepOptions): Promise<number>;
}

export interface SweepOptions extends CallOptions {
  readonly olderThanMs: number;
  /** Only those of keys that begin with it; all when absent. */
  readonly prefix?: string | undefined;
}
