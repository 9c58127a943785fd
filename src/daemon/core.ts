/**
 * The core of a daemon, assembled: journal, content, file system, and their background loops. Also
 * says how it is taken apart.
 */
import type { Clock } from '../base/clock.ts';
import { LOOPS_REST_MS, RESERVE_BYTES, STOP_SYNC_MS_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Native } from '../base/native.ts';
import type { Random } from '../base/random.ts';
import {
  BlockFetcher,
  type BlockOrigin,
  BlockStore,
  ContentStore,
  Dag,
  Doubt,
  Filling,
  HashPool,
  Sealer,
} from '../content/content.ts';
import { Checkpointer, type Journal, Retention } from '../journal/journal.ts';
import { NameResolver } from '../node/resolver.ts';
import {
  type ControlFile,
  dropVolatile,
  type HandleTable,
  type Inherited,
  recover,
  Vfs,
} from '../vfs/vfs.ts';
import {
  bootId,
  removeLeftovers,
  restMapped,
  retain,
  saveReads,
  settleDoubt,
} from './background.ts';
import type { Config } from './config.ts';
import { contentReader, nameReader } from './content-reader.ts';
import { openIdentified } from './identity.ts';
import { keptFiles } from './kept-files.ts';
import { Loops } from './loops.ts';
import { diskSpaceAt, keepRoom, Reserve } from './room.ts';
import { memoryDirectoryOf } from './run-directory.ts';
import { retentionOf } from './settings.ts';
import { JournalSync, syncAtEnd } from './stable.ts';
import type { StateDirectory } from './state.ts';
import type { Teardown } from './teardown.ts';
import { mountFirstTrees } from './trees.ts';
import { witness as keepWitness, Witness } from './witness.ts';

export interface CoreParts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly dag: Dag;
  readonly hasher: HashPool;
  readonly sealer: Sealer;
  readonly filling: Filling;
  /** Answers when it has heard of the home node. */
  readonly names: NameResolver;
  readonly journalSync: JournalSync;
  readonly vfs: Vfs;
  readonly loops: Loops;
  readonly reserve: Reserve;
  /** The journal is older than the content, and does not know what was done since. */
  readonly isJournalBehind: boolean;
}

export interface CoreInputs {
  readonly config: Config;
  readonly state: StateDirectory;
  readonly native: Native;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly controlFiles: readonly ControlFile[];
  readonly table: HandleTable;
  /** Of the journal that is gone on with; undefined: whichever is there, or a new one. */
  readonly journalId: string | undefined;
  /** Handles of a connection that is gone on with; undefined: a new one is made. */
  readonly inherited: readonly Inherited[] | undefined;
  readonly teardown: Teardown;
  /** Who is asked for blocks that are not here; absent, or undefined at the moment: nobody. */
  readonly origin?: (() => BlockOrigin | undefined) | undefined;
  /** Whether the kernel asks a lot just now. */
  readonly isBusy: () => boolean;
  /** Told between the pieces of long transactions. */
  readonly onWork: () => void;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

const OLDER_JOURNAL =
  'the journal is older than the content beside it, as a backup is: files that it does not tell of ' +
  'are kept; stop, and run kitfs fsck --repair, which puts them into lost+found';

/** @throws OpError as `openIdentified`; what opening the content store throws. */
export function openCore(inputs: CoreInputs): CoreParts {
  const { clock, log, native, state, teardown } = inputs;
  const diskSpace = () => diskSpaceAt(state.directory);
  const reserve = new Reserve(state.reserve, diskSpace(), native);
  // A start on a full disk needs some space too.
  if (diskSpace().freeBytes < RESERVE_BYTES) reserve.giveUp();
  const { journalId, onWork, random } = inputs;
  const journal = openIdentified({ path: state.journal, clock, onWork, random, journalId });
  teardown.push('close the journal', () => journal.close());
  const folding = new Loops({ clock, log });
  folding.start('checkpoints', (signal) => new Checkpointer({ journal, clock, log }).run(signal));
  teardown.push('fold the WAL', () => folding.stop());
  const witness = new Witness(journal, state.content);
  const isJournalBehind = witness.examine();
  if (isJournalBehind) log.error({ content: state.content }, OLDER_JOURNAL);
  let notify = () => {};
  const journalSync = new JournalSync({ journal, native });
  const contents = new ContentStore({
    journal,
    native,
    directory: state.content,
    memoryDirectory: memoryDirectoryOf(inputs.config.run),
    clock,
    onFrozen: () => notify(),
    afterSync: (action) => journalSync.afterwards(action),
  });
  teardown.push('close the content', () => contents.close());
  teardown.push('bring the content to the disk', () => {
    const enough = AbortSignal.timeout(STOP_SYNC_MS_MAX);
    return syncAtEnd({ journal, contents, journalSync, log }, enough);
  });
  const blocks = new BlockStore({ journal, contents });
  const dag = new Dag(blocks);
  const hasher = new HashPool();
  const sealer = new Sealer({ journal, contents, hasher, clock, log, isBusy: inputs.isBusy });
  notify = () => sealer.notify();
  const fetcher = new BlockFetcher({ origin: inputs.origin ?? (() => undefined), clock });
  const { signal } = inputs;
  const filling = new Filling({ contents, blocks, fetcher, sealer, log, signal });
  teardown.push('end what is being fetched', () => filling.settled());
  const doubt = new Doubt({
    ...{ journal, contents, log, boot: bootId(), signal },
    verify: (id, signal) => sealer.verify(id, signal),
  });
  const names = new NameResolver({ clock });
  const vfs = openVfs(inputs, { journal, contents, filling, names, doubt, journalSync });
  const restMs = inputs.inherited === undefined ? 0 : LOOPS_REST_MS;
  const loops = new Loops({ clock, log, restMs });
  const kept = { witness, isJournalBehind };
  startLoops(inputs, loops, { journal, contents, sealer, vfs, journalSync, reserve, ...kept });
  teardown.push('end the hashing threads', () => hasher.close());
  teardown.push('end the background loops', () => loops.stop());
  const engine = { journal, contents, blocks, dag, hasher, sealer, filling, names, journalSync };
  return { ...engine, vfs, loops, reserve, isJournalBehind };
}

function openVfs(
  inputs: CoreInputs,
  parts: Pick<CoreParts, 'journal' | 'contents' | 'filling' | 'names' | 'journalSync'> & {
    readonly doubt: Doubt;
  },
): Vfs {
  const { clock, log, config, controlFiles, random, signal, state, teardown } = inputs;
  const owner = { uid: config.uid, gid: process.getgid?.() ?? 0 };
  const vfs = new Vfs({
    journal: parts.journal,
    content: parts.contents,
    clock,
    syncJournal: () => parts.journalSync.sync(),
    doubt: parts.doubt,
    filling: parts.filling,
    contentReader: contentReader(parts.filling.dag),
    nameReader: nameReader(parts.names),
    controlFiles,
    owner,
    stateDirectory: state.directory,
    signal,
    table: inputs.table,
    ...keptFiles({
      directory: config.run,
      isTakenOver: inputs.inherited !== undefined,
      ...{ log, teardown },
    }),
  });
  const recovery = recover(vfs.core, owner, inputs.inherited);
  if (recovery.sessionsEnded + recovery.orphansReaped > 0) {
    log.info({ ...recovery }, 'put in order what a killed daemon had left');
  }
  const { contentsLost } = recovery;
  if (contentsLost > 0) log.error({ contentsLost }, 'bytes of files are lost: see kitfs fsck');
  mountFirstTrees({ core: vfs.core, settings: config.settings, random, owner });
  teardown.push('drop what is in memory', () => {
    dropVolatile(vfs.core);
  });
  return vfs;
}

function startLoops(
  { clock, config, log, state }: CoreInputs,
  loops: Loops,
  parts: Omit<CoreParts, 'blocks' | 'dag' | 'hasher' | 'filling' | 'names' | 'loops'> & {
    readonly witness: Witness;
  },
): void {
  const { journal, contents, sealer, vfs, journalSync, reserve, witness } = parts;
  const retention = new Retention({
    journal,
    policy: retentionOf(config.settings),
    discard: (id) => contents.discard(id),
  });
  loops.start('history', (signal) => retain({ retention, clock }, signal));
  const diskSpace = () => diskSpaceAt(state.directory);
  const room = { core: vfs.core, journal, journalSync, retention, reserve, clock, log, diskSpace };
  loops.start('room', (signal) => keepRoom(room, signal));
  loops.start('sealing', (signal) => sealer.run(signal));
  loops.start('access times', (signal) => saveReads({ core: vfs.core, clock }, signal));
  loops.start('mappings', (signal) => restMapped({ core: vfs.core, clock }, signal));
  loops.start('doubt', (signal) => settleDoubt(vfs.core, signal));
  loops.start('witness', (signal) => keepWitness({ witness, journalSync, clock }, signal));
  loops.start('leftovers', (signal) => removeLeftovers({ ...parts, log }, signal));
}
