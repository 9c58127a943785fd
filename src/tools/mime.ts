/**
 * MIME types: by the end of the name, else by whether the first bytes are text. Nothing cleverer:
 * a type guessed from bytes that somebody chose is a way to be fooled.
 */
import { isUtf8 } from 'node:buffer';

/** Bytes looked at to tell text from anything else. */
export const SNIFFED_BYTES = 512;

const UNKNOWN = 'application/octet-stream';
const PLAIN = 'text/plain';

const BY_EXTENSION: Readonly<Record<string, string>> = {
  aac: 'audio/aac',
  avif: 'image/avif',
  bmp: 'image/bmp',
  c: PLAIN,
  car: 'application/vnd.ipld.car',
  cbor: 'application/cbor',
  cc: PLAIN,
  css: 'text/css',
  csv: 'text/csv',
  flac: 'audio/flac',
  gif: 'image/gif',
  go: PLAIN,
  gz: 'application/gzip',
  h: PLAIN,
  htm: 'text/html',
  html: 'text/html',
  ico: 'image/vnd.microsoft.icon',
  ini: PLAIN,
  java: PLAIN,
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  js: 'text/javascript',
  json: 'application/json',
  jsonl: 'application/x-ndjson',
  log: PLAIN,
  m4a: 'audio/mp4',
  md: 'text/markdown',
  mjs: 'text/javascript',
  mp3: 'audio/mpeg',
  mp4: 'video/mp4',
  ndjson: 'application/x-ndjson',
  ogg: 'audio/ogg',
  pdf: 'application/pdf',
  png: 'image/png',
  py: 'text/x-python',
  rs: PLAIN,
  sh: 'application/x-sh',
  sql: 'application/sql',
  svg: 'image/svg+xml',
  tar: 'application/x-tar',
  toml: 'application/toml',
  ts: 'text/x-typescript',
  tsv: 'text/tab-separated-values',
  txt: PLAIN,
  wasm: 'application/wasm',
  wav: 'audio/wav',
  webm: 'video/webm',
  webp: 'image/webp',
  xml: 'application/xml',
  yaml: 'application/yaml',
  yml: 'application/yaml',
  zip: 'application/zip',
  zst: 'application/zstd',
};

/** By name alone; undefined when the name does not say. */
export function mimeOfName(name: string): string | undefined {
  const dot = name.lastIndexOf('.');
  const extension = dot > 0 ? name.slice(dot + 1).toLowerCase() : '';
  return Object.hasOwn(BY_EXTENSION, extension) ? BY_EXTENSION[extension] : undefined;
}

/** By name, else by the first bytes of the file (`SNIFFED_BYTES` or all there are). */
export function mimeOf(name: string, head: Buffer): string {
  return mimeOfName(name) ?? (isText(head) ? PLAIN : UNKNOWN);
}

function isText(head: Buffer): boolean {
  if (head.includes(0)) return false;
  // The last code point may be cut: without up to three bytes it is text or not.
  const cuts = head.length < SNIFFED_BYTES ? [0] : [0, 1, 2, 3];
  return cuts.some((cut) => isUtf8(head.subarray(0, head.length - cut)));
}
