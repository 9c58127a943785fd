/** The brief run: see `sync-kill-run.ts`; `sync-kill.full.ts` is the whole one. */
import { test } from 'vitest';
import { surviveSyncKills } from './sync-kill-run.ts';

test(
  '12 kills of kitfs, of Kubo and of both during a sync leave nothing half, twice, torn or lost',
  () => surviveSyncKills(12),
  240_000,
);
