/** Uploads that nobody completed: their parts cost their owner, and no listing shows them. */
import type { ListMultipartUploadsCommandOutput } from '@aws-sdk/client-s3';
import type { Clock } from '../../base/clock.ts';
import type { Deadline } from '../deadline.ts';
import type { SweepOptions } from '../store.ts';
import type { Bucket } from './listing.ts';

interface Ended {
  readonly clock: Clock;
  readonly deadline: Deadline;
}

/** Gives up those that began so long ago. @returns how many. */
export async function sweepBucket(
  bucket: Bucket,
  { olderThanMs, prefix = '' }: SweepOptions,
  { clock, deadline }: Ended,
): Promise<number> {
  const { name, requests } = bucket;
  const beforeMs = clock.now().s * 1000 - olderThanMs;
  let swept = 0;
  for await (const { Uploads = [] } of pages(bucket, prefix, deadline)) {
    for (const { Key, UploadId, Initiated } of Uploads) {
      if (Key === undefined || UploadId === undefined || Initiated === undefined) continue;
      if (!Key.startsWith(prefix) || Initiated.getTime() > beforeMs) continue;
      await requests.ask(deadline, ({ client, sdk, how }) =>
        client.send(new sdk.AbortMultipartUploadCommand({ Bucket: name, Key, UploadId }), how),
      );
      deadline.moved();
      swept += 1;
    }
  }
  return swept;
}

async function* pages(
  { name, requests }: Bucket,
  prefix: string,
  deadline: Deadline,
): AsyncGenerator<ListMultipartUploadsCommandOutput, void, undefined> {
  let marker: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } = {};
  for (;;) {
    const asked = { Bucket: name, Prefix: prefix, ...marker };
    const page: ListMultipartUploadsCommandOutput = await requests.ask(
      deadline,
      ({ client, sdk, how }) => client.send(new sdk.ListMultipartUploadsCommand(asked), how),
    );
    yield page;
    const { IsTruncated, NextKeyMarker, NextUploadIdMarker } = page;
    if (IsTruncated !== true || NextKeyMarker === undefined) return;
    const next = { KeyMarker: NextKeyMarker, UploadIdMarker: NextUploadIdMarker ?? '' };
    if (next.KeyMarker === marker.KeyMarker && next.UploadIdMarker === marker.UploadIdMarker)
      return;
    marker = next;
  }
}
