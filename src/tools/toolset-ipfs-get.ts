/** Toolset ipfs_core, content out of IPFS into the tree: ipfs_get. */
import { z } from 'zod';
import { type Ino, nameOfText, ROOT_INO } from '../base/ids.ts';
import { SLICE_BYTES, SLICE_BYTES_MAX } from '../base/limits.ts';
import { S_IFDIR, S_IFLNK, S_IFREG } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import type { CID } from '../content/content.ts';
import { refsOf } from '../node/node.ts';
import { CID_INO_FROM, type Copied, type Inode, plant, stage, unstage } from '../vfs/vfs.ts';
import { type ContentRead, located } from './content-paths.ts';
import { demandAll, recordPin } from './pins.ts';
import { type Asker, about, askerOf, change, type Place, whenFree } from './places.ts';
import { planOf } from './plans.ts';
import type { DryRun } from './results.ts';
import * as schema from './schema.ts';
import { type ContentResult, contentTool, type ToolContext } from './tool.ts';
import { readFile } from './toolset-ipfs.ts';
import { localPathOf } from './toolset-vfs.ts';
import { destinationPlace, isVolatile } from './toolset-vfs-copy.ts';

const OP = 'ipfs_get';

const getInput = schema.input({
  ipfs_path: schema.ipfsPath(),
  output_path: schema.path('where to write; absent: answer with a file').optional(),
  overwrite: schema.overwrite(),
  parents: schema.parents(),
  length: schema.int(1, SLICE_BYTES_MAX).optional(),
  encoding: z.enum(['utf-8', 'base64']).optional(),
  ...schema.node,
  ...schema.job,
  ...schema.dryRun,
});
type GetInput = z.output<typeof getInput>;

export const ipfsGet = contentTool({
  toolset: 'ipfs_core',
  version: '1.0.0',
  deadline: 'job',
  job: true,
  name: OP,
  title: 'Get content by CID',
  description:
    'Write a file or directory by its CID, or a path below one, into the tree: all of it or ' +
    'nothing, every byte verified. To look into a file use ipfs_cat.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: true },
  changes: 'journal',
  input: getInput,
  example: {
    ipfs_path: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e',
    output_path: '/ipfs/hello.txt',
  },
  run: async (input, context) => {
    const { output_path: path, length = SLICE_BYTES, encoding, ipfs_path } = input;
    const read = await located(context, input, OP);
    if (path === undefined) {
      return readFile(context, read, { ipfs_path, offset: 0, length, encoding });
    }
    if (input.length !== undefined || encoding !== undefined) {
      throw schema.combination(OP, 'output_path', 'neither length nor encoding');
    }
    return writeTree(context, read, { ...input, output_path: path });
  },
});

type WriteInput = GetInput & { readonly output_path: string };

/** What was written; the bytes are in the tree. */
async function writeTree(
  context: ToolContext,
  read: ContentRead,
  input: WriteInput,
): Promise<ContentResult> {
  const { output_path: path, dry_run: dryRun } = input;
  const asker = askerOf(context, OP);
  await whenFree(asker, context, path);
  const elsewhere = await bring(context, read, dryRun);
  if (dryRun && elsewhere > 0) return { header: await planFrom(context, asker, read, input) };
  const { vfs, caller } = asker;
  const { cid, reach } = read;
  const { signal } = context;
  const root = await vfs.content(cid.toString());
  const staged = await about(asker, `/ipfs/${cid}`, () =>
    stage(vfs.core, vfs, caller, root, { volatile: isVolatile(asker, path), signal }),
  );
  try {
    const { data, ...rest } = await change(asker, context, {
      path,
      dryRun,
      make: () => {
        const { parent, name } = placeFor(asker, input, cid, staged.inode);
        const copied = plant(vfs.core, caller, staged, { parent, name }, true);
        recordFetch(context, input, cid, copied.bytes);
        return copied;
      },
      tell: (copied) => ({ data: toldOf(context, input, cid, copied), node: reach.node() }),
    });
    const seq = 'dry_run' in data || rest.seq === undefined ? {} : { seq: rest.seq };
    return { ...rest, header: { ...data, ...seq } };
  } finally {
    unstage(vfs.core, staged);
  }
}

/** Free, or freed. @throws OpError exists, is-directory, not-directory, read-only, denied. */
function placeFor(asker: Asker, input: WriteInput, cid: CID, top: Inode): Place {
  const { output_path: destination, parents, overwrite } = input;
  const source = `/ipfs/${cid}`;
  return destinationPlace(asker, { source, destination, parents, overwrite, recursive: true }, top);
}

/** The plan for content that is not here: a dry run keeps none of it. */
async function planFrom(
  context: ToolContext,
  asker: Asker,
  { cid, reach }: ContentRead,
  input: WriteInput,
): Promise<DryRun> {
  const { type, size } = await reach.dag.entryOf(cid, context.signal);
  const { core } = asker.vfs;
  const mode = type === 'directory' ? S_IFDIR : type === 'symlink' ? S_IFLNK : S_IFREG;
  const records = about(asker, input.output_path, () =>
    core.journal.rehearse(() => {
      placeFor(asker, input, cid, { ...core.inodes.get(ROOT_INO), ino: CID_INO_FROM as Ino, mode });
      recordFetch(context, input, cid, size);
    }),
  );
  return { dry_run: true, plan: planOf(records) };
}

const toldOf = (context: ToolContext, input: WriteInput, cid: CID, copied: Copied) => ({
  cid: cid.toString(),
  output_path: input.output_path,
  ...localPathOf(context, input.output_path),
  files: copied.files,
  directories: copied.directories,
  symlinks: copied.symlinks,
  bytes: copied.bytes,
});

function recordFetch(context: ToolContext, input: WriteInput, cid: CID, size: number): void {
  const { journal } = context.ports.vfs.core;
  const after = { source: input.ipfs_path };
  const path = nameOfText(input.output_path);
  journal.commit((tx) => void recordPin(context, tx, { kind: 'fetch', cid, path, size, after }));
}

/**
 * Sees that all blocks can be had, and brings those here that are not; in a dry run they are only
 * read. They stay until garbage is collected: somebody may have pinned them by then.
 * @returns how many were not here.
 * @throws OpError content-missing with details {partial: {missing}}; integrity, unsupported.
 */
async function bring(
  context: ToolContext,
  { cid: root, reach }: ContentRead,
  dryRun: boolean,
): Promise<number> {
  const { ports, signal } = context;
  const { blocks } = ports.ipfs;
  const missing: CID[] = [];
  let done = 0;
  let elsewhere = 0;
  const take = async (cid: CID): Promise<void> => {
    done += 1;
    context.progress({ done, unit: 'blocks' });
    if (blocks.has(cid)) return;
    if (reach.isAlone) {
      missing.push(cid);
      return;
    }
    const bytes = await reach.dag.block(cid, signal);
    elsewhere += 1;
    if (!dryRun) blocks.put(cid, bytes);
    await turn();
  };
  await take(root);
  demandAll(missing, `${OP} ${root}`);
  const all = { recursive: true, unique: true, depthMax: Number.POSITIVE_INFINITY };
  for await (const ref of refsOf(reach.dag, root, all, signal)) {
    // Of what failed the CID was told before: it was missed, or is asked again to know why.
    const cid = 'cid' in ref ? ref.cid : undefined;
    if (cid !== undefined) await take(cid);
    else if (missing.length === 0 && 'failed' in ref) await reach.dag.links(ref.failed, signal);
  }
  demandAll(missing, `${OP} ${root}`);
  return elsewhere;
}
