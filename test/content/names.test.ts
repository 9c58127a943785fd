import { expect, test } from 'vitest';
import { Names } from '../../src/content/names.ts';
import { settle } from '../fakes/clock.ts';

/** Syncs that end when they are told to. */
class HeldDisk {
  readonly paths: string[] = [];
  readonly #held: { resolve(): void; reject(error: Error): void }[] = [];

  readonly sync = (path: string): Promise<void> => {
    this.paths.push(path);
    return new Promise((resolve, reject) => this.#held.push({ resolve, reject }));
  };

  async end(error?: Error): Promise<void> {
    const held = this.#held.shift();
    if (held === undefined) throw new Error('no sync is under way');
    if (error === undefined) held.resolve();
    else held.reject(error);
    await settle();
  }
}

function opened() {
  const disk = new HeldDisk();
  return { disk, names: new Names('/c', disk.sync) };
}

/** Whether it has resolved, or how it failed. */
function watched(done: Promise<void>): { is: string } {
  const state = { is: 'waits' };
  done.then(
    () => (state.is = 'done'),
    (error: Error) => (state.is = error.message),
  );
  return state;
}

test('names made before this process began are synced once, for all who ask', async () => {
  const { disk, names } = opened();
  const [one, other] = [watched(names.sync('0a')), watched(names.sync('0a'))];
  await disk.end();
  expect([one.is, other.is, disk.paths]).toEqual(['done', 'done', ['/c/0a']]);
  await names.sync('0a');
  expect(disk.paths).toHaveLength(1);
});

test('a name made while a sync runs is not there with it, and shares the next with all who came', async () => {
  const { disk, names } = opened();
  const before = watched(names.sync('0a'));
  names.made('0a');
  const one = watched(names.sync('0a'));
  names.made('0a');
  const other = watched(names.sync('0a'));
  await disk.end();
  expect([before.is, one.is, other.is]).toEqual(['done', 'waits', 'waits']);
  await disk.end();
  expect([one.is, other.is, disk.paths.length]).toEqual(['done', 'done', 2]);
});

test('a sync that fails is told to all whom it was for, and to nobody else', async () => {
  const { disk, names } = opened();
  const [one, other] = [watched(names.sync('0a')), watched(names.sync('0a'))];
  names.made('0a');
  const later = watched(names.sync('0a'));
  await disk.end(new Error('EIO'));
  expect([one.is, other.is, later.is]).toEqual(['EIO', 'EIO', 'waits']);
  await disk.end();
  expect(later.is).toBe('done');
});

test('a failed sync is none: the next one is asked for again', async () => {
  const { disk, names } = opened();
  const failed = watched(names.sync('0a'));
  await disk.end(new Error('EIO'));
  expect(failed.is).toBe('EIO');
  const again = watched(names.sync('0a'));
  await disk.end();
  expect([again.is, disk.paths.length]).toEqual(['done', 2]);
});
