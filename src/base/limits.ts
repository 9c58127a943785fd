/** Every bound of the product, with its unit and its reason. */

/** NAME_MAX of Linux. */
export const NAME_BYTES_MAX = 255;
/** PATH_MAX of Linux, without its NUL. */
export const PATH_BYTES_MAX = 4095;
/** Symbolic links followed in one resolution, as path_resolution(7). */
export const SYMLINKS_MAX = 40;
/** As ext4's EXT4_LINK_MAX. */
export const LINKS_MAX = 65_000;
/** The unit of st_blocks; stat(2). */
export const SECTOR_BYTES = 512;
/** Directories above a file that are asked whether they are pinned; below more it counts as pinned. */
export const DIRECTORY_LEVELS_MAX = 4096;
/** XATTR_SIZE_MAX and XATTR_NAME_MAX of Linux. */
export const XATTR_BYTES_MAX = 65_536;
export const XATTR_NAME_BYTES_MAX = 255;
/** Largest file: 2^53 - 1 is the largest size JavaScript counts exactly. */
export const FILE_BYTES_MAX = Number.MAX_SAFE_INTEGER;

/** Content up to this many bytes lies packed in the journal's file; above, in a file of its own. */
export const PACKED_BYTES_MAX = 64 * 1024;
/** Old bytes up to this size are kept by copy before a write session; above, not undoable. */
export const HISTORY_COPY_BYTES_MAX = 64 * 1024 * 1024;
/** Up to so many bytes are copied while everybody waits (about half a millisecond). */
export const COPY_ON_MAIN_BYTES_MAX = 1024 * 1024;
/** How often files that are only mapped any more are looked at. */
export const LINGERING_INTERVAL_MS = 200;
/** Backing files held open at once. */
export const BACKING_FILES_OPEN_MAX = 256;
/** Slots in use at once, each an open descriptor; beyond, a backing file is made by its name. */
export const SLOTS_USED_MAX = 256;
/** Empty slots kept, and those made before anybody asks. */
export const SLOTS_FREE_MAX = 64;
export const SLOTS_PREPARED = 16;
/** Names whose meaning is held in memory before the least recently used one goes. */
export const DENTRIES_REMEMBERED_MAX = 16_384;
/** Rows of content held in memory before the least recently used one goes. */
export const CONTENTS_CACHED_MAX = 65_536;
/** One call copies at most this much of a range, so that the event loop turns in between. */
export const COPY_BYTES_PER_CALL_MAX = 64 * 1024 * 1024;
/** Largest IPFS block: what Kubo and bitswap take. */
export const BLOCK_BYTES_MAX = 2 * 1024 * 1024;
/** Threads that hash. Two keep a two-core machine responsive. */
export const HASH_WORKERS_MAX = 2;
/** Frozen content is hashed once it has been left alone for this long. */
export const SEAL_DELAY_MS = 1000;
/** While the kernel asks more than this in a second, hashing waits; but never longer than so long. */
export const BUSY_REQUESTS_PER_S = 500;
export const BUSY_SAMPLE_MS = 50;
export const SEAL_BUSY_MS_MAX = 10_000;
/** Objects looked at together; those, and their bytes, of one message to a hashing thread; those of a transaction. */
export const SEAL_PAGE_OBJECTS_MAX = 256;
export const SEAL_BATCH_OBJECTS_MAX = 64;
export const SEAL_BATCH_BYTES_MAX = 4 * 1024 * 1024;
export const SEAL_OBJECTS_PER_COMMIT = 8;
/** Block rows written in one transaction, so that sealing a huge file never holds the journal. */
export const SEAL_ROWS_PER_COMMIT_MAX = 2048;
/** Delay before content that could not be sealed is tried again: doubles from the first on. */
export const SEAL_RETRY_MS_MIN = 5000;
export const SEAL_RETRY_MS_MAX = 600_000;
/** Bytes of parsed DAG nodes held in memory. */
export const DAG_NODES_CACHED_BYTES_MAX = 16 * 1024 * 1024;
/** Bytes of verified leaves held in memory for who reads a file by CID piece by piece. */
export const DAG_LEAVES_CACHED_BYTES_MAX = 16 * 1024 * 1024;

/** Blocks asked for at once; one that has not come after so long, waiting included, is missing. */
export const FETCHES_AT_ONCE_MAX = 32;
export const FETCH_MS_MAX = 30_000;
/** How long a node that gave nobody an answer may take to answer anything; and how long it counts as silent. */
export const SILENCE_ASKED_MS_MAX = 2000;
export const SILENCE_KEPT_MS = 1000;
/** Bytes of fetched blocks held in memory for who comes for them again. */
export const FETCHED_CACHED_BYTES_MAX = 16 * 1024 * 1024;
/** Bytes of fetched blocks that are written together. */
export const GATHERED_BYTES_MAX = 16 * 1024 * 1024;
/** Who reads a remote file from one end to the other finds so much of it here already. */
export const READ_AHEAD_BYTES = 4 * 1024 * 1024;
/** Who reads one small remote file after the other finds the next ones here already, so many of them. */
export const FILES_AHEAD = 64;
/** A file that is larger is not small. */
export const FILE_AHEAD_BYTES_MAX = 64 * 1024;
/** Remote objects of which it is remembered what is here; of others the journal is asked. */
export const REMOTE_REMEMBERED_MAX = 1024;

/** Names of one tree restored from content: a small DAG can stand for any number of them. */
export const RESTORED_ENTRIES_MAX = 1_000_000;
/** Names in which two snapshots differ, of one comparison. */
export const DIFFERENCES_MAX = 1_000_000;
/** Files hashed at once by one publication; more of them would only wait. */
export const PUBLISHED_FILES_AT_ONCE = 256;
/** Bytes copied or compared before other work gets its turn. */
export const RESTORED_PIECE_BYTES = 1024 * 1024;
/** Blocks travel together, in pieces of at least so much. */
export const CAR_PIECE_BYTES = 256 * 1024;

/** Rows held in memory before the least recently used clean one goes. */
export const INODES_CACHED_MAX = 65_536;
/** Access times not written yet; and how long one waits for a transaction to come along. */
export const READS_PENDING_MAX = 1024;
export const READS_PENDING_MS = 5000;
/** Requests of one FUSE drain, and so of one group commit. */
export const REQUESTS_PER_DRAIN_MAX = 64;
/** Largest READ or WRITE negotiated with the kernel. */
export const FUSE_IO_BYTES_MAX = 1024 * 1024;
/** Notifications waiting for the kernel. */
export const NOTIFICATIONS_QUEUED_MAX = 65_536;
/** Background requests the kernel keeps in flight (read-ahead, RELEASE). */
export const FUSE_BACKGROUND_MAX = 64;
/** Requests of one drain, each up to `FUSE_IO_BYTES_MAX` and its header. */
export const FUSE_REQUEST_ARENA_BYTES = 4 * 1024 * 1024;
/** Replies of one group; when they may not all fit, the group is cut. */
export const FUSE_REPLY_ARENA_BYTES = 4 * 1024 * 1024;
/** Handles and inodes the kernel gave back are ended together: after so long, or so many. */
export const FUSE_LATER_MS = 2;
export const FUSE_LATER_MAX = 32;
/** Reads of content by CID, of files and directories, under way at once; more wait in order. */
export const FUSE_CID_READS_MAX = 256;
/** A request that waits for content longer is answered EIO. */
export const FUSE_REQUEST_MS_MAX = 120_000;
/** Notifications that are in the kernel longer, when the mount ends, are cut off. */
export const FUSE_NOTIFIER_CLOSE_MS_MAX = 1000;
/** The handle table, 64 bytes for each open file and directory: it begins small and doubles. */
export const HANDLE_TABLE_BYTES_MAX = 16 * 1024 * 1024;
export const HANDLE_TABLE_BYTES_MIN = 64 * 1024;
/** How often the kernel is asked whether it still holds inodes that have no name any more. */
export const ORPHANS_ASKED_MS = 10_000;
/** A request that was being served when so many daemons died is answered EIO. */
export const POISON_DEATHS_MAX = 3;
/** Threads whose identity is kept. */
export const FUSE_CALLERS_MAX = 1024;

/** Entries of one copy of content by CID: their names are made in one transaction. */
export const STAGED_ENTRIES_MAX = 100_000;
/** A call waits so long for a lock on a file before it says who holds it; and asks so often. */
export const LOCK_WAIT_MS_MAX = 2000;
export const LOCK_POLL_MS = 25;
/** Recursive deletion of more entries needs their count. */
export const DELETED_UNASKED_MAX = 1000;

/** One MCP frame. */
export const FRAME_BYTES_MAX = 16 * 1024 * 1024;
/** Calls in flight on one connection. */
export const CALLS_PER_CONNECTION_MAX = 32;
/** Connections to one socket. */
export const CONNECTIONS_MAX = 256;
/** Bytes of answers that wait for a slow reader; then its connection is closed. */
export const UNREAD_BYTES_MAX = 64 * 1024 * 1024;
/** Requests the stdio bridge holds for a daemon that is not there yet. */
export const BRIDGE_REQUESTS_MAX = 1024;
/** Daemons that one request may outlive: it may be what ends them. */
export const BRIDGE_LOSSES_MAX = 8;

/** Bytes a tool takes inline, after decoding; gives inline; and gives when not told how many. */
export const CONTENT_BYTES_MAX = 4 * 1024 * 1024;
export const SLICE_BYTES_MAX = 1024 * 1024;
export const SLICE_BYTES = 24 * 1024;
/** JSON of one record result, and of one page of it. */
export const RESULT_BYTES_MAX = 256 * 1024;
export const PAGE_BYTES_MAX = 48 * 1024;
/** Snapshots that cursors page through: how many, their JSON, the items of one, their life. */
export const CURSORS_MAX = 256;
export const CURSORS_BYTES_MAX = 64 * 1024 * 1024;
export const SNAPSHOT_ITEMS_MAX = 100_000;
export const CURSOR_KEPT_MS = 10 * 60 * 1000;
/** Jobs of one principal that run at once; finished jobs kept, of everybody, and for how long. */
export const JOBS_RUNNING_MAX = 64;
export const JOBS_FINISHED_MAX = 256;
export const JOB_KEPT_MS = 15 * 60 * 1000;
/** Daemons that begin one job: it may be what ends them. */
export const JOB_STARTS_MAX = 8;
/** A change that was told to end gets so long to roll back or finish before it is left alone. */
export const ABORT_GRACE_MS = 5000;

/** A key under which a call may be sent again; answers kept for that, of everybody; for how long. */
export const CALL_KEY_BYTES_MAX = 128;
export const CALLS_KEPT_MAX = 65_536;
export const CALL_KEPT_S = 60 * 60;

/** How often the WAL is looked at. */
export const CHECKPOINT_INTERVAL_MS = 1000;
/** A checkpointing thread that has not answered for so long is replaced. */
export const CHECKPOINT_MS_MAX = 60_000;
/** Times the thread folds again what came in while it folded. */
export const CHECKPOINT_PASSES_MAX = 8;
/** Less is left alone: pages changed again are then folded once. */
export const WAL_FOLDED_BYTES_MIN = 16 * 1024 * 1024;
/** From here on the WAL is begun anew, as soon as the rest below is all that is missing. */
export const WAL_RESTARTED_BYTES_MIN = 64 * 1024 * 1024;
/** What the writer's thread folds itself: some milliseconds of work. */
export const WAL_REST_BYTES_MAX = 4 * 1024 * 1024;
/** From here on the writer's thread folds, however much is left. */
export const WAL_BYTES_MAX = 512 * 1024 * 1024;
/** On a full disk the WAL begins anew from here on: it has its reserve (native/wal_vfs.cc) once. */
export const WAL_SHORT_BYTES_MAX = 1024 * 1024;
/** How often the disk is looked at. */
export const ROOM_INTERVAL_MS = 1000;
/** With less free, or less than this part of the disk, old bytes that only history wants go. */
export const DISK_FULL_BYTES_MAX = 64 * 1024 * 1024;
export const DISK_FULL_PART = 50;
/** Old bytes, and bytes that a store has, let go at once on a full disk. */
export const GIVEN_WAY_BYTES_MAX = 16 * 1024 * 1024;
/** The file that is given up on a full disk; on a small one less. */
export const RESERVE_BYTES = 4 * 1024 * 1024;
/** What one check reports; a journal with more wrong needs no longer list. */
export const FINDINGS_MAX = 10_000;

/**
 * The heap is collected when it has grown by so much. Making files at full speed that is every other
 * second, some tens of milliseconds of work, most of it on other threads.
 */
export const HEAP_GROWTH_PERCENT_MAX = 30;
/** Of each half of V8's young generation. */
export const YOUNG_HEAP_MIB = 4;

/** How long a daemon that starts waits for what its keeper hands over. */
export const KEEPER_GREETING_MS_MAX = 10_000;
/** How long a message to the keeper may wait for room that a keeper makes at once. */
export const KEEPER_ROOM_MS_MAX = 1000;
/** How often the keeper hears that something was answered, and otherwise that we are alive. */
export const KEEPER_PROGRESS_MS = 1000;
export const KEEPER_ALIVE_MS = 5000;
/** How often whoever ended a keeper looks whether it has gone. */
export const KEEPER_POLL_MS = 20;
/** A daemon that is silent for so long hangs, and is ended and started again. */
export const KEEPER_WATCHDOG_S = 30;

/** A detached daemon whose log is longer begins another one. */
export const DAEMON_LOG_BYTES_MAX = 16 * 1024 * 1024;
/** Operating errors remembered, to be shown and counted. */
export const ERRORS_KEPT_MAX = 1000;
/** Background loops of a mount that was taken over begin after so long: programs have waited for it. */
export const LOOPS_REST_MS = 300;
/** The rest of a tree whose names are shown is brought after so long. */
export const ARRIVAL_REST_MS = 100;
/** A background loop that failed is begun again after so long. */
export const LOOP_RESTART_MS = 5000;
/** A daemon that was told to stop gives up waiting, and goes, after so long. */
export const STOP_MS_MAX = 30_000;
/** A daemon that stops begins to sync content for so long; what is left is looked at after the next boot. */
export const STOP_SYNC_MS_MAX = 10_000;
/** How long a daemon that stops waits for calls that are being answered. */
export const CALLS_END_MS_MAX = 6000;
/** How often old history is looked for. */
export const RETENTION_INTERVAL_MS = 60_000;
/** How often it is noted beside the content how far the journal is. */
export const WITNESS_INTERVAL_MS = 30_000;
/** Records that `/.kitfs/journal.ndjson` shows. */
export const JOURNAL_SHOWN_RECORDS_MAX = 10_000;

/** Calls that wait for their turn at an IPFS node; one more is refused. */
export const NODE_CALLS_WAITING_MAX = 4096;
/** Subscriptions held open at one node; each has a connection of its own. */
export const NODE_SUBSCRIPTIONS_MAX = 256;
/**
 * When the caller names no deadline: of a call that only asks or changes a little; of one that walks content, or of
 * one that moves it, how long nothing may come or go.
 */
export const NODE_CALL_MS = 30_000;
export const NODE_TRANSFER_MS = 300_000;
/** Repeats of a call that may be repeated, and the pause before the first; it doubles. */
export const NODE_REPEATS_MAX = 3;
export const NODE_REPEAT_MS = 100;
/** One answer that is read whole: a directory of MFS with some 400,000 names. */
export const NODE_ANSWER_BYTES_MAX = 64 * 1024 * 1024;
/** One line of an answer that comes line by line; a pubsub message of 1 MiB in base64 is the longest. */
export const NODE_LINE_BYTES_MAX = 4 * 1024 * 1024;
/** What is read of an answer that only says why not. */
export const NODE_REFUSAL_BYTES_MAX = 64 * 1024;
/** Roots and all, before the first block of a CAR that comes from elsewhere. */
export const CAR_HEADER_BYTES_MAX = 16 * 1024;
/** A CID in front of a block; the longest that kitfs can verify has 69 bytes, or is the block itself. */
export const CAR_CID_BYTES_MAX = 1024;
/** Bytes of blocks that came before they were asked for, held until they are; with what each costs. */
export const EARLY_BYTES_MAX = 16 * 1024 * 1024;
export const EARLY_OVERHEAD_BYTES = 512;
/** A connection nobody uses is kept so long. */
export const NODE_CONNECTION_KEPT_MS = 60_000;
/** Changes of MFS that Kubo may hold back before it is told to write them; it refuses the 257th. */
export const MFS_UNFLUSHED_MAX = 128;
/** Zeros that one write may fill a hole of MFS with; Kubo writes each of them. */
export const MFS_HOLE_BYTES_MAX = 1024 * 1024 * 1024;
/** Kubo drops what is longer than some 1,048,400 bytes and says nothing. */
export const PUBSUB_BYTES_MAX = 1_000_000;
/** Topics that one connection listens to; messages kept of all topics together, with what each costs. */
export const SUBSCRIPTIONS_PER_CONNECTION_MAX = 32;
export const MESSAGES_KEPT_BYTES_MAX = 64 * 1024 * 1024;
export const MESSAGE_OVERHEAD_BYTES = 256;
/** Payload of one answer that reads messages; one message is always given. */
export const MESSAGES_READ_BYTES_MAX = 256 * 1024;
/** Pause before a topic that broke off is listened to again; it doubles until something is heard. */
export const SUBSCRIPTION_RETRY_MS_MIN = 250;
export const SUBSCRIPTION_RETRY_MS_MAX = 30_000;

/** Names of others that are remembered, and how long at least and at most, whatever their records say. */
export const NAMES_KEPT_MAX = 1024;
export const NAME_KEPT_MS_MIN = 1000;
export const NAME_KEPT_MS_MAX = 300_000;
/** How long the home node is given to resolve a name. */
export const NAME_RESOLVE_MS_MAX = 30_000;
/** Copies that are brought up to date at once. */
export const FOLLOWED_AT_ONCE_MAX = 4;
/** How often the name of a copy is asked for, when nobody says. */
export const FOLLOW_INTERVAL_S = 60;

/** Longest pause between two attempts to bring a snapshot to a store. */
export const SYNC_RETRY_S_MAX = 300;
/** Publications, and looks for what changed, that wait for their turn; one more is refused. */
export const PUBLICATIONS_WAITING_MAX = 1024;
/** How often it is looked whether trees changed that are published by themselves. */
export const SYNC_LOOK_MS = 500;
/** Bytes copied because somebody has them open, by a publication that nobody asked for. */
export const SYNC_COPIED_BYTES_MAX = 64 * 1024 * 1024;
/** How long a file whose bytes of before are not kept may be written to before a publication copies it as it is. */
export const SYNC_SETTLE_S = 5;
/** How often it is looked whether such a file is closed. */
export const SYNC_SETTLE_LOOK_MS = 20;
/** How long a daemon that stops publishes what changed, and brings it to stores. */
export const STOP_PUBLISH_MS_MAX = 10_000;

/** How long an unmount that is forced waits for what is not in its store yet. */
export const UNMOUNT_MS_MAX = 3000;

/** How often it is looked whether more bytes of files are here than may be. */
export const EVICTION_LOOK_MS = 1000;
/** Files are looked through again after so long when nothing is known to have changed. */
export const EVICTION_SURVEY_MS_MAX = 30_000;
/** Of the time, the part that counting and looking through files may take: one in so many. */
export const EVICTION_BUSY_PART = 5;
/** Smaller files stay: a row and a pin cost as much as their bytes. */
export const EVICTED_BYTES_MIN = 4096;
/** Files chosen at once to go; and how many that a store refused are remembered, and for how long. */
export const EVICTED_AT_ONCE_MAX = 1024;
export const EVICTION_REFUSED_MAX = 65_536;
export const EVICTION_REFUSED_MS = 60_000;
/** Blocks that are needed here whatever stores have; beyond, no file goes. */
export const BLOCKS_NEEDED_HERE_MAX = 1_000_000;
/** How often pins of ours at a node are let go that keep what came back or is wanted no more. */
export const EVICTION_UNPIN_MS = 600_000;
/** Snapshots, and records of a path, among which a merge looks for what both sides had. */
export const MERGE_SNAPSHOTS_MAX = 1000;
export const MERGE_RECORDS_MAX = 4096;
/** How often it is looked whether there are more snapshots than are kept. */
export const RELEASE_LOOK_MS = 5000;
/** Of the time, the part that it may take to find what only they have: one in so many. */
export const RELEASE_BUSY_PART = 20;
/** How soon it is tried again when somebody stores blocks just now. */
export const RELEASE_RETRY_MS = 200;
/** How often it is tried again when something else kept them, or nobody knew what is needed. */
export const RELEASE_AGAIN_MS = 600_000;
/** Snapshots let go in one round, and content objects in one transaction. */
export const RELEASED_AT_ONCE_MAX = 1000;
export const RELEASED_TOGETHER = 256;
/** Ranges of objects noted as held by publications that are not recorded. */
export const UNFINISHED_RANGES_MAX = 65_536;
/** How often pinned files that are elsewhere are looked for, and tried again when they could not be had. */
export const GATHER_LOOK_MS = 1000;
export const GATHER_RETRY_MS = 30_000;
/** Pinned files that are elsewhere, remembered to be brought here. */
export const PINNED_AWAY_MAX = 4096;
/** How soon a change in a tree of kind `mfs` is brought to the node, when nobody writes to it any more. */
export const MFS_PUSH_MS = 200;
/** How often the mutable tree of the node is asked whether it changed. */
export const MFS_LOOK_MS = 1000;
/** What was brought there so long ago, and is there, stays: Kubo writes its root within 0.3 s. */
export const MFS_CONFIRM_MS = 2000;
/** Changes that are brought in one go. */
export const MFS_CHANGES_MAX = 1024;
/** How long a tool that changed the mutable tree waits until the mounts show it. */
export const MFS_SHOWN_MS_MAX = 3000;
/** Longest pause between two attempts when the node does not answer. */
export const MFS_RETRY_S_MAX = 8;

/** A key of S3; of what stands between two `/`, NAME_BYTES_MAX counts: it shall be a name in the tree. */
export const STORE_KEY_BYTES_MAX = 1024;
/**
 * When the caller names no deadline: of a call that asks or changes a little; of one that moves bytes, how
 * long none may move.
 */
export const STORE_CALL_MS = 30_000;
export const STORE_TRANSFER_MS = 120_000;
/** What must be undone is, after the end of the call that began it, within this. */
export const STORE_UNDO_MS = 15_000;
/** Repeats of a call that may be repeated, and the pause before the first; it doubles. */
export const STORE_REPEATS_MAX = 3;
export const STORE_REPEAT_MS = 100;
/** The longest pause that a store may ask for. */
export const STORE_RETRY_AFTER_MS_MAX = 20_000;
/** From 8 MiB on an object travels in parts, so many at once; each of them is held in memory. */
export const STORE_MULTIPART_BYTES = 8 * 1024 * 1024;
export const STORE_PARTS_AT_ONCE = 4;
/** Connections to one store. */
export const STORE_CONNECTIONS_MAX = 32;
/** What a store in memory holds when nobody says. */
export const MEMORY_STORE_BYTES_MAX = 256 * 1024 * 1024;
/** One piece of an object read from the disk. */
export const STORE_PIECE_BYTES = 256 * 1024;
/** One CAR of an upload to Storacha: held in memory until the service has it. */
export const SHARD_BYTES = 32 * 1024 * 1024;
/** What says where in the CARs of one upload which block lies; some 48 bytes a block. */
export const SHARD_INDEX_BYTES_MAX = 64 * 1024 * 1024;
/** One answer of a Storacha service. */
export const STORACHA_ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** How long what we sign may be acted upon, and by how much clocks may differ. */
export const INVOCATION_S = 300;
/** How soon a receipt that is not there yet is asked for again; it doubles. */
export const RECEIPT_LOOK_MS_MIN = 100;
export const RECEIPT_LOOK_MS_MAX = 5000;
/** Uploads that one request of a list asks for, when nobody says. */
export const UPLOADS_PER_PAGE = 100;

/** What is known of a backend's health is told so long, a look may take so long, and a call waits so long for it. */
export const HEALTH_KEPT_MS = 30_000;
export const HEALTH_CHECK_MS = 5_000;
export const HEALTH_WAIT_MS = 500;
/** Between two looks at a pin that a cluster is to have. */
export const CLUSTER_LOOK_MS = 500;
