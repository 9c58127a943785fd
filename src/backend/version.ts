/** Versions of services. */

/** Whether a version is at least the least; one that cannot be read is not. */
export function isAtLeast(version: string, least: string): boolean {
  const told = numbersOf(version);
  const wanted = numbersOf(least);
  if (told === undefined || wanted === undefined) return false;
  for (const [at, number] of told.entries()) {
    const other = wanted[at] ?? 0;
    if (number !== other) return number > other;
  }
  return true;
}

/** `0.43.1-rc1/abc` → 0, 43, 1. What comes before a release counts as it. */
function numbersOf(version: string): number[] | undefined {
  const [, ...parts] = /^(\d+)\.(\d+)\.(\d+)(?:[-+/].*)?$/.exec(version) ?? [];
  return parts.length === 3 ? parts.map(Number) : undefined;
}
