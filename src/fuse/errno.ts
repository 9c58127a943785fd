/**
 * The only place where a failure becomes a number the kernel understands. The table of `tools` names
 * the same errnos as text.
 *
 * Never EAGAIN: a reader of a plain file would spin on it. Never ENOSYS: the kernel takes it as
 * "never ask again", so it is an answer to an opcode, not to a failure.
 */
import { constants } from 'node:os';
import { type Failure, OpError } from '../base/errors.ts';

const { errno } = constants;

/** asm-generic/errno.h; `node:os` does not list it. */
const ENOPKG = 65;

export const { ECANCELED, ECONNABORTED, EIO, ENODATA, ENODEV, ENOENT, ENOTCONN } = errno;
/** Answers an opcode that is not served; the kernel then does what it does without a server. */
export const { ENOSYS } = errno;

export const ERRNO: Readonly<Record<Failure, number>> = {
  'not-found': errno.ENOENT,
  exists: errno.EEXIST,
  'not-directory': errno.ENOTDIR,
  'is-directory': errno.EISDIR,
  'not-empty': errno.ENOTEMPTY,
  'name-too-long': errno.ENAMETOOLONG,
  'too-many-symlinks': errno.ELOOP,
  'too-many-links': errno.EMLINK,
  'cross-mount': errno.EXDEV,
  'read-only': errno.EROFS,
  'no-space': errno.ENOSPC,
  'quota-exceeded': errno.EDQUOT,
  'file-too-large': errno.EFBIG,
  denied: errno.EACCES,
  'not-permitted': errno.EPERM,
  invalid: errno.EINVAL,
  range: errno.ERANGE,
  'no-attribute': errno.ENODATA,
  'attribute-too-big': errno.E2BIG,
  'bad-handle': errno.EBADF,
  'no-such-extent': errno.ENXIO,
  busy: errno.EBUSY,
  locked: errno.EBUSY,
  unsupported: errno.EOPNOTSUPP,
  interrupted: errno.EINTR,
  'invalid-argument': errno.EINVAL,
  'invalid-path': errno.EINVAL,
  'invalid-cid': errno.EINVAL,
  encoding: errno.EILSEQ,
  'payload-too-large': errno.EMSGSIZE,
  'result-too-large': errno.EOVERFLOW,
  'cursor-expired': errno.ESTALE,
  'offset-past-end': errno.EINVAL,
  'not-allowed': errno.EPERM,
  policy: errno.EPERM,
  'confirmation-required': errno.EPERM,
  'handle-unknown': errno.EBADF,
  'mount-busy': errno.EBUSY,
  'mount-failed': errno.ENODEV,
  'version-conflict': errno.ESTALE,
  'sync-conflict': errno.ESTALE,
  partial: errno.EIO,
  'content-missing': errno.EIO,
  'not-pinned': errno.ENOENT,
  integrity: errno.EIO,
  'journal-corrupt': errno.EIO,
  'journal-unavailable': errno.EIO,
  'history-not-retained': errno.ENODATA,
  'node-offline': errno.ENETDOWN,
  'not-configured': errno.ENODEV,
  'not-running': errno.EIO,
  unavailable: errno.EIO,
  'name-not-resolved': errno.ENOENT,
  'pubsub-disabled': errno.EOPNOTSUPP,
  'routing-unavailable': errno.ENETUNREACH,
  'api-error': errno.EIO,
  'response-invalid': errno.EIO,
  'credentials-invalid': errno.EACCES,
  'credentials-expired': errno.EACCES,
  'secret-unusable': errno.EINVAL,
  'backend-in-use': errno.EBUSY,
  'dependency-missing': ENOPKG,
  'version-unsupported': errno.EPROTONOSUPPORT,
  configuration: errno.EINVAL,
  timeout: errno.EIO,
  'rate-limited': errno.EIO,
  cancelled: errno.EINTR,
  'not-ready': errno.EBUSY,
  io: errno.EIO,
  internal: errno.EIO,
};

/** What the kernel is told of anything thrown; what is not an operating error is EIO. */
export function errnoOf(error: unknown): number {
  return error instanceof OpError ? ERRNO[error.failure] : errno.EIO;
}
