/**
 * The manifest of a snapshot: what UnixFS cannot hold of a tree. One entry for every name, in
 * parts; a name that is no text, or a file that is no file to UnixFS, is in the manifest only.
 *
 * Parts end at paths chosen by a hash of the path, so that a change of the tree changes the part it
 * is in and leaves the others as they are.
 */

import { createHash } from 'node:crypto';
import { code as RAW_CODEC } from 'multiformats/codecs/raw';
import { create as digestOf } from 'multiformats/hashes/digest';
import type { Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { bytesOf, type Name, nameOf } from '../base/ids.ts';
import { RESTORED_ENTRIES_MAX } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import { type BlockStore, CID, type Dag, type StoredBlock } from '../content/content.ts';
import { cborBlock, Field } from './cbor.ts';
import { ENTRY_TYPES, type EntryType } from './types.ts';

export interface ManifestEntry {
  /** From the root of the tree; '' is the root itself. */
  readonly path: Name;
  readonly type: EntryType;
  /** Permission bits, set-id and sticky bits included. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly atime: Instant;
  readonly mtime: Instant;
  /** Of devices. */
  readonly rdev: number | undefined;
  /** The first path of the same inode. */
  readonly sameAs: Name | undefined;
  readonly xattrs: readonly { readonly name: Name; readonly value: Buffer }[];
  /** The content of what the tree does not show, because its name is no text. */
  readonly cid: CID | undefined;
}

const VERSION = 1;
/** A part ends behind one path in so many, on average. */
const ENTRIES_PER_PART = 512;
/** And not later than here, well below the largest block. */
const PART_BYTES_MAX = 256 * 1024;
/** A longer value of an attribute is a block of its own. */
const VALUE_BYTES_INLINE_MAX = 1024;
/** Bytes of an entry beside its path and its attributes, about. */
const ENTRY_BYTES = 160;

/**
 * Stores a manifest; answers its root.
 * @param entries in an order that depends on nothing but the tree.
 * @throws OpError no-space; the signal's reason.
 */
export async function storeManifest(
  blocks: Pick<BlockStore, 'putAll'>,
  entries: Iterable<ManifestEntry>,
  signal: AbortSignal,
): Promise<CID> {
  const parts: CID[] = [];
  let part: unknown[] = [];
  let values: StoredBlock[] = [];
  let bytes = 0;
  let count = 0;
  const end = () => {
    const block = cborBlock(part);
    blocks.putAll([...values, block]);
    parts.push(block.cid);
    part = [];
    values = [];
    bytes = 0;
  };
  for (const entry of entries) {
    count += 1;
    part.push(encoded(entry, values));
    bytes += ENTRY_BYTES + entry.path.length + attributeBytes(entry);
    if (bytes < PART_BYTES_MAX && !endsPart(entry.path)) continue;
    end();
    await turn();
    signal.throwIfAborted();
  }
  if (part.length > 0) end();
  const root = cborBlock({ version: VERSION, entries: count, parts });
  blocks.putAll([root]);
  return root.cid;
}

const attributeBytes = ({ xattrs }: ManifestEntry): number =>
  xattrs.reduce((sum, { name, value }) => {
    return sum + 48 + name.length + Math.min(value.length, VALUE_BYTES_INLINE_MAX);
  }, 0);

/** FNV-1a: cheap, and the same for ever. */
function endsPart(path: Name): boolean {
  let hash = 0x811c9dc5;
  for (let at = 0; at < path.length; at += 1) {
    hash = Math.imul(hash ^ path.charCodeAt(at), 0x01000193);
  }
  return (hash >>> 0) % ENTRIES_PER_PART === 0;
}

/** Strict dag-cbor knows no `undefined`: what is absent is left out. */
function encoded(entry: ManifestEntry, values: StoredBlock[]): Record<string, unknown> {
  const { path, type, mode, uid, gid, atime, mtime, rdev, sameAs, xattrs, cid } = entry;
  const attributes = xattrs.map(({ name, value }) => {
    if (value.length <= VALUE_BYTES_INLINE_MAX) return [plain(bytesOf(name)), plain(value)];
    const block = rawBlock(value);
    values.push(block);
    return [plain(bytesOf(name)), block.cid];
  });
  return {
    path: plain(bytesOf(path)),
    type,
    mode,
    uid,
    gid,
    atime: [atime.s, atime.ns],
    mtime: [mtime.s, mtime.ns],
    ...(rdev === undefined ? {} : { rdev }),
    ...(sameAs === undefined ? {} : { same_as: plain(bytesOf(sameAs)) }),
    ...(attributes.length === 0 ? {} : { xattrs: attributes }),
    ...(cid === undefined ? {} : { cid }),
  };
}

/** The encoder takes a Buffer too, but what it makes of one is not promised. */
const plain = (bytes: Buffer): Uint8Array => Uint8Array.from(bytes);

function rawBlock(bytes: Buffer): StoredBlock {
  const digest = createHash('sha256').update(bytes).digest();
  return { cid: CID.createV1(RAW_CODEC, digestOf(0x12, digest)), bytes };
}

/**
 * The entries of a manifest by their paths.
 * @throws OpError content-missing, integrity, unsupported; payload-too-large.
 */
export async function readManifest(
  dag: Dag,
  cid: CID,
  signal: AbortSignal,
): Promise<Map<Name, ManifestEntry>> {
  return readParts(dag, cid, await partsOf(dag, cid, signal), signal);
}

/**
 * The entries of two manifests, without those in parts that both have.
 * @throws OpError as `readManifest`.
 */
export async function readDifferingParts(
  dag: Dag,
  { before, after }: { readonly before: CID; readonly after: CID },
  signal: AbortSignal,
): Promise<Record<'before' | 'after', Map<Name, ManifestEntry>>> {
  const old = await partsOf(dag, before, signal);
  const now = await partsOf(dag, after, signal);
  const without = (parts: readonly CID[], others: readonly CID[]) => {
    const known = new Set(others.map(String));
    return parts.filter((part) => !known.has(part.toString()));
  };
  return {
    before: await readParts(dag, before, without(old, now), signal),
    after: await readParts(dag, after, without(now, old), signal),
  };
}

async function partsOf(dag: Dag, cid: CID, signal: AbortSignal): Promise<CID[]> {
  const root = Field.ofBlock(await dag.block(cid, signal), cid);
  root.at('version').integer(VERSION, VERSION);
  return root
    .at('parts')
    .list()
    .map((part) => part.cid());
}

async function readParts(
  dag: Dag,
  cid: CID,
  parts: readonly CID[],
  signal: AbortSignal,
): Promise<Map<Name, ManifestEntry>> {
  const entries = new Map<Name, ManifestEntry>();
  for (const part of parts) {
    const list = Field.ofBlock(await dag.block(part, signal), part).list();
    if (entries.size + list.length > RESTORED_ENTRIES_MAX) {
      throw new OpError('payload-too-large', `read manifest ${cid}`);
    }
    for (const field of list) {
      const entry = await decoded(dag, field, signal);
      entries.set(entry.path, entry);
    }
    await turn();
  }
  return entries;
}

const ID_MAX = 0xffff_ffff;
const TIME_S_MAX = 2 ** 40;

async function decoded(dag: Dag, field: Field, signal: AbortSignal): Promise<ManifestEntry> {
  const xattrs = [];
  for (const attribute of field.at('xattrs').optional((list) => list.list()) ?? []) {
    const [name, value] = attribute.pair();
    xattrs.push({ name: nameOf(name.bytes()), value: await attributeValueOf(dag, value, signal) });
  }
  return {
    path: nameOf(field.at('path').bytes()),
    type: field.at('type').word(ENTRY_TYPES),
    mode: field.at('mode').integer(0, 0o7777),
    uid: field.at('uid').integer(0, ID_MAX),
    gid: field.at('gid').integer(0, ID_MAX),
    atime: timeOf(field.at('atime')),
    mtime: timeOf(field.at('mtime')),
    rdev: field.at('rdev').optional((rdev) => rdev.integer(0, ID_MAX)),
    sameAs: field.at('same_as').optional((path) => nameOf(path.bytes())),
    xattrs,
    cid: field.at('cid').optional((cid) => cid.cid()),
  };
}

async function attributeValueOf(dag: Dag, value: Field, signal: AbortSignal): Promise<Buffer> {
  if (!value.isLink) return value.bytes();
  return Buffer.from(await dag.block(value.cid(), signal));
}

function timeOf(field: Field): Instant {
  const [s, ns] = field.pair();
  return { s: s.integer(-TIME_S_MAX, TIME_S_MAX), ns: ns.integer(0, 999_999_999) };
}
