/**
 * The programs that the tests drive on the mount, the library that the driver fuse-native needs, and the services that
 * tests start. As root on Debian, what is missing is installed; anyone else is told what to install, and the tests do
 * not start: what is missing fails, it is never skipped. Services are built (`test/services/build.mjs`).
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Command → the Debian package that brings it. */
const PACKAGES = {
  git: 'git',
  rsync: 'rsync',
  vim: 'vim',
  sqlite3: 'sqlite3',
  gcc: 'gcc',
  'g++': 'g++',
  make: 'make',
  tar: 'tar',
  fusermount3: 'fuse3',
  'mkfs.ext4': 'e2fsprogs',
  // Booted by a test, in namespaces of its own; it runs nowhere else.
  'systemd-run': 'systemd',
  pgrep: 'procps',
  // Which addresses a service listens on.
  ss: 'iproute2',
};
/** File name of a shared library → the Debian package that brings it. */
const LIBRARIES = { 'libfuse.so.2': 'libfuse2' };
const BUILD_SERVICES = fileURLToPath(new URL('../services/build.mjs', import.meta.url));
const LDCONFIG = '/sbin/ldconfig';
const INSTALL_MS_MAX = 10 * 60 * 1000;

function hasCommand(name) {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The names of the libraries that the loader of this machine finds. */
function libraries() {
  const { stdout } = spawnSync(LDCONFIG, ['-p'], { encoding: 'utf8' });
  return (stdout ?? '').split('\n').map((line) => line.trim().split(' ')[0]);
}

function missingThings() {
  const found = libraries();
  return [
    ...Object.keys(PACKAGES).filter((name) => !hasCommand(name)),
    ...Object.keys(LIBRARIES).filter((name) => !found.includes(name)),
  ];
}

const packagesOf = (names) => names.map((name) => PACKAGES[name] ?? LIBRARIES[name]).join(' ');

function apt(...args) {
  const done = spawnSync('apt-get', args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: INSTALL_MS_MAX,
  });
  if (done.error) console.error(`apt-get: ${done.error.message}`);
  return done.status === 0;
}

/** Installs what is missing. Ends the process when that cannot be done. */
function install(missing) {
  console.log(`missing: ${missing.join(' ')}`);
  if (process.getuid?.() !== 0 || !hasCommand('apt-get')) {
    console.error(`the tests need: apt-get install ${packagesOf(missing)}`);
    process.exit(1);
  }
  // A failed update is not the end: the lists of an image may still name what is wanted.
  if (!apt('update', '-q'))
    console.error('apt-get update failed; trying with the lists that are here');
  apt('install', '-q', '-y', '--no-install-recommends', ...packagesOf(missing).split(' '));
  const still = missingThings();
  if (still.length > 0) {
    console.error(`could not be installed: ${packagesOf(still)}`);
    process.exit(1);
  }
}

const missing = missingThings();
if (missing.length > 0) install(missing);
console.log('every program that the tests drive is installed');
const built = spawnSync(process.execPath, [BUILD_SERVICES], { stdio: 'inherit' });
process.exit(built.status ?? 1);
