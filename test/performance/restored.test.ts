/** What it costs to begin with a published tree: counted, at the node that has it and in the journal. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CID } from '../../src/content/content.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture } from '../sync/fixture.ts';

const DIRECTORIES = 10;
const FILES = 1000;

let there: Fixture;
let here: Fixture;
let origin: Origin;
let snapshot: CID;
let rowsWritten = 0;

beforeAll(async () => {
  there = new Fixture();
  origin = new Origin();
  here = new Fixture(origin);
  there.journal.group(() => {
    for (let at = 0; at < DIRECTORIES; at += 1) there.mkdir(`/ipfs/d${at}`);
    for (let at = 0; at < FILES; at += 1) {
      there.write(`/ipfs/d${at % DIRECTORIES}/f${at}`, `the bytes of file ${at}`);
    }
  });
  ({ snapshot } = await there.publish('/ipfs'));
  for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
    origin.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
  here.mkdir('/ipfs/back');
  const written = here.journal.connection.prepare('SELECT total_changes()').pluck();
  const before = written.get() as number;
  await here.restore(snapshot, '/ipfs/back');
  rowsWritten = (written.get() as number) - before;
});
afterAll(async () => {
  await here.close();
  await there.close();
});

test('a tree is asked for by its directories, not by its files, and no block of it twice', () => {
  const { asked } = origin;
  expect(new Set(asked).size).toBe(asked.length);
  // The record, the manifest; of each directory its node and its list, which may be in some parts.
  expect(asked.length).toBeLessThan(2 * (DIRECTORIES + 1) + FILES / 50 + 2);
});

test('a file of a restored tree is five rows: inode, name, content and two records', () => {
  expect(rowsWritten).toBeGreaterThanOrEqual(5 * FILES);
  // Each directory has its own, and the blocks that tell of it.
  expect(rowsWritten).toBeLessThan(5 * FILES + 12 * (DIRECTORIES + FILES / 50) + 20);
});

test('the names at the root cost four blocks and no row of a file, however many files there are', async () => {
  const asked = new Origin();
  for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
    asked.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
  const fresh = new Fixture(asked);
  const written = fresh.journal.connection.prepare('SELECT total_changes()').pluck();
  const before = written.get() as number;
  const foreseen = await fresh.restorer.foresee(snapshot, { isRoot: true }, fresh.signal);
  expect(foreseen?.names).toHaveLength(DIRECTORIES);
  expect(asked.asked).toHaveLength(4);
  // Of each block some three.
  expect((written.get() as number) - before).toBeLessThan(4 * 4);
  await fresh.close();
});
