/** The laws of messages that are kept. */
import { expect, test } from 'vitest';
import { Messages } from '../../src/tools/messages.ts';

const ALL = { countMax: 500, bytesMax: 1_000_000 };
const time = { s: 1, ns: 0 };

function heard(messages: Messages, texts: readonly string[], bytesMax = 1_000_000): void {
  for (const text of texts) messages.keep({ time, from: 'a', data: Buffer.from(text) }, bytesMax);
}

const textsOf = ({ messages }: ReturnType<Messages['page']>) =>
  messages.map(({ seq, data }) => `${seq} ${Buffer.from(data)}`);

test('messages are numbered from 1, and reading consumes nothing', () => {
  const messages = new Messages(10);
  expect(messages.page(0, ALL)).toEqual({ messages: [], nextSeq: 0, headSeq: 0 });
  heard(messages, ['a', 'b', 'c']);
  expect(messages.unread).toBe(3);
  const page = messages.page(0, { ...ALL, countMax: 2 });
  expect(textsOf(page)).toEqual(['1 a', '2 b']);
  expect(page).toMatchObject({ nextSeq: 2, headSeq: 3 });
  expect(page).not.toHaveProperty('gap');
  expect(textsOf(messages.page(page.nextSeq, ALL))).toEqual(['3 c']);
  expect(textsOf(messages.page(0, ALL))).toEqual(['1 a', '2 b', '3 c']);
  expect(messages.unread).toBe(0);
  expect(messages.page(99, ALL)).toEqual({ messages: [], nextSeq: 3, headSeq: 3 });
});

test('a full buffer lets the oldest go, and says so to who has not read it', () => {
  const messages = new Messages(2);
  heard(messages, ['a', 'b', 'c', 'd']);
  const page = messages.page(0, ALL);
  expect(textsOf(page)).toEqual(['3 c', '4 d']);
  expect(page.gap).toEqual({ from: 1, to: 2 });
  expect(messages.page(1, ALL).gap).toEqual({ from: 2, to: 2 });
  expect(messages.page(2, ALL)).not.toHaveProperty('gap');
});

test('what was missed has one number, and a page ends before it', () => {
  const messages = new Messages(10);
  messages.lose();
  heard(messages, ['b']);
  messages.lose();
  messages.lose();
  heard(messages, ['d', 'e']);
  const first = messages.page(0, ALL);
  expect(textsOf(first)).toEqual(['2 b']);
  expect(first).toMatchObject({ gap: { from: 1, to: 1 }, nextSeq: 2, headSeq: 5 });
  const second = messages.page(first.nextSeq, ALL);
  expect(textsOf(second)).toEqual(['4 d', '5 e']);
  expect(second).toMatchObject({ gap: { from: 3, to: 3 }, nextSeq: 5 });
  messages.lose();
  const third = messages.page(second.nextSeq, ALL);
  expect(third).toEqual({ messages: [], gap: { from: 6, to: 6 }, nextSeq: 6, headSeq: 6 });
});

test('weight is bounded, but the newest message is kept and given whatever it weighs', () => {
  const messages = new Messages(10);
  heard(messages, ['a'.repeat(1000), 'b'.repeat(1000), 'c'.repeat(1000)], 2600);
  expect(messages.page(0, ALL).messages.map(({ seq }) => seq)).toEqual([2, 3]);
  heard(messages, ['d'.repeat(5000)], 2600);
  expect(messages.page(0, ALL).messages.map(({ seq }) => seq)).toEqual([4]);
  heard(messages, ['e'.repeat(10)], 10_000);
  const page = messages.page(3, { countMax: 5, bytesMax: 100 });
  expect(page.messages.map(({ seq }) => seq)).toEqual([4]);
  expect(messages.page(page.nextSeq, ALL).messages.map(({ seq }) => seq)).toEqual([5]);
});
