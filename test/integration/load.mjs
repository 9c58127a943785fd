/**
 * Works in the directory it is given until its input ends, and checks every answer: files made, renamed, read, listed
 * and removed, a file that stays open, and one that stays open without a name. Each line of input is printed after a
 * whole round that began when it was there; at the end JSON: `{rounds, operations, worstMs, errors}`.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const RECORD_BYTES = 32;
const FILES = 20;
const ERRORS_MAX = 20;

const folder = process.argv[2] ?? '.';
const told = { rounds: 0, operations: 0, worstMs: 0, errors: [] };

/** Runs one operation, and books its time and its error. */
function book(what, body) {
  const startMs = performance.now();
  let result;
  try {
    result = body();
  } catch (error) {
    if (told.errors.length < ERRORS_MAX) told.errors.push(`${what}: ${error.message}`);
  }
  told.operations += 1;
  told.worstMs = Math.max(told.worstMs, performance.now() - startMs);
  return result;
}

function expect(what, found, wanted) {
  if (found !== wanted && told.errors.length < ERRORS_MAX) {
    told.errors.push(`${what}: found ${String(found).slice(0, 60)}, not ${wanted.slice(0, 60)}`);
  }
}

const recordOf = (round) => `record ${round}`.padEnd(RECORD_BYTES - 1).concat('\n');

function readAt(fd, position, length) {
  const bytes = Buffer.alloc(length);
  const count = readSync(fd, bytes, 0, length, position);
  return bytes.toString('latin1', 0, count);
}

mkdirSync(folder);
const held = openSync(join(folder, 'held'), 'w+');
const nameless = openSync(join(folder, 'nameless'), 'w+');
unlinkSync(join(folder, 'nameless'));

function round(number) {
  const record = recordOf(number);
  for (const [what, fd] of [
    ['held', held],
    ['nameless', nameless],
  ]) {
    const position = number * RECORD_BYTES;
    book(`write ${what}`, () => writeSync(fd, record, position));
    const before = Math.max(0, number - 1);
    const found = book(`read ${what}`, () => readAt(fd, before * RECORD_BYTES, RECORD_BYTES));
    expect(`read ${what}`, found, recordOf(before));
  }
  if (number % 10 === 0) book('fsync', () => fsyncSync(held));
  const [first, second] = ['a', 'b'].map((name) => join(folder, `${name}${number % FILES}`));
  book('write file', () => writeFileSync(first, record.repeat(number % 300)));
  book('rename', () => renameSync(first, second));
  expect(
    'read file',
    book('read file', () => readFileSync(second, 'latin1')),
    record.repeat(number % 300),
  );
  if (number % FILES !== FILES - 1) return;
  const names = book('list', () => readdirSync(folder)) ?? [];
  expect('list', String(names.filter((name) => name.startsWith('b')).length), String(FILES));
  for (const name of names.filter((other) => other.startsWith('b'))) {
    book('unlink', () => unlinkSync(join(folder, name)));
  }
}

let isEnding = false;
const asked = [];
createInterface(process.stdin)
  .on('line', (line) => asked.push(line))
  .once('close', () => {
    isEnding = true;
  });
while (!isEnding) {
  const due = asked.splice(0);
  round(told.rounds);
  told.rounds += 1;
  for (const line of due) console.log(line);
  await new Promise((resolve) => setImmediate(resolve));
}

const whole = Array.from({ length: told.rounds }, (_, number) => recordOf(number)).join('');
for (const [what, fd] of [
  ['held', held],
  ['nameless', nameless],
]) {
  expect(
    `all of ${what}`,
    book(`read all of ${what}`, () => readAt(fd, 0, whole.length + 1)),
    whole,
  );
  book(`close ${what}`, () => closeSync(fd));
}
expect(
  'held, by name',
  book('read held by name', () => readFileSync(join(folder, 'held'), 'latin1')),
  whole,
);
console.log(JSON.stringify(told));
