/**
 * The engine S3: a bucket of any server that speaks it. Objects are plain ones that other tools read;
 * what kitfs notes beside them is in their metadata, under names that begin with `kitfs-`.
 *
 * Invariants: what a server does with conditions is probed before it is trusted with one; an answer
 * without a body (HEAD) is believed only when it says that there is an object: of anything else the
 * reason is asked for, because wrong secrets may look like an empty bucket.
 */
import { OpError } from '../../base/errors.ts';
import { NAME_BYTES_MAX, STORE_KEY_BYTES_MAX, STORE_MULTIPART_BYTES } from '../../base/limits.ts';
import { repeated, type Timing } from '../backoff.ts';
import type { CallOptions } from '../call.ts';
import { Calls } from '../calls.ts';
import type { Deadline } from '../deadline.ts';
import { Incoming } from '../incoming.ts';
import { demandKey } from '../keys.ts';
import { demandNotes } from '../metadata.ts';
import { sliceOf } from '../slice.ts';
import type {
  Capabilities,
  Copied,
  CopyingFacet,
  CopyOptions,
  GetOptions,
  LeftoversFacet,
  Listed,
  ListingFacet,
  ListOptions,
  ObjectHead,
  ObjectReading,
  ObjectsFacet,
  Over,
  ProbeOptions,
  PutOptions,
  Removed,
  RemoveOptions,
  Store,
  Stored,
  StoreLimits,
  SweepOptions,
} from '../store.ts';
import { type Bucket, listBucket } from './listing.ts';
import { probeBucket } from './probe.ts';
import { emptyReading, rangeOf, readingOf } from './reading.ts';
import { Requests, type S3Address, type S3Credentials } from './requests.ts';
import { PART_BYTES_MIN, PARTS_MAX, type Sent, sendTo } from './sending.ts';
import { sweepBucket } from './sweep.ts';
import { copySourceOf, type SeenObject, seenOf, tagOf, versionOf } from './values.ts';

export interface S3Options extends S3Address, Timing {
  /** Asked anew whenever they are refused. undefined: requests are not signed. */
  readonly credentials?: (() => S3Credentials) | undefined;
}

/** S3's own: of one CopyObject, and of one object. */
const COPY_BYTES_MAX = 5 * 1024 ** 3;
const OBJECT_BYTES_MAX = 5 * 1024 ** 4;

const LIMITS: StoreLimits = {
  keyBytesMax: STORE_KEY_BYTES_MAX,
  partBytesMax: NAME_BYTES_MAX,
  objectBytesMax: OBJECT_BYTES_MAX,
  // S3 takes 2,048; ours take some of it.
  metadataBytesMax: 1800,
  keysPerRequestMax: 1000,
  multipart: {
    fromBytes: STORE_MULTIPART_BYTES,
    partBytesMin: PART_BYTES_MIN,
    partsMax: PARTS_MAX,
  },
};

/** Of AWS, and of others who take more. What has a `/` in it would lead into another bucket. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/;
/** A host and nothing more: no user, no path, no query. */
const ENDPOINT = /^https?:\/\/[^/@?#\s]+\/?$/i;

/**
 * The bucket. Nothing is asked of it yet: whether it is there shows with the first call.
 * @throws OpError configuration.
 */
export function openS3(options: S3Options): Store {
  const { bucket, endpoint } = options;
  const wrong = (hint: string) => new OpError('configuration', 'open the bucket', { hint });
  if (!BUCKET.test(bucket) || bucket.includes('..')) throw wrong('bucket: a name of S3');
  const isUrl = endpoint === undefined || (ENDPOINT.test(endpoint) && URL.canParse(endpoint));
  if (!isUrl) throw wrong('endpoint: http://HOST:PORT or https://HOST');
  return new S3Store(options);
}

class S3Store implements Store, ObjectsFacet, ListingFacet, CopyingFacet, LeftoversFacet {
  readonly kind = 's3';
  readonly place: string;
  readonly limits = LIMITS;
  readonly objects = this;
  readonly listing = this;
  readonly copying = this;
  readonly leftovers = this;
  readonly #timing: Timing;
  readonly #calls: Calls;
  readonly #bucket: Bucket;
  #known: Capabilities | undefined;

  constructor(options: S3Options) {
    const { bucket, endpoint, credentials, clock, random } = options;
    this.place = `s3://${bucket}${endpoint === undefined ? '' : ` at ${endpoint}`}`;
    this.#timing = { clock, random };
    this.#calls = new Calls(clock, LIMITS);
    const requests = new Requests({ ...options, credentials });
    this.#bucket = { name: bucket, requests, limits: LIMITS };
  }

  async head(key: string, options: CallOptions): Promise<ObjectHead | undefined> {
    using deadline = this.#calls.ask(`head ${key}`, options, key);
    return (await this.#see(key, deadline))?.head;
  }

  async get(key: string, options: GetOptions): Promise<ObjectReading> {
    const op = `get ${key}`;
    sliceOf(Number.MAX_SAFE_INTEGER, options, op);
    const deadline = this.#calls.move(op, options, key);
    try {
      if (options.length === 0) return await this.#nothing(key, options, deadline);
      const { name, requests } = this.#bucket;
      const { version } = options;
      const range = rangeOf(options);
      const { answer, leave } = await requests.hold(deadline, ({ client, sdk, how }) =>
        client.send(
          new sdk.GetObjectCommand({
            Bucket: name,
            Key: key,
            ...(range === undefined ? {} : { Range: range }),
            ...(version === undefined ? {} : { IfMatch: tagOf(version) }),
          }),
          how,
        ),
      );
      return readingOf(key, answer, options, { deadline, leave });
    } catch (error) {
      try {
        // At the very end, and in an empty object, S3 knows no part.
        if (!isPastEnd(error)) throw error;
        return await this.#nothing(key, options, deadline);
      } finally {
        deadline[Symbol.dispose]();
      }
    }
  }

  put(key: string, bytes: AsyncIterable<Uint8Array>, options: PutOptions): Promise<Stored> {
    return this.#calls.during(this.#put(key, bytes, options));
  }

  async remove(key: string, options: RemoveOptions): Promise<Removed> {
    const op = `remove ${key}`;
    const { version } = options;
    using deadline = this.#calls.ask(op, options, key);
    const isAtomic =
      version === undefined || (await this.#capabilities(key, deadline)).removeVersion;
    const seen = await this.#see(key, deadline);
    if (seen === undefined) return { outcome: 'absent', isAtomic };
    if (version !== undefined && seen.head.version !== version) {
      throw new OpError('version-conflict', op);
    }
    const { name, requests } = this.#bucket;
    const { DeleteMarker } = await requests.ask(deadline, ({ client, sdk, how }) =>
      client.send(
        new sdk.DeleteObjectCommand({
          Bucket: name,
          Key: key,
          ...(version === undefined || !isAtomic ? {} : { IfMatch: tagOf(version) }),
        }),
        how,
      ),
    );
    return { outcome: DeleteMarker === true ? 'marked' : 'removed', isAtomic };
  }

  async *list(options: ListOptions): AsyncGenerator<Listed, void, undefined> {
    using deadline = this.#calls.move(`list ${options.prefix ?? ''}`, options);
    yield* listBucket(this.#bucket, options, deadline);
  }

  async copy(from: string, to: string, options: CopyOptions): Promise<Copied> {
    const op = `copy ${from} to ${to}`;
    const { version, over = 'any' } = options;
    using deadline = this.#calls.move(op, options, from);
    demandKey(to, LIMITS, op);
    const source = (await this.#see(from, deadline))?.head;
    if (source === undefined) throw absent(op);
    if (version !== undefined && version !== source.version) {
      throw new OpError('version-conflict', op);
    }
    if (source.size > COPY_BYTES_MAX) {
      throw new OpError('file-too-large', op, { hint: 'read it and put it' });
    }
    // A copy onto itself would change nothing but the version.
    if (from === to) throw new OpError('invalid-argument', op, { hint: 'they are the same key' });
    const isKept = over === 'any' || (await this.#capabilities(to, deadline)).copyAbsent;
    if (!isKept) await this.#demandOver(to, over, deadline);
    try {
      const copied = await this.#copyObject(source, to, isKept && over === 'absent', deadline);
      return { version: copied, isAtomic: isKept };
    } catch (error) {
      throw over === 'absent' ? asExists(error) : error;
    }
  }

  async sweep(options: SweepOptions): Promise<number> {
    using deadline = this.#calls.move(`sweep ${this.place}`, options);
    return await sweepBucket(this.#bucket, options, { clock: this.#timing.clock, deadline });
  }

  async probe(options: ProbeOptions): Promise<Capabilities> {
    using deadline = this.#calls.ask(`probe ${this.place}`, options);
    return await this.#calls.during(this.#probed(options.prefix ?? '', deadline));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls.close(this.place);
    this.#bucket.requests.close();
  }

  async #put(key: string, bytes: AsyncIterable<Uint8Array>, options: PutOptions): Promise<Stored> {
    const op = `put ${key}`;
    const { over = 'any', size = 0 } = options;
    demandNotes(options, LIMITS, op);
    using deadline = this.#calls.move(op, options, key);
    const bytesMax = size > 0 ? OBJECT_BYTES_MAX : PARTS_MAX * STORE_MULTIPART_BYTES;
    const incoming = new Incoming(bytes, options, { bytesMax, deadline });
    try {
      const kept = await this.#conditionKept(key, over, deadline);
      const target = {
        bucket: this.#bucket.name,
        key,
        requests: this.#bucket.requests,
        timing: this.#timing,
        calls: this.#calls,
        deadline,
        options,
        over: kept,
        see: () => this.#see(key, deadline),
      };
      const sent = await sendTo(target, incoming);
      await this.#confirm(key, sent, deadline);
      return { key, ...sent, isAtomic: kept === over };
    } catch (error) {
      throw over === 'absent' ? asExists(error) : error;
    } finally {
      await incoming.end();
    }
  }

  async #probed(prefix: string, deadline: Deadline): Promise<Capabilities> {
    const probing = { timing: this.#timing, calls: this.#calls, deadline, prefix };
    this.#known = await probeBucket(this.#bucket, probing);
    return this.#known;
  }

  /** Probed, when nobody did, beside a key that is used: elsewhere it may not be allowed to. */
  async #capabilities(key: string, deadline: Deadline): Promise<Capabilities> {
    const prefix = key.slice(0, key.lastIndexOf('/') + 1);
    return this.#known ?? (await this.#probed(prefix, deadline));
  }

  /** The condition to send: itself, or none when it was looked at here because the store would not. */
  async #conditionKept(key: string, over: Over, deadline: Deadline): Promise<Over> {
    if (over === 'any') return over;
    const { putAbsent, putOver } = await this.#capabilities(key, deadline);
    // Also where the store looks itself: what is bound to fail need not be sent first.
    await this.#demandOver(key, over, deadline);
    return (over === 'absent' ? putAbsent : putOver) ? over : 'any';
  }

  async #demandOver(key: string, over: Over, deadline: Deadline): Promise<void> {
    const version = (await this.#see(key, deadline))?.head.version;
    if (over === 'any' || (over === 'absent' ? version === undefined : version === over)) return;
    throw new OpError(over === 'absent' ? 'exists' : 'version-conflict', deadline.op);
  }

  /** What is there now is what was sent, unless somebody has put another one since. */
  async #confirm(key: string, sent: Sent, deadline: Deadline): Promise<void> {
    const once = () => this.#see(key, deadline);
    const found = (await repeated(once, this.#timing, deadline))?.head;
    if (found !== undefined && found.version !== sent.version) return;
    if (found?.size === sent.size && (found.sha256 ?? sent.sha256) === sent.sha256) return;
    const hint = 'the store holds something else than it was sent; put it again';
    throw new OpError('integrity', deadline.op, { hint, details: { sent, found } });
  }

  /** undefined: there is none. */
  async #see(key: string, deadline: Deadline): Promise<SeenObject | undefined> {
    const { name, requests } = this.#bucket;
    let refused: OpError;
    try {
      const answer = await requests.ask(deadline, ({ client, sdk, how }) =>
        client.send(new sdk.HeadObjectCommand({ Bucket: name, Key: key }), how),
      );
      const seen = seenOf(key, answer.ContentLength, answer);
      if (seen !== undefined) return seen;
      throw new OpError('response-invalid', deadline.op, { cause: new Error('no size or tag') });
    } catch (error) {
      const status = error instanceof OpError ? Number(error.details['status']) : 0;
      if (!(error instanceof OpError) || !(status >= 300 && status < 500)) throw error;
      refused = error;
    }
    return await this.#explained(key, refused, deadline);
  }

  /** Why a HEAD was refused: a GET says it in words. */
  async #explained(
    key: string,
    refused: OpError,
    deadline: Deadline,
  ): Promise<SeenObject | undefined> {
    const { name, requests } = this.#bucket;
    try {
      const { answer, leave } = await requests.hold(deadline, ({ client, sdk, how }) =>
        client.send(new sdk.GetObjectCommand({ Bucket: name, Key: key }), how),
      );
      (answer.Body as { destroy?(): void } | undefined)?.destroy?.();
      leave();
      // It came between the two, or a GET is allowed and a HEAD is not.
      const seen = seenOf(key, answer.ContentLength, answer);
      if (seen !== undefined) return seen;
      throw refused;
    } catch (error) {
      if (error instanceof OpError && error.failure === 'not-found') return undefined;
      throw error;
    }
  }

  async #nothing(key: string, options: GetOptions, deadline: Deadline): Promise<ObjectReading> {
    const { op } = deadline;
    const head = (await this.#see(key, deadline))?.head;
    if (head === undefined) throw absent(op);
    if (options.version !== undefined && options.version !== head.version) {
      throw new OpError('version-conflict', op);
    }
    const slice = sliceOf(head.size, options, op);
    // It grew since it was found to end before.
    if (slice.length > 0) throw new OpError('version-conflict', op);
    return emptyReading(head, slice);
  }

  async #copyObject(source: ObjectHead, to: string, isNew: boolean, deadline: Deadline) {
    const { name, requests } = this.#bucket;
    const { CopyObjectResult } = await requests.ask(deadline, ({ client, sdk, how }) =>
      client.send(
        new sdk.CopyObjectCommand({
          Bucket: name,
          Key: to,
          CopySource: copySourceOf(name, source.key),
          CopySourceIfMatch: tagOf(source.version),
          ...(isNew ? { IfNoneMatch: '*' } : {}),
        }),
        how,
      ),
    );
    const tag = CopyObjectResult?.ETag;
    const found = (await this.#see(to, deadline))?.head;
    const version = tag === undefined ? undefined : versionOf(tag);
    if (version === undefined || (found?.version === version && found.size !== source.size)) {
      throw new OpError('response-invalid', deadline.op, { cause: new Error('not copied whole') });
    }
    return version;
  }
}

const absent = (op: string): OpError =>
  new OpError('not-found', op, { details: { kind: 'object' } });

const isPastEnd = (error: unknown): boolean =>
  error instanceof OpError && error.failure === 'offset-past-end';

/** What the store says of a condition, in the words of the condition that there is nothing. */
function asExists(error: unknown): unknown {
  if (!(error instanceof OpError) || error.failure !== 'version-conflict') return error;
  return new OpError('exists', error.op, { cause: error.cause, details: error.details });
}
