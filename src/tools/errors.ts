/**
 * The one table from a failure to its code, and the envelope of an error.
 *
 * Invariants: no text of a foreign error is ever the message; host paths and secrets do not leave.
 */
import { codeOf, type Failure, OpError } from '../base/errors.ts';
import { REDACTED } from '../base/redaction.ts';
import { type Category, CODES, type CodeRow, type ErrorCode, type Recovery } from './codes.ts';
import type { Progress, Tool } from './tool.ts';

/** The only place where a failure becomes a code. */
export const CODE_OF: Readonly<Record<Failure, ErrorCode>> = {
  'not-found': 'NOT_FOUND',
  exists: 'ALREADY_EXISTS',
  'not-directory': 'NOT_A_DIRECTORY',
  'is-directory': 'IS_A_DIRECTORY',
  'not-empty': 'NOT_EMPTY',
  'name-too-long': 'NAME_TOO_LONG',
  'too-many-symlinks': 'TOO_MANY_SYMLINKS',
  'too-many-links': 'NOT_SUPPORTED', // The file system holds no more links to one inode.
  'cross-mount': 'CROSS_MOUNT',
  'read-only': 'READ_ONLY',
  'no-space': 'NO_SPACE',
  'quota-exceeded': 'QUOTA_EXCEEDED',
  'file-too-large': 'FILE_TOO_LARGE',
  denied: 'PERMISSION_DENIED',
  'not-permitted': 'PERMISSION_DENIED',
  invalid: 'INVALID_ARGUMENT',
  range: 'INVALID_ARGUMENT',
  'no-attribute': 'NOT_FOUND',
  'attribute-too-big': 'PAYLOAD_TOO_LARGE',
  'bad-handle': 'HANDLE_NOT_FOUND',
  'no-such-extent': 'RANGE_INVALID',
  busy: 'MOUNT_BUSY', // In the tree only a mount point is busy; a lock is `locked`.
  locked: 'LOCKED',
  unsupported: 'NOT_SUPPORTED',
  interrupted: 'CANCELLED',
  'invalid-argument': 'INVALID_ARGUMENT',
  'invalid-path': 'INVALID_PATH',
  'invalid-cid': 'INVALID_CID',
  encoding: 'ENCODING_INVALID',
  'payload-too-large': 'PAYLOAD_TOO_LARGE',
  'result-too-large': 'RESULT_TOO_LARGE',
  'cursor-expired': 'CURSOR_EXPIRED',
  'offset-past-end': 'RANGE_INVALID',
  'not-allowed': 'TOOL_NOT_ALLOWED',
  policy: 'POLICY_DENIED',
  'confirmation-required': 'CONFIRMATION_REQUIRED',
  'handle-unknown': 'HANDLE_NOT_FOUND',
  'mount-busy': 'MOUNT_BUSY',
  'mount-failed': 'MOUNT_FAILED',
  'version-conflict': 'VERSION_CONFLICT',
  'sync-conflict': 'SYNC_CONFLICT',
  partial: 'PARTIAL_FAILURE',
  'content-missing': 'CONTENT_NOT_AVAILABLE',
  'not-pinned': 'NOT_PINNED',
  integrity: 'INTEGRITY_MISMATCH',
  'journal-corrupt': 'JOURNAL_CORRUPT',
  'journal-unavailable': 'JOURNAL_UNAVAILABLE',
  'history-not-retained': 'HISTORY_NOT_RETAINED',
  'node-offline': 'IPFS_NODE_OFFLINE',
  'not-configured': 'SERVICE_NOT_CONFIGURED',
  'not-running': 'IPFS_DAEMON_NOT_RUNNING',
  unavailable: 'BACKEND_UNAVAILABLE',
  'name-not-resolved': 'NAME_NOT_RESOLVED',
  'pubsub-disabled': 'PUBSUB_DISABLED',
  'routing-unavailable': 'ROUTING_UNAVAILABLE',
  'api-error': 'IPFS_API_ERROR',
  'response-invalid': 'RESPONSE_INVALID',
  'credentials-invalid': 'CREDENTIALS_INVALID',
  'credentials-expired': 'CREDENTIALS_EXPIRED',
  'secret-unusable': 'SECRET_REFERENCE_INVALID',
  'backend-in-use': 'BACKEND_IN_USE',
  'dependency-missing': 'DEPENDENCY_MISSING',
  'version-unsupported': 'VERSION_UNSUPPORTED',
  configuration: 'CONFIGURATION_INVALID',
  timeout: 'TIMEOUT',
  'rate-limited': 'RATE_LIMITED',
  cancelled: 'CANCELLED',
  'not-ready': 'NOT_READY',
  io: 'BACKEND_UNAVAILABLE', // The store below (a disk, a host directory) gave an error.
  internal: 'INTERNAL',
};

/** Services that are no IPFS node. */
const BACKEND_SERVICES: ReadonlySet<unknown> = new Set(['cluster', 'lassie', 'gateway']);

/** Who does not answer is told apart: a node has a code of its own. */
export function codeFor({ failure, details }: OpError): ErrorCode {
  const isBackend = failure === 'not-running' && BACKEND_SERVICES.has(details['service']);
  return isBackend ? 'BACKEND_UNAVAILABLE' : CODE_OF[failure];
}

export interface ErrorEnvelope {
  readonly status: 'error';
  /** What happened; what to do. */
  readonly error: string;
  readonly error_code: ErrorCode;
  readonly context: Readonly<Record<string, unknown>> & {
    readonly request_id: string;
    readonly category: Category;
    readonly severity: CodeRow['severity'];
    readonly retryable: boolean;
    readonly errno: string;
    readonly recovery: Recovery;
  };
}

/** The `details` of an operating error that the caller may see, as the contract names them. */
const TOLD = [
  'retry_after_ms',
  'suggestions',
  'kind',
  'issues',
  'path',
  'cid',
  'backend',
  'mount_point',
  'service',
  'job_id',
  'seq',
  'partial',
] as const;

/** Foreign text is quoted up to this many bytes. */
const CAUSE_BYTES_MAX = 512;

/** An operating error → the envelope that tells it. */
export function errorEnvelope(error: OpError, requestId: string): ErrorEnvelope {
  const code = codeFor(error);
  const { remedy, ...told } = CODES[code];
  const facts = Object.fromEntries(
    TOLD.filter((key) => error.details[key] !== undefined).map((key) => [key, error.details[key]]),
  );
  const isNamed = code === 'NOT_FOUND' || code === 'ALREADY_EXISTS';
  const cause = error.failure === 'internal' ? undefined : quotedCause(error.cause);
  const what = `${error.op}: ${error.failure.replaceAll('-', ' ')}`;
  return {
    status: 'error',
    error: `${what}; ${error.hint ?? remedy}`,
    error_code: code,
    context: {
      request_id: requestId,
      ...told,
      ...(isNamed ? { kind: 'path' } : {}),
      ...facts,
      ...(cause === undefined ? {} : { cause }),
    },
  };
}

/**
 * What a foreign error said, fit to be shown: bounded, without control characters, without what
 * looks like a secret. An error of the host is told by its code alone: its text names host paths.
 */
function quotedCause(cause: unknown): string | undefined {
  if (cause === undefined || cause instanceof OpError) return undefined;
  const code = codeOf(cause);
  if (code !== undefined && cause instanceof Error && 'syscall' in cause) {
    return `${code} (${String(cause.syscall)})`;
  }
  const text = cause instanceof Error ? cause.message : String(cause);
  return bounded(escaped(withoutSecrets(text)), CAUSE_BYTES_MAX);
}

/** A word that announces a secret, its separator, and the secret. */
const SECRET = new RegExp(
  '\\b(authorization|bearer|password|passwd|secret|token|signature|credential|api[-_]?key)' +
    '(["\']?\\s*[:= ]\\s*)(?:bearer\\s+|basic\\s+)?["\']?[^\\s"\',;&]+["\']?',
  'gi',
);

const withoutSecrets = (text: string): string =>
  text
    .replace(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, `$1${REDACTED}@`)
    .replace(SECRET, `$1$2${REDACTED}`);

const escaped = (text: string): string =>
  text
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (char) => {
      const hex = (char.codePointAt(0) ?? 0).toString(16).padStart(4, '0');
      return `\\u${hex}`;
    });

/** Cuts between characters, so that the rest is still well-formed. */
function bounded(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= bytesMax) return text;
  let end = bytesMax - 3; // Room for the ellipsis.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return `${bytes.toString('utf8', 0, end)}…`;
}

/** The error of work that was told to end: the reason it was told, with what it had done. */
export function abortedBy(
  error: unknown,
  signal: AbortSignal,
  tool: Tool,
  last: Progress | undefined,
): OpError {
  const told = error instanceof OpError ? error : undefined;
  const isOther =
    told !== undefined && !['cancelled', 'timeout', 'interrupted'].includes(told.failure);
  if (isOther) return told; // It failed of itself before it heard.
  const { reason } = signal;
  const failure = reason instanceof OpError ? reason.failure : 'cancelled';
  const partial = told?.details['partial'] ?? (last === undefined ? undefined : { progress: last });
  return new OpError(failure, tool.name, { details: { ...told?.details, partial } });
}
