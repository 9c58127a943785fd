/**
 * The rules of what is kept for who asks again: answers of tool calls, jobs, replies to the kernel.
 * In the order in which they are repaired.
 */
import { CALL_KEY_BYTES_MAX } from '../base/limits.ts';
import type { Invariant } from './invariant.ts';

/** Numbers beyond this are no integers of JavaScript; a counter never comes so far. */
const NUMBER_MAX = 2 ** 52;

/** A member of an object of JSON is of one of these types, as `json_type` calls them. */
const has = (column: string, path: string, ...types: readonly string[]): string =>
  `coalesce(json_type(${column}, '$.${path}'), '') IN (${types.map((t) => `'${t}'`).join(', ')})`;

/** `parts` hold of an object of JSON. Of any other text nothing is asked: that would be an error. */
const isObject = (column: string, parts: readonly string[]): string =>
  `iif(json_valid(${column}), json_type(${column}) = 'object' AND ${parts.join(' AND ')}, 0)`;

/** The number of the newest record, also when that record is lost. */
const NEWEST = `max(coalesce((SELECT max(seq) FROM op), 0),
  coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'head'), 0))`;

/** A repair leaves `lost` alone in place of an answer that cannot be read. */
const IS_ANSWER = isObject('answer', [
  `(${has('answer', 'lost', 'true')} OR
    ${has('answer', 'request_id', 'text')} AND json_type(answer, '$.data') IS NOT NULL)`,
]);

const IS_CALL = isObject('call', [
  ...['tool', 'key', 'requestId', 'session.principal', 'session.surface'].map((path) =>
    has('call', path, 'text'),
  ),
  ...['values', 'session.peer', 'session.ceiling'].map((path) => has('call', path, 'object')),
  ...['startedAt.s', 'startedAt.ns', 'session.peer.uid', 'session.peer.gid'].map((path) =>
    has('call', path, 'integer'),
  ),
  has('call', 'session.peer.groups', 'array'),
  has('call', 'timeoutMs', 'integer', 'real'),
]);

const IS_RESULT = isObject('result', [`json_extract(result, '$.status') IN ('success', 'error')`]);

/** Byte `at`, from 1, of the replies. */
const byte = (at: string): string => {
  const digit = (place: number) =>
    `(instr('0123456789ABCDEF', substr(hex(substr(replies, ${at}, 1)), ${place}, 1)) - 1)`;
  return `(${digit(1)} * 16 + ${digit(2)})`;
};
/** The length of the reply whose header begins at `at`. */
const LENGTH = [8, 9, 10, 11]
  .map((index) => `(${byte(`at + ${index}`)} << ${8 * (index - 8)})`)
  .join(' + ');

export const CALLS: readonly Invariant[] = [
  {
    name: 'answer-replies',
    scope: 'chain',
    severity: 'minor',
    sql: `WITH RECURSIVE reply (at) AS (SELECT 1 FROM answer
        UNION ALL SELECT at + 12 + ${LENGTH} FROM reply JOIN answer WHERE at + 11 <= length(replies))
      SELECT 'whole replies to a connection that was' AS expected,
        length(replies) || ' bytes for connection ' || generation AS actual
      FROM answer WHERE generation NOT BETWEEN 1 AND ${NUMBER_MAX}
        OR (SELECT max(at) FROM reply) <> length(replies) + 1`,
  },
  {
    name: 'call-fields',
    scope: 'chain',
    severity: 'minor',
    sql: `SELECT CAST(id AS TEXT) AS call, 'a number, a caller, a key and a digest in tool_call ' || id AS expected,
        printf('caller of %d, key of %d, digest of %d bytes', octet_length(principal),
          octet_length(key), length(digest)) AS actual
      FROM tool_call WHERE id NOT BETWEEN 1 AND ${NUMBER_MAX} OR principal = ''
        OR octet_length(key) NOT BETWEEN 1 AND ${CALL_KEY_BYTES_MAX} OR length(digest) <> 32`,
  },
  {
    name: 'call-answer',
    scope: 'chain',
    severity: 'loss',
    sql: `SELECT CAST(id AS TEXT) AS call, 'an answer in tool_call ' || id AS expected,
        substr(answer, 1, 80) AS actual FROM tool_call WHERE NOT ${IS_ANSWER}`,
  },
  {
    name: 'call-record',
    scope: 'chain',
    severity: 'minor',
    sql: `SELECT CAST(id AS TEXT) AS call, 'a record up to ' || ${NEWEST} || ' in tool_call ' || id AS expected,
        'record ' || json_extract(answer, '$.seq') AS actual
      FROM tool_call WHERE iif(json_valid(answer), json_type(answer, '$.seq') IS NOT NULL
        AND (json_type(answer, '$.seq') <> 'integer'
          OR json_extract(answer, '$.seq') NOT BETWEEN 1 AND ${NEWEST}), 0)`,
  },
  {
    name: 'job-call',
    scope: 'chain',
    severity: 'loss',
    sql: `SELECT id AS job, 'a call in tool_job ' || id AS expected, substr(call, 1, 80) AS actual
      FROM tool_job WHERE id = '' OR NOT ${IS_CALL}`,
  },
  {
    name: 'job-result',
    scope: 'chain',
    severity: 'loss',
    sql: `SELECT id AS job, 'an envelope, or none, in tool_job ' || id AS expected,
        substr(result, 1, 80) AS actual
      FROM tool_job WHERE result IS NOT NULL AND NOT ${IS_RESULT}`,
  },
  {
    name: 'job-fields',
    scope: 'chain',
    severity: 'minor',
    sql: `SELECT id AS job, 'a start, and an end with a result alone, in tool_job ' || id AS expected,
        starts || ' starts, ended ' || coalesce(ended_s, 'never') AS actual
      FROM tool_job WHERE starts NOT BETWEEN 1 AND ${NUMBER_MAX}
        OR (result IS NULL) <> (ended_s IS NULL)`,
  },
];
