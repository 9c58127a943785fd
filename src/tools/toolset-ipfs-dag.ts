/** Toolset ipfs_core, nodes of the data model: ipfs_dag_get, ipfs_dag_put. */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { RESULT_BYTES_MAX } from '../base/limits.ts';
import {
  blockKey,
  type CID,
  CODEC_NAMES,
  type CodecName,
  decodeValue,
  encodeValue,
} from '../content/content.ts';
import { blockOf, type MadeBlock, nodeAt, refsOf } from '../node/node.ts';
import { rooted } from './content-paths.ts';
import { changeOutside } from './outside.ts';
import { demandAll, keepBlocks, recordStored, syncedAfterwards } from './pins.ts';
import { planOf } from './plans.ts';
import * as schema from './schema.ts';
import { type RecordResult, recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_core', version: '1.0.0', deadline: 'remote' } as const;
const codec = z.enum(CODEC_NAMES);
const HASHES = ['sha2-256', 'sha2-512', 'blake2b-256'] as const;

/** Codecs whose values are JSON, and are shown as such. */
const isText = (name: CodecName): boolean => name === 'dag-json' || name === 'json';

const getOutput = z.object({
  cid: z.string(),
  codec,
  remaining_path: z.string(),
  value: z.unknown().optional(),
  content: z.string().optional(),
  encoding: z.literal('base64').optional(),
  size: z.int(),
});

export const ipfsDagGet = recordTool({
  ...COMMON,
  name: 'ipfs_dag_get',
  title: 'Read a DAG node',
  description:
    'Read one IPLD node, or with a path the value it leads to, across links, as JSON or ' +
    'encoded anew. For files use ipfs_cat.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    ipfs_path: schema.ipfsPath(),
    output_codec: codec.default('dag-json'),
    ...schema.node,
    ...schema.localOnly,
    ...schema.timeout,
  }),
  example: { ipfs_path: 'bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua' },
  output: getOutput,
  run: async (input, context) => {
    const op = `ipfs_dag_get ${input.ipfs_path}`;
    const { reach, cid: root, segments } = await rooted(context, input, 'ipfs_dag_get');
    const { cid, value, remaining } = await nodeAt(reach.dag, root, segments, context.signal);
    const { output_codec: name } = input;
    const bytes = encodeValue(name, value);
    const told: z.input<typeof getOutput> = {
      cid: cid.toString(),
      codec: name,
      remaining_path: remaining.join('/'),
      size: bytes.length,
    };
    demandSmall(bytes.length, isText(name) ? 1 : 4 / 3, cid, op);
    const shown = isText(name)
      ? { value: shownValue(value, bytes, op) }
      : { content: Buffer.from(bytes).toString('base64'), encoding: 'base64' as const };
    return { data: { ...told, ...shown }, node: reach.node() };
  },
});

/** @throws OpError result-too-large. */
function demandSmall(bytes: number, factor: number, cid: CID, op: string): void {
  if (bytes * factor <= RESULT_BYTES_MAX) return;
  const why = 'reads the bytes of the block in slices';
  throw new OpError('result-too-large', op, {
    hint: 'read the block with ipfs_block_get',
    details: {
      cid: cid.toString(),
      partial: { bytes, max: RESULT_BYTES_MAX },
      suggestions: [{ tool: 'ipfs_block_get', arguments: { cid: cid.toString() }, why }],
    },
  });
}

/** @throws OpError unsupported: a number in it is larger than JSON's readers count exactly. */
function shownValue(value: unknown, json: Uint8Array, op: string): unknown {
  if (!holdsBigInt(value)) return JSON.parse(Buffer.from(json).toString());
  throw new OpError('unsupported', op, {
    hint: 'it holds integers beyond 2^53: take output_codec dag-cbor',
  });
}

function holdsBigInt(value: unknown): boolean {
  if (typeof value === 'bigint') return true;
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return false;
  return Object.values(value).some(holdsBigInt);
}

const putInput = schema.input({
  value: z.unknown().optional().describe('JSON, in the data model of input_codec'),
  content: schema.content.content.optional(),
  encoding: schema.content.encoding,
  input_codec: codec.default('dag-json'),
  store_codec: codec.default('dag-cbor'),
  hash: z.enum(HASHES).default('sha2-256'),
  pin: schema.flag(),
  pin_name: schema.pinName().optional(),
  ...schema.node,
  ...schema.timeout,
  ...schema.dryRun,
});
type PutInput = z.output<typeof putInput>;
const putOutput = z.object({ cid: z.string(), size: z.int(), codec, pinned: z.boolean() });

export const ipfsDagPut = recordTool({
  ...COMMON,
  name: 'ipfs_dag_put',
  title: 'Store a DAG node',
  description:
    'Store a value (JSON; links as {"/": cid}), or bytes given as content, as one IPLD block. ' +
    'For files use ipfs_add.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: true },
  changes: 'journal',
  input: putInput,
  example: { value: { hello: 'world' } },
  output: putOutput,
  run: async (input, context) => {
    const op = 'ipfs_dag_put';
    const node = context.ports.ipfs.nodes.state(input.node, op);
    const block = blockOf(givenValue(input, op), input.store_codec, input.hash);
    const told: RecordResult<z.input<typeof putOutput>> = {
      data: {
        cid: block.cid.toString(),
        size: block.bytes.length,
        codec: input.store_codec,
        pinned: input.pin,
      },
      node: node.kind,
    };
    const { journal } = context.ports.vfs.core;
    if (input.pin) await demandLinked(block, input, context);
    if (input.dry_run) {
      const plan = planOf(journal.rehearse(() => void record(context, input, block)));
      return { data: { dry_run: true as const, plan } };
    }
    if (node.kind === 'embedded') return putHere(context, input, block, told);
    const { signal } = context;
    const pin = input.pin ? { pin: { name: input.pin_name } } : {};
    return changeOutside(context, {
      record: recordOf(input, block),
      make: () => node.content.blockPut(block.cid, block.bytes, { signal, ...pin }),
      tell: () => told,
    });
  },
  afterwards: syncedAfterwards,
});

/** @throws OpError invalid-argument, encoding, payload-too-large, unsupported. */
function givenValue(
  { value, content, encoding, input_codec: name }: PutInput,
  op: string,
): unknown {
  if ((value === undefined) === (content === undefined)) {
    throw schema.combination(op, 'value', 'either value or content');
  }
  if (content !== undefined) return decodeValue(name, schema.decodeContent(content, encoding, op));
  if (isText(name)) return decodeValue(name, Buffer.from(JSON.stringify(value)));
  throw schema.combination(op, 'value', 'input_codec dag-json or json; else give content');
}

/** What a recursive pin would keep is there. @throws OpError content-missing. */
async function demandLinked(
  { cid, links }: MadeBlock,
  { node: asked }: PutInput,
  context: ToolContext,
): Promise<void> {
  const op = 'ipfs_dag_put';
  const { ports, signal } = context;
  const node = ports.ipfs.nodes.state(asked, op);
  const reach = ports.ipfs.nodes.content(node.kind, { op, localOnly: true });
  const demand = async (cids: readonly CID[]) => {
    const held =
      node.kind === 'embedded'
        ? cids.map((wanted) => ports.ipfs.blocks.has(wanted))
        : await node.content.hasBlocks(cids, { signal });
    demandAll(
      cids.filter((_, at) => held[at] !== true),
      `${op} ${cid}`,
    );
  };
  await demand(links);
  const wanted = new Map<string, CID>();
  const all = { recursive: true, unique: true, depthMax: Number.POSITIVE_INFINITY };
  for (const link of links) {
    for await (const ref of refsOf(reach.dag, link, all, signal)) {
      const found = 'failed' in ref ? ref.failed : ref.cid;
      wanted.set(found.toString(), found);
    }
  }
  await demand([...wanted.values()]);
}

async function putHere<Data>(
  context: ToolContext,
  input: PutInput,
  { cid, bytes }: MadeBlock,
  told: RecordResult<Data>,
): Promise<RecordResult<Data>> {
  const { vfs, ipfs } = context.ports;
  const { journal, content: contents } = vfs.core;
  ipfs.blocks.put(cid, bytes);
  if (input.pin) await keepBlocks(context, cid, { recursive: true, op: 'ipfs_dag_put' });
  else await contents.fsync(journal.contents.blockPlaces(blockKey(cid)).map((row) => row.content));
  context.signal.throwIfAborted();
  const seq = journal.group(() => {
    context.keep(() => told);
    return record(context, input, { cid, bytes });
  });
  return { ...told, seq };
}

const recordOf = (input: PutInput, { cid, bytes }: Pick<MadeBlock, 'cid' | 'bytes'>) => ({
  kind: 'dag_put' as const,
  cid,
  size: bytes.length,
  after: { codec: input.store_codec, pinned: input.pin, pin_name: input.pin_name ?? null },
});

/** The pin and the record, in one transaction. */
function record(
  context: ToolContext,
  input: PutInput,
  block: Pick<MadeBlock, 'cid' | 'bytes'>,
): number {
  return recordStored(context, block.cid, input, (named) => recordOf(named, block));
}
