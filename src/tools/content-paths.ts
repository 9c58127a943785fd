/**
 * From the `ipfs_path` of a call to content on the embedded engine, and from a CID to its place in
 * the tree.
 */
import { OpError } from '../base/errors.ts';
import { isDirectory, R_OK, X_OK } from '../base/posix.ts';
import type { CID, Dag } from '../content/content.ts';
import type { AskedNode, Reach } from '../node/node.ts';
import type { Gate } from '../sync/sync.ts';
import { ipfsUri, parseIpfsPath } from './paths.ts';
import type { Asker } from './places.ts';
import type { ToolContext } from './tool.ts';

/** Content that a path leads to. */
export interface Located {
  readonly cid: CID;
  /** The CID the path begins with, and the names behind it. */
  readonly root: CID;
  readonly segments: readonly string[];
  readonly uri: string;
  /** The last name, or the CID. */
  readonly name: string;
}

/**
 * Follows a checked `ipfs_path`.
 * @throws OpError not-found (kind link); content-missing, integrity,
 *   unsupported.
 */
async function locate(
  dag: Dag,
  path: string,
  { op, signal }: { readonly op: string; readonly signal: AbortSignal },
): Promise<Located> {
  const parsed = parseIpfsPath(path);
  if (parsed === undefined) throw new OpError('invalid-cid', `${op} ${path}`);
  if (parsed.kind === 'ipns') {
    throw new OpError('node-offline', `${op} ${path}`, {
      hint: 'names are resolved by an online node; give a CID',
    });
  }
  const { cid: root, segments } = parsed;
  const cid = await followed(dag, root, segments, { op: `${op} ${path}`, signal });
  const name = segments.at(-1) ?? root.toString();
  return { cid, root, segments, uri: ipfsUri(root.toString(), segments), name };
}

async function followed(
  dag: Dag,
  root: CID,
  segments: readonly string[],
  { op, signal }: { readonly op: string; readonly signal: AbortSignal },
): Promise<CID> {
  try {
    return await dag.resolve(root, segments, signal);
  } catch (error) {
    const isAbsent =
      error instanceof OpError && ['not-found', 'not-directory'].includes(error.failure);
    if (!isAbsent) throw error;
    const details = { kind: 'link', cid: root.toString(), path: segments.join('/') };
    throw new OpError('not-found', op, { hint: 'list the directory with ipfs_ls', details });
  }
}

/** Where content is seen through the mount; nothing while the mount is down. */
export function contentLocalPath(
  { ports }: ToolContext,
  { root, segments }: Pick<Located, 'root' | 'segments'>,
): string | undefined {
  return ports.mount.localPath(['/ipfs', root.toString(), ...segments].join('/'));
}

/** What whoever calls may see of the tree when it is made content. */
export const gateOf = ({ vfs, caller }: Asker): Gate => ({
  demandReadable: (ino) => {
    const { mode } = vfs.core.inodes.get(ino);
    vfs.access(caller, ino, isDirectory(mode) ? R_OK | X_OK : R_OK);
  },
  seesTrusted: caller.uid === 0,
});

/** Content that a call reads: what it may be read from, and where its path leads. */
export interface ContentRead extends Located {
  readonly reach: Reach;
  readonly op: string;
}

export interface ContentInput {
  readonly ipfs_path: string;
  readonly node?: AskedNode;
  readonly local_only?: boolean | undefined;
}

/** `/ipns/…` as what the name points to now, by the home node or the one asked for; others as they are. */
export async function withoutName(
  { ports, signal }: ToolContext,
  { ipfs_path: path, node }: Pick<ContentInput, 'ipfs_path' | 'node'>,
  op: string,
): Promise<string> {
  const parsed = parseIpfsPath(path);
  if (parsed?.kind !== 'ipns') return path;
  const { names } = ports.ipfs.nodes.state(node, op);
  const found = await names.resolve(parsed.name, { signal });
  return [found.path, ...parsed.segments].join('/');
}

/** Follows the `ipfs_path` of a call, over the node it asks for. @throws OpError as `locate`. */
export async function located(
  context: ToolContext,
  input: ContentInput,
  op: string,
): Promise<ContentRead> {
  const { ports, signal, timeoutMs: deadlineMs } = context;
  const { node, local_only: localOnly = false } = input;
  const reach = ports.ipfs.nodes.content(node, { op, localOnly, deadlineMs });
  const path = await withoutName(context, input, op);
  return { ...(await locate(reach.dag, path, { op, signal })), reach, op };
}

/** The CID that a path begins with, and what stands behind it, for who follows that another way. */
export async function rooted(
  context: ToolContext,
  input: ContentInput,
  op: string,
): Promise<Pick<Located, 'cid' | 'segments'> & { readonly reach: Reach }> {
  const { node, local_only: localOnly = false } = input;
  const request = { op, localOnly, deadlineMs: context.timeoutMs };
  const reach = context.ports.ipfs.nodes.content(node, request);
  const parsed = parseIpfsPath(await withoutName(context, input, op));
  if (parsed?.kind !== 'ipfs') throw new OpError('invalid-cid', `${op} ${input.ipfs_path}`);
  return { reach, cid: parsed.cid, segments: parsed.segments };
}
