/**
 * What the JSON of a service holds, taken out field by field. A list that is null is an empty one, as Go
 * writes it; a number may come as text; what is missing or of another kind is no answer.
 */
import { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';

const UTF_8 = new TextDecoder('utf-8', { fatal: true });

export class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #op: string;

  /** @throws OpError response-invalid: it is no object. */
  constructor(value: unknown, op: string) {
    this.#op = op;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalid(op, 'an object was expected');
    }
    this.#values = value as Readonly<Record<string, unknown>>;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined && this.#values[name] !== null;
  }

  /** @throws OpError response-invalid, as all that follow. */
  text(name: string): string {
    const value = this.#values[name];
    if (typeof value !== 'string') throw this.#wrong(name, 'text');
    return value;
  }

  /** Empty text is none: Go writes fields that are not set so. */
  optionalText(name: string): string | undefined {
    return this.has(name) && this.#values[name] !== '' ? this.text(name) : undefined;
  }

  flag(name: string): boolean {
    const value = this.#values[name] ?? false;
    if (typeof value !== 'boolean') throw this.#wrong(name, 'true or false');
    return value;
  }

  number(name: string): number {
    const value = this.#values[name] ?? 0;
    if (typeof value !== 'number') throw this.#wrong(name, 'a number');
    return value;
  }

  /** A whole number from 0, at most the largest that is counted exactly; absent is 0. */
  count(name: string): number {
    const value = this.#values[name] ?? 0;
    const count = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
    if (typeof count !== 'number' || !(count >= 0) || (count < 2 ** 53 && count % 1 !== 0)) {
      throw this.#wrong(name, 'a count');
    }
    return Math.min(count, Number.MAX_SAFE_INTEGER);
  }

  list(name: string): readonly unknown[] {
    const value = this.#values[name] ?? [];
    if (!Array.isArray(value)) throw this.#wrong(name, 'a list');
    return value;
  }

  texts(name: string): string[] {
    return this.list(name).map((value) => {
      if (typeof value !== 'string') throw this.#wrong(name, 'a list of texts');
      return value;
    });
  }

  objects(name: string): Fields[] {
    return this.list(name).map((value) => new Fields(value, this.#op));
  }

  object(name: string): Fields {
    return new Fields(this.#values[name], this.#op);
  }

  cid(name: string): CID {
    return cidOf(this.text(name), this.#op);
  }

  /** A CID as dag-json links it: `{"/": "bafy…"}`. */
  link(name: string): CID {
    return this.object(name).cid('/');
  }

  get all(): Readonly<Record<string, unknown>> {
    return this.#values;
  }

  #wrong(name: string, wanted: string): OpError {
    return invalid(this.#op, `${name}: ${wanted} was expected`);
  }
}

/** @throws OpError response-invalid. */
export function cidOf(text: string, op: string): CID {
  try {
    return CID.parse(text);
  } catch (error) {
    throw new OpError('response-invalid', op, { cause: error });
  }
}

/** Bytes that are no UTF-8 are damaged, and not text with a hole. @throws OpError response-invalid. */
export function textOf(bytes: Uint8Array, op: string): string {
  try {
    return UTF_8.decode(bytes);
  } catch (error) {
    throw new OpError('response-invalid', op, { cause: error });
  }
}

/** @throws OpError response-invalid. */
export function jsonOf(text: string, op: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid(op, 'it is no JSON'); // The parser's own words quote the answer.
  }
}

export const invalid = (op: string, why: string): OpError =>
  new OpError('response-invalid', op, { cause: new Error(why) });
