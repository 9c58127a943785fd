/** statfs(2): the disk that holds the content, or the limits of the tree where it has some. */
import { statfsSync } from 'node:fs';
import type { Ino } from '../base/ids.ts';
import type { Statfs } from './contract.ts';
import type { Core } from './core.ts';

/** `directory` lies on that disk; without `ino` there is no managed tree. */
export function statfs(core: Core, directory: string, ino: Ino | undefined): Statfs {
  const disk = statfsSync(directory);
  const row = ino === undefined ? undefined : core.inodes.find(ino);
  const superblock = row === undefined ? undefined : core.superblockOf(row);
  const limitBlocks = Math.floor((superblock?.sizeBytesMax ?? 0) / disk.bsize);
  const usedBlocks = Math.ceil((superblock?.usage?.bytes ?? 0) / disk.bsize);
  const isLimited = superblock?.sizeBytesMax !== undefined;
  const free = Math.max(0, limitBlocks - usedBlocks);
  return {
    blockSize: disk.bsize,
    blocks: isLimited ? limitBlocks : disk.blocks,
    blocksFree: isLimited ? Math.min(free, disk.bfree) : disk.bfree,
    blocksAvailable: isLimited ? Math.min(free, disk.bavail) : disk.bavail,
    files: superblock?.inodesMax ?? disk.files,
    filesFree:
      superblock?.inodesMax === undefined
        ? disk.ffree
        : Math.max(0, superblock.inodesMax - (superblock.usage?.inodes ?? 0)),
  };
}
