/**
 * What refusals of S3 mean: the one table from its codes to a failure, then from the HTTP status, then
 * from how the connection ended. Each row has a test.
 */
import type { Clock } from '../../base/clock.ts';
import { codeOf, type Failure, OpError } from '../../base/errors.ts';

/** Codes of AWS, and of servers that have their own. */
export const CODES: Readonly<Record<string, Failure>> = {
  NoSuchKey: 'not-found',
  NoSuchBucket: 'configuration',
  InvalidBucketName: 'configuration',
  PermanentRedirect: 'configuration',
  AuthorizationHeaderMalformed: 'configuration', // Another region.
  IllegalLocationConstraintException: 'configuration',
  PreconditionFailed: 'version-conflict',
  // Two conditional requests met, and neither was looked at: asked again, one will be.
  ConditionalRequestConflict: 'unavailable',
  OperationAborted: 'unavailable',
  AccessDenied: 'denied',
  AllAccessDisabled: 'denied',
  InvalidAccessKeyId: 'credentials-invalid',
  SignatureDoesNotMatch: 'credentials-invalid',
  InvalidSecurity: 'credentials-invalid',
  XAdminUserNotFound: 'credentials-invalid', // versitygw, with the status 404.
  XAdminNoSuchUser: 'credentials-invalid',
  RequestTimeTooSkewed: 'credentials-invalid',
  ExpiredToken: 'credentials-expired',
  InvalidToken: 'credentials-expired',
  TokenRefreshRequired: 'credentials-expired',
  SlowDown: 'rate-limited',
  TooManyRequests: 'rate-limited',
  Throttling: 'rate-limited',
  RequestLimitExceeded: 'rate-limited',
  BandwidthLimitExceeded: 'rate-limited',
  QuotaExceeded: 'quota-exceeded',
  XMinioAdminBucketQuotaExceeded: 'quota-exceeded',
  XMinioStorageFull: 'no-space',
  EntityTooLarge: 'file-too-large',
  MaxMessageLengthExceeded: 'file-too-large',
  MetadataTooLarge: 'payload-too-large',
  KeyTooLongError: 'name-too-long',
  InvalidRange: 'offset-past-end',
  BadDigest: 'integrity',
  InvalidDigest: 'integrity',
  XAmzContentSHA256Mismatch: 'integrity',
  XAmzContentChecksumMismatch: 'integrity',
  ObjectParentIsFile: 'not-directory', // versitygw, which keeps keys as a tree.
  ExistingObjectIsDirectory: 'is-directory',
  NotImplemented: 'unsupported',
  MethodNotAllowed: 'unsupported',
  RequestTimeout: 'unavailable',
  InternalError: 'unavailable',
  ServiceUnavailable: 'unavailable',
};

/** Where the code is unknown, or there is none: a HEAD has no body to say it in. */
export const STATUS: Readonly<Record<number, Failure>> = {
  301: 'configuration',
  307: 'configuration',
  401: 'credentials-invalid',
  403: 'denied',
  404: 'not-found',
  405: 'unsupported',
  408: 'unavailable',
  412: 'version-conflict',
  413: 'file-too-large',
  416: 'offset-past-end',
  429: 'rate-limited',
  501: 'unsupported',
  507: 'no-space',
};

const HINTS: Readonly<Record<string, string>> = {
  NoSuchBucket: 'make the bucket, or name another one',
  RequestTimeTooSkewed: 'set the clock of this host: it differs from that of the store',
  AuthorizationHeaderMalformed: 'set the region that the store is in',
  PermanentRedirect: 'set the endpoint and the region that the bucket is in',
};

/** The request never left. */
const UNSENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

interface SdkError {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
}

/**
 * Anything the SDK throws → the operating error. Details {code, status}; `sent` is whether the store
 * may have done what it was asked. The words are the cause and never the message, and nothing else of
 * the SDK's error is kept: it holds the whole request.
 */
export function faultOf(error: unknown, op: string, clock: Clock): OpError {
  if (error instanceof OpError) return error;
  const { name, message, $metadata, $response } = (error ?? {}) as SdkError;
  const status = $metadata?.httpStatusCode;
  const code = typeof name === 'string' ? name : '';
  const cause = new Error(`${code}: ${typeof message === 'string' ? message : String(error)}`);
  if (status === undefined) return unanswered(error, cause, op);
  const known = CODES[code] ?? STATUS[status] ?? (status >= 500 ? 'unavailable' : undefined);
  // A success that cannot be read is no refusal.
  const failure = known ?? (status < 300 ? 'response-invalid' : 'api-error');
  const retryAfterMs = retryAfterOf($response?.headers, clock);
  const hint = HINTS[code];
  return new OpError(failure, op, {
    cause,
    ...(hint === undefined ? {} : { hint }),
    details: {
      code,
      status,
      sent: status >= 500 || status < 300,
      ...(failure === 'not-found' ? { kind: 'object' } : {}),
      ...(retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs }),
    },
  });
}

function unanswered(error: unknown, cause: Error, op: string): OpError {
  const code = codeOf(error) ?? '';
  // Without an answer and without a word of the system: what came was none.
  const failure = code === '' && !isBroken(cause) ? 'response-invalid' : 'unavailable';
  return new OpError(failure, op, { cause, details: { code, sent: !UNSENT.has(code) } });
}

const isBroken = ({ message }: Error): boolean =>
  /socket hang up|aborted|timed? ?out|ECONN|EPIPE|network/i.test(message);

/** RFC 9110: seconds, or a date. Milliseconds from now, at least 0. */
function retryAfterOf(
  headers: Readonly<Record<string, string>> = {},
  clock: Clock,
): number | undefined {
  const text = headers['retry-after'];
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - clock.now().s * 1000);
}
