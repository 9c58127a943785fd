/**
 * What refusals of a Storacha service mean: the one table from its names and words to a failure, and
 * from the HTTP status. Each row has a test.
 */
import { type Failure, OpError } from '../../base/errors.ts';

interface Fault {
  /** Of the error; any when absent. */
  readonly name?: string;
  readonly text?: RegExp;
  readonly failure: Failure;
  readonly hint?: string;
}

/** In order: the first that matches counts. */
export const FAULTS: readonly Fault[] = [
  {
    // It asked others for something, and was refused itself.
    name: 'Unauthorized',
    text: /^Claim \{"can":"(?!space\/|upload\/|ucan\/)/,
    failure: 'unavailable',
  },
  {
    name: 'Unauthorized',
    text: /has expired/,
    failure: 'credentials-expired',
    hint: 'have the owner of the space give another proof, and look at the clock of this host',
  },
  {
    name: 'Unauthorized',
    text: /not valid before/,
    failure: 'credentials-invalid',
    hint: 'the proof is not valid yet, or the clock of this host is behind',
  },
  {
    name: 'Unauthorized',
    text: /has been revoked/,
    failure: 'credentials-invalid',
    hint: 'have the owner of the space give another proof',
  },
  { name: 'Unauthorized', failure: 'credentials-invalid' },
  {
    name: 'InvalidAudience',
    failure: 'configuration',
    hint: 'service_did is that of another service',
  },
  {
    name: 'InsufficientStorage',
    text: /no storage provider with enough space/,
    failure: 'quota-exceeded',
  },
  {
    name: 'InsufficientStorage',
    text: /no storage provider/,
    failure: 'configuration',
    hint: 'the space was given no storage: provision it with an account',
  },
  { name: 'InsufficientStorage', failure: 'quota-exceeded' },
  { name: 'BlobSizeOutsideOfSupportedRange', failure: 'file-too-large' },
  { name: 'HandlerNotFound', failure: 'version-unsupported' },
  // The service broke while it was at it, or has nobody to store with now.
  { name: 'HandlerExecutionError', failure: 'unavailable' },
  { name: 'CandidateUnavailable', failure: 'unavailable' },
  { name: 'AllocatedMemoryHadNotBeenWrittenTo', failure: 'unavailable' },
];

/** What the HTTP status alone says. */
export const STATUS: Readonly<Record<number, Failure>> = {
  401: 'credentials-invalid',
  403: 'denied',
  404: 'configuration', // Something answers there that is no such service.
  405: 'configuration',
  408: 'unavailable',
  413: 'file-too-large',
  415: 'version-unsupported',
  406: 'version-unsupported',
  429: 'rate-limited',
};

const WORDS_CHARS_MAX = 512;

/** What a receipt says went wrong. Its words are the cause, and never the message. */
export function faultOf(error: unknown, op: string): OpError {
  const { name, message } = (error ?? {}) as {
    readonly name?: unknown;
    readonly message?: unknown;
  };
  const words = typeof message === 'string' ? message : '';
  const known = FAULTS.find(
    (fault) => (fault.name ?? name) === name && (fault.text?.test(words) ?? true),
  );
  const { failure, hint } = known ?? { failure: 'api-error' as const, hint: undefined };
  return new OpError(failure, op, {
    cause: new Error(`${String(name)}: ${words.slice(0, WORDS_CHARS_MAX)}`),
    ...(hint === undefined ? {} : { hint }),
    details: { code: String(name) },
  });
}

/** A status that is no success. */
export function refusalOf(status: number, body: string, op: string): OpError {
  const otherwise = status >= 500 ? 'unavailable' : 'api-error';
  // Whoever sends us elsewhere is not asked with what we sign for this one.
  const failure = STATUS[status] ?? (status < 400 ? 'configuration' : otherwise);
  const [first = ''] = body.split('\n', 1);
  return new OpError(failure, op, {
    cause: new Error(`${status} ${first.slice(0, WORDS_CHARS_MAX).trim()}`),
    ...(failure === 'configuration' ? { hint: 'see that service_url is that of a service' } : {}),
    details: { status },
  });
}
