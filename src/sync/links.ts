/** Which names of a tree are names of one inode, so that two trees can be compared in it. */
import type { Ino, Name } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import type { Journal } from '../journal/journal.ts';
import { namesIn } from './planning.ts';
import type { RemoteEntry } from './remote.ts';

/** Of every path that is no directory, all that are names of the same inode, itself included. */
export type Links = ReadonlyMap<Name, readonly Name[]>;

/** Of a tree whose manifest is known. */
export function linksThere(root: RemoteEntry): Links {
  const links = new Map<Name, Name[]>();
  const groups = new Map<Name, Name[]>();
  const waiting = [root];
  for (let entry = waiting.pop(); entry !== undefined; entry = waiting.pop()) {
    waiting.push(...entry.children);
    if (entry.type !== 'directory') join(links, groups, entry.sameAs ?? entry.path, entry.path);
  }
  return sorted(links);
}

/** Of a directory. */
export function linksHere(journal: Journal, root: Ino): Links {
  const links = new Map<Name, Name[]>();
  const groups = new Map<Ino, Name[]>();
  const waiting = [{ ino: root, prefix: '' }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    for (const [name, { ino, mode }] of namesIn(journal, next.ino)) {
      const path = `${next.prefix}${name}` as Name;
      if (isDirectory(mode)) waiting.push({ ino, prefix: `${path}/` });
      else join(links, groups, ino, path);
    }
  }
  return sorted(links);
}

function join<Key>(links: Map<Name, Name[]>, groups: Map<Key, Name[]>, key: Key, path: Name): void {
  const group = groups.get(key) ?? [];
  group.push(path);
  groups.set(key, group);
  links.set(path, group);
}

function sorted(links: Map<Name, Name[]>): Links {
  for (const group of new Set(links.values())) if (group.length > 1) group.sort();
  return links;
}

/**
 * Whether a path shares its inode with the same others in two trees, of those that both have.
 * Where nothing is known of one of them, it does.
 */
export function areLinkedAlike(
  path: Name,
  one: Links | undefined,
  other: Links | undefined,
): boolean {
  if (one === undefined || other === undefined) return true;
  const inOne = (one.get(path) ?? []).filter((name) => other.has(name));
  const inOther = (other.get(path) ?? []).filter((name) => one.has(name));
  return inOne.length === inOther.length && inOne.every((name, at) => name === inOther[at]);
}
