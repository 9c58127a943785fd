/**
 * The block store: CID → bytes. It keeps no bytes of its own: a block is a range of a content
 * object, of a file in the tree or of an object that exists for the block's sake and is *held*.
 *
 * Invariant: no bytes leave without having been hashed against the CID they were asked by. When one
 * place of a block is damaged, another one answers; when all are, that is an error, never bytes.
 */
import type { CID } from 'multiformats/cid';
import { DIGEST_NAMES, DIGESTS, digestKind } from '../base/digests.ts';
import { OpError } from '../base/errors.ts';
import { BLOCK_BYTES_MAX } from '../base/limits.ts';
import type { BlockRow, Journal } from '../journal/journal.ts';
import { blockKey, IDENTITY_CODE, RAW_CODEC, SHA2_256_CODE } from './cid.ts';
import type { ContentStore } from './content.ts';
import { CHUNK_BYTES, CONTENT_PROFILE } from './hash.ts';

export interface StoredBlock {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

export interface BlockStoreOptions {
  readonly journal: Journal;
  readonly contents: ContentStore;
}

const NOTHING = new Uint8Array();
/** The digests of no bytes, by the codes of their hashes. */
const DIGESTS_OF_NOTHING: ReadonlyMap<number, Uint8Array> = new Map(
  DIGESTS.map(({ code, digest }) => [code, digest(NOTHING)]),
);

export class BlockStore {
  readonly #journal: Journal;
  readonly #contents: ContentStore;

  constructor({ journal, contents }: BlockStoreOptions) {
    this.#journal = journal;
    this.#contents = contents;
  }

  /**
   * The bytes of a block; undefined when it is not here.
   * @throws OpError integrity with details {cid} when they are damaged; unsupported for a hash
   *   that kitfs does not know (`base/digests.ts`).
   */
  get(cid: CID): Uint8Array | undefined {
    const told = toldBy(cid);
    if (told !== undefined) return told;
    let damage: unknown;
    for (const place of this.#placesOf(cid)) {
      try {
        const proven = this.#contents.proven(place.content, cid.multihash.bytes);
        if (proven !== undefined) return proven;
        const bytes = this.#read(place);
        if (isOf(cid, bytes)) return bytes;
        damage = new Error(`content ${place.content} has other bytes there`);
      } catch (error) {
        if (!(error instanceof OpError && error.failure === 'integrity')) throw error;
        damage = error;
      }
    }
    if (damage === undefined) return undefined;
    throw new OpError('integrity', `get block ${cid}`, {
      cause: damage,
      hint: 'run kitfs fsck, and add the content again',
      details: { cid: cid.toString() },
    });
  }

  /** The first one by itself: it mostly answers. */
  *#placesOf(cid: CID): Generator<BlockRow> {
    const key = blockKey(cid);
    const first = this.#journal.contents.block(key);
    if (first === undefined) return;
    yield first;
    yield* this.#journal.contents.blockPlaces(key).slice(1);
  }

  /** Whether the block is here, undamaged or not. */
  has(cid: CID): boolean {
    return this.sizeOf(cid) !== undefined;
  }

  /** Bytes of a block, without reading it; undefined when it is not here. */
  sizeOf(cid: CID): number | undefined {
    const told = toldBy(cid);
    if (told !== undefined) return told.length;
    return this.#journal.contents.block(blockKey(cid))?.size;
  }

  /**
   * Keeps a block whatever happens to the tree; durable when the open group is committed.
   * @returns whether it is new.
   * @throws OpError integrity when the bytes are not those of the CID; unsupported for its hash;
   *   payload-too-large; no-space.
   */
  put(cid: CID, bytes: Uint8Array): boolean {
    return this.putAll([{ cid, bytes }]) === 1;
  }

  /** As `put`, all of them or none; returns how many are new. */
  putAll(blocks: Iterable<StoredBlock>): number {
    const checked = [...blocks].filter(({ cid, bytes }) => {
      checkBlock(cid, bytes, 'put');
      return toldBy(cid) === undefined;
    });
    if (checked.length === 0) return 0;
    return this.#journal.commit(() => {
      let added = 0;
      for (const { cid, bytes } of checked) added += Number(this.#put(cid, bytes));
      return added;
    });
  }

  /**
   * Keeps the block although nothing in the tree may need it any more; whether it is here. What was
   * fetched of remote content goes with a boot: of such a block a copy is kept.
   * @throws OpError as `get`; no-space, io.
   */
  hold(cid: CID): boolean {
    if (toldBy(cid) !== undefined || this.#holdLasting(cid)) return true;
    const bytes = this.get(cid);
    if (bytes === undefined) return false;
    this.#journal.commit(() => this.#add(cid, bytes));
    return true;
  }

  #holdLasting(cid: CID): boolean {
    const place = this.#journal.contents.lastingBlock(blockKey(cid));
    if (place === undefined) return false;
    if (this.#contents.row(place.content)?.held === 1) return true;
    this.#journal.commit(() => this.#contents.hold(place.content));
    return true;
  }

  #put(cid: CID, bytes: Uint8Array): boolean {
    if (this.#holdLasting(cid)) return false;
    const isNew = !this.has(cid);
    this.#add(cid, bytes);
    return isNew;
  }

  #add(cid: CID, bytes: Uint8Array): void {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    // A raw block of at most one chunk is a whole file by itself.
    const isFile =
      cid.code === RAW_CODEC && cid.multihash.code === SHA2_256_CODE && bytes.length <= CHUNK_BYTES;
    const known = isFile
      ? { cid: Buffer.from(cid.bytes), profile: CONTENT_PROFILE }
      : { cid: null, profile: null };
    const content = this.#contents.add(buffer, known);
    const row = { cid: blockKey(cid), content, position: 0, size: bytes.length };
    this.#journal.contents.insertBlock(row);
  }

  #read({ content, position, size }: BlockRow): Buffer {
    if (position < 0) {
      const nodes = this.#journal.contents.bytes(content) ?? Buffer.alloc(0);
      return nodes.subarray(-1 - position, -1 - position + size);
    }
    const bytes = Buffer.alloc(size);
    const count = this.#contents.read(content, bytes, 0, size, position);
    return bytes.subarray(0, count);
  }
}

/**
 * Whether these are the bytes of a block; `doing` is a verb for the error.
 * @throws OpError integrity, unsupported, payload-too-large.
 */
export function checkBlock(cid: CID, bytes: Uint8Array, doing: string): void {
  const details = { cid: cid.toString() };
  if (bytes.length > BLOCK_BYTES_MAX) {
    throw new OpError('payload-too-large', `${doing} block ${cid}`, {
      hint: `a block has at most ${BLOCK_BYTES_MAX} bytes`,
      details,
    });
  }
  const isRight = isIdentity(cid)
    ? Buffer.from(bytes).equals(cid.multihash.digest)
    : isOf(cid, bytes);
  if (!isRight) throw new OpError('integrity', `${doing} block ${cid}`, { details });
}

/** What a CID says of its bytes itself: all of them, or that there are none. @throws as below. */
function toldBy(cid: CID): Uint8Array | undefined {
  const { code, digest } = cid.multihash;
  if (isIdentity(cid)) return digest;
  const ofNothing = DIGESTS_OF_NOTHING.get(code);
  return ofNothing !== undefined && Buffer.compare(digest, ofNothing) === 0 ? NOTHING : undefined;
}

/** The bytes of such a CID are in the CID. @throws OpError unsupported for any other hash. */
function isIdentity(cid: CID): boolean {
  const { code } = cid.multihash;
  if (code === IDENTITY_CODE) return true;
  const length = DIGESTS_OF_NOTHING.get(code)?.length;
  if (length !== undefined && cid.multihash.size === length) return false;
  throw new OpError('unsupported', `check block ${cid}`, {
    hint: `kitfs verifies ${DIGEST_NAMES} only`,
    details: { cid: cid.toString(), hash: code },
  });
}

function isOf({ multihash }: CID, bytes: Uint8Array): boolean {
  const digest = digestKind(multihash.code)?.digest(bytes);
  return digest !== undefined && Buffer.compare(digest, multihash.digest) === 0;
}
