/**
 * Peer ids and IPNS names: two ways to write the multihash of a public key (libp2p's peer-ids
 * specification). Of an Ed25519 key the multihash is the key itself.
 */
import { base36 } from 'multiformats/bases/base36';
import { base58btc } from 'multiformats/bases/base58';
import { CID } from 'multiformats/cid';
import { decode as decodeDigest, create as digestOf } from 'multiformats/hashes/digest';
import { OpError } from '../base/errors.ts';
import { parseCid } from '../content/content.ts';

/** Codes of the multicodec table. */
const LIBP2P_KEY = 0x72;
const IDENTITY = 0x00;
/** The message PublicKey of libp2p's crypto.proto: type Ed25519, then 32 bytes of key. */
const PREFIX = Buffer.from([0x08, 0x01, 0x12, 0x20]);
const KEY_BYTES = 32;

/** 32 bytes of an Ed25519 key → the message that libp2p passes around. */
export const publicKeyMessage = (key: Uint8Array): Buffer => Buffer.concat([PREFIX, key]);

/** The name under which a key publishes: CIDv1, codec libp2p-key. */
export const nameOfKey = (key: Uint8Array): CID =>
  CID.createV1(LIBP2P_KEY, digestOf(IDENTITY, publicKeyMessage(key)));

/** `k51…`. */
export const nameText = (name: CID): string => name.toString(base36);

/** `12D3Koo…`. */
export const peerIdText = (name: CID): string =>
  base58btc.encode(name.multihash.bytes).slice(base58btc.prefix.length);

/** A peer id or an IPNS name, however it is written; undefined: it is none. */
export function parseName(text: string): CID | undefined {
  try {
    if (/^(12D3|Qm)/.test(text)) {
      const digest = decodeDigest(base58btc.decode(`${base58btc.prefix}${text}`));
      return CID.createV1(LIBP2P_KEY, digest);
    }
    const cid = parseCid(text);
    return cid.code === LIBP2P_KEY ? cid : undefined;
  } catch (error) {
    if (error instanceof OpError || error instanceof Error) return undefined;
    throw error;
  }
}

export const isPeerId = (text: string): boolean => parseName(text) !== undefined;

/** The Ed25519 key that a name is; undefined: it is the hash of another. */
export function keyOfName({ multihash }: CID): Uint8Array | undefined {
  const { code, digest } = multihash;
  const isWhole =
    code === IDENTITY &&
    digest.length === PREFIX.length + KEY_BYTES &&
    PREFIX.equals(digest.subarray(0, PREFIX.length));
  return isWhole ? digest.subarray(PREFIX.length) : undefined;
}
