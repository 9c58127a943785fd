/**
 * What a call answers, in the shapes of the contract: envelopes of success and error, records,
 * and content (a header in one line, the bytes, a link).
 *
 * Invariants: an error is one text block equal to `structuredContent`, for both kinds; a record
 * likewise; content has no `structuredContent` on success, and no byte of the object in its header.
 */
import { isUtf8 } from 'node:buffer';
import { OpError } from '../base/errors.ts';
import type { ErrorEnvelope } from './errors.ts';
import type { ContentResult, Link, Payload, RecordResult } from './tool.ts';

/** A whole object up to this size is shown as image or sound. */
const SHOWN_BYTES_MAX = 1024 * 1024;
/** `_meta` key of the envelope of content results. */
export const ENVELOPE_META = 'kitfs/envelope';

export interface SuccessEnvelope {
  readonly status: 'success';
  readonly data: unknown;
  readonly context: {
    readonly request_id: string;
    readonly elapsed_ms: number;
    readonly node?: string;
    readonly seq?: number;
    readonly warnings?: readonly string[];
  };
}

export type Envelope = SuccessEnvelope | ErrorEnvelope;

/** A block of `content`, as the protocol names them. */
export type Block =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image' | 'audio'; readonly data: string; readonly mimeType: string }
  | {
      readonly type: 'resource';
      readonly resource: { readonly uri: string; readonly mimeType: string; readonly blob: string };
    }
  | {
      readonly type: 'resource_link';
      readonly uri: string;
      readonly name: string;
      readonly mimeType: string;
      readonly size: number;
    };

/** The answer to one call, as the protocol carries it. */
export interface CallResult {
  readonly content: readonly Block[];
  readonly structuredContent?: Envelope;
  readonly isError?: true;
  readonly _meta?: Readonly<Record<string, unknown>>;
}

export interface Answered {
  readonly requestId: string;
  readonly elapsedMs: number;
}

/** The envelope of a success of either kind: `data` is a record's data or a content's header. */
export function successEnvelope(
  result: RecordResult<unknown> | ContentResult,
  { requestId, elapsedMs }: Answered,
): SuccessEnvelope {
  const { node, seq, warnings } = result;
  return {
    status: 'success',
    data: 'data' in result ? result.data : result.header,
    context: {
      request_id: requestId,
      elapsed_ms: Math.round(elapsedMs * 1000) / 1000,
      ...(node === undefined ? {} : { node }),
      ...(seq === undefined ? {} : { seq }),
      ...(warnings === undefined || warnings.length === 0 ? {} : { warnings }),
    },
  };
}

/** A record, or any error, as the protocol carries it. */
export function recordCall(envelope: Envelope): CallResult {
  const text = JSON.stringify(envelope);
  const result = { content: [{ type: 'text', text }], structuredContent: envelope } as const;
  return envelope.status === 'error' ? { ...result, isError: true } : result;
}

/** Content as the protocol carries it. */
export function contentCall(result: ContentResult, envelope: SuccessEnvelope): CallResult {
  return {
    content: [
      { type: 'text', text: JSON.stringify({ kitfs: result.header }) },
      ...(result.payloads ?? []).map(blockOf),
      ...(result.link === undefined ? [] : [linkBlock(result.link)]),
    ],
    _meta: { [ENVELOPE_META]: envelope },
  };
}

function blockOf({ bytes, encoding, mime, uri, show }: Payload): Block {
  if (encoding === 'utf-8') return { type: 'text', text: bytes.toString('utf8') };
  const base64 = bytes.toString('base64');
  if (show !== undefined) return { type: show, data: base64, mimeType: mime };
  return { type: 'resource', resource: { uri, mimeType: mime, blob: base64 } };
}

const linkBlock = ({ uri, name, mime, size }: Link): Block => ({
  type: 'resource_link',
  uri,
  name,
  mimeType: mime,
  size,
});

/** What a byte reader has read, and of what. */
export interface Slice {
  readonly op: string;
  /** At `offset`, as many as were asked for, or fewer at the end of the object. */
  readonly bytes: Buffer;
  readonly offset: number;
  /** Of the whole object. */
  readonly size: number;
  /** Asked for; undefined: text when it is, else base64. */
  readonly encoding: 'utf-8' | 'base64' | undefined;
  readonly mime: string;
  readonly uri: string;
  /** The last segment of the object's path. */
  readonly name: string;
  readonly localPath?: string | undefined;
  readonly version?: string | undefined;
  readonly cid?: string | undefined;
}

/**
 * The answer of a byte reader: the standard header, the bytes, the link.
 * @throws OpError offset-past-end, encoding.
 */
export function sliceResult(slice: Slice): ContentResult {
  const { op, offset, size, mime, uri, name, localPath, version, cid } = slice;
  if (offset > size) {
    throw new OpError('offset-past-end', op, { details: { partial: { size, offset } } });
  }
  const { bytes, encoding } = encodedSlice(slice);
  const end = offset + bytes.length;
  const isWhole = offset === 0 && end === size;
  const [kind] = mime.split('/');
  const isShown =
    isWhole &&
    size <= SHOWN_BYTES_MAX &&
    slice.encoding === undefined &&
    (kind === 'image' || kind === 'audio');
  const payload: Payload = {
    bytes,
    encoding,
    mime,
    uri,
    show: isShown ? kind : undefined,
  };
  return {
    header: {
      uri,
      ...(localPath === undefined ? {} : { local_path: localPath }),
      size,
      offset,
      length: bytes.length,
      eof: end === size,
      truncated: end < size,
      ...(end < size ? { next_offset: end } : {}),
      encoding,
      mime,
      ...(version === undefined ? {} : { version }),
      ...(cid === undefined ? {} : { cid }),
    },
    payloads: bytes.length === 0 ? [] : [payload],
    link: { uri, name, mime, size },
  };
}

/** How a whole object travels: as asked, or as text when it is. @throws OpError encoding. */
export const encodingOf = (
  bytes: Buffer,
  encoding: Slice['encoding'],
  op: string,
): Encoded['encoding'] =>
  encodedSlice({ op, bytes, offset: 0, size: bytes.length, encoding }).encoding;

interface Encoded {
  readonly bytes: Buffer;
  readonly encoding: 'utf-8' | 'base64';
}

/** UTF-8 when the slice is, apart from a code point that its end cuts; else base64. */
function encodedSlice({
  op,
  bytes,
  offset,
  size,
  encoding,
}: Pick<Slice, 'op' | 'bytes' | 'offset' | 'size' | 'encoding'>): Encoded {
  if (encoding === 'base64') return { bytes, encoding };
  // At the end of the object nothing was cut: a broken code point there is not text.
  const isCut = offset + bytes.length < size;
  const textLength = isCut ? bytes.length - cutBytes(bytes) : bytes.length;
  const text = bytes.subarray(0, textLength);
  // A slice without one whole code point is no text either: the reader would never get on.
  if (isUtf8(text) && (textLength > 0 || bytes.length === 0))
    return { bytes: text, encoding: 'utf-8' };
  if (encoding === undefined) return { bytes, encoding: 'base64' };
  throw new OpError('encoding', op, { hint: 'use base64', details: { partial: { offset, size } } });
}

/** How many bytes at the end begin a code point that they do not finish: 0 to 3. */
function cutBytes(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}
