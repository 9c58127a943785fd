/** `npm run test:stress -- kill`: the whole of `kill.test.ts`. The machine should have nothing else to do. */
import { test } from 'vitest';
import { surviveKills } from './kill-run.ts';

const RUN = { kills: 1000, runMsMax: 3 * 60 * 60_000, stallStartsMax: 4 };

test(
  `${RUN.kills} kills are nothing but pauses to programs, and lose and repeat nothing`,
  () => surviveKills(RUN),
  RUN.runMsMax,
);
