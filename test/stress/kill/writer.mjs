/**
 * Writes files that tell whether they are whole, in a tree, until its input ends: `writer.mjs DIR SEED FILES`.
 * A file is a line with its name, the number of its version and the SHA-256 of the rest, and the rest. Some are
 * written beside and renamed over, some emptied and written anew, some written over where they are, slowly, with
 * looks at them in between, and some of these synced. Prints how many it wrote.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

const [directory, seed, files] = process.argv.slice(2);
const PIECES = 8;
const DIRECTORIES = 4;
/** Between two pieces of a file that is written slowly. */
const PIECE_MS_MAX = 6;
let state = Number(seed) >>> 0;
/** mulberry32 */
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

/** Mostly small, some of several blocks. */
const sizeOf = () =>
  1 + Math.floor(random() < 0.03 ? random() * 2_500_000 : random() ** 3 * 200_000);

let version = 0;
function nextVersion(name) {
  version += 1;
  const rest = randomBytes(sizeOf());
  const digest = createHash('sha256').update(rest).digest('hex');
  return Buffer.concat([Buffer.from(`${name} ${version} ${digest}\n`), rest]);
}

async function write(path, name, { flags, isSlow }) {
  const whole = nextVersion(name);
  const fd = openSync(path, flags);
  for (let piece = 0; piece < PIECES; piece += 1) {
    const [from, to] = [piece, piece + 1].map((n) => Math.floor((whole.length * n) / PIECES));
    writeSync(fd, whole, from, to - from, from);
    if (!isSlow) continue;
    if (random() < 0.5) fstatSync(fd);
    await wait(random() * PIECE_MS_MAX);
  }
  ftruncateSync(fd, whole.length);
  if (random() < 0.1) fsyncSync(fd);
  closeSync(fd);
}

let isEnding = false;
process.stdin.on('end', () => {
  isEnding = true;
});
process.stdin.resume();

for (let at = 0; at < DIRECTORIES; at += 1)
  mkdirSync(join(directory, `d${at}/e`, `f${at}`), { recursive: true });
let written = 0;
while (!isEnding) {
  const number = Math.floor(random() * Number(files));
  const name = `n${number}`;
  const path = join(directory, `d${number % DIRECTORIES}`, number % 2 === 0 ? 'e' : '', name);
  const how = random();
  if (how < 0.4 || !existsSync(path)) {
    await write(`${path}.new`, name, { flags: 'w', isSlow: how < 0.1 });
    renameSync(`${path}.new`, path);
  } else
    await write(
      path,
      name,
      how < 0.6 ? { flags: 'w', isSlow: false } : { flags: 'r+', isSlow: true },
    );
  written += 1;
  await wait(1);
}
process.stdout.write(`${written}\n`);
