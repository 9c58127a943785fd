/** The official SDK client, over the socket and over the bridge `kitfs mcp`: every tool is listed and called. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectAgent } from '../integration/agent.ts';
import { KITFS, TestDaemon } from '../integration/daemon.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await TestDaemon.start();
});
afterAll(() => daemon.close());

type Arguments = Readonly<Record<string, unknown>>;
type Told = Readonly<Record<string, unknown>>;

/** What an earlier call answered, for a later one: `data` of the tool of that name. */
type Answers = ReadonlyMap<string, Told>;

/** One call of every tool, in an order in which each finds what it needs. `d` is a directory of its own. */
const callsIn = (d: string): readonly [string, (answers: Answers) => Arguments][] => [
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
  ['vfs_sync_to_ipfs', () => ({ path: '/ipfs', targets: [], wait_for: 'local' })],
  [
    'vfs_sync_from_ipfs',
    (answers) => ({ ipfs_path: rootOf(answers), path: `${d}/r`, parents: true }),
  ],
  ['vfs_rmdir', () => ({ path: `${d}/r`, recursive: true })],
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
  ['fs_journal_get_history', () => ({ path: d, recursive: true })],
  ['job_get', () => ({})],
  ['system_health', () => ({})],
];

/** Tools whose honest answer here is an error: no job is running, and our own node has no network. */
const REFUSED: readonly [string, Record<string, unknown>, string][] = [
  ['job_cancel', { job_id: 'A'.repeat(22) }, 'HANDLE_NOT_FOUND'],
  ['ipfs_swarm_peers', {}, 'IPFS_NODE_OFFLINE'],
];

const field = (answers: Answers, tool: string, name: string): string =>
  String(answers.get(tool)?.[name]);
const rootOf = (answers: Answers): string => field(answers, 'vfs_sync_to_ipfs', 'root_cid');
const added = (answers: Answers): string => field(answers, 'ipfs_add', 'cid');

const faces: readonly [string, () => Promise<Client>][] = [
  ['the socket', () => connectAgent(daemon.mcpSocket)],
  [
    'the bridge',
    async () => {
      const client = new Client({ name: 'test', version: '1.0.0' });
      const environment = Object.entries(daemon.environment).filter(
        ([, value]) => value !== undefined,
      );
      await client.connect(
        new StdioClientTransport({
          command: process.execPath,
          args: [KITFS, 'mcp'],
          env: Object.fromEntries(environment) as Record<string, string>,
        }),
      );
      return client;
    },
  ],
];

describe.each(faces)('over %s', (face, connect) => {
  test('every tool is listed, and every tool is called', async () => {
    const client = await connect();
    const answers = new Map<string, Told>();
    for (const [name, args] of callsIn(`/ipfs/${face.replace(' ', '-')}`)) {
      const answer = (await client.callTool({
        name,
        arguments: { ...args(answers) },
      })) as CallToolResult;
      expect(answer.isError, `${name}: ${JSON.stringify(answer.structuredContent)}`).not.toBe(true);
      answers.set(name, (answer.structuredContent?.['data'] ?? {}) as Told);
    }
    for (const [name, values, code] of REFUSED) {
      const refused = (await client.callTool({ name, arguments: values })) as CallToolResult;
      expect(refused.structuredContent, name).toMatchObject({ error_code: code });
      answers.set(name, {});
    }
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name).sort()).toEqual([...answers.keys()].sort());
    await client.close();
  });
});
