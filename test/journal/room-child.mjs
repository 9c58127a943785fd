/** The child of room.test.ts, which has a tmpfs for itself: fills it, and says what the journal did. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , built, directory] = process.argv;
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', directory]);
const load = (path) => import(pathToFileURL(join(built, path)).href);
const { Journal, checkJournal } = await load('journal/journal.js');
const { SystemClock } = await load('base/clock.js');

const path = join(directory, 'journal.db');
const ballast = join(directory, 'ballast');
const open = () => new Journal({ path, clock: new SystemClock() });
const journal = open();
let actor;
journal.commit(() => {
  actor = journal.actors.intern({ surface: 'daemon', uid: 0, gid: 0 });
});
const text = 'x'.repeat(300);
const record = (tx) =>
  tx.record({
    kind: 'unlink',
    actor,
    ino: journal.counters.next('ino'),
    parent: 1,
    name: 'x',
    path: `/${text}`,
  });

/** The failure of the first that fails. */
function untilRefused() {
  try {
    for (;;) journal.commit((tx) => void record(tx));
  } catch (error) {
    return error.failure;
  }
}

function takeAll() {
  const fd = openSync(ballast, 'a');
  for (let size = 65_536; size >= 512; ) {
    try {
      writeSync(fd, Buffer.alloc(size, 1));
    } catch {
      size /= 2;
    }
  }
  closeSync(fd);
}

const freeBytes = () => {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
};

takeAll();
const told = { freeBytes: freeBytes(), refused: untilRefused(), isShort: journal.isShortOfRoom };
told.freed = 0;
while (told.freed < 1000) {
  journal.commitFreeing((tx) => void record(tx));
  told.freed += 1;
}
told.refusedStill = untilRefused();
rmSync(ballast);
journal.commit((tx) => void record(tx));
journal.keepRoom();
told.isShortWithSpace = journal.isShortOfRoom;
told.records = journal.head.seq;
journal.close();
const again = open();
told.found = again.connection.prepare('SELECT count(*) FROM op').pluck().get();
told.findings = checkJournal(again).map((finding) => JSON.stringify(finding));
again.close();
process.stdout.write(JSON.stringify(told));
