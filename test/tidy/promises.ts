/**
 * The promises of SEMANTICS.md, and the tests that prove them. Each item of a list bears its proof, or the paragraph
 * above the list does: `Proof:` and, for each file in backticks, titles in “quotation marks”. A title is that of a
 * test, or that of its group and its own, as the test runner prints them.
 */
import type { RepositoryFile } from './files.ts';
import { withoutComments } from './files.ts';

const PROMISES = 'src/vfs/SEMANTICS.md';
const PROOF = /`(test\/[\w./-]+)`((?:,? “[^”]+”)+)/g;
/** What a call, a row of a table, or a field `title` begins with. */
const TITLE = /(?:\(|\btitle: )\s*('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`),/g;

export function unprovenPromises(files: readonly RepositoryFile[]): string[] {
  return promisesIn(files)
    .filter(({ proofs }) => proofs.length === 0)
    .map(({ text }) => `nothing proves: ${text.slice(0, 80)}`);
}

export function missingProofs(files: readonly RepositoryFile[]): string[] {
  const known = new Map<string, ReadonlySet<string>>();
  const titlesOf = (path: string): ReadonlySet<string> => {
    const text = files.find((file) => file.path === path)?.text ?? '';
    const titles = known.get(path) ?? titlesIn(text);
    known.set(path, titles);
    return titles;
  };
  return promisesIn(files)
    .flatMap(({ proofs }) => proofs)
    .filter(({ path, title }) => !isTitle(title, titlesOf(path)))
    .map(({ path, title }) => `${path} has no test “${title}”`);
}

interface Promised {
  readonly text: string;
  readonly proofs: readonly { readonly path: string; readonly title: string }[];
}

/** Items of lists, each with the proofs of its own or of the paragraph above. */
function promisesIn(files: readonly RepositoryFile[]): Promised[] {
  const text = files.find(({ path }) => path === PROMISES)?.text ?? '';
  const promised: Promised[] = [];
  let above: Promised['proofs'] = [];
  for (const block of text.split('\n\n')) {
    if (!block.startsWith('- ')) {
      above = proofsIn(block);
      continue;
    }
    for (const item of block.split(/\n(?=- )/)) {
      const own = proofsIn(item);
      promised.push({ text: item.trim(), proofs: own.length > 0 ? own : above });
    }
  }
  return promised;
}

function proofsIn(text: string): Promised['proofs'] {
  const line = text.replaceAll(/\s+/g, ' ');
  return [...line.matchAll(PROOF)].flatMap(([, path = '', titles = '']) =>
    [...titles.matchAll(/“([^”]+)”/g)].map(([, title = '']) => ({ path, title })),
  );
}

const titlesIn = (text: string): ReadonlySet<string> =>
  new Set(
    [...withoutComments(text).matchAll(TITLE)].map(([, literal = '']) =>
      literal.slice(1, -1).replaceAll(/\\(['"`])/g, '$1'),
    ),
  );

/** Whether it is one title, or two that are printed one behind the other. */
function isTitle(text: string, titles: ReadonlySet<string>): boolean {
  if (titles.has(text)) return true;
  for (let at = text.indexOf(' '); at >= 0; at = text.indexOf(' ', at + 1)) {
    if (titles.has(text.slice(0, at)) && titles.has(text.slice(at + 1))) return true;
  }
  return false;
}
