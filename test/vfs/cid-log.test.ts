/** What is written down of content by CID, for a daemon that goes on with the connection. */
import { describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { CidTree, type ContentReader } from '../../src/vfs/cidtree.ts';
import type { NodeLog } from '../../src/vfs/vfs.ts';

const never = new AbortController().signal;

const reader: ContentReader = {
  isCid: () => true,
  node: (cid) => Promise.resolve({ cid, type: 'file', size: cid.length, mode: 0o555 }),
  async *children() {
    // None of them is a directory.
  },
  read: () => Promise.reject(new OpError('not-found', 'test')),
};

class HandLog implements NodeLog {
  kept: string[];
  replaced = 0;

  constructor(lines: readonly string[] = []) {
    this.kept = [...lines];
  }

  lines(): readonly string[] {
    return [...this.kept];
  }

  append(line: string): void {
    this.kept.push(line);
  }

  replace(lines: readonly string[]): void {
    this.kept = [...lines];
    this.replaced += 1;
  }
}

const look = (tree: CidTree, cid: string, isHeld = true) =>
  tree.root(ROOT_INO, nameOfText(cid), isHeld);

/** A log with one node, and that node's number. */
async function noted(): Promise<{ readonly log: HandLog; readonly ino: Ino }> {
  const log = new HandLog();
  const { ino } = await look(new CidTree(reader, never, log), 'bafy-a');
  return { log, ino };
}

describe('content by CID that the kernel holds', () => {
  test('is known to the next daemon, as it was', async () => {
    const { log, ino } = await noted();
    const next = new CidTree(reader, never, log);
    expect(next.find(ino)).toMatchObject({ ino, size: 6, mode: 0o100555 });
    expect([next.cidOf(ino), next.parentOf(ino)]).toEqual(['bafy-a', ROOT_INO]);
    expect(await look(next, 'bafy-a')).toBe(next.find(ino));
  });

  test('is noted once, and nothing else is', async () => {
    const log = new HandLog();
    const tree = new CidTree(reader, never, log);
    await look(tree, 'bafy-b', false);
    for (let count = 0; count < 3; count++) await look(tree, 'bafy-a');
    expect(log.kept).toHaveLength(1);
    await look(tree, 'bafy-b');
    expect(log.kept).toHaveLength(2);
  });

  test('is known whatever else lies in the log, which is put right', async () => {
    const { log, ino } = await noted();
    const [line = ''] = log.kept;
    const node = '{"cid":"bafy-x","type":"socket","size":1}';
    const broken = [
      '',
      line.slice(0, 20),
      '5',
      'null',
      '[1,"a"]',
      '[1,"a",null]',
      `[1,"a",${node}]`,
    ];
    const kept = new HandLog([...broken, line, line]);
    expect(new CidTree(reader, never, kept).find(ino)).toMatchObject({ size: 6 });
    expect(kept.kept).toEqual([line]);
    const nothing = new HandLog(['[1,']);
    await look(new CidTree(reader, never, nothing), 'bafy-a');
    expect(nothing.kept).toEqual([line]);
  });

  test('is not noted for longer than it is held', async () => {
    const log = new HandLog();
    const tree = new CidTree(reader, never, log);
    for (let number = 0; number < 20_000; number++) {
      const { ino } = await look(tree, `bafy-${number}`);
      tree.forget(ino);
    }
    expect(log.replaced).toBeGreaterThan(0);
    expect(log.kept.length).toBeLessThan(8200);
  });

  test('is given up when the kernel gives it back, however often daemons are killed', async () => {
    const { log, ino } = await noted();
    const second = new CidTree(reader, never, log);
    second.forget(ino);
    // It may have been looked up again by then.
    expect(second.find(ino)).toMatchObject({ ino });
    for (let number = 0; number < 9000; number++) {
      second.forget((await look(second, `bafy-${number}`)).ino);
    }
    const third = new CidTree(reader, never, log);
    expect(() => third.find(ino)).toThrow(expect.objectContaining({ failure: 'not-found' }));
  });
});
