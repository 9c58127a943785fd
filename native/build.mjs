/**
 * Builds what is out of date: the dependencies when they are absent, better-sqlite3 when it does not load, the native
 * parts when a source is newer than one of them, the TypeScript when a source is newer than the last whole build, and
 * from that the bundle that is the command. Exits
 * with the code of the first step that fails. A second run with nothing changed builds nothing, so that typing
 * `npm start` again does not exchange the files of a daemon that runs.
 *
 * `node native/build.mjs sanitized` makes a tree of its own, dist/sanitized, in which all that is built runs with
 * native parts that AddressSanitizer and UBSan watch. Nothing else uses it.
 *
 * Plain JavaScript, because it runs before anything is compiled. `node native/prerequisites.mjs build` comes first.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NATIVE = dirname(fileURLToPath(import.meta.url));
const ROOT = dirname(NATIVE);
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** What the TypeScript becomes, a file each: what the tests import, and what coverage counts. */
const COMPILED = join(ROOT, 'dist/src');
/** What runs as `kitfs`: as deep as dist/src/cli, because files beside dist are found from there. */
const BUNDLE = join(ROOT, 'dist/bundle/cli');
const MAIN = join(BUNDLE, 'main.js');
/** What is started by its name, and does something then. */
const STARTED = ['kitfs', 'seal.worker', 'checkpoint.worker'];
/**
 * What `npm run build:native` makes: the addon, an extension that SQLite loads, what stands before libfuse, and what
 * holds the mount of a daemon that dies.
 */
const PARTS = ['kitfs.node', 'wal_vfs.so', 'kitfs-libfuse2.node', 'kitfs-keeper', 'kitfs-notify'];
/** Written when all TypeScript was compiled without an error. */
const BUILT = join(ROOT, 'dist/built');

/** Where Node's headers lie when they came with Node; then node-gyp has nothing to download. */
function headersBesideNode() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include/node/node_api.h')) ? prefix : undefined;
}

function run(command, args, { env: given = process.env, ...options } = {}) {
  const env = { ...given };
  env.PATH = [join(ROOT, 'node_modules/.bin'), env.PATH].join(delimiter);
  env.npm_config_nodedir ??= headersBesideNode();
  if (env.npm_config_nodedir === undefined) delete env.npm_config_nodedir;
  const done = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options, env });
  if (done.error) console.error(`${command}: ${done.error.message}`);
  if (done.status === 0) return;
  // What was kept to ourselves is wanted now.
  for (const output of [done.stdout, done.stderr]) process.stderr.write(output ?? '');
  process.exit(done.status ?? 1);
}

/**
 * `npm install --global .` links this folder without installing its dependencies, and runs the build. Not the scripts:
 * they are this build. npm passes its settings down; those of a global install are not for this one.
 */
function installDependencies() {
  if (existsSync(join(ROOT, 'node_modules/better-sqlite3'))) return;
  console.log('installing the dependencies');
  const env = { ...process.env };
  for (const name of ['global', 'location', 'local_prefix']) delete env[`npm_config_${name}`];
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { env });
}

function isLoadable() {
  // In a process of its own: a module that failed to load is not loaded again, and one of another ABI may crash.
  const probe = "new (require('better-sqlite3'))(':memory:').close()";
  return spawnSync(process.execPath, ['-e', probe], { cwd: ROOT, stdio: 'ignore' }).status === 0;
}

function buildSqlite() {
  if (isLoadable()) return;
  const folder = dirname(createRequire(import.meta.url).resolve('better-sqlite3/package.json'));
  console.log('building better-sqlite3 (a minute or two)');
  run('npm', ['run', '--silent', 'install'], {
    cwd: folder,
    stdio: 'pipe',
    maxBuffer: OUTPUT_BYTES_MAX,
  });
}

/** Newest modification, in milliseconds, of the files below `folder` that `keep` accepts; 0 when there are none. */
function newestMs(folder, keep) {
  if (!existsSync(folder)) return 0;
  const times = readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(keep)
    .map((path) => statSync(path).mtimeMs);
  return Math.max(0, ...times);
}

function buildNative() {
  const build = join(NATIVE, 'build');
  const sources = newestMs(
    NATIVE,
    (path) => !path.startsWith(build) && /\.(cc|c|h|gyp)$/.test(path),
  );
  const times = PARTS.map((name) => join(build, 'Release', name)).map((path) =>
    existsSync(path) ? statSync(path).mtimeMs : 0,
  );
  if (Math.min(...times) > sources) return;
  console.log('building the native parts');
  run('npm', ['run', '--silent', 'build:native']);
}

const SANITIZED = join(ROOT, 'dist/sanitized');

const isNativeSource = (name) => /\.(cc|c|h|gyp)$/.test(name);

/**
 * Where sanitized parts lie when they are built: once for a machine, as what tests run as services. The hash is of all
 * they are made of and with.
 */
function sanitizedPlace() {
  const sqlite = createRequire(import.meta.url).resolve('better-sqlite3/package.json');
  const hash = createHash('sha256').update(process.version);
  hash.update(spawnSync('gcc', ['--version']).stdout ?? '').update(readFileSync(sqlite));
  for (const name of readdirSync(NATIVE).filter(isNativeSource).sort()) {
    const bytes = readFileSync(join(NATIVE, name));
    hash.update(`${name} ${bytes.length}\n`).update(bytes);
  }
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return join(cache, 'kitfs-test', `sanitized-${hash.digest('hex').slice(0, 16)}`);
}

/** The sanitized parts, and the rest of the tree as it is now. */
function buildSanitized() {
  rmSync(SANITIZED, { recursive: true, force: true });
  const native = join(SANITIZED, 'native');
  mkdirSync(native, { recursive: true });
  for (const name of ['src', 'test', 'dist']) {
    // Entry by entry: a folder cannot be copied into itself as a whole.
    for (const entry of readdirSync(join(ROOT, name))) {
      const from = join(ROOT, name, entry);
      if (from !== SANITIZED) cpSync(from, join(SANITIZED, name, entry), { recursive: true });
    }
  }
  for (const name of ['package.json', 'tsconfig.json']) {
    cpSync(join(ROOT, name), join(SANITIZED, name));
  }
  symlinkSync(join(ROOT, 'node_modules'), join(SANITIZED, 'node_modules'));
  const parts = join(native, 'build/Release');
  const place = sanitizedPlace();
  if (existsSync(place)) return cpSync(place, parts, { recursive: true });
  for (const name of readdirSync(NATIVE).filter(isNativeSource)) {
    cpSync(join(NATIVE, name), join(native, name));
  }
  run('node-gyp', ['rebuild', '--silent', '-j', 'max', '-C', native, '--kitfs-sanitize=1'], {
    stdio: 'pipe',
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  // It gets its name at the end, by one rename: a directory of that name is whole.
  const unfinished = `${place}.${process.pid}`;
  for (const name of PARTS) cpSync(join(parts, name), join(unfinished, name), { recursive: true });
  if (existsSync(place)) rmSync(unfinished, { recursive: true });
  else renameSync(unfinished, place);
}

/**
 * Puts the two hundred compiled modules, and those they import, together in some sixty: Node takes half a millisecond
 * and more for each one, and programs on a mount wait for that when their daemon was killed. CommonJS, because V8's
 * code of it can be kept (native/start.cjs). Threads start from a file
 * of their own, which must bear its name. What has native parts stays where it was installed.
 */
async function bundle() {
  const { build } = await import('rolldown');
  const places = ['cli/main.js', 'content/seal.worker.js', 'journal/checkpoint.worker.js'];
  await build({
    input: Object.fromEntries(STARTED.map((name, at) => [name, join(COMPILED, places[at])])),
    platform: 'node',
    external: ['better-sqlite3', 'fuse-native'],
    logLevel: 'warn',
    output: { dir: BUNDLE, format: 'cjs', cleanDir: true },
  });
  writeFileSync(join(BUNDLE, 'package.json'), '{ "type": "commonjs" }\n');
  cpSync(join(NATIVE, 'start.cjs'), MAIN);
  keepCode();
}

/**
 * Loads every module once, in a process like those that will, and keeps the code that V8 made of it. Importing a module
 * does nothing; the command itself, which others import from, is only begun.
 */
function keepCode() {
  const names = readdirSync(BUNDLE).filter(
    (name) => name.endsWith('.js') && name !== basename(MAIN),
  );
  const imported = names.filter((name) => !STARTED.includes(basename(name, '.js')));
  const program = `
    const { load, modules } = require(${JSON.stringify(MAIN)});
    process.argv.push('--version');
    for (const name of ${JSON.stringify(imported)}) load(name);
    for (const [name, { script }] of modules) {
      require('node:fs').writeFileSync(
        require('node:path').join(${JSON.stringify(BUNDLE)}, name + '.code'), script.createCachedData());
    }
    process.exit(0);`;
  run(process.execPath, ['-e', program]);
}

async function buildTypeScript() {
  const settings = ['tsconfig.json', 'package.json', 'package-lock.json'];
  const sources = Math.max(
    ...['src', 'test'].map((name) => newestMs(join(ROOT, name), (path) => path.endsWith('.ts'))),
    ...[...settings, 'native/start.cjs'].map((name) => statSync(join(ROOT, name)).mtimeMs),
  );
  if (existsSync(MAIN) && existsSync(BUILT) && statSync(BUILT).mtimeMs > sources) return;
  // Taken away first: a build that is cut off is none. Its time is that of its beginning.
  rmSync(BUILT, { force: true });
  const begunS = Date.now() / 1000;
  run('tsc', ['-p', '.']);
  await bundle();
  // npm makes the command executable when it links it; a build after that must not lose it.
  chmodSync(MAIN, 0o755);
  writeFileSync(BUILT, '');
  utimesSync(BUILT, begunS, begunS);
}

installDependencies();
buildSqlite();
buildNative();
await buildTypeScript();
if (process.argv[2] === 'sanitized') buildSanitized();
