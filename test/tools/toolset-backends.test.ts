/** The tools of backends, over stores in memory and in directories of the host. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Facts, Fixture } from './fixture.ts';

let fixture: Fixture;
let root: string;
beforeEach(() => {
  fixture = new Fixture();
  root = join(fixture.directory, 'local', 'disk');
  mkdirSync(root, { recursive: true });
});
afterEach(() => fixture.close());

const STRANGER = { uid: 12_345, gid: 12_345 };

const register = (backend: string, kind: string, config: Facts, more: Facts = {}) =>
  fixture.done('mbfs_register_backend', { backend, kind, config, ...more });
const store = (backend: string, identifier: string, content: string, more: Facts = {}) =>
  fixture.done('mbfs_store', { backend, identifier, content, ...more });

async function textOf(backend: string, identifier: string, more: Facts = {}): Promise<string> {
  const { content } = await fixture.call('mbfs_retrieve', { backend, identifier, ...more });
  return content[1]?.type === 'text' ? content[1].text : JSON.stringify(content[0]);
}

test('a directory is registered when it was tried, and is listed with what it can', async () => {
  const made = await register('disk', 'local', { root }, { make_default: true });
  expect(made).toMatchObject({ existed: false, is_default: true, health: { state: 'ok' } });
  expect(made['capabilities']).toMatchObject({ read: true, write: true, conditional_put: true });
  const { backends, default_backend } = await fixture.done('mbfs_list_backends', {});
  expect(default_backend).toBe('disk');
  const told = (backends as Facts[]).map(({ backend, health }) => [backend, health]);
  const ok = expect.objectContaining({ state: 'ok' });
  const unknown = { state: 'unknown' };
  expect(told).toEqual([
    ['disk', ok],
    ['ipfs', unknown],
    ['ipns', unknown],
    ['local', ok],
    ['memory', ok],
    ['mfs', unknown],
  ]);
});

test('the same registration is no error, another one under its name is', async () => {
  await register('disk', 'local', { root });
  expect(await register('disk', 'local', { root })).toMatchObject({ existed: true });
  const other = { backend: 'disk', kind: 'memory', config: {} };
  const context = await fixture.refused('mbfs_register_backend', other, 'ALREADY_EXISTS');
  expect(context).toMatchObject({ kind: 'backend', backend: 'disk' });
  const builtIn = { backend: 'memory', kind: 'memory', config: {} };
  await fixture.refused('mbfs_register_backend', builtIn, 'ALREADY_EXISTS');
});

test.each([
  ['config of another kind', 'memory', { root: '/x' }, 'INVALID_ARGUMENT'],
  ['a bucket without a name', 's3', {}, 'INVALID_ARGUMENT'],
  ['a directory that is not allowed', 'local', { root: '/etc' }, 'POLICY_DENIED'],
  ['one that is not there', 'local', { root: '/etc/none' }, 'POLICY_DENIED'],
  ['a kind without an engine', 'storacha', {}, 'NOT_SUPPORTED'],
  ['another', 'ipfs', { api_url: 'http://127.0.0.1:1' }, 'NOT_SUPPORTED'],
  ['nobody there', 'cluster', { api_url: 'http://127.0.0.1:1' }, 'BACKEND_UNAVAILABLE'],
  ['an address that is none', 'cluster', { api_url: 'ftp://x' }, 'CONFIGURATION_INVALID'],
])('what cannot be used is not registered: %s', async (_, kind, config, code) => {
  await fixture.refused('mbfs_register_backend', { backend: 'x', kind, config }, code);
  expect(fixture.journal.backends.all()).toEqual([]);
});

test('a secret is named and never given: neither stored nor said', async () => {
  const literal = { bucket: 'b-1', access_key_id: 'env:ID', secret_access_key: 'hunter2secret' };
  const values = { backend: 'x', kind: 's3', config: literal };
  const refused = await fixture.ask('mbfs_register_backend', values);
  expect(refused.error_code).toBe('SECRET_REFERENCE_INVALID');
  expect(JSON.stringify(refused)).not.toContain('hunter2secret');
  const config = { ...literal, secret_access_key: 'env:KEY' };
  await fixture.refused('mbfs_register_backend', { ...values, config }, 'SECRET_REFERENCE_INVALID');
  fixture.secrets.set('env:ID', 'the-id').set('env:KEY', 'the-key');
  const told = await register('x', 's3', config, { probe: false });
  expect(told).toMatchObject({ config, health: { state: 'unknown' } });
  const rows = JSON.stringify([
    fixture.journal.backends.all(),
    fixture.journal.connection.prepare('SELECT before, after FROM op').all(),
    await fixture.done('mbfs_list_backends', { include_health: false }),
  ]);
  expect(rows).toContain('env:KEY');
  expect(rows).not.toContain('the-key');
});

test('a link that leads out of the roots is no way out', async () => {
  symlinkSync('/etc', join(root, 'out'));
  const values = { backend: 'x', kind: 'local', config: { root: join(root, 'out') } };
  await fixture.refused('mbfs_register_backend', values, 'POLICY_DENIED');
  await register('disk', 'local', { root });
  const { structuredContent } = await fixture.call('mbfs_retrieve', {
    ...{ backend: 'disk', identifier: 'out/passwd' },
  });
  expect(structuredContent?.status).toBe('error');
});

test('a registration that cannot be read any more stays, and is down', async () => {
  const { backends } = fixture.journal;
  const row = { kind: 'local', capabilities: null, isDefault: false };
  fixture.journal.commit(() => {
    backends.set({ ...row, name: 'odd', config: '{' });
    backends.set({ ...row, name: 'older', kind: 'tape', config: '{}' });
  });
  const { backends: listed } = await fixture.done('mbfs_list_backends', {});
  const states = (listed as Facts[]).map(({ backend, health }) => [backend, health]);
  const down = (code: string) => expect.objectContaining({ state: 'down', error_code: code });
  expect(states).toContainEqual(['odd', down('INVALID_ARGUMENT')]);
  expect(states).toContainEqual(['older', down('NOT_SUPPORTED')]);
});

test('bytes and files of the tree are stored, read in slices, and listed', async () => {
  await register('disk', 'local', { root });
  const stored = await store('disk', 'a/one.txt', 'hello');
  expect(stored).toMatchObject({ size: 5, created: true, state: 'stored', kind: 'local' });
  expect(readFileSync(join(root, 'a/one.txt'), 'utf8')).toBe('hello');
  await fixture.write('/ipfs/big', 'x'.repeat(3_000_000));
  const big = await fixture.done('mbfs_store', {
    ...{ backend: 'disk', identifier: 'b.bin', path: '/ipfs/big' },
  });
  expect(big).toMatchObject({ size: 3_000_000, cid: expect.any(String) });
  expect(readFileSync(join(root, 'b.bin'), 'utf8')).toBe('x'.repeat(3_000_000));
  expect(await textOf('disk', 'a/one.txt', { offset: 1, length: 3 })).toBe('ell');
  const one = await fixture.done('mbfs_list_content', { backend: 'disk', limit: 1 });
  expect(one).toMatchObject({ items: [{ identifier: 'a/one.txt', size: 5 }], truncated: true });
  const { next_cursor: cursor } = one;
  const rest = await fixture.done('mbfs_list_content', { backend: 'disk', limit: 1, cursor });
  expect(rest).toMatchObject({ items: [{ identifier: 'b.bin' }], truncated: false });
  const level = await fixture.done('mbfs_list_content', { backend: 'disk', recursive: false });
  expect(level['items']).toMatchObject([{ identifier: 'a/', item: 'prefix' }, { item: 'object' }]);
});

test('nothing is replaced that was not meant to be', async () => {
  const { version } = await store('memory', 'k', 'one');
  const again = { backend: 'memory', identifier: 'k', content: 'two' };
  const context = await fixture.refused('mbfs_store', again, 'ALREADY_EXISTS');
  expect(context).toMatchObject({ kind: 'object', backend: 'memory' });
  const old = { ...again, expected_version: 'other' };
  const conflict = await fixture.refused('mbfs_store', old, 'VERSION_CONFLICT');
  expect(conflict['partial']).toEqual({ version });
  await fixture.done('mbfs_store', { ...again, expected_version: version });
  expect(await textOf('memory', 'k')).toBe('two');
  expect(await store('memory', 'k', 'three', { overwrite: true })).toMatchObject({
    created: false,
  });
  expect(await textOf('memory', 'k')).toBe('three');
});

test.each<[string, Facts, string]>([
  ['no bytes', { backend: 'memory', identifier: 'k' }, 'INVALID_ARGUMENT'],
  ['no key', { backend: 'memory', content: 'x' }, 'INVALID_ARGUMENT'],
  ['a key that leads out', { backend: 'local', identifier: '../x', content: 'x' }, 'INVALID_PATH'],
  ['no such backend', { backend: 'none', identifier: 'k', content: 'x' }, 'NOT_FOUND'],
  ['one of content by CID', { identifier: 'k', content: 'x' }, 'NOT_SUPPORTED'],
  ['no such file', { backend: 'memory', identifier: 'k', path: '/ipfs/none' }, 'NOT_FOUND'],
  ['a directory', { backend: 'memory', identifier: 'k', path: '/ipfs' }, 'IS_A_DIRECTORY'],
])('what cannot be stored is refused, rehearsed or not: %s', async (_, values, code) => {
  await fixture.refused('mbfs_store', { ...values, dry_run: true }, code);
  const answer = await fixture.ask('mbfs_store', values);
  expect(answer.error_code).toBe(code);
});

test('the only known copy is deleted with force alone, one of two without', async () => {
  await register('disk', 'local', { root });
  const { version } = await store('disk', 'k', 'bytes');
  const values = { backend: 'disk', identifier: 'k' };
  const plan = await fixture.planned('mbfs_delete', { ...values, force: true });
  expect(plan['counts']).toEqual({ backend_delete: 1 });
  await fixture.refused('mbfs_delete', values, 'CONFIRMATION_REQUIRED');
  // A copy in memory goes with the daemon: it is none.
  const copy = { source_backend: 'disk', identifier: 'k' };
  await fixture.done('mbfs_copy_between_backends', { ...copy, destination_backend: 'memory' });
  await fixture.refused('mbfs_delete', values, 'CONFIRMATION_REQUIRED');
  const copied = await fixture.done('mbfs_copy_between_backends', {
    ...{ ...copy, destination_backend: 'local', destination_identifier: 'kept/k' },
  });
  expect(copied).toMatchObject({ bytes: 5, verified: true, source: { version } });
  // One that somebody else removed is none either.
  const kept = join(fixture.directory, 'local', 'kept', 'k');
  writeFileSync(kept, 'other bytes');
  await fixture.refused('mbfs_delete', values, 'CONFIRMATION_REQUIRED');
  const again = { destination_backend: 'local', destination_identifier: 'kept/k' };
  await fixture.refused('mbfs_copy_between_backends', { ...copy, ...again }, 'ALREADY_EXISTS');
  await fixture.done('mbfs_copy_between_backends', { ...copy, ...again, overwrite: true });
  expect(readFileSync(kept, 'utf8')).toBe('bytes');
  const gone = await fixture.done('mbfs_delete', values);
  expect(gone).toMatchObject({ outcome: 'deleted', still_readable: false, bytes: 5 });
  await fixture.refused('mbfs_delete', values, 'NOT_FOUND');
  await fixture.refused('mbfs_copy_between_backends', { ...copy, ...again }, 'NOT_FOUND');
});

test('a backend goes when nothing needs it, and what is in it stays', async () => {
  await register('disk', 'local', { root }, { make_default: true });
  await store('disk', 'k', 'bytes');
  const values = { backend: 'disk' };
  const context = await fixture.refused('mbfs_remove_backend', values, 'BACKEND_IN_USE');
  expect(context['partial']).toEqual({ mounts: [], sole_copies: 1 });
  await fixture.refused('mbfs_remove_backend', { backend: 'memory' }, 'POLICY_DENIED');
  await fixture.refused('mbfs_remove_backend', { backend: 'none' }, 'NOT_FOUND');
  await fixture.planned('mbfs_remove_backend', { ...values, force: true });
  const removed = await fixture.done('mbfs_remove_backend', { ...values, force: true });
  expect(removed).toMatchObject({ removed: true, sole_copies: 1, default_backend: 'ipfs' });
  expect(readFileSync(join(root, 'k'), 'utf8')).toBe('bytes');
  await fixture.refused('mbfs_retrieve', { ...values, identifier: 'k' }, 'NOT_FOUND');
});

test('each change is in the journal, an intent before it and what came of it', async () => {
  await store('memory', 'k', 'one');
  await fixture.ask('mbfs_store', {
    backend: 'memory',
    identifier: 'k/x'.repeat(400),
    content: 'x',
  });
  const { entries } = await fixture.done('fs_journal_get_history', { order: 'asc' });
  const told = (entries as { op: string; result: Facts }[])
    .filter(({ op }) => op.startsWith('backend_'))
    .map(({ op, result }) => [op, result['state']]);
  expect(told).toEqual([
    ['backend_store', 'pending'],
    ['backend_store', 'done'],
  ]);
});

test('they are for the owner', async () => {
  const values = { backend: 'memory', identifier: 'k' };
  for (const [name, more] of [
    ['mbfs_register_backend', { backend: 'x', kind: 'memory', config: {} }],
    ['mbfs_remove_backend', { backend: 'x' }],
    ['mbfs_store', { ...values, content: 'x' }],
    ['mbfs_retrieve', values],
    ['mbfs_delete', values],
    ['mbfs_list_content', { backend: 'memory' }],
    ['ipfs_cluster_peers', {}],
  ] as const) {
    await fixture.refused(name, more, 'PERMISSION_DENIED', STRANGER);
  }
});

test('without a cluster there is none to be asked', async () => {
  const cid = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';
  const code = 'SERVICE_NOT_CONFIGURED';
  await fixture.refused('ipfs_cluster_peers', {}, code);
  await fixture.refused('ipfs_cluster_status', { cid }, code);
  await fixture.refused('ipfs_cluster_pin', { ipfs_path: cid }, code);
  const config = { api_url: 'http://127.0.0.1:1' };
  await register('far', 'cluster', config, { probe: false });
  await fixture.refused('ipfs_cluster_peers', {}, 'BACKEND_UNAVAILABLE');
  await register('farther', 'cluster', config, { probe: false });
  await fixture.refused('ipfs_cluster_peers', {}, 'INVALID_ARGUMENT');
  await fixture.refused('ipfs_cluster_peers', { backend: 'none' }, 'NOT_FOUND');
});
