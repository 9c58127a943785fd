/** What a rule of SCHEMA.md is, as a query, and the pieces of SQL that the rules share. */
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../base/posix.ts';

export type InvariantScope = 'tree' | 'content' | 'chain';

/**
 * minor: a fact that can be counted again from others. major: names, files or rows contradict each
 * other. loss: bytes, or records, are gone.
 */
export type Severity = 'minor' | 'major' | 'loss';

/**
 * `sql` gives rows of `expected` and `actual` and, where it applies, `ino`, `seq`, `content`,
 * or a name as `parent` and `name`; besides, what the repair of the rule needs.
 */
export interface Invariant {
  /** The rule's name in SCHEMA.md. */
  readonly name: string;
  readonly scope: InvariantScope;
  readonly severity: Severity;
  readonly sql: string;
}

export const isDirectory = (alias: string) => `(${alias}.mode & ${S_IFMT}) = ${S_IFDIR}`;
export const isRegular = (alias: string) => `(${alias}.mode & ${S_IFMT}) = ${S_IFREG}`;
export const isSymlink = (alias: string) => `(${alias}.mode & ${S_IFMT}) = ${S_IFLNK}`;
export const isRoot = (alias: string) => `${alias}.ino IN (SELECT root FROM superblock)`;

/** Content whose bytes a repair found to be gone: sealed, and nothing tells what it was. */
export const isLost = (alias: string) => `(${alias}.state = 'sealed' AND ${alias}.cid IS NULL
  AND ${alias}.size > 0 AND NOT EXISTS (SELECT 1 FROM block lb WHERE lb.content = ${alias}.id))`;
