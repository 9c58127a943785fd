/** Toolset backends, the registry: mbfs_register_backend, mbfs_list_backends, mbfs_remove_backend. */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import type { Name } from '../base/ids.ts';
import type { OpKind } from '../journal/journal.ts';
import { type BackendConfig, configInput, parseBackendConfig } from './backend-config.ts';
import {
  type BackendCapabilities,
  type BackendEntry,
  CLUSTER_CAPABILITIES,
  capabilitiesOf,
  close,
  type Health,
  type Opened,
} from './backends.ts';
import { demandOwner } from './owner.ts';
import { recordPin, syncedAfterwards } from './pins.ts';
import type { Plan } from './results.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'backends', version: '1.0.0', deadline: 'remote' } as const;
const KINDS = ['ipfs', 'local', 'memory', 's3', 'storacha', 'cluster'] as const;
/** Objects looked at in one go. */
const OBJECTS_PER_LOOK = 1000;

const capabilitiesSchema = z.object({
  read: z.boolean(),
  range_read: z.boolean(),
  write: z.boolean(),
  delete: z.boolean(),
  list: z.boolean(),
  content_addressed: z.boolean(),
  conditional_put: z.boolean(),
  server_copy: z.boolean(),
  mount: z.boolean(),
});
const healthSchema = z.object({
  state: z.enum(['ok', 'degraded', 'down', 'unknown']),
  checked_at: z.string().optional(),
  latency_ms: z.int().optional(),
  error_code: z.string().optional(),
});

const registerInput = schema.input({
  backend: schema.backend(),
  kind: z.enum(KINDS),
  config: configInput,
  make_default: schema.flag(),
  probe: schema.flag(true).describe('try what it can do first'),
  ...schema.timeout,
  ...schema.dryRun,
});
type RegisterInput = z.output<typeof registerInput>;

export const mbfsRegisterBackend = recordTool({
  ...COMMON,
  name: 'mbfs_register_backend',
  title: 'Register a backend',
  description:
    'Give a store outside a name: a bucket of S3, a directory of the host, memory, or an IPFS ' +
    'Cluster. It is tried first; nothing is registered when that fails. For the owner of kitfs.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: true },
  changes: 'journal',
  input: registerInput,
  example: { backend: 'scratch', kind: 'memory', config: {} },
  output: z.object({
    backend: z.string(),
    kind: z.string(),
    is_default: z.boolean(),
    config: z.record(z.string(), z.unknown()),
    capabilities: capabilitiesSchema.optional(),
    health: healthSchema,
    existed: z.boolean(),
  }),
  run: async (input, context) => {
    const op = `mbfs_register_backend ${input.backend}`;
    demandOwner(context, op);
    const { backends } = context.ports;
    const config = parseBackendConfig(input.kind, input.config, op);
    const known = backends.find(input.backend);
    if (known !== undefined) demandSame(known, input, op);
    const { capabilities, health } = await tried(context, input, config, op);
    if (input.dry_run) return { data: { dry_run: true, plan: planOf('backend_register', input) } };
    const row = {
      ...{ name: input.backend, kind: input.kind, config: JSON.stringify(input.config) },
      capabilities:
        capabilities === undefined
          ? (keptCapabilities(known) ?? null)
          : JSON.stringify(capabilities),
    };
    const told = () => ({
      data: {
        ...{ backend: input.backend, kind: input.kind, config: input.config, health },
        is_default: backends.find(input.backend)?.isDefault === true,
        ...(capabilities === undefined ? {} : { capabilities }),
        existed: known !== undefined,
      },
    });
    const { journal } = context.ports.vfs.core;
    const seq = journal.commit((tx) => {
      // Somebody may have been faster while this one was tried.
      const now = backends.find(input.backend);
      if (now !== undefined) demandSame(now, input, op);
      journal.backends.set({ ...row, isDefault: now?.isDefault === true });
      if (input.make_default) journal.backends.setDefault(input.backend);
      context.keep(told);
      return recordPin(
        context,
        tx,
        recordOf('backend_register', input.backend, { kind: input.kind }),
      );
    });
    return { ...told(), seq };
  },
  afterwards: syncedAfterwards,
});

const keptCapabilities = (known: BackendEntry | undefined): string | undefined =>
  known?.capabilities && JSON.stringify(known.capabilities);

/** @throws OpError exists: with other settings, or built in. */
function demandSame(known: BackendEntry, { kind, config }: RegisterInput, op: string): void {
  const inOrder = (one: Readonly<Record<string, unknown>>) =>
    JSON.stringify(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)));
  const isSame =
    !known.isBuiltIn && known.kind === kind && inOrder(known.config) === inOrder(config);
  if (isSame) return;
  throw new OpError('exists', op, {
    hint: known.isBuiltIn ? 'it is built in' : 'remove it first, or choose another name',
    details: { kind: 'backend', backend: known.name },
  });
}

interface Tried {
  readonly capabilities: BackendCapabilities | undefined;
  readonly health: Health;
}

/** Opens it, and with `probe` tries what it does; secrets are read in any case. */
async function tried(
  { ports, signal }: ToolContext,
  { probe }: RegisterInput,
  config: BackendConfig,
  op: string,
): Promise<Tried> {
  const opened: Opened = await ports.backends.opening(config, op);
  try {
    if (!probe) return { capabilities: undefined, health: { state: 'unknown' } };
    if ('cluster' in opened) await opened.cluster.id({ signal });
    const capabilities =
      'store' in opened
        ? capabilitiesOf(await opened.store.probe({ signal }))
        : CLUSTER_CAPABILITIES;
    return { capabilities, health: { state: 'ok' } };
  } finally {
    await close(opened);
  }
}

const planOf = (op: OpKind, { backend }: { readonly backend: string }): Plan => ({
  actions: [{ op, backend }],
  counts: { [op]: 1 },
  bytes: 0,
  conflicts: [],
  warnings: [],
});

/** It is about no place of the tree. */
const recordOf = (kind: OpKind, backend: string, after: Readonly<Record<string, unknown>>) => ({
  kind,
  cid: undefined,
  path: '/' as Name,
  after: { backend, ...after },
});

export const mbfsListBackends = recordTool({
  ...COMMON,
  name: 'mbfs_list_backends',
  title: 'List backends',
  description:
    'The stores there are, built in and registered: what each can do, whether it answers, and ' +
    'where it is mounted. Secrets are shown by reference.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  changes: 'nothing',
  input: schema.input({
    kind: z.enum([...KINDS, 'ipns', 'mfs']).optional(),
    include_health: schema.flag(true),
    ...schema.page,
  }),
  example: {},
  output: z.object({
    backends: z.array(
      z.object({
        backend: z.string(),
        kind: z.string(),
        built_in: z.boolean(),
        is_default: z.boolean(),
        config: z.record(z.string(), z.unknown()),
        capabilities: capabilitiesSchema.optional(),
        health: healthSchema.optional(),
        mounts: z.array(z.string()),
      }),
    ),
    default_backend: z.string(),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const { ports, principal } = context;
    const { backends } = ports;
    const wanted = () =>
      backends.all().filter(({ kind }) => input.kind === undefined || kind === input.kind);
    const healthOf = input.include_health ? await backends.health(wanted()) : undefined;
    const request = { tool: 'mbfs_list_backends', principal, arguments: input };
    const { items, ...fields } = await ports.cursors.page(request, wanted, (entry) => ({
      ...{ backend: entry.name, kind: entry.kind, built_in: entry.isBuiltIn },
      ...{ is_default: entry.isDefault, config: entry.config },
      ...(entry.capabilities === undefined ? {} : { capabilities: entry.capabilities }),
      ...(healthOf === undefined ? {} : { health: healthOf(entry.name) }),
      mounts: mountsOf(context, entry.name),
    }));
    return { data: { backends: [...items], default_backend: backends.defaultName, ...fields } };
  },
});

const mountsOf = ({ ports }: ToolContext, name: string): string[] =>
  ports.vfs.core.mounts
    .mounts()
    .filter(({ superblock }) => superblock.backend === name)
    .map(({ mountPoint }) => mountPoint);

export const mbfsRemoveBackend = recordTool({
  ...COMMON,
  name: 'mbfs_remove_backend',
  title: 'Remove a backend',
  description:
    'Forget a registered backend. What is in the store stays there. Refused while it is mounted, ' +
    'and without force while it holds the only copy of something that kitfs put there.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: false },
  changes: 'journal',
  input: schema.input({
    backend: schema.backend(),
    force: schema.force(),
    ...schema.timeout,
    ...schema.dryRun,
  }),
  example: { backend: 'scratch' },
  output: z.object({
    backend: z.string(),
    removed: z.boolean(),
    default_backend: z.string(),
    unmounted: z.array(z.string()),
    pending: z.object({ files: z.int(), bytes: z.int() }),
    sole_copies: z.int(),
  }),
  run: async (input, context) => {
    const { backend: name, force } = input;
    const op = `mbfs_remove_backend ${name}`;
    demandOwner(context, op);
    const { backends } = context.ports;
    const { journal } = context.ports.vfs.core;
    const entry = backends.demand(name, 'mbfs_remove_backend');
    if (entry.isBuiltIn) {
      throw new OpError('policy', op, { hint: 'it is built in', details: { backend: name } });
    }
    const mounts = mountsOf(context, name);
    const soles = soleCopies(context, name);
    if (mounts.length > 0 || (soles > 0 && !force)) {
      throw new OpError('backend-in-use', op, {
        hint: mounts.length > 0 ? 'unmount it first' : 'copy them elsewhere, or use force',
        details: { backend: name, partial: { mounts, sole_copies: soles } },
      });
    }
    if (input.dry_run) return { data: { dry_run: true, plan: planOf('backend_remove', input) } };
    const told = () => ({
      data: {
        ...{ backend: name, removed: true, default_backend: backends.defaultName },
        ...{ unmounted: [], pending: { files: 0, bytes: 0 }, sole_copies: soles },
      },
    });
    const seq = journal.commit((tx) => {
      journal.backends.delete(name);
      context.keep(told);
      return recordPin(context, tx, recordOf('backend_remove', name, { config: entry.config }));
    });
    await backends.forget(name);
    return { ...told(), seq };
  },
  afterwards: syncedAfterwards,
});

/** Of objects that were put there through kitfs: those of which no other store is known to have the bytes. */
function soleCopies({ ports }: ToolContext, name: string): number {
  const { backends } = ports.vfs.core.journal;
  let count = 0;
  for (let after = ''; ; ) {
    const rows = backends.objects(name, after, OBJECTS_PER_LOOK);
    count += rows.filter(({ sha256 }) => {
      return backends.twins(sha256, OBJECTS_PER_LOOK).every(({ backend }) => backend === name);
    }).length;
    const last = rows.at(-1);
    if (last === undefined) return count;
    after = last.identifier;
  }
}
