/**
 * The manifest of a snapshot: what UnixFS cannot hold of a tree. One entry for every name; a name
 * that is no text, or a file that is no file to UnixFS, is in the manifest only. Here are its form
 * and its reader, `manifest-lists.ts` writes it.
 *
 * Version 2 is a tree like the one it tells of, so that a change rewrites the lists from its
 * directory up, and leaves the others as they are:
 * - the root block: {version, entries: names in all, root: the attributes of the root};
 * - a list of the names in a directory, `list` of its attributes: {entries: names in and below it,
 *   names: [...]}, or, of a large one, {entries, parts: [link to a list of names]}.
 *
 * Version 1 was one sequence of all paths in parts: {version, entries, parts: [link]}.
 */

import { createHash } from 'node:crypto';
import { code as RAW_CODEC } from 'multiformats/codecs/raw';
import { create as digestOf } from 'multiformats/hashes/digest';
import type { Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { bytesOf, type Name, nameOf } from '../base/ids.ts';
import { FETCHES_AT_ONCE_MAX, RESTORED_ENTRIES_MAX } from '../base/limits.ts';
import { inTurns } from '../base/together.ts';
import { turn } from '../base/turn.ts';
import { CID, type Dag, type StoredBlock } from '../content/content.ts';
import { Field } from './cbor.ts';
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

export const MANIFEST_VERSION = 2;

/** A longer value of an attribute is a block of its own. */
export const VALUE_BYTES_INLINE_MAX = 1024;

/**
 * An entry as a record has it, but for its name; long values come to `values`. Strict dag-cbor knows
 * no `undefined`: what is absent is left out.
 */
export function encodedEntry(
  entry: ManifestEntry,
  values: StoredBlock[],
): Readonly<Record<string, unknown>> {
  const { type, mode, uid, gid, atime, mtime, rdev, sameAs, xattrs, cid } = entry;
  const attributes = xattrs.map(({ name, value }) => {
    if (value.length <= VALUE_BYTES_INLINE_MAX) return [plain(bytesOf(name)), plain(value)];
    const block = rawBlock(value);
    values.push(block);
    return [plain(bytesOf(name)), block.cid];
  });
  return {
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
export const plain = (bytes: Buffer): Uint8Array => Uint8Array.from(bytes);

function rawBlock(bytes: Buffer): StoredBlock {
  const digest = createHash('sha256').update(bytes).digest();
  return { cid: CID.createV1(RAW_CODEC, digestOf(0x12, digest)), bytes };
}

/** A list of names that is not read yet. */
interface WaitingList {
  readonly path: Name;
  readonly list: CID;
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
  const root = Field.ofBlock(await dag.block(cid, signal), cid);
  const entries = new Map<Name, ManifestEntry>();
  if (root.at('version').integer(1, MANIFEST_VERSION) === 1) {
    for await (const fields of fieldsOf(dag, root.at('parts').list(), signal)) {
      for (const field of fields) {
        add(entries, await decoded(dag, field, nameOf(field.at('path').bytes()), signal), cid);
      }
    }
    return entries;
  }
  const top = root.at('root');
  add(entries, await decoded(dag, top, '' as Name, signal), cid);
  const read = async (next: WaitingList): Promise<WaitingList[]> => {
    const below: WaitingList[] = [];
    const prefix = next.path === '' ? '' : `${next.path}/`;
    for await (const fields of namesIn(dag, next.list, signal)) {
      for (const field of fields) {
        const path = `${prefix}${nameOf(field.at('name').bytes())}` as Name;
        add(entries, await decoded(dag, field, path, signal), cid);
        below.push(...waitingOf(field, path));
      }
    }
    return below;
  };
  // Side by side: each list may have to be fetched.
  for (let level = waitingOf(top, '' as Name); level.length > 0; ) {
    level = (await inTurns(level, FETCHES_AT_ONCE_MAX, read)).flat();
  }
  return entries;
}

/** What a manifest says of the root of its tree, without reading what is below. */
export interface Top {
  readonly root: ManifestEntry;
  readonly names: ReadonlyMap<Name, ManifestEntry>;
  /** Names in the whole tree, its root counted. */
  readonly entries: number;
}

/** @returns undefined: it is one long list (version 1). @throws OpError as `readManifest`. */
export async function readTop(dag: Dag, cid: CID, signal: AbortSignal): Promise<Top | undefined> {
  const block = Field.ofBlock(await dag.block(cid, signal), cid);
  if (block.at('version').integer(1, MANIFEST_VERSION) === 1) return undefined;
  const top = block.at('root');
  const names = new Map<Name, ManifestEntry>();
  for (const { list } of waitingOf(top, '' as Name)) {
    for await (const fields of namesIn(dag, list, signal)) {
      for (const field of fields) {
        add(names, await decoded(dag, field, nameOf(field.at('name').bytes()), signal), cid);
      }
    }
  }
  const entries = block.at('entries').integer(1, RESTORED_ENTRIES_MAX);
  return { root: await decoded(dag, top, '' as Name, signal), names, entries };
}

/** What one has of something, and what the other. */
export type Sides<T> = { readonly before: T; readonly after: T };

/**
 * The entries of two manifests, without those in lists that both have.
 * @throws OpError as `readManifest`.
 */
export async function readDiffering(
  dag: Dag,
  cids: Sides<CID>,
  signal: AbortSignal,
): Promise<Sides<Map<Name, ManifestEntry>>> {
  const blockOf = async (cid: CID) => Field.ofBlock(await dag.block(cid, signal), cid);
  const roots = { before: await blockOf(cids.before), after: await blockOf(cids.after) };
  const isList = SIDES.some((side) => roots[side].at('version').integer(1, MANIFEST_VERSION) === 1);
  if (isList) {
    const before = await readManifest(dag, cids.before, signal);
    return { before, after: await readManifest(dag, cids.after, signal) };
  }
  const found = { before: new Map<Name, ManifestEntry>(), after: new Map<Name, ManifestEntry>() };
  const waiting: Lists[] = [{ path: '' as Name, before: undefined, after: undefined }];
  for (const side of SIDES) {
    const top = roots[side].at('root');
    add(found[side], await decoded(dag, top, '' as Name, signal), cids[side]);
    for (const lists of waiting) lists[side] = waitingOf(top, '' as Name)[0]?.list;
  }
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    waiting.push(...(await readLists(dag, next, { found, cids, signal })));
  }
  return found;
}

const SIDES = ['before', 'after'] as const;

/** The lists that two manifests have of one directory. */
interface Lists {
  readonly path: Name;
  before: CID | undefined;
  after: CID | undefined;
}

/** Reads what differs of them; answers the lists below, of which one may be that of the other. */
async function readLists(
  dag: Dag,
  lists: Lists,
  reading: {
    readonly found: Sides<Map<Name, ManifestEntry>>;
    readonly cids: Sides<CID>;
    readonly signal: AbortSignal;
  },
): Promise<Lists[]> {
  const { path: directory, before, after } = lists;
  if (String(before) === String(after)) return [];
  const { found, cids, signal } = reading;
  const common = await commonParts(dag, [before, after], signal);
  const prefix = directory === '' ? '' : `${directory}/`;
  const below = new Map<Name, Lists>();
  for (const side of SIDES) {
    const list = lists[side];
    if (list === undefined) continue;
    for await (const fields of namesIn(dag, list, signal, common)) {
      for (const field of fields) {
        const path = `${prefix}${nameOf(field.at('name').bytes())}` as Name;
        add(found[side], await decoded(dag, field, path, signal), cids[side]);
        const both = below.get(path) ?? { path, before: undefined, after: undefined };
        both[side] = waitingOf(field, path)[0]?.list;
        below.set(path, both);
      }
    }
  }
  return [...below.values()];
}

/** The parts that both lists have, as texts. */
async function commonParts(
  dag: Dag,
  lists: readonly (CID | undefined)[],
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const parts: string[][] = [];
  for (const list of lists) {
    const block = list && Field.ofBlock(await dag.block(list, signal), list);
    const links = block?.at('parts').optional((field) => field.list()) ?? [];
    parts.push(links.map((part) => part.cid().toString()));
  }
  const [before = [], after = []] = parts;
  const others = new Set(after);
  return new Set(before.filter((part) => others.has(part)));
}

/** The access time of the root; undefined in version 1. @throws as `readManifest`. */
export async function rootAtimeOf(
  dag: Dag,
  cid: CID,
  signal: AbortSignal,
): Promise<Instant | undefined> {
  const block = Field.ofBlock(await dag.block(cid, signal), cid);
  return block.at('root').optional((root) => timeOf(root.at('atime')));
}

const waitingOf = (entry: Field, path: Name): WaitingList[] =>
  entry.at('list').isAbsent ? [] : [{ path, list: entry.at('list').cid() }];

/** Of a name that is there twice, whatever is below would be read twice, and so on at each level. */
function add(entries: Map<Name, ManifestEntry>, entry: ManifestEntry, cid: CID): void {
  if (entries.has(entry.path)) throw contrived(cid, 'it names one path twice');
  entries.set(entry.path, entry);
  if (entries.size <= RESTORED_ENTRIES_MAX) return;
  throw new OpError('payload-too-large', `read manifest ${cid}`);
}

const contrived = (cid: CID, what: string): OpError =>
  new OpError('integrity', `read manifest ${cid}`, { hint: `${what}; it was made so` });

/** Parts of one list that are fetched together. */
const PARTS_AT_ONCE = 16;

/** Block by block, without those of the parts `known`. */
async function* namesIn(
  dag: Dag,
  list: CID,
  signal: AbortSignal,
  known: ReadonlySet<string> = new Set(),
): AsyncGenerator<readonly Field[]> {
  const block = Field.ofBlock(await dag.block(list, signal), list);
  const names = block.at('names').optional((field) => field.list());
  const isNew = (part: Field) => known.size === 0 || !known.has(part.cid().toString());
  if (names !== undefined) {
    yield names;
    return;
  }
  for await (const part of fieldsOf(dag, block.at('parts').list().filter(isNew), signal)) {
    // One that names nothing could be there any number of times.
    if (part.length === 0) throw contrived(list, 'a part of it is empty');
    yield part;
  }
}

async function* fieldsOf(
  dag: Dag,
  parts: readonly Field[],
  signal: AbortSignal,
): AsyncGenerator<readonly Field[]> {
  for (let at = 0; at < parts.length; at += PARTS_AT_ONCE) {
    const cids = parts.slice(at, at + PARTS_AT_ONCE).map((part) => part.cid());
    const blocks = await inTurns(cids, PARTS_AT_ONCE, async (cid) => {
      return Field.ofBlock(await dag.block(cid, signal), cid);
    });
    for (const block of blocks) {
      yield block.list();
      await turn();
    }
  }
}

const ID_MAX = 0xffff_ffff;
const TIME_S_MAX = 2 ** 40;

async function decoded(
  dag: Dag,
  field: Field,
  path: Name,
  signal: AbortSignal,
): Promise<ManifestEntry> {
  const xattrs = [];
  for (const attribute of field.at('xattrs').optional((list) => list.list()) ?? []) {
    const [name, value] = attribute.pair();
    xattrs.push({ name: nameOf(name.bytes()), value: await attributeValueOf(dag, value, signal) });
  }
  return {
    path,
    type: field.at('type').word(ENTRY_TYPES),
    mode: field.at('mode').integer(0, 0o7777),
    uid: field.at('uid').integer(0, ID_MAX),
    gid: field.at('gid').integer(0, ID_MAX),
    atime: timeOf(field.at('atime')),
    mtime: timeOf(field.at('mtime')),
    rdev: field.at('rdev').optional((rdev) => rdev.integer(0, ID_MAX)),
    sameAs: field.at('same_as').optional((other) => nameOf(other.bytes())),
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
