/** The files below a directory as keys, in the order of keys: `a-b` comes before `a/b`. */
import { readdir, unlink } from 'node:fs/promises';
import { asOpError, codeOf } from '../../base/errors.ts';
import type { Deadline } from '../deadline.ts';
import { compareKeys, isKey } from '../keys.ts';
import type { Listed, ListOptions, StoreLimits } from '../store.ts';
import { type Directory, descend } from './beneath.ts';
import { headOf, see, seeFile } from './files.ts';

/** Names of what is being put; none of them is a key. */
const UNFINISHED = /^\.kitfs-[A-Za-z0-9_-]+\.part$/;

interface Entry {
  readonly name: Buffer;
  /** From the root; of a directory with `/` at its end. */
  readonly key: string;
  readonly kind: 'file' | 'directory' | 'other';
}

interface Walking {
  readonly limits: StoreLimits;
  readonly deadline: Deadline;
  readonly prefix: string;
  readonly after: string | undefined;
  readonly oneLevel: boolean;
}

export async function* listBelow(
  root: string,
  { prefix = '', after, oneLevel = false }: ListOptions,
  { limits, deadline }: { readonly limits: StoreLimits; readonly deadline: Deadline },
): AsyncGenerator<Listed, void, undefined> {
  const start = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  // A prefix that is no path begins no key.
  if (start !== '' && !isKey(start.slice(0, -1), limits)) return;
  const parts = start === '' ? [] : start.slice(0, -1).split('/');
  await using directory = await descend(root, parts, deadline.op);
  if (directory === undefined) return;
  yield* walk(directory, start, { limits, deadline, prefix, after, oneLevel });
}

async function* walk(
  directory: Directory,
  start: string,
  walking: Walking,
): AsyncGenerator<Listed, void, undefined> {
  const { limits, deadline, prefix, after, oneLevel } = walking;
  for (const entry of await entriesOf(directory, start, deadline.op)) {
    deadline.signal.throwIfAborted();
    deadline.moved();
    const { key, kind, name } = entry;
    if (!key.startsWith(prefix) && !(kind === 'directory' && prefix.startsWith(key))) continue;
    if (after !== undefined && isBehind(entry, after, oneLevel)) continue;
    if (!isNameable(entry, limits)) {
      yield { kind: 'foreign', key };
      continue;
    }
    if (kind === 'file') {
      const stats = await seeFile(directory, name, deadline.op);
      if (stats === undefined) continue; // Removed since.
      const { size, version, modified } = headOf(key, stats);
      yield { kind: 'object', key, size, version, ...(modified === undefined ? {} : { modified }) };
      continue;
    }
    await using below = await directory.enter(name, deadline.op);
    if (below === undefined) continue;
    if (!oneLevel) yield* walk(below, key, walking);
    else if (await holdsAny(below, key, walking)) yield { kind: 'prefix', key };
  }
}

/** Whether nothing of it comes behind the name. */
const isBehind = ({ key, kind }: Entry, after: string, oneLevel: boolean): boolean => {
  if (compareKeys(key, after) > 0) return false;
  return oneLevel || kind !== 'directory' || !after.startsWith(key);
};

const isNameable = ({ key, kind, name }: Entry, limits: StoreLimits): boolean =>
  kind !== 'other' &&
  isKey(key.replace(/\/$/, ''), limits) &&
  key.replace(/\/$/, '').endsWith(name.toString('utf8')) &&
  Buffer.from(name.toString('utf8')).equals(name);

/** A directory without objects is no prefix of any key. */
async function holdsAny(directory: Directory, start: string, walking: Walking): Promise<boolean> {
  const { limits, deadline } = walking;
  const found = await entriesOf(directory, start, deadline.op);
  const entries = found.filter((entry) => isNameable(entry, limits));
  if (entries.some(({ kind }) => kind === 'file')) return true;
  for (const { name, key } of entries) {
    deadline.signal.throwIfAborted();
    await using below = await directory.enter(name, deadline.op);
    if (below !== undefined && (await holdsAny(below, key, walking))) return true;
  }
  return false;
}

async function entriesOf(directory: Directory, start: string, op: string): Promise<Entry[]> {
  try {
    const found = await readdir(directory.path(), { withFileTypes: true, encoding: 'buffer' });
    return found
      .map((entry): Entry => {
        const kind = entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : 'other';
        const name = entry.name as unknown as Buffer;
        const key = `${start}${name.toString('utf8')}${kind === 'directory' ? '/' : ''}`;
        return { name, key, kind };
      })
      .filter(({ name }) => !UNFINISHED.test(name.toString('latin1')))
      .sort((one, other) => Buffer.compare(sortedBy(one), sortedBy(other)));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []; // Removed since.
    throw asOpError(error, op);
  }
}

const SLASH = Buffer.from('/');
const sortedBy = ({ name, kind }: Entry): Buffer =>
  kind === 'directory' ? Buffer.concat([name, SLASH]) : name;

/** Removes what puts left that began before a moment. @returns how many. */
export async function sweepBelow(
  directory: Directory,
  start: string,
  {
    beforeMs,
    prefix,
    deadline,
  }: {
    readonly beforeMs: number;
    readonly prefix: string;
    readonly deadline: Deadline;
  },
): Promise<number> {
  const { op, signal } = deadline;
  let swept = 0;
  const names = await readdir(directory.path()).catch((error: unknown) => {
    throw asOpError(error, op);
  });
  for (const name of names) {
    signal.throwIfAborted();
    deadline.moved();
    if (UNFINISHED.test(name)) {
      const stats = start.startsWith(prefix) ? await see(directory, name, op) : undefined;
      if (stats === undefined || stats.mtimeMs > beforeMs) continue;
      if (await removed(directory, name, op)) swept += 1;
      continue;
    }
    const key = `${start}${name}/`;
    if (!key.startsWith(prefix) && !prefix.startsWith(key)) continue;
    await using below = await directory.enter(name, op);
    if (below !== undefined) swept += await sweepBelow(below, key, { beforeMs, prefix, deadline });
  }
  return swept;
}

/** False: somebody else did. */
async function removed(directory: Directory, name: string, op: string): Promise<boolean> {
  try {
    await unlink(directory.path(name));
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw asOpError(error, op);
  }
}
