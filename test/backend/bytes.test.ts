/** Bytes on their way to a node and back, against a server that misbehaves. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { IpfsNode } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import { NODE_TRANSFER_MS } from '../../src/base/limits.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { blockOf, calling, engineAt, rawBlock, streamOf, text } from './engine.ts';
import { cutting, Server } from './server.ts';

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
const never = () => {};
const LEAF = rawBlock('a leaf');
const options = () => ({ ...calling(), pinRoots: true });

describe('a body', () => {
  const PIECE = new Uint8Array(64 * 1024);

  test('is made no faster than the node takes it', async () => {
    server.on('dag/import', ({ request }) => void request.pause());
    let made = 0;
    const car = async function* () {
      for (; made < 4096; made++) yield PIECE;
    };
    const controller = new AbortController();
    const imported = node.content.importCar(car(), {
      signal: controller.signal,
      pinRoots: false,
    });
    const rejected = expect(imported).rejects.toEqual(failing('cancelled'));
    await server.called('dag/import');
    // All that the sockets hold is taken by then; 256 MiB would be had for the asking.
    for (let turns = 0; turns < 1000; turns++) await settle();
    expect(made * PIECE.length).toBeLessThan(64 * 1024 * 1024);
    controller.abort();
    await rejected;
    const before = made;
    for (let turns = 0; turns < 100; turns++) await settle();
    expect(made - before).toBeLessThanOrEqual(1);
  });

  test('that is refused is made no further, and its source is told', async () => {
    server.on('dag/import', ({ response }) => {
      response.writeHead(500).end('{"Message":"import failed","Code":0,"Type":"error"}');
    });
    let isReturned = false;
    const car = async function* () {
      try {
        for (;;) yield PIECE;
      } finally {
        isReturned = true;
      }
    };
    await expect(node.content.importCar(car(), options())).rejects.toEqual(failing('api-error'));
    await expect.poll(() => isReturned).toBe(true);
    server.on('id', ({ response }) => void response.end('{"ID":"x"}'));
    expect(await node.stats.id(undefined, calling())).toMatchObject({ peerId: 'x' });
  });

  test('goes on while the node already answers', async () => {
    let come = 0;
    server.on('add', async ({ request, response }) => {
      response.write('{"Name":"f","Bytes":1}\n');
      for await (const chunk of request) come += (chunk as Buffer).length;
      response.end(`{"Name":"f","Hash":"${LEAF.cid}","Size":"${LEAF.bytes.length}"}\n`);
    });
    const pieces: number[] = [];
    const content = streamOf(...Array.from({ length: 64 }, () => PIECE));
    const added = await node.content.add(streamOf({ path: 'f', type: 'file', content }), {
      ...calling(),
      profile: 'unixfs-v1-2025',
      onProgress: (bytes) => pieces.push(bytes),
    });
    expect(added.cid).toEqual(LEAF.cid);
    expect(pieces).toEqual([1]);
    expect(come).toBeGreaterThan(64 * PIECE.length);
  });

  test('whose source fails after the node began to answer fails with the source’s own error', async () => {
    let begun = never;
    const hasBegun = new Promise<void>((resolve) => {
      begun = resolve;
    });
    server.on('add', ({ request, response }) => {
      request.resume();
      request.on('error', never);
      response.write('{"Name":"f","Bytes":1}\n');
    });
    const content = async function* () {
      yield PIECE;
      await hasBegun;
      throw new OpError('content-missing', 'read /ipfs/x');
    };
    const entry = { path: 'f', type: 'file', content: content() } as const;
    const added = node.content.add(streamOf(entry), {
      ...calling(),
      profile: 'unixfs-v1-2025',
      onProgress: () => begun(),
    });
    await expect(added).rejects.toMatchObject({ failure: 'content-missing', op: 'read /ipfs/x' });
  });

  test('whose source never goes on holds nothing beyond the end of its call', async () => {
    server.on('dag/import', ({ request, response, count }) => {
      request.resume();
      if (count > 3) response.writeHead(500).end('import failed');
    });
    const stuck = async function* () {
      yield PIECE;
      await new Promise(never);
    };
    await using narrow = engineAt(server.api, { requestsMax: 2 });
    const importing = (deadlineMs: number) =>
      narrow.content.importCar(stuck(), { ...options(), deadlineMs });
    // There is one turn for all of them.
    for (let times = 0; times < 3; times++) {
      await expect(importing(100)).rejects.toEqual(failing('timeout'));
    }
    await expect(importing(10_000)).rejects.toEqual(failing('api-error'));
    await expect(importing(10_000)).rejects.toEqual(failing('api-error'));
  });

  test('may be on its way as long as there is more of it, and ends when nothing moves', async () => {
    server.on('dag/import', ({ request }) => void request.resume());
    const clock = new TurnedClock();
    await using turned = engineAt(server.api, { clock });
    let stall = never;
    const stalled = new Promise<void>((resolve) => {
      stall = resolve;
    });
    const car = async function* () {
      for (let pieces = 0; pieces < 4; pieces++) {
        yield PIECE;
        await clock.turn(NODE_TRANSFER_MS - 1);
      }
      stall();
      await new Promise(never);
    };
    const rejected = expect(turned.content.importCar(car(), options())).rejects.toEqual(
      failing('timeout'),
    );
    const { query, response } = await server.called('dag/import');
    expect(query.get('timeout')).toBeNull();
    await stalled;
    expect(response.closed).toBe(false);
    await clock.turn(1);
    await rejected;
    expect(clock.sleeping).toBe(0);
  });

  test('is sent once, whatever the node does', async () => {
    server.on('dag/import', ({ request, response }) => {
      request.resume();
      request.on('end', () => response.destroy());
    });
    const imported = node.content.importCar(streamOf(PIECE), options());
    await expect(imported).rejects.toEqual(failing('not-running'));
    expect(server.count('dag/import')).toBe(1);
  });
});

describe('an answer of many lines', () => {
  test('may come as long as there is more of it, and ends when nothing moves', async () => {
    const line = `{"Ref":"${LEAF.cid}","Err":""}\n`;
    server.on('refs/local', ({ response }) => void response.write(line));
    const clock = new TurnedClock();
    await using turned = engineAt(server.api, { clock });
    const lines = turned.content.refsLocal(calling())[Symbol.asyncIterator]();
    for (let come = 1; come < 4; come++) {
      expect((await lines.next()).value).toEqual({ cid: LEAF.cid });
      await clock.turn(NODE_TRANSFER_MS - 1);
      (await server.called('refs/local')).response.write(line);
    }
    expect((await lines.next()).value).toEqual({ cid: LEAF.cid });
    const rejected = expect(lines.next()).rejects.toEqual(failing('timeout'));
    await clock.turn(NODE_TRANSFER_MS);
    await rejected;
    expect(clock.sleeping).toBe(0);
  });

  test('ends with the deadline that its caller set, however much comes', async () => {
    server.on('refs/local', ({ response }) => void response.write(`{"Ref":"${LEAF.cid}"}\n`));
    const clock = new TurnedClock();
    await using turned = engineAt(server.api, { clock });
    const lines = turned.content.refsLocal({ ...calling(), deadlineMs: 1000 });
    const listed = lines[Symbol.asyncIterator]();
    await clock.turn(600);
    await listed.next();
    const rejected = expect(listed.next()).rejects.toEqual(failing('timeout'));
    await clock.turn(1000);
    await rejected;
    expect((await server.called('refs/local')).query.get('timeout')).toBe('1000ms');
  });
});

describe('a block', () => {
  const serving = (bytes: Uint8Array) =>
    server.on('block/get', ({ response }) => void response.end(bytes));

  test('that is not what was asked for is never given', async () => {
    serving(text('a leaf, but another'));
    const got = node.content.blockGet(LEAF.cid, calling());
    await expect(got).rejects.toEqual(failing('integrity'));
  });

  test('that is cut off is never given, however it ends', async () => {
    serving(LEAF.bytes.subarray(0, -1));
    await expect(node.content.blockGet(LEAF.cid, calling())).rejects.toEqual(failing('integrity'));
    server.on('block/get', cutting('a l'));
    const got = node.content.blockGet(LEAF.cid, calling());
    await expect(got).rejects.toEqual(failing('response-invalid'));
  });

  test('larger than any block is not read to its end', async () => {
    serving(new Uint8Array(3 * 1024 * 1024));
    const got = node.content.blockGet(LEAF.cid, calling());
    await expect(got).rejects.toEqual(failing('response-invalid'));
  });

  test('that is not the one of its CID is not sent', async () => {
    const put = node.content.blockPut(LEAF.cid, text('another'), calling());
    await expect(put).rejects.toEqual(failing('integrity'));
    const { cid, bytes } = blockOf(new Uint8Array(2 * 1024 * 1024 + 1));
    const large = node.content.blockPut(cid, bytes, calling());
    await expect(large).rejects.toEqual(failing('payload-too-large'));
    expect(server.calls).toEqual([]);
  });

  test('that the node knows by another CID was not stored', async () => {
    server.on('block/put', ({ request, response }) => {
      request.resume();
      response.end(`{"Key":"${rawBlock('another').cid}","Size":6}`);
    });
    const put = node.content.blockPut(LEAF.cid, LEAF.bytes, calling());
    await expect(put).rejects.toEqual(failing('integrity'));
  });
});
