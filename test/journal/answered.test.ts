/** Replies that are stored for requests the kernel sends again to a daemon after this one. */
import { expect, test } from 'vitest';
import { entry, openScratch, root } from './scratch.ts';

const at = (unique: number, generation = 1) => ({ generation, unique });
const reply = (unique: number) => Buffer.alloc(24, unique);

/** One request in a group of its own, which changes something and makes no record. */
function unrecorded(
  journal: ReturnType<typeof openScratch>['journal'],
  ...uniques: number[]
): void {
  journal.group(() => {
    for (const unique of uniques) {
      journal.beginRequest(at(unique));
      journal.commit(() => {});
      journal.endRequest(reply(unique), true);
    }
  });
}

test('answers of the last group are known to the next daemon, by connection', () => {
  const opened = openScratch();
  unrecorded(opened.journal, 2, 2 ** 40);
  unrecorded(opened.journal, 6, 8);
  const next = opened.reopen();
  expect([6, 8].map((unique) => next.answered(at(unique)))).toEqual([reply(6), reply(8)]);
  expect([2, 2 ** 40].map((unique) => next.answered(at(unique)))).toEqual([undefined, undefined]);
  expect(next.answered(at(6, 2))).toBeUndefined();
});

test('answers are known through any number of kills while requests are sent again', () => {
  const opened = openScratch();
  unrecorded(opened.journal, 2, 4);
  for (let unique = 10; unique < 20; unique += 2) {
    const next = opened.reopen();
    expect([2, 4].map((known) => next.answered(at(known)))).toEqual([reply(2), reply(4)]);
    unrecorded(next, unique);
    expect(opened.reopen().answered(at(unique))).toEqual(reply(unique));
  }
});

test('answers are not kept when requests are not sent again any more', () => {
  const opened = openScratch();
  unrecorded(opened.journal, 2);
  const next = opened.reopen();
  expect(next.answered(at(2))).toEqual(reply(2));
  unrecorded(next, 4);
  unrecorded(next, 6);
  const last = opened.reopen();
  expect([2, 4, 6].map((unique) => last.answered(at(unique)))).toEqual([
    undefined,
    undefined,
    reply(6),
  ]);
});

test('a stored reply is found however many records the start made', () => {
  const opened = openScratch();
  const { journal } = opened;
  const actor = root(journal);
  journal.group(() => {
    journal.beginRequest(at(2));
    journal.commit((tx) => tx.record(entry(actor, '/ipfs/a')));
    journal.endRequest(reply(2));
  });
  const next = opened.reopen();
  next.commit((tx) => {
    for (let count = 0; count < 5000; count++) tx.record(entry(actor, '/ipfs/b'));
  });
  expect(next.answered(at(2))).toEqual(reply(2));
  expect(opened.reopen().answered(at(2))).toBeUndefined();
});

test('of a reply that is cut short nothing is sent, and the whole ones before it are known', () => {
  const opened = openScratch();
  unrecorded(opened.journal, 2, 4);
  opened.journal.connection.exec('UPDATE answer SET replies = substr(replies, 1, 60)');
  const next = opened.reopen();
  expect(next.answered(at(2))).toEqual(reply(2));
  expect(next.answered(at(4))).toBeUndefined();
});
