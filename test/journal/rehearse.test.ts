import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import type { Ino, Name } from '../../src/base/ids.ts';
import { Journal } from '../../src/journal/journal.ts';

let directory: string;
let journal: Journal;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kitfs-rehearse-'));
  journal = new Journal({ path: join(directory, 'journal.db'), clock: new SystemClock() });
});
afterEach(() => {
  journal.close();
  rmSync(directory, { recursive: true });
});

const record = (path: string): void => {
  journal.commit((tx) => {
    tx.record({
      kind: 'mkdir',
      actor: journal.actors.intern({ surface: 'daemon', uid: 0, gid: 0 }),
      ino: 0 as Ino,
      parent: 0 as Ino,
      name: '' as Name,
      path: path as Name,
    });
  });
};

describe('a rehearsal', () => {
  test('answers with the records it would have made, and makes none', () => {
    record('/before');
    const { head } = journal;
    let isUndone = false;
    const rows = journal.rehearse(() => {
      record('/one');
      record('/two');
      journal.commit((tx) => {
        journal.meta.set('retained_from', 'yes');
        tx.onRollback(() => {
          isUndone = true;
        });
        tx.afterCommit(() => {
          throw new Error('nothing was committed');
        });
      });
    });
    expect(rows.map(({ seq, path }) => [seq, path.toString()])).toEqual([
      [2, '/one'],
      [3, '/two'],
    ]);
    expect(journal.head).toEqual(head);
    expect(journal.meta.get('retained_from')).toBeUndefined();
    expect(isUndone).toBe(true);
    expect(journal.inTransaction).toBe(false);
    record('/after');
    expect(journal.head.seq).toBe(2);
  });

  test('fails as the call would, also where an inner transaction broke and was passed over', () => {
    const failing = () =>
      journal.commit(() => {
        throw new OpError('no-space', 'write');
      });
    expect(() => journal.rehearse(failing)).toThrow(/no-space/);
    expect(() =>
      journal.rehearse(() => {
        try {
          failing();
        } catch {
          // The group is broken all the same.
        }
      }),
    ).toThrow(/no-space/);
    expect(journal.inTransaction).toBe(false);
    record('/after');
    expect(journal.head.seq).toBe(1);
  });
});
