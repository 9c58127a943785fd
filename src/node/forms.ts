/**
 * Nodes of UnixFS with CIDs of a given form: version and hash. The profiles of `Builder` know one hash;
 * the mutable tree lets people choose.
 */
import { encode as encodePb } from '@ipld/dag-pb';
import { create as digestOf } from 'multiformats/hashes/digest';
import { DIGESTS, digestKind } from '../base/digests.ts';
import { OpError } from '../base/errors.ts';
import { BLOCK_BYTES_MAX } from '../base/limits.ts';
import { CID, codecCode } from '../content/content.ts';
import type { HashName } from './dag.ts';

export const RAW_CODEC = codecCode('raw');
export const DAG_PB_CODEC = codecCode('dag-pb');

export interface CidForm {
  /** 0 goes with sha2-256 alone. */
  readonly version: 0 | 1;
  /** Code of the multihash. */
  readonly hash: number;
}

export const PLAIN_FORM: CidForm = { version: 1, hash: codeOf('sha2-256') };

/** The form that somebody chose. */
export const formFrom = (version: 0 | 1, hash: HashName = 'sha2-256'): CidForm => ({
  version,
  hash: codeOf(hash),
});

function codeOf(name: HashName): number {
  const kind = DIGESTS.find((known) => known.name === name);
  if (kind === undefined) throw new RangeError(`no hash ${name}`);
  return kind.code;
}

/** That of a CID, if it is one that can be made here; else the usual one. */
export const formOf = ({ version, multihash }: CID): CidForm =>
  digestKind(multihash.code) === undefined ? PLAIN_FORM : { version, hash: multihash.code };

/** Bytes of a file's leaf, and links of its inner nodes: those of Kubo's profiles. */
export const leafBytesOf = ({ version }: CidForm): number => (version === 0 ? 256 : 1024) * 1024;
export const linksMaxOf = ({ version }: CidForm): number => (version === 0 ? 174 : 1024);

export interface Metadata {
  readonly mode?: number | undefined;
  readonly mtime?: { readonly s: number; readonly ns: number } | undefined;
}

/** A part of a file, or an entry of a directory, as the node above it tells of it. */
export interface Part {
  readonly cid: CID;
  /** Bytes of the file below it. */
  readonly size: number;
  /** Bytes of all its blocks. */
  readonly totalSize: number;
}

/** Where blocks go that are made. */
export interface Sink {
  put(cid: CID, bytes: Uint8Array): void;
}

/** Of unixfs.proto: `Type`, `Data`, `filesize`, `blocksizes`, `mode`, `mtime` of the message `Data`. */
const TAG = { type: 0x08, data: 0x12, size: 0x18, blockSize: 0x20, mode: 0x38, mtime: 0x42 };
const MTIME_TAG = { s: 0x08, ns: 0x15 };
const TYPE = { directory: 1, file: 2 };

/** Bytes of a file as one leaf. */
export function leafOf(bytes: Uint8Array, form: CidForm, sink: Sink): Part {
  const size = bytes.length;
  if (form.version === 1) return { cid: made(bytes, RAW_CODEC, form, sink), size, totalSize: size };
  const data = [field(TAG.type, TYPE.file), field(TAG.data, size), bytes, field(TAG.size, size)];
  const block = encodePb({ Data: Buffer.concat(data), Links: [] });
  return { cid: made(block, DAG_PB_CODEC, form, sink), size, totalSize: block.length };
}

/** A file of parts in their order. */
export function fileOf(
  parts: readonly Part[],
  metadata: Metadata,
  form: CidForm,
  sink: Sink,
): Part {
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  const data = [field(TAG.type, TYPE.file), field(TAG.size, size)];
  for (const part of parts) data.push(field(TAG.blockSize, part.size));
  data.push(...metadataFields(metadata));
  const links = parts.map(({ cid, totalSize }) => ({ Name: '', Hash: cid, Tsize: totalSize }));
  const block = encodePb({ Data: Buffer.concat(data), Links: links });
  const below = parts.reduce((sum, { totalSize }) => sum + totalSize, 0);
  const cid = made(block, DAG_PB_CODEC, form, sink);
  return { cid, size, totalSize: below + block.length };
}

export interface NamedPart extends Omit<Part, 'size'> {
  readonly name: string;
}

/**
 * A directory in one node, whatever it takes.
 * @throws OpError unsupported: more than a block holds.
 */
export function directoryOf(
  entries: readonly NamedPart[],
  metadata: Metadata,
  form: CidForm,
  sink: Sink,
): Part {
  const data = [field(TAG.type, TYPE.directory), ...metadataFields(metadata)];
  const links = entries
    .map(({ name, cid, totalSize }) => ({ Name: name, Hash: cid, Tsize: totalSize }))
    .sort((one, other) => Buffer.compare(Buffer.from(one.Name), Buffer.from(other.Name)));
  const block = encodePb({ Data: Buffer.concat(data), Links: links });
  if (block.length > BLOCK_BYTES_MAX) {
    throw new OpError('unsupported', 'make a directory', {
      hint: 'one that is so large takes sha2-256: see ipfs_files_chcid',
    });
  }
  const below = entries.reduce((sum, { totalSize }) => sum + totalSize, 0);
  const cid = made(block, DAG_PB_CODEC, form, sink);
  return { cid, size: 0, totalSize: below + block.length };
}

function made(bytes: Uint8Array, codec: number, { version, hash }: CidForm, sink: Sink): CID {
  const kind = digestKind(hash);
  if (kind === undefined) throw new RangeError(`no hash ${hash}`);
  const cid = CID.createV1(codec, digestOf(hash, kind.digest(bytes)));
  const told = version === 0 && codec === DAG_PB_CODEC ? cid.toV0() : cid;
  sink.put(told, bytes);
  return told;
}

function metadataFields({ mode, mtime }: Metadata): Buffer[] {
  const fields = mode === undefined ? [] : [field(TAG.mode, mode)];
  if (mtime === undefined) return fields;
  const seconds = signedField(MTIME_TAG.s, mtime.s);
  const nanoseconds = Buffer.alloc(mtime.ns === 0 ? 0 : 5, MTIME_TAG.ns);
  if (mtime.ns !== 0) nanoseconds.writeUInt32LE(mtime.ns, 1);
  const message = Buffer.concat([seconds, nanoseconds]);
  return [...fields, field(TAG.mtime, message.length), message];
}

/** A number below 2^53 as a varint. By division, because bits are shifted out of 32 only. */
function field(tag: number, value: number): Buffer {
  const bytes = [tag];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}

/** The same of an int64, which takes ten bytes when it is negative. */
function signedField(tag: number, value: number): Buffer {
  const bytes = [tag];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}
