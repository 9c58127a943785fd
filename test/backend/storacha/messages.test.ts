/** What a service answers, whole or damaged. */
import { CAR, invoke, Message, Receipt } from '@ucanto/core';
import { generate } from '@ucanto/principal/ed25519';
import { CID } from 'multiformats/cid';
import { beforeAll, describe, expect, test } from 'vitest';
import { okOf, receiptIn } from '../../../src/backend/storacha/messages.ts';
import { loadUcanto, type Ucanto } from '../../../src/backend/storacha/ucanto.ts';

const failing = (failure: string) => expect.objectContaining({ failure });

const OTHER = CID.parse('bafkreibs4wliqah2p26pgxwctiuavrml4tewpzajxxdegaqhvcxbn225zm');

let ucanto: Ucanto;
let task: CID;
let answer: Uint8Array;
/** As a service that was told of it gives it on: in what concludes it. */
let toldOf: Uint8Array;

const encoded = (message: {
  readonly root: never;
  iterateIPLDBlocks(): Iterable<{ readonly cid: unknown }>;
}) => {
  const blocks = new Map([...message.iterateIPLDBlocks()].map((block) => [`${block.cid}`, block]));
  return CAR.encode({ roots: [message.root], blocks } as never) as Uint8Array;
};

beforeAll(async () => {
  ucanto = await loadUcanto();
  const issuer = await generate();
  const capability = { can: 'test/it', with: issuer.did(), nb: {} } as const;
  const ran = await invoke({ issuer, audience: issuer, capability }).delegate();
  task = CID.parse(String(ran.cid));
  const result = { ok: { words: 'all is well' } };
  const receipt = await Receipt.issue({ issuer, ran: ran.cid, result });
  answer = encoded((await Message.build({ receipts: [receipt] })) as never);
  const blocks = [...receipt.iterateIPLDBlocks()];
  const conclude = invoke({
    issuer,
    audience: issuer,
    capability: { can: 'ucan/conclude', with: issuer.did(), nb: { receipt: receipt.link() } },
    facts: [Object.fromEntries(blocks.map(({ cid }, at) => [String(at), cid]))],
  });
  for (const block of blocks) conclude.attach(block);
  toldOf = encoded((await Message.build({ invocations: [conclude] })) as never);
});

describe('an answer', () => {
  test('is the receipt of what was asked', () => {
    expect(okOf(receiptIn(ucanto, answer, task, 'ask'), 'ask')).toEqual({ words: 'all is well' });
  });

  test('may be what another invocation concludes', () => {
    expect(okOf(receiptIn(ucanto, toldOf, task, 'ask'), 'ask')).toEqual({ words: 'all is well' });
    expect(() => receiptIn(ucanto, toldOf, OTHER, 'ask')).toThrow(failing('response-invalid'));
  });

  test('that is cut anywhere is none', () => {
    for (let length = 0; length < answer.length; length++) {
      const read = () => receiptIn(ucanto, answer.slice(0, length), task, 'ask');
      expect(read).toThrow(failing('response-invalid'));
    }
  });

  test('with any byte that is another one never says anything else', () => {
    let told = 0;
    for (let at = 0; at < answer.length; at++) {
      const bent = Uint8Array.from(answer);
      bent[at] = ~(bent[at] ?? 0) & 0xff;
      try {
        const ok = okOf(receiptIn(ucanto, bent, task, 'ask'), 'ask');
        expect(ok).toEqual({ words: 'all is well' });
        told += 1;
      } catch (error) {
        expect(error).toEqual(failing('response-invalid'));
      }
    }
    expect(told).toBeLessThan(answer.length / 10);
  });

  test('about something else is none', () => {
    expect(() => receiptIn(ucanto, answer, OTHER, 'ask')).toThrow(failing('response-invalid'));
  });

  test('that no library reads is none', () => {
    for (const bytes of [Buffer.from(''), Buffer.from('<html>'), Buffer.alloc(1000, 0xff)]) {
      expect(() => receiptIn(ucanto, bytes, task, 'ask')).toThrow(failing('response-invalid'));
    }
  });
});
