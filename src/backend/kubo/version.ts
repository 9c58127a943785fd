/** Which Kubo will do. */

/** The least of the contract (TOOLS.md 4.9): blocks of 2 MiB, UnixFS profiles. */
export const MIN_VERSION = '0.40.0';

/** Whether a version is at least the least; one that cannot be read is not. */
export function isCompatible(version: string): boolean {
  const told = numbersOf(version);
  const least = numbersOf(MIN_VERSION);
  if (told === undefined || least === undefined) return false;
  for (const [at, number] of told.entries()) {
    const wanted = least[at] ?? 0;
    if (number !== wanted) return number > wanted;
  }
  return true;
}

/** `0.43.1-rc1/abc` → 0, 43, 1. What comes before a release counts as it. */
function numbersOf(version: string): number[] | undefined {
  const [, ...parts] = /^(\d+)\.(\d+)\.(\d+)(?:[-+/].*)?$/.exec(version) ?? [];
  return parts.length === 3 ? parts.map(Number) : undefined;
}
