/**
 * The official SDK client, over the socket and over the bridge `kitfs mcp`, with our own node and with a real Kubo:
 * every tool is listed and called.
 */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TOOLS } from '../../src/tools/inventory.ts';
import { connectAgent } from '../integration/agent.ts';
import { KITFS, TestDaemon } from '../integration/daemon.ts';
import { KuboNode } from '../services/kubo.ts';

const LARGE_BYTES = 4 * 1024 * 1024;

let embedded: TestDaemon;
let attached: TestDaemon;
/** Two that know each other; the daemon is attached to the first. */
let kubo: KuboNode;
let peer: KuboNode;

beforeAll(async () => {
  kubo = await KuboNode.start({ pubsub: true });
  peer = await KuboNode.start({ pubsub: true });
  await kubo.connect(peer);
  embedded = await TestDaemon.start();
  attached = await TestDaemon.start({ configuration: `[ipfs.kubo]\napi = "${kubo.api}"\n` });
});
afterAll(async () => {
  // Those that started, in the order in which they need each other.
  for (const one of [attached, embedded, peer, kubo]) await one?.close();
});

type Arguments = Readonly<Record<string, unknown>>;
type Told = Readonly<Record<string, unknown>>;

/** What an earlier call answered, for a later one: `data` of the last call of the tool of that name. */
type Answers = ReadonlyMap<string, Told>;
type Call = readonly [string, (answers: Answers) => Arguments];

/** Calls that every node answers, in an order in which each finds what it needs. `name` is no other's. */
const callsOf = (name: string): readonly Call[] => {
  const [d, m] = [`/ipfs/${name}`, `/${name}`];
  return [
    ['vfs_mkdir', () => ({ path: d })],
    ['vfs_write', () => ({ path: `${d}/a`, content: 'hello' })],
    ['vfs_read', () => ({ path: `${d}/a` })],
    ['vfs_stat', () => ({ path: `${d}/a`, compute_cid: true })],
    ['vfs_ls', () => ({ path: d })],
    ['vfs_copy', () => ({ source: `${d}/a`, destination: `${d}/b` })],
    ['vfs_move', () => ({ source: `${d}/b`, destination: `${d}/c` })],
    ['vfs_rm', () => ({ path: `${d}/c` })],
    ['vfs_mount', () => ({ backend: 'memory', mount_point: `${d}/mem` })],
    ['vfs_list_mounts', () => ({})],
    ['vfs_unmount', () => ({ mount_point: `${d}/mem` })],
    ['vfs_sync_to_ipfs', () => ({ path: d })],
    [
      'vfs_sync_from_ipfs',
      (answers) => ({ ipfs_path: rootOf(answers), path: `${d}/r`, parents: true }),
    ],
    ['vfs_rmdir', () => ({ path: `${d}/r`, recursive: true })],
    ['vfs_write', () => ({ path: `${d}/large`, content: d.padEnd(LARGE_BYTES, 'x') })],
    // It lasts longer than nothing.
    ['ipfs_add', () => ({ path: `${d}/large`, wait_ms: 0 })],
    ['job_get', (answers) => ({ job_id: jobOf(answers) })],
    ['job_cancel', (answers) => ({ job_id: jobOf(answers) })],
    ['ipfs_add', () => ({ content: 'hello' })],
    ['ipfs_cat', (answers) => ({ ipfs_path: added(answers) })],
    ['ipfs_ls', (answers) => ({ ipfs_path: rootOf(answers) })],
    ['ipfs_pin_add', (answers) => ({ ipfs_path: rootOf(answers) })],
    ['ipfs_pin_ls', () => ({})],
    ['ipfs_get', (answers) => ({ ipfs_path: added(answers), output_path: `${d}/got` })],
    ['ipfs_block_stat', (answers) => ({ cid: added(answers) })],
    ['ipfs_block_get', (answers) => ({ cid: added(answers) })],
    ['ipfs_refs', (answers) => ({ ipfs_path: rootOf(answers), recursive: true })],
    ['ipfs_refs_local', () => ({})],
    ['ipfs_dag_put', () => ({ value: { by: d } })],
    ['ipfs_dag_get', (answers) => ({ ipfs_path: field(answers, 'ipfs_dag_put', 'cid') })],
    ['ipfs_pin_update', (answers) => ({ source: rootOf(answers), destination: added(answers) })],
    ['ipfs_pin_rm', (answers) => ({ ipfs_path: added(answers) })],
    ['ipfs_name_publish', (answers) => ({ ipfs_path: added(answers), allow_offline: true })],
    ['ipfs_name_resolve', () => ({ ipns_name: 'self' })],
    ['ipfs_id', () => ({})],
    ['ipfs_version', () => ({})],
    ['ipfs_stats', () => ({ stat: 'repo' })],
    ['ipfs_files_mkdir', () => ({ path: `${m}/files`, parents: true })],
    ['ipfs_files_write', () => ({ path: `${m}/files/f`, content: 'hello' })],
    ['ipfs_files_read', () => ({ path: `${m}/files/f` })],
    ['ipfs_files_stat', () => ({ path: `${m}/files/f` })],
    ['ipfs_files_ls', () => ({ path: `${m}/files` })],
    ['ipfs_files_cp', () => ({ source: `${m}/files/f`, destination: `${m}/files/g` })],
    ['ipfs_files_mv', () => ({ source: `${m}/files/g`, destination: `${m}/files/h` })],
    ['ipfs_files_chcid', () => ({ path: `${m}/files`, hash: 'blake2b-256' })],
    ['ipfs_files_flush', () => ({ path: `${m}/files` })],
    ['ipfs_files_rm', () => ({ path: `${m}/files/h` })],
    ...backendCalls(name),
    ['fs_journal_get_history', () => ({ path: d, recursive: true })],
    ['system_health', () => ({})],
  ];
};

/** Calls on stores of objects that every daemon has. */
const backendCalls = (name: string): readonly Call[] => {
  const backend = `shelf-${name}`;
  const there = () => ({ backend: 'local', identifier: `${name}/x` });
  return [
    ['mbfs_register_backend', () => ({ backend, kind: 'memory', config: {} })],
    ['mbfs_list_backends', () => ({})],
    ['mbfs_store', () => ({ ...there(), content: 'hello' })],
    ['mbfs_retrieve', there],
    ['mbfs_list_content', () => ({ backend: 'local' })],
    [
      'mbfs_copy_between_backends',
      () => ({ source_backend: 'local', destination_backend: backend, identifier: `${name}/x` }),
    ],
    ['mbfs_delete', () => ({ backend, identifier: `${name}/x` })],
    ['mbfs_remove_backend', () => ({ backend })],
  ];
};

/** Calls that only a cluster answers, and none is configured here. */
const CLUSTER_CALLS: readonly Call[] = [
  ['ipfs_cluster_peers', () => ({})],
  ['ipfs_cluster_status', () => ({})],
  ['ipfs_cluster_pin', (answers) => ({ ipfs_path: added(answers) })],
];

/** Calls that only a node with a network answers. `topic` is no other's. */
const networkCalls = (topic: string): readonly Call[] => [
  ['ipfs_swarm_peers', () => ({})],
  ['ipfs_dht_findpeer', () => ({ peer_id: peer.id })],
  ['ipfs_dht_query', () => ({ peer_id: peer.id })],
  ['ipfs_dht_findprovs', (answers) => ({ cid: added(answers), limit: 1, timeout_ms: 5000 })],
  ['ipfs_pubsub_subscribe', () => ({ topic })],
  ['ipfs_pubsub_peers', () => ({ topic })],
  ['ipfs_pubsub_publish', () => ({ topic, content: 'hello' })],
  ['ipfs_pubsub_read', (answers) => ({ ...subscriptionOf(answers), wait_ms: 20_000 })],
  ['ipfs_pubsub_unsubscribe', (answers) => subscriptionOf(answers)],
];

/** What our own node, which has no network, honestly says to those. */
const REFUSALS: ReadonlyMap<string, string> = new Map([
  ['ipfs_pubsub_read', 'HANDLE_NOT_FOUND'],
  ['ipfs_pubsub_unsubscribe', 'HANDLE_NOT_FOUND'],
]);

const field = (answers: Answers, tool: string, name: string): string =>
  String(answers.get(tool)?.[name]);
const rootOf = (answers: Answers): string => field(answers, 'vfs_sync_to_ipfs', 'root_cid');
const added = (answers: Answers): string => field(answers, 'ipfs_add', 'cid');
const jobOf = (answers: Answers): unknown =>
  (answers.get('ipfs_add')?.['job'] as Told | undefined)?.['job_id'];
const subscriptionOf = (answers: Answers) => {
  const told = answers.get('ipfs_pubsub_subscribe')?.['subscription_id'];
  return { subscription_id: told ?? 'A'.repeat(22) };
};

async function bridgeTo(daemon: TestDaemon): Promise<Client> {
  const client = new Client({ name: 'test', version: '1.0.0' });
  const environment = Object.entries(daemon.environment).filter(([, value]) => value !== undefined);
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [KITFS, 'mcp'],
      env: Object.fromEntries(environment) as Record<string, string>,
    }),
  );
  return client;
}

const faces: readonly (readonly [string, (daemon: TestDaemon) => Promise<Client>])[] = [
  ['the socket', (daemon) => connectAgent(daemon.mcpSocket)],
  ['the bridge', bridgeTo],
];

/** An agent that calls one tool after the other. */
class Agent implements AsyncDisposable {
  readonly answers = new Map<string, Told>();
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  async done([name, args]: Call): Promise<void> {
    const answer = await this.#call(name, args(this.answers));
    const told = JSON.stringify(answer.structuredContent);
    expect(answer.isError, `${name}: ${told}`).not.toBe(true);
    this.answers.set(name, (answer.structuredContent?.['data'] ?? {}) as Told);
    // Of a reader of messages: what was said was heard.
    if (name === 'ipfs_pubsub_read') {
      expect(answer.content.at(1)).toMatchObject({ type: 'text', text: 'hello' });
    }
  }

  async refused([name, args]: Call, error_code: string): Promise<void> {
    const { structuredContent } = await this.#call(name, args(this.answers));
    expect(structuredContent, name).toMatchObject({ error_code });
    this.answers.set(name, {});
  }

  /** Every tool that is listed was called. */
  async hasCalledAll(): Promise<void> {
    const { tools } = await this.#client.listTools();
    const listed = tools.map(({ name }) => name).sort();
    expect(listed).toEqual([...this.answers.keys()].sort());
    expect(listed).toHaveLength(TOOLS.length);
  }

  #call(name: string, values: Arguments): Promise<CallToolResult> {
    const asked = { name, arguments: { ...values } };
    return this.#client.callTool(asked) as Promise<CallToolResult>;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client.close();
  }
}

describe.each(faces)('over %s', (face, connect) => {
  const own = face.replace(' ', '-');

  test('every tool is listed, and every tool is called on our own node', async () => {
    await using agent = new Agent(await connect(embedded));
    for (const call of callsOf(own)) await agent.done(call);
    for (const call of networkCalls(own)) {
      await agent.refused(call, REFUSALS.get(call[0]) ?? 'IPFS_NODE_OFFLINE');
    }
    for (const call of CLUSTER_CALLS) await agent.refused(call, 'SERVICE_NOT_CONFIGURED');
    await agent.hasCalledAll();
  });

  test('every tool is listed, and every tool is called on a Kubo', async () => {
    await using agent = new Agent(await connect(attached));
    for (const call of [...callsOf(own), ...networkCalls(own)]) await agent.done(call);
    for (const call of CLUSTER_CALLS) await agent.refused(call, 'SERVICE_NOT_CONFIGURED');
    await agent.hasCalledAll();
  });
});
