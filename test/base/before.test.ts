import { expect, test } from 'vitest';
import { before } from '../../src/base/before.ts';

const why = new Error('it is enough');

test('what is done before the signal aborts is what the promise is', async () => {
  const { signal } = new AbortController();
  expect(await before(Promise.resolve(7), signal)).toBe(7);
  await expect(before(Promise.reject(why), signal)).rejects.toBe(why);
});

test('a signal ends it with its reason, whatever the promise does', async () => {
  const controller = new AbortController();
  const waiting = before(new Promise(() => {}), controller.signal);
  controller.abort(why);
  await expect(waiting).rejects.toBe(why);
  await expect(before(Promise.resolve(7), controller.signal)).rejects.toBe(why);
});
