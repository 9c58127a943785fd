/**
 * IPNS records, version 2: a path, signed by the key that the name is (specs.ipfs.tech/ipns). Only
 * the signed part is written and only that is read; what version 1 had beside it nobody may trust.
 */
import { createPublicKey, verify } from 'node:crypto';
import { decode, encode } from '@ipld/dag-cbor';
import { type Instant, parseRfc3339, rfc3339 } from '../base/clock.ts';
import type { CID } from '../content/content.ts';
import { keyOfName } from './peer-id.ts';

/** What a record says. */
export interface NameRecord {
  /** `/ipfs/<cid>…` or `/ipns/<name>…`. */
  readonly path: string;
  /** Greater than in the record before. */
  readonly sequence: bigint;
  readonly validUntil: Instant;
  readonly ttlNs: bigint;
}

/** The largest record that anybody takes (the specification). */
const RECORD_BYTES_MAX = 10 * 1024;
/** EOL: valid until a moment. */
const VALIDITY_TYPE = 0;
const SIGNED_PREFIX = Buffer.from('ipns-signature:');
/** Of the message IpnsEntry: number and wire type (bytes) in one. */
const SIGNATURE_TAG = (8 << 3) | 2;
const DATA_TAG = (9 << 3) | 2;

/** The bytes of a record. `sign`: by the key of the name. */
export function encodeRecord(record: NameRecord, sign: (bytes: Buffer) => Buffer): Buffer {
  const data = encode({
    Value: Buffer.from(record.path),
    Validity: Buffer.from(rfc3339(record.validUntil)),
    ValidityType: VALIDITY_TYPE,
    Sequence: record.sequence,
    TTL: record.ttlNs,
  });
  const signature = sign(Buffer.concat([SIGNED_PREFIX, data]));
  return Buffer.concat([field(SIGNATURE_TAG, signature), field(DATA_TAG, data)]);
}

/** What the record of a name says; undefined: it is none, or not signed by that name's key. */
export function readRecord(name: CID, bytes: Uint8Array): NameRecord | undefined {
  const key = keyOfName(name);
  if (key === undefined || bytes.length > RECORD_BYTES_MAX) return undefined;
  const { signature, data } = fieldsOf(bytes);
  if (signature === undefined || data === undefined) return undefined;
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key).toString('base64url') };
  const signed = Buffer.concat([SIGNED_PREFIX, data]);
  const isOurs = verify(null, signed, createPublicKey({ key: jwk, format: 'jwk' }), signature);
  return isOurs ? recordIn(data) : undefined;
}

function recordIn(data: Uint8Array): NameRecord | undefined {
  const said = decode<Readonly<Record<string, unknown>> | null>(data);
  const { Value, Validity, ValidityType, Sequence, TTL } = said ?? {};
  if (!(Value instanceof Uint8Array && Validity instanceof Uint8Array)) return undefined;
  const validUntil = parseRfc3339(Buffer.from(Validity).toString());
  const [sequence, ttlNs] = [whole(Sequence), whole(TTL)];
  const isWhole = validUntil !== undefined && sequence !== undefined && ttlNs !== undefined;
  if (!isWhole || ValidityType !== VALIDITY_TYPE) return undefined;
  return { path: Buffer.from(Value).toString(), sequence, validUntil, ttlNs };
}

const whole = (value: unknown): bigint | undefined =>
  typeof value === 'bigint' || Number.isSafeInteger(value) ? BigInt(value as number) : undefined;

/** One field of protobuf that holds bytes. */
const field = (tag: number, bytes: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([tag]), varint(bytes.length), bytes]);

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    bytes.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    if (rest <= 0x7f) return Buffer.from(bytes);
  }
}

/** Of a message that may have other fields too; nothing of one that is cut off. */
function fieldsOf(bytes: Uint8Array): { signature?: Uint8Array; data?: Uint8Array } {
  const found: { signature?: Uint8Array; data?: Uint8Array } = {};
  const at = { position: 0 };
  while (at.position < bytes.length) {
    const tag = readVarint(bytes, at);
    const length = lengthOf(tag & 7, bytes, at);
    if (length === undefined || at.position + length > bytes.length) return {};
    const value = bytes.subarray(at.position, at.position + length);
    if (tag === SIGNATURE_TAG) found.signature = value;
    if (tag === DATA_TAG) found.data = value;
    at.position += length;
  }
  return found;
}

/** Bytes of a value by its wire type; undefined for types that the message has not. */
function lengthOf(type: number, bytes: Uint8Array, at: { position: number }): number | undefined {
  if (type === 2) return readVarint(bytes, at);
  if (type !== 0) return undefined;
  readVarint(bytes, at);
  return 0;
}

function readVarint(bytes: Uint8Array, at: { position: number }): number {
  let value = 0;
  for (let factor = 1; at.position < bytes.length; factor *= 0x80) {
    const byte = bytes[at.position] ?? 0;
    at.position += 1;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  return value;
}
