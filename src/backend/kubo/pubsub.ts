/**
 * Topics of a Kubo node. Topics and bytes travel as multibase base64url (`u…`); who sent a message is
 * a plain peer id.
 */
import { codeOf, OpError } from '../../base/errors.ts';
import { PUBSUB_BYTES_MAX } from '../../base/limits.ts';
import type { CallOptions } from '../call.ts';
import { Fields, invalid, jsonOf } from '../http/wire.ts';
import type { PubsubFacet, PubsubMessage, Subscription } from '../network.ts';
import { oneBuffer } from './multipart.ts';
import type { Rpc, Underway } from './rpc.ts';

export class KuboPubsub implements PubsubFacet {
  readonly #rpc: Rpc;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
  }

  async publish(topic: string, bytes: Uint8Array, options: CallOptions): Promise<void> {
    if (bytes.length > PUBSUB_BYTES_MAX) {
      throw new OpError('payload-too-large', 'pubsub/pub', {
        details: { partial: { max: PUBSUB_BYTES_MAX } },
      });
    }
    const ask = {
      command: 'pubsub/pub',
      args: [encoded(topic)],
      body: () => oneBuffer(bytes, this.#rpc.random),
    } as const;
    await this.#rpc.done(ask, options);
  }

  async subscribe(topic: string, options: CallOptions): Promise<Subscription> {
    const ask = {
      command: 'pubsub/sub',
      args: [encoded(topic)],
      lane: 'held',
      repeat: 'always',
    } as const;
    return new Subscribed(await this.#rpc.hold(ask, options));
  }

  async peers(topic: string | undefined, options: CallOptions): Promise<readonly string[]> {
    const ask = {
      command: 'pubsub/peers',
      args: topic === undefined ? [] : [encoded(topic)],
      repeat: 'always',
    } as const;
    return (await this.#rpc.json(ask, options)).texts('Strings');
  }

  async topics(options: CallOptions): Promise<readonly string[]> {
    const answer = await this.#rpc.json({ command: 'pubsub/ls', repeat: 'always' }, options);
    return answer.texts('Strings').map((text) => decoded(text, 'pubsub/ls').toString('utf8'));
  }
}

class Subscribed implements Subscription {
  readonly #underway: Underway;
  #isOver = false;

  constructor(underway: Underway) {
    this.#underway = underway;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PubsubMessage, void, undefined> {
    const { answer, deadline } = this.#underway;
    try {
      for await (const line of answer.lines(Number.MAX_SAFE_INTEGER)) {
        yield messageOf(new Fields(jsonOf(line, deadline.op), deadline.op), deadline.op);
      }
    } catch (error) {
      if (this.#isOver) return;
      throw isTorn(error) ? stopped(deadline.op, error) : error;
    } finally {
      this.#end();
    }
    if (this.#isOver) return;
    this.#isOver = true;
    // Kubo ends it politely when it stops.
    throw stopped(deadline.op);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#end();
  }

  #end(): void {
    const { answer, deadline } = this.#underway;
    answer[Symbol.dispose]();
    deadline[Symbol.dispose]();
  }
}

/** Nothing was wrong with what came: whoever sent it is gone. */
const isTorn = (error: unknown): boolean =>
  error instanceof OpError &&
  error.failure === 'response-invalid' &&
  codeOf(error.cause) === 'ECONNRESET';

const stopped = (op: string, cause?: unknown): OpError =>
  new OpError('not-running', op, { cause, details: { service: 'kubo' } });

const messageOf = (fields: Fields, op: string): PubsubMessage => ({
  from: fields.text('from'),
  data: decoded(fields.text('data'), op),
  sequence: decoded(fields.text('seqno'), op).toString('hex'),
  topics: fields.texts('topicIDs').map((text) => decoded(text, op).toString('utf8')),
});

const encoded = (topic: string): string => `u${Buffer.from(topic, 'utf8').toString('base64url')}`;

/** @throws OpError response-invalid. */
function decoded(text: string, op: string): Buffer {
  if (/^u[\w-]*$/.test(text)) return Buffer.from(text.slice(1), 'base64url');
  throw invalid(op, 'not base64url as multibase has it');
}
