/**
 * Names below a directory of the host, and never outside of it: each part of a path is opened in the
 * directory before it, and none of them is a symbolic link, so that nobody who moves or exchanges
 * directories meanwhile leads us elsewhere.
 *
 * What is open is named through /proc/self/fd, which makes every call of `node:fs` one that is
 * relative to an open directory.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises';
import { asOpError, codeOf, OpError } from '../../base/errors.ts';
import { O_PATH } from '../../base/posix.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
/** Less than the right to read it: that it may be entered is enough. */
const DIRECTORY = O_PATH | O_DIRECTORY | O_NOFOLLOW;

/** An open directory. Whoever is given one closes it. */
export class Directory implements AsyncDisposable {
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** @throws OpError configuration: it is not there, or no directory. */
  static async root(path: string, op: string): Promise<Directory> {
    try {
      // Of the path that the settings name, links are followed.
      return new Directory(await open(path, O_PATH | O_DIRECTORY));
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw asOpError(error, op);
      const hint = 'make the directory, or name another one';
      throw new OpError('configuration', op, { cause: error, hint });
    }
  }

  /** What the host calls something in it; '' is the directory itself. */
  path(name: string | Buffer = ''): string | Buffer {
    const start = `/proc/self/fd/${this.#handle.fd}/`;
    return typeof name === 'string' ? start + name : Buffer.concat([Buffer.from(start), name]);
  }

  /** undefined: there is no such directory; what bears the name may be something else. */
  async enter(name: string | Buffer, op: string): Promise<Directory | undefined> {
    try {
      return new Directory(await open(this.path(name), DIRECTORY));
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
      throw asOpError(error, op);
    }
  }

  /** As `enter`, and makes it when there is nothing. @throws OpError not-directory, unsupported. */
  async enterOrMake(name: string, op: string): Promise<Directory> {
    const found = await this.enter(name, op);
    if (found !== undefined) return found;
    try {
      await mkdir(this.path(name));
      await this.sync(op);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw asOpError(error, op);
    }
    const made = await this.enter(name, op);
    if (made !== undefined) return made;
    throw inTheWay(await this.#isLink(name), op);
  }

  /** What was made, renamed and removed in it outlasts a power cut. */
  async sync(op: string): Promise<void> {
    try {
      await using readable = await open(this.path(), O_RDONLY | O_DIRECTORY);
      await readable.sync();
    } catch (error) {
      throw asOpError(error, op);
    }
  }

  async #isLink(name: string): Promise<boolean> {
    const found = await lstat(this.path(name)).catch(() => undefined);
    return found?.isSymbolicLink() ?? false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

function inTheWay(isLink: boolean, op: string): OpError {
  if (!isLink) return new OpError('not-directory', op);
  return new OpError('unsupported', op, { hint: 'symbolic links are not followed' });
}

/** The directory of a path from the root. undefined: it is not there, or something else is. */
export async function descend(
  root: string,
  parts: readonly string[],
  op: string,
): Promise<Directory | undefined> {
  return await walk(root, parts, op, (at, part) => at.enter(part, op));
}

/** As `descend`, and makes what is missing. @throws OpError not-directory, unsupported. */
export async function descendOrMake(
  root: string,
  parts: readonly string[],
  op: string,
): Promise<Directory> {
  const end = await walk(root, parts, op, (at, part) => at.enterOrMake(part, op));
  if (end !== undefined) return end;
  throw new OpError('internal', op);
}

async function walk(
  root: string,
  parts: readonly string[],
  op: string,
  next: (at: Directory, part: string) => Promise<Directory | undefined>,
): Promise<Directory | undefined> {
  let at: Directory | undefined = await Directory.root(root, op);
  for (const part of parts) {
    await using before: Directory = at;
    at = await next(before, part);
    if (at === undefined) return undefined;
  }
  return at;
}
