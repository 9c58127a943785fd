/**
 * Paths as tools take them: absolute paths of the tree, and paths into content by CID or name.
 * All checks are on segments, never on prefixes of text.
 */
import { type Name, nameOfText } from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import { type CID, parseCid } from '../content/content.ts';

/** The whole path, in UTF-8 (the contract's number, one more than the kernel's). */
const TREE_PATH_BYTES_MAX = 4096;

export interface PathFault {
  readonly failure: 'invalid-path' | 'name-too-long' | 'invalid-cid';
  readonly expected: string;
}

/** What is wrong with `path` as an absolute path of the tree; undefined when it is one. */
export function faultOfTreePath(path: string): PathFault | undefined {
  const invalid = (expected: string): PathFault => ({ failure: 'invalid-path', expected });
  if (!path.startsWith('/')) return invalid('an absolute path');
  if (path.includes('\0')) return invalid('a path without NUL');
  if (!isWellFormed(path)) return invalid('valid Unicode');
  if (Buffer.byteLength(path) > TREE_PATH_BYTES_MAX) {
    return { failure: 'name-too-long', expected: `at most ${TREE_PATH_BYTES_MAX} bytes` };
  }
  for (const segment of splitTreePath(path)) {
    if (segment === '') return invalid('a path without empty segments');
    if (segment === '.' || segment === '..') return invalid('a path without dot segments');
    if (Buffer.byteLength(segment) > NAME_BYTES_MAX) {
      return { failure: 'name-too-long', expected: `segments of at most ${NAME_BYTES_MAX} bytes` };
    }
  }
  return undefined;
}

/** Whether every surrogate has its other half, so that the text has an encoding in UTF-8. */
export const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);

/** Drops one `/` at the end; the root stays. */
export const withoutTrailingSlash = (path: string): string =>
  path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;

function splitTreePath(path: string): readonly string[] {
  const bare = withoutTrailingSlash(path);
  return bare === '/' ? [] : bare.slice(1).split('/');
}

/** The names of a checked path, from the root on; none for `/`. */
export const namesOf = (path: string): readonly Name[] => splitTreePath(path).map(nameOfText);

/** `/ipfs/a b` → `kitfs://tree/ipfs/a%20b`. */
export const treeUri = (path: string): string => `kitfs://tree/${encodeSegments(path)}`;

/** The path in a URI that `treeUri` made; undefined: it is another one. */
export function placeOfTreeUri(uri: string): string | undefined {
  const [, rest] = /^kitfs:\/\/tree\/(.*)$/s.exec(uri) ?? [];
  return rest === undefined ? undefined : `/${rest.split('/').map(decodeURIComponent).join('/')}`;
}

/** An IPFS path as a path of the tree, where its content is seen: `/ipfs/<cid>[/sub]`. */
export function placeOfContent(text: string): string | undefined {
  const parsed = parseIpfsPath(text);
  if (parsed === undefined) return undefined;
  const root = parsed.kind === 'ipfs' ? parsed.cid.toString() : parsed.name;
  return ['', parsed.kind, root, ...parsed.segments].join('/');
}

/** A path of MFS as a path of the tree, where MFS is seen. */
export const placeOfMfs = (path: string): string => (path === '/' ? '/mfs' : `/mfs${path}`);

/** `/a b` of MFS → `kitfs://mfs/a%20b`. */
export const mfsUri = (path: string): string => `kitfs://mfs/${encodeSegments(path)}`;

/** `kitfs://ipfs/<cid>[/sub]`. */
export const ipfsUri = (cid: string, segments: readonly string[] = []): string =>
  ['kitfs://ipfs', cid, ...segments.map((segment) => encodeURIComponent(segment))].join('/');

const encodeSegments = (path: string): string =>
  splitTreePath(path)
    .map((segment) => encodeURIComponent(segment))
    .join('/');

/** Content by hash or by name, and the links to follow from its root. */
export type IpfsPath =
  | { readonly kind: 'ipfs'; readonly cid: CID; readonly segments: readonly string[] }
  | { readonly kind: 'ipns'; readonly name: string; readonly segments: readonly string[] };

/** v0 or v1 in any multibase; undefined when it is no CID. */
export function cidOf(text: string): CID | undefined {
  try {
    return parseCid(text);
  } catch {
    return undefined;
  }
}

/** `<cid>[/sub]`, `/ipfs/<cid>[/sub]`, `/ipns/<name>[/sub]` or the two as URIs; else undefined. */
export function parseIpfsPath(text: string): IpfsPath | undefined {
  const uri = /^(ipfs|ipns):\/\/(.*)$/s.exec(text);
  const parts = uri === null ? pathParts(text) : uriParts(uri[1] ?? '', uri[2] ?? '');
  const [kind, root, ...segments] = parts ?? [];
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    return undefined;
  }
  if (kind === 'ipns') {
    return root === undefined || !/^[\w.-]{1,255}$/.test(root)
      ? undefined
      : { kind, name: root, segments };
  }
  const cid = kind === 'ipfs' ? cidOf(root ?? '') : undefined;
  return cid === undefined ? undefined : { kind: 'ipfs', cid, segments };
}

function pathParts(text: string): readonly string[] {
  const bare = withoutTrailingSlash(text);
  return bare.startsWith('/') ? bare.slice(1).split('/') : ['ipfs', ...bare.split('/')];
}

function uriParts(scheme: string, rest: string): readonly string[] | undefined {
  try {
    return [scheme, ...withoutTrailingSlash(rest).split('/').map(decodeURIComponent)];
  } catch {
    return undefined;
  }
}
