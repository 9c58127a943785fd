/**
 * Journals that something else has written into: bits, pages, the schema, rows, the WAL. Each either opens or
 * is refused with a clear error; one that is refused is left as it was; to check one never fails but
 * in the same way.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { SystemClock } from '../../src/base/clock.ts';
import { codeOf } from '../../src/base/errors.ts';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { O_RDWR } from '../../src/base/posix.ts';
import { fsck } from '../../src/daemon/fsck.ts';
import { checkDatabase, Journal, openForCheck } from '../../src/journal/journal.ts';
import { Dice } from './dice.ts';
import { isFault, ROOT, World } from './world.ts';

const PAGE_BYTES = 2048;
/** Each so many are looked at with their bytes too, as the command does. */
const FSCK_EVERY = 100;
/** Of what it is not: those that say what is wrong with a file. */
const CLEAR: ReadonlySet<string> = new Set(['journal-corrupt', 'version-unsupported']);

export interface Outcomes {
  readonly count: number;
  /** How often each kind of end came. */
  readonly ends: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  readonly faults: readonly string[];
}

/** Files of a journal. */
export interface Files {
  /** All in one. */
  readonly whole: Buffer;
  /** The same with its newer half in the WAL. */
  readonly folded: Buffer;
  readonly wal: Buffer;
}

/** Of a small tree that has something of everything. */
export async function smallJournal(): Promise<Files> {
  const world = new World();
  const { vfs, journal, sealer, signal, directory } = world;
  const ipfs = vfs.core.child(1 as Ino, nameOfText('ipfs'))?.ino ?? rootOf(world, '/ipfs');
  const folder = vfs.mkdir(ROOT, ipfs, nameOfText('d'), 0o755).ino;
  for (let number = 0; number < 12; number++) {
    const name = nameOfText(`f${number}`);
    const { handle } = vfs.create(ROOT, folder, name, 0o100644, O_RDWR);
    vfs.write(ROOT, handle.fh, Buffer.alloc(number * 700, `${number}`), 0, false);
    vfs.release(handle.fh);
    const row = vfs.core.inodes.get(handle.ino);
    if (number % 3 === 1) await sealer.seal(row.content, signal);
  }
  journal.foldWal();
  const folded = readFileSync(journal.path);
  const { ino } = vfs.symlink(ROOT, folder, nameOfText('l'), nameOfText('f1'));
  vfs.link(ROOT, ino, ipfs, nameOfText('l2'));
  vfs.setxattr(ROOT, folder, nameOfText('user.a'), Buffer.from('b'), 'any');
  vfs.unlink(ROOT, folder, nameOfText('f2'));
  const wal = readFileSync(`${journal.path}-wal`);
  journal.foldWal();
  await world.stop();
  const whole = readFileSync(journal.path);
  rmSync(directory, { recursive: true, force: true });
  return { whole, folded, wal };
}

const rootOf = ({ vfs }: World, point: string): Ino => {
  const found = vfs.core.mounts.mounts().find(({ mountPoint }) => mountPoint === point);
  if (found === undefined) throw new Error(`nothing is mounted at ${point}`);
  return found.superblock.root;
};

/** Tries `count` journals, each made from `whole` with the next throws of `seed`. */
export async function databaseStorm(
  files: Files,
  { seed, count }: { seed: number; count: number },
): Promise<Outcomes> {
  const dice = new Dice(seed);
  const ends: Record<string, number> = {};
  const faults: string[] = [];
  let [done, slowestMs] = [0, 0];
  for (; done < count && faults.length === 0; done++) {
    const directory = mkdtempSync(join(tmpdir(), 'kitfs-fuzz-db-'));
    const path = join(directory, 'journal.db');
    const startMs = performance.now();
    try {
      const isWal = dice.chance(25);
      const what = isWal ? damageWal(dice, files, path) : damage(dice, files.whole, path);
      const withBytes = done % FSCK_EVERY === 0;
      const told = await tried(directory, path, { withBytes, isSound: isWal });
      ends[told.end] = (ends[told.end] ?? 0) + 1;
      if (told.fault !== undefined) faults.push(`${what}: ${told.fault}`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
  }
  return { count: done, ends, slowestMs: Math.round(slowestMs), faults };
}

/** Checks it, which finds nothing where only the WAL is damaged, then opens it as a daemon does. */
async function tried(
  directory: string,
  path: string,
  { withBytes, isSound }: { readonly withBytes: boolean; readonly isSound: boolean },
): Promise<{ readonly end: string; readonly fault?: string }> {
  const before = readFileSync(path);
  const signal = AbortSignal.timeout(60_000);
  const checked = await endOf(async () => {
    if (withBytes && !isSound) await fsck({ state: directory, signal });
    else checkOnly(path, isSound);
  });
  if (checked.fault !== undefined) return { end: 'fault', fault: `checked, ${checked.fault}` };
  if (!readFileSync(path).equals(before)) return { end: 'fault', fault: 'the check changed it' };
  const opened = await endOf(async () => {
    new Journal({ path, clock: new SystemClock() }).close();
  });
  if (opened.fault !== undefined) return { end: 'fault', fault: `opened, ${opened.fault}` };
  if (opened.end !== 'well') {
    const isSame = readFileSync(path).equals(before);
    return isSame ? opened : { end: 'fault', fault: `refused (${opened.end}), and changed` };
  }
  const started = await endOf(async () => {
    await new World(directory).stop();
  });
  if (started.fault !== undefined) return { end: 'fault', fault: `started, ${started.fault}` };
  return { end: started.end === 'well' ? 'started' : `opened, ${started.end}` };
}

function checkOnly(path: string, isSound: boolean): void {
  const db = openForCheck(path);
  try {
    const [found] = checkDatabase(db);
    if (isSound && found !== undefined) throw new Error(`not sound: ${JSON.stringify(found)}`);
  } finally {
    db.close();
  }
}

/** How a try ended: well, in a clear error, or in something that is neither. */
async function endOf(work: () => Promise<void>): Promise<{ end: string; fault?: string }> {
  try {
    await work();
    return { end: 'well' };
  } catch (error) {
    const failure = error instanceof Error && 'failure' in error ? String(error.failure) : '';
    if (CLEAR.has(failure) || isReadOnly(error) || !isFault(error)) return { end: failure };
    const { stack, cause } = error as Error;
    return {
      end: failure,
      fault: `${stack}\ncaused by ${cause instanceof Error ? cause.stack : ''}`,
    };
  }
}

/** A header may say that only a newer SQLite writes the file: it is then unavailable for that. */
const isReadOnly = (error: unknown): boolean =>
  error instanceof Error && codeOf(error.cause)?.startsWith('SQLITE_READONLY') === true;

/** What a torn or rotten WAL loses is what came last: a commit is whole in it or it is not. */
function damageWal(dice: Dice, { folded, wal }: Files, path: string): string {
  const bytes = Buffer.from(wal);
  const at = dice.below(bytes.length);
  const length = dice.between(1, 5000);
  let what = `bytes from ${at} of the WAL are noise`;
  let torn = bytes;
  switch (dice.below(5)) {
    case 0:
      torn = bytes.subarray(0, at);
      what = `the WAL is cut to ${at} bytes`;
      break;
    case 1:
      bytes.fill(0, at, at + length);
      what = `${length} bytes from ${at} of the WAL are 0`;
      break;
    case 2:
      bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8));
      what = `a bit at ${at} of the WAL is flipped`;
      break;
    case 3:
      torn = Buffer.concat([bytes, dice.bytes(length)]);
      what = 'more behind the end of the WAL';
      break;
    default:
      dice.bytes(length).copy(bytes, at);
  }
  writeFileSync(path, folded);
  writeFileSync(`${path}-wal`, torn);
  return what;
}

/** Writes a damaged copy to `path`; says what was done to it. */
function damage(dice: Dice, whole: Buffer, path: string): string {
  if (dice.chance(35)) {
    writeFileSync(path, whole);
    return dice.chance(50) ? editRow(dice, path) : editSchema(dice, path);
  }
  const bytes = Buffer.from(whole);
  const pages = Math.floor(bytes.length / PAGE_BYTES);
  const page = () => dice.below(pages) * PAGE_BYTES;
  const end = dice.below(8);
  switch (end) {
    case 0: {
      const cut = dice.below(bytes.length);
      writeFileSync(path, bytes.subarray(0, cut));
      return `cut to ${cut} bytes`;
    }
    case 1: {
      const [one, other] = [page(), page()];
      const kept = Buffer.from(bytes.subarray(one, one + PAGE_BYTES));
      bytes.copy(bytes, one, other, other + PAGE_BYTES);
      kept.copy(bytes, other);
      writeFileSync(path, bytes);
      return `pages at ${one} and ${other} exchanged`;
    }
    case 2: {
      const at = page();
      bytes.fill(dice.chance(50) ? 0 : dice.bytes(PAGE_BYTES), at, at + PAGE_BYTES);
      writeFileSync(path, bytes);
      return `the page at ${at} overwritten`;
    }
    case 3: {
      const at = dice.below(100);
      bytes[at] = dice.below(256);
      writeFileSync(path, bytes);
      return `byte ${at} of the header is ${bytes[at]}`;
    }
    case 4:
      writeFileSync(path, Buffer.concat([bytes, dice.bytes(dice.below(5000))]));
      return 'more behind its end';
    default: {
      const flips = Array.from({ length: dice.pick([1, 1, 2, 8, 64, 500]) }, () => {
        const at = dice.below(bytes.length);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8));
        return at;
      });
      writeFileSync(path, bytes);
      return `bits at ${flips.slice(0, 20).join(', ')} flipped`;
    }
  }
}

const NUMBERS = [0, -1, 1, 2, 7, 2 ** 31, 2 ** 48, 2 ** 52, 2 ** 53 - 1] as const;
const LARGE = [2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)] as const;

/** One value of one row, or of all rows of a table, becomes another. */
function editRow(dice: Dice, path: string): string {
  const db = new BetterSqlite3(path);
  try {
    db.pragma('ignore_check_constraints = ON');
    const tables = namesOf(db, 'table');
    const table = dice.pick(tables);
    if (dice.chance(15)) {
      db.exec(`DELETE FROM "${table}"`);
      return `no rows in ${table}`;
    }
    const columns = db.pragma(`table_info("${table}")`) as { name: string }[];
    const { name } = dice.pick(columns);
    const value = dice.pick([...NUMBERS, ...LARGE, 'x', '', Buffer.from([0xff, 0x2f]), null]);
    const where = dice.chance(70)
      ? `WHERE "${name}" = (SELECT max("${name}") FROM "${table}")`
      : '';
    const sql = `UPDATE OR IGNORE "${table}" SET "${name}" = ? ${where}`;
    try {
      db.prepare(sql).run(value);
    } catch {
      // The schema does not let it in: that journal is whole, and opens.
    }
    return `${sql} ${String(value)}`;
  } finally {
    foldAndClose(db);
  }
}

/** A table, an index or a column less, or something that is not ours besides. */
function editSchema(dice: Dice, path: string): string {
  const db = new BetterSqlite3(path);
  try {
    const table = dice.pick(namesOf(db, 'table'));
    const column = dice.pick(db.pragma(`table_info("${table}")`) as { name: string }[]).name;
    const statements = [
      `DROP TABLE "${table}"`,
      `DROP INDEX "${dice.pick(namesOf(db, 'index'))}"`,
      `ALTER TABLE "${table}" RENAME TO "other"`,
      `ALTER TABLE "${table}" RENAME COLUMN "${column}" TO "other"`,
      `ALTER TABLE "${table}" ADD COLUMN other TEXT`,
      `ALTER TABLE "${table}" DROP COLUMN "${column}"`,
      `CREATE TRIGGER t AFTER INSERT ON "${table}" BEGIN DELETE FROM "${table}"; END`,
      `DROP TABLE "${table}"; CREATE VIEW "${table}" AS SELECT 1 AS "${column}"`,
      `PRAGMA user_version = ${dice.pick([0, 1, 2, 99, -1])}`,
      `PRAGMA application_id = ${dice.pick([0, 1, 2 ** 31 - 1])}`,
      'CREATE TABLE other (a)',
    ];
    const sql = dice.pick(statements);
    try {
      db.exec(sql);
    } catch {
      // SQLite does not let it: that journal is whole, and opens.
    }
    return sql;
  } finally {
    foldAndClose(db);
  }
}

const namesOf = (db: BetterSqlite3.Database, type: string): string[] =>
  db
    .prepare("SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite_%'")
    .pluck()
    .all(type) as string[];

function foldAndClose(db: BetterSqlite3.Database): void {
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
}
