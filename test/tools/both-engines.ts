/**
 * Every tool that speaks to an IPFS node, on one engine: it answers, it refuses what it must, and it says that nobody
 * is there when nobody is. A tool of these toolsets that is not here fails the law that counts them.
 */
import { expect, test } from 'vitest';
import { TOOLS } from '../../src/tools/inventory.ts';
import type { Answer, Facts, Fixture } from './fixture.ts';

export interface EngineWorld {
  readonly kind: 'embedded' | 'kubo';
  world(): Fixture;
  /** The same, whose Kubo is dead, or is not configured. */
  lost(): Fixture;
  /** Of a node that the Kubo knows. */
  peerId(): string;
}

/** What the calls are about, made anew for each. */
interface Things {
  readonly file: string;
  /** Of a directory with the file `a`, which is `/ipfs/d` too. */
  readonly root: string;
  readonly dag: string;
  readonly peer: string;
  /** A directory of MFS of its own, with the file `f` and the directory `d`. */
  readonly top: string;
  /** Of a topic; one that nobody has where there are none. */
  readonly subscription_id: string;
}

/** An answer's data, or the code of an error, by what is asked. */
type Expected = Facts | string;

interface Case {
  readonly values: (things: Things) => Facts;
  readonly gives: Expected | ((things: Things) => Expected);
  /** A call that is refused, and the code. */
  readonly wrong: (things: Things) => Facts;
  readonly code: string;
  /** What our own node says where it is something else, to the first and to the second. */
  readonly embedded?: readonly [gives: Expected, code: string];
  /** It asks no node, or another one does when this one is not there. */
  readonly needsNoNode?: true;
}

const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
const NOBODY = '12D3KooWF29mEEUdmT2V3kbM8PjUBFQDjk1yt5gA3FATCKYbBKVt';
const NO_NAME = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8';
const HANDLE = 'A'.repeat(22);
const OFFLINE = 'IPFS_NODE_OFFLINE';
const TOOLSETS = ['ipfs_core', 'ipfs_net', 'mfs'];

const local = { local_only: true };

const CONTENT: Readonly<Record<string, Case>> = {
  ipfs_add: {
    values: () => ({ content: 'hello', pin_name: 'one' }),
    gives: ({ file }) => ({ cid: file, pinned: true, size: 5 }),
    wrong: () => ({ path: '/ipfs/none' }),
    code: 'NOT_FOUND',
  },
  ipfs_cat: {
    values: ({ file }) => ({ ipfs_path: file }),
    gives: { size: 5, eof: true },
    wrong: ({ root }) => ({ ipfs_path: root }),
    code: 'IS_A_DIRECTORY',
  },
  ipfs_get: {
    values: ({ root }) => ({ ipfs_path: root, output_path: '/ipfs/got' }),
    gives: { output_path: '/ipfs/got', files: 1, bytes: 5 },
    wrong: ({ root }) => ({ ipfs_path: root }),
    code: 'IS_A_DIRECTORY',
  },
  ipfs_ls: {
    values: ({ root }) => ({ ipfs_path: root }),
    gives: ({ file }) => ({ type: 'directory', entries: [{ name: 'a', cid: file }] }),
    wrong: () => ({ ipfs_path: ABSENT, ...local }),
    code: 'CONTENT_NOT_AVAILABLE',
  },
  ipfs_refs: {
    values: ({ root }) => ({ ipfs_path: root }),
    gives: ({ file }) => ({ refs: [{ cid: file }], complete: true }),
    wrong: () => ({ ipfs_path: ABSENT, ...local }),
    code: 'CONTENT_NOT_AVAILABLE',
  },
  ipfs_refs_local: {
    values: () => ({ limit: 1 }),
    gives: { truncated: true },
    wrong: () => ({ cursor: HANDLE }),
    code: 'CURSOR_EXPIRED',
  },
  ipfs_block_stat: {
    values: ({ file }) => ({ cid: file }),
    gives: { size: 5, codec: 'raw', local: true },
    wrong: () => ({ cid: ABSENT, ...local }),
    code: 'CONTENT_NOT_AVAILABLE',
  },
  ipfs_block_get: {
    values: ({ file }) => ({ cid: file }),
    gives: { size: 5, codec: 'raw' },
    wrong: ({ root }) => ({ cid: `${root}/a` }),
    code: 'INVALID_CID',
  },
  ipfs_dag_get: {
    values: ({ dag }) => ({ ipfs_path: `${dag}/list/1` }),
    gives: { value: 'two' },
    wrong: ({ dag }) => ({ ipfs_path: `${dag}/none` }),
    code: 'NOT_FOUND',
  },
  ipfs_dag_put: {
    values: () => ({ value: { list: ['one', 'two'] }, pin: true }),
    gives: ({ dag }) => ({ cid: dag, codec: 'dag-cbor', pinned: true }),
    wrong: () => ({ value: { no: 'node' }, store_codec: 'dag-pb' }),
    code: 'NOT_SUPPORTED',
  },
};

const PINS: Readonly<Record<string, Case>> = {
  ipfs_pin_add: {
    values: ({ root }) => ({ ipfs_path: root, pin_name: 'kept' }),
    gives: ({ root }) => ({ cid: root, pin_type: 'recursive', pin_name: 'kept' }),
    wrong: ({ root }) => ({ ipfs_path: `${root}/none` }),
    code: 'NOT_FOUND',
  },
  ipfs_pin_rm: {
    values: ({ file }) => ({ ipfs_path: file }),
    gives: ({ file }) => ({ cid: file, removed: true }),
    wrong: () => ({ ipfs_path: ABSENT }),
    code: 'NOT_PINNED',
  },
  ipfs_pin_ls: {
    values: ({ file }) => ({ ipfs_path: file }),
    gives: ({ file }) => ({ pins: [{ cid: file, pin_type: 'recursive' }] }),
    wrong: () => ({ ipfs_path: ABSENT }),
    code: 'NOT_PINNED',
  },
  ipfs_pin_update: {
    values: ({ file, dag }) => ({ source: file, destination: dag }),
    gives: ({ file, dag }) => ({ source_cid: file, destination_cid: dag, unpinned: true }),
    wrong: ({ file }) => ({ source: ABSENT, destination: file }),
    code: 'NOT_PINNED',
  },
};

const NODE: Readonly<Record<string, Case>> = {
  ipfs_id: {
    values: () => ({}),
    gives: { peer_id: expect.any(String), keys: [{ name: 'self' }] },
    wrong: () => ({ peer_id: 'nonsense' }),
    code: 'INVALID_ARGUMENT',
  },
  ipfs_version: {
    values: () => ({}),
    gives: { compatible: true },
    wrong: () => ({ engine: 'other' }),
    code: 'INVALID_ARGUMENT',
  },
  ipfs_stats: {
    values: () => ({ stat: 'repo', size_only: false }),
    gives: { repo: { num_objects: expect.any(Number) } },
    wrong: () => ({ stat: 'all' }),
    code: 'INVALID_ARGUMENT',
    embedded: [{ repo: { num_objects: expect.any(Number) } }, 'INVALID_ARGUMENT'],
  },
  ipfs_swarm_peers: {
    values: () => ({}),
    gives: ({ peer }) => ({ peers: [{ peer_id: peer }] }),
    wrong: () => ({ cursor: HANDLE }),
    code: 'CURSOR_EXPIRED',
    embedded: [OFFLINE, OFFLINE],
  },
};

const NET: Readonly<Record<string, Case>> = {
  ipfs_dht_findpeer: {
    values: ({ peer }) => ({ peer_id: peer }),
    gives: ({ peer }) => ({ peer_id: peer }),
    wrong: () => ({ peer_id: NOBODY }),
    code: 'NOT_FOUND',
    embedded: [OFFLINE, OFFLINE],
  },
  ipfs_dht_findprovs: {
    values: () => ({ cid: ABSENT, timeout_ms: 10_000 }),
    gives: { providers: [], ended: 'exhausted' },
    wrong: ({ root }) => ({ cid: `${root}/a` }),
    code: 'INVALID_CID',
    embedded: [OFFLINE, 'INVALID_CID'],
  },
  ipfs_dht_query: {
    values: () => ({ peer_id: NOBODY }),
    gives: ({ peer }) => ({ closest: [{ peer_id: peer }], complete: true }),
    wrong: () => ({ peer_id: 'nonsense' }),
    code: 'INVALID_ARGUMENT',
    embedded: [OFFLINE, OFFLINE],
  },
  ipfs_name_publish: {
    values: ({ file }) => ({ ipfs_path: file, allow_offline: true }),
    gives: ({ file }) => ({ ipfs_path: `/ipfs/${file}`, key: 'self' }),
    wrong: ({ file }) => ({ ipfs_path: file, allow_offline: true, key: 'none' }),
    code: 'NOT_FOUND',
  },
  ipfs_name_resolve: {
    values: () => ({ ipns_name: 'self' }),
    gives: ({ file }) => ({ ipfs_path: `/ipfs/${file}`, cid: file }),
    wrong: () => ({ ipns_name: NO_NAME, timeout_ms: 10_000 }),
    code: 'NAME_NOT_RESOLVED',
    embedded: [{ from: 'local' }, OFFLINE],
  },
  ipfs_pubsub_publish: {
    values: () => ({ topic: 'both', content: 'hello' }),
    gives: { topic: 'both', size: 5, peers: 0 },
    wrong: () => ({ topic: 'both', content: 'x'.repeat(1_000_001) }),
    code: 'PAYLOAD_TOO_LARGE',
    embedded: [OFFLINE, OFFLINE],
  },
  ipfs_pubsub_subscribe: {
    values: () => ({ topic: 'other' }),
    gives: { topic: 'other', next_seq: 0 },
    wrong: () => ({ topic: '\ud800' }),
    code: 'INVALID_ARGUMENT',
    embedded: [OFFLINE, 'INVALID_ARGUMENT'],
  },
  ipfs_pubsub_read: {
    values: ({ subscription_id }) => ({ subscription_id }),
    gives: { topic: 'both', messages: [] },
    wrong: () => ({ subscription_id: HANDLE }),
    code: 'HANDLE_NOT_FOUND',
    embedded: ['HANDLE_NOT_FOUND', 'HANDLE_NOT_FOUND'],
    needsNoNode: true,
  },
  ipfs_pubsub_unsubscribe: {
    values: ({ subscription_id }) => ({ subscription_id }),
    gives: { topic: 'both', closed: true },
    wrong: () => ({ subscription_id: HANDLE }),
    code: 'HANDLE_NOT_FOUND',
    embedded: ['HANDLE_NOT_FOUND', 'HANDLE_NOT_FOUND'],
    needsNoNode: true,
  },
  ipfs_pubsub_peers: {
    values: () => ({ topic: 'both' }),
    gives: { topic: 'both', peers: [] },
    wrong: () => ({ cursor: HANDLE }),
    code: 'CURSOR_EXPIRED',
    embedded: [OFFLINE, OFFLINE],
  },
};

const MFS: Readonly<Record<string, Case>> = {
  ipfs_files_mkdir: {
    values: ({ top }) => ({ path: `${top}/new` }),
    gives: { created: true },
    wrong: ({ top }) => ({ path: `${top}/d` }),
    code: 'ALREADY_EXISTS',
  },
  ipfs_files_ls: {
    values: ({ top }) => ({ path: top }),
    gives: { entries: [{ name: 'd' }, { name: 'f', size: 5 }] },
    wrong: ({ top }) => ({ path: `${top}/none` }),
    code: 'NOT_FOUND',
  },
  ipfs_files_stat: {
    values: ({ top }) => ({ path: `${top}/f` }),
    gives: { type: 'file', size: 5 },
    wrong: ({ top }) => ({ path: `${top}/none` }),
    code: 'NOT_FOUND',
  },
  ipfs_files_read: {
    values: ({ top }) => ({ path: `${top}/f` }),
    gives: { size: 5, eof: true },
    wrong: ({ top }) => ({ path: `${top}/d` }),
    code: 'IS_A_DIRECTORY',
  },
  ipfs_files_write: {
    values: ({ top }) => ({ path: `${top}/f`, content: 'other words' }),
    gives: { size: 11, created: false },
    wrong: ({ top }) => ({ path: `${top}/f`, content: 'x', expected_version: 'other' }),
    code: 'VERSION_CONFLICT',
  },
  ipfs_files_cp: {
    values: ({ top }) => ({ source: `${top}/f`, destination: `${top}/g` }),
    gives: { overwritten: false },
    wrong: ({ top }) => ({ source: `${top}/f`, destination: `${top}/d` }),
    code: 'ALREADY_EXISTS',
  },
  ipfs_files_mv: {
    values: ({ top }) => ({ source: `${top}/f`, destination: `${top}/g` }),
    gives: { overwritten: false },
    wrong: ({ top }) => ({ source: `${top}/none`, destination: `${top}/g` }),
    code: 'NOT_FOUND',
  },
  ipfs_files_rm: {
    values: ({ top }) => ({ path: `${top}/f` }),
    gives: { removed: true },
    wrong: ({ top }) => ({ path: `${top}/d` }),
    code: 'IS_A_DIRECTORY',
  },
  ipfs_files_flush: {
    values: ({ top }) => ({ path: `${top}/f` }),
    gives: { cid: expect.any(String) },
    wrong: ({ top }) => ({ path: `${top}/none` }),
    code: 'NOT_FOUND',
  },
  ipfs_files_chcid: {
    values: ({ top }) => ({ path: `${top}/d`, hash: 'blake2b-256' }),
    gives: { changed: true },
    wrong: ({ top }) => ({ path: `${top}/f` }),
    code: 'NOT_A_DIRECTORY',
  },
};

const SYNC: Readonly<Record<string, Case>> = {
  vfs_sync_to_ipfs: {
    values: () => ({ path: '/ipfs/d' }),
    gives: ({ root }) => ({ root_cid: root, counts: { files: 1 } }),
    wrong: () => ({ path: '/ipfs/none' }),
    code: 'NOT_FOUND',
  },
  vfs_sync_from_ipfs: {
    values: ({ root }) => ({ ipfs_path: root, path: '/ipfs/back', parents: true }),
    gives: ({ root }) => ({ root_cid: root, counts: { created: 1 } }),
    wrong: ({ file }) => ({ ipfs_path: file, path: '/ipfs/back', parents: true }),
    code: 'NOT_SUPPORTED',
  },
};

const CASES = { ...CONTENT, ...PINS, ...NODE, ...NET, ...MFS, ...SYNC };

let count = 0;

async function thingsOf(at: Fixture, { kind, peerId }: EngineWorld): Promise<Things> {
  count += 1;
  const top = `/both-${count}`;
  await at.write('/ipfs/d/a', 'hello');
  const { cid: root } = await at.done('ipfs_add', { path: '/ipfs/d', recursive: true });
  const { cid: file } = await at.done('ipfs_add', { content: 'hello' });
  const { cid: dag } = await at.done('ipfs_dag_put', { value: { list: ['one', 'two'] } });
  await at.done('ipfs_files_write', { path: `${top}/f`, content: 'hello', parents: true });
  await at.done('ipfs_files_mkdir', { path: `${top}/d` });
  await at.done('ipfs_name_publish', { ipfs_path: file, allow_offline: true });
  const heard = kind === 'kubo' ? await at.done('ipfs_pubsub_subscribe', { topic: 'both' }) : {};
  const subscription_id = String(heard['subscription_id'] ?? HANDLE);
  const made = { file: String(file), root: String(root), dag: String(dag) };
  return { ...made, peer: peerId(), top, subscription_id };
}

function expectAnswer(answer: Answer, expected: Expected): void {
  const told = JSON.stringify(answer);
  if (typeof expected === 'string') {
    expect(answer, told).toMatchObject({ status: 'error', error_code: expected });
  } else expect(answer, told).toMatchObject({ status: 'success', data: expected });
}

export function lawsOfEngine(engine: EngineWorld): void {
  const { kind } = engine;

  test('every tool that speaks to a node is here', () => {
    const wanted = TOOLS.filter(
      ({ name, toolset }) => TOOLSETS.includes(toolset) || name.startsWith('vfs_sync_'),
    );
    expect(Object.keys(CASES).sort()).toEqual(wanted.map(({ name }) => name).sort());
  });

  test.each(Object.entries(CASES))('%s answers, and refuses what it must', async (tool, one) => {
    const at = engine.world();
    const things = await thingsOf(at, engine);
    const [own, code] = kind === 'embedded' ? (one.embedded ?? []) : [];
    const { seq } = at.journal.head;
    expectAnswer(await at.ask(tool, one.wrong(things)), code ?? one.code);
    expect(at.journal.head.seq, `${tool} failed, and left a record`).toBe(seq);
    const gives = typeof one.gives === 'function' ? one.gives(things) : one.gives;
    expectAnswer(await at.ask(tool, one.values(things)), own ?? gives);
  });

  test.each(Object.entries(CASES).filter(([, one]) => one.needsNoNode !== true))(
    '%s says that there is no Kubo when it is asked of one',
    async (tool, one) => {
      const at = engine.lost();
      await at.write('/ipfs/d/a', 'hello');
      const named = { file: ABSENT, root: ABSENT, dag: ABSENT, peer: NOBODY };
      const values = one.values({ ...named, top: '/t', subscription_id: HANDLE });
      const code = kind === 'embedded' ? 'SERVICE_NOT_CONFIGURED' : 'IPFS_DAEMON_NOT_RUNNING';
      const asked = tool === 'vfs_sync_to_ipfs' ? { targets: ['ipfs'] } : { node: 'kubo' };
      expectAnswer(await at.ask(tool, { ...values, ...asked }), code);
    },
  );
}
