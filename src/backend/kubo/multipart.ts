/**
 * Bodies of requests: multipart/form-data (RFC 7578) as Kubo reads it (boxo files/multipartfile.go),
 * made as it is sent.
 */
import type { Random } from '../../base/random.ts';
import type { AddEntry } from '../node.ts';

export interface Multipart {
  readonly contentType: string;
  readonly chunks: AsyncIterable<Uint8Array>;
}

const OCTETS = 'application/octet-stream';

/** One file without a name. */
export function oneFile(content: AsyncIterable<Uint8Array>, random: Random): Multipart {
  return multipart(single({ path: '', type: 'file', content }), random);
}

/** Bytes that are all here as a body; it can be made again for a repeated call. */
export const oneBuffer = (bytes: Uint8Array, random: Random): Multipart =>
  oneFile(single(bytes), random);

async function* single<T>(item: T): AsyncGenerator<T, void, undefined> {
  yield item;
}

export function multipart(entries: AsyncIterable<AddEntry>, random: Random): Multipart {
  // 128 random bits: it is in no content that was there before it.
  const boundary = `kitfs-${random.token()}`;
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    chunks: parts(entries, boundary),
  };
}

async function* parts(
  entries: AsyncIterable<AddEntry>,
  boundary: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const entry of entries) {
    yield Buffer.from(`--${boundary}\r\n${headOf(entry)}\r\n\r\n`, 'latin1');
    if (entry.type === 'file') yield* entry.content;
    else if (entry.type === 'symlink') yield Buffer.from(entry.target, 'utf8');
    yield Buffer.from('\r\n', 'latin1');
  }
  yield Buffer.from(`--${boundary}--\r\n`, 'latin1');
}

const TYPES: Readonly<Record<AddEntry['type'], string>> = {
  file: OCTETS,
  directory: 'application/x-directory',
  symlink: 'application/symlink',
};

/** Names are percent-encoded; mode and time travel as a query behind the field's name. */
function headOf({ path, type, mode, mtime }: AddEntry): string {
  const query = new URLSearchParams();
  if (mode !== undefined) query.set('mode', (mode & 0o7777).toString(8).padStart(4, '0'));
  if (mtime !== undefined) {
    query.set('mtime', String(mtime.s));
    query.set('mtime-nsecs', String(mtime.ns));
  }
  const field = query.size === 0 ? 'file' : `file?${query}`;
  const name = path.split('/').map(encodeURIComponent).join('%2F');
  return [
    `Content-Disposition: form-data; name="${field}"; filename="${name}"`,
    `Content-Type: ${TYPES[type]}`,
  ].join('\r\n');
}
