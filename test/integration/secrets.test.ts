/**
 * The canary: secrets given in every way there is, and whatever is written by anybody afterwards is searched for them.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

const CANARY = 'c4n4ry';
const secret = (which: string): string => `${CANARY}-${which}-7Qx/+=`;

/** As a URL has it: RFC 3986 leaves no slash before the host. */
const encoded = (which: string): string => encodeURIComponent(secret(which));

const CONFIGURATION = `
[[access.token]]
name = "from-env"
secret = "env:AGENT_TOKEN"

[[access.token]]
name = "from-file"
secret = "file:@/agent.key"
read_only = true

[[access.token]]
name = "from-systemd"
secret = "cred:agent"
paths = ["/ipfs/docs"]
`;

const request = (id: number | string, method: string, params: object = {}) =>
  JSON.stringify({ jsonrpc: '2.0', id, method, params });
const handshake = (name: string, meta: object = {}) =>
  request('hello', 'initialize', {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name, version: `1 token=${secret('version')}` },
    _meta: meta,
  });
const call = (id: number | string, name: string, values: object) =>
  request(id, 'tools/call', { name, arguments: values });

/** Calls that fail and calls that do not, with secrets where a caller may put them. */
const CALLS = [
  call(1, 'vfs_write', { path: '/ipfs/docs/a', content: 'a', parents: true }),
  call(2, 'vfs_write', { path: '/ipfs/docs/a', content: 'a', password: secret('argument') }),
  call(3, 'vfs_read', { path: `/ipfs/https://ann:${encoded('url')}@host/x` }),
  call(4, 'vfs_read', { [`token=${secret('name')}`]: 1 }),
  call(5, 'vfs_mount', {
    backend: 'ipfs',
    mount_point: '/ipfs/docs/m',
    source: `https://ann:${encoded('source')}@host/`,
  }),
  call(6, 'vfs_mount', {
    backend: 's3',
    mount_point: '/m',
    options: { secret_key: secret('key') },
  }),
  call(7, 'ipfs_cat', { ipfs_path: `https://${encoded('cid')}@host/` }),
  call(`id token=${secret('id')}`, 'vfs_mkdir', { path: '/ipfs/docs/d' }),
  request(8, `tools/token=${secret('method')}`),
  request(9, 'tools/call', { name: `token=${secret('tool')}` }),
  request(10, 'tools/list'),
  call(11, 'vfs_ls', { path: '/mem' }),
];

/** All bytes of all files below a folder. */
function bytesBelow(folder: string): { path: string; bytes: Buffer }[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, bytes: readFileSync(path) }));
}

test('no secret is in any log, answer, listing, status or file, however it was given', async () => {
  const seen: { readonly where: string; readonly text: string }[] = [];
  let directory = '';
  const env: Record<string, string> = { AGENT_TOKEN: secret('env') };
  await using daemon = await TestDaemon.start({
    env,
    prepare: (state) => {
      directory = join(state, '..');
      env['CREDENTIALS_DIRECTORY'] = join(directory, 'credentials');
      const path = join(directory, 'config.toml');
      writeFileSync(join(directory, 'agent.key'), `${secret('file')}\n`, { mode: 0o600 });
      mkdirSync(join(directory, 'credentials'), { mode: 0o700 });
      writeFileSync(join(directory, 'credentials/agent'), secret('cred'), { mode: 0o400 });
      writeFileSync(path, CONFIGURATION.replace('@', directory));
    },
  });
  const bridge = async (args: readonly string[], name: string, meta: object = {}) => {
    const input = [handshake(name, meta), ...CALLS].map((line) => `${line}\n`).join('');
    const { stdout, stderr } = await daemon.kitfs(['mcp', ...args], { input });
    // What a caller names its request it is answered under; nobody else reads that.
    const text = stdout.replaceAll(/"id":"(?:[^"\\]|\\.)*"/g, '');
    seen.push({ where: `bridge ${args.join(' ')} stdout`, text });
    seen.push({ where: `bridge ${args.join(' ')} stderr`, text: stderr });
    return stdout;
  };
  const name = `agent https://me:${encoded('client')}@host`;
  const answers = [
    await bridge([], name),
    await bridge(['--token', 'env:AGENT_TOKEN'], name),
    await bridge(['--token', `file:${directory}/agent.key`], name),
    await bridge(['--token', 'cred:agent'], name),
    await bridge(['--read-only'], name),
  ];
  // The tokens were taken: the answers differ as their ceilings do.
  const codes = ['PERMISSION', 'TOOL_NOT_ALLOWED', 'POLICY_DENIED'];
  const told = answers.map((text) => codes.filter((code) => text.includes(code)));
  expect(told).toEqual([[], [], ['TOOL_NOT_ALLOWED'], ['POLICY_DENIED'], ['TOOL_NOT_ALLOWED']]);
  await bridge(['--token', secret('literal')], name);
  await bridge([], name, { 'kitfs/token': secret('guess') });
  await bridge([], name, { 'kitfs/token': { of: secret('object') } });

  const command = async (...args: readonly string[]) => {
    const { stdout, stderr } = await daemon.kitfs(args);
    const where = `kitfs ${args.slice(0, 2).join(' ')}`;
    seen.push({ where, text: stdout }, { where: `${where} (errors)`, text: stderr });
  };
  await command('call', 'vfs_stat', JSON.stringify({ path: '/ipfs', token: secret('cli') }));
  await command('call', 'vfs_stat', `{"path":"/ipfs","token":"${secret('json')}`, '--json');
  await command('call', 'vfs_stat', secret('text'));
  await command('call', `token=${secret('unknown')}`, '{}', '--json');
  for (const word of ['status', 'log', 'tools', 'doctor']) {
    await command(word);
    await command(word, '--json');
  }
  await command('call', 'fs_journal_get_history', '{"path":"/","recursive":true}', '--json');
  await command('call', 'system_health', '{}', '--json');
  for (const file of ['status.json', 'errors.ndjson', 'journal.ndjson']) {
    seen.push({ where: file, text: await daemon.run('cat', [`.kitfs/${file}`]) });
  }

  // A start that fails on its configuration: a literal, a secret that is not there, one that others may read.
  for (const [which, line] of [
    ['literal', `secret = "${secret('config')}"`],
    ['broken', `secret = ${secret('toml')}`],
    ['absent', 'secret = "env:NO_SUCH_VARIABLE"'],
    ['open', `secret = "file:${directory}/open.key"`],
  ] as const) {
    const path = join(directory, `${which}.toml`);
    writeFileSync(path, `[[access.token]]\nname = "a"\n${line}\n`);
    writeFileSync(join(directory, 'open.key'), secret('open'), { mode: 0o644 });
    const places = ['--state', join(directory, 'other'), '--run', join(directory, 'other-run')];
    const { code, stdout, stderr } = await daemon.kitfs([
      ...['mount', join(directory, 'nowhere'), '--config', path, ...places],
    ]);
    expect({ which, code }).toEqual({ which, code: 1 });
    seen.push({ where: `configuration ${which}`, text: `${stdout}${stderr}` });
  }

  seen.push({ where: 'the log of the daemon', text: daemon.output });
  await daemon.stop();
  seen.push({ where: 'the log of the daemon, after its stop', text: daemon.output });
  for (const { path, bytes } of bytesBelow(daemon.state)) {
    seen.push({ where: path, text: bytes.toString('latin1') });
  }

  expect(seen.filter(({ text }) => text.includes(CANARY)).map(({ where }) => where)).toEqual([]);
  // It was looked at what was written: what stands for a secret is there.
  expect(seen.filter(({ text }) => text.includes('[redacted]')).length).toBeGreaterThan(4);
  expect(seen.some(({ where, text }) => where.endsWith('journal.db') && text.length > 0)).toBe(
    true,
  );
});
