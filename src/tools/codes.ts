/**
 * The 65 error codes of the contract, as data.
 *
 * Invariants: a code keeps its category, severity, retryable, errno and recovery for ever; errnos
 * are names, and never EAGAIN or ENOSYS.
 */

export type Category =
  | 'input'
  | 'access'
  | 'filesystem'
  | 'mount'
  | 'concurrency'
  | 'ipfs'
  | 'integrity'
  | 'backend'
  | 'service'
  | 'system';

/** What the daemon does by itself about it. */
export type Recovery =
  | 'none'
  | 'retry-backoff'
  | 'reconnect'
  | 'restart-service'
  | 'refresh-credentials'
  | 'free-space'
  | 'refetch'
  | 'resolve-conflict'
  | 'repair-journal';

export interface CodeRow {
  readonly category: Category;
  readonly severity: 'LOW' | 'MEDIUM' | 'HIGH' | 'CRITICAL';
  /** The same call may succeed later, unchanged. */
  readonly retryable: boolean;
  /** What the mount answers to the same fault, or the nearest one; numbers belong to `fuse`. */
  readonly errno: string;
  readonly recovery: Recovery;
  /** What the caller can do, as an imperative. */
  readonly remedy: string;
}

const row = (
  category: Category,
  severity: CodeRow['severity'],
  retryable: 'yes' | 'no',
  errno: string,
  recovery: Recovery,
  remedy: string,
): CodeRow => ({
  category,
  severity,
  retryable: retryable === 'yes',
  errno,
  recovery,
  remedy,
});

export const CODES = {
  INVALID_ARGUMENT: row(
    'input',
    'LOW',
    'no',
    'EINVAL',
    'none',
    'fix what `issues` lists (missing, unknown, type, range, combination)',
  ),
  INVALID_PATH: row(
    'input',
    'LOW',
    'no',
    'EINVAL',
    'none',
    'give an absolute path without dot segments',
  ),
  INVALID_CID: row('input', 'LOW', 'no', 'EINVAL', 'none', 'give a full CID'),
  ENCODING_INVALID: row('input', 'LOW', 'no', 'EILSEQ', 'none', 'use base64'),
  PAYLOAD_TOO_LARGE: row(
    'input',
    'LOW',
    'no',
    'EMSGSIZE',
    'none',
    'pass `path`, or write in parts',
  ),
  RESULT_TOO_LARGE: row('input', 'LOW', 'no', 'EOVERFLOW', 'none', 'use the suggested byte reader'),
  CURSOR_EXPIRED: row('input', 'LOW', 'no', 'ESTALE', 'none', 'start again without `cursor`'),
  TOOL_NOT_ALLOWED: row('access', 'LOW', 'no', 'EPERM', 'none', 'use an endpoint that allows it'),
  POLICY_DENIED: row(
    'access',
    'MEDIUM',
    'no',
    'EPERM',
    'none',
    'ask the operator to change the configuration',
  ),
  PERMISSION_DENIED: row('access', 'MEDIUM', 'no', 'EACCES', 'none', 'check owner and mode'),
  CONFIRMATION_REQUIRED: row(
    'access',
    'LOW',
    'no',
    'EPERM',
    'none',
    'repeat with `force` or `expected_count`',
  ),
  HANDLE_NOT_FOUND: row('access', 'LOW', 'no', 'EBADF', 'none', 'open a new handle'),
  NOT_FOUND: row('filesystem', 'LOW', 'no', 'ENOENT', 'none', 'list the parent'),
  ALREADY_EXISTS: row(
    'filesystem',
    'LOW',
    'no',
    'EEXIST',
    'none',
    'choose another name or `overwrite`',
  ),
  NOT_A_DIRECTORY: row('filesystem', 'LOW', 'no', 'ENOTDIR', 'none', 'use the parent'),
  IS_A_DIRECTORY: row('filesystem', 'LOW', 'no', 'EISDIR', 'none', 'add `recursive`, or list it'),
  NOT_EMPTY: row('filesystem', 'LOW', 'no', 'ENOTEMPTY', 'none', 'add `recursive`'),
  NAME_TOO_LONG: row('filesystem', 'LOW', 'no', 'ENAMETOOLONG', 'none', 'shorten the name'),
  TOO_MANY_SYMLINKS: row('filesystem', 'LOW', 'no', 'ELOOP', 'none', 'remove the loop'),
  CROSS_MOUNT: row(
    'filesystem',
    'LOW',
    'no',
    'EXDEV',
    'none',
    '`cross_mount:true`, or copy and remove',
  ),
  READ_ONLY: row('filesystem', 'LOW', 'no', 'EROFS', 'none', 'mount read-write'),
  NO_SPACE: row(
    'filesystem',
    'HIGH',
    'yes',
    'ENOSPC',
    'free-space',
    'free space or raise the cache limit',
  ),
  FILE_TOO_LARGE: row('filesystem', 'LOW', 'no', 'EFBIG', 'none', 'split the file'),
  RANGE_INVALID: row('filesystem', 'LOW', 'no', 'EINVAL', 'none', 'use `size` from the header'),
  LOCKED: row(
    'filesystem',
    'LOW',
    'yes',
    'EBUSY',
    'retry-backoff',
    'wait for the holder in `partial`',
  ),
  MOUNT_BUSY: row(
    'mount',
    'LOW',
    'yes',
    'EBUSY',
    'none',
    'close the files listed, or choose another point',
  ),
  MOUNT_FAILED: row('mount', 'HIGH', 'yes', 'ENODEV', 'none', 'see `service_status fuse`'),
  VERSION_CONFLICT: row(
    'concurrency',
    'LOW',
    'no',
    'ESTALE',
    'resolve-conflict',
    'read again, merge, retry',
  ),
  SYNC_CONFLICT: row(
    'concurrency',
    'MEDIUM',
    'no',
    'ESTALE',
    'resolve-conflict',
    'choose another `on_conflict`',
  ),
  TRANSACTION_CONFLICT: row(
    'concurrency',
    'LOW',
    'yes',
    'EBUSY',
    'resolve-conflict',
    'begin again from fresh reads',
  ),
  ROLLBACK_INCOMPLETE: row(
    'concurrency',
    'CRITICAL',
    'no',
    'EIO',
    'none',
    'finish the listed compensations by hand',
  ),
  PARTIAL_FAILURE: row(
    'concurrency',
    'HIGH',
    'no',
    'EIO',
    'none',
    'repeat for the items in `partial.failed`',
  ),
  IPFS_DAEMON_NOT_RUNNING: row(
    'ipfs',
    'HIGH',
    'yes',
    'EIO',
    'restart-service',
    'start Kubo, or pass `node:"embedded"`',
  ),
  IPFS_NODE_OFFLINE: row('ipfs', 'MEDIUM', 'no', 'ENETDOWN', 'none', 'configure an online Kubo'),
  IPFS_API_ERROR: row('ipfs', 'MEDIUM', 'no', 'EIO', 'none', 'read `cause`'),
  CONTENT_NOT_AVAILABLE: row(
    'ipfs',
    'MEDIUM',
    'yes',
    'EIO',
    'retry-backoff',
    'find a provider, or add the content',
  ),
  NOT_PINNED: row(
    'ipfs',
    'LOW',
    'no',
    'ENOENT',
    'none',
    'see `ipfs_pin_ls`; `partial.pin_type` if indirect',
  ),
  NAME_NOT_RESOLVED: row('ipfs', 'LOW', 'yes', 'ENOENT', 'none', 'publish the name first'),
  PUBSUB_DISABLED: row(
    'ipfs',
    'MEDIUM',
    'no',
    'EOPNOTSUPP',
    'none',
    'set `Pubsub.Enabled` in Kubo',
  ),
  ROUTING_UNAVAILABLE: row('ipfs', 'MEDIUM', 'no', 'ENETUNREACH', 'none', 'use a DHT routing type'),
  INTEGRITY_MISMATCH: row(
    'integrity',
    'CRITICAL',
    'no',
    'EIO',
    'refetch',
    'do not use the bytes; check the source',
  ),
  RESPONSE_INVALID: row('integrity', 'MEDIUM', 'yes', 'EIO', 'retry-backoff', 'check the service'),
  JOURNAL_CORRUPT: row('integrity', 'CRITICAL', 'no', 'EIO', 'repair-journal', 'run `kitfs fsck`'),
  JOURNAL_UNAVAILABLE: row(
    'integrity',
    'CRITICAL',
    'yes',
    'EIO',
    'repair-journal',
    'check the state volume',
  ),
  UNDO_BLOCKED: row(
    'integrity',
    'LOW',
    'no',
    'EBUSY',
    'resolve-conflict',
    '`cascade:true`, or undo the listed numbers',
  ),
  HISTORY_NOT_RETAINED: row(
    'integrity',
    'LOW',
    'no',
    'ENODATA',
    'none',
    'track the path to keep more',
  ),
  BACKEND_IN_USE: row('backend', 'MEDIUM', 'no', 'EBUSY', 'none', 'unmount first, or `force`'),
  BACKEND_UNAVAILABLE: row(
    'backend',
    'HIGH',
    'yes',
    'EIO',
    'reconnect',
    'wait for `backend.available`',
  ),
  CREDENTIALS_INVALID: row(
    'backend',
    'HIGH',
    'no',
    'EACCES',
    'refresh-credentials',
    'correct the secret behind the reference',
  ),
  CREDENTIALS_EXPIRED: row(
    'backend',
    'HIGH',
    'no',
    'EACCES',
    'refresh-credentials',
    'renew the token or delegation',
  ),
  SECRET_REFERENCE_INVALID: row(
    'backend',
    'MEDIUM',
    'no',
    'EINVAL',
    'none',
    'use env:, file: or cred:, and define it',
  ),
  QUOTA_EXCEEDED: row('backend', 'MEDIUM', 'no', 'EDQUOT', 'none', 'free or raise the quota'),
  SERVICE_NOT_CONFIGURED: row('service', 'LOW', 'no', 'ENODEV', 'none', 'configure the service'),
  SERVICE_START_FAILED: row(
    'service',
    'HIGH',
    'yes',
    'EIO',
    'restart-service',
    'read `partial.last_output`',
  ),
  PORT_CONFLICT: row(
    'service',
    'MEDIUM',
    'no',
    'EADDRINUSE',
    'none',
    'free the port or set `ports:"auto"`',
  ),
  DEPENDENCY_MISSING: row('service', 'MEDIUM', 'no', 'ENOPKG', 'none', 'install the named program'),
  VERSION_UNSUPPORTED: row(
    'service',
    'MEDIUM',
    'no',
    'EPROTONOSUPPORT',
    'none',
    'upgrade to `partial.min_version`',
  ),
  CONFIGURATION_INVALID: row(
    'service',
    'MEDIUM',
    'no',
    'EINVAL',
    'none',
    'fix the key in `issues`',
  ),
  STREAM_CLOSED: row('service', 'LOW', 'no', 'EPIPE', 'none', 'create a new stream'),
  TIMEOUT: row(
    'system',
    'MEDIUM',
    'yes',
    'EIO',
    'retry-backoff',
    'raise `timeout_ms`; see `partial`',
  ),
  RATE_LIMITED: row('system', 'LOW', 'yes', 'EIO', 'retry-backoff', 'wait `retry_after_ms`'),
  CANCELLED: row('system', 'LOW', 'yes', 'EINTR', 'none', 'call again if still wanted'),
  NOT_READY: row(
    'system',
    'MEDIUM',
    'yes',
    'EBUSY',
    'retry-backoff',
    'wait; see `partial.state` recovering or draining',
  ),
  NOT_SUPPORTED: row('system', 'LOW', 'no', 'EOPNOTSUPP', 'none', 'see `capabilities`'),
  INTERNAL: row('system', 'CRITICAL', 'no', 'EIO', 'none', 'report it with `request_id`'),
} as const satisfies Readonly<Record<string, CodeRow>>;

export type ErrorCode = keyof typeof CODES;
