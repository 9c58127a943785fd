/**
 * How the daemon before this one ended, when systemd ran it: a keeper that did not start the daemon
 * sees only that it has gone. ExecStopPost= of kitfs.service writes what systemd knows of it.
 */
import { readFileSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { asOpError, codeOf } from '../base/errors.ts';

/**
 * What a daemon ends with that leaves its mount to the next one (EX_TEMPFAIL of sysexits.h). Neither
 * a success, after which none would be started, nor a crash.
 */
export const HANDED_OVER_STATUS = 75;

/** Longer than anything systemd says. */
const TEXT_CHARS_MAX = 256;

/**
 * What is told of the last end, in the words of the keeper: `exit N`, `signal N`, `hung` or
 * `unknown`. It is told once: the end of another daemon is another story.
 * @param directory that of the keeper's socket: the unit knows no other.
 * @throws OpError denied, io.
 */
export function takeEnd(directory: string): string {
  const path = join(directory, 'ended');
  try {
    const text = readFileSync(path, 'latin1').slice(0, TEXT_CHARS_MAX);
    rmSync(path);
    return endIn(text);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'unknown';
    throw asOpError(error, `read ${path}`);
  }
}

/** `$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS` of systemd.exec(5). */
export function endIn(text: string): string {
  const [result, code, status = ''] = text.trim().split(' ');
  // A start or a stop that takes too long is ended by a signal too.
  if (result === 'watchdog' || result === 'timeout') return 'hung';
  if (code === 'exited') return /^\d{1,3}$/.test(status) ? `exit ${status}` : 'unknown';
  if (code !== 'killed' && code !== 'dumped') return 'unknown';
  const numbers: Readonly<Record<string, number>> = constants.signals;
  const number = numbers[`SIG${status}`];
  return number === undefined ? 'unknown' : `signal ${number}`;
}
