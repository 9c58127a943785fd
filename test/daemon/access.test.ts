/** Who may connect, and what a token lets one do. */
import { expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { referenceText, Secret } from '../../src/base/secrets.ts';
import {
  hostNames,
  peerPolicyOf,
  type TokenOptions,
  tokenDeskOf,
} from '../../src/daemon/access.ts';
import { parseSettings } from '../../src/daemon/settings.ts';
import type { Peer } from '../../src/tools/tools.ts';

const KITFS = 990;
const names = {
  userId: (name: string) => ({ ann: 1000, bob: 1001 })[name],
  groupId: (name: string) => ({ kitfs: KITFS, staff: 50 })[name],
};
const withoutGroup = { ...names, groupId: () => undefined };
const peer = (uid: number, gid = uid, groups: readonly number[] = []): Peer => ({
  ...{ uid, gid, groups, pid: 1 },
});

const mayOf =
  (users: (string | number)[], groups: (string | number)[], uid = 0, table = names) =>
  (who: Peer): boolean =>
    peerPolicyOf({ users, groups }, uid, table).refusalOf(who) === undefined;

test('the daemon of a user serves that user and root, whatever groups there are', () => {
  const policy = peerPolicyOf({ users: [], groups: [] }, 1000, names);
  expect(policy).toMatchObject({ mode: 0o600, gid: undefined });
  const may = mayOf([], [], 1000);
  expect([peer(1000), peer(0), peer(1001), peer(1001, KITFS, [1000])].map(may)).toEqual([
    ...[true, true, false, false],
  ]);
});

test('the daemon of root serves group kitfs, and where there is none root alone', () => {
  expect(peerPolicyOf({ users: [], groups: [] }, 0, names)).toMatchObject({
    mode: 0o660,
    gid: KITFS,
  });
  expect(peerPolicyOf({ users: [], groups: [] }, 0, withoutGroup)).toMatchObject({
    mode: 0o600,
    gid: undefined,
  });
  const peers = [peer(0), peer(1000), peer(1000, KITFS), peer(1000, 5, [4, KITFS])];
  expect(peers.map(mayOf([], []))).toEqual([true, false, true, true]);
  expect(peers.map(mayOf([], [], 0, withoutGroup))).toEqual([true, false, false, false]);
});

test('users and groups of the configuration narrow the group, and never widen it', () => {
  const member = (uid: number, groups: readonly number[] = []) => peer(uid, KITFS, groups);
  const peers = [member(1000), member(1001), member(1002, [50]), member(1003), peer(1000), peer(0)];
  const may = mayOf(['ann', 1001], ['staff']);
  expect(peers.map(may)).toEqual([true, true, true, false, false, true]);
});

test('a name that nobody has, and a policy where nobody else can come, are errors', () => {
  const refused = { failure: 'configuration' };
  expect(() => mayOf(['eve'], [])(peer(0))).toThrow(expect.objectContaining(refused));
  expect(() => mayOf([], ['eve'])(peer(0))).toThrow(expect.objectContaining(refused));
  expect(() => mayOf(['ann'], [], 1000)(peer(0))).toThrow(expect.objectContaining(refused));
});

test('names are those of the host', () => {
  expect(hostNames.userId('root')).toBe(0);
  expect(hostNames.groupId('root')).toBe(0);
  expect(hostNames.userId('no-such-user')).toBeUndefined();
});

const CONFIGURATION = `
[access]
require_token = true
[[access.token]]
name = "reader"
secret = "env:READER"
read_only = true
[[access.token]]
name = "docs"
secret = "env:DOCS"
tools = ["vfs_read", "vfs_write"]
paths = ["/ipfs/docs"]
`;
const tools = new Set(['vfs_read', 'vfs_write']);
const read = (reference: Secret['reference']) => new Secret('s3cret-of-the-docs', reference);

/** Another one for each token. */
const short = (reference: Secret['reference']) =>
  new Secret(`${referenceText(reference)}---------------`.slice(0, 15), reference);

test('a token is found by its secret, with the ceiling the configuration gives it', () => {
  const { access } = parseSettings(CONFIGURATION, 'config.toml');
  const values = { READER: 's3cret-of-the-reader', DOCS: 's3cret-of-the-docs' };
  const desk = tokenDeskOf(access, {
    tools,
    read: (reference) =>
      new Secret(values[reference.kind === 'env' ? (reference.name as 'DOCS') : 'DOCS'], reference),
  });
  expect(desk.isRequired).toBe(true);
  expect(desk.find('s3cret-of-the-reader')).toMatchObject({
    name: 'reader',
    ceiling: { readOnly: true, tools: undefined, scope: undefined },
  });
  expect(desk.find('s3cret-of-the-docs')?.ceiling.tools).toEqual(tools);
  expect(desk.find('s3cret-of-the-Docs')).toBeUndefined();
  expect(JSON.stringify(desk.find('s3cret-of-the-docs'))).not.toContain('s3cret');
});

test.each([
  ['a tool that does not exist', { tools: new Set(['vfs_read']), read }],
  ['a secret that two have', { tools, read }],
  ['a secret of fifteen bytes', { tools, read: short }],
])('a token with %s is an error', (_, options) => {
  const { access } = parseSettings(CONFIGURATION, 'config.toml');
  const refused = expect.objectContaining({ failure: 'configuration' });
  expect(() => tokenDeskOf(access, options)).toThrow(refused);
});

test.each([
  '[access]\nrequire_token = true',
  '[[access.token]]\nname = "a"\nsecret = "env:A"\n[[access.token]]\nname = "a"\nsecret = "env:B"',
  '[[access.token]]\nname = "a"\nsecret = "env:A"\npaths = ["ipfs"]',
  '[[access.token]]\nname = "a"\nsecret = "env:A"\npaths = ["/ipfs/../x"]',
  '[[access.token]]\nname = "a"\nsecret = "env:A"\npaths = ["/ipfs/"]',
  '[[access.token]]\nname = "a"\nsecret = "env:A"\npaths = []',
  '[[access.token]]\nname = "a"\nsecret = "env:A"\nreadonly = true',
])('settings that would not mean what they say are refused: %j', (text) => {
  expect(() => parseSettings(text, 'config.toml')).toThrow(
    expect.objectContaining({ failure: 'configuration' }),
  );
});

test('where a mount is gone on with, what cannot be used is complained of, and lets nobody in', () => {
  const faults: string[] = [];
  const complain = ({ op }: OpError) => faults.push(op);
  const given = { users: ['eve', 'ann'], groups: ['nobody'] };
  const policy = peerPolicyOf(given, 0, names, complain);
  const peers = [peer(1000, KITFS), peer(1001, KITFS), peer(0)];
  expect(peers.map((who) => policy.refusalOf(who) === undefined)).toEqual([true, false, true]);
  const none = peerPolicyOf({ users: ['eve'], groups: [] }, 0, names, complain);
  expect(none.refusalOf(peer(1000, KITFS))).toBeDefined();
  expect(faults).toEqual([
    'let user eve use the sockets',
    'let group nobody use the sockets',
    'let user eve use the sockets',
  ]);
});

test('where a mount is gone on with, a token that cannot be used opens nothing', () => {
  const faults: string[] = [];
  const complain = ({ op, hint }: OpError) => faults.push(`${op}: ${hint}`);
  const { access } = parseSettings(CONFIGURATION, 'config.toml');
  const deskOf = (options: Omit<TokenOptions, 'complain'>) =>
    tokenDeskOf(access, { ...options, complain });
  const gone = deskOf({
    tools: new Set(['vfs_read']),
    read: (reference) => {
      if (referenceText(reference) === 'env:DOCS') return read(reference);
      throw new OpError('configuration', 'read the secret env:READER', { hint: 'gone' });
    },
  });
  expect(gone.isRequired).toBe(true);
  expect(gone.find('s3cret-of-the-docs')).toMatchObject({
    name: 'docs',
    ceiling: { tools: new Set(['vfs_read']) },
  });
  expect(faults.splice(0)).toEqual([
    'read the secret env:READER: gone',
    'use the token docs: there is no tool vfs_write',
  ]);
  expect(deskOf({ tools, read }).find('s3cret-of-the-docs')).toBeUndefined();
  expect(faults).toHaveLength(2);
});
