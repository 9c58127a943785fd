/** A whole file system in process, over a real journal and real files in a directory of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { ContentStore } from '../../src/content/content.ts';
import { inheritedFrom } from '../../src/fuse/fuse.ts';
import { Journal } from '../../src/journal/journal.ts';
import {
  type Caller,
  type ContentReader,
  HandleTable,
  type Inherited,
  type NameReader,
  recover,
  resolve,
  Vfs,
} from '../../src/vfs/vfs.ts';
import { mountTree } from './mount-tree.ts';
import { KeptMemory } from './table-memory.ts';

export const ROOT: Caller = {
  uid: 0,
  gid: 0,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'daemon', uid: 0, gid: 0, exe: 'test' }),
};

export const callerOf = (uid: number, gid: number, groups: readonly number[] = []): Caller => ({
  uid,
  gid,
  groups,
  checked: false,
  actor: () => ({ surface: 'mcp', uid, gid }),
});

/** What was agreed with a kernel that nobody in these tests is. */
const AGREED = {
  generation: 1,
  minor: 45,
  maxReadahead: 0,
  flags: 0xffff_ffff,
  flags2: 0xffff_ffff,
};

const absent = () => Promise.reject(new OpError('not-found', 'test'));
/** No content by CID is here. */
const NOTHING_HERE: ContentReader = {
  isCid: (name) => /^bafy[a-z2-7]{55}$/.test(name),
  node: absent,
  children: () => {
    throw new OpError('not-found', 'test');
  },
  read: absent,
};

export class Fixture {
  readonly directory: string;
  /** Called between the pieces of long transactions. */
  onWork: () => void = () => {};
  /** Where the handle table is; it outlives a kill. */
  memory = new KeptMemory();
  table = this.#newTable();
  journal: Journal;
  content: ContentStore;
  vfs: Vfs;
  readonly #clock = new SystemClock();

  readonly #reader: ContentReader;
  readonly #names: NameReader | undefined;

  constructor(
    directory = mkdtempSync(join(tmpdir(), 'kitfs-vfs-')),
    reader = NOTHING_HERE,
    names?: NameReader,
  ) {
    this.directory = directory;
    this.#reader = reader;
    this.#names = names;
    [this.journal, this.content, this.vfs] = this.#open();
  }

  /** Root of `/ipfs`. */
  get ipfs(): Ino {
    return this.ino('/ipfs');
  }

  ino(path: string): Ino {
    const found = resolve(this.vfs, ROOT, nameOfText(path), { follow: true });
    if (found instanceof Promise) throw new Error(`${path} is not in a managed tree`);
    if (found.inode === undefined) throw new OpError('not-found', path);
    return found.inode.ino;
  }

  /**
   * Closes without a word, as a kill does, and opens again. With `inherited` the connection is gone on
   * with, and the kernel still has these handles.
   */
  reopen(inherited?: readonly Inherited[]): void {
    this.content.close();
    this.journal.close();
    this.table = inherited === undefined ? this.#newTable() : this.#adopted(this.memory);
    [this.journal, this.content, this.vfs] = this.#open(inherited);
  }

  /**
   * As `reopen`, but the connection to the kernel goes on: `memory` is what the killed one left of
   * its handle table, by default all of it.
   */
  takeOver(memory = this.memory.copy()): void {
    this.content.close();
    this.journal.close();
    this.memory = memory;
    this.table = this.#adopted(memory);
    const inherited = inheritedFrom(this.table, this.#clock);
    [this.journal, this.content, this.vfs] = this.#open(inherited);
  }

  #adopted(memory: KeptMemory): HandleTable {
    const table = HandleTable.adopt(memory);
    if (table === undefined) throw new Error('it cannot be taken over');
    return table;
  }

  #newTable(): HandleTable {
    this.memory = new KeptMemory();
    const table = HandleTable.make(this.memory);
    table.agree(AGREED);
    return table;
  }

  close(): void {
    this.content.close();
    this.journal.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #open(inherited?: readonly Inherited[]): [Journal, ContentStore, Vfs] {
    const clock = this.#clock;
    const native = loadNative();
    const onWork = () => this.onWork();
    const journal = new Journal({ path: join(this.directory, 'journal.db'), clock, onWork });
    const content = new ContentStore({
      journal,
      native,
      directory: join(this.directory, 'content'),
      memoryDirectory: join(this.directory, 'memory'),
      clock,
    });
    const vfs = new Vfs({
      journal,
      content,
      clock,
      syncJournal: () => native.fdatasyncMany([journal.walFd]),
      contentReader: this.#reader,
      nameReader: this.#names,
      controlFiles: [{ name: 'status.json', render: () => Buffer.from('{}\n') }],
      owner: { uid: 0, gid: 0 },
      stateDirectory: this.directory,
      signal: new AbortController().signal,
      table: this.table,
    });
    recover(vfs.core, { uid: 0, gid: 0 }, inherited);
    content.direct.removeStraySlots();
    if (vfs.core.mounts.mounts().length === 0) {
      mountTree(vfs, ROOT, { point: '/ipfs', mode: 0o755 });
      mountTree(vfs, ROOT, { point: '/mem', mode: 0o755 });
    }
    return [journal, content, vfs];
  }
}
