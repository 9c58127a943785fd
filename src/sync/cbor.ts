/** Records as dag-cbor blocks. Those that strangers wrote are read with every field checked. */
import { createHash } from 'node:crypto';
import { code as DAG_CBOR_CODEC, decode, encode } from '@ipld/dag-cbor';
import { create as digestOf } from 'multiformats/hashes/digest';
import { OpError } from '../base/errors.ts';
import { CID, type StoredBlock } from '../content/content.ts';

const SHA2_256_CODE = 0x12;

export function cborBlock(value: unknown): StoredBlock {
  const bytes = encode(value);
  const digest = createHash('sha256').update(bytes).digest();
  return { cid: CID.createV1(DAG_CBOR_CODEC, digestOf(SHA2_256_CODE, digest)), bytes };
}

export const isCbor = (cid: CID): boolean => cid.code === DAG_CBOR_CODEC;

/** One value out of a record, and where it stands, for the error. */
export class Field {
  readonly #value: unknown;
  /** The record, or what the field is in: there are many, and few are told of. */
  readonly #in: Field | string;
  readonly #key: string | number;

  constructor(value: unknown, within: Field | string, key: string | number = '') {
    this.#value = value;
    this.#in = within;
    this.#key = key;
  }

  /** @throws OpError unsupported when the block is no dag-cbor. */
  static ofBlock(bytes: Uint8Array, cid: CID): Field {
    try {
      return new Field(decode(bytes), cid.toString());
    } catch (cause) {
      throw new OpError('unsupported', `read ${cid}`, { cause, hint: 'it is no record of kitfs' });
    }
  }

  /** Of a map; absent and null are the same. */
  at(key: string): Field {
    const { [key]: value } = this.#record();
    return new Field(value ?? undefined, this, key);
  }

  get isAbsent(): boolean {
    return this.#value === undefined;
  }

  get isLink(): boolean {
    return CID.asCID(this.#value) !== null;
  }

  optional<T>(read: (field: Field) => T): T | undefined {
    return this.isAbsent ? undefined : read(this);
  }

  list(): Field[] {
    if (!Array.isArray(this.#value)) throw this.#wrong('a list');
    return this.#value.map((item, index) => new Field(item, this, index));
  }

  pair(): readonly [Field, Field] {
    const [one, other, ...rest] = this.list();
    if (one === undefined || other === undefined || rest.length > 0) throw this.#wrong('a pair');
    return [one, other];
  }

  cid(): CID {
    const cid = CID.asCID(this.#value);
    if (cid === null) throw this.#wrong('a link');
    return cid;
  }

  bytes(): Buffer {
    const value = this.#value;
    if (!(value instanceof Uint8Array)) throw this.#wrong('bytes');
    return Buffer.from(value.buffer, value.byteOffset, value.length);
  }

  text(): string {
    if (typeof this.#value !== 'string') throw this.#wrong('text');
    return this.#value;
  }

  integer(min: number, max: number): number {
    const value = this.#value;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw this.#wrong(`an integer from ${min} to ${max}`);
    }
    return value;
  }

  /** Whichever of `words` it is. */
  word<Word extends string>(words: readonly Word[]): Word {
    const found = words.find((word) => word === this.#value);
    if (found === undefined) throw this.#wrong(`one of ${words.join(', ')}`);
    return found;
  }

  #record(): Readonly<Record<string, unknown>> {
    const value = this.#value;
    const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
    if (!isMap || value instanceof Uint8Array || CID.asCID(value) !== null) {
      throw this.#wrong('a map');
    }
    return value as Readonly<Record<string, unknown>>;
  }

  get #place(): string {
    return typeof this.#in === 'string' ? this.#in : `${this.#in.#place}/${this.#key}`;
  }

  #wrong(expected: string): OpError {
    return new OpError('unsupported', `read record ${this.#place}`, {
      hint: `${expected} is expected there; it is no record of kitfs`,
    });
  }
}
