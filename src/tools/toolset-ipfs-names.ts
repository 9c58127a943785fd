/** Toolset ipfs_net, IPNS names: ipfs_name_publish, ipfs_name_resolve. */
import { z } from 'zod';
import type { NameFacet, Published, PublishOptions } from '../backend/backend.ts';
import { rfc3339 } from '../base/clock.ts';
import { located } from './content-paths.ts';
import { demandKey, LIFETIME_S, nameRecord, TTL_S } from './named.ts';
import { changeOutside } from './outside.ts';
import { parseIpfsPath } from './paths.ts';
import { type PinRecord, recordPin, syncedAfterwards } from './pins.ts';
import { planOf } from './plans.ts';
import * as schema from './schema.ts';
import { type RecordResult, recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_net', version: '1.0.0' } as const;
const YEAR_S = 31_536_000;

const publishInput = schema.input({
  ipfs_path: schema.ipfsPath(),
  key: schema.text(1, 64).default('self'),
  create_key: schema.flag(),
  lifetime_s: schema.int(1, YEAR_S).default(LIFETIME_S),
  ttl_s: schema.int(0, YEAR_S).default(TTL_S),
  resolve: schema.flag(true).describe('see first that it is there'),
  allow_offline: schema.flag(),
  ...schema.node,
  ...schema.job,
  ...schema.dryRun,
});
type PublishInput = z.output<typeof publishInput>;

const publishOutput = z.object({
  ipns_name: z.string(),
  ipfs_path: z.string(),
  key: z.string(),
  sequence: z.int().optional(),
  valid_until: z.string(),
  ttl_s: z.int(),
  published: z.enum(['network', 'local']),
});

export const ipfsNamePublish = recordTool({
  ...COMMON,
  deadline: 'job',
  job: true,
  name: 'ipfs_name_publish',
  title: 'Publish a name',
  description:
    'Sign that the IPNS name of a key points to content. Without a network only with ' +
    'allow_offline, and then on this machine alone.',
  hints: { readOnly: false, destructive: true, idempotent: false, openWorld: true },
  changes: 'journal',
  input: publishInput,
  example: {
    ipfs_path: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e',
    allow_offline: true,
  },
  output: publishOutput,
  run: async (input, context) => {
    const op = 'ipfs_name_publish';
    const { ports, signal, timeoutMs: deadlineMs } = context;
    const node = ports.ipfs.nodes.state(input.node, op);
    if (input.ttl_s > input.lifetime_s) {
      throw schema.combination(op, 'ttl_s', 'at most lifetime_s');
    }
    const path = await publishedPath(input, context, op);
    const options: PublishOptions = {
      signal,
      deadlineMs,
      key: input.key,
      lifetimeS: input.lifetime_s,
      ttlS: input.ttl_s,
      resolve: input.resolve,
      allowOffline: input.allow_offline,
    };
    const tell = (made: Published): RecordResult<Told> => ({
      data: toldOf(input, made),
      node: node.kind,
    });
    const { key, ttl_s, lifetime_s } = input;
    const record = nameRecord(path, { key, ttl_s, lifetime_s });
    if (input.dry_run) {
      const isKnown = await demandKey(node.names, input, options);
      const asKnown = isKnown ? options : { ...options, key: undefined };
      if (node.kind === 'embedded') await node.names.prepare(path, asKnown);
      const write = () => void recordName(context, record);
      const plan = planOf(ports.vfs.core.journal.rehearse(write));
      return { data: { dry_run: true as const, plan } };
    }
    if (node.kind === 'kubo') {
      await demandKey(node.names, input, options);
      const make = async () => {
        await keyFor(node.names, input, options);
        return node.names.publish(path, options);
      };
      return changeOutside(context, { record, make, tell });
    }
    await keyFor(node.names, input, options);
    const write = await node.names.prepare(path, options);
    const { journal } = ports.vfs.core;
    return journal.group(() => {
      const made = journal.commit(write);
      const seq = recordName(context, record);
      context.keep(() => tell(made));
      return { ...tell(made), seq };
    });
  },
  afterwards: syncedAfterwards,
});

function recordName(context: ToolContext, record: PinRecord): number {
  const { journal } = context.ports.vfs.core;
  return journal.commit((tx) => recordPin(context, tx, record));
}

/** As it is signed; with `resolve` it is there. @throws OpError content-missing, not-found. */
async function publishedPath(input: PublishInput, context: ToolContext, op: string) {
  const parsed = parseIpfsPath(input.ipfs_path);
  const root = parsed?.kind === 'ipns' ? parsed.name : parsed?.cid.toString();
  if (input.resolve) {
    const { cid, reach } = await located(context, input, op);
    await reach.dag.block(cid, context.signal);
  }
  return ['', parsed?.kind, root, ...(parsed?.segments ?? [])].join('/');
}

/** Makes the key when it is to be made and is not there. */
async function keyFor(
  names: NameFacet,
  { key, create_key: isMade }: PublishInput,
  { signal }: PublishOptions,
): Promise<void> {
  if (!isMade) return;
  const known = await names.keys({ signal });
  if (!known.some(({ name }) => name === key)) await names.generateKey(key, { signal });
}

type Told = z.input<typeof publishOutput>;

const toldOf = (input: PublishInput, made: Published): Told => ({
  ipns_name: made.name,
  ipfs_path: made.path,
  key: input.key,
  ...(made.sequence === undefined ? {} : { sequence: made.sequence }),
  valid_until: rfc3339(made.validUntil),
  ttl_s: input.ttl_s,
  published: made.published,
});

export const ipfsNameResolve = recordTool({
  ...COMMON,
  deadline: 'remote',
  name: 'ipfs_name_resolve',
  title: 'Resolve a name',
  description: 'What an IPNS name, a key of the node or a host name points to.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    ipns_name: schema.text(1, 253).default('self'),
    recursive: schema.recursive(true),
    no_cache: schema.flag(),
    ...schema.node,
    ...schema.timeout,
  }),
  example: { ipns_name: 'self' },
  output: z.object({
    ipns_name: z.string(),
    ipfs_path: z.string(),
    cid: z.string().optional(),
    sequence: z.int().optional(),
    valid_until: z.string().optional(),
    from: z.enum(['local', 'network']),
  }),
  run: async (input, { ports, signal, timeoutMs: deadlineMs }) => {
    const node = ports.ipfs.nodes.state(input.node, 'ipfs_name_resolve');
    const { recursive, no_cache: noCache, ipns_name: name } = input;
    const found = await node.names.resolve(name, { signal, deadlineMs, recursive, noCache });
    const parsed = parseIpfsPath(found.path);
    const isRoot = parsed?.kind === 'ipfs' && parsed.segments.length === 0;
    const { sequence, validUntil } = found;
    return {
      data: {
        ipns_name: name,
        ipfs_path: found.path,
        ...(isRoot ? { cid: parsed.cid.toString() } : {}),
        ...(sequence === undefined ? {} : { sequence }),
        ...(validUntil === undefined ? {} : { valid_until: rfc3339(validUntil) }),
        from: found.from,
      },
      node: node.kind,
    };
  },
});
