/**
 * How a command ends and speaks: exit codes, one line for an error, JSON alone on standard output
 * when it was asked for.
 */
import { asOpError, OpError } from '../base/errors.ts';
import { errorEnvelopeOf } from '../daemon/daemon.ts';

export const EXIT = { done: 0, failed: 1, usage: 2, notRunning: 3 } as const;

/** The command was not called as its help says. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export const printJson = (value: unknown): void => print(JSON.stringify(value, undefined, 2));

/** One JSON value, one line: for streams of them. */
export const printLine = (value: unknown): void => print(JSON.stringify(value));

export const complain = (text: string): void => {
  process.stderr.write(`kitfs: ${text.split('\n').map(shown).join('\n')}\n`);
};

/**
 * A name on a line of ours: whatever could begin another line, or tell a terminal what to do, is
 * written as its number. Anybody who may make a file chooses its name.
 */
export const shown = (name: string): string =>
  name.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });

/** What a tool refused, as far as people are told. */
export interface ToolError {
  readonly error: string;
  readonly context?: {
    readonly issues?: readonly {
      readonly argument: string;
      readonly reason: string;
      readonly expected?: string;
    }[];
    /** What was done before. */
    readonly partial?: Readonly<Record<string, unknown>>;
  };
}

/** The sentence of a tool's error, and below it what is wrong with each argument. */
export function complainOf({ error, context }: ToolError): void {
  complain(error);
  for (const { argument, reason, expected } of context?.issues ?? []) {
    const wanted = expected === undefined ? '' : `; expected: ${expected}`;
    process.stderr.write(`  ${argument}: ${reason}${wanted}\n`);
  }
}

/** Tells an error, and says how the command ends because of it. */
export async function report(error: unknown, isJson: boolean): Promise<number> {
  if (error instanceof UsageError) {
    complain(error.message);
    return EXIT.usage;
  }
  const known = asOpError(error, 'run the command');
  const isNotRunning = known.failure === 'not-running';
  if (isJson) printJson(await errorEnvelopeOf(isNotRunning ? asNotReady(known) : known));
  else complain(sentenceOf(known));
  return isNotRunning ? EXIT.notRunning : EXIT.failed;
}

/** The code for "not running" is that of a service; of kitfs itself the contract says NOT_READY. */
const asNotReady = ({ op, hint, details }: OpError): OpError =>
  new OpError('not-ready', op, { ...(hint === undefined ? {} : { hint }), details });

/** What happened; what to do. */
export function sentenceOf({ op, failure, hint, cause }: OpError): string {
  if (failure === 'internal') {
    const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    return `${op}: this is a bug of kitfs; please report it with these lines\n${text}`;
  }
  // What is wrong with a configuration is said whole by its hint.
  if (failure === 'configuration' && hint !== undefined) return `${op}: ${hint}`;
  const what = `${op}: ${failure.replaceAll('-', ' ')}`;
  return hint === undefined ? what : `${what}; ${hint}`;
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** Bytes for people: `1.5 MiB`. */
export function sizeText(bytes: number): string {
  let [size, unit] = [bytes, 0];
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${UNITS[unit]}`;
}

/** Rows of equal columns, the last one as long as it likes. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) => row.map((cell, i) => (i + 1 < row.length ? cell.padEnd(widths[i] ?? 0) : cell)))
    .map((cells) => cells.join('  '))
    .join('\n');
}

/** A line on a terminal that is written over; nothing anywhere else. */
export class ProgressLine implements Disposable {
  readonly #isShown = process.stderr.isTTY === true;

  show(text: string): void {
    if (this.#isShown) process.stderr.write(`\r\u001b[K${text}`);
  }

  [Symbol.dispose](): void {
    if (this.#isShown) process.stderr.write('\r\u001b[K');
  }
}
