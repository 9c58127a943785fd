/**
 * What this machine lacks, each with the Debian package that brings it, before anything is built or mounted.
 *
 *   node native/prerequisites.mjs build    what compiling needs must be here; what mounting needs is only named
 *   node native/prerequisites.mjs mount    both must be here
 *
 * Plain JavaScript without a dependency, because it runs before anything is installed or compiled. It must also
 * parse on a Node too old for kitfs, to be able to say so.
 *
 * npm runs the `preinstall` of the root package only after the install scripts of its dependencies. better-sqlite3 has
 * one, which compiles and would fail first, with a page of node-gyp instead of one line. So package.json denies it
 * (`allowScripts`, npm 11; an older npm ignores the field and runs it) and build.mjs runs it after this check.
 */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const NODE_MIN = [20, 19];

function isAtLeast(version, [major, minor]) {
  const [isMajor, isMinor] = version.split('.').map(Number);
  return isMajor > major || (isMajor === major && isMinor >= minor);
}

/** Whether PATH has an executable of that name. */
function hasCommand(name) {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return statSync(path).isFile();
    } catch {
      return false;
    }
  });
}

/** The lines that name what compiling lacks. */
function missingForBuild() {
  const missing = [];
  if (!isAtLeast(process.versions.node, NODE_MIN)) {
    missing.push(
      `Node.js ${NODE_MIN.join('.')} or later (this is ${process.versions.node}): apt-get install nodejs ` +
        '(Debian 13 and later; for Debian 12 take the packages of deb.nodesource.com)',
    );
  }
  if (!hasCommand('c++')) {
    missing.push('a C++ compiler (c++): apt-get install build-essential');
  }
  if (!hasCommand('make')) missing.push('make: apt-get install build-essential');
  if (!hasCommand('python3')) missing.push('python3, for node-gyp: apt-get install python3');
  return missing;
}

/** Whether the kernel knows the FUSE file system, with or without the device node. */
function hasFuseInKernel() {
  try {
    return /^\s*(nodev)?\s*fuse$/m.test(readFileSync('/proc/filesystems', 'utf8'));
  } catch {
    return false;
  }
}

/** The lines that name what mounting lacks. */
function missingForMount() {
  const missing = [];
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch (error) {
    if (error.code !== 'ENOENT') {
      missing.push('leave to open /dev/fuse: chmod 666 /dev/fuse (the mode that Debian gives it)');
    } else if (hasFuseInKernel()) {
      missing.push(
        '/dev/fuse: mknod -m 666 /dev/fuse c 10 229 (in a container: --device /dev/fuse)',
      );
    } else {
      missing.push(
        '/dev/fuse, the kernel module fuse: modprobe fuse ' +
          '(it comes with the kernel: apt-get install linux-image-amd64)',
      );
    }
  }
  // Root mounts with mount(2); anyone else needs the set-id program.
  if (process.getuid?.() !== 0 && !hasCommand('fusermount3')) {
    missing.push('fusermount3, to mount without being root: apt-get install fuse3');
  }
  return missing;
}

const purpose = process.argv[2];
if (purpose !== 'build' && purpose !== 'mount') {
  console.error('usage: node native/prerequisites.mjs build|mount');
  process.exit(2);
}
const needed = missingForBuild();
const wanted = missingForMount();
const fatal = purpose === 'mount' ? [...needed, ...wanted] : needed;
for (const line of fatal) console.error(`kitfs needs ${line}`);
if (purpose === 'build') {
  for (const line of wanted) console.error(`kitfs will need, to mount, ${line}`);
}
process.exit(fatal.length > 0 ? 1 : 0);
