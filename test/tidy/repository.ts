/**
 * The laws of the repository as a whole. Each is a function of its files that returns its offenders; an empty list
 * means that the law is kept.
 */
import { posix } from 'node:path';
import type { RepositoryFile } from './files.ts';
import { placesOf } from './files.ts';

const TOP_LEVEL = new Set(
  'package.json package-lock.json tsconfig.json src native test systemd README.md LICENSE-APACHE LICENSE-MIT'.split(
    ' ',
  ),
);

export function strayEntries(files: readonly RepositoryFile[]): string[] {
  const tops = new Set(files.map(({ path }) => path.split('/')[0] ?? ''));
  return [...tops].filter((top) => !TOP_LEVEL.has(top) && !top.startsWith('.'));
}

/** What a reader of the repository must find. */
const EXPECTED = [
  'README.md',
  'src/README.md',
  'src/DECISIONS.md',
  'src/vfs/SEMANTICS.md',
  'src/journal/SCHEMA.md',
  'src/cli/main.ts',
  'native/binding.gyp',
  'systemd/kitfs.service',
  'systemd/kitfs-keeper.service',
  'systemd/user/kitfs.service',
];

export function absentees(files: readonly RepositoryFile[]): string[] {
  return EXPECTED.filter((path) => !files.some((file) => file.path === path));
}

const CODE_IN_MARKDOWN = /```[\s\S]*?```|`[^`\n]*`/g;
const LINK = /\]\(<?([^)\s>]+)>?[^)]*\)/g;

export function deadLinks(files: readonly RepositoryFile[]): string[] {
  const paths = files.map(({ path }) => path);
  const exists = (path: string) =>
    paths.includes(path) || paths.some((other) => other.startsWith(`${path}/`));
  return files
    .filter(({ path }) => path.endsWith('.md'))
    .flatMap(({ path, text }) =>
      [...text.replace(CODE_IN_MARKDOWN, '').matchAll(LINK)]
        .map(([, link = '']) => link.split('#')[0] ?? '')
        .filter((link) => link !== '' && !/^[a-z]+:/.test(link))
        .filter((link) => !exists(posix.join(posix.dirname(path), link).replace(/\/$/, '')))
        .map((link) => `${path} links to ${link}`),
    );
}

/** A lock file that names a host sends everyone to the registry of whoever wrote it. */
export function lockedHosts(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(({ path }) => path === 'package-lock.json')
    .flatMap(({ path, text }) => placesOf(path, text, /"resolved":\s*"\w+:\/\//g));
}

/** Versions are exact: what was tested is what is installed. */
export function looseVersions(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(({ path }) => path === 'package.json')
    .flatMap(({ text }) => {
      const { dependencies = {}, devDependencies = {} } = JSON.parse(text) as Partial<
        Record<string, Record<string, string>>
      >;
      return Object.entries({ ...dependencies, ...devDependencies })
        .filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))
        .map(([name, version]) => `${name}: ${version}`);
    });
}
