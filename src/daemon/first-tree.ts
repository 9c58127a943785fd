/**
 * `kitfs mount --from`: the tree `/ipfs` of a new state directory is, from the first moment that
 * somebody sees it, the tree of a snapshot. Its bytes may be elsewhere.
 *
 * Invariant: it is all there or nothing of it is, so that a start that was killed is done again.
 */
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, nameOfText } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import { type CID, cidOfBytes, parseCid } from '../content/content.ts';
import type { Actor, SyncedRow } from '../journal/journal.ts';
import { OPEN_GATE, Restorer } from '../sync/sync.ts';
import { type Caller, resolve } from '../vfs/vfs.ts';
import type { CoreParts } from './core.ts';
import { meaningOf } from './meaning.ts';

const TREE = nameOfText('/ipfs');

export interface FirstTreeInputs {
  readonly core: Pick<
    CoreParts,
    'vfs' | 'journal' | 'contents' | 'dag' | 'sealer' | 'filling' | 'names'
  >;
  /**
   * A CID, also as `/ipfs/CID`: of a snapshot record, or of a UnixFS directory. Or `/ipns/NAME`: what
   * that means when it is asked first.
   */
  readonly from: string;
  /** Who runs the daemon; 0 may have devices, owners and set-id bits restored. */
  readonly uid: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Does nothing when the tree was restored from there before.
 * @throws OpError not-empty; invalid-cid; as `NameResolver.resolve` and `Restorer.restore`.
 */
export async function restoreFirst(inputs: FirstTreeInputs): Promise<void> {
  const { core, from, uid, log, signal } = inputs;
  const { vfs, journal, contents, dag, sealer, filling } = core;
  const caller = callerOf(uid);
  const existing = treeOf(vfs, caller);
  // The name may mean another tree by now, and need not be asked.
  if (journal.meta.get('begun_from') === from) return;
  const isName = from.startsWith('/ipns/');
  const cid = isName
    ? await meaningOf(core, from, signal)
    : parseCid(from.replace(/^\/ipfs\//, ''));
  if (isFrom(journal.superblocks.synced(TREE), cid)) return;
  if (!journal.dentries.isEmpty(existing)) {
    throw new OpError('not-empty', `mount from ${from}`, {
      hint: 'that is for an empty state directory; kitfs snapshot restore is for any other',
    });
  }
  const { counts, skipped } = await new Restorer({
    journal,
    contents,
    dag,
    sealer,
    filling,
  }).restore(
    {
      cid,
      existing,
      missing: [],
      path: TREE,
      conflicts: { how: 'restore', policy: 'fail' },
      applyDeletions: false,
      gate: OPEN_GATE,
      writer: { write: (plan) => vfs.graft(caller, plan) },
      isRoot: uid === 0,
      actor: () => caller.actor(),
      onRecord: () => journal.meta.set('begun_from', from),
      dryRun: false,
    },
    { signal, progress: () => {} },
  );
  log.info({ from, names: counts.created, devices: skipped.length }, 'restored the tree');
}

const isFrom = (synced: SyncedRow | undefined, cid: CID): boolean =>
  [synced?.rootCid, synced?.snapshotCid].some(
    (known) => known !== undefined && known !== null && cidOfBytes(known).equals(cid),
  );

function treeOf(vfs: CoreParts['vfs'], caller: Caller): Ino {
  const found = resolve(vfs, caller, TREE as Name, { follow: true });
  if (found instanceof Promise || found.inode === undefined) {
    throw new OpError('not-found', `restore ${TREE}`);
  }
  return found.inode.ino;
}

function callerOf(uid: number): Caller {
  const gid = process.getgid?.() ?? 0;
  const actor: Actor = { surface: 'daemon', uid, gid };
  return { uid, gid, groups: [], checked: false, actor: () => actor };
}
