/**
 * What refusals of a cluster mean: the one table from its words to a failure. Each row has a test.
 */
import { type Failure, OpError } from '../../base/errors.ts';

interface Fault {
  readonly text: RegExp;
  readonly failure: Failure;
  readonly hint?: string;
}

/** In order: the first that matches counts. */
const FAULTS: readonly Fault[] = [
  { text: /not part of the pinset/, failure: 'not-pinned' },
  { text: /error decoding Cid/, failure: 'invalid-cid' },
  {
    text: /not enough peers to allocate/,
    failure: 'io',
    hint: 'start more peers of the cluster, or ask for fewer copies',
  },
  {
    text: /replication.factor|ExpireAt set before|invalid filter value|error parsing path/,
    failure: 'invalid-argument',
  },
  { text: /cannot repin/, failure: 'exists', hint: 'unpin it first' },
  { text: /no link named/, failure: 'not-found' },
  { text: /context deadline exceeded/, failure: 'timeout' },
  {
    text: /connection refused|dial tcp|IPFS error/,
    failure: 'io',
    hint: 'see that the IPFS node of the peer runs',
  },
];

/** What the HTTP status alone says. */
const STATUS: Readonly<Record<number, Failure>> = {
  401: 'credentials-invalid',
  403: 'credentials-invalid',
  405: 'version-unsupported',
  414: 'payload-too-large',
  429: 'rate-limited',
  431: 'payload-too-large', // A request of some 4 KiB and more, as clusters are configured.
};

/** A refusal and its body → the operating error. Its words are the cause, and never the message. */
export function refusalOf(status: number, body: string, op: string): OpError {
  const words = messageIn(body);
  const failure = STATUS[status];
  if (failure !== undefined) return new OpError(failure, op, { cause: new Error(words) });
  const otherwise = status === 404 ? 'version-unsupported' : 'api-error';
  return faultOf(words, op, otherwise);
}

/** A failure that came after the answer had begun. */
export const lateFault = (words: string, op: string): OpError =>
  faultOf(words, op, 'response-invalid');

function faultOf(words: string, op: string, otherwise: Failure): OpError {
  const cause = new Error(words);
  const known = FAULTS.find(({ text }) => text.test(words));
  if (known === undefined) return new OpError(otherwise, op, { cause });
  const { failure, hint } = known;
  return new OpError(failure, op, { cause, ...(hint === undefined ? {} : { hint }) });
}

/** `{"code":500,"message":"…"}`; behind it there may be the answer to what it did all the same. */
function messageIn(body: string): string {
  const [first = ''] = body.split('\n', 1);
  try {
    const { message } = JSON.parse(first) as { readonly message?: unknown };
    return typeof message === 'string' ? message : body;
  } catch {
    return body;
  }
}
