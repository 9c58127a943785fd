/** What the bench prints is what it measured: the arithmetic of its table. */
import { describe, expect, test } from 'vitest';
import { parseFio, parsePhases } from './rates.ts';
import {
  formatSeconds,
  formatSpread,
  formatTable,
  median,
  type Round,
  type RowSpec,
  ratiosTo,
  secondsOf,
  verdict,
} from './table.ts';

const rate: RowSpec = {
  name: 'create',
  title: 'create',
  unit: 'rate',
  bar: { against: 'native', limit: 0.5 },
};
const time: RowSpec = {
  name: 'clone',
  title: 'clone',
  unit: 'time',
  bar: { against: 'bindfs', limit: 1.5 },
};
const rounds: readonly Round[] = [
  {
    native: { create: 0.001, clone: 1 },
    bindfs: { create: 0.004, clone: 4 },
    kitfs: { create: 0.002, clone: 2 },
  },
  { native: { create: 0.003, clone: 2 }, kitfs: { create: 0.001, clone: 8 } },
  { native: { create: 0.001, clone: 2 }, kitfs: { create: 0.004, clone: 2 } },
];

describe('a ratio', () => {
  test('of rates is ours to theirs, round by round', () => {
    expect(ratiosTo('native', rounds, rate)).toEqual({ min: 0.25, median: 0.5, max: 3 });
  });

  test('of times is ours to theirs, round by round', () => {
    expect(ratiosTo('native', rounds, time)).toEqual({ min: 1, median: 2, max: 4 });
  });

  test('is of the rounds that have both', () => {
    expect(ratiosTo('bindfs', rounds, rate)).toEqual({ min: 2, median: 2, max: 2 });
    expect(ratiosTo('bindfs', rounds.slice(1), rate)).toBeUndefined();
    expect(secondsOf(rounds, 'bindfs', 'clone')).toEqual([4]);
  });
});

describe('a bar', () => {
  test('of a rate is the least that will do', () => {
    expect(verdict(rounds, rate)).toBe('≥ 0.5 × native: met');
    const higher: RowSpec = { ...rate, bar: { against: 'native', limit: 0.6 } };
    expect(verdict(rounds, higher)).toBe('≥ 0.6 × native: missed');
  });

  test('of a time is the most that will do', () => {
    expect(verdict(rounds, time)).toBe('≤ 1.5 × bindfs: met');
    const native: RowSpec = { ...time, bar: { against: 'native', limit: 1.8 } };
    expect(verdict(rounds, native)).toBe('≤ 1.8 × native: missed');
  });

  test('of the clock is of our own seconds, even of a row of rates', () => {
    const clock: RowSpec = { ...rate, bar: { against: 'clock', limit: 0.002 } };
    expect(verdict(rounds, clock)).toBe('≤ 2.00 ms: met');
    expect(verdict(rounds.slice(2), clock)).toBe('≤ 2.00 ms: missed');
  });

  test('is neither met nor missed where nothing was compared', () => {
    expect(verdict(rounds.slice(1), time)).toBe('≤ 1.5 × bindfs');
    expect(verdict([], { name: 'create', title: 'create', unit: 'rate' })).toBe('');
  });
});

test('the median of an even number of values lies between the middle two', () => {
  expect(median([4, 1, 3])).toBe(3);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test('figures keep two digits and never an exponent', () => {
  const spread = { min: 0.0123, median: 9.96, max: 99.6 };
  expect(formatSpread(spread)).toBe('10 (0.012–100)');
  expect(formatSpread({ min: 0.5, median: 0.5, max: 0.5 })).toBe('0.50');
  expect([2.5e-6, 0.0421, 1.5].map(formatSeconds)).toEqual(['2.5 µs', '42.1 ms', '1.50 s']);
});

test('the table has a column for what was measured, and a row for what was', () => {
  const figures = [{ name: 'ready', title: 'ready', value: '7 ms', bar: '< 1 s' }];
  const absent: RowSpec = { name: 'stat', title: 'stat', unit: 'rate' };
  const table = { specs: [rate, absent], rounds: rounds.slice(1), figures, ourTitle: 'other' };
  expect(formatTable(table).split('\n')).toEqual([
    '| what | native | other | ratio to native | bar |',
    '|---|--:|--:|--:|---|',
    '| create | 500/s | 400/s | 1.6 (0.25–3.0) | ≥ 0.5 × native: met |',
    '| ready | – | 7 ms | – | < 1 s |',
  ]);
});

describe('what was measured is read', () => {
  test('from lines of a name, operations and seconds', () => {
    expect(parsePhases('create 4 2.0\nunlink 10 1\n')).toEqual({ create: 0.5, unlink: 0.1 });
    expect(parsePhases('')).toEqual({});
  });

  const report = (jobname: string, read: number, write: number) =>
    JSON.stringify({ jobs: [{ jobname, read: { iops: read }, write: { iops: write } }] });

  test('from the jobs of fio that are rows', () => {
    expect(parseFio(report('read-random-4k', 8, 0))).toEqual({ 'read-random-4k': 0.125 });
    expect(parseFio(report('write-random-4k', 0, 4))).toEqual({ 'write-random-4k': 0.25 });
    expect(parseFio(report('warm', 8, 0))).toEqual({});
  });

  test('and a job that did nothing is an error', () => {
    expect(() => parseFio(report('write-random-4k', 8, 0))).toThrow('did nothing');
  });
});
