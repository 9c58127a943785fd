/**
 * Transactions in two SQLite databases of the current directory, with a rollback journal and with a WAL (a shared
 * mapping), until the standard input ends. What every transaction keeps: the sum of all accounts, and a line in the
 * book for each that was committed. Prints how many there were.
 */
import Database from 'better-sqlite3';

const ACCOUNTS = 100;
const OPENING = 1000;
const CHECKED_EVERY = 20;
const REOPENED_EVERY = 200;
const BUSY_MS_MAX = 60_000;

function open(mode) {
  const db = new Database(`${mode}.db`, { timeout: BUSY_MS_MAX });
  db.pragma(`journal_mode = ${mode}`);
  db.pragma('synchronous = FULL');
  return db;
}

function begin(mode) {
  const db = open(mode);
  db.exec(`CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
           CREATE TABLE book (line INTEGER PRIMARY KEY, text TEXT NOT NULL);`);
  const add = db.prepare('INSERT INTO account VALUES (?, ?)');
  db.transaction(() => {
    for (let id = 0; id < ACCOUNTS; id++) add.run(id, OPENING);
  })();
  return { mode, db, reader: open(mode), committed: 0 };
}

const transfer = ({ db }, line) =>
  db
    .transaction(() => {
      const move = db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?');
      move.run(-line, line % ACCOUNTS);
      move.run(line, (line * 7 + 1) % ACCOUNTS);
      db.prepare('INSERT INTO book VALUES (?, ?)').run(line, `${line} `.repeat(line % 2000));
    })
    .immediate();

function check({ mode, db, reader, committed }) {
  for (const each of [db, reader]) {
    const sum = each.prepare('SELECT sum(balance) FROM account').pluck().get();
    const lines = each.prepare('SELECT count(*), max(line) FROM book').raw().get();
    const found = JSON.stringify([sum, ...lines]);
    const expected = JSON.stringify([ACCOUNTS * OPENING, committed, committed]);
    if (found !== expected) throw new Error(`${mode}: ${found}, and not ${expected}`);
  }
  const sound = reader.pragma('integrity_check', { simple: true });
  if (sound !== 'ok') throw new Error(`${mode}: ${sound}`);
}

let isEnding = false;
process.stdin.on('end', () => {
  isEnding = true;
});
process.stdin.resume();

const ledgers = ['delete', 'wal'].map(begin);
while (!isEnding) {
  for (const ledger of ledgers) {
    transfer(ledger, ledger.committed + 1);
    ledger.committed += 1;
    if (ledger.committed % CHECKED_EVERY === 0) check(ledger);
    if (ledger.committed % REOPENED_EVERY !== 0) continue;
    for (const each of [ledger.reader, ledger.db]) each.close();
    Object.assign(ledger, { db: open(ledger.mode), reader: open(ledger.mode) });
  }
  // The end of the input is heard between two transactions.
  await new Promise((resolve) => setImmediate(resolve));
}
for (const ledger of ledgers) check(ledger);
console.log(ledgers.map(({ mode, committed }) => `${mode} ${committed}`).join(', '));
