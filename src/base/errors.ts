/**
 * The one class of operating errors. A failure is a member of a closed set; each boundary (the
 * kernel, the tools, the command line) translates it in one table of its own.
 */

import { constants } from 'node:os';

export const FAILURES = [
  // The tree, in the words of POSIX.
  'not-found', // No such name, inode, link, peer or object.
  'exists',
  'not-directory',
  'is-directory',
  'not-empty',
  'name-too-long',
  'too-many-symlinks',
  'too-many-links',
  'cross-mount',
  'read-only',
  'no-space',
  'quota-exceeded',
  'file-too-large',
  'denied', // The permission bits say no (EACCES).
  'not-permitted', // Only the owner or uid 0 may (EPERM).
  'invalid',
  'range', // The reader's buffer is too small (ERANGE).
  'no-attribute',
  'attribute-too-big',
  'bad-handle',
  'no-such-extent', // SEEK_DATA or SEEK_HOLE past the end (ENXIO).
  'busy',
  'locked',
  'unsupported', // Never ENOSYS: the kernel takes that as "never ask again".
  'interrupted',
  // What a caller of tools can do wrong.
  'invalid-argument',
  'invalid-path',
  'invalid-cid',
  'encoding',
  'payload-too-large',
  'result-too-large',
  'cursor-expired',
  'offset-past-end',
  'not-allowed',
  'policy',
  'confirmation-required',
  'handle-unknown',
  // State that moved, or cannot be had.
  'mount-busy',
  'mount-failed',
  'version-conflict',
  'sync-conflict',
  'partial',
  'content-missing',
  'not-pinned',
  'integrity', // Bytes that do not hash to their CID.
  'journal-corrupt',
  'journal-unavailable',
  'history-not-retained',
  'node-offline',
  'not-configured',
  'not-running',
  'unavailable', // A store does not answer, or not now.
  'name-not-resolved',
  'pubsub-disabled',
  'routing-unavailable', // The node asks no DHT.
  'api-error', // A node or service refused, with words that no table knows.
  'response-invalid', // What it sent is cut short, or no answer at all.
  'credentials-invalid',
  'credentials-expired',
  'secret-unusable', // What stands for a secret leads to none.
  'backend-in-use',
  'dependency-missing',
  'version-unsupported',
  'configuration',
  'timeout',
  'rate-limited',
  'cancelled',
  'not-ready',
  'io',
  'internal', // An untyped error reached a boundary.
] as const;

export type Failure = (typeof FAILURES)[number];

export interface OpErrorOptions {
  readonly cause?: unknown;
  /** What to do about it, as an imperative: `choose another name`. */
  readonly hint?: string;
  /** Facts for the reader of the error: a path, a count, the current version. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** An operating error: expected, and handled. A broken invariant is `assert`, not this. */
export class OpError extends Error {
  override readonly name = 'OpError';
  readonly failure: Failure;
  /** What was being done, as a verb and its object: `unlink /ipfs/a`. */
  readonly op: string;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(failure: Failure, op: string, options: OpErrorOptions = {}) {
    const hint = options.hint === undefined ? '' : `; ${options.hint}`;
    super(
      `${op}: ${failure}${hint}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.failure = failure;
    this.op = op;
    this.hint = options.hint;
    this.details = options.details ?? {};
  }
}

/** The `code` of an error made by Node or the native part (`ENOENT`), if it has one. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  // Node has no name for this one.
  if ('errno' in error && error.errno === -constants.errno.EDQUOT) return 'EDQUOT';
  return typeof error.code === 'string' ? error.code : undefined;
}

const BY_CODE: Readonly<Record<string, Failure>> = {
  ENOENT: 'not-found',
  EEXIST: 'exists',
  ENOTDIR: 'not-directory',
  EISDIR: 'is-directory',
  ENOTEMPTY: 'not-empty',
  ENAMETOOLONG: 'name-too-long',
  ELOOP: 'too-many-symlinks',
  EMLINK: 'too-many-links',
  EXDEV: 'cross-mount',
  EROFS: 'read-only',
  ENOSPC: 'no-space',
  EDQUOT: 'quota-exceeded',
  EFBIG: 'file-too-large',
  EACCES: 'denied',
  EPERM: 'not-permitted',
  EINVAL: 'invalid',
  EBUSY: 'busy',
  EOPNOTSUPP: 'unsupported',
  ENXIO: 'no-such-extent',
  SQLITE_FULL: 'no-space',
  SQLITE_CORRUPT: 'journal-corrupt',
  SQLITE_NOTADB: 'journal-corrupt',
  ABORT_ERR: 'cancelled',
};

/** Any thrown value → an operating error: itself, a translated system error, or `internal`. */
export function asOpError(error: unknown, op: string): OpError {
  if (error instanceof OpError) return error;
  const code = codeOf(error) ?? '';
  const known = BY_CODE[code];
  if (known !== undefined) return new OpError(known, op, { cause: error });
  // It says more of some of them: SQLITE_CORRUPT_INDEX. Rows of ours break no constraint of ours.
  if (/^SQLITE_(CORRUPT|CONSTRAINT)/.test(code))
    return new OpError('journal-corrupt', op, { cause: error });
  if (code.startsWith('SQLITE_')) return new OpError('journal-unavailable', op, { cause: error });
  if (/^E[A-Z]+$/.test(code)) return new OpError('io', op, { cause: error });
  return new OpError('internal', op, { cause: error });
}
