/**
 * The laws of who may know whom. Each is a function of the repository's files that returns its offenders; an empty
 * list means that the law is kept.
 */

import type { RepositoryFile } from './files.ts';
import { importsOf, isSource, moduleOf, placesOf, withoutComments } from './files.ts';

/** From the ground up. A module imports from lower floors and from itself, never sideways. */
const FLOORS: readonly (readonly string[])[] = [
  ['base'],
  ['journal', 'backend'],
  ['content', 'events'],
  ['vfs', 'sync', 'node', 'catalog', 'services'],
  ['tools'],
  ['fuse', 'mcp'],
  ['daemon'],
  ['cli'],
];

const floorOf = (module: string) => FLOORS.findIndex((floor) => floor.includes(module));

export function homeless(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(isSource)
    .map(({ path }) => path)
    .filter((path) => floorOf(moduleOf(path)) < 0);
}

/** Imports from one file of src/ into another, with their modules. */
function crossings(files: readonly RepositoryFile[]) {
  return importsOf(files.filter(isSource))
    .filter(({ target }) => target.includes('/') && target.endsWith('.ts'))
    .map(({ path, target }) => ({ path, target, from: moduleOf(path), to: moduleOf(target) }))
    .filter(({ from, to }) => from !== to);
}

export function importsUpward(files: readonly RepositoryFile[]): string[] {
  return crossings(files)
    .filter(({ from, to }) => floorOf(to) < 0 || floorOf(to) >= floorOf(from))
    .map(({ path, target }) => `${path} imports ${target}`);
}

/** `base` is open to all; `daemon` may reach past a face, because wiring is its work. */
export function sideEntrances(files: readonly RepositoryFile[]): string[] {
  return crossings(files)
    .filter(({ from, to }) => to !== 'base' && from !== 'daemon')
    .filter(({ target, to }) => target !== `src/${to}/${to}.ts`)
    .map(({ path, target }) => `${path} imports ${target}`);
}

export function importsOfSourcesByNativeOrTests(files: readonly RepositoryFile[]): string[] {
  return importsOf(files.filter(isSource))
    .filter(({ target }) => /^(test|native|dist)\//.test(target) || target.startsWith('..'))
    .map(({ path, target }) => `${path} imports ${target}`);
}

/** Only the file that bears the module's name may pass on what is another's: it is the face, and says each name. */
export function barrels(files: readonly RepositoryFile[]): string[] {
  const anything = /\bexport\s+(type\s+)?(\*|\{[^}]*\})[^;'\n]*\sfrom '\./g;
  const everything = /\bexport\s+(type\s+)?\*[^;'\n]*\sfrom\b|\bexport\b[^;]*\sfrom '\.\.\//g;
  return files.filter(isSource).flatMap(({ path, text }) => {
    const isFace = path === `src/${moduleOf(path)}/${moduleOf(path)}.ts`;
    return placesOf(path, withoutComments(text), isFace ? everything : anything);
  });
}

/** A package or a part of Node → the modules of src/ that may import it. */
const ONLY_FOR: readonly (readonly [RegExp, readonly string[]])[] = [
  // Our own Unix sockets; outward connections are the backends'.
  [/^node:net$/, ['backend', 'mcp', 'daemon', 'cli']],
  // MCP over HTTP on the same socket.
  [/^node:http$/, ['backend', 'mcp']],
  [/^(node:(https|http2|tls|dgram|dns)(\/promises)?|undici)$/, ['backend']],
  [/^better-sqlite3$/, ['journal']],
  [/^@modelcontextprotocol\//, ['mcp']],
  [/^commander$/, ['cli']],
  [/^smol-toml$/, ['daemon']],
];

export function misplacedPackages(files: readonly RepositoryFile[]): string[] {
  return importsOf(files.filter(isSource))
    .filter(({ path, target }) =>
      ONLY_FOR.some(([name, modules]) => name.test(target) && !modules.includes(moduleOf(path))),
    )
    .map(({ path, target }) => `${path} imports ${target}`);
}

/** Only `base/native.ts` loads the addon. */
export function addonLoaders(files: readonly RepositoryFile[]): string[] {
  return files
    .filter((file) => isSource(file) && file.path !== 'src/base/native.ts')
    .flatMap(({ path, text }) =>
      placesOf(path, withoutComments(text), /\.node['"`]|\bprocess\.dlopen\b/g),
    );
}

/**
 * Files that store blocks, or hold what is there. Each is only reached through work that `Holding.during` counts: a
 * publication, a restoration, a round of a mutable tree, a tool call that changes something. Or it says why not.
 */
const STORERS: readonly string[] = [
  'src/daemon/ipfs-ports.ts',
  'src/daemon/meaning.ts', // What it reads on the way to a tree no root names.
  'src/node/mfs-draft.ts',
  'src/node/mfs.ts',
  'src/sync/assemble.ts',
  'src/sync/manifest-lists.ts',
  'src/sync/publish.ts',
  'src/sync/release.ts', // It is who lets go.
  'src/sync/restore.ts',
  'src/sync/writing.ts',
  'src/tools/pins.ts',
  'src/tools/toolset-ipfs-dag.ts',
  'src/tools/toolset-ipfs-get.ts',
  'src/tools/toolset-ipfs.ts',
];
const STORES = new RegExp(
  '\\b(blocks|contents?)\\.(put|putAll|hold)\\(|' +
    '\\.(keeping|gathering|addBytes|addStream|buildDirectory|buildSymlink)\\(',
  'g',
);

export function unknownStorers(files: readonly RepositoryFile[]): string[] {
  return files
    .filter((file) => isSource(file) && !['content', 'journal'].includes(moduleOf(file.path) ?? ''))
    .filter(({ path }) => !STORERS.includes(path))
    .flatMap(({ path, text }) => placesOf(path, withoutComments(text), STORES));
}

/** Only `journal/` knows SQL. A derived store that keeps its own, in one file, is named here with its reason. */
const SQL_BESIDES: readonly (readonly [string, string])[] = [];
const VERBS =
  'select insert update delete replace create drop alter begin commit with pragma attach';
const SQL = new RegExp(
  `\\b(prepare|exec|pragma)\\(\\s*['"\`]\\s*(${VERBS.replaceAll(' ', '|')})\\b`,
  'gi',
);

export function strayQueries(files: readonly RepositoryFile[]): string[] {
  return files
    .filter((file) => isSource(file) && moduleOf(file.path) !== 'journal')
    .filter(({ path }) => !SQL_BESIDES.some(([allowed]) => allowed === path))
    .flatMap(({ path, text }) => placesOf(path, withoutComments(text), SQL));
}
