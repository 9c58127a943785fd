/** The WAL is bounded, and folding it never makes the writer wait long or lose anything. */
import { statSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { ContentId } from '../../src/base/ids.ts';
import {
  WAL_BYTES_MAX,
  WAL_FOLDED_BYTES_MIN,
  WAL_REST_BYTES_MAX,
  WAL_RESTARTED_BYTES_MIN,
} from '../../src/base/limits.ts';
import {
  compiledWorkerUrl,
  foldWhileWritten,
  isFoldDue,
  isRestDue,
  openForFolding,
} from '../../src/journal/checkpoint.ts';
import { Checkpointer, type Journal, openForCheck } from '../../src/journal/journal.ts';
import { RememberedLog } from '../fakes/log.ts';
import { openScratch } from './scratch.ts';

const MIB = 1024 * 1024;
const bytes = Buffer.alloc(64 * 1024, 1);
const walFileBytes = (path: string) => statSync(`${path}-wal`).size;

/** Puts about so many bytes into the WAL. */
function fill(journal: Journal, mebibytes: number): void {
  for (let index = 0; index < mebibytes * 16; index++) {
    journal.commit(() => journal.contents.setBytes(((index % 64) + 1) as ContentId, bytes));
  }
}

describe('the decision', () => {
  const state = (usedBytes: number, unfoldedBytes: number) => ({ usedBytes, unfoldedBytes });

  test.each([
    [state(0, 0), false],
    [state(WAL_FOLDED_BYTES_MIN, WAL_FOLDED_BYTES_MIN - 1), false],
    [state(WAL_FOLDED_BYTES_MIN, WAL_FOLDED_BYTES_MIN), true],
    [state(WAL_RESTARTED_BYTES_MIN, 1), true],
    // Folded already: it begins anew with the next commit.
    [state(WAL_RESTARTED_BYTES_MIN, 0), false],
  ])('to fold: %o → %s', (of, expected) => {
    expect(isFoldDue(of)).toBe(expected);
  });

  test.each([
    [state(WAL_RESTARTED_BYTES_MIN - 1, 0), false],
    [state(WAL_RESTARTED_BYTES_MIN, WAL_REST_BYTES_MAX), true],
    [state(WAL_RESTARTED_BYTES_MIN, WAL_REST_BYTES_MAX + 1), false],
    [state(WAL_BYTES_MAX, WAL_BYTES_MAX), true],
  ])('to fold the rest on the writer’s thread: %o → %s', (of, expected) => {
    expect(isRestDue(of)).toBe(expected);
  });
});

test('another connection folds all there is, and leaves the writer undisturbed', () => {
  const { journal, path } = openScratch();
  fill(journal, 20);
  expect(journal.wal.unfoldedBytes).toBeGreaterThan(20 * MIB);
  const db = openForFolding(path);
  expect(foldWhileWritten(db).unfoldedBytes).toBe(0);
  db.close();
  fill(journal, 1);
  expect(journal.wal.usedBytes).toBeLessThan(2 * MIB);
});

test('a reader keeps its moment, and only delays the folding', () => {
  const { journal, path } = openScratch();
  fill(journal, 1);
  const reader = openForCheck(path);
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM packed').get();
  fill(journal, 20);
  const db = openForFolding(path);
  expect(foldWhileWritten(db).unfoldedBytes).toBeGreaterThan(19 * MIB);
  reader.exec('COMMIT');
  reader.close();
  expect(foldWhileWritten(db).unfoldedBytes).toBe(0);
  db.close();
});

test('the file is cut to its bound after a reader made it grow', () => {
  const { journal } = openScratch();
  fill(journal, 80);
  journal.foldWal();
  fill(journal, 1);
  expect(walFileBytes(journal.path)).toBe(WAL_RESTARTED_BYTES_MIN);
});

test('the thread is found beside the build, from sources and from the build', () => {
  const sources = compiledWorkerUrl('file:///k/src/journal/checkpoint.ts');
  expect(sources.href).toBe('file:///k/dist/src/journal/checkpoint.worker.js');
  const built = compiledWorkerUrl('file:///k/dist/src/journal/checkpoint.js');
  expect(built.href).toBe(sources.href);
});

describe('the checkpointer', () => {
  test('bounds the WAL while it is written', async () => {
    const { journal, path, clock } = openScratch();
    const log = new RememberedLog();
    const checkpointer = new Checkpointer({ journal, clock, log });
    for (let round = 0; round < 10; round++) {
      fill(journal, 30);
      await checkpointer.tick();
      expect(walFileBytes(path)).toBeLessThan(WAL_RESTARTED_BYTES_MIN + 40 * MIB);
    }
    await checkpointer.run(AbortSignal.abort());
    expect(journal.wal.unfoldedBytes).toBe(0);
    expect(log.lines).toEqual([]);
  });

  test('looks again at every turn of the clock, and folds a last time at its end', async () => {
    const { journal, clock } = openScratch();
    const log = new RememberedLog();
    const checkpointer = new Checkpointer({ journal, clock, log });
    const end = new AbortController();
    const running = checkpointer.run(end.signal);
    fill(journal, 1);
    await clock.turn(1000);
    expect(journal.wal.unfoldedBytes).toBeGreaterThan(0);
    end.abort();
    await running;
    // Too little to be worth a pass is left to the close.
    expect(journal.wal.unfoldedBytes).toBeLessThanOrEqual(WAL_REST_BYTES_MAX);
    expect(clock.sleeping).toBe(0);
    expect(log.lines).toEqual([]);
  });

  test('without a thread that works says so, and the writer’s thread bounds the WAL', async () => {
    const { journal, clock } = openScratch();
    const log = new RememberedLog();
    const workerUrl = pathToFileURL('/nowhere/checkpoint.worker.js');
    const calls: string[] = [];
    const owner = {
      path: journal.path,
      wal: { usedBytes: WAL_BYTES_MAX, unfoldedBytes: WAL_BYTES_MAX },
      foldWal: () => calls.push('fold'),
    };
    await new Checkpointer({ journal: owner, clock, log, workerUrl }).tick();
    expect(calls).toEqual(['fold']);
    expect(log.lines.map(({ level }) => level)).toEqual(['error', 'warn']);
  });

  test('tells what its thread could not do, and begins another', async () => {
    const { journal, clock } = openScratch();
    const log = new RememberedLog();
    const owner = { path: '/nowhere/journal.db', wal: journal.wal, foldWal: () => undefined };
    const checkpointer = new Checkpointer({ journal: owner, clock, log });
    await checkpointer.run(AbortSignal.abort());
    expect(log.lines).toMatchObject([{ level: 'error', message: 'checkpoint failed' }]);
  });
});
