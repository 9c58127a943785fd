/**
 * One coverage of the sources out of two kinds: what the tests ran in process (vitest's map of each project), and what
 * child processes ran of dist/ (V8's own files, written because of NODE_V8_COVERAGE). Holds the threshold.
 *
 * The map of the tests decides what there is to cover: it lists every file of src/, also those that no test loaded. The
 * children's map is brought to the sources through the source maps and only adds counts to it. The two come
 * from different compilers, so a place is recognised by where it starts in the source; a child's count that finds no
 * place is dropped. Thus the result may be too low by a little, and is never too high.
 */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mergeProcessCovs } from '@bcoe/v8-coverage';
import convert from 'ast-v8-to-istanbul';
import coverage from 'istanbul-lib-coverage';
import report from 'istanbul-lib-report';
import reports from 'istanbul-reports';
import { parseAstAsync } from 'vitest/node';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const REPORTS = join(ROOT, 'reports');
const CHILDREN = join(REPORTS, 'child-coverage');
const PROJECTS = ['unit', 'integration', 'smoke'];

/** Percent. May only rise. */
const THRESHOLD = { lines: 90, branches: 90 };
/** V8 files merged at a time: each is a megabyte or so of JSON. */
const BATCH_SIZE = 20;

/** What the tests ran in process. Throws when a project left no map: a hole must not look like a low number. */
function readProjects() {
  const map = coverage.createCoverageMap({});
  for (const project of PROJECTS) {
    const path = join(REPORTS, project, 'coverage/coverage-final.json');
    map.merge(JSON.parse(readFileSync(path, 'utf8')));
  }
  return map;
}

/** What all children together ran of dist/src, as V8 counts it. */
function readChildren() {
  const ours = `${pathToFileURL(join(ROOT, 'dist/src')).href}/`;
  const paths = existsSync(CHILDREN)
    ? readdirSync(CHILDREN).map((name) => join(CHILDREN, name))
    : [];
  let merged = { result: [] };
  for (let from = 0; from < paths.length; from += BATCH_SIZE) {
    const batch = [];
    for (const path of paths.slice(from, from + BATCH_SIZE)) {
      try {
        const { result } = JSON.parse(readFileSync(path, 'utf8'));
        batch.push({ result: result.filter(({ url }) => url.startsWith(ours)) });
      } catch (error) {
        // A child that was killed while it wrote. Its counts are lost, not invented.
        if (!(error instanceof SyntaxError)) throw error;
      }
    }
    merged = mergeProcessCovs([merged, ...batch]);
  }
  console.log(`coverage of ${paths.length} child processes, ${merged.result.length} files`);
  return merged.result;
}

/** The children's counts as an Istanbul map of the sources. */
async function toSources(scripts) {
  const map = coverage.createCoverageMap({});
  for (const { url, functions } of scripts) {
    const path = fileURLToPath(url);
    const code = readFileSync(path, 'utf8');
    const sourceMap = JSON.parse(readFileSync(`${path}.map`, 'utf8'));
    const ast = await parseAstAsync(code);
    map.merge(
      await convert({ code, sourceMap, ast, coverage: { url, functions }, wrapperLength: 0 }),
    );
  }
  return map;
}

const startOf = ({ start }) => `${start.line}:${start.column}`;

/**
 * Finds the children's count for a place: by `exact`, where it starts; else by `near`, when only one thing of that kind
 * starts on that line. A compiler that rewrites a statement (`using`) moves its start along the line.
 */
function countsBy(entries, exact, near) {
  const found = new Map();
  const onLine = new Map();
  for (const [place, count] of entries) {
    found.set(exact(place), count);
    onLine.set(near(place), [...(onLine.get(near(place)) ?? []), count]);
  }
  return (place) => {
    const alone = onLine.get(near(place)) ?? [];
    return found.get(exact(place)) ?? (alone.length === 1 ? alone[0] : undefined);
  };
}

/** Adds the counts of the children's `from` to `into`, both of one source file, place by place. */
function addCounts(into, from) {
  const pairs = (places, counts) => Object.entries(places).map(([id, at]) => [at, counts[id]]);

  const line = ({ start }) => start.line;
  const statement = countsBy(pairs(from.statementMap, from.s), startOf, line);
  for (const [id, at] of Object.entries(into.statementMap)) into.s[id] += statement(at) ?? 0;

  // Not `loc`: where the body starts depends on the types that were taken out before it.
  const declared = ({ decl }) => startOf(decl);
  const named = ({ name, decl }) => `${name} ${decl.start.line}`;
  const called = countsBy(pairs(from.fnMap, from.f), declared, named);
  for (const [id, at] of Object.entries(into.fnMap)) into.f[id] += called(at) ?? 0;

  const kind = ({ type, locations }) => `${type} ${locations.length}`;
  const forked = (at) => `${kind(at)} ${startOf(at.loc)}`;
  const forkedNear = (at) => `${kind(at)} ${at.loc.start.line}`;
  const taken = countsBy(pairs(from.branchMap, from.b), forked, forkedNear);
  for (const [id, at] of Object.entries(into.branchMap)) {
    const counts = taken(at) ?? [];
    into.b[id] = into.b[id].map((count, arm) => count + (counts[arm] ?? 0));
  }
}

const total = readProjects();
const children = await toSources(readChildren());
for (const path of children.files()) {
  if (total.files().includes(path)) {
    addCounts(total.fileCoverageFor(path).data, children.fileCoverageFor(path).data);
  }
}
rmSync(CHILDREN, { recursive: true, force: true });

const folder = join(REPORTS, 'coverage');
const context = report.createContext({ dir: folder, coverageMap: total });
for (const [kind, options] of [
  ['html', {}],
  ['json', {}],
  ['text', { maxCols: 110 }],
]) {
  reports.create(kind, options).execute(context);
}
const summary = total.getCoverageSummary();
writeFileSync(join(folder, 'summary.json'), JSON.stringify(summary, null, 2));

let isEnough = total.files().length > 0;
if (!isEnough) console.error('no source file was covered');
for (const [what, least] of Object.entries(THRESHOLD)) {
  const { pct } = summary[what];
  console.log(`coverage of ${what}: ${pct} % (at least ${least} %)`);
  if (!(pct >= least)) isEnough = false;
}
process.exitCode = isEnough ? 0 : 1;
