/**
 * The root that a caller expects to have been synced last. Who knows the CID of a root has all that
 * is in it: it is told to those alone who may read all that is there.
 */
import { OpError } from '../base/errors.ts';
import type { Ino, Name } from '../base/ids.ts';
import { isDirectory, isRegular } from '../base/posix.ts';
import { cidOfBytes } from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import type { Gate } from './freeze.ts';
import { namesIn } from './planning.ts';

export interface Expectation {
  /** The directory; undefined: it is still to be made. */
  readonly root: Ino | undefined;
  readonly path: Name;
  readonly gate: Gate;
  /** As text; undefined: whatever it is. */
  readonly expectedRoot?: string | undefined;
}

/** @throws OpError version-conflict, with the root of the last sync in `partial.version`; denied. */
export function demandRoot(journal: Journal, expectation: Expectation, op: string): void {
  const { root, path, gate, expectedRoot } = expectation;
  if (expectedRoot === undefined) return;
  const synced = journal.superblocks.synced(path);
  const version = synced === undefined ? undefined : cidOfBytes(synced.rootCid).toString();
  if (version === expectedRoot) return;
  if (root !== undefined) demandAllReadable(journal, root, gate);
  // Of what is gone nobody can tell who might read it.
  const isTold = root !== undefined || synced === undefined || gate.seesTrusted;
  throw new OpError('version-conflict', op, {
    hint: 'expected_version is not the root of the last sync',
    details: isTold ? { partial: { version: version ?? null } } : {},
  });
}

/** @throws OpError denied. */
function demandAllReadable(journal: Journal, root: Ino, gate: Gate): void {
  if (gate.seesTrusted) return;
  const waiting = [root];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    gate.demandReadable(directory);
    for (const { ino, mode } of namesIn(journal, directory).values()) {
      if (isDirectory(mode)) waiting.push(ino);
      if (isRegular(mode)) gate.demandReadable(ino);
    }
  }
}
