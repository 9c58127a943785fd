/** Values of S3 as those of the contract, and back. */
import type { Instant } from '../../base/clock.ts';
import { headerOfValue, OWN_NAME, valueOfHeader } from '../metadata.ts';
import type { ObjectHead, ObjectVersion } from '../store.ts';

/** Some servers quote the tag in one answer and not in another. */
export const versionOf = (tag: string): ObjectVersion =>
  tag.replace(/^"(.*)"$/, '$1') as ObjectVersion;

export const tagOf = (version: ObjectVersion): string => `"${version}"`;

/** A header, so it is encoded; that of a key is not the SDK's work here. */
export const copySourceOf = (bucket: string, key: string): string =>
  [bucket, ...key.split('/')].map(encodeURIComponent).join('/');

export const instantOf = (date: Date): Instant => {
  const ms = date.getTime();
  const s = Math.floor(ms / 1000);
  return { s, ns: (ms - s * 1000) * 1_000_000 };
};

/** Notes beside an object that are ours: the digest of its bytes, and which put it was. */
const DIGEST = 'kitfs-sha256';
const PUT = 'kitfs-put';

export interface Notes {
  /** undefined: it is not known before the bytes go. */
  readonly sha256: string | undefined;
  /** By which a put whose answer was lost knows its own object. */
  readonly put: string;
}

export function metadataWith(
  metadata: Readonly<Record<string, string>>,
  { sha256, put }: Notes,
): Record<string, string> {
  const own = { [PUT]: put, ...(sha256 === undefined ? {} : { [DIGEST]: sha256 }) };
  const given = Object.entries(metadata).map(([name, value]) => [name, headerOfValue(value)]);
  return { ...Object.fromEntries(given), ...own };
}

/** What GetObject and HeadObject say of an object. */
export interface Answered {
  readonly ETag?: string | undefined;
  readonly LastModified?: Date | undefined;
  readonly ContentType?: string | undefined;
  readonly Metadata?: Record<string, string> | undefined;
}

export interface SeenObject {
  readonly head: ObjectHead;
  readonly put: string | undefined;
}

/** undefined: the answer lacks what every object has. */
export function seenOf(
  key: string,
  size: number | undefined,
  answer: Answered,
): SeenObject | undefined {
  const { ETag, LastModified, ContentType, Metadata = {} } = answer;
  if (size === undefined || ETag === undefined || versionOf(ETag) === '') return undefined;
  const { [DIGEST]: digest = '', [PUT]: put } = Metadata;
  const foreign = Object.entries(Metadata).filter(([name]) => !OWN_NAME.test(name));
  const head = {
    key,
    size,
    version: versionOf(ETag),
    metadata: Object.fromEntries(foreign.map(([name, header]) => [name, valueOfHeader(header)])),
    ...(LastModified === undefined ? {} : { modified: instantOf(LastModified) }),
    ...(ContentType === undefined ? {} : { contentType: ContentType }),
    ...(/^[0-9a-f]{64}$/.test(digest) ? { sha256: digest } : {}),
  };
  return { head, put };
}
