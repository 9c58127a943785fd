/**
 * Writes files that tell whether they are whole, in a directory, until its input ends: `writer.mjs DIR SEED FILES`.
 * A file is a line with the SHA-256 of the rest, and the rest. Some are written in place, piece by piece, some beside
 * and renamed over. Prints how many it wrote.
 */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

const [directory, seed, files] = process.argv.slice(2);
const PIECES = 8;
let state = Number(seed) >>> 0;
/** mulberry32 */
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

function writeFile(path) {
  const rest = randomBytes(1 + Math.floor(random() ** 3 * 300_000));
  const whole = Buffer.concat([
    Buffer.from(`${createHash('sha256').update(rest).digest('hex')}\n`),
    rest,
  ]);
  const fd = openSync(path, 'w');
  for (let piece = 0; piece < PIECES; piece += 1) {
    const [from, to] = [piece, piece + 1].map((n) => Math.floor((whole.length * n) / PIECES));
    writeSync(fd, whole, from, to - from, from);
  }
  ftruncateSync(fd, whole.length);
  closeSync(fd);
}

let isEnding = false;
process.stdin.on('end', () => {
  isEnding = true;
});
process.stdin.resume();

let written = 0;
while (!isEnding) {
  const path = join(directory, `f${Math.floor(random() * Number(files))}`);
  if (random() < 0.5) writeFile(path);
  else {
    writeFile(`${path}.new`);
    renameSync(`${path}.new`, path);
  }
  written += 1;
  await turn();
}
process.stdout.write(`${written}\n`);
