/**
 * Managed files whose bytes are elsewhere: brought here before they are read or changed.
 *
 * After every wait the file may show other bytes: they are looked at again.
 */
import { OpError } from '../base/errors.ts';
import { type Ino, NO_CONTENT, type SuperblockId } from '../base/ids.ts';
import type { InodeRow } from '../journal/journal.ts';
import { read } from './bytes.ts';
import type { ReadInto } from './cidtree.ts';
import type { Asking, Awaitable } from './contract.ts';
import type { Core } from './core.ts';
import type { OpenFile } from './handles.ts';

/** Whether nobody has to be waited for who wants to read the file. */
export function isHere(core: Core, { content }: Pick<InodeRow, 'content'>): boolean {
  return content === NO_CONTENT || core.content.row(content)?.state !== 'remote';
}

/**
 * Whether a file of a tree of MFS, which may have its only copy there, has to be brought here before
 * a tree that is none of that one may show it.
 */
export function isLeaving(core: Core, row: Readonly<InodeRow>, into: SuperblockId): boolean {
  const { id, kind } = core.superblockOf(row);
  return kind === 'mfs' && id !== into && !isHere(core, row);
}

/** As `read`, when the bytes have come. @throws OpError also content-missing, integrity. */
export function readWhenHere(
  core: Core,
  file: OpenFile,
  { into, offset, length, position }: ReadInto,
  asking?: Asking,
): Awaitable<number> {
  const row = core.inodes.get(file.ino);
  const to = Math.min(row.size, position + length);
  const { content } = row;
  if (isHere(core, row)) return read(core, file, into, offset, length, position);
  if (core.content.remote.has(content, position, to)) {
    core.filling?.noticed(content);
    return read(core, file, into, offset, length, position);
  }
  // Asked for now: who asks may be another one when the bytes have come.
  const signal = asking?.signal;
  return bringPart(core, row, { from: position, to }, signal).then(() =>
    readWhenHere(core, file, { into, offset, length, position }, signal && { signal }),
  );
}

/** Resolves when all bytes of the file are here. @throws OpError content-missing, integrity. */
export async function bring(core: Core, ino: Ino, signal: AbortSignal | undefined): Promise<void> {
  for (let row = core.inodes.get(ino); !isHere(core, row); row = core.inodes.get(ino)) {
    await bringPart(core, row, { from: 0, to: row.size }, signal);
    if (core.filling !== undefined)
      await core.filling.sealed(row.content, signal ?? core.filling.signal);
  }
}

async function bringPart(
  core: Core,
  { content }: InodeRow,
  extent: { readonly from: number; readonly to: number },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { filling } = core;
  if (filling === undefined) {
    throw new OpError('content-missing', 'read', { hint: 'no node is attached that has it' });
  }
  await filling.bring(content, extent, signal ?? filling.signal);
}
