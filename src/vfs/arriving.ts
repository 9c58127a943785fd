/**
 * A tree that is on its way to a directory: the names in it are known and shown, and whatever asks for
 * more waits until all of it is there.
 *
 * Invariant: what is told of it before is what is true of it then.
 */
import type { OpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import { S_IFDIR } from '../base/posix.ts';
import type { DirectoryEntry, Inode } from './contract.ts';

export type ArrivingName = Omit<DirectoryEntry, 'inode'>;

/** `names` asks for nothing but the names in a directory, `more` for what they mean. */
export type Wanted = 'names' | 'more';

export class Arriving {
  /** The directory. */
  readonly root: Ino;
  readonly #subdirectories: number;
  readonly #listeners = new Set<() => void>();
  #names: readonly ArrivingName[] | undefined;
  #end: 'here' | OpError | undefined;

  /** @param subdirectories how many the directory will have. */
  constructor(root: Ino, subdirectories: number) {
    this.root = root;
    this.#subdirectories = subdirectories;
  }

  /** Of who wants something of a directory: `wait`, or the reason why nothing will come. */
  hindrance(ino: Ino, wanted: Wanted): 'wait' | OpError | undefined {
    if (ino !== this.root || this.#end === 'here') return undefined;
    if (wanted === 'names' && this.#names !== undefined) return undefined;
    return this.#end ?? 'wait';
  }

  /** In the order of their cookies; undefined: the directory has its names itself. */
  namesIn(ino: Ino): readonly ArrivingName[] | undefined {
    return ino === this.root && this.#end !== 'here' ? (this.#names ?? []) : undefined;
  }

  /** As the inode will be. */
  shown<T extends Inode | undefined>(inode: T): T {
    if (inode?.ino !== this.root || this.#end === 'here') return inode;
    return { ...inode, nlink: inode.nlink + this.#subdirectories };
  }

  /** The names are known from now on. */
  tell(names: readonly ArrivingName[]): void {
    this.#names = names;
    this.#callBack();
  }

  /** All of it is there, or it will not come. */
  end(how: 'here' | OpError): void {
    this.#end ??= how;
    this.#callBack();
    this.#listeners.clear();
  }

  /** Calls back whenever what had to wait may be asked again. */
  follow(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #callBack(): void {
    for (const listener of this.#listeners) listener();
  }
}

export const subdirectoriesIn = (names: readonly Pick<ArrivingName, 'type'>[]): number =>
  names.filter(({ type }) => type === S_IFDIR).length;
