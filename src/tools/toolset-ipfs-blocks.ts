/**
 * Toolset ipfs_core, below files: ipfs_block_stat, ipfs_block_get, ipfs_refs, ipfs_refs_local.
 */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { SNAPSHOT_ITEMS_MAX } from '../base/limits.ts';
import { type CID, codecName, parseCid, RAW_CODEC } from '../content/content.ts';
import { type EmbeddedNode, type Ref, refsOf } from '../node/node.ts';
import { contentLocalPath, located } from './content-paths.ts';
import { sliceResult } from './envelope.ts';
import { CODE_OF } from './errors.ts';
import { ipfsUri } from './paths.ts';
import { isOwner } from './places.ts';
import * as schema from './schema.ts';
import { contentTool, recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_core', version: '1.0.0', deadline: 'remote' } as const;
const READ = { readOnly: true, destructive: false, idempotent: true } as const;
const EXAMPLE_CID = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';
const EXAMPLE_ROOT = 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354';

const blockInput = { cid: schema.cid(), ...schema.node, ...schema.localOnly, ...schema.timeout };

export const ipfsBlockStat = recordTool({
  ...COMMON,
  name: 'ipfs_block_stat',
  title: 'Look at a block',
  description: 'Size, codec and hash of one block, and whether it is held here.',
  hints: { ...READ, openWorld: true },
  changes: 'nothing',
  input: schema.input(blockInput),
  example: { cid: EXAMPLE_CID },
  output: z.object({
    cid: z.string(),
    size: z.int(),
    codec: z.string(),
    hash: z.string(),
    local: z.boolean(),
  }),
  run: async (input, { ports, signal, timeoutMs: deadlineMs }) => {
    const op = 'ipfs_block_stat';
    const request = { op, localOnly: input.local_only, deadlineMs };
    const reach = ports.ipfs.nodes.content(input.node, request);
    const cid = parseCid(input.cid);
    const { size, local } = await reach.stat(cid, signal);
    const data = { cid: cid.toString(), size, codec: codecText(cid), hash: hashText(cid), local };
    return { data, node: reach.node() };
  },
});

/** As the multicodec table has it; its number, when that table is not here. */
const codecText = ({ code }: CID): string => codecName(code) ?? `0x${code.toString(16)}`;

/** The multihash in hexadecimal: code, length, digest. */
const hashText = ({ multihash }: CID): string => Buffer.from(multihash.bytes).toString('hex');

export const ipfsBlockGet = contentTool({
  ...COMMON,
  name: 'ipfs_block_get',
  title: 'Read a block',
  description: 'Read a slice of the raw bytes of one block, verified. For files use ipfs_cat.',
  hints: { ...READ, openWorld: true },
  changes: 'nothing',
  input: schema.input({ ...blockInput, ...schema.slice }),
  example: { cid: EXAMPLE_CID },
  run: async (input, context) => {
    const op = 'ipfs_block_get';
    const { offset, length, encoding } = input;
    const { nodes } = context.ports.ipfs;
    const request = { op, localOnly: input.local_only, deadlineMs: context.timeoutMs };
    const reach = nodes.content(input.node, request);
    const cid = parseCid(input.cid);
    const whole = Buffer.from(await reach.dag.block(cid, context.signal));
    const codec = codecText(cid);
    const isFile = codec === 'raw';
    const { header, ...rest } = sliceResult({
      op: `${op} ${cid}`,
      bytes: whole.subarray(offset, offset + length),
      offset,
      size: whole.length,
      encoding,
      mime: isFile ? 'application/octet-stream' : `application/vnd.ipld.${codec}`,
      uri: ipfsUri(cid.toString()),
      name: cid.toString(),
      // What is no file is seen otherwise through the mount, or not at all.
      localPath: isFile ? contentLocalPath(context, { root: cid, segments: [] }) : undefined,
      cid: cid.toString(),
    });
    return { ...rest, header: { ...header, codec }, node: reach.node() };
  },
});

const refSchema = z.object({ cid: z.string(), parent: z.string().optional() });
const failedSchema = z.object({ cid: z.string(), error_code: z.string() });

const refsInput = schema.input({
  ipfs_path: schema.ipfsPath(),
  recursive: schema.recursive(),
  unique: schema.flag(),
  edges: schema.flag(),
  max_depth: schema.int(1, 10_000).optional(),
  ...schema.node,
  ...schema.localOnly,
  ...schema.page,
  ...schema.timeout,
});

/** One line of the answer, and of all of it whether anything is missing. */
interface RefItem {
  readonly ref?: z.output<typeof refSchema>;
  readonly failed?: z.output<typeof failedSchema>;
  /** One for all lines of a walk. */
  readonly walk: Walk;
}

interface Walk {
  complete: boolean;
}

export const ipfsRefs = recordTool({
  ...COMMON,
  name: 'ipfs_refs',
  title: 'List links of a DAG',
  description:
    'CIDs that a block links to, or with recursive all below it, depth first; edges adds the ' +
    'parent. Blocks that cannot be had are in failed. For names use ipfs_ls.',
  hints: { ...READ, openWorld: true },
  changes: 'nothing',
  input: refsInput,
  example: { ipfs_path: EXAMPLE_ROOT, recursive: true },
  output: z.object({
    refs: z.array(refSchema),
    failed: z.array(failedSchema),
    complete: z.boolean(),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const { cid, reach } = await located(context, input, 'ipfs_refs');
    // Nobody reads it to tell that it has no links, but it must be somewhere.
    if (cid.code === RAW_CODEC) await reach.stat(cid, context.signal);
    const request = { tool: 'ipfs_refs', principal: context.principal, arguments: input };
    const walk: Walk = { complete: true };
    const { items, ...fields } = await context.ports.cursors.page(request, async () => {
      const found: RefItem[] = [];
      const depthMax = input.max_depth ?? Number.POSITIVE_INFINITY;
      const { recursive, unique } = input;
      const refs = refsOf(reach.dag, cid, { recursive, unique, depthMax }, context.signal);
      for await (const ref of refs) {
        found.push(itemOf(ref, input.edges, walk));
        if (found.length > SNAPSHOT_ITEMS_MAX) break; // `page` refuses so many.
      }
      return found;
    });
    const data = {
      refs: items.flatMap(({ ref }) => ref ?? []),
      failed: items.flatMap(({ failed }) => failed ?? []),
      complete: (items[0]?.walk ?? walk).complete,
      ...fields,
    };
    return { data, node: reach.node() };
  },
});

function itemOf(ref: Ref, edges: boolean, walk: Walk): RefItem {
  if ('failed' in ref) {
    walk.complete = false;
    return { walk, failed: { cid: ref.failed.toString(), error_code: CODE_OF[ref.failure] } };
  }
  const { cid, parent } = ref;
  const shown = { cid: cid.toString(), ...(edges ? { parent: parent.toString() } : {}) };
  return { walk, ref: shown };
}

const localInput = schema.input({ ...schema.node, ...schema.page, ...schema.timeout });
type LocalInput = z.output<typeof localInput>;

export const ipfsRefsLocal = recordTool({
  ...COMMON,
  name: 'ipfs_refs_local',
  title: 'List held blocks',
  description: 'CIDs of all blocks that a node holds, pinned or not. For the owner of kitfs.',
  hints: { ...READ, openWorld: false },
  changes: 'nothing',
  input: localInput,
  example: {},
  output: z.object({
    refs: z.array(z.object({ cid: z.string(), size: z.int().optional() })),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_refs_local';
    const { ports, signal, principal } = context;
    demandOwner(context, op);
    const node = ports.ipfs.nodes.state(input.node, op);
    if (node.kind === 'embedded') return { data: ownBlocks(node, input, context), node: node.kind };
    const request = { tool: op, principal, arguments: input };
    const { items, ...fields } = await ports.cursors.page(request, async () => {
      const found: CID[] = [];
      for await (const { cid } of node.content.refsLocal({ signal })) {
        found.push(cid);
        if (found.length > SNAPSHOT_ITEMS_MAX) break; // `page` refuses so many.
      }
      return found.map((cid) => ({ cid: cid.toString() }));
    });
    return { data: { refs: [...items], ...fields }, node: node.kind };
  },
});

/** Who knows a CID has the bytes, also those of files that only their owner may read. */
function demandOwner(context: ToolContext, op: string): void {
  if (isOwner(context)) return;
  throw new OpError('denied', op, { hint: 'only root and the owner of the daemon may' });
}

/** They are in order in their table, and so many that they are not copied for a cursor. */
function ownBlocks(node: EmbeddedNode, input: LocalInput, { ports, principal }: ToolContext) {
  const request = { tool: 'ipfs_refs_local', principal, arguments: input };
  const after = ports.cursors.resume<{ readonly after: string }>(request)?.after;
  const from = after === undefined ? undefined : parseCid(after);
  const blocks = node.blocks(from, input.limit + 1);
  const shown = blocks.slice(0, input.limit);
  const last = shown.at(-1)?.cid.toString();
  const isTruncated = blocks.length > shown.length && last !== undefined;
  return {
    refs: shown.map(({ cid, size }) => ({ cid: cid.toString(), size })),
    ...(isTruncated ? { next_cursor: ports.cursors.keep(request, { after: last }) } : {}),
    truncated: isTruncated,
    total: node.blockCount,
  };
}
