/**
 * What one snapshot has that another has not: names made, changed and deleted. Only what differs is
 * read: lists of the manifests that both have, and directories of one CID, are passed over.
 *
 * Times of access never count, and times of a directory do not either: they follow its names.
 */
import { OpError } from '../base/errors.ts';
import { type Name, nameOfText } from '../base/ids.ts';
import { DIFFERENCES_MAX } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import type { CID, Dag, DagEntry } from '../content/content.ts';
import { type ManifestEntry, readDiffering, type Sides } from './manifest.ts';
import type { Snapshot } from './snapshot.ts';
import type { EntryType } from './types.ts';

export interface Difference {
  /** From the root of the tree; '' is the root itself. */
  readonly path: Name;
  readonly change: 'created' | 'changed' | 'deleted';
  /** What it is, or was when it is deleted. */
  readonly type: EntryType;
  /** Of what changed: another kind of file, other bytes or another target, other metadata. */
  readonly what: readonly Aspect[];
}

export type Aspect = 'type' | 'content' | 'metadata';

/**
 * The differences in bytewise order of their paths.
 * @throws OpError content-missing, integrity, unsupported; payload-too-large when there are more
 *   than `DIFFERENCES_MAX`; the signal's reason.
 */
export async function differences(
  dag: Dag,
  { before, after }: Sides<Snapshot>,
  signal: AbortSignal,
): Promise<Difference[]> {
  const manifests = { before: before.manifest, after: after.manifest };
  const told = await readDiffering(dag, manifests, signal);
  const found = new Map<Name, Difference>();
  for (const [path, { type }] of told.before) {
    if (!told.after.has(path)) found.set(path, { path, change: 'deleted', type, what: [] });
  }
  for (const [path, entry] of told.after) {
    const difference = differenceOf(told.before.get(path), entry);
    if (difference !== undefined) found.set(path, difference);
  }
  const trees = { before: before.tree, after: after.tree };
  for await (const { path, type } of changedFiles(dag, trees, signal)) {
    const what = found.get(path)?.what ?? [];
    found.set(path, { path, change: 'changed', type, what: ['content', ...what] });
  }
  if (found.size > DIFFERENCES_MAX) {
    throw new OpError('payload-too-large', 'compare snapshots', {
      hint: `they differ in more than ${DIFFERENCES_MAX} names`,
    });
  }
  return [...found.values()].sort((one, other) => (one.path < other.path ? -1 : 1));
}

function differenceOf(
  before: ManifestEntry | undefined,
  after: ManifestEntry,
): Difference | undefined {
  const { path, type } = after;
  if (before === undefined) return { path, change: 'created', type, what: [] };
  const what: Aspect[] = [];
  if (before.type !== type) what.push('type');
  if (!isSameCid(before.cid, after.cid)) what.push('content');
  if (!hasSameMetadata(before, after)) what.push('metadata');
  return what.length === 0 ? undefined : { path, change: 'changed', type, what };
}

const isSameCid = (one: CID | undefined, other: CID | undefined): boolean =>
  one === undefined || other === undefined ? one === other : one.equals(other);

function hasSameMetadata(one: ManifestEntry, other: ManifestEntry): boolean {
  const isPlain =
    one.mode === other.mode &&
    one.uid === other.uid &&
    one.gid === other.gid &&
    one.rdev === other.rdev &&
    one.sameAs === other.sameAs;
  if (!isPlain || one.xattrs.length !== other.xattrs.length) return false;
  const isTimed = one.type !== 'directory';
  if (isTimed && (one.mtime.s !== other.mtime.s || one.mtime.ns !== other.mtime.ns)) return false;
  const values = new Map(one.xattrs.map(({ name, value }) => [name, value]));
  return other.xattrs.every(({ name, value }) => values.get(name)?.equals(value) === true);
}

/** Names that both trees show, of files and links whose CIDs differ. */
async function* changedFiles(
  dag: Dag,
  roots: Sides<CID>,
  signal: AbortSignal,
): AsyncGenerator<Pick<Difference, 'path' | 'type'>> {
  const waiting = [{ ...roots, prefix: '' }];
  for (let pair = waiting.pop(); pair !== undefined; pair = waiting.pop()) {
    const names = new Map<string, CID>();
    for await (const { name, cid } of dag.list(pair.before, signal)) names.set(name, cid);
    for await (const { name, cid: after } of dag.list(pair.after, signal)) {
      const before = names.get(name);
      if (before === undefined || before.equals(after)) continue;
      const path = `${pair.prefix}${name}`;
      const was = await dag.entryOf(before, signal);
      const is = await dag.entryOf(after, signal);
      const directories = [was, is].filter(({ type }) => type === 'directory').length;
      if (directories === 2) waiting.push({ before, after, prefix: `${path}/` });
      else if (directories === 0) yield { path: nameOfText(path), type: typeOfEntry(is) };
    }
    await turn();
  }
}

const typeOfEntry = ({ type }: DagEntry): EntryType => (type === 'symlink' ? type : 'file');
