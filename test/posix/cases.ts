/**
 * The table of POSIX cases: laws any mounted tree keeps, each on an empty directory `d` of its own.
 * The titles could stand in SEMANTICS.md. Run in process and through the kernel.
 */
import { attributeCases } from './cases-attributes.ts';
import { byteCases } from './cases-bytes.ts';
import { linkCases, nameCases } from './cases-names.ts';
import { permissionCases } from './cases-permissions.ts';
import { renameCases } from './cases-renames.ts';
import type { Case } from './law.ts';

export const CASES: readonly Case[] = [
  ...nameCases,
  ...linkCases,
  ...renameCases,
  ...byteCases,
  ...attributeCases,
  ...permissionCases,
];
