/** The laws that every tool keeps. They hold over the inventory, whatever is in it. */
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TOOLS } from '../../src/tools/inventory.ts';
import { type ListedTool, listed } from '../../src/tools/listing.ts';
import { validate } from '../../src/tools/schema.ts';
import { type Facts, Fixture } from './fixture.ts';

const SNAPSHOTS = new URL('./snapshots/', import.meta.url);

const tools = TOOLS.map((tool) => ({ name: tool.name, tool, shown: listed(tool) }));

/** What agents need most, in the order of the contract; those of it that exist. */
const DEFAULT = [
  'vfs_ls',
  'vfs_stat',
  'vfs_read',
  'vfs_write',
  'vfs_mkdir',
  'vfs_copy',
  'vfs_move',
  'vfs_rm',
  'vfs_list_mounts',
  'vfs_sync_to_ipfs',
  'ipfs_add',
  'ipfs_cat',
  'fs_journal_get_history',
];

/** Letters of R, D, I, O as the contract heads its blocks, and the toolset. */
const HEADS: Readonly<Record<string, string>> = {
  vfs_ls: 'R-I- vfs',
  vfs_stat: 'R-I- vfs',
  vfs_read: 'R-I- vfs',
  vfs_write: '-D-- vfs',
  vfs_mkdir: '--I- vfs',
  vfs_copy: '-DI- vfs',
  vfs_move: '-D-- vfs',
  vfs_rm: '-DI- vfs',
  vfs_rmdir: '-DI- vfs',
  vfs_mount: '--IO vfs',
  vfs_unmount: '-DI- vfs',
  vfs_list_mounts: 'R-I- vfs',
  vfs_sync_to_ipfs: '--IO vfs',
  vfs_sync_from_ipfs: '-D-O vfs',
  ipfs_add: '--IO ipfs_core',
  ipfs_cat: 'R-IO ipfs_core',
  ipfs_ls: 'R-IO ipfs_core',
  ipfs_pin_add: '--IO ipfs_core',
  ipfs_pin_rm: '-DI- ipfs_core',
  ipfs_pin_ls: 'R-I- ipfs_core',
  ipfs_id: 'R-IO ipfs_core',
  ipfs_version: 'R-I- ipfs_core',
  ipfs_stats: 'R-I- ipfs_core',
  ipfs_swarm_peers: 'R-IO ipfs_core',
  ipfs_pin_update: '-DIO ipfs_core',
  ipfs_get: '-DIO ipfs_core',
  ipfs_refs: 'R-IO ipfs_core',
  ipfs_refs_local: 'R-I- ipfs_core',
  ipfs_block_stat: 'R-IO ipfs_core',
  ipfs_block_get: 'R-IO ipfs_core',
  ipfs_dag_get: 'R-IO ipfs_core',
  ipfs_dag_put: '--IO ipfs_core',
  ipfs_dht_findpeer: 'R-IO ipfs_net',
  ipfs_dht_findprovs: 'R-IO ipfs_net',
  ipfs_dht_query: 'R-IO ipfs_net',
  ipfs_name_publish: '-D-O ipfs_net',
  ipfs_name_resolve: 'R-IO ipfs_net',
  ipfs_pubsub_publish: '---O ipfs_net',
  ipfs_pubsub_subscribe: '---O ipfs_net',
  ipfs_pubsub_read: 'R-I- ipfs_net',
  ipfs_pubsub_unsubscribe: '--I- ipfs_net',
  ipfs_pubsub_peers: 'R-IO ipfs_net',
  ipfs_files_mkdir: '--I- mfs',
  ipfs_files_ls: 'R-I- mfs',
  ipfs_files_stat: 'R-I- mfs',
  ipfs_files_read: 'R-I- mfs',
  ipfs_files_write: '-D-- mfs',
  ipfs_files_cp: '-DI- mfs',
  ipfs_files_mv: '-D-- mfs',
  ipfs_files_rm: '-DI- mfs',
  ipfs_files_flush: '--I- mfs',
  ipfs_files_chcid: '--I- mfs',
  mbfs_register_backend: '--IO backends',
  mbfs_list_backends: 'R-I- backends',
  mbfs_remove_backend: '-DI- backends',
  mbfs_store: '-DIO backends',
  mbfs_retrieve: 'R-IO backends',
  mbfs_delete: '-DIO backends',
  mbfs_copy_between_backends: '-DIO backends',
  mbfs_list_content: 'R-IO backends',
  ipfs_cluster_pin: '--IO cluster',
  ipfs_cluster_status: 'R-IO cluster',
  ipfs_cluster_peers: 'R-IO cluster',
  fs_journal_get_history: 'R-I- journal',
  job_get: 'R-I- coordination',
  job_cancel: '--I- coordination',
  system_health: 'R-I- system',
};

/** Of no block that any test has. */
const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';

const CONTENT_TOOLS = [
  'vfs_read',
  'ipfs_cat',
  'ipfs_get',
  'ipfs_block_get',
  'ipfs_pubsub_read',
  'ipfs_files_read',
  'mbfs_retrieve',
];

/** Objects that hold what the caller makes up. */
const OPEN_OBJECTS = new Set(['metadata', 'labels', 'arguments', 'value']);

/** Of o200k, near enough for English and JSON. */
const tokensOf = (text: string): number => Math.ceil(text.length / 4);

const sentBytes = ({ name, description, inputSchema }: ListedTool): string =>
  JSON.stringify({ name, description, inputSchema });

interface Parameter {
  readonly name: string;
  readonly schema: Facts;
}

/** All parameters of a schema, those of its objects too. */
function parametersOf(schema: Facts): Parameter[] {
  const properties = (schema['properties'] ?? {}) as Record<string, Facts>;
  return Object.entries(properties).flatMap(([name, inner]) => [
    { name, schema: inner },
    ...parametersOf(inner),
  ]);
}

test('each name exists once, in the toolset and with the hints of the contract', () => {
  const heads = tools.map(({ name, tool }) => {
    const { readOnly, destructive, idempotent, openWorld } = tool.hints;
    const letters = [
      readOnly ? 'R' : '-',
      destructive ? 'D' : '-',
      idempotent ? 'I' : '-',
      openWorld ? 'O' : '-',
    ];
    return [name, `${letters.join('')} ${tool.toolset}`];
  });
  expect(new Set(heads.map(([name]) => name)).size).toBe(tools.length);
  expect(Object.fromEntries(heads)).toEqual(HEADS);
});

test('what agents need most is listed first', () => {
  expect(tools.slice(0, DEFAULT.length).map(({ name }) => name)).toEqual(DEFAULT);
});

test('the kinds are those of the contract', () => {
  const ofContent = tools.filter(({ tool }) => tool.kind === 'content').map(({ name }) => name);
  expect(ofContent).toEqual(CONTENT_TOOLS);
});

test('a parameter has one type in all tools', () => {
  const types = new Map<string, Map<string, string[]>>();
  for (const { name: tool, shown } of tools) {
    for (const { name, schema } of parametersOf(shown.inputSchema)) {
      const type = String(schema['type']);
      const users = types.get(name) ?? new Map<string, string[]>();
      users.set(type, [...(users.get(type) ?? []), tool]);
      types.set(name, users);
    }
  }
  const mixed = [...types].filter(([, users]) => users.size > 1);
  expect(mixed).toEqual([]);
});

test('the whole list fits its budget, and the part that is always listed its own', () => {
  const all = tools.reduce((sum, { shown }) => sum + tokensOf(sentBytes(shown)), 0);
  expect(all).toBeLessThanOrEqual(24_000);
  const listedFirst = tools.slice(0, DEFAULT.length);
  const first = listedFirst.reduce((sum, { shown }) => sum + tokensOf(sentBytes(shown)), 0);
  expect(first).toBeLessThanOrEqual(4500);
});

test('every tool has its snapshot, and every snapshot its tool', () => {
  const files = readdirSync(SNAPSHOTS).sort();
  expect(files).toEqual(tools.map(({ name }) => `${name}.json`).sort());
});

describe.each(tools)('$name', ({ name, tool, shown }) => {
  test('is listed as its snapshot has it', async () => {
    const text = `${JSON.stringify(shown, undefined, 2)}\n`;
    await expect(text).toMatchFileSnapshot(`./snapshots/${name}.json`);
  });

  test('takes objects that are closed, and nothing but an object', () => {
    expect(shown.inputSchema).toMatchObject({ type: 'object', additionalProperties: false });
    expect(Object.keys(shown.inputSchema)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(any|one|all)Of$/)]),
    );
    const open = parametersOf(shown.inputSchema).filter(
      ({ name: parameter, schema }) =>
        schema['type'] === 'object' &&
        schema['additionalProperties'] !== false &&
        !OPEN_OBJECTS.has(parameter),
    );
    expect(open).toEqual([]);
  });

  test('says all four hints, and what they mean for its parameters', () => {
    const { title, ...hints } = shown.annotations;
    expect(title.length).toBeGreaterThan(0);
    expect(Object.keys(hints).sort()).toEqual([
      'destructiveHint',
      'idempotentHint',
      'openWorldHint',
      'readOnlyHint',
    ]);
    expect(hints.readOnlyHint && hints.destructiveHint).toBe(false);
    const parameters = parametersOf(shown.inputSchema).map((parameter) => parameter.name);
    if (hints.destructiveHint) expect(parameters).toContain('dry_run');
    if (hints.readOnlyHint) expect(parameters).not.toContain('dry_run');
    expect(parameters).not.toContain('transaction_id');
    if (tool.job === true) {
      expect(parameters).toEqual(expect.arrayContaining(['wait_ms', 'timeout_ms']));
    }
  });

  test('is described in few words', () => {
    expect(tokensOf(shown.description)).toBeLessThanOrEqual(120);
    expect(shown.description).toMatch(/[.)]$/);
    expect(tokensOf(sentBytes(shown))).toBeLessThanOrEqual(500);
  });

  test('declares what it answers, unless it answers with bytes', () => {
    if (tool.kind === 'content') expect(shown).not.toHaveProperty('outputSchema');
    else expect(shown.outputSchema).toMatchObject({ type: 'object', required: ['status'] });
    expect(shown._meta['kitfs/tool']).toMatchObject({ version: '1.0.0', kind: tool.kind });
  });

  test('takes its own example', () => {
    expect(() => validate(tool.input, tool.example, name)).not.toThrow();
  });

  test('tells every argument that is wrong before anything happens', async () => {
    const fixture = new Fixture();
    try {
      const values = { ...tool.example, colour: 1, shape: 2 };
      const context = await fixture.refused(name, values, 'INVALID_ARGUMENT');
      expect(context['issues']).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ argument: 'colour', reason: 'unknown' }),
          expect.objectContaining({ argument: 'shape', reason: 'unknown' }),
        ]),
      );
    } finally {
      await fixture.close();
    }
  });
});

describe('tools that only read', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = new Fixture();
  });
  afterEach(() => fixture.close());

  test('change nothing, whether they succeed or fail', async () => {
    await fixture.write('/ipfs/d/a', 'some text');
    const { root_cid: root } = await fixture.done('vfs_sync_to_ipfs', { path: '/ipfs/d' });
    const arguments_: Readonly<Record<string, readonly Facts[]>> = {
      vfs_ls: [{ path: '/', recursive: true, limit: 1 }, { path: '/none' }],
      vfs_stat: [{ path: '/ipfs/d/a' }, { path: '/none' }],
      vfs_read: [{ path: '/ipfs/d/a' }, { path: `/ipfs/${root}/a` }, { path: '/ipfs' }],
      vfs_list_mounts: [{}],
      ipfs_cat: [{ ipfs_path: `${root}/a` }, { ipfs_path: `${root}` }],
      ipfs_ls: [{ ipfs_path: `${root}` }, { ipfs_path: `${root}/a/b` }],
      ipfs_pin_ls: [{}],
      ipfs_id: [{}, { peer_id: 'no' }],
      ipfs_version: [{}],
      ipfs_stats: [{}, { size_only: false }, { stat: 'bw' }],
      ipfs_swarm_peers: [{}],
      ipfs_name_resolve: [{}, { ipns_name: 'example.org' }],
      ipfs_dag_get: [{ ipfs_path: `${root}` }, { ipfs_path: ABSENT }],
      ipfs_refs: [{ ipfs_path: `${root}`, recursive: true }, { ipfs_path: `${root}/none` }],
      ipfs_refs_local: [{}, { limit: 1 }],
      ipfs_block_stat: [{ cid: `${root}` }, { cid: ABSENT }],
      ipfs_block_get: [{ cid: `${root}` }, { cid: ABSENT }],
      ipfs_dht_findpeer: [{ peer_id: 'x' }],
      ipfs_dht_findprovs: [{ cid: ABSENT }],
      ipfs_dht_query: [{ peer_id: 'x' }],
      ipfs_pubsub_read: [{ subscription_id: 'x'.repeat(22) }],
      ipfs_pubsub_peers: [{}, { topic: 't' }],
      ipfs_files_ls: [{}, { path: '/none' }],
      ipfs_files_stat: [{ path: '/' }, { path: '/none' }],
      ipfs_files_read: [{ path: '/none' }, { path: '/' }],
      mbfs_list_backends: [{}, { kind: 's3' }],
      mbfs_retrieve: [{ backend: 'memory', identifier: 'none' }, { identifier: 'none' }],
      mbfs_list_content: [{ backend: 'memory' }, { backend: 'none' }],
      ipfs_cluster_status: [{}, { cid: ABSENT }],
      ipfs_cluster_peers: [{}],
      fs_journal_get_history: [{}, { path: '/ipfs', recursive: true, limit: 1 }],
      job_get: [{}, { job_id: 'x'.repeat(22) }],
      system_health: [{}],
    };
    const readers = tools.filter(({ tool }) => tool.hints.readOnly).map(({ name }) => name);
    expect(Object.keys(arguments_).sort()).toEqual(readers.sort());
    for (const [name, calls] of Object.entries(arguments_)) {
      for (const values of calls) {
        const before = fixture.fingerprint();
        await fixture.ask(name, values);
        expect(fixture.fingerprint(), `${name} ${JSON.stringify(values)}`).toEqual(before);
      }
    }
  });

  test('a call as a stranger is answered for the stranger', async () => {
    for (const { name, tool } of tools) {
      if (!tool.hints.readOnly) continue;
      const answer = await fixture.ask(name, tool.example, { uid: 12_345, gid: 12_345 });
      expect(answer.error_code, name).not.toBe('INTERNAL');
    }
  });
});
