/**
 * Toolset ipfs_net, topics: ipfs_pubsub_publish, ipfs_pubsub_subscribe, ipfs_pubsub_read,
 * ipfs_pubsub_unsubscribe, ipfs_pubsub_peers.
 */
import { z } from 'zod';
import type { NodeKind, PubsubFacet } from '../backend/backend.ts';
import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { nameOfText } from '../base/ids.ts';
import { MESSAGES_READ_BYTES_MAX, PUBSUB_BYTES_MAX } from '../base/limits.ts';
import type { AskedNode } from '../node/node.ts';
import { encodingOf } from './envelope.ts';
import type { Message } from './messages.ts';
import { changeOutside } from './outside.ts';
import { isWellFormed } from './paths.ts';
import { syncedAfterwards } from './pins.ts';
import * as schema from './schema.ts';
import { contentTool, type Payload, recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_net', version: '1.0.0', deadline: 'remote' } as const;
const SEND = { readOnly: false, destructive: false, idempotent: false, openWorld: true } as const;
const EXAMPLE_TOPIC = 'builds/done';
const EXAMPLE_SUBSCRIPTION = 'x'.repeat(22);

const topic = () =>
  schema
    .text(1, 256)
    .refine(isWellFormed, { params: { reason: 'format', expected: 'valid Unicode' } })
    .meta({ minLength: 1, maxLength: 256 });
const uriOf = (id: string): string => `kitfs://pubsub/${id}`;

/** @throws OpError node-offline; not-configured. */
function pubsubOf(
  { ports }: ToolContext,
  asked: AskedNode,
  op: string,
): { readonly kind: NodeKind; readonly pubsub: PubsubFacet } {
  const { kind, pubsub } = ports.ipfs.nodes.network(asked, op);
  if (pubsub !== undefined) return { kind, pubsub };
  throw new OpError('node-offline', op, { hint: 'configure an online Kubo ([ipfs.kubo])' });
}

export const ipfsPubsubPublish = recordTool({
  ...COMMON,
  name: 'ipfs_pubsub_publish',
  title: 'Publish a message',
  description:
    'Send bytes to all who listen to a topic. That the node took them is all that is known; peers ' +
    'says how many others listened.',
  hints: SEND,
  changes: 'journal',
  input: schema.input({ topic: topic(), ...schema.content, ...schema.node, ...schema.timeout }),
  example: { topic: EXAMPLE_TOPIC, content: 'release 1.2' },
  output: z.object({ topic: z.string(), size: z.int(), peers: z.int() }),
  run: async (input, context) => {
    const op = 'ipfs_pubsub_publish';
    const { signal } = context;
    const { kind, pubsub } = pubsubOf(context, input.node, op);
    const bytes = schema.decodeContent(input.content, input.encoding, op);
    const size = bytes.length;
    if (size > PUBSUB_BYTES_MAX) {
      const partial = { size, max: PUBSUB_BYTES_MAX };
      throw new OpError('payload-too-large', op, {
        hint: 'add it with ipfs_add, and publish its CID',
        details: { partial },
      });
    }
    const to = input.topic;
    // Before: an answer that is lost behind the message would hide that it was sent.
    const peers = (await pubsub.peers(to, { signal })).length;
    const warnings = peers === 0 ? ['nobody else listens to this topic now'] : [];
    return changeOutside(context, {
      record: {
        kind: 'pubsub_publish',
        cid: undefined,
        path: nameOfText(`/pubsub/${encodeURIComponent(to)}`),
        size,
        after: { topic: to },
      },
      make: () => pubsub.publish(to, bytes, { signal }),
      tell: () => ({ data: { topic: to, size, peers }, node: kind, warnings }),
    });
  },
  afterwards: syncedAfterwards,
});

export const ipfsPubsubSubscribe = recordTool({
  ...COMMON,
  name: 'ipfs_pubsub_subscribe',
  title: 'Listen to a topic',
  description:
    'Keep what is said on a topic, the newest messages up to buffer, until this connection closes. ' +
    'Read them with ipfs_pubsub_read, from since_seq = next_seq on.',
  hints: SEND,
  changes: 'process',
  input: schema.input({
    topic: topic(),
    buffer: schema.int(1, 10_000).default(1000),
    ...schema.node,
    ...schema.timeout,
  }),
  example: { topic: EXAMPLE_TOPIC },
  output: z.object({
    subscription_id: z.string(),
    topic: z.string(),
    uri: z.string(),
    buffer: z.int(),
    next_seq: z.int(),
  }),
  run: async (input, context) => {
    const { kind, pubsub } = pubsubOf(context, input.node, 'ipfs_pubsub_subscribe');
    const { ports, session, signal } = context;
    const id = ports.random.token();
    const { topic: to, buffer } = input;
    const opening = { id, owner: session, pubsub, topic: to, buffer, signal };
    await ports.ipfs.subscriptions.open(opening);
    const data = { subscription_id: id, topic: to, uri: uriOf(id), buffer, next_seq: 0 };
    return { data, node: kind };
  },
});

export const ipfsPubsubRead = contentTool({
  ...COMMON,
  // The wait may be longer than the time of a call that asks a node.
  deadline: 'job',
  name: 'ipfs_pubsub_read',
  title: 'Read messages of a topic',
  description:
    'Messages of a subscription numbered above since_seq; nothing is consumed. next_seq is the ' +
    'since_seq to go on with; gap names numbers that were lost before the first message.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  changes: 'nothing',
  input: schema.input({
    subscription_id: schema.handle(),
    since_seq: schema.sinceSeq().default(0),
    limit: schema.int(1, 500).default(50),
    wait_ms: schema.int(0, 50_000).default(0).describe('for the first message'),
    encoding: schema.encoding().optional(),
  }),
  example: { subscription_id: EXAMPLE_SUBSCRIPTION, wait_ms: 20_000 },
  run: async (input, { ports, session, signal }) => {
    const op = 'ipfs_pubsub_read';
    const { subscription_id: id, limit, since_seq: since } = input;
    const bounds = { countMax: limit, bytesMax: MESSAGES_READ_BYTES_MAX };
    const heard = ports.ipfs.subscriptions.get(id, session);
    let page = heard.messages.page(since, bounds);
    if (page.nextSeq <= since && input.wait_ms > 0) {
      await heard.news(input.wait_ms, signal);
      page = heard.messages.page(since, bounds);
    }
    const payloads = page.messages.map((one) => payloadOf(one, input.encoding, { op, id }));
    const { trouble } = heard;
    return {
      header: {
        subscription_id: id,
        topic: heard.topic,
        messages: page.messages.map(({ seq, time, from, data }, index) => ({
          seq,
          time: rfc3339(time),
          from,
          size: data.length,
          encoding: payloads[index]?.encoding,
          block: index + 1,
        })),
        next_seq: page.nextSeq,
        ...(page.gap === undefined ? {} : { gap: page.gap }),
        head_seq: page.headSeq,
      },
      payloads,
      warnings:
        trouble === undefined ? [] : [`the node is not heard now (${trouble}); it is tried again`],
    };
  },
});

/** @throws OpError encoding. */
function payloadOf(
  { data }: Message,
  asked: Payload['encoding'] | undefined,
  { op, id }: { readonly op: string; readonly id: string },
): Payload {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
  const encoding = encodingOf(bytes, asked, op);
  return { bytes, encoding, mime: 'application/octet-stream', uri: uriOf(id) };
}

export const ipfsPubsubUnsubscribe = recordTool({
  ...COMMON,
  name: 'ipfs_pubsub_unsubscribe',
  title: 'Stop listening',
  description: 'End a subscription and drop what it kept; dropped_unread was on no page.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: false },
  changes: 'process',
  input: schema.input({ subscription_id: schema.handle() }),
  example: { subscription_id: EXAMPLE_SUBSCRIPTION },
  output: z.object({
    subscription_id: z.string(),
    topic: z.string(),
    closed: z.boolean(),
    dropped_unread: z.int(),
  }),
  run: ({ subscription_id: id }, { ports, session }) => {
    const { topic: from, messages } = ports.ipfs.subscriptions.end(id, session);
    const data = { subscription_id: id, topic: from, closed: true };
    return { data: { ...data, dropped_unread: messages.unread } };
  },
});

export const ipfsPubsubPeers = recordTool({
  ...COMMON,
  name: 'ipfs_pubsub_peers',
  title: 'List listeners',
  description: 'Peers that the node knows to listen to a topic, or to any.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    topic: topic().optional(),
    ...schema.node,
    ...schema.page,
    ...schema.timeout,
  }),
  example: { topic: EXAMPLE_TOPIC },
  output: z.object({
    topic: z.string().optional(),
    peers: z.array(z.string()),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_pubsub_peers';
    const { kind, pubsub } = pubsubOf(context, input.node, op);
    const { ports, principal, signal } = context;
    const request = { tool: op, principal, arguments: input };
    const { items, ...fields } = await ports.cursors.page(request, async () =>
      [...new Set(await pubsub.peers(input.topic, { signal }))].sort(),
    );
    const of = input.topic === undefined ? {} : { topic: input.topic };
    return { data: { ...of, peers: [...items], ...fields }, node: kind };
  },
});
