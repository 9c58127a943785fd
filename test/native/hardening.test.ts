/** What the finished native parts are made of: read from the files that are loaded. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const FOLDER = fileURLToPath(new URL('../../native/build/Release', import.meta.url));
const ELF = Buffer.from('\x7fELF', 'latin1');

function isElf(path: string): boolean {
  const fd = openSync(path, 'r');
  const head = Buffer.alloc(ELF.length);
  readSync(fd, head, 0, head.length, 0);
  closeSync(fd);
  return head.equals(ELF);
}

/** Addons, the extension, and every program that is built with them. */
const parts = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isFile() && isElf(join(FOLDER, entry.name)))
  .map(({ name }) => name);

const read = (part: string, ...options: readonly string[]): string =>
  execFileSync('readelf', ['--wide', ...options, join(FOLDER, part)], {
    encoding: 'utf8',
    // Of another part nothing is read.
    stdio: ['ignore', 'pipe', 'pipe'],
  });

const compiled = (part: string): readonly string[] =>
  read(part, '--string-dump=.GCC.command.line')
    .split('\n')
    .filter((line) => line.includes(' -m') || line.includes(' -O'));

test('all parts are looked at', () => {
  expect(parts).toEqual(
    expect.arrayContaining(['kitfs.node', 'kitfs-libfuse2.node', 'wal_vfs.so']),
  );
});

describe.each(parts)('%s', (part) => {
  test('nothing in it can be written and run, and its tables are read-only once it is loaded', () => {
    const segments = read(part, '--segments');
    expect(segments).toMatch(/GNU_RELRO/);
    expect(segments).toMatch(/GNU_STACK.* RW +0x/);
    expect(segments).not.toMatch(/LOAD.* RWE /);
    const dynamic = read(part, '--dynamic');
    expect(dynamic).toMatch(/\(FLAGS\).*BIND_NOW/);
    expect(dynamic).not.toContain('TEXTREL');
  });

  test('it runs where the loader puts it', () => {
    expect(read(part, '--file-header')).toMatch(/Type: +DYN/);
  });

  test('every file of it was compiled with guards on the stack', () => {
    const lines = compiled(part);
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      expect(line).toContain('-fstack-protector-strong');
      expect(line).toContain('-fstack-clash-protection');
    }
  });

  test('it writes to no buffer whose size it does not say', () => {
    const symbols = read(part, '--dyn-syms');
    const unchecked = /\bUND (v?sprintf|strcpy|strcat|stpcpy|gets)(@|$)/gm;
    expect(symbols.match(unchecked) ?? []).toEqual([]);
  });
});

test('the addon was compiled with _FORTIFY_SOURCE', () => {
  expect(read('kitfs.node', '--dyn-syms')).toMatch(/UND __snprintf_chk/);
});
