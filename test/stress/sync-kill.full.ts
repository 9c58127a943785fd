/** `npm run test:stress -- sync-kill`: the whole of `sync-kill.test.ts`. */
import { test } from 'vitest';
import { surviveSyncKills } from './sync-kill-run.ts';

test(
  '100 kills of kitfs, of Kubo and of both during a sync leave nothing half, twice, torn or lost',
  () => surviveSyncKills(100),
  60 * 60_000,
);
