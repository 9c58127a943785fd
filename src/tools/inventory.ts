/**
 * All tools there are, in the order in which they are listed: first what agents need most, then
 * the rest by toolset. A tool that is not here does not exist.
 */
import type { Tool } from './tool.ts';
import { mbfsListBackends, mbfsRegisterBackend, mbfsRemoveBackend } from './toolset-backends.ts';
import { mbfsCopyBetweenBackends } from './toolset-backends-copy.ts';
import { mbfsListContent } from './toolset-backends-list.ts';
import { mbfsDelete, mbfsRetrieve, mbfsStore } from './toolset-backends-objects.ts';
import { ipfsClusterPeers, ipfsClusterPin, ipfsClusterStatus } from './toolset-cluster.ts';
import { jobCancel, jobGet } from './toolset-coordination.ts';
import { ipfsAdd, ipfsCat, ipfsLs } from './toolset-ipfs.ts';
import { ipfsBlockGet, ipfsBlockStat, ipfsRefs, ipfsRefsLocal } from './toolset-ipfs-blocks.ts';
import { ipfsDagGet, ipfsDagPut } from './toolset-ipfs-dag.ts';
import { ipfsGet } from './toolset-ipfs-get.ts';
import { ipfsNamePublish, ipfsNameResolve } from './toolset-ipfs-names.ts';
import { ipfsId, ipfsStats, ipfsSwarmPeers, ipfsVersion } from './toolset-ipfs-node.ts';
import { ipfsPinUpdate } from './toolset-ipfs-pin-update.ts';
import { ipfsPinAdd, ipfsPinLs, ipfsPinRm } from './toolset-ipfs-pins.ts';
import {
  ipfsPubsubPeers,
  ipfsPubsubPublish,
  ipfsPubsubRead,
  ipfsPubsubSubscribe,
  ipfsPubsubUnsubscribe,
} from './toolset-ipfs-pubsub.ts';
import { ipfsDhtFindpeer, ipfsDhtFindprovs, ipfsDhtQuery } from './toolset-ipfs-routing.ts';
import { fsJournalGetHistory } from './toolset-journal.ts';
import { ipfsFilesFlush, ipfsFilesLs, ipfsFilesRead, ipfsFilesStat } from './toolset-mfs.ts';
import {
  ipfsFilesChcid,
  ipfsFilesCp,
  ipfsFilesMkdir,
  ipfsFilesMv,
  ipfsFilesRm,
  ipfsFilesWrite,
} from './toolset-mfs-change.ts';
import { vfsSyncToIpfs } from './toolset-sync.ts';
import { snapshotRestore, vfsSyncFromIpfs } from './toolset-sync-from.ts';
import { systemHealth } from './toolset-system.ts';
import { vfsLs, vfsRead, vfsStat } from './toolset-vfs.ts';
import { vfsCopy, vfsMove } from './toolset-vfs-copy.ts';
import { vfsListMounts, vfsMount } from './toolset-vfs-mount.ts';
import { vfsUnmount } from './toolset-vfs-unmount.ts';
import { vfsMkdir, vfsRm, vfsRmdir, vfsWrite } from './toolset-vfs-write.ts';

export const TOOLS: readonly Tool[] = [
  vfsLs,
  vfsStat,
  vfsRead,
  vfsWrite,
  vfsMkdir,
  vfsCopy,
  vfsMove,
  vfsRm,
  vfsListMounts,
  vfsSyncToIpfs,
  ipfsAdd,
  ipfsCat,
  fsJournalGetHistory,
  // Toolset vfs.
  vfsMount,
  vfsUnmount,
  vfsRmdir,
  vfsSyncFromIpfs,
  // Toolset ipfs_core.
  ipfsGet,
  ipfsLs,
  ipfsPinAdd,
  ipfsPinRm,
  ipfsPinLs,
  ipfsPinUpdate,
  ipfsId,
  ipfsVersion,
  ipfsStats,
  ipfsSwarmPeers,
  ipfsRefs,
  ipfsRefsLocal,
  ipfsBlockStat,
  ipfsBlockGet,
  ipfsDagGet,
  ipfsDagPut,
  // Toolset ipfs_net.
  ipfsDhtFindpeer,
  ipfsDhtFindprovs,
  ipfsDhtQuery,
  ipfsNamePublish,
  ipfsNameResolve,
  ipfsPubsubPublish,
  ipfsPubsubSubscribe,
  ipfsPubsubRead,
  ipfsPubsubUnsubscribe,
  ipfsPubsubPeers,
  // Toolset mfs.
  ipfsFilesMkdir,
  ipfsFilesLs,
  ipfsFilesStat,
  ipfsFilesRead,
  ipfsFilesWrite,
  ipfsFilesCp,
  ipfsFilesMv,
  ipfsFilesRm,
  ipfsFilesFlush,
  ipfsFilesChcid,
  // Toolset backends.
  mbfsRegisterBackend,
  mbfsListBackends,
  mbfsRemoveBackend,
  mbfsStore,
  mbfsRetrieve,
  mbfsDelete,
  mbfsCopyBetweenBackends,
  mbfsListContent,
  // Toolset cluster.
  ipfsClusterPin,
  ipfsClusterStatus,
  ipfsClusterPeers,
  // Toolset coordination.
  jobGet,
  jobCancel,
  // Toolset system.
  systemHealth,
];

/** What only the command line calls: the contract of tools has none of it. */
export const COMMANDS: readonly Tool[] = [snapshotRestore];
