/**
 * What is asked of a pin, checked and written as a query. A cluster refuses a parameter that it cannot
 * read and pins all the same, with what is left: nothing that is not right may ever go out.
 */
import { base58btc } from 'multiformats/bases/base58';
import type { CID } from 'multiformats/cid';
import { decode as decodeDigest } from 'multiformats/hashes/digest';
import { type Clock, type Instant, rfc3339 } from '../../base/clock.ts';
import { OpError } from '../../base/errors.ts';

/** Everywhere. */
const EVERYWHERE = -1;
const REPLICAS_MAX = 1000;
const NAME_CHARS_MAX = 255;
const ALLOCATIONS_MAX = 64;
const METADATA_BYTES_MAX = 16 * 1024;
/** From here on RFC 3339 has no such year. */
const YEAR_10000_S = 253_402_300_800;

export interface PinRequest {
  readonly name?: string | undefined;
  /** `recursive` when absent. */
  readonly mode?: 'recursive' | 'direct' | undefined;
  /** -1: everywhere; 0 and absent: as the cluster is configured. */
  readonly replicationMin?: number | undefined;
  readonly replicationMax?: number | undefined;
  /** Peers that shall be among those that hold it. */
  readonly allocations?: readonly string[] | undefined;
  readonly expiresAt?: Instant | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /**
   * A pin that this one follows: what both hold is not fetched again. All but name and end are then
   * those of that pin, which stays until it is unpinned.
   */
  readonly replaces?: CID | undefined;
}

/** @throws OpError invalid-argument with details {issues}. */
export function queryOf(request: PinRequest, op: string, clock: Clock): [string, string][] {
  const issues = issuesOf(request, clock);
  if (issues.length > 0) throw new OpError('invalid-argument', op, { details: { issues } });
  const {
    name,
    mode = 'recursive',
    allocations = [],
    expiresAt,
    metadata = {},
    replaces,
  } = request;
  const { replicationMin = 0, replicationMax = 0 } = request;
  return [
    ...(name === undefined ? [] : [['name', name] as [string, string]]),
    ['mode', mode],
    ['replication-min', String(replicationMin)],
    ['replication-max', String(replicationMax)],
    ...(allocations.length === 0
      ? []
      : [['user-allocations', allocations.join(',')] as [string, string]]),
    ...(expiresAt === undefined ? [] : [['expire-at', rfc3339(expiresAt)] as [string, string]]),
    ...Object.entries(metadata).map(([key, value]) => [`meta-${key}`, value] as [string, string]),
    ...(replaces === undefined ? [] : [['pin-update', String(replaces)] as [string, string]]),
  ];
}

interface Issue {
  readonly argument: string;
  readonly reason: string;
}

function issuesOf(request: PinRequest, clock: Clock): Issue[] {
  const { name = 'x', mode = 'recursive', allocations = [], expiresAt, metadata = {} } = request;
  const checks: readonly (readonly [argument: string, isWrong: boolean, reason: string])[] = [
    [
      'name',
      !isText(name) || name.length === 0 || name.length > NAME_CHARS_MAX,
      `must be 1 to ${NAME_CHARS_MAX} characters`,
    ],
    ['mode', mode !== 'recursive' && mode !== 'direct', 'must be recursive or direct'],
    ...replicationChecks(request),
    [
      'allocations',
      allocations.length > ALLOCATIONS_MAX || !allocations.every(isPeerId),
      `must be up to ${ALLOCATIONS_MAX} peer ids`,
    ],
    [
      'expires_at',
      expiresAt !== undefined && !(expiresAt.s > clock.now().s && expiresAt.s < YEAR_10000_S),
      'must be later than now',
    ],
    ['metadata', !isMetadata(metadata), `must be texts, ${METADATA_BYTES_MAX} bytes in all`],
    ...(request.replaces === undefined ? [] : inheritedChecks(request)),
  ];
  return checks
    .filter(([, isWrong]) => isWrong)
    .map(([argument, , reason]) => ({ argument, reason }));
}

/** What a cluster leaves out of a pin that follows another one, without a word. */
function inheritedChecks(request: PinRequest) {
  const { mode, replicationMin = 0, replicationMax = 0, allocations = [], metadata = {} } = request;
  const given = [
    ['mode', mode === 'direct'],
    ['replication_min', replicationMin !== 0],
    ['replication_max', replicationMax !== 0],
    ['allocations', allocations.length > 0],
    ['metadata', Object.keys(metadata).length > 0],
  ] as const;
  const reason = 'is that of the pin it replaces';
  return given.map(([argument, isGiven]) => [argument, isGiven, reason] as const);
}

function replicationChecks({ replicationMin: min = 0, replicationMax: max = 0 }: PinRequest) {
  const isEverywhere = min === EVERYWHERE || max === EVERYWHERE;
  return [
    ['replication_min', !isReplication(min), `must be -1 to ${REPLICAS_MAX}`],
    ['replication_max', !isReplication(max), `must be -1 to ${REPLICAS_MAX}`],
    ['replication_max', max > 0 && min > max, 'must not be less than replication_min'],
    ['replication_max', isEverywhere && min !== max, 'must be -1 when the other is'],
  ] as const;
}

const isReplication = (count: number): boolean =>
  Number.isInteger(count) && count >= EVERYWHERE && count <= REPLICAS_MAX;

/** Half of a surrogate pair has no UTF-8; and nobody means a NUL. */
export const isText = (text: string): boolean => !/[\p{Surrogate}\0]/u.test(text);

function isMetadata(metadata: Readonly<Record<string, string>>): boolean {
  const texts = Object.entries(metadata).flat();
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  return bytes <= METADATA_BYTES_MAX && texts.every(isText) && !Object.hasOwn(metadata, '');
}

/** A peer that it cannot read a cluster leaves out without a word. */
function isPeerId(text: string): boolean {
  if (!/^(12D3Koo|16Uiu2HA|Qm)/.test(text)) return false;
  try {
    decodeDigest(base58btc.decode(`${base58btc.prefix}${text}`));
    return true;
  } catch {
    return false;
  }
}
