/** What is noted beside an object: names and values, which of them are taken, and how they travel in headers. */
import { OpError } from '../base/errors.ts';
import { isText } from './keys.ts';
import type { PutOptions, StoreLimits } from './store.ts';

type Metadata = Readonly<Record<string, string>>;

/** Names become parts of HTTP headers, whose case is lost. */
const NAME = /^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$/;
/** Notes of ours. */
export const OWN_NAME = /^kitfs-/;

/** A media type, as a header takes it. */
const CONTENT_TYPE = /^[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?$/;

/**
 * Whether the store can note what shall be noted beside an object.
 * @throws OpError invalid-argument, payload-too-large, unsupported (the store notes nothing).
 */
export function demandNotes(
  { metadata = {}, contentType }: Pick<PutOptions, 'metadata' | 'contentType'>,
  { metadataBytesMax }: StoreLimits,
  op: string,
): void {
  const names = Object.keys(metadata);
  if (names.length === 0 && contentType === undefined) return;
  if (metadataBytesMax === 0) {
    throw new OpError('unsupported', op, { hint: 'the store notes nothing beside objects' });
  }
  const invalid = (hint: string) => new OpError('invalid-argument', op, { hint });
  if (contentType !== undefined && !CONTENT_TYPE.test(contentType)) {
    throw invalid('a content type is plain text of at most 128 bytes');
  }
  if (names.some((name) => !NAME.test(name) || OWN_NAME.test(name))) {
    throw invalid('names of metadata are a-z, 0-9, _ and -, and do not begin with kitfs-');
  }
  if (!Object.values(metadata).every(isText)) throw invalid('values of metadata are text');
  if (bytesOf(metadata) <= metadataBytesMax) return;
  const hint = `names and values together have at most ${metadataBytesMax} bytes`;
  throw new OpError('payload-too-large', op, { hint });
}

/** As they travel. */
const bytesOf = (metadata: Metadata): number =>
  Object.entries(metadata).reduce(
    (sum, [name, value]) => sum + name.length + Buffer.byteLength(headerOfValue(value)),
    0,
  );

const ENCODED = /^=\?utf-8\?([bq])\?([^?]*)\?=$/i;

/**
 * A value as an HTTP header takes it. What is not plain text is encoded as RFC 2047 says, which is
 * what S3 itself does when it gives such values; so is what looks as if it were encoded, and what
 * HTTP would trim.
 */
export function headerOfValue(value: string): string {
  if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !value.includes('=?')) return value;
  return `=?UTF-8?B?${Buffer.from(value, 'utf8').toString('base64')}?=`;
}

/** Inverse of `headerOfValue`; what others wrote otherwise is left as it is. */
export function valueOfHeader(header: string): string {
  const words = header.split(/\s+(?==\?)/);
  const texts = words.map((word) => {
    const [, kind, text = ''] = ENCODED.exec(word) ?? [];
    if (kind === undefined) return undefined;
    return kind.toLowerCase() === 'b' ? Buffer.from(text, 'base64') : quoted(text);
  });
  // Characters may be cut between two words, so they are put together as bytes.
  return texts.every((text) => text !== undefined) ? Buffer.concat(texts).toString('utf8') : header;
}

/** The encoding Q of RFC 2047. */
function quoted(text: string): Buffer {
  const latin = text
    .replaceAll('_', ' ')
    .replaceAll(/=([0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
  return Buffer.from(latin, 'latin1');
}
