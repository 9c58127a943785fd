/** How the daemon before ended, as systemd tells it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { endIn, takeEnd } from '../../src/daemon/ended.ts';
import { Scratch } from './scratch.ts';

test.each([
  ['success exited 0', 'exit 0'],
  ['exit-code exited 75', 'exit 75'],
  ['exit-code exited 1', 'exit 1'],
  ['signal killed KILL', 'signal 9'],
  ['core-dump dumped SEGV', 'signal 11'],
  ['oom-kill killed KILL', 'signal 9'],
  ['watchdog killed ABRT', 'hung'],
  ['watchdog dumped ABRT', 'hung'],
  ['timeout killed TERM', 'hung'],
  ['timeout killed KILL', 'hung'],
  ['resources  ', 'unknown'],
  ['exit-code exited many', 'unknown'],
  ['signal killed NONSENSE', 'unknown'],
  ['', 'unknown'],
])('%j of systemd is %j', (text, end) => {
  expect(endIn(`${text}\n`)).toBe(end);
});

test('an end is told once', () => {
  using scratch = new Scratch();
  expect(takeEnd(scratch.directory)).toBe('unknown');
  writeFileSync(scratch.path('ended'), 'signal killed KILL\n');
  expect(takeEnd(scratch.directory)).toBe('signal 9');
  expect(takeEnd(scratch.directory)).toBe('unknown');
});

test('a story that cannot be read is an error of its own, not an end', () => {
  using scratch = new Scratch();
  mkdirSync(scratch.path('ended'));
  expect(() => takeEnd(scratch.directory)).toThrow(
    expect.objectContaining({ failure: 'is-directory' }),
  );
});
