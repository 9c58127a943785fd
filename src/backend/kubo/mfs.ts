/**
 * The mutable tree of a Kubo node. Kubo itself keeps little order there: `files/mv` loses a
 * directory that is moved into or onto itself, replaces files unasked, and moves into a directory
 * that bears the name; `files/rm` answers 200 whatever happened (services.md 0.2, 0.3).
 *
 * A flush of a directory makes it forget changes that are made below it at that moment, also the
 * flush that each change ends with (seen on 0.43.1: a file moved meanwhile is back, or nowhere).
 *
 * What it acknowledged is lost by a kill in the third of a second until it writes its root down.
 *
 * Invariants: changes and flushes are one at a time; both ends were looked at before, and what should be is
 * looked at after; a change whose answer was lost is made again only where the look says that it was
 * not made.
 */
import type { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';
import { MFS_UNFLUSHED_MAX, NODE_CALLS_WAITING_MAX } from '../../base/limits.ts';
import { Turns } from '../../base/turns.ts';
import type { CallOptions } from '../call.ts';
import type { Lane } from '../http/transport.ts';
import { invalid } from '../http/wire.ts';
import type {
  MfsChangeOptions,
  MfsChcidOptions,
  MfsCopied,
  MfsCopyOptions,
  MfsEntry,
  MfsFacet,
  MfsMkdirOptions,
  MfsReadOptions,
  MfsRemoveOptions,
  MfsStat,
  MfsStatOptions,
  MfsWriteOptions,
  MfsWritten,
} from '../mfs.ts';
import { UNFLUSHED } from './faults.ts';
import { demandNotRoot, isWithin, normalPath, parentOf } from './mfs-paths.ts';
import { kindOf, statOf } from './mfs-stat.ts';
import { oneFile } from './multipart.ts';
import type { Ask, Rpc } from './rpc.ts';

/** Behind the name of what is put in its place. */
const NEXT_SUFFIX = '.kitfs-next';

export class KuboMfs implements MfsFacet {
  readonly #rpc: Rpc;
  readonly #turns = new Turns({ atOnce: 1, waitingMax: NODE_CALLS_WAITING_MAX });
  /** Changes that Kubo was told not to write yet. */
  #unflushed = 0;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
  }

  async stat(path: string, options: MfsStatOptions): Promise<MfsStat | undefined> {
    const op = `files/stat ${path}`;
    const { flushed = false } = options;
    using deadline = this.#rpc.deadline(op, options, options.withLocal === true ? 'long' : 'short');
    if (flushed && this.#unflushed > 0) await this.flush('/', deadline.options);
    return await this.#stat(normalPath(path, op), { ...options, ...deadline.options });
  }

  async #stat(path: string, options: MfsStatOptions): Promise<MfsStat | undefined> {
    const { withLocal = false, flushed: _, ...within } = options;
    const ask = {
      command: 'files/stat',
      args: [path],
      query: { 'with-local': withLocal },
      lane: withLocal ? 'long' : 'short',
      repeat: 'always',
    } as const;
    try {
      return statOf(await this.#rpc.json(ask, within));
    } catch (error) {
      if (error instanceof OpError && error.failure === 'not-found') return undefined;
      throw error;
    }
  }

  /** @throws OpError not-found. */
  async #demand(path: string, op: string, options: CallOptions): Promise<MfsStat> {
    const stat = await this.#stat(path, options);
    if (stat !== undefined) return stat;
    throw new OpError('not-found', op, { details: { path, kind: 'path' } });
  }

  async ls(given: string, options: CallOptions): Promise<readonly MfsEntry[]> {
    const path = normalPath(given, `files/ls ${given}`);
    const ask = {
      command: 'files/ls',
      args: [path],
      query: { long: true, U: true },
      repeat: 'always',
    } as const;
    const entries = (await this.#rpc.json(ask, options)).objects('Entries').map((entry) => ({
      name: entry.text('Name'),
      type: kindOf(entry),
      size: entry.count('Size'),
      cid: entry.cid('Hash'),
    }));
    return entries.sort((one, other) =>
      Buffer.compare(Buffer.from(one.name, 'utf8'), Buffer.from(other.name, 'utf8')),
    );
  }

  async *read(given: string, options: MfsReadOptions): AsyncGenerator<Buffer, void, undefined> {
    const op = `files/read ${given}`;
    const path = normalPath(given, op);
    using deadline = this.#rpc.deadline(op, options, 'long');
    if (this.#unflushed > 0) await this.flush('/', deadline.options);
    const { type, size } = await this.#demand(path, op, deadline.options);
    if (type === 'directory') throw new OpError('is-directory', op, { details: { path } });
    const { offset = 0, length = size } = options;
    if (offset > size) throw new OpError('offset-past-end', op, { details: { path } });
    const wanted = Math.min(length, size - offset);
    if (wanted === 0) return;
    const ask = {
      command: 'files/read',
      args: [path],
      query: { offset, count: wanted },
      lane: 'long',
      repeat: 'always',
    } as const;
    let come = 0;
    for await (const chunk of this.#rpc.stream(ask, deadline.options)) {
      come += chunk.length;
      yield chunk;
    }
    // Kubo does not say how long it will be.
    if (come !== wanted) throw invalid(op, `${come} bytes came of ${wanted}`);
  }

  async mkdir(given: string, options: MfsMkdirOptions): Promise<{ created: boolean; cid: CID }> {
    const op = `files/mkdir ${given}`;
    const path = normalPath(given, op);
    const { parents = false, cidVersion = 1, hash, flush = true } = options;
    return await this.#change(op, options, async (within) => {
      const before = await this.#stat(path, within());
      if (before !== undefined && !(parents && before.type === 'directory')) {
        throw new OpError('exists', op, { details: { path } });
      }
      if (before !== undefined) return { created: false, cid: before.cid };
      const ask = {
        command: 'files/mkdir',
        args: [path],
        query: { parents, 'cid-version': cidVersion, hash, flush },
      };
      const made = await this.#settle(ask, within, () => this.#stat(path, within()));
      return { created: true, cid: made.cid };
    });
  }

  async write(
    given: string,
    content: AsyncIterable<Uint8Array>,
    options: MfsWriteOptions,
  ): Promise<MfsWritten> {
    const op = `files/write ${given}`;
    const path = normalPath(given, op);
    const { offset = 0, truncate = false, create = false, parents = false, flush = true } = options;
    const change = async (within: () => CallOptions): Promise<MfsWritten> => {
      const before = create
        ? await this.#stat(path, within())
        : await this.#demand(path, op, within());
      if (before?.type === 'directory')
        throw new OpError('is-directory', op, { details: { path } });
      demandVersion(path, op, options.expected, before);
      await this.#roomForOne(within);
      let sent = 0;
      const counted = async function* () {
        for await (const chunk of content) {
          sent += chunk.length;
          yield chunk;
        }
      };
      const ask: Ask = {
        command: 'files/write',
        args: [path],
        query: { offset, truncate, create, parents, flush },
        body: () => oneFile(counted(), this.#rpc.random),
        lane: 'long',
      };
      await this.#rpc.done(ask, within());
      this.#count(ask);
      const after = await this.#demand(path, op, within());
      const size = Math.max(truncate ? 0 : (before?.size ?? 0), sent === 0 ? 0 : offset + sent);
      const written = { ...after, created: before === undefined, previous: before?.cid };
      if (after.size >= size) return written;
      throw invalid(op, `the file has ${after.size} bytes and not ${size}`);
    };
    return await this.#change(op, options, change, 'long');
  }

  async cp(from: string, to: string, options: MfsCopyOptions): Promise<MfsCopied> {
    const op = `files/cp ${from} ${to}`;
    const isMfs = !from.startsWith('/ipfs/');
    const source = isMfs ? normalPath(from, op) : from;
    const destination = normalPath(to, op);
    demandNotRoot(destination, op);
    if (isMfs) demandApart(source, destination, op);
    return await this.#change(op, options, async (within) => {
      const { cid } = await this.#demand(source, op, within());
      const freed = await this.#freed(destination, op, options, within);
      const { parents = false, flush = true } = options;
      const ask = {
        command: 'files/cp',
        args: [source, destination],
        query: { parents, flush, force: freed.overwritten },
      };
      const made = await this.#settle(ask, within, () => this.#ifIs(destination, cid, within));
      return { cid: made.cid, ...freed };
    });
  }

  async mv(from: string, to: string, options: MfsCopyOptions): Promise<MfsCopied> {
    const op = `files/mv ${from} ${to}`;
    const source = normalPath(from, op);
    const destination = normalPath(to, op);
    for (const path of [source, destination]) demandNotRoot(path, op);
    demandApart(source, destination, op);
    return await this.#change(op, options, async (within) => {
      const { cid, type } = await this.#demand(source, op, within());
      const freed = await this.#freed(destination, op, options, within);
      if (freed.overwritten && type === 'directory') {
        throw new OpError('not-directory', op, { details: { path: destination } });
      }
      await this.#parent(destination, op, options, within);
      await this.#move(source, destination, { cid, flush: options.flush, within });
      return { cid, ...freed };
    });
  }

  async #move(
    source: string,
    destination: string,
    { cid, flush = true, within }: Moving,
  ): Promise<void> {
    const ask = { command: 'files/mv', args: [source, destination], query: { flush } };
    const look = async () => {
      const isGone = (await this.#stat(source, within())) === undefined;
      return isGone ? await this.#ifIs(destination, cid, within) : undefined;
    };
    // A node that was killed may show again what was removed, and would move into it.
    const mayAgain = async () => (await this.#stat(destination, within())) === undefined;
    await this.#settle(ask, within, look, mayAgain);
  }

  async rm(given: string, options: MfsRemoveOptions): Promise<MfsStat> {
    const op = `files/rm ${given}`;
    const path = normalPath(given, op);
    demandNotRoot(path, op);
    return await this.#change(op, options, async (within) => {
      const before = await this.#demand(path, op, within());
      if (before.type === 'directory' && options.recursive !== true) {
        throw new OpError('is-directory', op, { details: { path } });
      }
      await this.#remove(path, within);
      return before;
    });
  }

  async #remove(path: string, within: () => CallOptions): Promise<void> {
    const ask = { command: 'files/rm', args: [path], query: { recursive: true } };
    await this.#settle(ask, within, async () =>
      (await this.#stat(path, within())) === undefined ? true : undefined,
    );
  }

  async flush(given: string, options: CallOptions): Promise<CID> {
    const op = `files/flush ${given}`;
    const path = normalPath(given, op);
    return await this.#change(op, options, (within) => this.#flush(path, within()), 'long');
  }

  async #flush(path: string, options: CallOptions): Promise<CID> {
    const ask = { command: 'files/flush', args: [path], lane: 'long', repeat: 'always' } as const;
    const before = this.#unflushed;
    const cid = (await this.#rpc.json(ask, options)).cid('Cid');
    this.#unflushed = Math.max(0, this.#unflushed - before);
    return cid;
  }

  async chcid(given: string, options: MfsChcidOptions): Promise<{ previous: CID; cid: CID }> {
    const op = `files/chcid ${given}`;
    const path = normalPath(given, op);
    demandNotRoot(path, op);
    const { cidVersion, hash } = options;
    if (cidVersion === 0 && hash !== undefined) {
      throw new OpError('invalid-argument', op, { hint: 'a hash goes with version 1' });
    }
    return await this.#change(op, options, async (within) => {
      const { type, cid: previous } = await this.#demand(path, op, within());
      if (type !== 'directory') throw new OpError('not-directory', op, { details: { path } });
      const ask = {
        command: 'files/chcid',
        args: [path],
        query: { 'cid-version': cidVersion, hash },
        repeat: 'always',
      } as const;
      await this.#rpc.done(ask, within());
      return { previous, cid: (await this.#demand(path, op, within())).cid };
    });
  }

  async place(given: string, cid: CID, options: CallOptions): Promise<{ previous?: CID }> {
    const op = `place ${cid} at ${given}`;
    const path = normalPath(given, op);
    demandNotRoot(path, op);
    return await this.#change(op, options, async (within) => {
      const before = await this.#stat(path, within());
      if (before?.cid.equals(cid) === true) return {};
      const next = `${path}${NEXT_SUFFIX}`;
      const waiting = await this.#stat(next, within());
      if (before === undefined && waiting?.cid.equals(cid) !== true) {
        await this.#link(cid, path, within);
        if (waiting !== undefined) await this.#remove(next, within);
        return {};
      }
      if (waiting?.cid.equals(cid) !== true) {
        if (waiting !== undefined) await this.#remove(next, within);
        await this.#link(cid, next, within);
      }
      if (before !== undefined) await this.#remove(path, within);
      await this.#move(next, path, { cid, within });
      return before === undefined ? {} : { previous: before.cid };
    });
  }

  async #link(cid: CID, path: string, within: () => CallOptions): Promise<void> {
    const query = { parents: true, flush: true };
    const ask = { command: 'files/cp', args: [`/ipfs/${cid}`, path], query };
    await this.#settle(ask, within, () => this.#ifIs(path, cid, within));
  }

  /** Sees to it that what is at a name may be replaced. @returns what there is. */
  async #freed(
    path: string,
    op: string,
    { overwrite = false }: MfsCopyOptions,
    within: () => CallOptions,
  ): Promise<{ readonly overwritten: boolean; readonly previous?: CID }> {
    const there = await this.#stat(path, within());
    if (there === undefined) return { overwritten: false };
    if (!overwrite) throw new OpError('exists', op, { details: { path } });
    if (there.type === 'directory') throw new OpError('is-directory', op, { details: { path } });
    return { overwritten: true, previous: there.cid };
  }

  /** Sees to it that there is a directory for a name. @throws OpError not-found, not-directory. */
  async #parent(
    path: string,
    op: string,
    { parents = false }: MfsCopyOptions,
    within: () => CallOptions,
  ): Promise<void> {
    const parent = parentOf(path);
    const there = await this.#stat(parent, within());
    if (there?.type === 'directory') return;
    const details = { path: parent, kind: 'path' };
    if (there !== undefined) throw new OpError('not-directory', op, { details });
    if (!parents) throw new OpError('not-found', op, { details });
    const ask = { command: 'files/mkdir', args: [parent], query: { parents: true } };
    await this.#settle(ask, within, () => this.#stat(parent, within()));
  }

  async #ifIs(path: string, cid: CID, within: () => CallOptions): Promise<MfsStat | undefined> {
    const stat = await this.#stat(path, within());
    return stat?.cid.equals(cid) === true ? stat : undefined;
  }

  /** One change at a time; all its calls end with one deadline. */
  async #change<T>(
    op: string,
    options: MfsChangeOptions,
    change: (within: () => CallOptions) => Promise<T>,
    lane: Lane = 'short',
  ): Promise<T> {
    using deadline = this.#rpc.deadline(op, options, lane);
    return await this.#turns.run(op, deadline.signal, () => change(() => deadline.options));
  }

  /**
   * Makes a change and sees that it was made: `look` gives what shows it, or undefined. Where it was not, it is
   * asked for once more, if `mayAgain` allows that.
   * @throws what the call threw, when nothing shows that it was made.
   */
  async #settle<T>(
    ask: Ask,
    within: () => CallOptions,
    look: () => Promise<T | undefined>,
    mayAgain: () => Promise<boolean> = async () => true,
  ): Promise<T> {
    await this.#roomForOne(within);
    for (let isAgain = false; ; isAgain = true) {
      try {
        await this.#rpc.done(ask, within());
        this.#count(ask);
      } catch (error) {
        const shown = isDoubtful(error) ? await look() : undefined;
        if (shown !== undefined) return shown;
        if (isAgain || !(isLost(error) || isUnflushed(error))) throw error;
        if (isUnflushed(error)) await this.#flush('/', within());
        else if (!(await mayAgain())) throw error;
        continue;
      }
      const shown = await look();
      if (shown !== undefined) return shown;
      throw invalid(ask.command, 'the node said that it was done, and it was not');
    }
  }

  /** Kubo takes only so many changes that it may not write, of everybody. */
  async #roomForOne(within: () => CallOptions): Promise<void> {
    if (this.#unflushed >= MFS_UNFLUSHED_MAX) await this.#flush('/', within());
  }

  #count({ query }: Ask): void {
    if (query?.['flush'] === false) this.#unflushed += 1;
  }
}

/** @throws OpError version-conflict. */
function demandVersion(
  path: string,
  op: string,
  expected: CID | undefined,
  before: MfsStat | undefined,
): void {
  if (expected === undefined || before?.cid.equals(expected) === true) return;
  const partial = before === undefined ? { exists: false } : { version: before.cid.toString() };
  throw new OpError('version-conflict', op, { details: { path, partial } });
}

interface Moving {
  readonly cid: CID;
  readonly flush?: boolean | undefined;
  readonly within: () => CallOptions;
}

/** @throws OpError invalid-argument: one is, or is in, the other. */
function demandApart(source: string, destination: string, op: string): void {
  if (!isWithin(destination, source)) return;
  throw new OpError('invalid-argument', op, {
    hint: 'choose a destination outside the source',
    details: { path: destination },
  });
}

/** Whether the answer was lost: the change may have been made. */
const isLost = (error: unknown): error is OpError =>
  error instanceof OpError && ['not-running', 'response-invalid'].includes(error.failure);

/** Whether it may have been made though an error was told: `files/rm` tells them late. */
const isDoubtful = (error: unknown): boolean =>
  isLost(error) || (error instanceof OpError && error.failure === 'api-error');

const isUnflushed = (error: unknown): boolean =>
  error instanceof OpError &&
  error.failure === 'api-error' &&
  error.cause instanceof Error &&
  UNFLUSHED.test(error.cause.message);
