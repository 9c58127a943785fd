/** Laws of transactions, groups, counters and of files that are not ours. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { ContentId, Ino } from '../../src/base/ids.ts';
import { S_IFREG } from '../../src/base/posix.ts';
import { Journal, openForCheck } from '../../src/journal/journal.ts';
import { SCHEMA_VERSION } from '../../src/journal/migrations.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { entry, inode, type name, openScratch, root, scratch } from './scratch.ts';

/** The error `action` throws. */
function thrown(action: () => unknown): OpError {
  try {
    action();
  } catch (error) {
    if (error instanceof OpError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a transaction', () => {
  test('is kept with its records and its rows when the file is opened again', () => {
    const scratched = openScratch();
    const { journal } = scratched;
    const actor = root(journal);
    const ino = journal.commit((tx) => {
      const made = journal.inodes.nextIno();
      journal.inodes.insert(inode(tx, made, S_IFREG));
      tx.record(entry(actor, '/a', { ino: made }));
      return made;
    });
    const { head } = journal;
    const again = scratched.reopen();
    expect(again.inodes.get(ino)?.ino).toBe(ino);
    expect(again.head).toEqual(head);
    expect(again.ops.page(0, 10).map(({ seq, ino: of }) => [seq, of])).toEqual([[1, ino]]);
  });

  test('begun inside another joins it, and the records of both are one group', () => {
    const { journal } = openScratch();
    const actor = root(journal);
    journal.commit((tx) => {
      tx.record(entry(actor, '/a'));
      journal.commit((inner) => {
        expect(inner).toBe(tx);
        inner.record(entry(actor, '/b'));
      });
    });
    expect(journal.head.seq).toBe(2);
    expect(journal.ops.groupEnds(0, 10)).toHaveLength(1);
  });

  test('shares one moment among all its records', () => {
    let s = 0;
    const clock = new TurnedClock();
    clock.now = () => ({ s: ++s, ns: 0 });
    const journal = new Journal({ path: join(scratch(), 'journal.db'), clock });
    const actor = root(journal);
    for (const path of ['/a', '/b']) {
      journal.commit((tx) => {
        tx.record(entry(actor, path));
        tx.record(entry(actor, path));
      });
    }
    expect(journal.ops.page(0, 10).map(({ time_s }) => time_s)).toEqual([2, 2, 3, 3]);
    journal.close();
  });

  test('that records nothing leaves the chain as it was', () => {
    const { journal } = openScratch();
    const { head } = journal;
    journal.commit(() => journal.meta.set('verified_seq', 'yes'));
    expect(journal.meta.get('verified_seq')).toBe('yes');
    expect(journal.head).toEqual(head);
  });

  test('whose body throws never happened, with everything in its group', () => {
    const { journal } = openScratch();
    const actor = root(journal);
    const order: string[] = [];
    const failing = () =>
      journal.group(() => {
        journal.commit((tx) => {
          journal.meta.set('boot_id', 'first');
          tx.record(entry(actor, '/a'));
          tx.onRollback(() => order.push('first'));
          tx.afterCommit(() => order.push('committed'));
        });
        journal.commit((tx) => {
          tx.onRollback(() => order.push('second'));
          throw new OpError('busy', 'test');
        });
      });
    expect(thrown(failing).failure).toBe('busy');
    expect(order).toEqual(['second', 'first']);
    expect(journal.meta.get('boot_id')).toBeUndefined();
    expect(journal.head.seq).toBe(0);
    expect(journal.inTransaction).toBe(false);
  });

  test('that broke breaks its group even when the group goes on', () => {
    const { journal } = openScratch();
    const group = () =>
      journal.group(() => {
        const broken = () =>
          journal.commit(() => {
            throw new OpError('busy', 'test');
          });
        expect(broken).toThrow('busy');
        journal.commit(() => journal.meta.set('boot_id', 'late'));
      });
    expect(thrown(group).failure).toBe('busy');
    expect(journal.meta.get('boot_id')).toBeUndefined();
  });

  test('runs what waits for the commit in order, once it is durable', () => {
    const { journal } = openScratch();
    const order: string[] = [];
    journal.commit((tx) => {
      tx.afterCommit(() => order.push(`first, open: ${journal.inTransaction}`));
      tx.afterCommit(() => order.push('second'));
      tx.beforeCommit(() => order.push('before'));
      order.push('body');
    });
    expect(order).toEqual(['body', 'before', 'first, open: false', 'second']);
  });

  test('that writes a row twice over a constraint is an operating error', () => {
    const { journal } = openScratch();
    const twice = () =>
      journal.commit((tx) => {
        journal.inodes.insert(inode(tx, 1 as Ino, S_IFREG));
        journal.inodes.insert(inode(tx, 1 as Ino, S_IFREG));
      });
    expect(thrown(twice).failure).toBe('journal-corrupt');
    expect(journal.inodes.get(1 as Ino)).toBeUndefined();
  });

  test('is on disk for whoever syncs the descriptor of the WAL', () => {
    const { journal, path } = openScratch();
    root(journal);
    expect(statSync(`/proc/self/fd/${journal.walFd}`).ino).toBe(statSync(`${path}-wal`).ino);
  });

  test('that is only rehearsed tells what it would record, and leaves nothing', () => {
    const { journal } = openScratch();
    const actor = root(journal);
    const rows = journal.rehearse(() => {
      journal.commit((tx) => {
        journal.meta.set('boot_id', 'rehearsed');
        tx.record(entry(actor, '/a'));
      });
    });
    expect(rows).toMatchObject([{ seq: 1, kind: 'create' }]);
    expect(journal.meta.get('boot_id')).toBeUndefined();
    expect(journal.head.seq).toBe(0);
    const failing = () =>
      journal.rehearse(() => {
        throw new OpError('busy', 'test');
      });
    expect(thrown(failing).failure).toBe('busy');
    expect(journal.inTransaction).toBe(false);
  });

  test('may not be open when the journal is closed or folded', () => {
    const { journal } = openScratch();
    journal.group(() => {
      expect(() => journal.close()).toThrow('closed inside a transaction');
      expect(() => journal.foldWal()).toThrow('folded inside a transaction');
      expect(() => journal.group(() => undefined)).toThrow('groups do not nest');
    });
  });
});

describe('a number', () => {
  test('is never given twice, not after a restart either', () => {
    const scratched = openScratch();
    const seen = new Set<number>();
    for (let restart = 0; restart < 3; restart++) {
      const journal = scratched.reopen();
      for (let index = 0; index < 1500; index++) {
        const ino = journal.commit(() => journal.inodes.nextIno());
        expect(seen).not.toContain(ino);
        seen.add(ino);
      }
    }
  });

  test('taken by a transaction that was rolled back is not given again', () => {
    const { journal } = openScratch();
    const taken: ContentId[] = [];
    for (let round = 0; round < 3; round++) {
      const rolledBack = () =>
        journal.commit(() => {
          taken.push(journal.contents.nextId());
          throw new OpError('busy', 'test');
        });
      expect(rolledBack).toThrow('busy');
      taken.push(journal.commit(() => journal.contents.nextId()));
    }
    expect(new Set(taken).size).toBe(taken.length);
  });

  test('of an actor that was rolled back is interned anew', () => {
    const { journal } = openScratch();
    const actor = {
      surface: 'mcp',
      uid: 1,
      gid: 2,
      session: 's',
      tool: 't',
      toolCall: 'c',
    } as const;
    const rolledBack = () =>
      journal.commit(() => {
        journal.actors.intern(actor);
        throw new OpError('busy', 'test');
      });
    expect(rolledBack).toThrow('busy');
    const id = journal.commit(() => journal.actors.intern(actor));
    expect(journal.commit(() => journal.actors.intern({ ...actor }))).toBe(id);
    expect(journal.actors.get(id)).toMatchObject(actor);
  });
});

describe('a resent request', () => {
  const request = { generation: 3, unique: 42 };

  test('is answered with the reply it was given', () => {
    const scratched = openScratch();
    const { journal } = scratched;
    const actor = root(journal);
    const reply = Buffer.from('reply');
    journal.group(() => {
      journal.beginRequest({ generation: 3, unique: 41 });
      journal.commit((tx) => tx.record(entry(actor, '/other')));
      journal.endRequest(Buffer.from('other'));
      journal.beginRequest(request);
      journal.commit((tx) => tx.record(entry(actor, '/a')));
      journal.commit((tx) => tx.record(entry(actor, '/b')));
      journal.endRequest(reply);
      reply.fill(0);
    });
    const again = scratched.reopen();
    expect(again.answered(request)?.toString()).toBe('reply');
    expect(again.answered({ ...request, generation: 4 })).toBeUndefined();
    expect(again.answered({ ...request, unique: 43 })).toBeUndefined();
  });

  test('that changed nothing, or was rolled back, is not known', () => {
    const { journal } = openScratch();
    const actor = root(journal);
    journal.group(() => {
      journal.beginRequest(request);
      journal.endRequest(Buffer.from('reply'));
    });
    expect(journal.answered(request)).toBeUndefined();
    const failing = () =>
      journal.group(() => {
        journal.beginRequest(request);
        journal.commit((tx) => tx.record(entry(actor, '/a')));
        journal.endRequest(Buffer.from('reply'));
        throw new OpError('busy', 'test');
      });
    expect(failing).toThrow('busy');
    expect(journal.answered(request)).toBeUndefined();
  });
});

describe('a file', () => {
  const openAt = (path: string) => new Journal({ path, clock: new TurnedClock() });

  test('of a newer schema is refused by number and left as it was', () => {
    const scratched = openScratch();
    scratched.journal.connection.pragma('user_version = 99');
    const refusal = thrown(() => openAt(scratched.path));
    expect(refusal.failure).toBe('version-unsupported');
    expect(refusal.message).toMatch(/schema 99 is newer than this kitfs knows/);
    expect(refusal.details).toMatchObject({ found: 99 });
  });

  test('of an older schema is checked only once it is migrated', () => {
    const { journal, path } = openScratch();
    journal.connection.pragma('user_version = 0');
    expect(thrown(() => openForCheck(path)).message).toContain(
      `older than ${SCHEMA_VERSION}; mount it once`,
    );
  });

  test('that is another program’s database is refused and not written to', () => {
    const path = join(scratch(), 'other.db');
    const other = new BetterSqlite3(path);
    other.exec('CREATE TABLE theirs (a)');
    other.close();
    const before = readFileSync(path);
    expect(thrown(() => openAt(path)).message).toMatch(/not a kitfs journal/);
    expect(thrown(() => openForCheck(path)).failure).toBe('journal-corrupt');
    expect(readFileSync(path)).toEqual(before);
  });

  test('that is no database is refused', () => {
    const path = join(scratch(), 'notes.txt');
    writeFileSync(path, 'these are not pages '.repeat(500));
    expect(thrown(() => openAt(path)).failure).toBe('journal-corrupt');
  });

  test('that is absent is made by the writer and missed by a checker', () => {
    const path = join(scratch(), 'journal.db');
    expect(thrown(() => openForCheck(path)).failure).toBe('journal-unavailable');
    openAt(path).close();
    openForCheck(path).close();
  });
});

test('names are kept byte by byte', () => {
  const { journal } = openScratch();
  const every = String.fromCharCode(...Array.from({ length: 255 }, (_, byte) => byte + 1));
  const odd = every.replace('/', '') as ReturnType<typeof name>;
  journal.commit(() => journal.dentries.insert(1 as Ino, odd, 2 as Ino));
  expect(journal.dentries.find(1 as Ino, odd)).toBe(2);
  expect(journal.dentries.namesOf(2 as Ino)).toEqual([{ parent: 1, name: odd }]);
});
