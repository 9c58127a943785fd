/**
 * Listing a bucket, page by page. S3 gives keys and common prefixes in two lists, each in order; here
 * they become one.
 */
import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import { OpError } from '../../base/errors.ts';
import type { Deadline } from '../deadline.ts';
import { compareKeys, isKey } from '../keys.ts';
import type { Listed, ListOptions, StoreLimits } from '../store.ts';
import type { Requests } from './requests.ts';
import { instantOf, versionOf } from './values.ts';

export interface Bucket {
  readonly name: string;
  readonly requests: Requests;
  readonly limits: StoreLimits;
}

/** @throws OpError response-invalid: out of order, or it goes in circles. */
export async function* listBucket(
  bucket: Bucket,
  options: ListOptions,
  deadline: Deadline,
): AsyncGenerator<Listed, void, undefined> {
  const { prefix = '', after } = options;
  let last = after;
  let token: string | undefined;
  do {
    const page = await pageOf(bucket, options, token, deadline);
    deadline.moved();
    for (const item of merged(itemsOf(page, bucket.limits, deadline.op))) {
      if (!item.key.startsWith(prefix)) throw invalid(deadline.op, 'a key without the prefix');
      // Where it was broken off in a directory, the server gives that directory again.
      if (last !== undefined && compareKeys(item.key, last) <= 0) {
        if (last !== after) throw invalid(deadline.op, 'keys out of order');
        continue;
      }
      last = item.key;
      yield item;
    }
    const next = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    if (page.IsTruncated === true && (next === undefined || next === token)) {
      throw invalid(deadline.op, 'a listing that goes in circles');
    }
    token = next;
  } while (token !== undefined);
}

async function pageOf(
  { name, requests, limits }: Bucket,
  { prefix = '', after, oneLevel = false }: ListOptions,
  token: string | undefined,
  deadline: Deadline,
): Promise<ListObjectsV2CommandOutput> {
  return await requests.ask(deadline, ({ client, sdk, how }) =>
    client.send(
      new sdk.ListObjectsV2Command({
        Bucket: name,
        MaxKeys: limits.keysPerRequestMax,
        // XML has no words for some keys that others may have made.
        EncodingType: 'url',
        ...(prefix === '' ? {} : { Prefix: prefix }),
        ...(oneLevel ? { Delimiter: '/' } : {}),
        ...(token !== undefined
          ? { ContinuationToken: token }
          : after === undefined
            ? {}
            : { StartAfter: after }),
      }),
      how,
    ),
  );
}

function* itemsOf(
  page: ListObjectsV2CommandOutput,
  limits: StoreLimits,
  op: string,
): Generator<Listed, void, undefined> {
  const decoded = (key: string | undefined): string => {
    if (key === undefined) throw invalid(op, 'an entry without a key');
    return page.EncodingType === 'url' ? decodedKey(key, op) : key;
  };
  for (const { Prefix } of page.CommonPrefixes ?? []) {
    const key = decoded(Prefix);
    yield isKey(key.replace(/\/$/, ''), limits)
      ? { kind: 'prefix', key }
      : { kind: 'foreign', key };
  }
  for (const { Key, Size, ETag, LastModified } of page.Contents ?? []) {
    const key = decoded(Key);
    if (!isKey(key, limits)) {
      yield { kind: 'foreign', key };
      continue;
    }
    if (Size === undefined || ETag === undefined)
      throw invalid(op, 'an entry without a size or tag');
    const modified = LastModified === undefined ? {} : { modified: instantOf(LastModified) };
    yield { kind: 'object', key, size: Size, version: versionOf(ETag), ...modified };
  }
}

/** Both lists are in order, but for servers that keep keys as a tree: one page is no work to sort. */
const merged = (items: Iterable<Listed>): Listed[] =>
  [...items].sort((one, other) => compareKeys(one.key, other.key));

function decodedKey(text: string, op: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch (error) {
    throw new OpError('response-invalid', op, { cause: error });
  }
}

const invalid = (op: string, why: string): OpError =>
  new OpError('response-invalid', op, { cause: new Error(why) });
