/**
 * What was changed in a tree of kind `mfs` since the node had the same: the smallest set of names
 * that are to be put, or to go.
 *
 * Invariants: nothing is brought while somebody writes to it; it is looked at again afterwards. What
 * MFS has may be the only copy, and what is put may be the same under another name: nothing is
 * replaced there before all that is new has its name, and nothing goes before all is put.
 */
import type { Ino, Name } from '../base/ids.ts';
import { isUtf8Name, textOf } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import type { InodeRow, Journal, SeenRow } from '../journal/journal.ts';
import { isState, lastOf } from './mfs-judge.ts';
import { namesIn } from './planning.ts';

export interface MfsChange {
  readonly parent: Ino;
  readonly name: Name;
  /** From the root of the tree: `/a/b`. */
  readonly path: string;
  readonly row: SeenRow | undefined;
  /** put: all of it. mkdir: only the directory; what is in it follows. */
  readonly kind: 'put' | 'mkdir' | 'rm';
  /** What is here; undefined of what goes. */
  readonly here: InodeRow | undefined;
}

export interface ChangesPorts {
  readonly journal: Journal;
  isWritten(ino: Ino): boolean;
}

export interface MfsChanges {
  /** What is new, what replaces something, what goes; directories before what is in them. */
  readonly changes: readonly MfsChange[];
  /** Directories that are to be looked at again, and those above them. */
  readonly again: ReadonlySet<Ino>;
  /** There are more than were asked for. */
  readonly isCut: boolean;
}

export interface Wanted {
  /** Whether anything may have changed in or below a directory. */
  isDirty(ino: Ino): boolean;
  /** Whether a name is never brought, and what the node has under it never goes. */
  isHidden(parent: Ino, name: Name): boolean;
  readonly limit: number;
}

/** With nothing in between. */
export const changesOf = (ports: ChangesPorts, root: Ino, wanted: Wanted): MfsChanges =>
  new Collecting(ports, wanted).run(root);

class Collecting {
  readonly #ports: ChangesPorts;
  readonly #wanted: Wanted;
  /** Where nothing is. */
  readonly #fresh: MfsChange[] = [];
  /** Where something is that gives way, and in directories that replace something. */
  readonly #over: MfsChange[] = [];
  readonly #removals: MfsChange[] = [];
  readonly #again = new Set<Ino>();
  /** Something that was begun is not known to be there yet. */
  #isUnsure = false;

  constructor(ports: ChangesPorts, wanted: Wanted) {
    this.#ports = ports;
    this.#wanted = wanted;
  }

  run(root: Ino): MfsChanges {
    this.#directory(root, '', (ino) => this.#wanted.isDirty(ino));
    const puts = [...this.#fresh, ...this.#over];
    const all = [...puts, ...this.#removals];
    const changes = (this.#isUnsure ? puts : all).slice(0, this.#wanted.limit);
    const left = all.slice(changes.length);
    for (const { parent } of left) this.#lookAgain(parent);
    return { changes, again: this.#again, isCut: left.length > 0 };
  }

  #directory(ino: Ino, path: string, isDirty: (ino: Ino) => boolean, puts = this.#fresh): void {
    if (!isDirty(ino)) return;
    const { journal } = this.#ports;
    const rows = journal.mfsSeen.of(ino);
    for (const [name, here] of namesIn(journal, ino)) {
      const row = rows.get(name);
      rows.delete(name);
      if (this.#wanted.isHidden(ino, name)) continue;
      const below = `${path}/${textOf(name)}`;
      // Of what was begun the node is asked first whether it has it.
      const isOpen = row?.next?.isDone === false;
      this.#isUnsure ||= isOpen;
      if (isOpen || !isUtf8Name(name)) this.#lookAgain(ino);
      else this.#name({ parent: ino, name, path: below, row, here }, isDirty, puts);
    }
    for (const [name, row] of rows) {
      if (this.#wanted.isHidden(ino, name)) continue;
      if (row.next?.isDone === false) this.#lookAgain(ino);
      else if (lastOf(row) !== undefined) {
        const gone = { parent: ino, name, path: `${path}/${textOf(name)}`, row };
        this.#add(this.#removals, { ...gone, kind: 'rm', here: undefined });
      }
    }
  }

  #name(
    change: Omit<MfsChange, 'kind' | 'here'> & { readonly here: InodeRow },
    isDirty: (ino: Ino) => boolean,
    above: MfsChange[],
  ): void {
    const { here, row, parent, path } = change;
    const last = lastOf(row);
    const isSame = isState(last, here);
    const puts = last === undefined ? above : this.#over;
    if (!isDirectory(here.mode)) {
      if (this.#ports.isWritten(here.ino)) this.#lookAgain(parent);
      else if (!isSame) this.#add(puts, { ...change, kind: 'put' });
    } else if (isSame) this.#directory(here.ino, path, isDirty, above);
    else if (!this.#isBusy(here.ino)) this.#add(puts, { ...change, kind: 'put' });
    else {
      this.#add(puts, { ...change, kind: 'mkdir' });
      this.#directory(here.ino, path, () => true, puts);
    }
  }

  /** Whether somebody writes to anything in it. */
  #isBusy(ino: Ino): boolean {
    for (const here of namesIn(this.#ports.journal, ino).values()) {
      const isBusy = isDirectory(here.mode)
        ? this.#isBusy(here.ino)
        : this.#ports.isWritten(here.ino);
      if (isBusy) return true;
    }
    return false;
  }

  #add(changes: MfsChange[], change: MfsChange): void {
    if (changes.length <= this.#wanted.limit) changes.push(change);
    else this.#lookAgain(change.parent);
  }

  #lookAgain(ino: Ino): void {
    const { inodes } = this.#ports.journal;
    for (let at: Ino | 0 = ino; at !== 0 && !this.#again.has(at); ) {
      this.#again.add(at);
      at = inodes.get(at)?.parent ?? 0;
    }
  }
}
