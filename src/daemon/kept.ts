/**
 * What outlives this process, because the keeper holds it: the connection to the kernel and the
 * handle table, which says what the kernel has of it.
 */
import { fstatSync } from 'node:fs';
import { constants } from 'node:os';
import { basename } from 'node:path';
import { asOpError } from '../base/errors.ts';
import type { NativeFiles, NativeKeeping } from '../base/native.ts';
import type { Taken } from '../fuse/fuse.ts';
import { placeOf } from '../fuse/native.ts';
import type { KeptSocket } from '../mcp/socket.ts';
import { HandleTable, type TableMemory } from '../vfs/vfs.ts';
import { HANDED_OVER_STATUS } from './ended.ts';
import { CONNECTION, type Keeper } from './keeper.ts';
import { keptJournal } from './kept-places.ts';

const { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SIGSYS } = constants.signals;
const CRASHES = [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SIGSYS];

/** The name under which the keeper holds it. */
const TABLE = 'handles';

/** A new table is made of so much. */
const TABLE_BYTES = 64 * 1024;

type TableNative = Pick<NativeKeeping, 'makeShared' | 'allocateShared' | 'mapShared'> &
  Pick<NativeFiles, 'closeDescriptor'>;
type KeptNative = TableNative & Pick<NativeKeeping, 'hasFailed'>;

/** Memory that whoever has its descriptor sees. The descriptor is this object's. */
class SharedMemory implements TableMemory {
  readonly #native: TableNative;
  readonly #fd: number;

  constructor(native: TableNative, fd: number) {
    this.#native = native;
    this.#fd = fd;
  }

  get size(): number {
    return fstatSync(this.#fd).size;
  }

  map(bytes: number): Buffer {
    const { size } = this;
    try {
      if (bytes > size) this.#native.allocateShared(this.#fd, size, bytes - size);
      return this.#native.mapShared(this.#fd, bytes);
    } catch (error) {
      throw asOpError(error, 'grow the handle table');
    }
  }
}

export interface Kept {
  readonly table: HandleTable;
  /** The mount that is gone on with; undefined: there is none, and one is to be made. */
  readonly mount: Taken | undefined;
  /** The journal of that mount. */
  readonly journalId: string | undefined;
}

/**
 * Takes what a daemon before this one left with the keeper. A connection without a table that can
 * be read, or of nobody knows which journal, cannot be gone on with: it is let go, and its mount is a
 * dead one.
 */
export async function takeKept(
  native: KeptNative,
  keeper: Pick<Keeper, 'held' | 'last' | 'hold' | 'note' | 'drop' | 'mounted'> | undefined,
): Promise<Kept> {
  const none = { mount: undefined, journalId: undefined };
  if (keeper === undefined) return { table: HandleTable.make(), ...none };
  const connection = keeper.held(CONNECTION);
  const held = keeper.held(TABLE);
  const journalId = keptJournal(keeper);
  if (connection !== undefined && held !== undefined && journalId !== undefined) {
    const table = HandleTable.adopt(new SharedMemory(native, held.descriptor));
    const before = placeIn(connection.data);
    const isLive = !native.hasFailed(connection.descriptor);
    const place = before === undefined ? undefined : placeNow(before, isLive);
    const diedOfItself = isOwnFault(keeper.last);
    if (table !== undefined && place !== undefined) {
      const { mountPoint, device } = place;
      if (place !== before && device !== undefined) {
        keeper.note(CONNECTION, JSON.stringify(place));
        keeper.mounted(mountPoint, device);
      }
      const mount = { ...place, fd: connection.descriptor, diedOfItself };
      return { table, mount, journalId };
    }
  }
  for (const [name, thing] of [
    [CONNECTION, connection],
    [TABLE, held],
  ] as const) {
    if (thing === undefined) continue;
    keeper.drop(name);
    native.closeDescriptor(thing.descriptor);
  }
  const fd = native.makeShared(TABLE_BYTES);
  keeper.hold(TABLE, fd);
  return { table: HandleTable.make(new SharedMemory(native, fd)), ...none };
}

/**
 * Whether the daemon before ended by a crash, an exception or a hang, and not because somebody, or a
 * kernel without memory, killed it.
 */
function isOwnFault(last: string): boolean {
  const [how, number] = last.split(' ');
  if (how === 'hung') return true;
  if (how === 'signal') return CRASHES.includes(Number(number));
  return how === 'exit' && number !== '0' && number !== String(HANDED_OVER_STATUS);
}

type Place = Pick<Taken, 'mountPoint' | 'device'>;

/** The keeper holds the connection from now on. */
export function keepMount(
  keeper: Pick<Keeper, 'hold' | 'mounted'>,
  { fd, mountPoint, device }: Pick<Taken, 'fd' | 'mountPoint' | 'device'>,
): void {
  keeper.hold(CONNECTION, fd, JSON.stringify({ mountPoint, device }));
  // One that is not in the table any more is nobody's to take away.
  if (device !== undefined) keeper.mounted(mountPoint, device);
}

/** Who connects while there is no daemon waits for the next one. */
export function keptSocket(
  native: Pick<NativeFiles, 'closeDescriptor'>,
  keeper: Keeper | undefined,
  path: string,
): KeptSocket | undefined {
  if (keeper === undefined) return undefined;
  const name = basename(path);
  const held = keeper.held(name);
  return {
    held,
    hold: (descriptor, data) => keeper.hold(name, descriptor, data),
    refuse: () => {
      keeper.drop(name);
      if (held !== undefined) native.closeDescriptor(held.descriptor);
    },
    drop: () => keeper.drop(name),
  };
}

/** The mount has ended. */
export function letGo(keeper: Pick<Keeper, 'unmounted' | 'drop'>): void {
  keeper.unmounted();
  keeper.drop(CONNECTION);
}

function placeIn(data: string): Place | undefined {
  try {
    const { mountPoint, device } = JSON.parse(data) as Partial<Record<keyof Place, unknown>>;
    if (typeof mountPoint !== 'string') return undefined;
    return { mountPoint, device: typeof device === 'string' ? device : undefined };
  } catch {
    return undefined; // The message was of another version.
  }
}

/**
 * Where the mount is: somewhere else when a directory above it was renamed. Another one may lie over
 * it. Undefined: it was taken away meanwhile.
 * @param isLive whether its connection is: then the number is its own.
 */
function placeNow(before: Place, isLive: boolean): Place | undefined {
  const { mountPoint, device } = before;
  const now = device === undefined ? undefined : placeOf(device, mountPoint, isLive);
  if (now === undefined) return undefined;
  return now.dir === mountPoint ? before : { mountPoint: now.dir, device };
}
