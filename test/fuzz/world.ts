/**
 * A file system with all its parts in a directory of its own, as a daemon assembles it but for the
 * background loops: what happens depends on the seed alone.
 */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { loadNative } from '../../src/base/native.ts';
import { Redactor } from '../../src/base/redaction.ts';
import { Secret } from '../../src/base/secrets.ts';
import { BlockStore, ContentStore, Dag, HashPool, Sealer } from '../../src/content/content.ts';
import { contentReader, nameReader } from '../../src/daemon/content-reader.ts';
import { openIdentified } from '../../src/daemon/identity.ts';
import { ipfsPorts } from '../../src/daemon/ipfs-ports.ts';
import { LocalRoots } from '../../src/daemon/local-roots.ts';
import { Loops } from '../../src/daemon/loops.ts';
import { defaultSettings } from '../../src/daemon/settings.ts';
import { JournalSync } from '../../src/daemon/stable.ts';
import { inheritedFrom } from '../../src/fuse/fuse.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { NameResolver } from '../../src/node/node.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { KernelLocks } from '../../src/tools/locks.ts';
import {
  Backends,
  Cursors,
  Jobs,
  JournaledCalls,
  JournaledJobs,
  Registry,
} from '../../src/tools/tools.ts';
import { type Caller, type HandleTable, type Inherited, recover, Vfs } from '../../src/vfs/vfs.ts';
import { fillingAlone } from '../fakes/alone.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { mountTree } from '../vfs/mount-tree.ts';

export const ROOT: Caller = {
  uid: 0,
  gid: 0,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'daemon', uid: 0, gid: 0, exe: 'test' }),
};

export class World {
  readonly directory: string;
  readonly log = new RememberedLog();
  readonly clock = new SystemClock();
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly dag: Dag;
  readonly sealer: Sealer;
  readonly journalSync: JournalSync;
  readonly vfs: Vfs;
  readonly jobs: Jobs;
  readonly registry: Registry;
  readonly engine: ReturnType<typeof ipfsPorts>['ipfs'];
  readonly #loops = new Loops(this);
  readonly #hasher = new HashPool();
  readonly #stop = new AbortController();

  /** `directory`: what another one left, with `table` open handles too; absent: a new one. */
  constructor(
    directory = mkdtempSync(join(tmpdir(), 'kitfs-fuzz-')),
    { table, isTakenOver = false }: { table?: HandleTable; isTakenOver?: boolean } = {},
  ) {
    this.directory = directory;
    const { clock, log } = this;
    const native = loadNative();
    const path = join(directory, 'journal.db');
    const identity = { random: new CountingRandom(), journalId: undefined };
    const journal = openIdentified({ path, clock, ...identity });
    this.journal = journal;
    const journalSync = new JournalSync({ journal, native });
    this.journalSync = journalSync;
    const contents = new ContentStore({
      journal,
      native,
      directory: join(directory, 'content'),
      memoryDirectory: join(directory, 'memory'),
      clock,
      afterSync: (action) => journalSync.afterwards(action),
    });
    this.contents = contents;
    this.blocks = new BlockStore({ journal, contents });
    this.dag = new Dag(this.blocks);
    this.sealer = new Sealer({ journal, contents, hasher: this.#hasher, clock, log });
    const names = new NameResolver({ clock });
    this.vfs = new Vfs({
      journal,
      content: contents,
      clock,
      syncJournal: () => journalSync.sync(),
      contentReader: contentReader(this.dag),
      nameReader: nameReader(names),
      controlFiles: [{ name: 'status.json', render: () => Buffer.from('{"health":"ok"}\n') }],
      owner: { uid: 0, gid: 0 },
      stateDirectory: directory,
      signal: this.signal,
      table,
    });
    this.#recover(isTakenOver && table ? inheritedFrom(table, clock) : undefined);
    if (this.vfs.core.mounts.mounts().length === 0) {
      mountTree(this.vfs, ROOT, { point: '/ipfs', mode: 0o777 });
      mountTree(this.vfs, ROOT, { point: '/mem', mode: 0o777 });
    }
    const syncJournal = () => this.vfs.core.syncJournal();
    const { blocks, dag, sealer } = this;
    const filling = fillingAlone({ contents, blocks, sealer, clock, log, signal: this.signal });
    this.engine = ipfsPorts({
      ...{ journal, contents, blocks, dag, sealer, filling, clock, syncJournal },
      ...{ vfs: this.vfs, names },
      ...{ home: 'embedded', kubo: undefined, version: '9.8.7', diskBytes: () => 2 ** 40 },
      ...{ keys: join(directory, 'keys'), log: this.log, loops: this.#loops },
      sync: defaultSettings().sync,
    }).ipfs;
    const random = new CountingRandom();
    this.jobs = new Jobs({ clock, random });
    this.registry = this.#tools(random);
  }

  /** Aborts at `close`. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** What is damaged does not start, and leaves nothing open. */
  #recover(inherited: readonly Inherited[] | undefined): void {
    try {
      recover(this.vfs.core, { uid: 0, gid: 0 }, inherited);
    } catch (error) {
      this.contents.close();
      this.journal.close();
      throw error;
    }
  }

  /** Errors that were logged and are no operating errors, or say that something of ours broke. */
  faults(): unknown[] {
    const errors = this.log.lines.filter(({ level }) => level === 'error');
    return errors.map(({ fields }) => fields['err'] ?? fields['error']).filter(isFault);
  }

  async stop(): Promise<void> {
    await this.jobs.close();
    this.#stop.abort(new Error('the run is over'));
    await this.#loops.stop();
    await this.#hasher.close();
    this.contents.close();
    this.journal.close();
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #tools(random: CountingRandom): Registry {
    const { clock, log, vfs, sealer, jobs } = this;
    const cursors = new Cursors({ clock, random });
    const mountDir = () => undefined;
    const ports = {
      ...{ clock, random, log, cursors, jobs, vfs, sealer, ipfs: this.engine },
      mount: { localPath: (path: string) => `/mnt/kitfs${path}` },
      locks: new KernelLocks({ mountDir, proc: '/proc' }),
      keptCalls: new JournaledCalls(this.journal),
      holding: vfs.core.content.holding,
      keptJobs: new JournaledJobs(this.journal),
      backends: new Backends({
        ...{ journal: this.journal, clock, random },
        readSecret: (reference) => new Secret('fuzzed', reference),
        roots: new LocalRoots([], '/nonexistent'),
      }),
      daemon: {
        version: '1.0.0',
        startedAt: clock.now(),
        state: () => 'running' as const,
        troubles: () => [],
        verifiedSeq: () => 0,
        uploads: () => 0,
        errorsLastHour: () => ({}),
      },
    };
    return new Registry({ tools: TOOLS, ports, redactor: new Redactor() });
  }
}

/** Whether an error is one nobody can make happen from outside. */
export const isFault = (error: unknown): boolean =>
  !(error instanceof OpError) ||
  ['internal', 'journal-corrupt', 'journal-unavailable'].includes(error.failure);

/** Memory and descriptors this process holds. */
export function held(): {
  readonly heapMib: number;
  readonly rssMib: number;
  readonly fds: number;
} {
  const { heapUsed, rss } = process.memoryUsage();
  const mib = (bytes: number) => Math.round(bytes / 2 ** 20);
  return { heapMib: mib(heapUsed), rssMib: mib(rss), fds: readdirSync('/proc/self/fd').length };
}
