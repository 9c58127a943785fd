import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { IpfsNode } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { all, calling, engineAt, rawBlock, secretOf } from './engine.ts';
import { cutting, refusing, Server } from './server.ts';

let server: Server;
let node: IpfsNode;

beforeEach(async () => {
  server = await Server.start();
  node = engineAt(server.api);
});

afterEach(async () => {
  await node[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const failing = (failure: string) => expect.objectContaining({ failure });
const identify = (options = calling()) => node.stats.id(undefined, options);
const never = () => {};
const isIdentified = { peerId: 'x' };
const identified = () => server.on('id', ({ response }) => void response.end('{"ID":"x"}'));
const LEAF = rawBlock('a leaf');

describe('a call', () => {
  test('that is told to end holds no socket, and says why it ended', async () => {
    server.on('id', never);
    const controller = new AbortController();
    const asked = identify({ signal: controller.signal });
    const { response } = await server.called('id');
    const closed = once(response, 'close');
    controller.abort(new OpError('interrupted', 'read /ipfs/x'));
    await expect(asked).rejects.toMatchObject({ failure: 'interrupted', op: 'read /ipfs/x' });
    await closed;
  });

  test('that is told to end in the middle of its answer never looks whole', async () => {
    server.on('refs/local', ({ response }) => {
      response.write(`{"Ref":"${LEAF.cid}","Err":""}\n`);
    });
    const controller = new AbortController();
    const heard: unknown[] = [];
    const read = async () => {
      for await (const ref of node.content.refsLocal({ signal: controller.signal })) {
        heard.push(ref);
        controller.abort();
      }
    };
    await expect(read()).rejects.toEqual(failing('cancelled'));
    expect(heard).toHaveLength(1);
    await once((await server.called('refs/local')).response, 'close');
  });

  test('that was told to end before it began sends nothing', async () => {
    await expect(identify({ signal: AbortSignal.abort() })).rejects.toEqual(failing('cancelled'));
    expect(server.calls).toEqual([]);
  });

  test('ends with its deadline, which the node is told too', async () => {
    server.on('id', never);
    const clock = new TurnedClock();
    await using turned = engineAt(server.api, { clock });
    const asked = turned.stats.id(undefined, { ...calling(), deadlineMs: 7000 });
    const rejected = expect(asked).rejects.toEqual(failing('timeout'));
    const { query, response } = await server.called('id');
    expect(query.get('timeout')).toBe('7000ms');
    const closed = once(response, 'close');
    await clock.turn(7000);
    await rejected;
    await closed;
  });

  test('may have all the time there is', async () => {
    identified();
    const asked = node.stats.id(undefined, { ...calling(), deadlineMs: Number.MAX_SAFE_INTEGER });
    expect(await asked).toMatchObject(isIdentified);
  });

  test('leaves no timer and no listener behind', async () => {
    identified();
    const clock = new TurnedClock();
    await using turned = engineAt(server.api, { clock });
    const { signal } = new AbortController();
    for (let at = 0; at < 20; at++) await turned.stats.id(undefined, { signal });
    await settle();
    expect(clock.sleeping).toBe(0);
    expect(await server.connections()).toBe(1);
  });

  test('after the end of the engine is refused, and ends what was under way', async () => {
    server.on('id', never);
    const asked = identify();
    const rejected = expect(asked).rejects.toEqual(failing('not-ready'));
    await server.called('id');
    await node[Symbol.asyncDispose]();
    await rejected;
    await expect(identify()).rejects.toEqual(failing('not-ready'));
  });

  test('to nobody says that nobody is there', async () => {
    await server[Symbol.asyncDispose]();
    await expect(identify()).rejects.toEqual(failing('not-running'));
  });

  test('whose answer is abandoned lets go of its connection', async () => {
    server.on('refs/local', ({ response }) => {
      const line = `{"Ref":"${LEAF.cid}","Err":""}\n`;
      const more = () => void (response.destroyed || response.write(line, more));
      more();
    });
    for await (const { cid } of node.content.refsLocal(calling())) {
      expect(cid).toEqual(LEAF.cid);
      break;
    }
    await once((await server.called('refs/local')).response, 'close');
  });
});

describe('many calls', () => {
  test('use so many connections and no more, and all are answered', async () => {
    const open = new Set<ServerResponse>();
    let most = 0;
    server.on('block/stat', ({ response }) => {
      open.add(response);
      if (open.size < 2) return;
      // A third one would be here by then.
      setImmediate(() => {
        most = Math.max(most, open.size);
        for (const one of open) one.end('{"Key":"x","Size":6}');
        open.clear();
      });
    });
    await using narrow = engineAt(server.api, { requestsMax: 4 });
    const asked = Array.from({ length: 100 }, () => narrow.content.blockStat(LEAF.cid, calling()));
    expect(await Promise.all(asked)).toHaveLength(100);
    expect(most).toBe(2); // Half are kept for what streams.
    expect(await server.connections()).toBeLessThanOrEqual(4);
  });

  test('that wait for their turn end with their signals, and take no turn', async () => {
    const held: (() => void)[] = [];
    server.on('id', ({ response }) => void held.push(() => void response.end('{"ID":"x"}')));
    await using narrow = engineAt(server.api, { requestsMax: 2 });
    await narrow.stats.version(calling());
    const first = narrow.stats.id(undefined, calling());
    await server.called('id');
    const controller = new AbortController();
    const second = narrow.stats.id(undefined, { signal: controller.signal });
    const rejected = expect(second).rejects.toEqual(failing('cancelled'));
    const third = narrow.stats.id(undefined, calling());
    controller.abort();
    await rejected;
    expect(server.count('id')).toBe(1);
    held[0]?.();
    await first;
    await server.called('id', 2);
    held[1]?.();
    expect(await third).toMatchObject(isIdentified);
  });

  test('are refused when too many wait already', async () => {
    server.on('id', never);
    const controller = new AbortController();
    const { signal } = controller;
    const asked = Array.from({ length: 4096 + 4 }, () => identify({ signal }));
    const ended = Promise.allSettled(asked);
    await server.called('version', 4);
    await expect(identify({ signal })).rejects.toEqual(failing('rate-limited'));
    controller.abort();
    await ended;
  });

  test('are answered while every stream there may be is held open', async () => {
    identified();
    server.on('refs/local', ({ response }) => {
      response.write(`{"Ref":"${LEAF.cid}","Err":""}\n`);
    });
    await using narrow = engineAt(server.api, { requestsMax: 2 });
    const controller = new AbortController();
    const streams = narrow.content.refsLocal({ signal: controller.signal });
    const reader = streams[Symbol.asyncIterator]();
    await reader.next();
    expect(await narrow.stats.id(undefined, calling())).toMatchObject(isIdentified);
    await reader.return?.();
  });
});

test('calls that are ended at any moment leave every turn and every connection to others', async () => {
  const line = `{"Ref":"${LEAF.cid}","Err":""}\n`;
  server.on('refs/local', ({ response }) => {
    let left = 20;
    const more = () => {
      if (left-- > 0) setImmediate(() => void (response.destroyed || response.write(line, more)));
      else response.end();
    };
    more();
  });
  identified();
  await using narrow = engineAt(server.api, { requestsMax: 4 });
  const { length } = await all(narrow.content.refsLocal(calling()));
  expect(length).toBe(20);
  const outcomes = new Set<string>();
  const ended = async (turnsLeft: number) => {
    const controller = new AbortController();
    const refs = all(narrow.content.refsLocal({ signal: controller.signal }));
    const told = refs.then(
      (list) => `${list.length}`,
      (error: unknown) => (error instanceof OpError ? error.failure : String(error)),
    );
    for (let turn = 0; turn < turnsLeft; turn++) await settle();
    controller.abort();
    outcomes.add(await told);
  };
  for (let turns = 0; turns < 150; turns += 3) {
    await Promise.all([ended(turns), ended(turns + 1), ended(turns + 2)]);
  }
  expect([...outcomes].sort()).toEqual(['20', 'cancelled']);
  const streams = Array.from({ length: 4 }, () => all(narrow.content.refsLocal(calling())));
  expect((await Promise.all(streams)).map((list) => list.length)).toEqual([20, 20, 20, 20]);
  await expect.poll(() => server.connections()).toBeLessThanOrEqual(4);
});

describe('a call that failed', () => {
  const failingAt = (times: number) => {
    const cut = cutting('{"ID"');
    server.on('id', (call) => {
      if (call.count > times) call.response.end('{"ID":"x"}');
      else void cut(call);
    });
  };

  test('is made again, up to three times, when that is as once', async () => {
    failingAt(3);
    expect(await identify()).toMatchObject(isIdentified);
    expect(server.count('id')).toBe(4);
  });

  test('is not made a fifth time', async () => {
    failingAt(4);
    await expect(identify()).rejects.toEqual(failing('response-invalid'));
    expect(server.count('id')).toBe(4);
  });

  test('waits longer each time, and not beyond its deadline', async () => {
    failingAt(4);
    const clock = new TurnedClock();
    await using turned = engineAt(server.api, { clock });
    const asked = turned.stats.id(undefined, { ...calling(), deadlineMs: 400 });
    const rejected = expect(asked).rejects.toEqual(failing('timeout'));
    const pauses: number[] = [];
    for (let count = 1; count <= 2; count++) {
      await server.called('id', count);
      const began = clock.monotonicMs();
      await expect.poll(() => clock.sleeping).toBe(2); // Its deadline, and its pause.
      while (clock.sleeping === 2) await clock.turn(1);
      pauses.push(clock.monotonicMs() - began);
    }
    expect(pauses[0]).toBeGreaterThanOrEqual(75);
    expect(pauses[0]).toBeLessThanOrEqual(125);
    expect(pauses[1]).toBeGreaterThanOrEqual(150);
    expect(pauses[1]).toBeLessThanOrEqual(250);
    await server.called('id', 3);
    await clock.turn(400);
    await rejected;
    expect(server.count('id')).toBe(3);
  });

  test('is not made again when it may have been done and twice is not as once', async () => {
    server.on('key/gen', cutting('{"Name"'));
    const made = node.names.generateKey('k', calling());
    await expect(made).rejects.toEqual(failing('response-invalid'));
    expect(server.count('key/gen')).toBe(1);
  });

  test('is not made again for what the node says clearly', async () => {
    server.on('id', refusing(500, 'something else'));
    await expect(identify()).rejects.toEqual(failing('api-error'));
    expect(server.count('id')).toBe(1);
  });
});

describe('a node', () => {
  test.each(['0.39.0', '0.9.12', '0.39.9-dev', 'nonsense', ''])(
    'of version %j is refused everything but its version',
    async (version) => {
      server.on(
        'version',
        ({ response }) => void response.end(JSON.stringify({ Version: version })),
      );
      identified();
      await expect(identify()).rejects.toMatchObject({
        failure: 'version-unsupported',
        details: { partial: { version, min_version: '0.40.0' } },
      });
      expect(server.count('id')).toBe(0);
      expect(await node.stats.version(calling())).toMatchObject({ version, compatible: false });
    },
  );

  test.each(['0.40.0', '0.43.1', '0.44.0-dev/abc', '1.0.0'])(
    'of version %s is asked for it once',
    async (version) => {
      server.on(
        'version',
        ({ response }) => void response.end(JSON.stringify({ Version: version })),
      );
      identified();
      for (let at = 0; at < 3; at++) expect(await identify()).toMatchObject(isIdentified);
      expect(server.count('version')).toBe(1);
    },
  );

  test('that moved is found where its repository says, and asked for its version again', async () => {
    const repository = mkdtempSync(join(tmpdir(), 'kitfs-api-'));
    try {
      const say = (port: number) =>
        writeFileSync(join(repository, 'api'), `/ip4/127.0.0.1/tcp/${port}`);
      await using found = engineAt(repository);
      const { stats } = found;
      await expect(stats.id(undefined, calling())).rejects.toEqual(failing('not-running'));
      say(server.port);
      identified();
      expect(await stats.id(undefined, calling())).toMatchObject(isIdentified);
      await using other = await Server.start();
      other.on('id', ({ response }) => void response.end('{"ID":"other"}'));
      say(other.port);
      await server[Symbol.asyncDispose]();
      expect(await stats.id(undefined, calling())).toMatchObject({ peerId: 'other' });
      expect(other.count('version')).toBe(1);
    } finally {
      rmSync(repository, { recursive: true });
    }
  });

  test('is shown a secret that was changed, once', async () => {
    let value = 'bearer:old';
    let wanted = 'Bearer new';
    await using authorized = engineAt(server.api, { secret: () => secretOf(value) });
    server.on('version', ({ request, response }) => {
      if (request.headers.authorization === wanted) response.end('{"Version":"0.43.1"}');
      else response.writeHead(403).end('Access Denied');
    });
    identified();
    await expect(authorized.stats.id(undefined, calling())).rejects.toEqual(
      failing('credentials-invalid'),
    );
    value = 'bearer:new';
    expect(await authorized.stats.id(undefined, calling())).toMatchObject(isIdentified);
    wanted = 'Bearer newest';
    expect(server.calls.some(({ request }) => request.headers.authorization === 'Bearer old')).toBe(
      true,
    );
  });
});

test('a stream that is cut in the middle throws after what came', async () => {
  const line = `{"Ref":"${LEAF.cid}","Err":""}\n`;
  server.on('refs/local', cutting(line.repeat(3)));
  const heard: unknown[] = [];
  const read = async () => {
    for await (const ref of node.content.refsLocal(calling())) heard.push(ref);
  };
  await expect(read()).rejects.toEqual(failing('response-invalid'));
  expect(heard).toHaveLength(3);
});

describe('a subscription', () => {
  const message = JSON.stringify({ from: 'p', data: 'uYQ', seqno: 'uAA', topicIDs: ['udA'] });

  test('outlives its deadline, and ends when it is disposed of', async () => {
    server.on('pubsub/sub', ({ response }) => void response.write(`${message}\n`));
    const clock = new TurnedClock();
    await using turned = engineAt(server.api, { clock });
    const subscription = await turned.pubsub?.subscribe('t', { ...calling(), deadlineMs: 1000 });
    await clock.turn(10_000);
    const reader = subscription?.[Symbol.asyncIterator]();
    const first = await reader?.next();
    expect(first?.value).toEqual({
      from: 'p',
      data: Buffer.from('a'),
      sequence: '00',
      topics: ['t'],
    });
    const next = reader?.next();
    await subscription?.[Symbol.asyncDispose]();
    expect((await next)?.done).toBe(true);
    const { query, response } = await server.called('pubsub/sub');
    expect([query.get('arg'), query.get('timeout')]).toEqual(['udA', null]);
    if (!response.closed) await once(response, 'close');
  });

  test('ends with its signal, and lets go of its connection', async () => {
    server.on('pubsub/sub', ({ response }) => void response.write(`${message}\n`));
    const controller = new AbortController();
    const subscription = await node.pubsub?.subscribe('t', { signal: controller.signal });
    if (subscription === undefined) throw new Error('Kubo has topics');
    const heard = all(subscription);
    const rejected = expect(heard).rejects.toEqual(failing('cancelled'));
    const { response } = await server.called('pubsub/sub');
    controller.abort();
    await rejected;
    if (!response.closed) await once(response, 'close');
  });

  test.each([
    ['ended it', (response: ServerResponse) => response.end()],
    ['is gone', (response: ServerResponse) => response.socket?.end()],
  ])('says when the node %s', async (_, end) => {
    server.on('pubsub/sub', ({ response }) => {
      response.write(`${message}\n`, () => void end(response));
    });
    const subscription = await node.pubsub?.subscribe('t', calling());
    if (subscription === undefined) throw new Error('Kubo has topics');
    await expect(all(subscription)).rejects.toEqual(failing('not-running'));
  });
});
