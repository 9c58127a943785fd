/** What a path on the command line means: a path of the tree, or one of this host below the mount. */
import { resolve } from 'node:path';
import type { ControlClient, Status } from '../daemon/daemon.ts';

/**
 * A path that does not begin with `/`, or that lies below the mount point, is one of this host; any
 * other is one of the tree.
 */
export async function treePath(daemon: ControlClient, path: string): Promise<string> {
  const { mounts } = (await daemon.ask('status')) as Status;
  return treePathOf(path, process.cwd(), mounts[0]?.mount_point);
}

export function treePathOf(
  path: string,
  directory: string,
  mountPoint: string | undefined,
): string {
  const absolute = resolve(directory, path);
  if (mountPoint === undefined) return absolute;
  if (absolute === mountPoint) return '/';
  return absolute.startsWith(`${mountPoint}/`) ? absolute.slice(mountPoint.length) : absolute;
}
