/** Messages to a manager of services, as a socket of another process receives them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';
import { receiver } from './receiver.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

const native = loadNative();
const code = (body: () => void): unknown => {
  try {
    body();
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
  return undefined;
};

test('a message arrives whole and alone, at a path and at an abstract name', async () => {
  // The longest abstract name there is, to see that nothing behind it is sent with it.
  const abstract = `@kitfs-${process.pid}-`.padEnd(108, 'x').slice(0, 107);
  for (const name of [join(directory, 'path'), `@kitfs-${process.pid}`, abstract]) {
    await using manager = await receiver(name);
    native.tellSystemd(name, 'READY=1\nSTATUS=an ö');
    native.tellSystemd(name, 'x'.repeat(4096));
    expect(await manager.next()).toBe('READY=1\nSTATUS=an ö');
    expect(await manager.next()).toBe('x'.repeat(4096));
  }
});

test('nobody there, and a manager that does not read, are errors and not a wait for ever', async () => {
  expect(code(() => native.tellSystemd(join(directory, 'absent'), 'a'))).toBe('ENOENT');
  expect(code(() => native.tellSystemd('@kitfs-absent', 'a'))).toBe('ECONNREFUSED');
  const name = join(directory, 'deaf');
  await using _deaf = await receiver(name);
  let sent = 0;
  const flood = () => {
    for (; sent < 1_000_000; sent += 1) native.tellSystemd(name, 'WATCHDOG=1');
  };
  expect(code(flood)).toBe('EAGAIN');
  expect(sent).toBeGreaterThan(0);
});
