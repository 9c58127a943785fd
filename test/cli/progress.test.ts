import { afterEach, expect, test, vi } from 'vitest';
import { ProgressBar, progressText } from '../../src/cli/progress.ts';
import { TurnedClock } from '../fakes/clock.ts';

const wasTerminal = process.stderr.isTTY;
afterEach(() => {
  process.stderr.isTTY = wasTerminal;
  vi.restoreAllMocks();
});

/** A bar, and what it has written. */
function bar(isTerminal: boolean) {
  const written: string[] = [];
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  process.stderr.isTTY = isTerminal;
  const clock = new TurnedClock();
  return { clock, written, bar: new ProgressBar(clock) };
}

test('on a terminal a bar is written over itself, and taken away at the end', () => {
  const { written, bar: shown } = bar(true);
  shown.show({ done: 1, unit: 'files' });
  shown.show({ done: 6, total: 12, unit: 'files', message: 'a' });
  shown.show({ done: 12, total: 12, unit: 'files' });
  shown[Symbol.dispose]();
  expect(written).toEqual([
    '\r\u001b[K1 files',
    `\r\u001b[K[${'#'.repeat(12)}${'.'.repeat(12)}]  50 %  6 of 12 files: a`,
    `\r\u001b[K[${'#'.repeat(24)}] 100 %  12 of 12 files`,
    '\r\u001b[K',
  ]);
});

test('elsewhere a line tells what is new, not more often than every few seconds', async () => {
  const { clock, written, bar: shown } = bar(false);
  shown.show({ done: 1, unit: 'files' });
  shown.show({ done: 2, unit: 'files' });
  await clock.turn(5000);
  shown.show({ done: 1, unit: 'files' });
  shown.show({ done: 3, unit: 'files' });
  shown[Symbol.dispose]();
  expect(written).toEqual(['1 files\n', '3 files\n']);
});

test('progress in words', () => {
  expect(progressText({ done: 1, unit: 'items' })).toBe('1 items');
  expect(progressText({ done: 1, total: 0, unit: 'items', message: 'x' })).toBe('1 of 0 items: x');
});
