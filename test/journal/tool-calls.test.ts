/** Answers kept for calls that are sent again: with the change or not at all, and only so many. */
import { expect, test } from 'vitest';
import { CALL_KEPT_S, CALLS_KEPT_MAX } from '../../src/base/limits.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { openScratch } from './scratch.ts';

const DIGEST = Buffer.alloc(32, 1);

function keep(journal: Journal, key: string, timeS = 1000, principal = 'uid:0'): void {
  journal.commit((tx) => {
    tx.lastly((seq) => {
      const answer = JSON.stringify({ key, seq });
      journal.toolCalls.insert({ principal, key, digest: DIGEST, timeS, answer });
    });
  });
}

const count = (journal: Journal): unknown =>
  journal.connection.prepare('SELECT count(*) FROM tool_call').pluck().get();

test('an answer is found under its key by who called, and by nobody else', () => {
  const { journal } = openScratch();
  keep(journal, 'a');
  expect(journal.toolCalls.find('uid:0', 'a')).toEqual({
    principal: 'uid:0',
    key: 'a',
    digest: DIGEST,
    timeS: 1000,
    answer: '{"key":"a"}',
  });
  expect(journal.toolCalls.find('uid:1', 'a')).toBeUndefined();
  expect(journal.toolCalls.find('uid:0', 'b')).toBeUndefined();
});

test('a change that is taken back takes its answer with it', () => {
  const { journal } = openScratch();
  const broken = () =>
    journal.group(() => {
      keep(journal, 'a');
      throw new Error('broken');
    });
  expect(broken).toThrow();
  journal.rehearse(() => keep(journal, 'a'));
  expect(journal.toolCalls.find('uid:0', 'a')).toBeUndefined();
});

test('a key that is kept is not kept again', () => {
  const { journal } = openScratch();
  keep(journal, 'a');
  expect(() => keep(journal, 'a')).toThrow();
  keep(journal, 'a', 1000, 'uid:1');
});

test('old answers go as others come, two for one, and no younger ones', () => {
  const { journal } = openScratch();
  for (let n = 0; n < 10; n += 1) keep(journal, `old ${n}`, 1000);
  keep(journal, 'edge', 1001);
  for (let n = 0; n < 5; n += 1) keep(journal, `new ${n}`, 1001 + CALL_KEPT_S);
  expect(count(journal)).toBe(6);
  keep(journal, 'next', 1001 + CALL_KEPT_S);
  expect(journal.toolCalls.find('uid:0', 'edge')).toBeDefined();
});

test('there are never more than so many', () => {
  const { journal } = openScratch();
  journal.group(() => {
    for (let n = 0; n < CALLS_KEPT_MAX + 100; n += 1) keep(journal, `${n}`);
  });
  expect(count(journal)).toBe(CALLS_KEPT_MAX);
  expect(journal.toolCalls.find('uid:0', '99')).toBeUndefined();
  expect(journal.toolCalls.find('uid:0', '100')).toBeDefined();
});
