/**
 * The table of POSIX cases: laws any mounted tree keeps, each on an empty directory `d` of its own.
 * The titles could stand in SEMANTICS.md. Run in process and through the kernel.
 */
import { aclCases } from './cases-acl.ts';
import { attributeCases } from './cases-attributes.ts';
import { byteCases } from './cases-bytes.ts';
import { mappedCases } from './cases-mapped.ts';
import { linkCases, nameCases } from './cases-names.ts';
import { permissionCases } from './cases-permissions.ts';
import { processCases } from './cases-processes.ts';
import { relatimeCases } from './cases-relatime.ts';
import { renameCases } from './cases-renames.ts';
import { rightCases } from './cases-rights.ts';
import { spaceCases } from './cases-space.ts';
import { timeCases } from './cases-times.ts';
import type { Case, KernelCase } from './law.ts';

export const CASES: readonly Case[] = [
  ...nameCases,
  ...linkCases,
  ...renameCases,
  ...byteCases,
  ...attributeCases,
  ...permissionCases,
  ...timeCases,
  ...rightCases,
  ...aclCases,
  ...spaceCases,
  ...relatimeCases,
];

/** Laws of what has no meaning without a kernel, or that the kernel keeps for us; not run in process. */
export const KERNEL_CASES: readonly KernelCase[] = [...mappedCases, ...processCases];
