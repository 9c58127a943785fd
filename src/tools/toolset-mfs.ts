/** Toolset mfs, what only looks: ipfs_files_ls, ipfs_files_stat, ipfs_files_read, ipfs_files_flush. */
import { z } from 'zod';
import { rfc3339 } from '../base/clock.ts';
import { isPublishedIn } from '../base/published.ts';
import { octal } from './entries.ts';
import { demandOpen, fault } from './mfs.ts';
import { isOwner } from './owner.ts';
import { mfsUri } from './paths.ts';
import * as schema from './schema.ts';
import { contentTool, recordTool } from './tool.ts';
import { readFile } from './toolset-ipfs.ts';

const COMMON = { toolset: 'mfs', version: '1.0.0', deadline: 'remote' } as const;
const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: false } as const;

const type = z.enum(['file', 'directory']);
const times = { mode: z.string().optional(), mtime: z.string().optional() };

interface Attributes {
  readonly mode?: number;
  readonly mtime?: Parameters<typeof rfc3339>[0];
}

const attributesOf = ({ mode, mtime }: Attributes) => ({
  ...(mode === undefined ? {} : { mode: octal(mode) }),
  ...(mtime === undefined ? {} : { mtime: rfc3339(mtime) }),
});

export const ipfsFilesLs = recordTool({
  ...COMMON,
  name: 'ipfs_files_ls',
  title: 'List a directory of MFS',
  description:
    'Entries of a directory in the mutable tree of the node, by name; a file gives itself.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({
    path: schema.mfsPath().default('/'),
    ...schema.node,
    ...schema.page,
    ...schema.timeout,
  }),
  example: { path: '/' },
  output: z.object({
    path: z.string(),
    entries: z.array(
      z.object({ name: z.string(), type, size: z.int(), cid: z.string(), ...times }),
    ),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_files_ls';
    const { ports, principal, signal } = context;
    // The root is for everybody, but for one name in it.
    const isAll = input.path !== '/' || isOwner(context);
    if (input.path !== '/') demandOpen(context, op, input.path);
    const node = ports.ipfs.nodes.state(input.node, op);
    const request = { tool: op, principal, arguments: input };
    const { items, ...fields } = await ports.cursors.page(
      request,
      async () => {
        const entries = await node.mfs.ls(input.path, { signal });
        return isAll ? entries : entries.filter(({ name }) => !isPublishedIn(`/${name}`));
      },
      ({ name, type: kind, size, cid, ...attributes }) => ({
        name,
        type: kind,
        size,
        cid: cid.toString(),
        ...attributesOf(attributes),
      }),
    );
    return { data: { path: input.path, entries: [...items], ...fields }, node: node.kind };
  },
});

export const ipfsFilesStat = recordTool({
  ...COMMON,
  name: 'ipfs_files_stat',
  title: 'Look at a file of MFS',
  description:
    'CID, type and sizes of one entry in the mutable tree of the node; with_local walks it and ' +
    'tells how much of it is there.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({
    path: schema.mfsPath(),
    with_local: schema.flag(),
    ...schema.node,
    ...schema.timeout,
  }),
  example: { path: '/notes.txt' },
  output: z.object({
    path: z.string(),
    cid: z.string(),
    version: z.string(),
    type,
    size: z.int(),
    cumulative_size: z.int(),
    blocks: z.int(),
    ...times,
    local: z.object({ complete: z.boolean(), size: z.int() }).optional(),
  }),
  run: async ({ path, with_local: withLocal, node: asked }, context) => {
    const op = 'ipfs_files_stat';
    const { ports, signal } = context;
    demandOpen(context, op, path);
    const node = ports.ipfs.nodes.state(asked, op);
    const found = await node.mfs.stat(path, { withLocal, signal });
    if (found === undefined) throw fault('not-found', { op }, path);
    const cid = found.cid.toString();
    const { size, blocks, cumulativeSize, local } = found;
    return {
      data: {
        ...{ path, cid, version: cid, type: found.type, size, cumulative_size: cumulativeSize },
        blocks,
        ...attributesOf(found),
        ...(local === undefined ? {} : { local: { ...local } }),
      },
      node: node.kind,
    };
  },
});

export const ipfsFilesRead = contentTool({
  ...COMMON,
  name: 'ipfs_files_read',
  title: 'Read a file of MFS',
  description: 'A slice of a file in the mutable tree of the node, from verified blocks.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({
    path: schema.mfsPath(),
    ...schema.slice,
    ...schema.node,
    ...schema.timeout,
  }),
  example: { path: '/notes.txt' },
  run: async (input, context) => {
    const op = 'ipfs_files_read';
    const { nodes } = context.ports.ipfs;
    const node = nodes.state(input.node, op);
    const { path, offset, length, encoding } = input;
    demandOpen(context, op, path);
    const found = await node.mfs.stat(path, { flushed: true, signal: context.signal });
    if (found === undefined) throw fault('not-found', { op }, path);
    if (found.type === 'directory') throw fault('is-directory', { op }, path);
    const { cid } = found;
    const { timeoutMs: deadlineMs } = context;
    const reach = nodes.content(input.node, { op, localOnly: false, deadlineMs });
    const name = path.slice(path.lastIndexOf('/') + 1);
    const read = { op, cid, root: cid, segments: [], uri: mfsUri(path), name, reach };
    const slice = { ipfs_path: path, offset, length, encoding };
    const { header, ...result } = await readFile(context, read, slice);
    return { ...result, header: { ...header, version: cid.toString() }, node: node.kind };
  },
});

export const ipfsFilesFlush = recordTool({
  ...COMMON,
  name: 'ipfs_files_flush',
  title: 'Bring MFS to disk',
  description: 'Write what was changed with flush:false to the disk of the node; gives the CID.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: false },
  changes: 'process',
  input: schema.input({ path: schema.mfsPath().default('/'), ...schema.node, ...schema.timeout }),
  example: { path: '/' },
  output: z.object({ path: z.string(), cid: z.string() }),
  run: async ({ path, node: asked }, context) => {
    const op = 'ipfs_files_flush';
    const { ports, signal } = context;
    demandOpen(context, op, path);
    const node = ports.ipfs.nodes.state(asked, op);
    const cid = await node.mfs.flush(path, { signal });
    return { data: { path, cid: cid.toString() }, node: node.kind };
  },
});
