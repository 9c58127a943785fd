/** Which Kubo will do. */
import { isAtLeast } from '../version.ts';

/** The least of the contract (TOOLS.md 4.9): blocks of 2 MiB, UnixFS profiles. */
export const MIN_VERSION = '0.40.0';

export const isCompatible = (version: string): boolean => isAtLeast(version, MIN_VERSION);
