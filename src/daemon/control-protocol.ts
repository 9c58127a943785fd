/**
 * What the command line and the daemon say to each other over `control.sock`: one JSON value per
 * line. A request has an id, a method and parameters; it gets any number of parts and one end.
 */
import { FAILURES, type Failure, OpError } from '../base/errors.ts';
import { isJsonObject, type JsonObject } from '../mcp/frames.ts';

/** The only methods; each row of `ControlMethods` answers one. */
export type ControlMethod =
  | 'status'
  | 'stop'
  | 'tools'
  | 'call'
  | 'sync_local'
  | 'car'
  | 'snapshot_list'
  | 'snapshot_show'
  | 'snapshot_diff'
  | 'command'
  | 'reach';

/** What a peer that may not connect is answered, whatever it asks. Requests count from 1. */
export const REFUSAL_ID = 0;

export interface ControlRequest {
  readonly id: number;
  readonly method: string;
  readonly params: JsonObject;
}

export type ControlReply =
  | { readonly id: number; readonly part: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: ToldError };

/** An operating error on its way through the socket. */
export interface ToldError {
  readonly failure: Failure;
  readonly op: string;
  readonly hint?: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;
}

export const toldOf = ({ failure, op, hint, details }: OpError): ToldError => ({
  failure,
  op,
  ...(hint === undefined ? {} : { hint }),
  details,
});

export function errorOf(told: unknown): OpError {
  const value = isJsonObject(told) ? told : {};
  const { failure, op, hint, details } = value;
  const known = FAILURES.find((candidate) => candidate === failure) ?? 'internal';
  return new OpError(known, typeof op === 'string' ? op : 'ask the daemon', {
    ...(typeof hint === 'string' ? { hint } : {}),
    ...(isJsonObject(details) ? { details } : {}),
  });
}

export function asRequest(value: unknown): ControlRequest | undefined {
  if (!isJsonObject(value)) return undefined;
  const { id, method, params = {} } = value;
  if (!Number.isSafeInteger(id) || typeof method !== 'string' || !isJsonObject(params)) {
    return undefined;
  }
  return { id: id as number, method, params };
}
