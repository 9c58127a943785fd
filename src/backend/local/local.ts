/**
 * The engine local: a directory of this host, a file for each object, which others read and write too.
 *
 * Invariants: nothing outside of the directory is touched, and no link in it followed; a file appears whole
 * and on stable storage, by one link or rename; what stood there keeps its mode and owner, not its
 * extended attributes. Against other programs a version is looked at just before the change, not at the
 * moment of it: the host has no call for that.
 *
 * A directory that does not answer (a network file system) holds the call until it does: calls of the
 * host cannot be taken back, so signal and deadline count between them.
 */
import { constants } from 'node:fs';
import { type FileHandle, link, open, rename, unlink } from 'node:fs/promises';
import { asOpError, codeOf, OpError } from '../../base/errors.ts';
import {
  FILE_BYTES_MAX,
  NAME_BYTES_MAX,
  NODE_CALLS_WAITING_MAX,
  STORE_KEY_BYTES_MAX,
} from '../../base/limits.ts';
import { Turns } from '../../base/turns.ts';
import type { Timing } from '../backoff.ts';
import type { CallOptions } from '../call.ts';
import { Calls } from '../calls.ts';
import type { Deadline } from '../deadline.ts';
import { Incoming } from '../incoming.ts';
import { demandNotes } from '../metadata.ts';
import type {
  Capabilities,
  GetOptions,
  LeftoversFacet,
  Listed,
  ListingFacet,
  ListOptions,
  ObjectHead,
  ObjectReading,
  ObjectsFacet,
  ObjectVersion,
  Over,
  ProbeOptions,
  PutOptions,
  Removed,
  RemoveOptions,
  Store,
  Stored,
  StoreLimits,
  SweepOptions,
} from '../store.ts';
import { Directory, descend, descendOrMake } from './beneath.ts';
import { headOf, readFile, see, seeFile, versionOf } from './files.ts';
import { listBelow, sweepBelow } from './listing.ts';

export interface LocalOptions extends Timing {
  /** An absolute path of the host. */
  readonly root: string;
}

const LIMITS: StoreLimits = {
  keyBytesMax: STORE_KEY_BYTES_MAX,
  partBytesMax: NAME_BYTES_MAX,
  objectBytesMax: FILE_BYTES_MAX,
  metadataBytesMax: 0,
  keysPerRequestMax: Number.MAX_SAFE_INTEGER,
  reserved: /(^|\/)\.kitfs-[A-Za-z0-9_-]+\.part(\/|$)/,
};

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
/** File systems without hard links say one of these. */
const LINKLESS = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK']);

/** The directory. Whether it is there shows with the first call. */
export const openLocal = (options: LocalOptions): Store => new LocalStore(options);

interface Placing {
  readonly directory: Directory;
  readonly name: string;
  readonly unfinished: string;
  readonly mode: number;
  readonly over: Over;
}

class LocalStore implements Store, ObjectsFacet, ListingFacet, LeftoversFacet {
  readonly kind = 'local';
  readonly place: string;
  readonly limits = LIMITS;
  readonly objects = this;
  readonly listing = this;
  readonly leftovers = this;
  readonly #timing: Timing;
  readonly #calls: Calls;
  /** Between looking at what is there and changing it, nobody else of us may. */
  readonly #changing = new Turns({ atOnce: 1, waitingMax: NODE_CALLS_WAITING_MAX });

  constructor({ root, clock, random }: LocalOptions) {
    this.place = root;
    this.#timing = { clock, random };
    this.#calls = new Calls(clock, LIMITS);
  }

  async head(key: string, options: CallOptions): Promise<ObjectHead | undefined> {
    using deadline = this.#calls.ask(`head ${key}`, options, key);
    const { parts, name } = splitKey(key);
    await using directory = await descend(this.place, parts, deadline.op);
    if (directory === undefined) return undefined;
    const stats = await seeFile(directory, name, deadline.op);
    return stats === undefined ? undefined : headOf(key, stats);
  }

  async get(key: string, options: GetOptions): Promise<ObjectReading> {
    const deadline = this.#calls.move(`get ${key}`, options, key);
    try {
      const { parts, name } = splitKey(key);
      await using directory = await descend(this.place, parts, deadline.op);
      return await readFile(directory, { key, name }, options, deadline);
    } catch (error) {
      deadline[Symbol.dispose]();
      throw error;
    }
  }

  put(key: string, bytes: AsyncIterable<Uint8Array>, options: PutOptions): Promise<Stored> {
    return this.#calls.during(this.#put(key, bytes, options));
  }

  async remove(key: string, options: RemoveOptions): Promise<Removed> {
    const { version } = options;
    using deadline = this.#calls.ask(`remove ${key}`, options, key);
    const { op, signal } = deadline;
    const isAtomic = version === undefined;
    const { parts, name } = splitKey(key);
    await using directory = await descend(this.place, parts, op);
    if (directory === undefined) return { outcome: 'absent', isAtomic };
    const leave = await this.#changing.enter(op, signal);
    try {
      const found = await seeFile(directory, name, op);
      if (found === undefined) return { outcome: 'absent', isAtomic };
      if (version !== undefined && versionOf(found) !== version) {
        throw new OpError('version-conflict', op);
      }
      signal.throwIfAborted();
      await unlink(directory.path(name));
    } catch (error) {
      throw asOpError(error, op);
    } finally {
      leave();
    }
    await directory.sync(op);
    return { outcome: 'removed', isAtomic };
  }

  async *list(options: ListOptions): AsyncGenerator<Listed, void, undefined> {
    using deadline = this.#calls.move(`list ${options.prefix ?? ''}`, options);
    yield* listBelow(this.place, options, { limits: LIMITS, deadline });
  }

  async sweep({ olderThanMs, prefix = '', ...options }: SweepOptions): Promise<number> {
    using deadline = this.#calls.move(`sweep ${this.place}`, options);
    const { s, ns } = this.#timing.clock.now();
    const beforeMs = s * 1000 + ns / 1_000_000 - olderThanMs;
    await using root = await Directory.root(this.place, deadline.op);
    return await sweepBelow(root, '', { beforeMs, prefix, deadline });
  }

  async probe(options: ProbeOptions): Promise<Capabilities> {
    using deadline = this.#calls.ask(`probe ${this.place}`, options);
    const { op } = deadline;
    await using directory = await Directory.root(this.place, op);
    const found = { list: true, range: true, putOver: false, removeVersion: false };
    const none = { copy: false, copyAbsent: false };
    const one = `.kitfs-${this.#timing.random.token()}.part`;
    const other = `.kitfs-${this.#timing.random.token()}.part`;
    try {
      await using file = await create(directory, one, 0o600, op);
      await file.sync();
      const putAbsent = await linked(directory, one, other, op);
      return { ...found, ...none, write: true, checksum: true, putAbsent };
    } catch (error) {
      const failure = error instanceof OpError ? error.failure : '';
      if (!['denied', 'not-permitted', 'read-only'].includes(failure)) throw error;
      return { ...found, ...none, write: false, checksum: false, putAbsent: false };
    } finally {
      for (const name of [one, other]) await unlink(directory.path(name)).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls.close(this.place);
  }

  async #put(key: string, bytes: AsyncIterable<Uint8Array>, options: PutOptions): Promise<Stored> {
    const op = `put ${key}`;
    const { over = 'any' } = options;
    demandNotes(options, LIMITS, op);
    using deadline = this.#calls.move(op, options, key);
    const incoming = new Incoming(bytes, options, { bytesMax: FILE_BYTES_MAX, deadline });
    try {
      const { parts, name } = splitKey(key);
      await using directory = await descendOrMake(this.place, parts, op);
      // What is bound to fail need not be written first.
      const replaced = await demandOver(directory, name, over, op);
      const unfinished = `.kitfs-${this.#timing.random.token()}.part`;
      // Nobody reads what was private before it bears the private name.
      const mode = replaced === undefined ? 0o666 : Number(replaced.mode & 0o666n);
      const placing = { directory, name, unfinished, mode, over };
      const stored = await this.#written(placing, incoming, deadline);
      return { key, ...stored };
    } finally {
      await incoming.end();
    }
  }

  /** Writes it under a name of its own, and gives it the right one when it is all there. */
  async #written(
    placing: Placing,
    incoming: Incoming,
    deadline: Deadline,
  ): Promise<Omit<Stored, 'key'>> {
    const { directory, unfinished, mode } = placing;
    const { op } = deadline;
    const file = await create(directory, unfinished, mode, op);
    let isPlaced = false;
    try {
      for await (const piece of incoming.pieces()) await written(file, piece, op);
      const { size, sha256 } = incoming.measured();
      await file.sync().catch((error: unknown) => {
        throw asOpError(error, op);
      });
      const isAtomic = await this.#placed(placing, file, deadline);
      isPlaced = true;
      await directory.sync(op);
      const version = versionOf(await file.stat({ bigint: true }));
      return { size, sha256, version, isAtomic };
    } finally {
      // Its data are on the disk, or are not wanted.
      await file.close().catch(() => {});
      if (!isPlaced) await unlink(directory.path(unfinished)).catch(() => {});
    }
  }

  /** @returns whether the host itself looked at the condition. */
  async #placed(placing: Placing, file: FileHandle, deadline: Deadline): Promise<boolean> {
    const { directory, name, unfinished, over } = placing;
    const { op, signal } = deadline;
    const leave = await this.#changing.enter(op, signal);
    try {
      const replaced = await demandOver(directory, name, over, op);
      signal.throwIfAborted();
      if (over === 'absent' && (await linked(directory, unfinished, name, op))) {
        // It is there; a second name of it that stays is swept one day.
        await unlink(directory.path(unfinished)).catch(() => {});
        return true;
      }
      if (replaced !== undefined) {
        await file.chmod(Number(replaced.mode & 0o777n));
        const own = await file.stat({ bigint: true });
        const isOwned = own.uid === replaced.uid && own.gid === replaced.gid;
        if (!isOwned) await file.chown(Number(replaced.uid), Number(replaced.gid));
      }
      await rename(directory.path(unfinished), directory.path(name));
      return over === 'any';
    } catch (error) {
      throw asOpError(error, op);
    } finally {
      leave();
    }
  }
}

function splitKey(key: string): { readonly parts: readonly string[]; readonly name: string } {
  const slash = key.lastIndexOf('/');
  const parts = slash < 0 ? [] : key.slice(0, slash).split('/');
  return { parts, name: key.slice(slash + 1) };
}

/** @returns the file that would be replaced. @throws OpError exists, version-conflict, is-directory, unsupported. */
async function demandOver(directory: Directory, name: string, over: Over, op: string) {
  const found = await see(directory, name, op);
  if (found?.isDirectory() === true) throw new OpError('is-directory', op);
  if (found !== undefined && !found.isFile()) {
    throw new OpError('unsupported', op, { hint: 'what is there is no file' });
  }
  if (over === 'any') return found;
  if (over === 'absent') {
    if (found === undefined) return undefined;
    throw new OpError('exists', op, { details: { kind: 'object' } });
  }
  const version: ObjectVersion | undefined = found === undefined ? undefined : versionOf(found);
  if (version !== over) throw new OpError('version-conflict', op);
  return found;
}

async function create(
  directory: Directory,
  name: string,
  mode: number,
  op: string,
): Promise<FileHandle> {
  try {
    return await open(directory.path(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  } catch (error) {
    throw asOpError(error, op);
  }
}

async function written(file: FileHandle, piece: Uint8Array, op: string): Promise<void> {
  try {
    for (let at = 0; at < piece.length; ) {
      at += (await file.write(piece, at, piece.length - at)).bytesWritten;
    }
  } catch (error) {
    throw asOpError(error, op);
  }
}

/** False: the file system has no links. @throws OpError exists. */
async function linked(
  directory: Directory,
  from: string,
  to: string,
  op: string,
): Promise<boolean> {
  try {
    await link(directory.path(from), directory.path(to));
    return true;
  } catch (error) {
    if (LINKLESS.has(codeOf(error) ?? '')) return false;
    throw asOpError(error, op);
  }
}
