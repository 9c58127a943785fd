/**
 * What Kubo's refusals mean: the one table from its words to a failure. It has no codes of its own,
 * so its words are all there is; each row has a test.
 */
import { type Failure, OpError } from '../../base/errors.ts';

export interface Fault {
  readonly text: RegExp;
  readonly failure: Failure;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** In order: the first that matches counts. */
export const FAULTS: readonly Fault[] = [
  {
    text: /must be run in online mode|can't (publish|put) while offline|unable to run offline/,
    failure: 'node-offline',
  },
  { text: /pubsub feature not enabled/, failure: 'pubsub-disabled' },
  { text: /cannot query information on remote peers/, failure: 'node-offline' },
  {
    text: /routing service is not a DHT|failed to find any peer in table/,
    failure: 'routing-unavailable',
  },
  {
    text: /pinned indirectly|indirectly pinned|not pinned|is pinned recursively|not recursively pinned/,
    failure: 'not-pinned',
  },
  { text: /no key by the given name was found/, failure: 'not-found', details: { kind: 'key' } },
  { text: /^routing: not found$|failed to dial/, failure: 'not-found', details: { kind: 'peer' } },
  { text: /no link named|file does not exist/, failure: 'not-found' },
  {
    text: /already has entry by that name|file already exists|: Already exists|key with name .* already exists/,
    failure: 'exists',
  },
  { text: /could not resolve name|DNSLink lookup for .* failed/, failure: 'name-not-resolved' },
  {
    text: /block was not found locally|could not find|failed to fetch all nodes|could not load link/,
    failure: 'content-missing',
  },
  { text: /mismatch in content integrity/, failure: 'integrity' },
  { text: /no space left on device/, failure: 'no-space' },
  { text: /produced block is over/, failure: 'payload-too-large' },
  { text: /[nN]ot a directory|can only update directories/, failure: 'not-directory' },
  { text: /was not a file|path is a directory|is a directory$/, failure: 'is-directory' },
  { text: /not unixfs node|is not UnixFS/i, failure: 'unsupported' },
  { text: /offset was past end of file/, failure: 'offset-past-end' },
  {
    text: /cannot delete root|cannot change CID format of the MFS root|invalid path/,
    failure: 'invalid-argument',
  },
  {
    text: /invalid peer ?id|failed to parse peer ID|finding your own node/i,
    failure: 'invalid-argument',
  },
  { text: /removed, use 'ipfs/, failure: 'version-unsupported' },
  { text: /invalid cid/, failure: 'invalid-cid' },
  { text: /context deadline exceeded|request timed out/, failure: 'timeout' },
];

/** More changes than may wait for a flush: `files/flush` helps. */
export const UNFLUSHED = /unflushed MFS operations/;

/** What the HTTP status alone says. */
const STATUS: Readonly<Record<number, Failure>> = {
  401: 'credentials-invalid',
  403: 'credentials-invalid',
  404: 'version-unsupported', // A command that this Kubo does not have (any more).
  429: 'rate-limited',
};

/** A refusal and its body → the operating error. Its words are the cause, and never the message. */
export function refusalOf(status: number, body: string, op: string): OpError {
  return faultOf(messageIn(body), op, STATUS[status] ?? 'api-error', STATUS[status] !== undefined);
}

/** A failure that came after the answer had begun. */
export const lateFault = (words: string, op: string): OpError =>
  faultOf(words, op, 'response-invalid', false);

/** `Message` of Kubo's JSON, else the text: faults that Kubo's parser finds are plain text. */
function messageIn(body: string): string {
  try {
    const { Message: message } = JSON.parse(body) as { readonly Message?: unknown };
    return typeof message === 'string' ? message : body;
  } catch {
    return body;
  }
}

function faultOf(words: string, op: string, otherwise: Failure, isCertain: boolean): OpError {
  const cause = new Error(words);
  const known = isCertain ? undefined : FAULTS.find(({ text }) => text.test(words));
  if (known === undefined) return new OpError(otherwise, op, { cause });
  return new OpError(known.failure, op, { cause, details: known.details ?? {} });
}
