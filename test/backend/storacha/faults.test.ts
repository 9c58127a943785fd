/** What a Storacha service says went wrong, row by row. */
import { describe, expect, test } from 'vitest';
import { FAULTS, faultOf, refusalOf, STATUS } from '../../../src/backend/storacha/faults.ts';

/** As the service words them (@ucanto/validator 10.0.1, @storacha/upload-api 2.8.4). */
const TOLD: readonly (readonly [name: string, message: string, failure: string])[] = [
  [
    'Unauthorized',
    'Claim {"can":"upload/list"} is not authorized\n  - Proof bafy has expired on Thu',
    'credentials-expired',
  ],
  ['Unauthorized', '  - Proof bafy is not valid before Thu', 'credentials-invalid'],
  ['Unauthorized', '  - Proof bafy has been revoked', 'credentials-invalid'],
  [
    'Unauthorized',
    'Claim is not authorized\n  - No matching delegated capability found',
    'credentials-invalid',
  ],
  ['InvalidAudience', "Delegation audience is 'did:web:a' instead of 'did:web:b'", 'configuration'],
  ['InsufficientStorage', 'did:key:z has no storage provider with enough space', 'quota-exceeded'],
  ['InsufficientStorage', 'did:key:z has no storage provider', 'configuration'],
  ['InsufficientStorage', 'did:key:z is blocked', 'quota-exceeded'],
  [
    'BlobSizeOutsideOfSupportedRange',
    'Blob of 9 bytes, exceeds size limit of 8 bytes',
    'file-too-large',
  ],
  ['HandlerNotFound', 'service does not implement {can: "x"} handler', 'version-unsupported'],
  ['HandlerExecutionError', 'service handler {can: "x"} error: boom', 'unavailable'],
  ['CandidateUnavailable', 'no storage provider', 'unavailable'],
  ['AllocatedMemoryHadNotBeenWrittenTo', 'Blob not found', 'unavailable'],
  ['ShardNotFound', '', 'api-error'],
];

const OTHERS = 'Claim {"can":"assert/index"} is not authorized\n  - Proof bafy has expired on Thu';

describe('a receipt', () => {
  test('of what the service itself was refused says nothing of our proof', () => {
    const error = faultOf({ name: 'Unauthorized', message: OTHERS }, 'put');
    expect(error).toMatchObject({ failure: 'unavailable', hint: undefined });
  });

  test.each(TOLD)('of %s, %j, is %s', (name, message, failure) => {
    const error = faultOf({ name, message }, 'list');
    expect(error).toMatchObject({ failure, details: { code: name } });
    expect(error.message).not.toContain(message === '' ? 'nothing' : message);
    expect((error.cause as Error).message).toBe(`${name}: ${message}`);
  });

  test('meets each row of the table', () => {
    const met = [['Unauthorized', OTHERS] as const, ...TOLD].map(([name, message]) =>
      FAULTS.findIndex((row) => row.name === name && (row.text?.test(message) ?? true)),
    );
    expect(FAULTS.filter((_, row) => !met.includes(row))).toEqual([]);
  });

  test('of anything else is an error all the same', () => {
    for (const error of [undefined, null, 'no', {}, { name: 1, message: [] }]) {
      expect(faultOf(error, 'list').failure).toBe('api-error');
    }
    const long = faultOf({ name: 'X', message: 'y'.repeat(10_000) }, 'list');
    expect((long.cause as Error).message.length).toBeLessThan(1000);
  });
});

describe('a status', () => {
  test.each(Object.entries(STATUS))('of %s is %s', (status, failure) => {
    expect(refusalOf(Number(status), 'words\nmore', 'list')).toMatchObject({
      failure,
      details: { status: Number(status) },
      cause: { message: `${status} words` },
    });
  });

  test.each([
    [301, 'configuration'],
    [307, 'configuration'],
    [400, 'api-error'],
    [500, 'unavailable'],
    [502, 'unavailable'],
  ])('of %s is %s', (status, failure) => {
    expect(refusalOf(status, '', 'list').failure).toBe(failure);
  });
});
