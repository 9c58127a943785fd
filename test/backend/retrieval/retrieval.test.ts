import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { encode as encodeCbor } from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import { create as digestOf } from 'multiformats/hashes/digest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Block,
  type BlocksOptions,
  blocksOfCar,
  openSource,
  parseProvider,
  type SourceOptions,
  type Wanted,
} from '../../../src/backend/backend.ts';
import { SystemClock } from '../../../src/base/clock.ts';
import { OpError } from '../../../src/base/errors.ts';
import { SystemRandom } from '../../../src/base/random.ts';
import { TurnedClock } from '../../fakes/clock.ts';
import { all, calling, carOf, directoryOf, rawBlock, secretOf, streamOf } from '../engine.ts';
import { RestServer, refusing } from '../rest-server.ts';
import { SELF_SIGNED } from './self-signed.ts';

const FILE = rawBlock('a file');
const OTHER = rawBlock('another file');
const ROOT = directoryOf({ file: FILE, other: OTHER });
const BLOCKS = [ROOT, FILE, OTHER];
const CAR = Buffer.from(carOf(ROOT.cid, BLOCKS));
/** As Kubo's gateway ends what it cannot go on with. */
const GATEWAY_ERROR = '\n[Gateway Error: CAR stream truncated, response is incomplete]';

const failing = (failure: string) => expect.objectContaining({ failure });
const cids = (blocks: readonly Block[]) => blocks.map(({ cid }) => String(cid));
const varint = (value: number): Buffer =>
  value < 0x80
    ? Buffer.from([value])
    : Buffer.concat([Buffer.from([(value % 0x80) + 0x80]), varint(Math.floor(value / 0x80))]);
const section = (...parts: readonly Uint8Array[]) => {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([varint(bytes.length), bytes]);
};
const headerOf = (value: unknown) => section(encodeCbor(value));
const HEADER = headerOf({ version: 1, roots: [ROOT.cid] });
const of = ({ cid, bytes }: Block) => section(cid.bytes, bytes);
const read = (...pieces: readonly Uint8Array[]) => all(blocksOfCar(streamOf(...pieces), 'read'));

describe('a CAR', () => {
  test('comes block by block, in pieces of any size', async () => {
    expect(await read(CAR)).toMatchObject(BLOCKS.map(({ cid }) => ({ cid })));
    for (const size of [1, 2, 7, 64]) {
      const pieces = Array.from({ length: Math.ceil(CAR.length / size) }, (_, at) =>
        CAR.subarray(at * size, (at + 1) * size),
      );
      const blocks = await read(...pieces);
      expect(blocks.map(({ bytes }) => Buffer.from(bytes))).toEqual(
        BLOCKS.map(({ bytes }) => Buffer.from(bytes)),
      );
    }
  });

  test('gives blocks that hold no more memory than they have bytes', async () => {
    for (const { bytes } of await read(CAR)) expect(bytes.buffer.byteLength).toBeLessThan(256);
    expect(CAR.length).toBeGreaterThan(256);
  });

  test('that is cut anywhere but between two blocks is an error', async () => {
    const ends = BLOCKS.map((_, at) =>
      Buffer.concat([HEADER, ...BLOCKS.slice(0, at + 1).map(of)]),
    ).map(({ length }) => length);
    for (let length = 0; length < CAR.length; length++) {
      const cut = read(CAR.subarray(0, length));
      if (length === HEADER.length || ends.includes(length)) await cut;
      else await expect(cut).rejects.toEqual(failing('response-invalid'));
    }
    expect(ends.at(-1)).toBe(CAR.length);
  });

  test('with one byte that is another one never gives a block that is not its CID', async () => {
    const valid = new Map(BLOCKS.map(({ cid, bytes }) => [String(cid), Buffer.from(bytes)]));
    for (let at = 0; at < CAR.length; at++) {
      const bent = Buffer.from(CAR);
      bent[at] = ~(bent[at] ?? 0) & 0xff;
      const given: Block[] = [];
      try {
        for await (const block of blocksOfCar(streamOf(bent), 'read')) given.push(block);
      } catch (error) {
        expect(error).toBeInstanceOf(OpError);
      }
      for (const { cid, bytes } of given) {
        // Another codec before the same hash is another name of the same bytes.
        const digest = Buffer.from(cid.multihash.bytes);
        const known = BLOCKS.find((one) => digest.equals(one.cid.multihash.bytes));
        expect(valid.get(String(known?.cid))).toEqual(Buffer.from(bytes));
      }
    }
  });

  test.each<[string, Uint8Array[], string]>([
    ['nothing', [], 'response-invalid'],
    ['a header that is no CBOR', [section(Buffer.from([0xff, 0xff]))], 'response-invalid'],
    ['a header that is no map', [headerOf([1])], 'response-invalid'],
    ['a header that is nothing', [headerOf(null)], 'response-invalid'],
    ['version 2', [headerOf({ version: 2 })], 'response-invalid'],
    ['a block without bytes or CID', [HEADER, varint(0)], 'response-invalid'],
    ['a length without an end', [HEADER, Buffer.alloc(8, 0xff)], 'response-invalid'],
    ['a block without a CID', [HEADER, section(Buffer.alloc(40, 9))], 'response-invalid'],
    ['what a gateway says', [HEADER, of(ROOT), Buffer.from(GATEWAY_ERROR)], 'response-invalid'],
    ['other bytes than the CID says', [HEADER, section(FILE.cid.bytes, OTHER.bytes)], 'integrity'],
    [
      'a hash that nobody here knows',
      [HEADER, section(CID.createV1(0x55, digestOf(0x1e, Buffer.alloc(32))).bytes, FILE.bytes)],
      'unsupported',
    ],
  ])('of %s is an error', async (_, pieces, failure) => {
    await expect(read(...pieces)).rejects.toEqual(failing(failure));
  });

  test.each([
    ['header', [varint(16 * 1024 + 1)]],
    ['block', [HEADER, varint(2 ** 21 + 2 ** 10 + 1)]],
  ])('whose %s is too long is not read', async (_, beginning) => {
    let given = 0;
    async function* endless() {
      yield* beginning;
      for (; given < 1000; given++) yield Buffer.alloc(1024);
    }
    const read = all(blocksOfCar(endless(), 'read'));
    await expect(read).rejects.toEqual(failing('response-invalid'));
    expect(given).toBe(0);
  });

  test('says when it was the gateway that gave up', async () => {
    const cut = read(HEADER, of(ROOT), Buffer.from(GATEWAY_ERROR));
    await expect(cut).rejects.toMatchObject({
      cause: { message: expect.stringContaining('could not go on') },
    });
  });
});

describe('a source', () => {
  let server: RestServer;
  const carType = { 'content-type': 'application/vnd.ipld.car; version=1; order=dfs; dups=n' };
  const sending =
    (body: Uint8Array) =>
    ({ response }: { response: ServerResponse }) =>
      void response.writeHead(200, carType).end(body);
  const ALL: Wanted = { root: ROOT.cid, names: [], scope: 'all' };

  const sourceAt = (more: Partial<SourceOptions> = {}) =>
    openSource({
      kind: 'lassie',
      requestsMax: 4,
      clock: new SystemClock(),
      random: new SystemRandom(),
      ...more,
      url: more.url ?? server.api,
    });
  const fetched = async (
    options: Partial<BlocksOptions> & { wanted?: Wanted } = {},
    more: Partial<SourceOptions> = {},
  ) => {
    await using source = sourceAt(more);
    const { wanted = ALL, ...rest } = options;
    return await all(source.blocks(wanted, { ...calling(), ...rest }));
  };

  beforeEach(async () => {
    server = await RestServer.start();
  });

  afterEach(async () => {
    await server[Symbol.asyncDispose]();
  });

  test('is asked for a CAR in the order of the walk, without doubles', async () => {
    server.on('GET *', sending(CAR));
    expect(cids(await fetched())).toEqual(cids(BLOCKS));
    const { query, request } = server.last(`GET /ipfs/${ROOT.cid}`);
    expect(Object.fromEntries(query)).toEqual({ format: 'car', 'dag-scope': 'all' });
    expect(request.headers.accept).toBe('application/vnd.ipld.car;version=1;order=dfs;dups=n');
  });

  test('is asked for a part of an entity, and Lassie for whom to ask', async () => {
    server.on('GET *', sending(CAR));
    const bytes = { from: -100 };
    const wanted: Wanted = { root: ROOT.cid, names: ['100% ü', 'b'], scope: 'entity', bytes };
    const providers = ['http://127.0.0.1:1', '/ip4/127.0.0.1/tcp/2/http'];
    await fetched({ wanted, providers, protocols: ['http'], blocksMax: 9 });
    const asked = server.last(`GET /ipfs/${ROOT.cid}/100%25 ü/b`);
    expect(Object.fromEntries(asked.query)).toEqual({
      format: 'car',
      'dag-scope': 'entity',
      'entity-bytes': '-100:*',
      providers: providers.join(','),
      protocols: 'http',
      blockLimit: '9',
    });
    await fetched({ wanted, providers, blocksMax: 9 }, { kind: 'gateway' });
    const plain = server.last(`GET /ipfs/${ROOT.cid}/100% ü/b`);
    expect([...plain.query.keys()]).toEqual(['format', 'dag-scope', 'entity-bytes']);
  });

  test.each<Partial<Wanted>>([
    { scope: 'all', bytes: { from: 0 } },
    { scope: 'entity', bytes: { from: 0.5 } },
    { scope: 'entity', bytes: { from: 2, to: 1 } },
    { scope: 'entity', bytes: { from: -2, to: -1 } },
  ])('is never asked for what is no range: %j', async (part) => {
    const asked = fetched({ wanted: { ...ALL, ...part } });
    await expect(asked).rejects.toThrow('a range is one of an entity');
    expect(server.calls).toEqual([]);
  });

  test('shows its token', async () => {
    server.on('GET *', sending(CAR));
    await fetched({}, { secret: () => secretOf('bearer:token') });
    expect(server.last(`GET /ipfs/${ROOT.cid}`).request.headers.authorization).toBe('Bearer token');
  });

  test('with a token that is none sends nothing, and does not show it', async () => {
    const asked = fetched({}, { secret: () => secretOf('hidden\n') });
    await expect(asked).rejects.toEqual(failing('configuration'));
    await expect(asked).rejects.not.toThrow('hidden');
    expect(server.calls).toEqual([]);
  });

  test.each([
    [400, 'failed to parse root CID', 'invalid-cid'],
    [400, 'invalid providers parameter', 'api-error'],
    [400, 'unrecognized protocol: nope', 'api-error'],
    [401, 'Unauthorized.', 'credentials-invalid'],
    [403, 'no', 'credentials-invalid'],
    [404, 'not found', 'content-missing'],
    [405, 'method not allowed', 'version-unsupported'],
    [410, 'gone', 'content-missing'],
    [429, 'slow down', 'rate-limited'],
    [500, 'block was not found locally (offline)', 'content-missing'],
    [500, 'something broke', 'api-error'],
    [502, 'no candidates found', 'content-missing'],
    [503, 'busy', 'rate-limited'],
    [504, 'failed to fetch CID: all retrievals failed', 'content-missing'],
    [301, 'moved', 'api-error'],
    [206, 'a part', 'api-error'],
  ])('that refuses means one thing: %i %s', async (status, words, failure) => {
    server.on('GET *', refusing(status, words));
    const asked = fetched();
    await expect(asked).rejects.toEqual(failing(failure));
    await expect(asked).rejects.toMatchObject({ cause: { message: `${status} ${words}` } });
  });

  test('that refuses the form and sends it all the same is not listened to', async () => {
    server.on('GET *', ({ response }) => {
      response.writeHead(406);
      response.write('invalid Accept header or format parameter; unsupported "x"\n');
      const more = () => void (response.destroyed || response.write(Buffer.alloc(65_536), more));
      more();
    });
    const asked = fetched();
    await expect(asked).rejects.toEqual(failing('version-unsupported'));
    const message = expect.stringContaining('invalid Accept header');
    await expect(asked).rejects.toMatchObject({ cause: { message } });
    const { response } = server.last(`GET /ipfs/${ROOT.cid}`);
    if (!response.destroyed) await once(response, 'close');
  });

  test('that refuses and breaks off has refused', async () => {
    server.on('GET *', ({ response }) => {
      response.writeHead(504, { 'content-length': '100' });
      response.write('failed to fetch', () => response.destroy());
    });
    await expect(fetched()).rejects.toEqual(failing('content-missing'));
  });

  test.each(['text/html', 'application/vnd.ipld.raw', 'application/vnd.ipld.carnival', undefined])(
    'that sends something else has sent nothing: %s',
    async (type) => {
      server.on('GET *', ({ response }) => {
        response.writeHead(200, type === undefined ? {} : { 'content-type': type }).end(CAR);
      });
      await expect(fetched()).rejects.toEqual(failing('response-invalid'));
    },
  );

  test.each([1, 40, 80, CAR.length - 1])(
    'whose socket breaks at byte %i is an error',
    async (at) => {
      server.on('GET *', ({ response }) => {
        response.writeHead(200, carType);
        response.write(CAR.subarray(0, at), () => response.destroy());
      });
      await expect(fetched()).rejects.toEqual(failing('response-invalid'));
    },
  );

  test('whose socket breaks behind the last block is an error too', async () => {
    server.on('GET *', ({ response }) => {
      response.writeHead(200, carType);
      response.write(CAR, () => response.destroy());
    });
    await expect(fetched()).rejects.toEqual(failing('response-invalid'));
  });

  test('that sends more blocks than may be is not read any further', async () => {
    server.on('GET *', sending(CAR));
    await expect(fetched({ blocksMax: 2 })).rejects.toEqual(failing('response-invalid'));
    expect(await fetched({ blocksMax: 3 })).toHaveLength(3);
  });

  test('whose blocks nobody wants any more need not send them', async () => {
    server.on('GET *', ({ response }) => {
      response.writeHead(200, carType).write(CAR);
      const { cid } = rawBlock('more');
      const block = section(cid.bytes, rawBlock('more').bytes);
      const more = () => void (response.destroyed || response.write(block, more));
      more();
    });
    await using source = sourceAt();
    for await (const { cid } of source.blocks(ALL, calling())) {
      expect(cid).toEqual(ROOT.cid);
      break;
    }
    const { response } = server.last(`GET /ipfs/${ROOT.cid}`);
    if (!response.destroyed) await once(response, 'close');
  });

  test('that says nothing ends with its signal, and with its deadline', async () => {
    let asked = () => {};
    server.on('GET *', () => asked());
    const controller = new AbortController();
    asked = () => controller.abort(new OpError('interrupted', 'read'));
    const told = fetched({ signal: controller.signal });
    await expect(told).rejects.toEqual(failing('interrupted'));
    const clock = new TurnedClock();
    const called = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const late = fetched({ deadlineMs: 5000 }, { clock });
    const rejected = expect(late).rejects.toEqual(failing('timeout'));
    await called;
    await clock.turn(5000);
    await rejected;
  });

  test('that is not there says so, and which it is', async () => {
    const url = server.api;
    await server[Symbol.asyncDispose]();
    await expect(fetched({}, { url })).rejects.toMatchObject({
      failure: 'not-running',
      details: { service: 'lassie' },
    });
  });

  test.each(['ftp://x', 'http://x/path', 'http://u@x', 'x', ''])('is no such place: %j', (url) =>
    expect(() => sourceAt({ url })).toThrow('http://HOST:PORT'),
  );

  test('over TLS is who its certificate says, or is not asked', async () => {
    const taken: string[] = [];
    const tls = createServer(SELF_SIGNED, ({ url = '' }, response) => {
      taken.push(url);
      response.end();
    });
    tls.listen({ host: '127.0.0.1', port: 0 });
    await once(tls, 'listening');
    const { port } = tls.address() as { readonly port: number };
    await expect(fetched({}, { url: `https://127.0.0.1:${port}` })).rejects.toMatchObject({
      failure: 'not-running',
      cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    });
    expect(taken).toEqual([]);
    tls.close();
  });
});

describe('a provider', () => {
  const PEER = '12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5';

  test.each([
    ['http://127.0.0.1:8080', '127.0.0.1', 'http://127.0.0.1:8080'],
    ['https://Example.org/', 'example.org', 'https://example.org'],
    ['http://[::1]:8080', '::1', 'http://[::1]:8080'],
    ['/ip4/127.0.0.1/tcp/8080/http', '127.0.0.1', 'http://127.0.0.1:8080'],
    ['/ip6/::1/tcp/8080/http', '::1', 'http://[::1]:8080'],
    ['/dns4/example.org/tcp/443/https', 'example.org', 'https://example.org'],
    ['/dns/example.org/tcp/443/tls/http', 'example.org', 'https://example.org'],
    [`/ip4/1.2.3.4/tcp/80/http/p2p/${PEER}`, '1.2.3.4', 'http://1.2.3.4'],
    [`/ip4/1.2.3.4/tcp/24001/p2p/${PEER}`, '1.2.3.4', undefined],
  ])('is a URL or a multiaddr: %s', (text, host, url) => {
    expect(parseProvider(text)).toMatchObject({ host, url });
  });

  test('that is called localhost is asked by its address', () => {
    const { text, url } = parseProvider('http://localhost:8080') ?? {};
    expect([text, url]).toEqual(['http://127.0.0.1:8080', 'http://127.0.0.1:8080']);
  });

  test.each([
    'f01234',
    'http://a,http://b',
    'http://x/ipfs',
    'http://u:p@x',
    'ftp://x',
    'x',
    '',
    '/ip4/1.2.3.4/tcp/80',
    '/ip4/1.2.3.4/tcp/99999/http',
    '/ip4/1.2.3.4/tcp/80/http,f01234',
    '/ip4/1.2.3.4/udp/80/quic',
    `/p2p/${PEER}`,
  ])('is nothing else: %j', (text) => {
    expect(parseProvider(text)).toBeUndefined();
  });
});
