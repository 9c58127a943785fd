/**
 * The disk that everything is measured on: the native directory, the directory behind bindfs and our state all lie
 * on it. It is the disk of TMPDIR, or an image on that disk with an ext4 of its own.
 *
 * The image is for a disk whose ext4 has no journal: such a one searches past every inode it freed in the last minutes
 * before it makes a new one (`recently_deleted` in fs/ext4/ialloc.c), so that after any `rm -rf` its creates are
 * tens of times slower than those of the ext4 that people have, and any file system looks good beside it.
 */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Commands, isInstalled } from './commands.ts';

export const DISKS = ['auto', 'directory', 'image'] as const;
export type DiskChoice = (typeof DISKS)[number];

/** Sparse: it takes what is written to it. */
const IMAGE_SIZE = '32G';
const UNMOUNT_MS_MAX = 60_000;

/** Whether a directory is on an ext4 without a journal, which has no mode of journalling data either. */
function isJournalless(directory: string): boolean {
  const { dev } = statSync(directory);
  // makedev(3).
  const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)];
  try {
    const device = basename(readlinkSync(`/sys/dev/block/${major}:${minor}`));
    const options = readFileSync(`/proc/fs/ext4/${device}/options`, 'latin1');
    return !/^data=/m.test(options);
  } catch {
    // Another file system, or none that tells.
    return false;
  }
}

const canMountImages = (): boolean =>
  process.getuid?.() === 0 && ['mkfs.ext4', 'losetup', 'mount'].every(isInstalled);

export class Disk implements AsyncDisposable {
  /** An empty directory on the disk. */
  readonly base: string;
  /** What it is, for a reader of the figures. */
  readonly title: string;
  readonly #outer: string;

  static async make(choice: DiskChoice, commands: Commands): Promise<Disk> {
    const outer = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-bench-'));
    const isSlow = isJournalless(outer);
    if (choice !== 'image' && !(choice === 'auto' && isSlow && canMountImages())) {
      const warning = isSlow ? ' (ext4 without a journal: what it creates, it creates slowly)' : '';
      return new Disk(outer, outer, `a directory of the disk${warning}`);
    }
    const base = join(outer, 'disk');
    const disk = new Disk(outer, base, 'an ext4 with a journal in an image on the disk');
    try {
      await disk.#mount(commands);
    } catch (error) {
      await disk[Symbol.asyncDispose]();
      throw error;
    }
    return disk;
  }

  private constructor(outer: string, base: string, title: string) {
    this.#outer = outer;
    this.base = base;
    this.title = title;
  }

  async #mount(commands: Commands): Promise<void> {
    const image = join(this.#outer, 'image');
    mkdirSync(this.base);
    await commands.run('/', 'truncate', '-s', IMAGE_SIZE, image);
    const eager = 'lazy_itable_init=0,lazy_journal_init=0';
    await commands.run('/', 'mkfs.ext4', '-q', '-F', '-E', eager, image);
    // Pages are cached once, by the inner file system.
    const losetup = ['--find', '--show', '--direct-io=on', image];
    const device = (await commands.run('/', 'losetup', ...losetup)).text.trim();
    try {
      await commands.run('/', 'mount', '-t', 'ext4', device, this.base);
    } finally {
      // In use, it goes with the mount.
      await commands.run('/', 'losetup', '-d', device);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const cleaning = new Commands(AbortSignal.timeout(UNMOUNT_MS_MAX));
    if (this.base !== this.#outer) {
      // Not there when mounting it failed.
      await cleaning.run('/', 'umount', this.base).catch(() => {});
    }
    rmSync(this.#outer, { recursive: true, force: true });
  }
}
