/** What is for the owner of the daemon alone: who knows a CID has the bytes, also those of private files. */
import { OpError } from '../base/errors.ts';
import { ROOT_INO } from '../base/ids.ts';
import type { ToolContext } from './tool.ts';

/** Root and the user whom the daemon runs as, unless the session is held to a part of the tree. */
export function isOwner({ caller, ports, session }: ToolContext): boolean {
  // Of the root: the user whom the daemon runs as.
  const { uid } = ports.vfs.core.inodes.get(ROOT_INO);
  return (caller.uid === 0 || caller.uid === uid) && session.ceiling.scope === undefined;
}

/** @throws OpError denied. */
export function demandOwner(context: ToolContext, op: string): void {
  if (isOwner(context)) return;
  throw new OpError('denied', op, { hint: 'only root and the owner of the daemon may' });
}
