/** Files put straight into a journal, laid out as `scale.c` lays them out. */
import { SystemClock } from '../../src/base/clock.ts';
import { type Ino, NO_CONTENT, nameOfText } from '../../src/base/ids.ts';
import { S_IFDIR, S_IFREG } from '../../src/base/posix.ts';
import { type InodeRow, Journal, type Tx } from '../../src/journal/journal.ts';

const PER_DIRECTORY = 1000;
const IN_BIG = 5;
const DIRECTORY_SIZE = 4096;

export function plantFiles(path: string, count: number): void {
  const journal = new Journal({ path, clock: new SystemClock() });
  try {
    journal.commit((tx) => new Planting(journal, tx).all(count));
  } finally {
    journal.close();
  }
}

class Planting {
  readonly #journal: Journal;
  readonly #tx: Tx;
  readonly #root: InodeRow;

  constructor(journal: Journal, tx: Tx) {
    const superblock = journal.superblocks.all().find(({ kind }) => kind === 'ipfs');
    const root = superblock && journal.inodes.get(superblock.root);
    if (root === undefined) throw new Error('there is no tree to plant in');
    this.#journal = journal;
    this.#tx = tx;
    this.#root = root;
  }

  all(count: number): void {
    const big = this.#directory('big');
    for (let from = 0; from < count; from += PER_DIRECTORY) {
      const small = this.#directory(`d${from / PER_DIRECTORY}`);
      for (let i = from; i < Math.min(count, from + PER_DIRECTORY); i++) {
        const file = { mode: S_IFREG | 0o644, nlink: 1, size: 0, parent: 0 as Ino };
        this.#enter(i % IN_BIG === 0 ? big : small, `f${i}`, file);
      }
    }
    this.#journal.inodes.update(this.#root);
  }

  #directory(name: string): Ino {
    this.#root.nlink += 1;
    const parent = this.#root.ino;
    const directory = { mode: S_IFDIR | 0o755, nlink: 2, size: DIRECTORY_SIZE, parent };
    return this.#enter(parent, name, directory);
  }

  #enter(
    parent: Ino,
    name: string,
    row: Pick<InodeRow, 'mode' | 'nlink' | 'size' | 'parent'>,
  ): Ino {
    const { inodes, dentries } = this.#journal;
    const { s, ns } = this.#tx.now;
    const ino = inodes.nextIno();
    inodes.insert({
      ...{ ino, generation: 1, superblock: this.#root.superblock, uid: 0, gid: 0, rdev: 0 },
      ...{ atimeS: s, atimeNs: ns, mtimeS: s, mtimeNs: ns },
      ...{ ctimeS: s, ctimeNs: ns, btimeS: s, btimeNs: ns },
      ...{ content: NO_CONTENT, version: 1 },
      ...row,
    });
    dentries.insert(parent, nameOfText(name), ino);
    return ino;
  }
}
