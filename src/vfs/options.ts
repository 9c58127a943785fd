/** What a file system is made of. */
import type { ContentReader, NameReader, NodeLog } from './cidtree.ts';
import type { ControlFile, KeptBytes } from './control.ts';
import type { CoreOptions } from './core.ts';

export interface VfsOptions extends CoreOptions {
  readonly contentReader: ContentReader;
  /** Absent: nobody resolves names. */
  readonly nameReader?: NameReader | undefined;
  readonly controlFiles: readonly ControlFile[];
  /** Of the control files: who runs the daemon. */
  readonly owner: { readonly uid: number; readonly gid: number };
  /** A directory on the disk that holds the content: statfs reports that disk. */
  readonly stateDirectory: string;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
  /** What is written down for a daemon that goes on with the connection; absent: there is none. */
  readonly nodes?: NodeLog | undefined;
  readonly rendered?: KeptBytes | undefined;
}
