/**
 * The mount table: which superblock is shown where. A mount point covers a name in a directory;
 * nothing is written to the tree above. Superblocks carry the policies: read-only, limits, whether
 * they outlive the daemon.
 */
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { Ino, Name, SuperblockId } from '../base/ids.ts';
import type { SuperblockRow } from '../journal/journal.ts';

export interface Superblock extends Omit<SuperblockRow, 'readOnly' | 'options'> {
  readOnly: boolean;
  options: SuperblockRow['options'];
  /** Counted only when there is a limit; from the journal at start. */
  usage: { inodes: number; bytes: number } | undefined;
}

export interface Mounted {
  readonly mountId: string;
  readonly mountPoint: Name;
  readonly superblock: Superblock;
}

interface Cover {
  readonly parent: Ino;
  readonly name: Name;
  readonly ino: Ino;
}

export class MountTable {
  readonly #superblocks = new Map<SuperblockId, Superblock>();
  readonly #mounts = new Map<Name, Mounted>();
  readonly #covers = new Map<Ino, Map<Name, Ino>>();
  readonly #above = new Map<Ino, Cover>();
  /** The directory of all names of IPNS; undefined: it is not mounted. */
  namesRoot: Ino | undefined;

  addSuperblock(superblock: Superblock): void {
    this.#superblocks.set(superblock.id, superblock);
  }

  removeSuperblock(id: SuperblockId): void {
    this.#superblocks.delete(id);
  }

  superblock(id: SuperblockId): Superblock {
    const found = this.#superblocks.get(id);
    assert(found !== undefined, `superblock ${id} is not in the table`);
    return found;
  }

  superblocks(): IterableIterator<Superblock> {
    return this.#superblocks.values();
  }

  addMount(mounted: Mounted): void {
    this.#mounts.set(mounted.mountPoint, mounted);
    if (isNames(mounted.superblock)) this.namesRoot = mounted.superblock.root;
  }

  removeMount(mountPoint: Name): void {
    if (this.#mounts.get(mountPoint)?.superblock.root === this.namesRoot)
      this.namesRoot = undefined;
    this.#mounts.delete(mountPoint);
  }

  /** In bytewise order of mount points. */
  mounts(): Mounted[] {
    return [...this.#mounts.values()].sort((a, b) => (a.mountPoint < b.mountPoint ? -1 : 1));
  }

  mountAt(mountPoint: Name): Mounted | undefined {
    return this.#mounts.get(mountPoint);
  }

  /** The mount a path lies in: the longest mount point that is a prefix of it, by segments. */
  mountOf(path: Name): Mounted | undefined {
    let best: Mounted | undefined;
    for (const mounted of this.#mounts.values()) {
      const point = mounted.mountPoint;
      const holds = path === point || path.startsWith(`${point}/`);
      if (holds && point.length > (best?.mountPoint.length ?? -1)) best = mounted;
    }
    return best;
  }

  /** Shows `ino` as `name` in `parent`, over whatever is there. */
  cover(parent: Ino, name: Name, ino: Ino): void {
    let names = this.#covers.get(parent);
    if (names === undefined) {
      names = new Map();
      this.#covers.set(parent, names);
    }
    names.set(name, ino);
    this.#above.set(ino, { parent, name, ino });
  }

  uncover(parent: Ino, name: Name): void {
    const names = this.#covers.get(parent);
    const ino = names?.get(name);
    if (names === undefined || ino === undefined) return;
    names.delete(name);
    if (names.size === 0) this.#covers.delete(parent);
    this.#above.delete(ino);
  }

  covered(parent: Ino, name: Name): Ino | undefined {
    return this.#covers.get(parent)?.get(name);
  }

  /** Names covered in a directory, in the order they were mounted. */
  coversIn(parent: Ino): ReadonlyMap<Name, Ino> | undefined {
    return this.#covers.get(parent);
  }

  /** Where the root of a mounted tree is shown. */
  coverOf(ino: Ino): { parent: Ino; name: Name } | undefined {
    return this.#above.get(ino);
  }

  /** @throws OpError no-space: the superblock has no room for that much more. */
  demandRoom(id: SuperblockId, inodes: number, bytes: number, op: string): void {
    const { usage, inodesMax, sizeBytesMax } = this.superblock(id);
    if (usage === undefined) return;
    const tooMany = inodesMax !== undefined && inodes > 0 && usage.inodes + inodes > inodesMax;
    const tooLarge = sizeBytesMax !== undefined && bytes > 0 && usage.bytes + bytes > sizeBytesMax;
    if (tooMany || tooLarge) {
      throw new OpError('no-space', op, { hint: 'the limit of this mount is reached' });
    }
  }

  charge(id: SuperblockId, inodes: number, bytes: number): void {
    const usage = this.#superblocks.get(id)?.usage;
    if (usage === undefined) return;
    usage.inodes += inodes;
    usage.bytes += bytes;
  }
}

type Described = Pick<SuperblockRow, 'kind' | 'source'>;

/** The directory of all names. */
const isNames = ({ kind, source }: Described): boolean => kind === 'ipns' && source === '';

/** The copy of what a name means, which follows it. */
export const isFollowing = ({ kind, source }: Described): boolean =>
  kind === 'ipns' && source !== '';
