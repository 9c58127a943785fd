/**
 * How the process ends. Node waits for the threads that read and write for it before it exits, and
 * one of those may wait for a dead disk, or for a mount that hangs.
 */
import { SystemClock } from '../base/clock.ts';
import { loadNative } from '../base/native.ts';

/** How long the process may outlive its command. */
const LINGER_MS_MAX = 500;
/** How long it may take to exit. */
const EXIT_MS_MAX = 2000;

/** Ends the process, whatever its threads wait for. */
export function leave(code: number): never {
  loadNative().endWithin(EXIT_MS_MAX, code);
  process.exit(code);
}

/** The command has ended with that code, and the process shall soon. */
export function leaveSoon(code: number): void {
  process.exitCode = code;
  const never = new AbortController();
  void new SystemClock().sleep(LINGER_MS_MAX, never.signal).then(() => leave(code));
}
