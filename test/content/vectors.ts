/** The 14 vectors of IPIP-499 by which Kubo 0.43 tests its two CID profiles. */
import type { Profile } from '../../src/content/content.ts';

/** A directory of files of one byte, `x`, with names of `nameLength` characters, the last aside. */
export interface DirectoryVector {
  readonly files: number;
  readonly nameLength: number;
  readonly lastNameLength: number;
  readonly cid: string;
}

export interface ProfileVectors {
  readonly profile: Profile;
  readonly chunkBytes: number;
  /** Links of one node. */
  readonly linksMax: number;
  /** CID of `hello world`. */
  readonly small: string;
  /** Seed of the bytes of the next two: exactly one chunk, and a byte more. */
  readonly chunkSeed: string;
  readonly atChunk: string;
  readonly overChunk: string;
  /** The same for a file of as many chunks as a node has links. */
  readonly linksSeed: string;
  readonly atLinks: string;
  readonly overLinks: string;
  /** Seed of the names of the next two, on both sides of the threshold of sharding. */
  readonly directorySeed: string;
  readonly plain: DirectoryVector;
  readonly sharded: DirectoryVector;
}

/** Bytes of a seed choose characters from it, modulo its length; the 0 is in it twice. */
export const ALPHABET = 'abcdefghijklmnopqrstuvwxyz01234567890-_';

export const VECTORS: readonly ProfileVectors[] = [
  {
    profile: 'unixfs-v0-2015',
    chunkBytes: 262144,
    linksMax: 174,
    small: 'Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD',
    chunkSeed: 'chunk-v0-seed',
    atChunk: 'QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE',
    overChunk: 'QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ',
    linksSeed: 'v0-seed',
    atLinks: 'QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2',
    overLinks: 'QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW',
    directorySeed: 'hamt-unixfs-v0-2015',
    plain: {
      files: 4096,
      nameLength: 30,
      lastNameLength: 30,
      cid: 'QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN',
    },
    sharded: {
      files: 4033,
      nameLength: 31,
      lastNameLength: 31,
      cid: 'QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP',
    },
  },
  {
    profile: 'unixfs-v1-2025',
    chunkBytes: 1048576,
    linksMax: 1024,
    small: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e',
    chunkSeed: 'chunk-v1-seed',
    atChunk: 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta',
    overChunk: 'bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64',
    linksSeed: 'v1-2025-seed',
    atLinks: 'bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm',
    overLinks: 'bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe',
    directorySeed: 'hamt-unixfs-v1-2025',
    plain: {
      files: 4766,
      nameLength: 11,
      lastNameLength: 21,
      cid: 'bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4',
    },
    sharded: {
      files: 4766,
      nameLength: 11,
      lastNameLength: 22,
      cid: 'bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu',
    },
  },
];
