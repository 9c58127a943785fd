/**
 * What a server of S3 does, found out on a key that nobody else has. Some servers ignore conditions
 * without a word, and some know them in one request and not in another.
 */
import type { S3Client } from '@aws-sdk/client-s3';
import { OpError } from '../../base/errors.ts';
import { repeated, type Timing } from '../backoff.ts';
import type { Calls } from '../calls.ts';
import type { Deadline } from '../deadline.ts';
import type { Capabilities } from '../store.ts';
import type { Bucket } from './listing.ts';
import { copySourceOf } from './values.ts';

interface Probing {
  readonly timing: Timing;
  readonly calls: Calls;
  readonly deadline: Deadline;
  /** Of the keys it uses. */
  readonly prefix: string;
}

const FIRST = Buffer.from('kitfs was here: first');
const SECOND = Buffer.from('kitfs was here: second');
/** Of no object; and of no bytes. */
const OTHER_TAG = '"00000000000000000000000000000000"';
const OTHER_MD5 = Buffer.alloc(16).toString('base64');

/** @throws OpError what keeps the bucket from being of any use. */
export async function probeBucket(bucket: Bucket, probing: Probing): Promise<Capabilities> {
  const probe = new Probe(bucket, probing);
  const list = await probe.lists();
  let found: Capabilities;
  try {
    const write = await probe.writes();
    if (!write && !list) {
      throw new OpError('denied', probing.deadline.op, { hint: 'let it read or write' });
    }
    found = write ? { ...(await probe.conditions()), list, write } : { ...NOTHING, list };
  } catch (error) {
    // Why it failed is what its caller must hear of.
    await probe.cleanUp().catch(() => {});
    throw error;
  }
  if (found.write) await probe.cleanUp();
  return found;
}

const NOTHING: Capabilities = {
  list: false,
  write: false,
  range: false,
  checksum: false,
  putAbsent: false,
  putOver: false,
  removeVersion: false,
  copy: false,
  copyAbsent: false,
};

type Send<T> = (
  client: S3Client,
  sdk: typeof import('@aws-sdk/client-s3'),
  how: { readonly abortSignal: AbortSignal },
) => Promise<T>;

class Probe {
  readonly #bucket: Bucket;
  readonly #probing: Probing;
  readonly #one: { readonly Bucket: string; readonly Key: string };
  readonly #other: { readonly Bucket: string; readonly Key: string };

  constructor(bucket: Bucket, probing: Probing) {
    this.#bucket = bucket;
    this.#probing = probing;
    const token = probing.timing.random.token();
    this.#one = { Bucket: bucket.name, Key: `${probing.prefix}.kitfs-probe-${token}-1` };
    this.#other = { Bucket: bucket.name, Key: `${probing.prefix}.kitfs-probe-${token}-2` };
  }

  /** Asked first: its refusal has words, and says whether anything else makes sense. */
  async lists(): Promise<boolean> {
    return await this.#allowed((client, sdk, how) =>
      client.send(
        new sdk.ListObjectsV2Command({
          Bucket: this.#bucket.name,
          MaxKeys: 1,
          Prefix: this.#probing.prefix,
        }),
        how,
      ),
    );
  }

  async writes(): Promise<boolean> {
    return await this.#allowed((client, sdk, how) =>
      client.send(new sdk.PutObjectCommand({ ...this.#one, Body: FIRST }), how),
    );
  }

  async conditions(): Promise<Omit<Capabilities, 'list' | 'write'>> {
    const range = await this.#ranges();
    const putAbsent = await this.#refuses('version-conflict', (client, sdk, how) =>
      client.send(new sdk.PutObjectCommand({ ...this.#one, Body: SECOND, IfNoneMatch: '*' }), how),
    );
    const putOver = await this.#refuses('version-conflict', (client, sdk, how) =>
      client.send(
        new sdk.PutObjectCommand({ ...this.#one, Body: SECOND, IfMatch: OTHER_TAG }),
        how,
      ),
    );
    const checksum = await this.#refuses('integrity', (client, sdk, how) =>
      client.send(
        new sdk.PutObjectCommand({ ...this.#one, Body: SECOND, ContentMD5: OTHER_MD5 }),
        how,
      ),
    );
    const CopySource = copySourceOf(this.#bucket.name, this.#one.Key);
    const copy = await this.#allowed((client, sdk, how) =>
      client.send(new sdk.CopyObjectCommand({ ...this.#other, CopySource }), how),
    );
    const copyAbsent =
      copy &&
      (await this.#refuses('version-conflict', (client, sdk, how) =>
        client.send(
          new sdk.CopyObjectCommand({ ...this.#other, CopySource, IfNoneMatch: '*' }),
          how,
        ),
      ));
    const removeVersion = await this.#refuses('version-conflict', (client, sdk, how) =>
      client.send(new sdk.DeleteObjectCommand({ ...this.#one, IfMatch: OTHER_TAG }), how),
    );
    return { range, checksum, putAbsent, putOver, removeVersion, copy, copyAbsent };
  }

  /** With a time of its own: nothing is left, also when the probe was told to end. */
  async cleanUp(): Promise<void> {
    const { timing, calls } = this.#probing;
    using deadline = calls.undo(`end the probe of ${this.#bucket.name}`);
    for (const key of [this.#one, this.#other]) {
      await repeated(
        () =>
          this.#ask(deadline, (client, sdk, how) =>
            client.send(new sdk.DeleteObjectCommand(key), how),
          ),
        timing,
        deadline,
      );
    }
  }

  /** Whether it may. @throws OpError anything else than that it may not, or cannot. */
  async #allowed(send: Send<unknown>): Promise<boolean> {
    return !(await this.#fails(['denied', 'unsupported'], send));
  }

  /** Whether it kept the condition: refused for that reason, and no other. */
  async #refuses(failure: string, send: Send<unknown>): Promise<boolean> {
    // A server that does not know the condition at all may say so.
    const refusals = [failure, 'unsupported', 'api-error'];
    return (await this.#fails(refusals, send)) === failure;
  }

  /** Gives one byte when asked for one. */
  async #ranges(): Promise<boolean> {
    let length = 0;
    const isAllowed = await this.#allowed(async (client, sdk, how) => {
      const part = new sdk.GetObjectCommand({ ...this.#one, Range: 'bytes=1-1' });
      const { Body } = await client.send(part, how);
      length = (await Body?.transformToByteArray())?.length ?? 0;
    });
    return isAllowed && length === 1;
  }

  async #fails(failures: readonly string[], send: Send<unknown>): Promise<string | undefined> {
    try {
      await this.#again(send);
      return undefined;
    } catch (error) {
      if (error instanceof OpError && failures.includes(error.failure)) return error.failure;
      throw error;
    }
  }

  async #again<T>(send: Send<T>): Promise<T> {
    const { timing, deadline } = this.#probing;
    return await repeated(() => this.#ask(deadline, send), timing, deadline);
  }

  async #ask<T>(deadline: Deadline, send: Send<T>): Promise<T> {
    return await this.#bucket.requests.ask(deadline, ({ client, sdk, how }) =>
      send(client, sdk, how),
    );
  }
}
