/** Files as objects: what their versions are, and reading one that others may write to. */
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { asOpError, codeOf, OpError } from '../../base/errors.ts';
import { STORE_PIECE_BYTES } from '../../base/limits.ts';
import type { Deadline } from '../deadline.ts';
import { sliceOf } from '../slice.ts';
import type { GetOptions, ObjectHead, ObjectReading, ObjectVersion } from '../store.ts';
import type { Directory } from './beneath.ts';

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
const NS_PER_S = 1_000_000_000n;

/** A file that was changed or replaced has another one, within what the host's clock can tell apart. */
export const versionOf = ({ mtimeNs, size, ino }: BigIntStats): ObjectVersion =>
  `${mtimeNs}-${size}-${ino}` as ObjectVersion;

export const headOf = (key: string, stats: BigIntStats): ObjectHead => ({
  key,
  size: Number(stats.size),
  version: versionOf(stats),
  modified: {
    s: Number(stats.mtimeNs / NS_PER_S),
    ns: Number(stats.mtimeNs % NS_PER_S),
  },
  metadata: {},
});

/** undefined: there is nothing, or nothing that is an object. */
export async function seeFile(
  directory: Directory,
  name: string | Buffer,
  op: string,
): Promise<BigIntStats | undefined> {
  const found = await see(directory, name, op);
  return found?.isFile() === true ? found : undefined;
}

/** What bears the name, whatever it is. */
export async function see(
  directory: Directory,
  name: string | Buffer,
  op: string,
): Promise<BigIntStats | undefined> {
  try {
    return await lstat(directory.path(name), { bigint: true });
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw asOpError(error, op);
  }
}

/** Disposes of the deadline with the reading, or when this fails. @throws as `ObjectsFacet.get`. */
export async function readFile(
  directory: Directory | undefined,
  { key, name }: { readonly key: string; readonly name: string },
  options: GetOptions,
  deadline: Deadline,
): Promise<ObjectReading> {
  const { op } = deadline;
  const file = directory === undefined ? undefined : await openFile(directory, name, op);
  if (file === undefined) throw new OpError('not-found', op, { details: { kind: 'object' } });
  try {
    const stats = await file.stat({ bigint: true });
    if (!stats.isFile()) throw new OpError('not-found', op, { details: { kind: 'object' } });
    const head = headOf(key, stats);
    if (options.version !== undefined && options.version !== head.version) {
      throw new OpError('version-conflict', op);
    }
    const slice = sliceOf(head.size, options, op);
    const dispose = async () => {
      deadline[Symbol.dispose]();
      await file.close();
    };
    const bytes = piecesOf(file, { ...slice, version: head.version }, deadline);
    return { head, ...slice, bytes, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openFile(
  directory: Directory,
  name: string,
  op: string,
): Promise<FileHandle | undefined> {
  try {
    // A FIFO would wait for who writes to it.
    return await open(directory.path(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    // Something that is no object: a symbolic link, a socket.
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENXIO') return undefined;
    throw asOpError(error, op);
  }
}

interface Wanted {
  readonly offset: number;
  readonly length: number;
  readonly version: ObjectVersion;
}

async function* piecesOf(
  file: FileHandle,
  { offset, length, version }: Wanted,
  deadline: Deadline,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal, op } = deadline;
  const changed = (): OpError =>
    new OpError('version-conflict', op, { hint: 'it was changed while it was read' });
  const read = async (at: number): Promise<Buffer> => {
    const bytes = Buffer.allocUnsafe(Math.min(STORE_PIECE_BYTES, offset + length - at));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, at);
    return bytes.subarray(0, bytesRead);
  };
  try {
    for (let at = offset; at < offset + length; ) {
      signal.throwIfAborted();
      const piece = await read(at);
      if (piece.length === 0) throw changed();
      at += piece.length;
      deadline.moved();
      yield piece;
    }
    signal.throwIfAborted();
    if (versionOf(await file.stat({ bigint: true })) !== version) throw changed();
  } catch (error) {
    signal.throwIfAborted();
    throw asOpError(error, op);
  }
}
