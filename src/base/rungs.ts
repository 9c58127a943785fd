/** The rungs of the durability ladder, from the lowest to the highest; TOOLS.md §8 says what each means. */
export const RUNGS = ['journaled', 'fsynced', 'local', 'stored', 'pinned', 'replicated'] as const;

/** How safe the bytes of a file are. */
export type Rung = (typeof RUNGS)[number];

export const isRung = (text: string): text is Rung => RUNGS.some((rung) => rung === text);

export const isAtLeast = (rung: Rung, wanted: Rung): boolean =>
  RUNGS.indexOf(rung) >= RUNGS.indexOf(wanted);
