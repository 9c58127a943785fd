/** What a planted corruption is: how it is planted, what fsck calls it, what a repair makes of it. */
import type { Damaged } from './kept-state.ts';

export interface Corruption {
  readonly title: string;
  readonly check: string;
  readonly plant: (state: Damaged) => void;
  /** Of the finding, after a repair. */
  readonly outcome: 'repaired' | 'quarantined' | 'left';
  /** Paths that show something else afterwards, or nothing. */
  readonly touched?: readonly string[];
  /** Paths whose bytes are lost: reading them fails. */
  readonly lost?: readonly string[];
  /** Names in `/ipfs/lost+found`; INO and CONTENT stand for numbers. */
  readonly found?: readonly string[];
  /** Checks that a second look still finds. */
  readonly left?: readonly string[];
}

const set = (table: string, change: string) => (path: string) => (state: Damaged) =>
  state.sql(`UPDATE ${table} SET ${change} WHERE ino = ${state.ino(path)}`);
export const inode = (change: string, path: string) => set('inode', change)(path);
export const content = (change: string, path: string) => (state: Damaged) =>
  state.sql(`UPDATE content SET ${change} WHERE id = ${state.content(path)}`);
