/**
 * Builds the programs that tests run as services, each once for a machine:
 *
 *     node test/services/build.mjs               builds what is missing
 *     node test/services/build.mjs where kubo    prints the directory of its programs, or says that it is not built
 *
 * A service is a directory beside this file with a `go.mod`, whose `tool` lines name its programs. What is built lies
 * in `$XDG_CACHE_HOME` (or `~/.cache`) `/kitfs-test/services/<name>-<hash>/`, where the hash is of the module's files,
 * of the compiler and of how it is called: another version is another directory, and the same is never built again.
 *
 * Invariants: a directory of that name is whole, because it gets its name at the end, by one rename; of two builds of
 * one service at once, one builds and the other waits for it. The lock is the kernel's (flock(2)): one that is killed
 * leaves none behind.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const OWN = fileURLToPath(import.meta.url);
/** Kubo, with nothing in any cache, is some 135 MiB to fetch and five minutes of two CPUs. */
const BUILD_MS_MAX = 25 * 60 * 1000;

/** No path and no repository of the machine is in what comes out; and no symbols, which are a third of it. */
const FLAGS = ['-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags=-s -w'];
const GO_ENV = { CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off' };

class Refusal extends Error {}

/** What `go ARGS` prints in a module. The toolchain is the one that the module asks for. */
function go(module, args, stdio = ['ignore', 'pipe', 'inherit']) {
  const done = spawnSync('go', args, {
    cwd: module,
    encoding: 'utf8',
    env: { ...process.env, ...GO_ENV },
    stdio,
    timeout: BUILD_MS_MAX,
    killSignal: 'SIGKILL',
  });
  if (done.error?.code === 'ENOENT') {
    throw new Refusal('no command `go`: install Go 1.21 or later (https://go.dev/dl)');
  }
  if (done.error) throw new Refusal(`go ${args[0]}: ${done.error.message}`);
  if (done.status !== 0)
    throw new Refusal(`go ${args[0]}: ended with ${done.signal ?? done.status}`);
  return done.stdout;
}

const cache = () =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'kitfs-test/services');

/** Where the programs of a module lie when they are built. */
function placeOf(module, name) {
  const hash = createHash('sha256');
  for (const file of readdirSync(module).sort()) {
    const bytes = readFileSync(join(module, file));
    hash.update(`${file} ${bytes.length}\n`).update(bytes);
  }
  hash.update(go(module, ['env', 'GOVERSION', 'GOOS', 'GOARCH']));
  hash.update(JSON.stringify([FLAGS, GO_ENV]));
  return join(cache(), `${name}-${hash.digest('hex').slice(0, 16)}`);
}

/** Waits until nobody else builds this service. The lock lasts as long as the descriptor, which is returned. */
function lock(name) {
  const lockFile = openSync(join(cache(), `${name}.lock`), 'a');
  const seconds = String(BUILD_MS_MAX / 1000);
  const done = spawnSync('flock', ['--exclusive', '--timeout', seconds, '3'], {
    stdio: ['ignore', 'inherit', 'inherit', lockFile],
  });
  if (done.error) throw new Refusal(`flock: ${done.error.message} (util-linux)`);
  if (done.status !== 0)
    throw new Refusal(`another build of ${name} took longer than ${seconds} s`);
  return lockFile;
}

function sync(path) {
  const descriptor = openSync(path, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}

function build(module, name) {
  const place = placeOf(module, name);
  if (existsSync(place)) return console.log(`${name}: built before, in ${place}`);
  mkdirSync(cache(), { recursive: true });
  const lockFile = lock(name);
  try {
    if (existsSync(place)) return console.log(`${name}: built by another one, in ${place}`);
    // What a killed build left: with the lock in hand, nobody is at work on it.
    for (const left of readdirSync(cache()).filter((entry) => entry.startsWith(`.${name}.`))) {
      rmSync(join(cache(), left), { recursive: true, force: true });
    }
    console.log(`${name}: building; the first time, Go fetches what it is made of`);
    const start = performance.now();
    const unfinished = mkdtempSync(join(cache(), `.${name}.`));
    try {
      go(module, ['build', ...FLAGS, '-o', `${unfinished}/`, 'tool'], ['ignore', 2, 2]);
      for (const program of readdirSync(unfinished)) sync(join(unfinished, program));
      renameSync(unfinished, place);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
    const tookS = ((performance.now() - start) / 1000).toFixed(1);
    console.log(`${name}: built in ${tookS} s, in ${place}`);
  } finally {
    closeSync(lockFile);
  }
}

function where(module, name) {
  const place = placeOf(module, name);
  if (!existsSync(place)) throw new Refusal('not built: run `node test/services/build.mjs`');
  console.log(place);
}

/** @returns what could not be done, a line for each service. */
function run({ modules, words }) {
  const [command, wanted] = words;
  const names = readdirSync(modules).filter((name) => existsSync(join(modules, name, 'go.mod')));
  if (command !== undefined && (command !== 'where' || !names.includes(wanted))) {
    return [`${words.join(' ')}: not understood; the services are ${names.join(' ')}`];
  }
  const wrong = [];
  for (const name of command === 'where' ? [wanted] : names) {
    try {
      (command === 'where' ? where : build)(join(modules, name), name);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      wrong.push(`service ${name}: ${error.message}`);
    }
  }
  return wrong;
}

const { values, positionals } = parseArgs({
  // `modules`: where the services are, when they are not beside this file.
  options: { modules: { type: 'string', default: dirname(OWN) } },
  allowPositionals: true,
});
const wrong = run({ modules: resolve(values.modules), words: positionals });
for (const line of wrong) console.error(line);
process.exitCode = wrong.length === 0 ? 0 : 1;
