/** A tree, a block store and both ways between them, over a real journal, files and threads. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import type { OpError } from '../../src/base/errors.ts';
import { type Ino, type Name, nameOfText } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { R_OK } from '../../src/base/posix.ts';
import {
  BlockFetcher,
  type BlockOrigin,
  BlockStore,
  Builder,
  type CID,
  ContentStore,
  Dag,
  Filling,
  HashPool,
  Sealer,
} from '../../src/content/content.ts';
import { contentReader, nameReader } from '../../src/daemon/content-reader.ts';
import { Journal, type TargetRow } from '../../src/journal/journal.ts';
import { NameResolver } from '../../src/node/node.ts';
import {
  type Published,
  Publisher,
  type PublishRequest,
  type Restored,
  type RestoreRequest,
  Restorer,
} from '../../src/sync/sync.ts';
import { type Caller, type Inode, recover, resolve, Vfs, walk } from '../../src/vfs/vfs.ts';
import { mountTree } from '../vfs/mount-tree.ts';

export const callerOf = (uid: number): Caller => ({
  uid,
  gid: uid,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'mcp', uid, gid: uid }),
});

export const ROOT = callerOf(0);

const O_WRONLY = 1;
const SILENT = { info() {}, warn() {}, error() {} };

export class Fixture {
  readonly directory = mkdtempSync(join(tmpdir(), 'kitfs-sync-'));
  readonly clock = new SystemClock();
  readonly native = loadNative();
  readonly journal: Journal;
  readonly journalId = 'here';
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly hasher = new HashPool();
  readonly sealer: Sealer;
  readonly dag: Dag;
  readonly builder: Builder;
  readonly filling: Filling;
  /** Of a node that a test attaches. */
  readonly names = new NameResolver(this);
  readonly vfs: Vfs;
  readonly publisher: Publisher;
  readonly restorer: Restorer;
  /** How often it was told that something is owed to a store. */
  owed = 0;
  readonly #stop = new AbortController();

  /** `origin` is who is asked for what is not here; without one nobody is. */
  constructor(origin?: BlockOrigin) {
    const { clock, native, directory } = this;
    this.journal = new Journal({ path: join(directory, 'journal.db'), clock });
    const { journal } = this;
    this.contents = new ContentStore({
      journal,
      native,
      directory: join(directory, 'content'),
      memoryDirectory: join(directory, 'memory'),
      clock,
    });
    const { contents, hasher } = this;
    this.blocks = new BlockStore({ journal, contents });
    this.sealer = new Sealer({ journal, contents, hasher, clock, log: SILENT });
    this.dag = new Dag(this.blocks);
    this.builder = new Builder({ journal, contents, blocks: this.blocks, sealer: this.sealer });
    const fetcher = new BlockFetcher({ origin: () => origin, clock });
    const { signal, sealer: ownSealer, blocks: ownBlocks } = this;
    const parts = { contents, blocks: ownBlocks, sealer: ownSealer, fetcher, log: SILENT, signal };
    this.filling = new Filling(parts);
    const syncJournal = () => native.fdatasyncMany([journal.walFd]);
    this.vfs = new Vfs({
      journal,
      content: contents,
      clock,
      syncJournal,
      filling: this.filling,
      contentReader: contentReader(this.filling.dag),
      nameReader: nameReader(this.names),
      controlFiles: [],
      owner: { uid: 0, gid: 0 },
      stateDirectory: directory,
      signal: this.signal,
    });
    recover(this.vfs.core, { uid: 0, gid: 0 });
    mountTree(this.vfs, ROOT, { point: '/ipfs', mode: 0o755 });
    mountTree(this.vfs, ROOT, { point: '/mem', mode: 0o755 });
    const { blocks, sealer, dag, builder, filling } = this;
    const onOwed = () => {
      this.owed += 1;
    };
    const made = { journal, contents, blocks, sealer, dag, builder, filling };
    const ports = { ...made, clock, syncJournal, onOwed };
    this.publisher = new Publisher(ports);
    this.restorer = new Restorer(ports);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the test is over'));
    await this.filling.settled();
    await this.hasher.close();
    this.contents.close();
    this.journal.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  inode(path: string): Inode {
    const found = resolve(this.vfs, ROOT, nameOfText(path), { follow: false });
    if (found instanceof Promise) throw new Error(`${path} is not in a managed tree`);
    if (found.inode === undefined) throw new Error(`${path} is not there`);
    return found.inode;
  }

  ino(path: string): Ino {
    return this.inode(path).ino;
  }

  #place(path: string): { parent: Ino; name: Name } {
    const at = path.lastIndexOf('/');
    return { parent: this.ino(path.slice(0, at)), name: nameOfText(path.slice(at + 1)) };
  }

  mkdir(path: string, mode = 0o755): Ino {
    const { parent, name } = this.#place(path);
    return this.vfs.mkdir(ROOT, parent, name, mode).ino;
  }

  /** Makes or rewrites a file, and leaves it at rest. */
  write(path: string, bytes: Uint8Array | string): Ino {
    const handle = this.openForWriting(path);
    this.vfs.write(ROOT, handle.fh, Buffer.from(bytes), 0, false);
    this.vfs.release(handle.fh);
    return handle.ino;
  }

  /** A handle on a file that is empty now. */
  openForWriting(path: string) {
    const { parent, name } = this.#place(path);
    const known = this.vfs.core.child(parent, name);
    if (known === undefined) return this.vfs.create(ROOT, parent, name, 0o644, O_WRONLY).handle;
    void this.vfs.setattr(ROOT, known.ino, { size: 0 });
    const handle = this.vfs.open(ROOT, known.ino, O_WRONLY, false);
    if (handle instanceof Promise) throw new Error(`${path} is not in a managed tree`);
    return handle;
  }

  /** A handle on a file as it is. */
  overwriting(path: string) {
    const handle = this.vfs.open(ROOT, this.ino(path), O_WRONLY, false);
    if (handle instanceof Promise) throw new Error(`${path} is not in a managed tree`);
    return handle;
  }

  symlink(path: string, target: string): Ino {
    const { parent, name } = this.#place(path);
    return this.vfs.symlink(ROOT, parent, name, nameOfText(target)).ino;
  }

  link(from: string, path: string): void {
    const { parent, name } = this.#place(path);
    this.vfs.link(ROOT, this.ino(from), parent, name);
  }

  mknod(path: string, mode: number, rdev = 0): Ino {
    const { parent, name } = this.#place(path);
    return this.vfs.mknod(ROOT, parent, name, mode, rdev).ino;
  }

  unlink(path: string): void {
    const { parent, name } = this.#place(path);
    this.vfs.unlink(ROOT, parent, name);
  }

  bytes(path: string): Buffer {
    const row = this.inode(path);
    const bytes = Buffer.alloc(row.size);
    if (row.size > 0) this.contents.read(row.content, bytes, 0, row.size, 0);
    return bytes;
  }

  publish(path: string, change: Partial<PublishRequest> = {}): Promise<Published> {
    return this.publisher.publish(this.publishRequest(path, change), this.#run);
  }

  /** Publishes, and writes down that a node shall have it. */
  async want(path: string, change: Partial<TargetRow> = {}): Promise<Published> {
    const published = await this.publish(path);
    const { root, snapshot } = published;
    const { targets, head } = this.journal;
    const name = nameOfText(path);
    const known = targets.get(name, 'kubo');
    const at = { ino: this.ino(path), seq: head.seq };
    const wanted = { tree: Buffer.from(root.bytes), snapshot: Buffer.from(snapshot.bytes), ...at };
    this.journal.commit(() =>
      targets.put({
        ...{ path: name, target: 'kubo', pin: true, attempts: 0, sent: known?.sent ?? [] },
        ...{ wanted, state: 'queued', dueS: 0, failure: undefined },
        ...{ held: known?.held, checkedS: undefined, ...change },
      }),
    );
    return published;
  }

  /** What is owed to the node of a path, and what it has. */
  target(path: string): TargetRow {
    const row = this.journal.targets.get(nameOfText(path), 'kubo');
    if (row === undefined) throw new Error('nothing is owed');
    return row;
  }

  publishRequest(path: string, change: Partial<PublishRequest> = {}): PublishRequest {
    return {
      root: this.ino(path),
      path: nameOfText(path),
      gate: { demandReadable: (ino) => this.vfs.access(ROOT, ino, R_OK), seesTrusted: true },
      actor: ROOT.actor,
      pin: true,
      unixfsMetadata: false,
      ...change,
    };
  }

  restore(
    cid: CID,
    path: string,
    change: Partial<RestoreRequest> & { caller?: Caller; signal?: AbortSignal } = {},
  ): Promise<Restored> {
    const { caller = ROOT, signal = this.signal, ...rest } = change;
    const request: RestoreRequest = {
      cid,
      existing: rest.existing ?? this.ino(path),
      missing: [],
      path: nameOfText(path),
      conflicts: { how: 'restore', policy: 'fail' },
      applyDeletions: true,
      gate: { demandReadable: () => undefined, seesTrusted: true },
      writer: { write: (plan) => this.vfs.graft(caller, plan) },
      isRoot: caller.uid === 0,
      actor: caller.actor,
      dryRun: false,
      ...rest,
    };
    return this.restorer.restore(request, { ...this.#run, signal });
  }

  get #run() {
    return { signal: this.signal, progress: () => undefined };
  }

  /** Everything below a directory that a program could see, by path. */
  tree(path: string): Record<string, unknown> {
    const shown: Record<string, unknown> = {};
    const paths = new Map<Ino, string>([[this.ino(path), '']]);
    const inodes = new Map<Ino, string>();
    shown['.'] = this.#shown(this.inode(path));
    for (const { parent, name, row } of walk(this.vfs.core, ROOT, this.ino(path))) {
      const at = `${paths.get(parent)}/${name}`;
      if (!paths.has(row.ino)) paths.set(row.ino, at);
      const first = inodes.get(row.ino);
      inodes.set(row.ino, first ?? at);
      shown[at] = { ...this.#shown(row), sameAs: first };
    }
    return shown;
  }

  #shown(row: Inode): Record<string, unknown> {
    const { ino, mode, uid, gid, nlink, size, rdev } = row;
    const bytes = Buffer.alloc(row.content === 0 ? 0 : size);
    if (bytes.length > 0) this.contents.read(row.content, bytes, 0, size, 0);
    const xattrs = this.journal.xattrs.all(ino);
    return {
      mode: mode.toString(8),
      owner: [uid, gid],
      nlink,
      rdev,
      mtime: [row.mtimeS, row.mtimeNs],
      atime: [row.atimeS, row.atimeNs],
      bytes: bytes.toString('latin1'),
      target: this.journal.symlinks.get(ino),
      xattrs: xattrs.map(({ name, value }) => [name, value.toString('latin1')]),
    };
  }
}

/** What a promise fails with. */
export async function failureOf(work: Promise<unknown>): Promise<OpError> {
  return (await work.then(
    (value) => {
      throw new Error(`it succeeded with ${JSON.stringify(value)}`);
    },
    (error: unknown) => error,
  )) as OpError;
}
