/**
 * The codecs of IPLD that kitfs speaks: bytes of a block ↔ a value of the data model, and the links
 * in it. Strict: what does not come back as the same bytes is not what the codec allows.
 */
import * as dagCbor from '@ipld/dag-cbor';
import * as dagJson from '@ipld/dag-json';
import * as dagPb from '@ipld/dag-pb';
import * as cborg from 'cborg';
import * as cborgJson from 'cborg/json';
import { CID } from 'multiformats/cid';
import { OpError } from '../base/errors.ts';

export const CODEC_NAMES = ['dag-json', 'json', 'dag-cbor', 'cbor', 'dag-pb', 'raw'] as const;
export type CodecName = (typeof CODEC_NAMES)[number];

interface Codec {
  readonly name: CodecName;
  /** In the multicodec table. */
  readonly code: number;
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

const CODECS: readonly Codec[] = [
  { name: 'dag-json', code: dagJson.code, encode: dagJson.encode, decode: dagJson.decode },
  {
    name: 'json',
    code: 0x0200,
    encode: (value) => cborgJson.encode(withoutLinks(value, false)),
    decode: (bytes) => cborgJson.decode(bytes, PLAIN),
  },
  { name: 'dag-cbor', code: dagCbor.code, encode: dagCbor.encode, decode: dagCbor.decode },
  {
    name: 'cbor',
    code: 0x51,
    encode: (value) => cborg.encode(withoutLinks(value, true)),
    decode: (bytes) => cborg.decode(bytes, PLAIN),
  },
  {
    name: 'dag-pb',
    code: dagPb.code,
    encode: (value) => dagPb.encode(dagPb.prepare(nodeOfPb(value))),
    decode: dagPb.decode,
  },
  { name: 'raw', code: 0x55, encode: bytesAlone, decode: (bytes) => bytes },
];
const PLAIN = { allowUndefined: false, allowInfinity: false, allowNaN: false } as const;

export const codecName = (code: number): CodecName | undefined =>
  CODECS.find((codec) => codec.code === code)?.name;

export const codecCode = (name: CodecName): number => codecNamed(name).code;

/** A value as the bytes of a codec. @throws OpError unsupported: the codec has no such values. */
export function encodeValue(name: CodecName, value: unknown): Uint8Array {
  try {
    return codecNamed(name).encode(value);
  } catch (cause) {
    throw new OpError('unsupported', `encode as ${name}`, {
      cause,
      hint: `${name} cannot hold this value`,
    });
  }
}

/** @throws OpError unsupported: the bytes are none of this codec. */
export function decodeValue(name: CodecName, bytes: Uint8Array): unknown {
  try {
    return codecNamed(name).decode(bytes);
  } catch (cause) {
    throw new OpError('unsupported', `decode ${name}`, {
      cause,
      hint: `the bytes are no proper ${name}`,
    });
  }
}

/** Every CID in a value, in the order in which they stand; those that stand twice, twice. */
export function linksIn(value: unknown): CID[] {
  const found: CID[] = [];
  collect(value, found);
  return found;
}

function collect(value: unknown, found: CID[]): void {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return;
  const cid = CID.asCID(value);
  if (cid !== null) found.push(cid);
  else for (const child of Object.values(value)) collect(child, found);
}

function codecNamed(name: CodecName): Codec {
  const codec = CODECS.find((known) => known.name === name);
  if (codec === undefined) throw new RangeError(`no codec ${name}`);
  return codec;
}

/** Whoever gives more than a node holds would lose the rest without a word. */
function nodeOfPb(value: unknown): dagPb.PBNode {
  demandFields(value, ['Data', 'Links']);
  const { Links } = value as { readonly Links?: unknown };
  if (Links !== undefined && !Array.isArray(Links)) throw new TypeError('its Links are no list');
  for (const link of Links ?? []) demandFields(link, ['Hash', 'Name', 'Tsize']);
  return value as dagPb.PBNode;
}

function demandFields(value: unknown, known: readonly string[]): void {
  const isObject = typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
  if (!isObject) throw new TypeError('it is no node of dag-pb');
  const other = Object.keys(value).find((name) => !known.includes(name));
  if (other !== undefined) throw new TypeError(`dag-pb has no ${other}`);
}

function bytesAlone(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw new TypeError('raw holds bytes and nothing else');
}

/** What has no links in its data model would write a CID as the object that it is in memory. */
function withoutLinks(value: unknown, mayHoldBytes: boolean): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array) {
    if (mayHoldBytes) return value;
    throw new TypeError('it has no bytes');
  }
  if (CID.asCID(value) !== null) throw new TypeError('it has no links');
  for (const child of Object.values(value)) withoutLinks(child, mayHoldBytes);
  return value;
}
