/** Which request is to blame for the end of a daemon. */
import { describe, expect, test } from 'vitest';
import { FUSE_CID_READS_MAX, POISON_DEATHS_MAX } from '../../src/base/limits.ts';
import type { Reply } from '../../src/fuse/encode.ts';
import { blame } from '../../src/fuse/take-over.ts';
import { Waiting } from '../../src/fuse/waiting.ts';
import { HandleTable } from '../../src/vfs/handle-table.ts';
import { OwnMemory } from '../../src/vfs/table-memory.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { gate, RESENT, Rig } from './rig.ts';

const AGREED = { generation: 1, minor: 45, maxReadahead: 0, flags: 0, flags2: 0 };

/** A table that the next process adopts, as often as one dies. */
function tableOf(memory: OwnMemory): HandleTable {
  const table = HandleTable.adopt(memory) ?? HandleTable.make(memory);
  table.agree(AGREED);
  return table;
}

/** What is refused after so many deaths, in each of which `doing` was done. */
function refusedAfter(deaths: number, isOfItself: boolean, doing: (table: HandleTable) => void) {
  const memory = new OwnMemory();
  for (let death = 0; death < deaths; death++) {
    const table = tableOf(memory);
    blame(table, isOfItself);
    doing(table);
  }
  return [...blame(tableOf(memory), isOfItself)].sort();
}

describe('a daemon that dies of itself', () => {
  const served = (table: HandleTable) => {
    table.awaiting(0x1_0000_0002);
    table.serving(10, 1);
  };

  test('is the fault of the request that was served, from the first deaths on that are too many', () => {
    expect(refusedAfter(POISON_DEATHS_MAX - 1, true, served)).toEqual([]);
    expect(refusedAfter(POISON_DEATHS_MAX, true, served)).toEqual([0x1_0000_000a]);
  });

  test('knows a request by its number, also when the kernel sends it again', () => {
    const rig = new Rig();
    const served: number[] = [];
    rig.faulty.faults.set('mkdir', (real) => {
      served.push(rig.fixture.table.served);
      return real();
    });
    rig.drain(rig.mkdir(10n, 'a'), rig.mkdir(12n | RESENT, 'b'));
    expect([served, rig.fixture.table.served]).toEqual([[10, 12], 0]);
    rig.close();
  });

  test('while it serves none, is the fault of those that were under way', () => {
    const awaited = (table: HandleTable) => {
      table.serving(10, 1);
      for (const unique of [4, 6, 8]) table.awaiting(unique);
      table.awaited(6);
      table.serving(0, 0);
    };
    expect(refusedAfter(POISON_DEATHS_MAX, true, awaited)).toEqual([4, 8]);
  });

  test('is nobody’s fault when somebody killed it', () => {
    expect(refusedAfter(POISON_DEATHS_MAX * 2, false, served)).toEqual([]);
  });

  test('knows of some that were under way, however many are', () => {
    const many = Array.from({ length: 1000 }, (_, at) => 2 * at + 2);
    const refused = refusedAfter(POISON_DEATHS_MAX, true, (table) => {
      for (const unique of many) table.awaiting(unique);
    });
    expect(refused.length).toBeGreaterThan(0);
    const none = refusedAfter(POISON_DEATHS_MAX, true, (table) => {
      for (const unique of many) table.awaiting(unique);
      for (const unique of many) table.awaited(unique);
    });
    expect(none).toEqual([]);
  });
});

test('reads of content are begun one at a time after such a death, until all is well', async () => {
  const under: number[] = [];
  const answers = {
    finish() {},
    refuse() {},
    drop() {},
    begun: (unique: number) => under.push(unique),
    ended: (unique: number) => under.splice(under.indexOf(unique), 1),
  };
  const waiting = new Waiting(new TurnedClock(), answers, true);
  const gates = Array.from({ length: FUSE_CID_READS_MAX + 2 }, () => gate<void>());
  const reply = { isLent: false } as unknown as Reply;
  for (const [unique, { promise }] of gates.entries()) {
    waiting.add({ unique, reply, result: () => promise, isUnhurried: true });
  }
  await settle();
  expect(under).toEqual([0]);
  gates[0]?.open();
  await settle();
  expect(under).toEqual([1]);
  waiting.relax();
  waiting.relax();
  await settle();
  expect(under).toHaveLength(FUSE_CID_READS_MAX);
  for (const { open } of gates) open();
  await settle();
  expect(under).toEqual([]);
});
