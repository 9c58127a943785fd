/**
 * What a full disk asks for. The journal has room of its own for what frees space (journal/room.ts);
 * for names and directories, which the disk makes room for itself, there is a file that is given up.
 *
 * Invariants: all of it is undone, with no restart, when there is space again; old bytes that only
 * history wants go before anybody is refused for long, the oldest first; nothing else does here. What
 * a store has goes too (sync/evict.ts), and is not lost by it.
 */
import { closeSync, ftruncateSync, openSync, statfsSync, statSync, truncateSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { codeOf } from '../base/errors.ts';
import {
  DISK_FULL_BYTES_MAX,
  DISK_FULL_PART,
  RESERVE_BYTES,
  ROOM_INTERVAL_MS,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { NativeFiles } from '../base/native.ts';
import { turn } from '../base/turn.ts';
import type { Journal, Retention } from '../journal/journal.ts';
import { type Core, releaseAgain } from '../vfs/vfs.ts';
import type { JournalSync } from './stable.ts';

/** Bytes of a disk: those anybody may use yet, and all there are. */
export interface DiskSpace {
  readonly freeBytes: number;
  readonly sizeBytes: number;
}

export function diskSpaceAt(path: string): DiskSpace {
  const { bavail, blocks, bsize } = statfsSync(path);
  return { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
}

/** The file that is given up. */
export class Reserve {
  readonly #path: string;
  readonly #native: Pick<NativeFiles, 'fallocate'>;
  readonly #sizeBytes: number;

  constructor(path: string, disk: DiskSpace, native: Pick<NativeFiles, 'fallocate'>) {
    this.#path = path;
    this.#native = native;
    this.#sizeBytes = Math.min(RESERVE_BYTES, Math.floor(disk.sizeBytes / 32));
  }

  get isWhole(): boolean {
    return (statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) >= this.#sizeBytes;
  }

  /** Unless the disk is nearly full. */
  make({ freeBytes }: DiskSpace): void {
    if (this.isWhole || freeBytes < 2 * this.#sizeBytes) return;
    const fd = openSync(this.#path, 'a', 0o600);
    try {
      this.#allocate(fd);
    } catch {
      // There was no space after all, which is given back.
      ftruncateSync(fd, 0);
    } finally {
      closeSync(fd);
    }
  }

  /** A disk that cannot allocate in advance keeps no space by a file of holes. */
  #allocate(fd: number): void {
    try {
      this.#native.fallocate(fd, 0, 0, this.#sizeBytes);
    } catch (error) {
      if (codeOf(error) !== 'EOPNOTSUPP') throw error;
      ftruncateSync(fd, this.#sizeBytes);
    }
  }

  /** Never throws: without the file there is nothing to give up. */
  giveUp(): void {
    try {
      truncateSync(this.#path, 0);
    } catch {
      // As said.
    }
  }
}

interface RoomParts {
  readonly core: Core;
  readonly journal: Journal;
  readonly journalSync: JournalSync;
  readonly retention: Retention;
  readonly reserve: Reserve;
  readonly clock: Clock;
  readonly log: Log;
  readonly diskSpace: () => DiskSpace;
}

/** Looks after the space there is, until the signal aborts. */
export async function keepRoom(parts: RoomParts, signal: AbortSignal): Promise<void> {
  let wasFull = false;
  while (!signal.aborted) {
    const isFull = await makeRoom(parts, signal);
    if (isFull && !wasFull) parts.log.warn({ ...parts.diskSpace() }, 'the disk is full');
    if (!isFull && wasFull) parts.log.info({ ...parts.diskSpace() }, 'the disk has space again');
    wasFull = isFull;
    await parts.clock.sleep(ROOM_INTERVAL_MS, signal);
  }
}

/** One look; whether the disk is full. */
async function makeRoom(parts: RoomParts, signal: AbortSignal): Promise<boolean> {
  const { journal, journalSync, retention, reserve } = parts;
  if (journal.isShortOfRoom) journal.keepRoom();
  endWhatWaits(parts);
  let isGiving = true;
  while (isGiving && isDiskFull(journal, parts.diskSpace()) && !signal.aborted) {
    isGiving = retention.giveWay();
    // What was fsynced leaves the disk only once the journal without it is there.
    await journalSync.sync();
    if (journal.isShortOfRoom) journal.keepRoom();
    await turn();
  }
  reserve.make(parts.diskSpace());
  return isDiskFull(journal, parts.diskSpace());
}

export function isDiskFull(
  { isShortOfRoom }: Pick<Journal, 'isShortOfRoom'>,
  { freeBytes, sizeBytes }: DiskSpace,
): boolean {
  const isLow = freeBytes < Math.min(DISK_FULL_BYTES_MAX, sizeBytes / DISK_FULL_PART);
  return isLow || isShortOfRoom;
}

/** Handles that were given back when there was no room to write down how they ended. */
function endWhatWaits({ core, reserve }: RoomParts): void {
  if (core.handles.unreleased.size === 0) return;
  try {
    releaseAgain(core);
  } catch {
    // A name may be what there is no room for. It is tried at the next look.
    reserve.giveUp();
  }
}
