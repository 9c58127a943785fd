/**
 * What is added to a node outside: the same entries from which the root was computed here, and the
 * demand that the node found the same root.
 */
import type { AddEntry, KuboNode } from '../backend/backend.ts';
import type { Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { textOf } from '../base/ids.ts';
import { RESTORED_PIECE_BYTES } from '../base/limits.ts';
import { isDirectory, isSymlink } from '../base/posix.ts';
import type { CID, ContentStore, Profile } from '../content/content.ts';
import type { Assembled, FrozenEntry } from '../sync/sync.ts';
import type { ToolContext } from './tool.ts';

/** Entries below `name`, which is that of the root. */
export type EntriesBelow = (name: string) => AsyncIterable<AddEntry>;

/** One file of bytes at hand. */
export const bytesEntry = (
  bytes: Uint8Array,
  metadata: { mode?: number; mtime?: Instant },
): EntriesBelow =>
  async function* (path) {
    yield { path, type: 'file', content: whole(bytes), ...metadata };
  };

async function* whole(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** A frozen tree, parents first; what UnixFS cannot show is left out. */
export const treeEntries = ({ built }: Assembled, contents: ContentStore): EntriesBelow =>
  async function* (name) {
    const shown = [...built.keys()].sort((one, other) => (one.path < other.path ? -1 : 1));
    for (const entry of shown) {
      const path = entry.path === '' ? name : `${name}/${textOf(entry.path)}`;
      yield { path, ...metadataOf(entry), ...partOf(entry, contents) };
    }
  };

const metadataOf = ({ row }: FrozenEntry) => ({
  mode: row.mode & 0o7777,
  mtime: { s: row.mtimeS, ns: row.mtimeNs },
});

function partOf(entry: FrozenEntry, contents: ContentStore) {
  const { row, target } = entry;
  if (isDirectory(row.mode)) return { type: 'directory' } as const;
  if (isSymlink(row.mode))
    return { type: 'symlink', target: textOf(target ?? entry.name) } as const;
  return { type: 'file', content: bytesIn(entry, contents) } as const;
}

/** Nothing of a file without content; of another one as much as there is now. */
async function* bytesIn(
  { content }: FrozenEntry,
  contents: ContentStore,
): AsyncGenerator<Uint8Array> {
  const size = contents.row(content)?.size ?? 0;
  for (let at = 0; at < size; at += RESTORED_PIECE_BYTES) {
    const piece = Buffer.alloc(Math.min(RESTORED_PIECE_BYTES, size - at));
    contents.read(content, piece, 0, piece.length, at);
    yield piece;
  }
}

/** What is added, and how. */
export interface Addition {
  readonly root: CID;
  readonly entries: EntriesBelow;
  /** Of the root, or of what is wrapped. */
  readonly name: string;
  readonly profile: Profile;
  readonly metadata: boolean;
  readonly wrap: boolean;
  /** undefined: nothing keeps it. */
  readonly pin: { readonly name?: string | undefined } | undefined;
}

/** @throws OpError integrity: the node found another root; what `ContentFacet.add` throws. */
export async function addOutside(
  { signal, progress }: ToolContext,
  node: KuboNode,
  { root, entries, name, profile, metadata, wrap, pin }: Addition,
): Promise<void> {
  const added = await node.content.add(entries(name), {
    ...{ profile, metadata, wrap, pin, signal },
    onProgress: (done) => progress({ done, unit: 'bytes' }),
  });
  const found = added.cid.toString();
  if (found === root.toString()) return;
  throw new OpError('integrity', `add ${root}`, {
    hint:
      `the node made ${found} of it: the bytes changed meanwhile, or it shards large directories by ` +
      'another measure (Import.UnixFSHAMTDirectorySizeEstimation is not block); vfs_sync_to_ipfs ' +
      'brings it the tree that was made here',
    details: { cid: root.toString(), partial: { cid: found } },
  });
}
