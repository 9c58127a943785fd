/** The file system of a daemon without its mount, assembled as `daemon/core.ts` does, over a state directory. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, type Name, nameOfText } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { ContentStore, Doubt, HashPool, Sealer } from '../../src/content/content.ts';
import { removeLeftovers, settleDoubt } from '../../src/daemon/background.ts';
import { JournalSync } from '../../src/daemon/stable.ts';
import { Journal } from '../../src/journal/journal.ts';
import { type Caller, type Handle, recover, resolve, Vfs } from '../../src/vfs/vfs.ts';
import { HandPassthrough } from '../fakes/passthrough.ts';
import { mountTree } from '../vfs/mount-tree.ts';

/** A tool, and the kernel, which has checked what it asks for. */
export const TOOL: Caller = {
  uid: 0,
  gid: 0,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'daemon', uid: 0, gid: 0, exe: 'test' }),
};
export const KERNEL: Caller = { ...TOOL, checked: true };

/** Collects what is told of losses. */
class Losses {
  readonly told: string[] = [];
  info(): void {}
  warn(): void {}
  error(fields: object, message: string): void {
    this.told.push(`${message} ${JSON.stringify(fields)}`);
  }
}

export class System {
  readonly journal: Journal;
  readonly content: ContentStore;
  readonly vfs: Vfs;
  readonly sealer: Sealer;
  readonly passthrough = new HandPassthrough();
  readonly log = new Losses();
  readonly #hasher = new HashPool();
  readonly #stop = new AbortController();
  readonly #journalSync: JournalSync;

  /** `boot`: another one after each loss of power. */
  constructor(directory: string, boot: string) {
    const clock = new SystemClock();
    const native = loadNative();
    this.journal = new Journal({ path: join(directory, 'journal.db'), clock });
    const { journal, log } = this;
    const { signal } = this.#stop;
    const journalSync = new JournalSync({ journal, native });
    this.#journalSync = journalSync;
    const content = new ContentStore({
      ...{ journal, native, clock },
      directory: join(directory, 'content'),
      memoryDirectory: join(directory, 'memory'),
      afterSync: (action) => journalSync.afterwards(action),
    });
    this.content = content;
    this.sealer = new Sealer({ journal, contents: content, hasher: this.#hasher, clock, log });
    const verify = (id: Parameters<Sealer['verify']>[0]) => this.sealer.verify(id, signal);
    const doubt = new Doubt({ journal, contents: content, verify, log, boot, signal });
    const absent = () => Promise.reject(new OpError('not-found', 'test'));
    const none = () => {
      throw new OpError('not-found', 'test');
    };
    this.vfs = new Vfs({
      ...{ journal, content, clock, doubt, signal },
      syncJournal: () => journalSync.sync(),
      contentReader: { isCid: () => false, node: absent, children: none, read: absent },
      controlFiles: [],
      owner: { uid: 0, gid: 0 },
      stateDirectory: directory,
    });
    const { core } = this.vfs;
    recover(core, { uid: 0, gid: 0 });
    core.live.attach(this.passthrough);
    if (core.mounts.mounts().length === 0)
      mountTree(this.vfs, TOOL, { point: '/ipfs', mode: 0o755 });
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  ino(path: string): Ino {
    const found = resolve(this.vfs, TOOL, nameOfText(path), { follow: true });
    if (found instanceof Promise || found.inode === undefined) throw new OpError('not-found', path);
    return found.inode.ino;
  }

  nameIn(path: string): { readonly parent: Ino; readonly name: Name } {
    const at = path.lastIndexOf('/');
    return { parent: this.ino(path.slice(0, at)), name: nameOfText(path.slice(at + 1)) };
  }

  /** By the kernel past the daemon where it may. */
  write(handle: Pick<Handle, 'fh' | 'backing'>, bytes: Buffer, position: number): void {
    if (handle.backing === undefined) {
      this.vfs.write(KERNEL, handle.fh, bytes, position, false);
      return;
    }
    const fd = openSync(this.passthrough.pathOf(handle.backing), 'r+');
    writeSync(fd, bytes, 0, bytes.length, position);
    closeSync(fd);
  }

  /** Does what is left of the checks after a boot. */
  settleDoubt(): Promise<void> {
    return settleDoubt(this.vfs.core, this.signal);
  }

  /** Removes files that no row tells of. */
  removeLeftovers(): Promise<void> {
    const { content: contents, log } = this;
    return removeLeftovers(
      { contents, journalSync: this.#journalSync, isJournalBehind: false, log },
      this.signal,
    );
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#hasher.close();
    this.content.close();
    this.journal.close();
  }
}
