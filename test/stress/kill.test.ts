/** The brief run: see `kill-run.ts`; `kill.full.ts` is the whole one. */
import { test } from 'vitest';
import { surviveKills } from './kill-run.ts';

const RUN = {
  kills: 24,
  runMsMax: 240_000,
  // It shares the machine, and is too short to know what that does to the start of a process.
  stallStartsMax: 25,
};

test(
  `${RUN.kills} kills are nothing but pauses to programs, and lose and repeat nothing`,
  () => surviveKills(RUN),
  RUN.runMsMax,
);
