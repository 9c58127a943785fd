/** Where secrets may lie, and what keeps them from being used. */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseSecretReference } from '../../src/base/secrets.ts';
import { readSecret } from '../../src/daemon/secrets.ts';
import { parseSettings } from '../../src/daemon/settings.ts';
import { Scratch } from './scratch.ts';

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(() => scratch[Symbol.dispose]());

const uid = process.getuid?.() ?? 0;

function read(text: string, variables: Readonly<Record<string, string>> = {}): string {
  const reference = parseSecretReference(text);
  if (reference === undefined) throw new Error('no reference');
  return readSecret(reference, { variables, uid }).reveal();
}

function put(name: string, text: string, mode = 0o600): string {
  const path = scratch.path(name);
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  return path;
}

test('a secret lies in a variable, a file of ours, or a credential of systemd', () => {
  mkdirSync(scratch.path('credentials'));
  put('credentials/agent', 'third\n', 0o440);
  const variables = { KEY: 'first', CREDENTIALS_DIRECTORY: scratch.path('credentials') };
  expect(read('env:KEY', variables)).toBe('first');
  expect(read(`file:${put('key', 'second\r\n')}`)).toBe('second');
  expect(read('cred:agent', variables)).toBe('third');
});

test.each([
  ['others may read', 'canary', 0o604],
  ['its group may read', 'canary', 0o640],
  ['its group may write', 'canary', 0o620],
  ['is empty', '\n', 0o600],
  ['is too large', 'canary'.repeat(20_000), 0o600],
])('a file that %s is no secret, and the error does not tell it', (_, text, mode) => {
  const path = put('key', text, mode);
  const shown = errorOf(() => read(`file:${path}`));
  expect(shown).toMatchObject({ failure: 'configuration', op: `read the secret file:${path}` });
  expect(JSON.stringify([shown.message, shown.hint, shown.details])).not.toContain('canary');
});

test('a link, a FIFO, a directory and nothing are no secrets, and none of them is waited for', () => {
  symlinkSync(put('key', 'canary'), scratch.path('link'));
  expect(spawnSync('mkfifo', ['-m', '600', scratch.path('fifo')]).status).toBe(0);
  mkdirSync(scratch.path('directory'), { mode: 0o700 });
  for (const name of ['link', 'fifo', 'directory', 'absent']) {
    const error = errorOf(() => read(`file:${scratch.path(name)}`));
    expect(error).toMatchObject({ failure: 'configuration' });
  }
});

test('a file of another user is no secret', () => {
  const path = put('key', 'canary');
  if (uid === 0) chownSync(path, 12_345, 12_345);
  const reference = { kind: 'file', path } as const;
  const error = errorOf(() => readSecret(reference, { variables: {}, uid: 54_321 }));
  expect(error.hint).toContain('must belong to');
});

test('a variable that is not set and a credential nobody gave are errors', () => {
  expect(errorOf(() => read('env:NONE')).hint).toBe('the variable is not set');
  expect(errorOf(() => read('cred:agent')).hint).toContain('systemd');
  put('agent', 'canary', 0o604);
  const variables = { CREDENTIALS_DIRECTORY: scratch.path() };
  expect(errorOf(() => read('cred:agent', variables)).hint).toBe('everybody may use it');
});

const withToken = (line: string): string => `[[access.token]]\nname = "agent"\n${line}\n`;

test.each([
  ['the secret itself', withToken('secret = "canary-7"')],
  ['something like a reference', withToken('secret = "env:canary-7 "')],
  ['a number', withToken('secret = 7007007')],
  ['text that has no end', withToken('secret = "canary-7')],
  ['a line that is no TOML', withToken('secret = canary-7')],
  ['a value where a table is', 'access = "canary-7"'],
])('a configuration with %s in place of a reference is refused, and not repeated', (_, text) => {
  const error = errorOf(() => parseSettings(text, '/etc/kitfs/config.toml'));
  expect(error.failure).toBe('configuration');
  const shown = [error.message, error.hint, error.details, error.stack, String(error.cause)];
  expect(JSON.stringify(shown)).not.toMatch(/canary-7|7007007/);
});

function errorOf(body: () => unknown) {
  try {
    body();
  } catch (error) {
    return error as Error & { failure: string; hint: string; op: string; details: unknown };
  }
  throw new Error('it went well');
}
