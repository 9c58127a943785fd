/** What is told of the room that files take here. */
import { expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { parseSettings, quotaBytesOf } from '../../src/daemon/settings.ts';
import { spaceStatusOf } from '../../src/daemon/status-space.ts';

const SPACE = {
  ...{ quotaBytes: 10, cachedBytes: 7, evictableBytes: 4, pinnedBytes: 2 },
  ...{ surveyedS: 0, error: undefined },
};

test('nothing is told until somebody asked for a quota or a pin', () => {
  expect(spaceStatusOf(undefined)).toEqual({});
});

test('it is told as it was counted, with the quota if there is one', () => {
  const told = {
    ...{ cached_bytes: 7, evictable_bytes: 4, pinned_bytes: 2 },
    counted_at: '1970-01-01T00:00:00.000000000Z',
  };
  expect(spaceStatusOf(SPACE)).toEqual({ space: { quota_bytes: 10, ...told } });
  expect(spaceStatusOf({ ...SPACE, quotaBytes: undefined })).toEqual({ space: told });
});

test('a store that cannot be asked is told with its code', () => {
  const error = new OpError('not-running', 'ask');
  const code = 'IPFS_DAEMON_NOT_RUNNING';
  expect(spaceStatusOf({ ...SPACE, error })).toMatchObject({ space: { error_code: code } });
});

test('a quota is at least one MiB, and any number of bytes when nobody says', () => {
  const quotaOf = (text: string) => quotaBytesOf(parseSettings(text, 'c.toml'));
  expect(quotaOf('')).toBeUndefined();
  expect(quotaOf('[content]\nquota_mib = 3')).toBe(3 * 1024 * 1024);
  expect(() => quotaOf('[content]\nquota_mib = 0')).toThrow('content.quota_mib');
});
