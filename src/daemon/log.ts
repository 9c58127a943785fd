/**
 * The daemon's log, to standard error: JSON for machines, a short line for people at a terminal.
 * What goes wrong is also kept as operating errors, so that each has an id that can be asked for.
 *
 * Invariants: no secret is written; a line is whole; standard error that is gone stops nothing.
 */
import { writeSync } from 'node:fs';
import pino from 'pino';
import { asOpError, type OpError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Redactor } from '../base/redaction.ts';
import type { ErrorRing } from './errors.ts';

const STDERR_FD = 2;

export interface LogOptions {
  readonly level: 'error' | 'warn' | 'info';
  /** A terminal is read by people. */
  readonly isTerminal: boolean;
  /** Where what went wrong is kept. */
  readonly errors: ErrorRing;
  readonly redactor: Redactor;
  /** Takes whole lines; standard error when absent. */
  readonly write?: (line: string) => void;
}

export function createLog(logOptions: LogOptions): Log {
  const { level, isTerminal, errors, redactor, write = toStderr } = logOptions;
  const stream = { write: (line: string) => write(isTerminal ? forPeople(line) : line) };
  const serializer = (error: unknown) => redactor.value(told(error));
  const options = {
    level,
    serializers: { err: serializer, error: serializer },
    timestamp: pino.stdTimeFunctions.isoTime,
    base: null,
  };
  const logger = pino(options, stream);
  const safe = ({ err, error, ...fields }: Fields): Fields => ({
    ...redactor.value(fields),
    ...(err === undefined ? {} : { err }),
    ...(error === undefined ? {} : { error }),
  });
  return {
    info: (fields, message) => logger.info(safe(fields), redactor.text(message)),
    warn: (fields, message) => logger.warn(safe(fields), redactor.text(message)),
    error: (fields, message) => {
      const error_id = errors.add(errorOf(fields, message), message);
      logger.error({ ...safe(fields), error_id }, redactor.text(message));
    },
  };
}

type Fields = Readonly<Record<string, unknown>>;

function toStderr(line: string): void {
  try {
    writeSync(STDERR_FD, line);
  } catch {
    // The terminal is closed, or its buffer is full (EAGAIN): nobody is there to be told.
  }
}

/** The error a log line is about. */
function errorOf(fields: Readonly<Record<string, unknown>>, message: string): OpError {
  const { err, error } = fields;
  return asOpError(err ?? error ?? new Error(message), message);
}

function told(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { cause } = error;
  return {
    message: error.message,
    ...('failure' in error ? { failure: error.failure } : { stack: error.stack }),
    ...(cause === undefined ? {} : { cause: told(cause) }),
  };
}

/** What every line has, and people do not want to read. */
const HIDDEN = new Set(['level', 'time', 'msg']);
const LEVEL_NAMES: Readonly<Record<number, string>> = { 30: '', 40: 'warning: ', 50: 'error: ' };

function forPeople(line: string): string {
  const entry = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const time = String(entry['time']).slice(11, 19);
  const level = LEVEL_NAMES[Number(entry['level'])] ?? '';
  const fields = Object.entries(entry)
    .filter(([name]) => !HIDDEN.has(name))
    .map(([name, value]) => `${name}=${shortly(value)}`);
  return `${[`${time} ${level}${entry['msg']}`, ...fields].join(' ')}\n`;
}

function shortly(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'message' in value) {
    return String(value.message);
  }
  return typeof value === 'string' ? value : JSON.stringify(value);
}
