import { beforeEach, describe, expect, test } from 'vitest';
import { CURSORS_MAX, PAGE_BYTES_MAX, SNAPSHOT_ITEMS_MAX } from '../../src/base/limits.ts';
import { Cursors, type PageRequest } from '../../src/tools/cursors.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { CountingRandom } from '../fakes/random.ts';

let clock = new TurnedClock();
let cursors = new Cursors({ clock, random: new CountingRandom() });
beforeEach(() => {
  clock = new TurnedClock();
  cursors = new Cursors({ clock, random: new CountingRandom() });
});

function request(cursor?: string, more: Partial<PageRequest> = {}): PageRequest {
  return { tool: 'ls', principal: 'uid:0', arguments: { path: '/a', limit: 2, cursor }, ...more };
}

const never = () => {
  throw new Error('a snapshot is taken once');
};

describe('pages', () => {
  test('give each item of the snapshot once, whatever a writer does meanwhile', async () => {
    const live = [1, 2, 3, 4, 5];
    const seen: number[] = [];
    let page = await cursors.page(request(), () => [...live]);
    for (;;) {
      seen.push(...page.items);
      expect(page.truncated).toBe(page.next_cursor !== undefined);
      expect(page.total).toBe(5);
      live.unshift(0);
      live.pop();
      if (page.next_cursor === undefined) break;
      page = await cursors.page<number>(request(page.next_cursor), never);
    }
    expect(seen).toEqual([1, 2, 3, 4, 5]);
  });

  test('of nothing are one, empty and the last', async () => {
    expect(await cursors.page(request(), () => [])).toEqual({
      items: [],
      truncated: false,
      total: 0,
    });
  });

  test('end before 48 KiB, but hold at least one item', async () => {
    const large = 'x'.repeat(PAGE_BYTES_MAX / 2);
    const wide = request(undefined, { arguments: { path: '/a', limit: 500 } });
    expect((await cursors.page(wide, () => [large, large, large])).items).toHaveLength(1);
    const huge = 'x'.repeat(PAGE_BYTES_MAX * 2);
    const page = await cursors.page(wide, () => [huge, huge]);
    expect(page.items).toHaveLength(1);
  });

  test('show an item only when its page comes', async () => {
    const shown: number[] = [];
    const show = (item: number) => {
      shown.push(item);
      return `${item}`;
    };
    const { items, next_cursor } = await cursors.page(request(), () => [1, 2, 3], show);
    expect([items, shown]).toEqual([
      ['1', '2'],
      [1, 2],
    ]);
    expect(await cursors.page(request(next_cursor), never, show)).toMatchObject({ items: ['3'] });
  });

  test('of more than 100,000 items are refused', async () => {
    const many = () => new Array<number>(SNAPSHOT_ITEMS_MAX + 1).fill(1);
    await expect(cursors.page(request(), many)).rejects.toMatchObject({
      failure: 'result-too-large',
    });
  });
});

describe('a cursor', () => {
  const start = async () => (await cursors.page(request(), () => [1, 2, 3])).next_cursor ?? '';

  test('gives the same page again', async () => {
    const cursor = await start();
    const again = [0, 1].map(() => cursors.page<number>(request(cursor), never));
    expect((await Promise.all(again)).map(({ items }) => items)).toEqual([[3], [3]]);
  });

  test('lives ten minutes after its last use', async () => {
    const cursor = await start();
    for (let use = 0; use < 3; use += 1) {
      await clock.turn(10 * 60_000);
      await cursors.page(request(cursor), never);
    }
    await clock.turn(10 * 60_000 + 1);
    await expect(cursors.page(request(cursor), never)).rejects.toMatchObject({
      failure: 'cursor-expired',
    });
  });

  test('with other arguments is an error of arguments, another limit apart', async () => {
    const cursor = await start();
    const other = request(cursor, { arguments: { path: '/b', limit: 2, cursor } });
    await expect(cursors.page(other, never)).rejects.toMatchObject({ failure: 'invalid-argument' });
    const wider = request(cursor, { arguments: { path: '/a', limit: 9, cursor } });
    expect(await cursors.page(wider, never)).toMatchObject({ items: [3] });
  });

  test.each<Partial<PageRequest>>([{ principal: 'uid:1' }, { tool: 'other' }])(
    'of %j does not exist for anybody else',
    async (more) => {
      const cursor = await start();
      await expect(cursors.page(request(cursor, more), never)).rejects.toMatchObject({
        failure: 'cursor-expired',
      });
    },
  );

  test.each(['', 'x', 'token-0000000000000001.9', 'token-0000000000000001', '../.1'])(
    'made up (%j) is expired',
    async (cursor) => {
      await start();
      await expect(cursors.page(request(cursor), never)).rejects.toMatchObject({
        failure: 'cursor-expired',
      });
    },
  );

  test('gives way to newer ones when there are too many, the least recently used first', async () => {
    const [first, second] = [await start(), await start()];
    for (let count = 2; count < CURSORS_MAX; count += 1) await start();
    await cursors.page(request(first), never);
    await start();
    expect(await cursors.page(request(first), never)).toMatchObject({ items: [3] });
    await expect(cursors.page(request(second), never)).rejects.toMatchObject({
      failure: 'cursor-expired',
    });
  });

  test('gives way when the snapshots weigh too much', async () => {
    const heavy = () => new Array<string>(3).fill('x'.repeat(10 * 1024 * 1024));
    const first = (await cursors.page(request(), heavy)).next_cursor ?? '';
    await cursors.page(request(), heavy);
    await cursors.page(request(), heavy);
    await expect(cursors.page(request(first), never)).rejects.toMatchObject({
      failure: 'cursor-expired',
    });
  });
});
