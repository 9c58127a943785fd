/** `add`: which parameters make which CIDs, and what Kubo says while it takes the bytes. */

import { type Fields, invalid } from '../http/wire.ts';
import type { Added, AddOptions, CidProfile } from '../node.ts';

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * IPIP-499, each parameter that Kubo has given explicitly: its own defaults follow its configuration.
 * How it measures when a directory is sharded, and from which size on, cannot be given.
 */
const PROFILES: Readonly<Record<CidProfile, Query>> = {
  'unixfs-v1-2025': {
    'cid-version': 1,
    'raw-leaves': true,
    chunker: 'size-1048576',
    'max-file-links': 1024,
  },
  'unixfs-v0-2015': {
    'cid-version': 0,
    'raw-leaves': false,
    chunker: 'size-262144',
    'max-file-links': 174,
  },
};

const ALL: Query = {
  hash: 'sha2-256',
  trickle: false,
  inline: false,
  nocopy: false,
  'max-directory-links': 0,
  'max-hamt-fanout': 256,
  'empty-dirs': true,
  'preserve-mode': false,
  'preserve-mtime': false,
  progress: true,
};

/** @param options What to keep of the entries decides the leaves too, so it is asked beforehand. */
export function addQuery({ profile, pin, onlyHash, wrap, metadata }: AddOptions): Query {
  const kept = metadata === true;
  return {
    ...ALL,
    ...PROFILES[profile],
    // A root that holds a mode is no raw block, and Kubo takes no leaves of another kind beside it.
    ...(kept ? { 'preserve-mode': true, 'preserve-mtime': true, 'raw-leaves': undefined } : {}),
    pin: pin !== undefined,
    'pin-name': pin?.name,
    'only-hash': onlyHash === true,
    'wrap-with-directory': wrap === true,
  };
}

/**
 * The root is what was added last.
 * @throws OpError response-invalid: nothing was.
 */
export async function readAdded(
  lines: AsyncIterable<Fields>,
  { onAdded, onProgress }: AddOptions,
): Promise<Added> {
  let last: Added | undefined;
  // Bytes are told by file, one after another.
  let [name, ofThis, ofOthers] = ['', 0, 0];
  for await (const line of lines) {
    const path = line.text('Name');
    if (!line.has('Hash')) {
      if (path !== name) [name, ofOthers] = [path, ofOthers + ofThis];
      ofThis = line.count('Bytes');
      onProgress?.(ofOthers + ofThis);
      continue;
    }
    last = { path, cid: line.cid('Hash'), cumulativeSize: line.count('Size') };
    onAdded?.(last);
  }
  if (last === undefined) throw invalid('add', 'nothing was added');
  return last;
}
