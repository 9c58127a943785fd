/**
 * Toolset mfs, what changes the tree: ipfs_files_mkdir, ipfs_files_write, ipfs_files_cp,
 * ipfs_files_mv, ipfs_files_rm, ipfs_files_chcid.
 */
import { z } from 'zod';
import type { MfsHash, MfsStat } from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import { DELETED_UNASKED_MAX, FILE_BYTES_MAX, MFS_HOLE_BYTES_MAX } from '../base/limits.ts';
import {
  changeMfs,
  countedEntries,
  demandFree,
  demandNotRoot,
  demandParent,
  demandThere,
  fault,
  isContentPath,
  type Look,
} from './mfs.ts';
import { syncedAfterwards } from './pins.ts';
import * as schema from './schema.ts';
import { recordTool } from './tool.ts';

const COMMON = { toolset: 'mfs', version: '1.0.0', deadline: 'remote' } as const;
const CHANGE = { readOnly: false, openWorld: false } as const;

const hash = z.enum(['sha2-256', 'sha2-512', 'blake2b-256']);
const cidVersion = () => schema.int(0, 1).default(1);
const flush = { flush: schema.flag(true).describe('to disk before the answer') };

/** Version 0 has one hash. @throws OpError invalid-argument. */
function demandHash(op: string, version: number, name: MfsHash | undefined): void {
  if (version === 1 || name === undefined || name === 'sha2-256') return;
  throw schema.combination(op, 'hash', 'sha2-256 with cid_version 0');
}

const versionOf = (version: number): 0 | 1 => (version === 0 ? 0 : 1);

export const ipfsFilesMkdir = recordTool({
  ...COMMON,
  name: 'ipfs_files_mkdir',
  title: 'Make a directory in MFS',
  description:
    'Make a directory in the mutable tree of the node. For the mounted tree use vfs_mkdir.',
  hints: { ...CHANGE, destructive: false, idempotent: true },
  changes: 'journal',
  input: schema.input({
    path: schema.mfsPath(),
    parents: schema.parents(),
    cid_version: cidVersion(),
    hash: hash.default('sha2-256'),
    ...flush,
    ...schema.node,
    ...schema.timeout,
  }),
  example: { path: '/projects/one', parents: true },
  output: z.object({ path: z.string(), created: z.boolean(), cid: z.string() }),
  run: (input, context) => {
    const op = 'ipfs_files_mkdir';
    const { path, parents, cid_version: version } = input;
    demandHash(op, version, input.hash);
    const how = version === 0 ? {} : { hash: input.hash };
    return changeMfs(context, input, {
      ...{ op, kind: 'mfs_mkdir', path, flush: input.flush },
      after: { cid_version: version, ...how },
      check: async (look) => {
        const there = await look.mfs.stat(path, look);
        if (there === undefined) await demandParent(look, path, parents);
        else if (!parents || there.type !== 'directory') throw fault('exists', look, path);
        return there && { path, created: false, cid: there.cid.toString() };
      },
      make: (mfs, options) =>
        mfs.mkdir(path, {
          ...{ ...options, ...how, parents, flush: input.flush },
          cidVersion: versionOf(version),
        }),
      outcome: ({ cid }) => ({ cid }),
      tell: ({ cid, created }) => ({ path, created, cid: cid.toString() }),
    });
  },
  afterwards: syncedAfterwards,
});

const writeInput = schema.input({
  path: schema.mfsPath(),
  ...schema.content,
  offset: schema.int(0).optional(),
  truncate: z.boolean().optional().describe('true without offset'),
  create: schema.flag(true),
  parents: schema.parents(),
  expected_version: schema.expectedVersion(),
  ...flush,
  ...schema.node,
  ...schema.timeout,
  ...schema.dryRun,
});
type WriteInput = z.output<typeof writeInput>;

export const ipfsFilesWrite = recordTool({
  ...COMMON,
  name: 'ipfs_files_write',
  title: 'Write a file of MFS',
  description:
    'Write bytes into a file in the mutable tree of the node: all of it, or with offset a part. For ' +
    'the mounted tree use vfs_write.',
  hints: { ...CHANGE, destructive: true, idempotent: false },
  changes: 'journal',
  input: writeInput,
  example: { path: '/notes.txt', content: 'hello' },
  output: z.object({
    path: z.string(),
    bytes_written: z.int(),
    size: z.int(),
    cid: z.string(),
    version: z.string(),
    created: z.boolean(),
  }),
  run: (input, context) => {
    const op = 'ipfs_files_write';
    const { path, offset = 0, truncate = input.offset === undefined, create, parents } = input;
    const bytes = schema.decodeContent(input.content, input.encoding, op);
    let before: MfsStat | undefined;
    return changeMfs(context, input, {
      ...{ op, kind: 'mfs_write', path, bytes: bytes.length, flush: input.flush },
      after: { offset, truncate, length: bytes.length },
      check: async (look) => {
        before = await demandWritable(look, input, { offset, length: bytes.length, truncate });
        return undefined;
      },
      make: (mfs, options) =>
        mfs.write(path, oneChunk(bytes), {
          ...{ ...options, offset, truncate, create, parents, flush: input.flush },
          expected: input.expected_version === undefined ? undefined : before?.cid,
        }),
      outcome: ({ cid, previous }) => ({ cid, oldCid: previous }),
      tell: ({ cid, size, created }) => ({
        ...{ path, bytes_written: bytes.length, size, created },
        cid: cid.toString(),
        version: cid.toString(),
      }),
    });
  },
  afterwards: syncedAfterwards,
});

async function* oneChunk(bytes: Buffer): AsyncGenerator<Buffer> {
  if (bytes.length > 0) yield bytes;
}

/** @throws OpError not-found, is-directory, version-conflict, file-too-large. */
async function demandWritable(
  look: Look,
  { path, create, parents, expected_version: expected }: WriteInput,
  {
    offset,
    length,
    truncate,
  }: { readonly offset: number; readonly length: number; readonly truncate: boolean },
): Promise<MfsStat | undefined> {
  const before = await look.mfs.stat(path, look);
  if (before?.type === 'directory') throw fault('is-directory', look, path);
  if (before === undefined && !create) throw fault('not-found', look, path);
  if (before === undefined) await demandParent(look, path, parents);
  const version = before?.cid.toString();
  if (expected !== undefined && expected !== version) {
    const partial = version === undefined ? { exists: false } : { version };
    throw new OpError('version-conflict', `${look.op} ${path}`, { details: { path, partial } });
  }
  const hole = offset - (truncate ? 0 : (before?.size ?? 0));
  if (hole > MFS_HOLE_BYTES_MAX || offset > FILE_BYTES_MAX - length) {
    throw new OpError('file-too-large', `${look.op} ${path}`, {
      hint: `a hole of at most ${MFS_HOLE_BYTES_MAX} bytes is filled with zeros`,
      details: { path },
    });
  }
  return before;
}

const twoEnds = {
  source: schema.mfsSource(),
  destination: schema.mfsPath('the full final name'),
  parents: schema.parents(),
  overwrite: schema.overwrite().describe('a file'),
  ...flush,
  ...schema.node,
  ...schema.timeout,
  ...schema.dryRun,
};

export const ipfsFilesCp = recordTool({
  ...COMMON,
  name: 'ipfs_files_cp',
  title: 'Link content into MFS',
  description:
    'Give a file or directory of MFS, or content by CID, another name in the mutable tree of the ' +
    'node. No bytes move.',
  hints: { ...CHANGE, destructive: true, idempotent: true },
  changes: 'journal',
  input: schema.input(twoEnds),
  example: {
    source: '/ipfs/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e',
    destination: '/notes.txt',
  },
  output: z.object({
    source: z.string(),
    destination: z.string(),
    cid: z.string(),
    overwritten: z.boolean(),
    complete: z.boolean().nullable(),
  }),
  run: (input, context) => {
    const op = 'ipfs_files_cp';
    const { source, destination, parents, overwrite } = input;
    return changeMfs(context, input, {
      ...{ op, kind: 'mfs_cp', path: destination, source, flush: input.flush },
      after: {},
      check: async (look) => {
        demandApart(look, source, destination);
        await demandThere(look, source);
        await demandFree(look, destination, input);
        return undefined;
      },
      make: (mfs, options) =>
        mfs.cp(source, destination, { ...options, parents, overwrite, flush: input.flush }),
      outcome: ({ cid, previous }) => ({ cid, oldCid: previous }),
      tell: ({ cid, overwritten, complete = null }) => ({
        ...{ source, destination, overwritten, complete },
        cid: cid.toString(),
      }),
    });
  },
  afterwards: syncedAfterwards,
});

/** @throws OpError invalid-argument: the destination is, or lies in, the source. */
function demandApart(look: Look, source: string, destination: string): void {
  if (isContentPath(source)) return;
  const above = source === '/' ? '/' : `${source}/`;
  if (destination !== source && !destination.startsWith(above)) return;
  throw fault('invalid-argument', look, destination, 'choose a destination outside the source');
}

export const ipfsFilesMv = recordTool({
  ...COMMON,
  name: 'ipfs_files_mv',
  title: 'Rename in MFS',
  description: 'Give a file or directory in the mutable tree of the node its other name.',
  hints: { ...CHANGE, destructive: true, idempotent: false },
  changes: 'journal',
  input: schema.input({ ...twoEnds, source: schema.mfsPath() }),
  example: { source: '/draft.txt', destination: '/notes.txt' },
  output: z.object({
    source: z.string(),
    destination: z.string(),
    cid: z.string(),
    overwritten: z.boolean(),
  }),
  run: (input, context) => {
    const op = 'ipfs_files_mv';
    const { source, destination, parents, overwrite } = input;
    return changeMfs(context, input, {
      ...{ op, kind: 'mfs_mv', path: destination, source, flush: input.flush },
      after: {},
      check: async (look) => {
        demandNotRoot(look, source);
        demandApart(look, source, destination);
        const { type } = await demandThere(look, source);
        const there = await demandFree(look, destination, input);
        const isOver = there !== undefined && type === 'directory';
        if (isOver) throw fault('not-directory', look, destination);
        return undefined;
      },
      make: (mfs, options) =>
        mfs.mv(source, destination, { ...options, parents, overwrite, flush: input.flush }),
      outcome: ({ cid, previous }) => ({ cid, oldCid: previous }),
      tell: ({ cid, overwritten }) => ({ source, destination, cid: cid.toString(), overwritten }),
    });
  },
  afterwards: syncedAfterwards,
});

export const ipfsFilesRm = recordTool({
  ...COMMON,
  name: 'ipfs_files_rm',
  title: 'Remove from MFS',
  description:
    'Take a file, or with recursive a directory, out of the mutable tree of the node. cid stays ' +
    'readable until it is collected.',
  hints: { ...CHANGE, destructive: true, idempotent: true },
  changes: 'journal',
  input: schema.input({
    path: schema.mfsPath(),
    recursive: schema.recursive(),
    missing_ok: schema.flag(),
    expected_count: schema.expectedCount(),
    ...schema.node,
    ...schema.timeout,
    ...schema.dryRun,
  }),
  example: { path: '/notes.txt' },
  output: z.object({
    path: z.string(),
    removed: z.boolean(),
    entries: z.int(),
    cid: z.string().optional(),
  }),
  run: (input, context) => {
    const op = 'ipfs_files_rm';
    const { path, recursive, missing_ok: isMissingOk, expected_count: expected } = input;
    let entries = 0;
    return changeMfs(context, input, {
      ...{ op, kind: 'mfs_rm', path, flush: true },
      after: { recursive },
      check: async (look) => {
        demandNotRoot(look, path);
        const there = await look.mfs.stat(path, look);
        if (there === undefined && isMissingOk) return { path, removed: false, entries: 0 };
        if (there === undefined) throw fault('not-found', look, path);
        const isDirectory = there.type === 'directory';
        if (isDirectory && !recursive) throw fault('is-directory', look, path);
        entries = isDirectory ? await countedEntries(look, path) : 1;
        demandCount(op, entries, expected);
        return undefined;
      },
      make: (mfs, options) => mfs.rm(path, { ...options, recursive }),
      outcome: ({ cid }) => ({ oldCid: cid }),
      tell: ({ cid }) => ({ path, removed: true, entries, cid: cid.toString() }),
    });
  },
  afterwards: syncedAfterwards,
});

/** @throws OpError confirmation-required. */
function demandCount(op: string, count: number, expected: number | undefined): void {
  if (expected === undefined ? count <= DELETED_UNASKED_MAX : expected === count) return;
  throw new OpError('confirmation-required', op, {
    hint: 'repeat with expected_count equal to partial.count',
    details: { partial: { count } },
  });
}

export const ipfsFilesChcid = recordTool({
  ...COMMON,
  name: 'ipfs_files_chcid',
  title: 'Change the CIDs of a directory of MFS',
  description:
    'Rebuild the node of a directory with another CID version or hash, which what is written below ' +
    'then has too; what is there keeps its CIDs.',
  hints: { ...CHANGE, destructive: false, idempotent: true },
  changes: 'journal',
  input: schema.input({
    path: schema.mfsPath(),
    cid_version: cidVersion(),
    hash: hash.optional(),
    ...schema.node,
    ...schema.timeout,
  }),
  example: { path: '/projects', cid_version: 1, hash: 'blake2b-256' },
  output: z.object({
    path: z.string(),
    previous_cid: z.string(),
    cid: z.string(),
    changed: z.boolean(),
  }),
  run: (input, context) => {
    const op = 'ipfs_files_chcid';
    const { path, cid_version: version } = input;
    if (version === 0 && input.hash !== undefined) {
      throw schema.combination(op, 'hash', 'cid_version 1');
    }
    return changeMfs(context, input, {
      ...{ op, kind: 'mfs_chcid', path, flush: true },
      after: { cid_version: version, hash: input.hash },
      check: async (look) => {
        demandNotRoot(look, path);
        const { type } = await demandThere(look, path);
        if (type !== 'directory') throw fault('not-directory', look, path);
        return undefined;
      },
      make: (mfs, options) =>
        mfs.chcid(path, { ...options, cidVersion: versionOf(version), hash: input.hash }),
      outcome: ({ cid, previous }) => ({ cid, oldCid: previous }),
      tell: ({ cid, previous }) => ({
        path,
        previous_cid: previous.toString(),
        cid: cid.toString(),
        changed: !cid.equals(previous),
      }),
    });
  },
  afterwards: syncedAfterwards,
});
