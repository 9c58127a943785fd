/**
 * A put to S3: in one request, or in parts. The SDK's own Upload is not used: told to end, it answers while
 * its parts are still under way, and before completing there is no moment to compare what came.
 *
 * Invariants: what is sent is in memory, so that any request can be made again; a put whose answer was
 * lost looks for its own mark before it puts again; an upload in parts is completed, or given up with
 * all its parts after the last of them has ended.
 */
import { setMaxListeners } from 'node:events';
import { before } from '../../base/before.ts';
import { OpError } from '../../base/errors.ts';
import { STORE_MULTIPART_BYTES, STORE_PARTS_AT_ONCE } from '../../base/limits.ts';
import { together } from '../../base/together.ts';
import { repeated, type Timing } from '../backoff.ts';
import type { Calls } from '../calls.ts';
import type { Deadline } from '../deadline.ts';
import type { Incoming } from '../incoming.ts';
import type { ObjectVersion, Over, PutOptions } from '../store.ts';
import type { Requests } from './requests.ts';
import { metadataWith, type SeenObject, tagOf, versionOf } from './values.ts';

/** S3's own: parts of one upload, and bytes of all parts but the last. */
export const PARTS_MAX = 10_000;
export const PART_BYTES_MIN = 5 * 1024 * 1024;
const MIB = 1024 * 1024;
/** What the parts of one upload that are under way may take of the memory. */
const PARTS_HELD_BYTES_MAX = 128 * MIB;

export interface Sent {
  readonly size: number;
  readonly sha256: string;
  readonly version: ObjectVersion;
}

export interface Target {
  readonly bucket: string;
  readonly key: string;
  readonly requests: Requests;
  readonly timing: Timing;
  readonly calls: Calls;
  readonly deadline: Deadline;
  readonly options: PutOptions;
  /** The condition that goes with the request: one that the store keeps. */
  readonly over: Over;
  /** What is under the key now. */
  see(): Promise<SeenObject | undefined>;
}

/** Sends all of it. @throws as `ObjectsFacet.put`. */
export async function sendTo(target: Target, incoming: Incoming): Promise<Sent> {
  const partBytes = partBytesOf(target.options.size);
  const first = await incoming.part(partBytes);
  await incoming.peek();
  const put = target.timing.random.token();
  if (!incoming.isOver) return await new PartsUpload(target, partBytes, put).send(first, incoming);
  const { size, sha256 } = incoming.measured();
  const version = await settled(target, put, () => putWhole(target, first, { put, sha256 }));
  return { size, sha256, version };
}

/** Parts of one size: some servers take no others. */
function partBytesOf(size = 0): number {
  const needed = Math.ceil(size / PARTS_MAX / MIB) * MIB;
  return Math.max(STORE_MULTIPART_BYTES, needed);
}

const conditionOf = (over: Over): { IfNoneMatch?: string; IfMatch?: string } => {
  if (over === 'any') return {};
  return over === 'absent' ? { IfNoneMatch: '*' } : { IfMatch: tagOf(over) };
};

const contentTypeOf = ({ contentType }: PutOptions) =>
  contentType === undefined ? {} : { ContentType: contentType };

async function putWhole(
  { requests, deadline, bucket, key, over, options }: Target,
  bytes: Buffer,
  notes: { readonly put: string; readonly sha256: string },
): Promise<ObjectVersion> {
  const { ETag } = await requests.ask(deadline, ({ client, sdk, how }) =>
    client.send(
      new sdk.PutObjectCommand({
        Bucket: bucket,
        Key: key,
        Body: bytes,
        ContentLength: bytes.length,
        Metadata: metadataWith(options.metadata ?? {}, notes),
        ...contentTypeOf(options),
        ...conditionOf(over),
      }),
      how,
    ),
  );
  return demanded(ETag, deadline.op);
}

function demanded(tag: string | undefined, op: string): ObjectVersion {
  if (tag !== undefined && tag !== '') return versionOf(tag);
  const cause = new Error('no tag of what was stored');
  throw new OpError('response-invalid', op, { cause, details: { sent: true } });
}

/** Makes an object appear, also when the answer that it did was lost. */
async function settled(
  { deadline, timing, see }: Target,
  put: string,
  make: () => Promise<ObjectVersion>,
): Promise<ObjectVersion> {
  const ours = async (): Promise<ObjectVersion | undefined> => {
    const seen = await see();
    return seen?.put === put ? seen.head.version : undefined;
  };
  let isUncertain = false;
  const once = async (): Promise<ObjectVersion> => {
    const made = isUncertain ? await ours() : undefined;
    if (made !== undefined) return made;
    try {
      return await make();
    } catch (error) {
      // The one before may have arrived only now, and be what stands in the way.
      const late = isUncertain ? await ours() : undefined;
      if (late !== undefined) return late;
      if (!(error instanceof OpError)) throw error;
      isUncertain ||= error.details['sent'] === true;
      throw isUncertain ? perhapsDone(error) : error;
    }
  };
  return await repeated(once, timing, deadline);
}

/** What the last try says of itself is not true of all of them. */
const perhapsDone = ({ failure, op, cause, hint, details }: OpError): OpError =>
  new OpError(failure, op, {
    cause,
    details: { ...details, sent: true },
    ...(hint === undefined ? {} : { hint }),
  });

interface Part {
  readonly PartNumber: number;
  readonly ETag: string;
}

class PartsUpload {
  readonly #target: Target;
  readonly #partBytes: number;
  readonly #put: string;
  /** Aborts when one part failed: the others are for nothing. */
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;

  constructor(target: Target, partBytes: number, put: string) {
    this.#target = target;
    this.#partBytes = partBytes;
    this.#put = put;
    this.#signal = AbortSignal.any([target.deadline.signal, this.#failed.signal]);
    setMaxListeners(0, this.#signal);
  }

  async send(first: Buffer, incoming: Incoming): Promise<Sent> {
    const { timing, deadline } = this.#target;
    const id = await repeated(() => this.#begin(), timing, deadline);
    try {
      const parts = await this.#sendParts(id, first, incoming);
      // Compared before it is there for others to see.
      const { size, sha256 } = incoming.measured();
      const version = await settled(this.#target, this.#put, () => this.#complete(id, parts));
      return { size, sha256, version };
    } catch (error) {
      // An upload that is left costs its owner its bytes until somebody sweeps.
      await this.#giveUp(id).catch(() => {});
      throw error;
    }
  }

  async #begin(): Promise<string> {
    const { requests, deadline, bucket, key, options } = this.#target;
    const { UploadId } = await requests.ask(deadline, ({ client, sdk, how }) =>
      client.send(
        new sdk.CreateMultipartUploadCommand({
          Bucket: bucket,
          Key: key,
          Metadata: metadataWith(options.metadata ?? {}, {
            put: this.#put,
            sha256: options.sha256,
          }),
          ...contentTypeOf(options),
        }),
        how,
      ),
    );
    if (UploadId !== undefined && UploadId !== '') return UploadId;
    throw new OpError('response-invalid', deadline.op, { cause: new Error('no upload') });
  }

  /** Reads one part after the other, and keeps a few under way. */
  async #sendParts(id: string, first: Buffer, incoming: Incoming): Promise<Part[]> {
    const sent: Promise<Part>[] = [];
    const underway = new Set<Promise<unknown>>();
    const fits = Math.floor(PARTS_HELD_BYTES_MAX / this.#partBytes);
    const atOnce = Math.min(STORE_PARTS_AT_ONCE, Math.max(1, fits));
    const begin = (bytes: Buffer): void => {
      const part = this.#sendPart(id, sent.length + 1, bytes);
      sent.push(part);
      const over = part.then(
        () => void underway.delete(over),
        (error: unknown) => this.#failed.abort(error),
      );
      underway.add(over);
    };
    try {
      begin(first);
      while (!incoming.isOver) {
        if (underway.size >= atOnce) await before(Promise.race(underway), this.#signal);
        const bytes = await before(incoming.part(this.#partBytes), this.#signal);
        if (bytes.length > 0) begin(bytes);
        await before(incoming.peek(), this.#signal);
      }
      return await Promise.all(sent);
    } catch (error) {
      this.#failed.abort(error);
      throw error;
    } finally {
      // None may arrive behind what is done next.
      await together(sent).catch(() => {});
    }
  }

  async #sendPart(id: string, number: number, bytes: Buffer): Promise<Part> {
    const { requests, timing, deadline, bucket, key } = this.#target;
    const signal = this.#signal;
    const once = () =>
      requests.ask({ op: deadline.op, signal }, ({ client, sdk, how }) =>
        client.send(
          new sdk.UploadPartCommand({
            Bucket: bucket,
            Key: key,
            UploadId: id,
            PartNumber: number,
            Body: bytes,
            ContentLength: bytes.length,
          }),
          how,
        ),
      );
    const { ETag } = await repeated(once, timing, { signal, leftMs: deadline.leftMs });
    deadline.moved();
    return { PartNumber: number, ETag: tagOf(demanded(ETag, deadline.op)) };
  }

  async #complete(id: string, parts: Part[]): Promise<ObjectVersion> {
    const { requests, deadline, bucket, key, over } = this.#target;
    const { ETag } = await requests.ask(deadline, ({ client, sdk, how }) =>
      client.send(
        new sdk.CompleteMultipartUploadCommand({
          Bucket: bucket,
          Key: key,
          UploadId: id,
          MultipartUpload: { Parts: parts },
          ...conditionOf(over),
        }),
        how,
      ),
    );
    return demanded(ETag, deadline.op);
  }

  /** With a time of its own: the put has ended, perhaps because its time was up. */
  async #giveUp(id: string): Promise<void> {
    const { requests, timing, calls, bucket, key } = this.#target;
    using deadline = calls.undo(`give up the put of ${key}`);
    const once = () =>
      requests.ask(deadline, ({ client, sdk, how }) =>
        client.send(
          new sdk.AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: id }),
          how,
        ),
      );
    await repeated(once, timing, deadline);
  }
}
