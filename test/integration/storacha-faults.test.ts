/** The engine Storacha before the service's own code, when that hangs, breaks, is cut short, or is not there. */
import type { CID } from 'multiformats/cid';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { CarStore, Uploaded } from '../../src/backend/cars.ts';
import { all, type Block, calling, streamOf } from '../backend/engine.ts';
import { putTree, roots, storeAt, treeOf } from '../backend/storacha/space.ts';
import { type Fault, FaultyProxy } from '../services/faulty-proxy.ts';
import { freePort } from '../services/process.ts';
import { type Given, Storacha } from '../services/storacha.ts';

const failing = (failure: string) => expect.objectContaining({ failure });
/** What is asked, and where its receipts are. */
const ASKED = /^\/(\?|$)/;
const RECEIPT = /^\/receipt\//;

let service: Storacha;
let space: string;
let given: Given;

beforeAll(async () => {
  service = await Storacha.start();
});

afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

beforeEach(async () => {
  space = await service.makeSpace();
  given = await service.give(space);
});

/** A store behind a proxy; afterwards nobody is connected to that. */
async function through<T>(body: (store: CarStore, proxy: FaultyProxy) => Promise<T>): Promise<T> {
  await using proxy = await FaultyProxy.start(service.url);
  const { did } = service;
  const result = await (async () => {
    await using store = storeAt({ url: proxy.api, did }, space, given);
    return await body(store, proxy);
  })();
  await proxy.deserted();
  return result;
}

const storedRoots = async (): Promise<string[]> => {
  await using store = storeAt(service, space, given);
  return await roots(store);
};

describe('an answer', () => {
  test.each<[string, Fault]>([
    ['that never comes', { kind: 'reset', when: 'before' }],
    ['that is lost', { kind: 'reset', when: 'after' }],
    ['that breaks off', { kind: 'truncate', keepBytes: 100, end: 'abort' }],
    ['with a byte that is another one', { kind: 'flip', atByte: 250 }],
    ['of a service that is starting', { kind: 'status', status: 503 }],
  ])('%s is asked for again, whatever it was for', async (_, fault) => {
    const tree = treeOf('asked again');
    await through(async (store, proxy) => {
      await putTree(store, tree);
      await store.uploads.remove(tree.root, calling());
      // In turn each request of a put, of a list and of a removal.
      for (let skip = 0; skip < 6; skip++) {
        const planted = proxy.fault(ASKED, fault, { skip, times: 1 });
        expect((await putTree(store, tree)).root).toEqual(tree.root);
        expect(await roots(store)).toEqual([String(tree.root)]);
        const { outcome } = await store.uploads.remove(tree.root, calling());
        expect(['removed', 'absent']).toContain(outcome);
        expect(planted.hits).toBe(1);
      }
    });
    expect(await storedRoots()).toEqual([]);
  });

  test.each<[string, Fault, string]>([
    ['never comes', { kind: 'reset', when: 'before' }, 'unavailable'],
    ['is cut short', { kind: 'truncate', keepBytes: 100, end: 'clean' }, 'response-invalid'],
    ['breaks off', { kind: 'truncate', keepBytes: 100, end: 'abort' }, 'response-invalid'],
    ['is damaged', { kind: 'flip', atByte: 250 }, 'response-invalid'],
    ['is that of something else', { kind: 'garbage', when: 'before' }, 'response-invalid'],
    ['is that it is down', { kind: 'status', status: 500 }, 'unavailable'],
    ['is that it is asked too much', { kind: 'status', status: 429 }, 'rate-limited'],
    ['is that there is no such thing', { kind: 'status', status: 404 }, 'configuration'],
    ['is that it is elsewhere', { kind: 'status', status: 302 }, 'configuration'],
  ])('that always %s is an error', async (_, fault, failure) => {
    await through(async (store, proxy) => {
      proxy.fault(ASKED, fault);
      await expect(roots(store)).rejects.toEqual(failing(failure));
      await expect(putTree(store, treeOf('x'))).rejects.toEqual(failing(failure));
    });
    expect(await storedRoots()).toEqual([]);
  });

  test('that says to come again much later is told to the caller at once', async () => {
    await through(async (store, proxy) => {
      const headers = { 'retry-after': '60' };
      proxy.fault(ASKED, { kind: 'status', status: 429, headers });
      await expect(roots(store)).rejects.toMatchObject({
        failure: 'rate-limited',
        details: { retry_after_ms: 60_000 },
      });
      expect(proxy.count(ASKED)).toBe(1);
    });
  });
});

describe('a receipt', () => {
  test.each<[string, Fault]>([
    ['is not there yet', { kind: 'status', status: 404 }],
    ['breaks off', { kind: 'truncate', keepBytes: 50, end: 'abort' }],
    ['is damaged', { kind: 'flip', atByte: 250 }],
  ])('that %s is asked for again', async (_, fault) => {
    await through(async (store, proxy) => {
      proxy.fault(RECEIPT, fault, { times: 2 });
      const { root } = await putTree(store, treeOf(`a receipt ${JSON.stringify(fault)}`));
      expect(await roots(store)).toEqual([String(root)]);
    });
  });

  test('that never comes ends with the deadline, and nothing is listed', async () => {
    await through(async (store, proxy) => {
      proxy.fault(RECEIPT, { kind: 'status', status: 404 });
      const { root, blocks } = treeOf('never accepted');
      const put = store.uploads.put(root, streamOf(...blocks), {
        ...calling(),
        deadlineMs: 1500,
      });
      await expect(put).rejects.toEqual(failing('timeout'));
    });
    expect(await storedRoots()).toEqual([]);
  });
});

describe('a storage node', () => {
  const put = async (words: string, options = {}): Promise<Uploaded> => {
    await using store = storeAt(service, space, given);
    const { root, blocks } = treeOf(words);
    return await store.uploads.put(root, streamOf(...blocks), { ...calling(), ...options });
  };

  test.each(['reset', 500, 503, 408] as const)(
    'that answers %s is sent the bytes again',
    async (kind) => {
      await service.harm(kind, 2);
      const { root, cars } = await put(`sent again after ${kind}`);
      expect(await service.harm('reset', 0)).toBe(0);
      expect(await storedRoots()).toEqual([String(root)]);
      for (const car of cars) expect(await service.blob(car)).toBeDefined();
    },
  );

  test.each<[number, string]>([
    [403, 'denied'],
    [413, 'file-too-large'],
    [400, 'api-error'],
  ])('that refuses them with %s is not asked twice', async (status, failure) => {
    await service.harm(status, 2);
    await expect(put(`refused with ${status}`)).rejects.toEqual(failing(failure));
    expect(await service.harm('reset', 0)).toBe(1);
    expect(await storedRoots()).toEqual([]);
  });

  test('that hangs is waited for until the deadline, and the next put is whole', async () => {
    await service.harm('hang', 1);
    await expect(put('a node hangs', { deadlineMs: 1000 })).rejects.toEqual(failing('timeout'));
    expect(await storedRoots()).toEqual([]);
    const { root } = await put('a node hangs');
    expect(await storedRoots()).toEqual([String(root)]);
  });
});

describe('a service that hangs', () => {
  const HANG: Fault = { kind: 'hang', when: 'before' };
  const calls: readonly (readonly [
    string,
    (store: CarStore, root: CID, ends: Ends) => Promise<unknown>,
  ])[] = [
    ['probe', (store, _, ends) => store.probe(ends)],
    ['head', (store, root, ends) => store.uploads.head(root, ends)],
    ['remove', (store, root, ends) => store.uploads.remove(root, ends)],
    ['list', (store, _, ends) => all(store.uploads.list(ends))],
    ['put', (store, root, ends) => store.uploads.put(root, streamOf(...treeOf('h').blocks), ends)],
  ];
  interface Ends {
    readonly signal: AbortSignal;
    readonly deadlineMs?: number;
  }

  test.each(calls)('ends %s with its deadline', async (_, call) => {
    await through(async (store, proxy) => {
      proxy.fault(ASKED, HANG);
      const { root } = treeOf('h');
      await expect(call(store, root, { ...calling(), deadlineMs: 500 })).rejects.toEqual(
        failing('timeout'),
      );
      await proxy.quiet();
    });
  });

  test.each(calls)('lets %s go when its caller says so, down to the socket', async (_, call) => {
    await through(async (store, proxy) => {
      const hung = proxy.fault(ASKED, HANG);
      const aborter = new AbortController();
      const { root } = treeOf('h');
      const called = call(store, root, { signal: aborter.signal });
      const ended = expect(called).rejects.toEqual(failing('cancelled'));
      await hung.struck;
      aborter.abort();
      await ended;
      await proxy.quiet();
    });
  });

  test.each(calls)('lets %s go when the store is closed', async (_, call) => {
    await through(async (store, proxy) => {
      const hung = proxy.fault(ASKED, HANG);
      const called = call(store, treeOf('h').root, calling());
      const ended = expect(called).rejects.toEqual(failing('not-ready'));
      await hung.struck;
      await store[Symbol.asyncDispose]();
      await ended;
    });
  });

  test('is not asked at all by whoever has given up', async () => {
    await through(async (store, proxy) => {
      for (const [, call] of calls) {
        await expect(
          call(store, treeOf('h').root, { signal: AbortSignal.abort() }),
        ).rejects.toEqual(failing('cancelled'));
      }
      expect(proxy.passed).toEqual([]);
    });
  });
});

describe('a put', () => {
  test('whose source never gives another block ends with its caller', async () => {
    await using store = storeAt(service, space, given);
    const [block] = treeOf('a').blocks;
    if (block === undefined) throw new Error('no block');
    async function* stuck(): AsyncGenerator<Block> {
      yield block as Block;
      await new Promise(() => {});
    }
    const aborter = new AbortController();
    const put = store.uploads.put(block.cid, stuck(), { signal: aborter.signal });
    const ended = expect(put).rejects.toEqual(failing('cancelled'));
    aborter.abort();
    await ended;
  });

  test('that was cut off anywhere is not listed, and is whole when it is put again', async () => {
    for (let skip = 0; skip < 6; skip++) {
      const tree = treeOf('cut off', `after ${skip} requests`);
      await through(async (store, proxy) => {
        const cut = proxy.fault(ASKED, { kind: 'hang', when: 'before' }, { skip });
        const aborter = new AbortController();
        const put = store.uploads.put(tree.root, streamOf(...tree.blocks), {
          signal: aborter.signal,
        });
        const ended = put.then(
          () => 'done',
          () => 'cut',
        );
        const first = await Promise.race([ended, cut.struck.then(() => 'struck')]);
        aborter.abort();
        expect(first).toBe('struck');
        expect(await ended).toBe('cut');
      });
      expect(await storedRoots()).toEqual([]);
      await using store = storeAt(service, space, given);
      await putTree(store, tree);
      expect(await storedRoots()).toEqual([String(tree.root)]);
      await store.uploads.remove(tree.root, calling());
    }
  });
});

test('where nobody listens, and when the service dies, it is unavailable', async () => {
  const nobody = { url: `http://127.0.0.1:${await freePort()}`, did: service.did };
  await using absent = storeAt(nobody, space, given);
  await expect(absent.probe(calling())).rejects.toMatchObject({
    failure: 'unavailable',
    details: { sent: false, service: 'storacha' },
  });
  await using mortal = await Storacha.start();
  const where = await mortal.makeSpace();
  await using store = storeAt(mortal, where, await mortal.give(where));
  expect(await roots(store)).toEqual([]);
  await mortal.kill();
  await expect(roots(store)).rejects.toEqual(failing('unavailable'));
});
