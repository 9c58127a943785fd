/**
 * The laws of the code itself. Each is kept by the repository, and each is seen to fail on a planted offender: a law
 * that cannot fail is no law.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { RepositoryFile } from './files.ts';
import { filesBelow } from './files.ts';
import * as floors from './floors.ts';
import * as promises from './promises.ts';
import * as repository from './repository.ts';
import * as words from './words.ts';

interface Law {
  readonly title: string;
  readonly offendersAmong: (files: readonly RepositoryFile[]) => string[];
  /** Files that break the law, each in its own way; every one must be found. */
  readonly planted: Readonly<Record<string, string>>;
  /** Files that keep it, though they look as if they might not. */
  readonly innocent?: Readonly<Record<string, string>>;
}

const UNFINISHED = ['// TO', 'DO: later'].join('');

const LAWS: readonly Law[] = [
  {
    title: 'every module has a floor',
    offendersAmong: floors.homeless,
    planted: { 'src/attic/attic.ts': '', 'src/loose.ts': '' },
    innocent: { 'src/vfs/vfs.ts': '', 'src/README.md': '' },
  },
  {
    title: 'imports point down',
    offendersAmong: floors.importsUpward,
    planted: {
      'src/vfs/up.ts': "import { serve } from '../fuse/fuse.ts';",
      'src/vfs/sideways.ts': "import type { Sync } from '../sync/sync.ts';",
      'src/base/late.ts': "const late = await import('../journal/journal.ts');",
      'src/journal/attic.ts': "export { attic } from '../attic/attic.ts';",
    },
    innocent: {
      'src/vfs/down.ts': "import { open } from '../journal/journal.ts';",
      'src/vfs/spoken.ts': "// Not import { x } from '../fuse/fuse.ts';",
    },
  },
  {
    title: 'a module is entered by the file that bears its name',
    offendersAmong: floors.sideEntrances,
    planted: { 'src/vfs/rename.ts': "import { Rows } from '../journal/inodes.ts';" },
    innocent: {
      'src/daemon/wiring.ts': "import { Rows } from '../journal/inodes.ts';",
      'src/vfs/errors.ts': "import { OpError } from '../base/errors.ts';",
    },
  },
  {
    title: 'the sources know nothing of the tests',
    offendersAmong: floors.importsOfSourcesByNativeOrTests,
    planted: { 'src/vfs/vfs.ts': "import { fake } from '../../test/vfs/fake.ts';" },
  },
  {
    title: 'no file passes on what is another file’s',
    offendersAmong: floors.barrels,
    planted: {
      'src/vfs/all.ts': "export * from './vfs.ts';",
      'src/vfs/some.ts': "export { a, b } from './vfs.ts';",
      'src/vfs/types.ts': "export type { A } from './vfs.ts';",
      'src/vfs/vfs.ts': "export * from './rename.ts';",
      'src/journal/journal.ts': "export { assert } from '../base/assert.ts';",
    },
    innocent: {
      'src/vfs/own.ts': "export { a };\nimport { b } from './vfs.ts';",
      'src/fuse/fuse.ts': "export { serve } from './session.ts';",
      'src/content/cid.ts': "export type { CID } from 'multiformats/cid';",
    },
  },
  {
    title: 'a package is imported by the modules that own it',
    offendersAmong: floors.misplacedPackages,
    planted: {
      'src/vfs/socket.ts': "import { connect } from 'node:net';",
      'src/tools/fetch.ts': "import { request } from 'node:https';",
      'src/vfs/query.ts': "import Database from 'better-sqlite3';",
      'src/tools/server.ts': "import { Server } from '@modelcontextprotocol/sdk/server/index.js';",
    },
    innocent: { 'src/mcp/socket.ts': "import { createServer } from 'node:net';" },
  },
  {
    title: 'only base/native.ts loads the addon',
    offendersAmong: floors.addonLoaders,
    planted: {
      'src/fuse/addon.ts': "const addon = require('../../native/build/Release/kitfs.node');",
      'src/fuse/open.ts': 'process.dlopen(module, path);',
    },
    innocent: { 'src/base/native.ts': "require('../../native/build/Release/kitfs.node');" },
  },
  {
    title: 'only journal/ knows SQL',
    offendersAmong: floors.strayQueries,
    planted: { 'src/vfs/rows.ts': "db.prepare('SELECT ino FROM inode');" },
    innocent: { 'src/journal/rows.ts': "db.prepare('SELECT ino FROM inode');" },
  },
  {
    title: 'who stores blocks is known to who lets them go',
    offendersAmong: floors.unknownStorers,
    planted: {
      'src/vfs/a.ts': 'core.blocks.put(cid, bytes);',
      'src/vfs/b.ts': 'this.#blocks.putAll(made);',
      'src/sync/c.ts': 'contents.hold(id);',
      'src/sync/d.ts': 'const dag = filling.keeping();',
      'src/tools/e.ts': 'await builder.addBytes(bytes);',
    },
    innocent: {
      'src/content/f.ts': 'blocks.put(cid, bytes);',
      'src/fuse/g.ts': 'this.batch.hold(reply);',
    },
  },
  {
    title: 'files are short enough to read',
    offendersAmong: words.longFiles,
    planted: { 'src/vfs/long.ts': 'a;\n'.repeat(501), 'native/long.cc': 'a;\n'.repeat(501) },
    innocent: { 'src/vfs/full.ts': 'a;\n'.repeat(500) },
  },
  {
    title: 'lines are short enough to read',
    offendersAmong: words.longLines,
    planted: { 'test/vfs/wide.test.ts': 'x'.repeat(121) },
    innocent: { 'test/vfs/full.test.ts': 'x'.repeat(120) },
  },
  {
    title: 'files and folders have names that say something',
    offendersAmong: words.emptyFileNames,
    planted: { 'src/utils/string.ts': '', 'test/vfs/helpers.ts': '', 'native/fd_manager.cc': '' },
    innocent: { 'src/services/kubo.ts': '', 'src/base/bytes.ts': '' },
  },
  {
    title: 'what is exported has a name that says something',
    offendersAmong: words.emptyExportedNames,
    planted: {
      'src/vfs/a.ts': 'export class MountManager {}',
      'src/vfs/b.ts': 'export interface IMount {}',
      'src/vfs/c.ts': 'export const fileInfo = 1;',
      'src/vfs/d.ts': 'export class BackendBase {}',
      'src/vfs/e.ts': 'export async function handlersOf() {}',
    },
    innocent: {
      'src/vfs/f.ts': 'export interface Inode {}\nexport const SEEK_DATA = 3;',
      'src/services/g.ts': 'export interface Service {}',
    },
  },
  {
    title: 'a banned call is replaced by what the rule names',
    offendersAmong: words.bannedCalls,
    planted: {
      'src/vfs/a.ts': 'const now = Date.now();',
      'src/vfs/b.ts': 'const now = new Date();',
      'src/vfs/c.ts': 'const now = performance.now();',
      'src/vfs/d.ts': 'setTimeout(run, 1);',
      'src/vfs/e.ts': 'const chance = Math.random();',
      'src/vfs/f.ts': 'console.log(1);',
      'src/vfs/g.ts': "const home = process.env['HOME'];",
      'src/vfs/h.ts': 'readFileSync(path);',
      'src/vfs/i.ts': 'process.exit(1);',
      'src/vfs/k.ts': 'const signal = AbortSignal.any([one, AbortSignal.timeout(1)]);',
    },
    innocent: {
      'src/vfs/j.ts': '// Not Date.now(): the clock may be turned.\nconst date = new Date(ms);',
      'src/base/clock.ts': 'const now = Date.now();',
      'src/cli/main.ts': 'console.log(1);',
      'src/daemon/config.ts': 'const environment = process.env;',
    },
  },
  {
    title: 'no module has state',
    offendersAmong: words.moduleState,
    planted: { 'src/vfs/a.ts': 'let mounts = 0;', 'src/vfs/b.ts': 'export let mounts = 0;' },
    innocent: { 'src/vfs/c.ts': 'function f() {\n  let count = 0;\n}' },
  },
  {
    title: 'nothing is left for later',
    offendersAmong: words.leftovers,
    planted: { 'src/vfs/vfs.ts': UNFINISHED, 'README.md': UNFINISHED },
  },
  {
    title: 'a file opens with what it is for',
    offendersAmong: words.unopenedFiles,
    planted: { 'src/vfs/vfs.ts': "import { a } from './a.ts';", 'native/a.cc': '#include <a.h>' },
    innocent: { 'src/cli/main.ts': '#!/usr/bin/env node\n/** The command. */' },
  },
  {
    title: 'every test runs, once',
    offendersAmong: words.testsNotRun,
    planted: {
      'test/vfs/a.test.ts': "test.skip('a', () => {});",
      'test/vfs/b.test.ts': "describe.only('b', () => {});",
      'test/vfs/c.test.ts': "it.todo('c');",
      'test/vfs/d.test.ts': "test('d', ({ skip }) => skip('no'));",
      'test/vfs/e.test.ts': "test('e', { retry: 3 }, () => {});",
    },
  },
  {
    title: 'every file of the sources has a test that knows it or its module',
    offendersAmong: words.untested,
    planted: { 'src/vfs/vfs.ts': '' },
    innocent: {
      'src/journal/ops.ts': '',
      'test/journal/journal.test.ts': '',
      'src/base/bytes.ts': '',
      'test/other.test.ts': "import { a } from '../src/base/bytes.ts';",
    },
  },
  {
    title: 'the top level holds nothing else',
    offendersAmong: repository.strayEntries,
    planted: { 'scripts/release.sh': '', 'notes.md': '' },
    innocent: { '.ci/run': '', 'src/vfs/vfs.ts': '' },
  },
  {
    title: 'a link leads somewhere',
    offendersAmong: repository.deadLinks,
    planted: { 'README.md': 'See [there](src/nowhere.md).' },
    innocent: {
      'src/README.md':
        '[a](vfs/SEMANTICS.md#rename) [b](vfs/) [c](https://a.b) [d](#here) `[e](f)`',
      'src/vfs/SEMANTICS.md': '[up](../README.md)',
    },
  },
  {
    title: 'every promise has a proof',
    offendersAmong: promises.unprovenPromises,
    planted: {
      'src/vfs/SEMANTICS.md': '## Files\n\n- All is well.\n  Very well, see `test/a.test.ts`.',
    },
    innocent: {
      'src/README.md': '- A list.',
      'test/vfs/a.test.ts': "test('it is well', () => {});",
    },
  },
  {
    title: 'every proof is a test',
    offendersAmong: promises.missingProofs,
    planted: {
      'src/vfs/SEMANTICS.md':
        '- Well.\n  Proof: `test/vfs/a.test.ts` “it is well”, “all is\n  well”,\n  “it is”.',
    },
    innocent: {
      'test/vfs/a.test.ts':
        "describe('all', () => {\n  test.each(['a'])('is well', run);\n});\ntest('it is well', run);",
      'test/vfs/b.test.ts': "test('it is', run);",
    },
  },
  {
    title: 'the lock file names no host',
    offendersAmong: repository.lockedHosts,
    planted: { 'package-lock.json': '{ "resolved": "https://a.b/c.tgz" }' },
    innocent: { 'test/package-lock.json': '{ "resolved": "https://a.b/c.tgz" }' },
  },
  {
    title: 'versions are exact',
    offendersAmong: repository.looseVersions,
    planted: { 'package.json': '{ "dependencies": { "a": "^1.0.0" } }' },
  },
];

const asFiles = (texts: Readonly<Record<string, string>>) =>
  Object.entries(texts).map(([path, text]) => ({ path, text }));

const files = filesBelow(fileURLToPath(new URL('../..', import.meta.url)));

describe.each(LAWS)('$title', ({ offendersAmong, planted, innocent = {} }) => {
  test('kept', () => {
    expect(offendersAmong(files)).toEqual([]);
  });

  test.each(asFiles(planted))('the planted offender $path is found', (offender) => {
    expect(offendersAmong([...asFiles(innocent), offender])).toHaveLength(1);
  });

  test('the innocent are not accused', () => {
    expect(offendersAmong(asFiles(innocent))).toEqual([]);
  });
});

describe('the repository is all there', () => {
  test('kept', () => {
    expect(repository.absentees(files)).toEqual([]);
  });

  test('each absent file is named', () => {
    expect(repository.absentees([])).toContain('src/cli/main.ts');
  });
});
