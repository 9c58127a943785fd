/**
 * The names at the root of a snapshot's tree, known from a few blocks: what can be shown while all the
 * rest is still being read. Each of them is what restoring the snapshot makes there.
 */
import type { PlannedMetadata, SetAside } from '../base/graft.ts';
import { type Ino, type Name, nameOfText } from '../base/ids.ts';
import type { CID, Dag } from '../content/content.ts';
import { isCbor } from './cbor.ts';
import { type ManifestEntry, readTop, type Top } from './manifest.ts';
import { type Grantee, grantedTo } from './metadata.ts';
import { demandName } from './remote.ts';
import { readSnapshot } from './snapshot.ts';
import { bitsOf, type EntryType, isSpecial } from './types.ts';

export interface Foreseen {
  /** Of the root, as it is granted. */
  readonly metadata: PlannedMetadata;
  /** In the order in which they are made. */
  readonly names: readonly ForeseenName[];
  /** Names in the whole tree. */
  readonly entries: number;
}

export interface ForeseenName {
  readonly name: Name;
  /** Type bits of st_mode. */
  readonly type: number;
  /** The first path of its inode, which may be deep in the tree. */
  readonly inode: Name;
}

/**
 * @returns undefined: it cannot be told before the whole tree is read, because `cid` is a plain
 *   directory, or a snapshot of an old form. @throws OpError as `readRemote`.
 */
export async function foresee(
  dag: Dag,
  cid: CID,
  grantee: Grantee,
  signal: AbortSignal,
): Promise<Foreseen | undefined> {
  if (!isCbor(cid)) return undefined;
  const { tree, manifest } = await readSnapshot(dag, cid, signal);
  const [top, shown] = await Promise.all([
    readTop(dag, manifest, signal),
    namesOf(dag, tree, signal),
  ]);
  const names = top && namesIn(top, shown, grantee);
  if (top === undefined || names === undefined) return undefined;
  const root = { metadata: top.root, type: 'directory' } as const;
  return { metadata: grantedTo(grantee, root), names, entries: top.entries };
}

async function namesOf(dag: Dag, tree: CID, signal: AbortSignal): Promise<Set<Name>> {
  const names = new Set<Name>();
  for await (const { name } of dag.list(tree, signal)) demandName(nameOfText(name), names, tree);
  return names;
}

/** undefined: the manifest does not tell of every name that the tree shows. */
function namesIn(
  { names }: Top,
  shown: ReadonlySet<Name>,
  { isRoot }: Grantee,
): ForeseenName[] | undefined {
  if ([...shown].some((name) => !names.has(name))) return undefined;
  return [...names.values()]
    .filter((entry) => shown.has(entry.path) || isHidden(entry))
    .filter(({ type }) => isRoot || !isDevice(type))
    .map(({ path, type, sameAs }) => ({ name: path, type: bitsOf(type), inode: sameAs ?? path }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** In the manifest only. */
const isHidden = ({ type, cid }: ManifestEntry): boolean => isSpecial(type) || cid !== undefined;

const isDevice = (type: EntryType): boolean => type === 'char' || type === 'block';

export interface Numbered {
  readonly names: readonly (Pick<ForeseenName, 'name' | 'type'> & {
    readonly ino: Ino;
    readonly cookie: number;
  })[];
  /** What is made with which number, by its path. */
  readonly numbers: ReadonlyMap<Name, SetAside>;
}

/** Gives the names numbers, of those set aside from these on: as many of both as there are names. */
export function numbered(
  names: readonly ForeseenName[],
  first: { readonly ino: number; readonly cookie: number },
): Numbered {
  const inos = new Map<Name, Ino>();
  const numbers = new Map<Name, SetAside>();
  const listed = names.map(({ name, type, inode }, at) => {
    const ino = inos.get(inode) ?? ((first.ino + at) as Ino);
    inos.set(inode, ino);
    return { name, type, ino, cookie: first.cookie + at };
  });
  for (const [path, ino] of inos) numbers.set(path, { ino, cookie: undefined });
  for (const { name, cookie } of listed) numbers.set(name, { ino: inos.get(name), cookie });
  return { names: listed, numbers };
}
