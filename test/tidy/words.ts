/**
 * The laws of names, calls and sizes. Each is a function of the repository's files that returns its offenders; an empty
 * list means that the law is kept.
 */
import { posix } from 'node:path';
import type { RepositoryFile } from './files.ts';
import { isCode, isSource, isTest, moduleOf, placesOf, withoutComments } from './files.ts';

const LINES_MAX = 500;
const COLUMNS_MAX = 120;

export function longFiles(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(isCode)
    .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
    .filter(({ lines }) => lines > LINES_MAX)
    .map(({ path, lines }) => `${path}: ${lines} lines`);
}

export function longLines(files: readonly RepositoryFile[]): string[] {
  const long = new RegExp(`^.{${COLUMNS_MAX + 1},}$`, 'gm');
  return files.filter(isCode).flatMap(({ path, text }) => placesOf(path, text, long));
}

/** The test that plants offenders quotes them. */
const isPlanting = ({ path }: RepositoryFile) => path === 'test/tidy/tidy.test.ts';

/** Words that say nothing about a thing. The noun of the field is in STYLE: who is it, what does it do? */
const EMPTY_WORDS = new Set(
  'manager helper util handler processor service impl abstract data info common misc'.split(' '),
);
/** `services/` is the module of supervised processes, and the word means nothing else. */
const SERVICES = 'services';

const wordsOf = (name: string) =>
  name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.toLowerCase());

function isEmptyName(name: string, path: string): boolean {
  return wordsOf(name).some((word) => {
    const one = word.replace(/s$/, '');
    if (one === 'service' && (moduleOf(path) === SERVICES || name === SERVICES)) return false;
    return EMPTY_WORDS.has(word) || EMPTY_WORDS.has(one);
  });
}

export function emptyFileNames(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(({ path }) => /^(src|native|test)\//.test(path))
    .map(({ path }) => path)
    .filter((path) => path.split('/').some((part) => isEmptyName(part, path)));
}

const EXPORTED =
  /\bexport\s+(?:declare\s+|abstract\s+|async\s+)*(const|function\*?|class|interface|type)\s+(\w+)/g;

export function emptyExportedNames(files: readonly RepositoryFile[]): string[] {
  return files
    .filter((file) => isSource(file) || (isTest(file) && !isPlanting(file)))
    .flatMap(({ path, text }) =>
      [...withoutComments(text).matchAll(EXPORTED)]
        .filter(([, kind = '', name = '']) => {
          // `base` is a word of ours (the version a change was made over), `XBase` and `IThing` are not.
          const isType = /^(class|interface|type)$/.test(kind);
          // A constant of the kernel keeps the kernel's name (SEEK_DATA).
          const isEmpty = isEmptyName(name, path) && !/^[A-Z0-9_]+$/.test(name);
          return isEmpty || (isType && /^I[A-Z][a-z]|^Base[A-Z]|Base$/.test(name));
        })
        .map(([, , name]) => `${path} exports ${name}`),
    );
}

interface Ban {
  readonly call: RegExp;
  readonly instead: string;
  /** Files, or folders ending in `/`, that may, each with the reason. */
  readonly but: Readonly<Record<string, string>>;
}

const CLOCK = { 'src/base/clock.ts': 'is the clock' };
const BANS: readonly Ban[] = [
  { call: /\bDate\.now\b|\bnew Date\(\)/g, instead: 'the Clock (base/clock.ts)', but: CLOCK },
  {
    call: /\bperformance\.now\b|\bprocess\.hrtime\b/g,
    instead: 'the Clock (base/clock.ts)',
    but: CLOCK,
  },
  {
    call: /\bset(Timeout|Interval)\(|'node:timers(\/promises)?'/g,
    instead: 'the Clock (base/clock.ts)',
    but: CLOCK,
  },
  {
    // It is held by nothing, may be collected, and then never aborts.
    call: /\bAbortSignal\.any\([^;]*AbortSignal\.timeout/g,
    instead: 'within (base/clock.ts)',
    but: {},
  },
  {
    call: /\bMath\.random\b|\brandom(Bytes|UUID|Int|FillSync)\(|\bgetRandomValues\(/g,
    instead: 'the Random (base/random.ts)',
    but: { 'src/base/random.ts': 'is the randomness' },
  },
  {
    call: /\bconsole\.\w+/g,
    instead: 'the log (base/log.ts)',
    but: { 'src/cli/': 'its output is for people and scripts' },
  },
  {
    call: /\bprocess\.env\b/g,
    instead: 'the configuration (daemon/config.ts)',
    but: { 'src/daemon/config.ts': 'is the configuration' },
  },
  {
    call: /\b\w+Sync\(/g,
    instead: 'the promises of node:fs, because the event loop answers the kernel',
    but: {
      'src/journal/': 'the journal is synchronous by design: one writer, no await in a transaction',
      'src/content/': 'reads and writes on the request path are single calls on local descriptors',
      'src/fuse/': 'the loop that answers the kernel is synchronous by design',
      'src/vfs/statfs.ts': 'statfs of the state directory is answered from memory',
      'src/base/native.ts': 'loads the addon once, before anything waits',
      'src/daemon/': 'starts and stops while nobody waits for an answer',
    },
  },
  {
    call: /\bprocess\.exit\(/g,
    instead: 'process.exitCode, or an error that the command answers for',
    but: { 'src/cli/': 'argv in, exit code out' },
  },
];

const isAllowed = (path: string, { but }: Ban) =>
  Object.keys(but).some((place) => (place.endsWith('/') ? path.startsWith(place) : path === place));

export function bannedCalls(files: readonly RepositoryFile[]): string[] {
  return files.filter(isSource).flatMap(({ path, text }) => {
    const code = withoutComments(text);
    return BANS.filter((ban) => !isAllowed(path, ban)).flatMap((ban) =>
      placesOf(path, code, ban.call).map((place) => `${place}: use ${ban.instead}`),
    );
  });
}

/** State of a module outlives whoever made it, and two of a kind share it. */
export function moduleState(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(isSource)
    .flatMap(({ path, text }) =>
      placesOf(path, withoutComments(text), /^(export\s+)?(let|var)\s/gm),
    );
}

/** Put together here, so that this file is not its own offender. */
const LEFTOVER = new RegExp(`\\b(${['FIX' + 'ME', 'TO' + 'DO', 'X' + 'XX'].join('|')})\\b`, 'g');

export function leftovers(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(({ text }) => text !== '')
    .flatMap(({ path, text }) => placesOf(path, text, LEFTOVER));
}

export function unopenedFiles(files: readonly RepositoryFile[]): string[] {
  return files
    .filter(({ path }) => /^(src|native)\/.*\.(ts|mjs|cc|h)$/.test(path))
    .filter(({ text }) => !/^(#!.*\n)?(\/\*\*|\/\/)/.test(text))
    .map(({ path }) => path);
}

/** A test that does not run, or runs until it passes, is not one. */
const NOT_RUN =
  /\b(test|it|describe|suite)\.(skip|only|todo|skipIf|runIf|fails)\b|(?<![\w#])skip\(|\bretry:\s*[1-9]/g;

export function testsNotRun(files: readonly RepositoryFile[]): string[] {
  return files
    .filter((file) => isTest(file) && !isPlanting(file))
    .flatMap(({ path, text }) => placesOf(path, withoutComments(text), NOT_RUN));
}

export function untested(files: readonly RepositoryFile[]): string[] {
  const tests = files.filter(isTest);
  return files
    .filter(isSource)
    .map(({ path }) => path)
    .filter((path) => {
      const folder = `test/${moduleOf(path)}/`;
      const name = posix.basename(path);
      return !tests.some((test) => test.path.startsWith(folder) || test.text.includes(`/${name}'`));
    });
}
