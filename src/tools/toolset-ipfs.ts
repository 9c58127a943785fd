/**
 * Toolset ipfs_core, content in and out of the embedded engine: ipfs_add, ipfs_cat, ipfs_ls. Pins
 * are in `toolset-ipfs-pins.ts`.
 */
import { z } from 'zod';
import type { KuboNode } from '../backend/backend.ts';
import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type Name, nameOfText, textOf } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import type { Built, CID, Dag, Profile } from '../content/content.ts';
import {
  type Assembled,
  assemble,
  type FrozenEntry,
  freeze,
  syncBlocks,
  typeOf,
} from '../sync/sync.ts';
import { CONTROL_INO_FROM, type Inode, mountsInside } from '../vfs/vfs.ts';
import { addOutside, bytesEntry, type EntriesBelow, treeEntries } from './add-outside.ts';
import { type ContentRead, contentLocalPath, gateOf, located } from './content-paths.ts';
import { octal } from './entries.ts';
import { sliceResult } from './envelope.ts';
import { mimeOf, SNIFFED_BYTES } from './mime.ts';
import { changeOutside } from './outside.ts';
import { ipfsUri } from './paths.ts';
import { type PinRecord, recordStored, syncedAfterwards } from './pins.ts';
import { type Asker, about, absent, askerOf, find } from './places.ts';
import type { Plan } from './results.ts';
import * as schema from './schema.ts';
import { type ContentResult, contentTool, recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_core', version: '1.0.0' } as const;
const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: true } as const;

/** Entries of a directory that an answer lists. */
const ENTRIES_SHOWN = 50;
/** Warnings of one kind in an answer. */
const WARNINGS_SHOWN = 20;
/** What inline content has, which has no file to be asked. */
const INLINE_MODE = 0o644;

const addInput = schema.input({
  content: schema.content.content.optional(),
  encoding: schema.content.encoding,
  path: schema.path('file or directory, instead of content').optional(),
  filename: schema.text(1, 255).optional(),
  recursive: schema.recursive().describe('for a directory'),
  wrap_with_directory: schema.flag(),
  pin: schema.flag(true),
  pin_name: schema.pinName().optional(),
  cid_profile: z.enum(['unixfs-v1-2025', 'unixfs-v0-2015']).default('unixfs-v1-2025'),
  unixfs_metadata: schema.flag().describe('keep mode and mtime; other CIDs'),
  ...schema.node,
  ...schema.job,
  ...schema.dryRun,
});
type AddInput = z.output<typeof addInput>;

export const ipfsAdd = recordTool({
  ...COMMON,
  deadline: 'job',
  job: true,
  name: 'ipfs_add',
  title: 'Add content to IPFS',
  description:
    'Give bytes, or a file or directory of the tree, a CID and keep them under it, ' +
    'readable at /ipfs/<cid>. dry_run only computes the CID. To publish a tree with its ' +
    'history use vfs_sync_to_ipfs.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: true },
  changes: 'journal',
  input: addInput,
  example: { content: 'hello world' },
  output: z.object({
    cid: z.string(),
    filename: z.string().optional(),
    size: z.int(),
    cumulative_size: z.int(),
    blocks: z.int().optional(),
    pinned: z.boolean(),
    cid_profile: z.string(),
    entries: z
      .array(z.object({ path: z.string(), cid: z.string(), size: z.int(), type: z.string() }))
      .optional(),
    uri: z.string(),
  }),
  run: async (input, context) => {
    const op = 'ipfs_add';
    const node = context.ports.ipfs.nodes.state(input.node, op);
    demandSource(input);
    // What goes to another node is only hashed here.
    const how = { ...input, dry_run: input.dry_run || node.kind === 'kubo' };
    const made =
      input.path === undefined ? await addBytes(how, context) : await addPath(how, context);
    const root = await wrapped(made, how, context);
    if (input.dry_run) return { data: { dry_run: true, plan: planOf(input, made, root) } };
    if (node.kind === 'kubo') return putOutside(context, node, input, { made, root });
    const { ports, signal } = context;
    const { journal, content: contents } = ports.vfs.core;
    const { dag } = ports.ipfs;
    const blocks = await syncBlocks({ journal, contents, dag }, [root.cid], signal);
    signal.throwIfAborted();
    const told = { ...toldOf(input, { made, root }, blocks), node: 'embedded' as const };
    const seq = journal.group(() => {
      context.keep(() => told);
      return record(input, context, made, root);
    });
    return { ...told, seq };
  },
  afterwards: syncedAfterwards,
});

interface Rooted {
  readonly made: Added;
  /** `made` itself, or the directory around it. */
  readonly root: Pick<Added, 'cid' | 'cumulativeSize'>;
}

const toldOf = (input: AddInput, { made, root }: Rooted, blocks: number | undefined) => ({
  data: {
    cid: root.cid.toString(),
    ...(made.filename === undefined ? {} : { filename: made.filename }),
    size: made.size,
    cumulative_size: root.cumulativeSize,
    ...(blocks === undefined ? {} : { blocks }),
    pinned: input.pin,
    cid_profile: input.cid_profile,
    ...(made.entries === undefined ? {} : { entries: made.entries }),
    uri: ipfsUri(root.cid.toString()),
  },
  warnings: made.warnings,
});

function putOutside(context: ToolContext, node: KuboNode, input: AddInput, rooted: Rooted) {
  const { made, root } = rooted;
  // The directory around it is one more.
  const blocks = made.blocks === undefined ? undefined : made.blocks + Number(root !== made);
  const addition = {
    root: root.cid,
    entries: made.source,
    name: made.filename ?? made.cid.toString(),
    profile: input.cid_profile,
    metadata: input.unixfs_metadata,
    wrap: input.wrap_with_directory,
    pin: input.pin ? { name: input.pin_name } : undefined,
  };
  return changeOutside(context, {
    record: recordOf(input, made, root),
    make: () => addOutside(context, node, addition),
    tell: () => ({ ...toldOf(input, rooted, blocks), node: node.kind }),
  });
}

interface Added {
  readonly cid: CID;
  /** Bytes of the file, or of all files. */
  readonly size: number;
  readonly cumulativeSize: number;
  readonly filename: string | undefined;
  readonly entries?: { path: string; cid: string; size: number; type: string }[];
  readonly warnings: readonly string[];
  /** What it was made of, once more. */
  readonly source: EntriesBelow;
  /** Of its DAG; undefined for a tree, whose files may share some. */
  readonly blocks: number | undefined;
}

/** @throws OpError invalid-argument. */
function demandSource({ content, path, filename }: AddInput): void {
  if ((content === undefined) === (path === undefined)) {
    throw schema.combination('ipfs_add', 'content', 'either content or path');
  }
  const isName = filename === undefined || !(/[/\0]/.test(filename) || /^\.{1,2}$/.test(filename));
  if (isName) return;
  const issue = { argument: 'filename', reason: 'format', expected: 'the name of one file' };
  throw new OpError('invalid-argument', 'ipfs_add', { details: { issues: [issue] } });
}

/** @throws OpError encoding, payload-too-large, no-space. */
async function addBytes(input: AddInput, context: ToolContext): Promise<Added> {
  const bytes = schema.decodeContent(input.content ?? '', input.encoding, 'ipfs_add');
  const { clock, ipfs } = context.ports;
  const metadata = input.unixfs_metadata ? { mode: INLINE_MODE, mtime: clock.now() } : {};
  const options = { profile: input.cid_profile, dryRun: input.dry_run, ...metadata };
  const built = await ipfs.builder.addBytes(bytes, options, context.signal);
  const blocks = built.blocksNew + built.blocksReused;
  const source = bytesEntry(bytes, metadata);
  return { ...built, filename: input.filename, warnings: [], source, blocks };
}

/** @throws OpError not-found, is-directory, unsupported, denied, no-space. */
async function addPath(input: AddInput, context: ToolContext): Promise<Added> {
  const path = input.path ?? '';
  const asker = askerOf(context, 'ipfs_add');
  const { vfs, sealer, ipfs } = context.ports;
  const inode = await source(asker, path, input.recursive);
  const { journal, content: contents, clock } = vfs.core;
  const ports = { journal, contents, clock, dag: ipfs.dag, builder: ipfs.builder, sealer };
  const profile: Profile = input.cid_profile;
  const assembled = await about(asker, path, async () => {
    const frozen = freeze(ports, inode.ino, { gate: gateOf(asker), dryRun: input.dry_run });
    const options = { profile, metadata: input.unixfs_metadata, dryRun: input.dry_run };
    return assemble(ports, frozen, options, {
      signal: context.signal,
      progress: ({ bytes, bytesTotal: total }) => {
        context.progress({ done: bytes, total, unit: 'bytes' });
      },
    });
  });
  const { root, counts } = assembled;
  const isTree = isDirectory(inode.mode);
  const warnings = warningsOf(assembled, mountsInside(vfs.core, inode.ino).length);
  return {
    cid: root.cid,
    size: isTree ? counts.bytes : root.size,
    cumulativeSize: root.cumulativeSize,
    filename: input.filename ?? path.slice(path.lastIndexOf('/') + 1),
    ...(isTree ? { entries: entriesOf(assembled) } : {}),
    warnings,
    source: treeEntries(assembled, contents),
    blocks: isTree ? undefined : counts.newBlocks + counts.reusedBlocks,
  };
}

/** What a path means, when it is in a managed tree. */
async function source(asker: Asker, path: string, recursive: boolean): Promise<Inode> {
  const { inode } = await find(asker, path, true);
  if (inode === undefined) throw absent(asker, path);
  if (inode.ino >= CONTROL_INO_FROM) {
    throw new OpError('unsupported', `ipfs_add ${path}`, {
      hint: 'content by CID has a CID already: pin it with ipfs_pin_add',
      details: { path },
    });
  }
  if (!isDirectory(inode.mode)) return inode;
  if (!recursive) throw new OpError('is-directory', `ipfs_add ${path}`, { details: { path } });
  return inode;
}

function warningsOf({ skipped }: Assembled, mounts: number): string[] {
  const told = skipped.slice(0, WARNINGS_SHOWN).map(({ entry, why }) => {
    const what = why === 'name' ? 'its name is no text' : `it is a ${typeOf(entry.row.mode)}`;
    return `left out ${textOf(entry.path)}: ${what}`;
  });
  if (skipped.length > told.length) told.push(`left out ${skipped.length - told.length} more`);
  if (mounts > 0) told.push('left out what is mounted inside');
  return told;
}

function entriesOf({ built }: Assembled): NonNullable<Added['entries']> {
  const shown: NonNullable<Added['entries']> = [];
  for (const [entry, { cid, size }] of inOrder(built)) {
    if (entry.path === '') continue;
    const type = typeOf(entry.row.mode);
    shown.push({ path: textOf(entry.path), cid: cid.toString(), size, type });
    if (shown.length === ENTRIES_SHOWN) break;
  }
  return shown;
}

type BuiltMap = Assembled['built'];
const inOrder = (built: BuiltMap): [FrozenEntry, Pick<Built, 'cid' | 'size'>][] =>
  [...built].sort(([one], [other]) => (one.path < other.path ? -1 : 1));

/** The root itself, or a directory with nothing else in it. */
async function wrapped(
  made: Added,
  input: AddInput,
  context: ToolContext,
): Promise<Pick<Added, 'cid' | 'cumulativeSize'>> {
  if (!input.wrap_with_directory) return made;
  const { cid, cumulativeSize, filename } = made;
  // As `ipfs add -w` names what has no name.
  const name = filename === undefined || filename === '' ? cid.toString() : filename;
  const options = { profile: input.cid_profile, dryRun: input.dry_run };
  const { builder } = context.ports.ipfs;
  return builder.buildDirectory([{ name, cid, cumulativeSize }], options, context.signal);
}

/** The pin and the record, in one transaction. */
function record(
  input: AddInput,
  context: ToolContext,
  made: Added,
  root: { readonly cid: CID },
): number {
  return recordStored(context, root.cid, input, (named) => recordOf(named, made, root));
}

function recordOf(input: AddInput, { size }: Added, { cid }: { readonly cid: CID }): PinRecord {
  const { cid_profile: profile, pin: pinned, pin_name: name = null } = input;
  const path: Name | undefined = input.path === undefined ? undefined : nameOfText(input.path);
  return { kind: 'add', cid, path, size, after: { profile, pinned, pin_name: name } };
}

function planOf({ path }: AddInput, made: Added, { cid }: { readonly cid: CID }): Plan {
  const { size: bytes, warnings } = made;
  const where = path === undefined ? {} : { path };
  return {
    actions: [{ op: 'add', ...where, identifier: cid.toString(), bytes }],
    counts: { add: 1 },
    bytes,
    conflicts: [],
    warnings: [...warnings],
  };
}

export const ipfsCat = contentTool({
  ...COMMON,
  deadline: 'remote',
  name: 'ipfs_cat',
  title: 'Read content by CID',
  description:
    'Read a slice of a file by its CID or a path below one: text when it is, else ' +
    'base64, every byte verified. Go on at next_offset. For files of the tree use ' +
    'vfs_read.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({
    ipfs_path: schema.ipfsPath(),
    ...schema.slice,
    ...schema.node,
    ...schema.localOnly,
    ...schema.timeout,
  }),
  example: { ipfs_path: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e' },
  run: async (input, context) => {
    const read = await located(context, input, 'ipfs_cat');
    return readFile(context, read, input);
  },
});

interface Wanted {
  readonly ipfs_path: string;
  readonly offset: number;
  readonly length: number;
  readonly encoding?: 'utf-8' | 'base64' | undefined;
}

/** A slice of a file. @throws OpError is-directory, unsupported, content-missing, integrity. */
export async function readFile(
  context: ToolContext,
  read: ContentRead,
  { ipfs_path: path, offset, length, encoding }: Wanted,
): Promise<ContentResult> {
  const { signal } = context;
  const { cid, uri, name, reach, op } = read;
  const { dag } = reach;
  const { size } = await dag.entryOf(cid, signal);
  const bytes = await dag.readRange(cid, { position: offset, length }, signal);
  const head =
    offset === 0 && bytes.length >= Math.min(SNIFFED_BYTES, size)
      ? bytes.subarray(0, SNIFFED_BYTES)
      : await dag.readRange(cid, { position: 0, length: SNIFFED_BYTES }, signal);
  const result = sliceResult({
    op: `${op} ${path}`,
    bytes,
    offset,
    size,
    encoding,
    mime: mimeOf(name, head),
    uri,
    name,
    localPath: contentLocalPath(context, read),
    cid: cid.toString(),
  });
  return { ...result, node: reach.node() };
}

const TYPES = ['file', 'directory', 'symlink', 'raw', 'other'] as const;

export const ipfsLs = recordTool({
  ...COMMON,
  deadline: 'remote',
  name: 'ipfs_ls',
  title: 'List content by CID',
  description:
    'List a directory by its CID or a path below one, names in byte order; of anything ' +
    'else tell the type. For directories of the tree use vfs_ls.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({
    ipfs_path: schema.ipfsPath(),
    ...schema.node,
    ...schema.localOnly,
    ...schema.page,
    ...schema.timeout,
  }),
  example: { ipfs_path: 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354' },
  output: z.object({
    ipfs_path: z.string(),
    cid: z.string(),
    type: z.enum(TYPES),
    entries: z.array(
      z.object({
        name: z.string(),
        cid: z.string(),
        type: z.enum([...TYPES, 'unknown']),
        size: z.int().optional(),
        target: z.string().optional(),
        mode: z.string().optional(),
        mtime: z.string().optional(),
      }),
    ),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_ls';
    const { ports, signal, principal } = context;
    const { cid, reach } = await located(context, input, op);
    const { dag } = reach;
    const { type } = await dag.entryOf(cid, signal);
    let missing = 0;
    const { items, ...fields } = await ports.cursors.page(
      { tool: op, principal, arguments: input },
      () => (type === 'directory' ? linksOf(dag, cid, signal) : []),
      async (link) => {
        const entry = await childOf(dag, link, signal);
        if (entry.type === 'unknown') missing += 1;
        return entry;
      },
    );
    return {
      data: {
        ipfs_path: input.ipfs_path,
        cid: cid.toString(),
        type,
        entries: [...items],
        ...fields,
      },
      warnings: missing === 0 ? [] : [`${missing} of these entries are not here`],
      node: reach.node(),
    };
  },
});

interface Link {
  readonly name: string;
  readonly cid: CID;
}

async function linksOf(dag: Dag, cid: CID, signal: AbortSignal): Promise<Link[]> {
  const links: (Link & { readonly key: Name })[] = [];
  for await (const link of dag.list(cid, signal)) {
    links.push({ name: link.name, cid: link.cid, key: nameOfText(link.name) });
  }
  // A sharded directory has its names in the order of their hashes.
  return links.sort((one, other) => (one.key < other.key ? -1 : 1));
}

async function childOf(dag: Dag, { name, cid }: Link, signal: AbortSignal) {
  const plain = { name, cid: cid.toString() };
  try {
    const { type, size, target, mode, mtime } = await dag.entryOf(cid, signal);
    return {
      ...plain,
      type,
      size,
      ...(target === undefined ? {} : { target: textOf(target) }),
      ...(mode === undefined ? {} : { mode: octal(mode) }),
      ...(mtime === undefined ? {} : { mtime: rfc3339(mtime) }),
    };
  } catch (error) {
    const isMissing = error instanceof OpError && error.failure === 'content-missing';
    if (!isMissing) throw error;
    return { ...plain, type: 'unknown' as const };
  }
}
