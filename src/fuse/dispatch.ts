/**
 * The table of all opcodes that are one call on the file system. An opcode that is not in it is
 * answered ENOSYS, which the kernel remembers: FLUSH (nothing is kept back until close), IOCTL,
 * POLL, BMAP, and the locks, which then stay with the kernel.
 */
import { ATTRIBUTE_OPERATIONS } from './dispatch-attr.ts';
import { DIRECTORY_OPERATIONS } from './dispatch-directory.ts';
import { FILE_OPERATIONS } from './dispatch-file.ts';
import { NAME_OPERATIONS } from './dispatch-name.ts';
import type { Operation } from './operation.ts';

export const OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  ...NAME_OPERATIONS,
  ...ATTRIBUTE_OPERATIONS,
  ...FILE_OPERATIONS,
  ...DIRECTORY_OPERATIONS,
]);
