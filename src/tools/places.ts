/**
 * From the paths of a call to places in the tree, and from a change to its transaction.
 *
 * Invariants: a change is resolved, checked and made without a pause between, in one journal group;
 * a rehearsed one (`dry_run`) meets the same checks and is taken back; the kernel has heard of a
 * change before the call answers; an error names the path as the caller wrote it.
 */
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, nameOfText, ROOT_INO, type SuperblockId } from '../base/ids.ts';
import { isDirectory, isRegular, W_OK } from '../base/posix.ts';
import {
  type Awaitable,
  type Caller,
  CONTROL_INO_FROM,
  type Inode,
  isPermitted,
  prepareBytes,
  type Resolved,
  resolve,
  type Vfs,
} from '../vfs/vfs.ts';
import { outside, type Scope } from './ceiling.ts';
import { whenUnlocked } from './locks.ts';
import { planOf } from './plans.ts';
import type { DryRun } from './results.ts';
import type { RecordResult, ToolContext } from './tool.ts';

/** Mode of directories made on the way to a name, before the umask of their mount. */
const PARENT_MODE = 0o755;

/** Who asks and what for: the half of a context that resolving needs. */
export interface Asker {
  readonly vfs: Vfs;
  readonly caller: Caller;
  /** As in error messages: `vfs_write`. */
  readonly tool: string;
  /** undefined: everywhere. */
  readonly scope: Scope | undefined;
}

export const askerOf = (context: ToolContext, tool: string): Asker => ({
  vfs: context.ports.vfs,
  caller: { ...context.caller, group: context.requestId },
  tool,
  scope: context.session.ceiling.scope,
});

/** A place that may be changed: in a managed tree, and not the root of a mount. */
export interface Place {
  readonly parent: Ino;
  readonly name: Name;
  readonly inode: Inode | undefined;
  /** Links followed; bytes. */
  readonly path: Name;
}

/** Runs `body`; its operating errors come to speak of `path`. */
export function about<T>({ tool }: Asker, path: string, body: () => T): T {
  const told = (error: unknown): unknown => toldOf(error, tool, path);
  try {
    const result = body();
    if (!(result instanceof Promise)) return result;
    return result.catch((error: unknown) => {
      throw told(error);
    }) as T;
  } catch (error) {
    throw told(error);
  }
}

function toldOf(error: unknown, tool: string, path: string): unknown {
  if (!(error instanceof OpError) || error.details['path'] !== undefined) return error;
  // By a link; a plain path was told the same before.
  if (error.failure === 'policy') return outside(tool, path);
  const { cause, hint, details } = error;
  return new OpError(error.failure, `${tool} ${path}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
    details: { path, ...details },
  });
}

/** What a path means; inside content by CID by promise. @throws OpError as `resolve`. */
export function find(asker: Asker, path: string, follow: boolean): Awaitable<Resolved> {
  return about(asker, path, () => walk(asker, path, follow));
}

/** The only way from the text of a path to what it names: never out of the caller's scope. */
const walk = ({ vfs, caller, scope }: Asker, path: string, follow: boolean): Awaitable<Resolved> =>
  resolve(vfs, caller, nameOfText(path), { follow, bounds: scope });

/** What a path means. @throws OpError not-found; as `resolve`. */
export async function findInode(asker: Asker, path: string, follow: boolean): Promise<Inode> {
  const { inode } = await find(asker, path, follow);
  if (inode === undefined) throw absent(asker, path);
  return inode;
}

export const absent = ({ tool }: Asker, path: string): OpError =>
  new OpError('not-found', `${tool} ${path}`, { details: { path } });

/**
 * The place of a path, to be changed before anything else happens.
 * @throws OpError read-only: it lies in content by CID or among the control files; busy: it is the
 *   root; as `resolve`.
 */
export function place(asker: Asker, path: string, follow: boolean): Place {
  const found = find(asker, path, follow);
  if (found instanceof Promise) {
    found.catch(() => {}); // Whatever it means, it cannot be changed.
    throw readOnly(asker, path);
  }
  const { parent, name, inode } = found;
  if (name === '.') {
    throw new OpError('busy', `${asker.tool} ${path}`, {
      hint: 'the root is no file of its own',
      details: { path },
    });
  }
  about(asker, path, () => asker.vfs.demandNewName(parent, name, asker.tool));
  if ((inode?.ino ?? 0) >= CONTROL_INO_FROM) throw readOnly(asker, path);
  return found;
}

const readOnly = ({ tool }: Asker, path: string): OpError =>
  new OpError('read-only', `${tool} ${path}`, {
    hint: 'content by CID and control files never change; copy it first',
    details: { path },
  });

/** As `place`, with the directories above made when they are missing and `parents` says so. */
export function placeWithParents(
  asker: Asker,
  path: string,
  { follow, parents }: { readonly follow: boolean; readonly parents: boolean },
): Place {
  try {
    return place(asker, path, follow);
  } catch (error) {
    const above = path.slice(0, path.lastIndexOf('/'));
    const isMissing = error instanceof OpError && error.failure === 'not-found';
    if (!parents || !isMissing || above === '') throw error;
    const made = makeDirectory(asker, above);
    const name = nameOfText(path.slice(above.length + 1));
    about(asker, path, () => asker.vfs.demandNewName(made.parent, name, asker.tool));
    // Nothing is in what was just made: the path is not walked again, which deep ones would feel.
    return { parent: made.parent, name, inode: undefined, path: `${made.path}/${name}` as Name };
  }
}

/** Makes the directory that must not be there, and those above it; as the parent of what follows. */
function makeDirectory(asker: Asker, path: string): Pick<Place, 'parent' | 'path'> {
  const { vfs, caller } = asker;
  const at = placeWithParents(asker, path, { follow: true, parents: true });
  const mode = umasked(vfs, at.parent, PARENT_MODE);
  const { ino } = about(asker, path, () => vfs.mkdir(caller, at.parent, at.name, mode));
  return { parent: ino, path: at.path };
}

/** A mode as the `umask` of the mount lets it be. */
export function umasked(vfs: Vfs, directory: Ino, mode: number): number {
  const row = vfs.core.inodes.find(directory);
  const mask = row === undefined ? undefined : vfs.core.superblockOf(row).options['umask'];
  return typeof mask === 'string' ? mode & ~Number.parseInt(mask, 8) : mode;
}

/** A change: what an error speaks of, and what is done about it. */
export interface Change<T, Data> {
  readonly path: string;
  readonly dryRun: boolean;
  /** Makes it. Must not pause. */
  readonly make: () => T extends PromiseLike<unknown> ? never : T;
  /** The answer, from what was made. */
  readonly tell: (made: T) => RecordResult<Data>;
}

/**
 * Makes a change: all that `make` does, in one group with its answer, or nothing of it; with
 * `dryRun` only the plan of it. Resolves when the kernel knows of it.
 */
export async function change<T, Data>(
  asker: Asker,
  context: ToolContext,
  { path, dryRun, make, tell }: Change<T, Data>,
): Promise<RecordResult<Data> | RecordResult<DryRun>> {
  const { journal, invalidator } = asker.vfs.core;
  if (dryRun) {
    const plan = planOf(about(asker, path, () => journal.rehearse(make)));
    return { data: { dry_run: true, plan } };
  }
  const before = journal.head.seq;
  const made = about(asker, path, () =>
    journal.group(() => {
      const done: T = make();
      context.keep(() => tell(done));
      return done as T extends PromiseLike<unknown> ? never : T;
    }),
  );
  const { seq } = journal.head;
  await invalidator.settled();
  return { ...tell(made), seq: seq === before ? undefined : seq };
}

/**
 * Waits for programs that have a regular file locked. What the path means may change meanwhile.
 * @throws OpError locked; the signal's reason.
 */
export async function whenFree(asker: Asker, context: ToolContext, path: string): Promise<void> {
  const { locks, clock } = context.ports;
  const found = resolveQuietly(asker, path);
  // Nobody has a lock on what nobody has open.
  if (found === undefined || !asker.vfs.core.handles.isOpen(found.ino)) return;
  if (!isRegular(found.mode)) return;
  const wait = { locks, clock, signal: context.signal };
  await about(asker, path, () => whenUnlocked(wait, found.ino, asker.tool));
}

/**
 * Waits for the bytes of a file of which a part is to be changed. What the path means may change
 * meanwhile: then the change says what is missing.
 * @throws OpError content-missing, integrity; the signal's reason.
 */
export async function whenHere(asker: Asker, { signal }: ToolContext, path: string): Promise<void> {
  const { vfs, caller } = asker;
  const found = resolveQuietly(asker, path);
  if (found === undefined || !isRegular(found.mode) || vfs.isHere(found.ino)) return;
  // Who may not write is told so by the change, and has nothing fetched for him.
  if (!isPermitted(caller, found, W_OK)) return;
  await about(asker, path, () => vfs.bring(found.ino, { signal }));
}

/** The tree in which a path lies, or will when the directories above it are made. */
export function treeOf(asker: Asker, path: string): SuperblockId | undefined {
  const above = path.slice(0, path.lastIndexOf('/'));
  const found = resolveQuietly(asker, above === '' ? '/' : above);
  if (found === undefined) return above === '' ? undefined : treeOf(asker, above);
  return asker.vfs.core.inodes.find(found.ino)?.superblock;
}

/**
 * To be called right before a group that writes to a file, nothing suspending in between.
 * @throws OpError busy, no-space, io.
 */
export function prepareWrite(asker: Asker, path: string): void {
  const { vfs, caller } = asker;
  const found = resolveQuietly(asker, path);
  if (found === undefined) return;
  about(asker, path, () => prepareBytes(vfs.core, caller, found.ino));
}

/** Errors are left to the change itself, which meets them again. */
export function resolveQuietly(asker: Asker, path: string, follow = true): Inode | undefined {
  try {
    const found = walk(asker, path, follow);
    if (!(found instanceof Promise)) return found.inode;
    found.catch(() => {});
    return undefined;
  } catch (error) {
    if (error instanceof OpError) return undefined;
    throw error;
  }
}

/** @throws OpError version-conflict, with the version there is. */
export function demandVersion(
  { tool }: Asker,
  path: string,
  expected: string | undefined,
  actual: string | undefined,
): void {
  if (expected === undefined || expected === actual) return;
  throw new OpError('version-conflict', `${tool} ${path}`, {
    details: {
      path,
      partial: actual === undefined ? { exists: false } : { version: actual },
    },
  });
}

/** Whether `ino` is `directory` or lies below it. */
export function isWithin(vfs: Vfs, ino: Ino, directory: Ino): boolean {
  const { inodes, mounts } = vfs.core;
  for (let at = ino; ; ) {
    if (at === directory) return true;
    if (at === ROOT_INO) return false;
    const row = inodes.find(at);
    const above = mounts.coverOf(at)?.parent ?? (row?.parent as Ino);
    if (row === undefined || above === 0 || !isDirectory(row.mode)) return false;
    at = above;
  }
}
