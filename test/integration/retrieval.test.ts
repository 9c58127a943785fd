/** Lassie and a trustless gateway as they are, both before a Kubo that fetches nothing itself. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type BlocksOptions,
  openSource,
  parseProvider,
  type SourceKind,
  type SourceOptions,
  type TrustlessSource,
  type Wanted,
} from '../../src/backend/backend.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { CID, type Keep, type StoredBlock } from '../../src/content/content.ts';
import { retrieve } from '../../src/node/node.ts';
import { calling, rawBlock, secretOf } from '../backend/engine.ts';
import { FaultyProxy } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';
import { Lassie } from '../services/lassie.ts';
import { freePort, listeningAt } from '../services/process.ts';

const MIB = 1024 * 1024;
/** Not a multiple of a leaf. */
const FILE_BYTES = 3 * MIB + 123;
const NAME = '100% ü #1?';
const START_MS_MAX = 60_000;
const failing = (failure: string) => expect.objectContaining({ failure });

let kubo: KuboNode;
let lassie: Lassie;
let root: CID;
let file: CID;
let leaf: CID;
let kept: Map<string, StoredBlock>;
const keep: Keep = {
  put: (block) => void kept.set(String(block.cid), block),
  get: (cid) => kept.get(String(cid))?.bytes,
};

beforeAll(async () => {
  kubo = await KuboNode.start({ offline: true, settings: { 'Gateway.NoFetch': true } });
  lassie = await Lassie.start({ globalTimeoutS: 5 });
  const { rpc } = kubo;
  type Added = { readonly Hash: string };
  const options = 'cid-version=1&raw-leaves=true&chunker=size-262144';
  file = CID.parse(
    (await rpc.json<Added>(`add?pin=false&${options}`, randomBytes(FILE_BYTES))).Hash,
  );
  await rpc.bytes(`files/mkdir?cid-version=1&arg=/${encodeURIComponent(NAME)}`);
  for (const name of ['one', 'other']) {
    const to = encodeURIComponent(`/${NAME}/${name}`);
    await rpc.bytes(`files/cp?arg=/ipfs/${file}&arg=${to}`);
  }
  root = CID.parse((await rpc.json<Added>('files/stat?arg=/')).Hash);
  type Ref = { readonly Ref: string };
  const refs = await rpc.lines<Ref>(`refs?arg=${file}`);
  leaf = CID.parse(refs[5]?.Ref ?? '');
}, START_MS_MAX);

afterAll(async () => {
  await lassie?.[Symbol.asyncDispose]();
  await kubo?.close();
}, START_MS_MAX);

beforeEach(() => {
  kept = new Map();
});

const sourceAt = (kind: SourceKind, url: string, more: Partial<SourceOptions> = {}) =>
  openSource({
    kind,
    url,
    requestsMax: 4,
    clock: new SystemClock(),
    random: new SystemRandom(),
    ...more,
  });

/** Asks one source. For Lassie the provider is Kubo's gateway, or another one. */
async function fetched(
  kind: SourceKind,
  part: Partial<Wanted> = {},
  more: Partial<BlocksOptions> & { readonly gateway?: string } = {},
) {
  const { gateway = kubo.gateway, ...options } = more;
  await using source = sourceAt(kind, kind === 'lassie' ? lassie.url : gateway);
  const providers = kind === 'lassie' ? [gateway] : undefined;
  const wanted: Wanted = { root, names: [], scope: 'all', ...part };
  return await retrieve([source], wanted, keep, { ...calling(), providers, ...options });
}

/** What Kubo counts: every block below a CID, and itself. */
async function blocksBelow(cid: CID): Promise<number> {
  const refs = await kubo.rpc.lines(`refs?recursive=true&unique=true&arg=${cid}`);
  return refs.length + 1;
}

describe.each<SourceKind>(['lassie', 'gateway'])('%s', (kind) => {
  test('gives all of a DAG', async () => {
    const done = await fetched(kind);
    expect(done).toMatchObject({ blocks: await blocksBelow(root), source: { kind } });
    expect(kept.size).toBe(done.blocks);
  });

  test('gives what a path leads to, whatever is in its names', async () => {
    const { cid, blocks } = await fetched(kind, { names: [NAME, 'other'] });
    expect(cid.equals(file)).toBe(true);
    expect(blocks).toBe(2 + (await blocksBelow(file)));
  });

  test('proves that a path leads nowhere', async () => {
    const nowhere = fetched(kind, { names: [NAME, 'nobody'] });
    await expect(nowhere).rejects.toEqual(failing('not-found'));
  });

  test('gives one block, or a directory alone', async () => {
    expect(await fetched(kind, { scope: 'block' })).toMatchObject({ blocks: 1 });
    const directory = { names: [NAME], scope: 'entity' } as const;
    expect(await fetched(kind, directory)).toMatchObject({ blocks: 2 });
  });

  test.each([
    [{ from: 0, to: 299_999 }, 2],
    [{ from: -100 }, 1],
    [{ from: 262_144, to: 262_144 }, 1],
    [{ from: 0 }, 13],
  ])('gives the bytes %j of a file', async (bytes, leaves) => {
    const done = await fetched(kind, { root: file, scope: 'entity', bytes });
    expect(done).toMatchObject({ blocks: 1 + leaves });
  });

  test('that does not have it says that it is missing', async () => {
    const { cid } = rawBlock('nobody has this');
    const absent = fetched(kind, { root: cid });
    await expect(absent).rejects.toMatchObject({
      failure: expect.stringMatching(/^(content-missing|response-invalid)$/),
      details: { partial: { asked: [{ engine: kind }] } },
    });
    expect(kept.size).toBe(0);
  });

  test('never gives a part for the whole when a block is missing', async () => {
    const { bytes } = await blockOfKubo(leaf);
    await kubo.rpc.bytes(`block/rm?force=true&arg=${leaf}`);
    try {
      const asked = fetched(kind, { root: file });
      await expect(asked).rejects.toMatchObject({
        failure: expect.stringMatching(/^(content-missing|response-invalid)$/),
      });
      const bytesBefore = { from: 0, to: 299_999 };
      const part = { root: file, scope: 'entity', bytes: bytesBefore } as const;
      expect(await fetched(kind, part)).toMatchObject({ blocks: 3 });
    } finally {
      await kubo.rpc.json('block/put?cid-codec=raw', [{ bytes }]);
    }
  });

  test.each([
    ['cut and closed', { kind: 'truncate', keepBytes: 1_000_000, end: 'clean' }],
    ['torn', { kind: 'truncate', keepBytes: 1_000_000, end: 'abort' }],
    ['bent', { kind: 'flip', atByte: 1_000_000 }],
  ] as const)('never gives wrong bytes of an answer that is %s', async (_, fault) => {
    await using proxy = await FaultyProxy.start(kubo.gateway);
    proxy.fault(/./, fault);
    const asked = fetched(kind, { root: file }, { gateway: proxy.api });
    await expect(asked).rejects.toMatchObject({
      failure: expect.stringMatching(/^(response-invalid|integrity|content-missing)$/),
    });
    for (const { cid, bytes } of kept.values()) {
      expect((await blockOfKubo(cid)).bytes.equals(bytes)).toBe(true);
    }
  });
});

const blockOfKubo = async (cid: CID) => ({
  cid,
  bytes: await kubo.rpc.bytes(`block/get?arg=${cid}`),
});

describe('Lassie', () => {
  test('asks a provider that is written as a multiaddr', async () => {
    const { port } = new URL(kubo.gateway);
    const provider = `/ip4/127.0.0.1/tcp/${port}/http`;
    const options = { gateway: provider, protocols: ['http'] } as const;
    expect(await fetched('lassie', {}, options)).toMatchObject({ cid: root });
  });

  test('asks one after the other of those it is told, one that is called localhost too', async () => {
    const nobody = `http://127.0.0.1:${await freePort()}`;
    const { port } = new URL(kubo.gateway);
    const { text = '' } = parseProvider(`http://localhost:${port}`) ?? {};
    const named = `/ip4/127.0.0.1/tcp/${port}/http/p2p/${kubo.id}`;
    for (const providers of [[nobody, kubo.gateway], [text], [named]]) {
      kept.clear();
      expect(await fetched('lassie', {}, { providers })).toMatchObject({ source: {} });
      expect(kept.size).toBe(await blocksBelow(root));
    }
  });

  test('whose provider says nothing gives up, and says that content is missing', async () => {
    await using proxy = await FaultyProxy.start(kubo.gateway);
    const silent = proxy.fault(/./, { kind: 'hang', when: 'before' });
    const asked = fetched('lassie', {}, { gateway: proxy.api });
    await expect(asked).rejects.toEqual(failing('content-missing'));
    expect(silent.hits).toBeGreaterThan(0);
  });

  test('takes connections on loopback only, and is gone when its test is over', async () => {
    const other = await Lassie.start();
    const { pid, directory } = other;
    const places = await listeningAt(pid);
    expect(places).toEqual([new URL(other.url).host]);
    await other[Symbol.asyncDispose]();
    expect([existsSync(directory), existsSync(`/proc/${pid}`)]).toEqual([false, false]);
  });

  test('that finds nobody says that content is missing', async () => {
    const nobody = `http://127.0.0.1:${await freePort()}`;
    const refused = fetched('lassie', {}, { gateway: nobody });
    await expect(refused).rejects.toEqual(failing('content-missing'));
    await using source = sourceAt('lassie', lassie.url);
    const wanted: Wanted = { root, names: [], scope: 'all' };
    const alone = retrieve([source], wanted, keep, calling());
    await expect(alone).rejects.toEqual(failing('content-missing'));
    const graphsync = fetched('lassie', {}, { protocols: ['graphsync'] });
    await expect(graphsync).rejects.toEqual(failing('content-missing'));
  });

  test('that may send so many blocks is never taken for whole', async () => {
    const few = fetched('lassie', { root: file }, { blocksMax: 5 });
    await expect(few).rejects.toEqual(failing('response-invalid'));
    const blocks = await blocksBelow(file);
    const enough = await fetched('lassie', { root: file }, { blocksMax: blocks });
    expect(enough).toMatchObject({ blocks });
  });

  test('that asks who calls is answered with its token', async () => {
    await using guarded = await Lassie.start({ accessToken: 'token' });
    const wanted: Wanted = { root, names: [], scope: 'block' };
    const options = { ...calling(), providers: [kubo.gateway] };
    await using nobody = sourceAt('lassie', guarded.url);
    const refused = retrieve([nobody], wanted, keep, options);
    await expect(refused).rejects.toEqual(failing('credentials-invalid'));
    await using known = sourceAt('lassie', guarded.url, { secret: () => secretOf('bearer:token') });
    expect(await retrieve([known], wanted, keep, options)).toMatchObject({ blocks: 1 });
  });
});

describe('a gateway', () => {
  test('that is called localhost is asked by its address', async () => {
    const { port } = new URL(kubo.gateway);
    const gateway = `http://localhost:${port}`;
    expect(await fetched('gateway', {}, { gateway })).toMatchObject({
      blocks: await blocksBelow(root),
    });
  });

  test('that lacks the root sends a success that says nothing', async () => {
    const { cid } = rawBlock('nobody has this');
    const answer = await fetch(`${kubo.gateway}/ipfs/${cid}?format=car`);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain('[Gateway Error: CAR stream truncated');
  });

  test('that lacks a block ends its success as if nothing had happened', async () => {
    const { bytes } = await blockOfKubo(leaf);
    await kubo.rpc.bytes(`block/rm?force=true&arg=${leaf}`);
    try {
      const answer = await fetch(`${kubo.gateway}/ipfs/${file}?format=car`);
      expect(answer.status).toBe(200);
      const body = Buffer.from(await answer.arrayBuffer());
      expect(body.length).toBeGreaterThan(MIB);
      expect(body.toString('latin1')).toMatch(/\[Gateway Error: CAR stream truncated[^\]]*\]$/);
    } finally {
      await kubo.rpc.json('block/put?cid-codec=raw', [{ bytes }]);
    }
  });
});

describe('several sources', () => {
  const wanted = (): Wanted => ({ root, names: [], scope: 'all' });

  test('are asked in their order until one of them has all of it', async () => {
    await using proxy = await FaultyProxy.start(kubo.gateway);
    proxy.fault(/./, { kind: 'truncate', keepBytes: 1_000_000, end: 'clean' });
    await using nobody = sourceAt('gateway', `http://127.0.0.1:${await freePort()}`);
    await using torn = sourceAt('gateway', proxy.api);
    await using whole = sourceAt('gateway', kubo.gateway);
    const sources: TrustlessSource[] = [nobody, torn, whole];
    const done = await retrieve(sources, wanted(), keep, calling());
    expect(done).toMatchObject({ blocks: await blocksBelow(root), source: whole });
  });

  test('that all fail say what each of them said', async () => {
    await using nobody = sourceAt('gateway', `http://127.0.0.1:${await freePort()}`);
    await using other = sourceAt('lassie', lassie.url);
    await expect(retrieve([other, nobody], wanted(), keep, calling())).rejects.toMatchObject({
      failure: 'not-running',
      details: {
        partial: {
          asked: [
            { engine: 'lassie', failure: 'content-missing' },
            { engine: 'gateway', endpoint: nobody.endpoint, failure: 'not-running' },
          ],
        },
      },
    });
  });

  test('that are none are not configured', async () => {
    const asked = retrieve([], wanted(), keep, calling());
    await expect(asked).rejects.toEqual(failing('not-configured'));
  });

  test('are not asked when a block cannot be kept', async () => {
    await using whole = sourceAt('gateway', kubo.gateway);
    const full: Keep = {
      ...keep,
      put: () => {
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      },
    };
    const asked = retrieve([whole, whole], wanted(), full, calling());
    await expect(asked).rejects.toThrow('no space');
  });
});
