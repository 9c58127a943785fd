/**
 * What the laws of tidy look at: the files of the repository, as paths and text.
 *
 * Paths are relative to the root, with `/`. What is built, installed or reported is not part of the repository. Files
 * that are not text of ours are listed, with an empty text, so that a link to one leads somewhere.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

export interface RepositoryFile {
  readonly path: string;
  readonly text: string;
}

const NOT_OURS = new Set(['.git', 'node_modules', 'dist', 'reports', 'coverage']);
const TEXT = /\.(ts|mjs|cc|h|gyp|md|json|service|sh)$/;

/** Every file below `root`. */
export function filesBelow(root: string, folder = ''): RepositoryFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (NOT_OURS.has(path) || path === 'native/build') return [];
    if (entry.isDirectory()) return filesBelow(root, path);
    return [{ path, text: TEXT.test(path) ? readFileSync(join(root, path), 'utf8') : '' }];
  });
}

export interface Import {
  /** The importing file. */
  readonly path: string;
  /** What is imported: a path in the repository, or the name of a package. */
  readonly target: string;
}

/** Static, dynamic and side-effect imports, and re-exports. */
const IMPORT = /(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)'([^']+)'/g;

export function importsOf(files: readonly RepositoryFile[]): Import[] {
  return files.flatMap(({ path, text }) =>
    [...withoutComments(text).matchAll(IMPORT)].map(([, name = '']) => ({
      path,
      target: name.startsWith('.') ? posix.join(posix.dirname(path), name) : name,
    })),
  );
}

/** A string is taken whole, so that what looks like a comment in it is not one. */
const STRING_OR_COMMENT =
  /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;

/** The text with every comment blanked; lines keep their numbers. */
export function withoutComments(text: string): string {
  return text.replace(STRING_OR_COMMENT, (part) =>
    part.startsWith('/') ? part.replace(/[^\n]/g, ' ') : part,
  );
}

/** `path:line` of every match of `pattern` (which must be global) in `text`. */
export function placesOf(path: string, text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(
    ({ index }) => `${path}:${text.slice(0, index).split('\n').length}`,
  );
}

export const isSource = ({ path }: RepositoryFile): boolean =>
  path.startsWith('src/') && path.endsWith('.ts');

export const isTest = ({ path }: RepositoryFile): boolean =>
  path.startsWith('test/') && path.endsWith('.ts');

/** Code that people write and read, in whichever language. */
export const isCode = ({ path }: RepositoryFile): boolean =>
  /^(src|native|test)\//.test(path) && /\.(ts|mjs|cc|h)$/.test(path);

/** `src/vfs/rename.ts` → `vfs`. A file that lies in no module has the empty name. */
export function moduleOf(path: string): string {
  const [top, module = '', ...rest] = path.split('/');
  return top === 'src' && rest.length > 0 ? module : '';
}
