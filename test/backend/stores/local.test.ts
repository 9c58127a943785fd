/** The store in a directory of the host: the laws of all stores, and that it never leaves its directory. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { openLocal } from '../../../src/backend/local/local.ts';
import { describeStore } from './conformance.ts';
import { all, calling, keys, list, noise, put, read, text, timing } from './fixture.ts';

const made: string[] = [];
afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

function directory(): string {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-local-'));
  made.push(path);
  return path;
}

const openAt = (root: string) => openLocal({ root, ...timing() });

describeStore('in a directory', async () => openAt(directory()), {
  copying: false,
  leftovers: true,
  metadata: false,
  nested: false,
  digest: false,
  putOver: false,
  removeVersion: false,
});

describe('a directory of the host', () => {
  const open = () => {
    const root = directory();
    const outside = directory();
    writeFileSync(join(outside, 'secret'), 'outside');
    return { root, outside, store: openAt(root) };
  };

  test('is not left through links, wherever they are in a key', async () => {
    const { root, outside, store } = open();
    symlinkSync(outside, join(root, 'out'));
    symlinkSync(join(outside, 'secret'), join(root, 'file'));
    mkdirSync(join(root, 'dir'));
    symlinkSync('..', join(root, 'dir', 'up'));
    for (const key of ['out/secret', 'file', 'dir/up/file']) {
      expect(await store.objects.head(key, calling())).toBeUndefined();
      await expect(read(store, key)).rejects.toMatchObject({ failure: 'not-found' });
      await expect(put(store, key, 'x')).rejects.toMatchObject({ failure: 'unsupported' });
      expect(await store.objects.remove(key, calling())).toMatchObject({ outcome: 'absent' });
    }
    await expect(put(store, 'out/new', 'x')).rejects.toMatchObject({ failure: 'unsupported' });
    expect(readdirSync(outside)).toEqual(['secret']);
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('outside');
    expect(await all(list(store))).toEqual([
      { kind: 'foreign', key: 'dir/up' },
      { kind: 'foreign', key: 'file' },
      { kind: 'foreign', key: 'out' },
    ]);
  });

  test('is not left when directories become links while they are walked', async () => {
    const { root, outside, store } = open();
    mkdirSync(join(root, 'd'));
    writeFileSync(join(root, 'd', 'secret'), 'inside');
    let isOver = false;
    const exchanging = (async () => {
      while (!isOver) {
        renameSync(join(root, 'd'), join(root, 'kept'));
        // A put in another thread may have made the directory in between.
        rmSync(join(root, 'made'), { recursive: true, force: true });
        symlinkSync(outside, join(root, 'link'));
        try {
          renameSync(join(root, 'link'), join(root, 'd'));
        } catch {
          renameSync(join(root, 'd'), join(root, 'made'));
          renameSync(join(root, 'link'), join(root, 'd'));
        }
        await new Promise((resolve) => setImmediate(resolve));
        renameSync(join(root, 'd'), join(root, 'link'));
        rmSync(join(root, 'link'));
        rmSync(join(root, 'd'), { recursive: true, force: true });
        renameSync(join(root, 'kept'), join(root, 'd'));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const seen = new Set<string>();
    for (let times = 0; times < 300; times++) {
      seen.add(await text(store, 'd/secret').catch(({ failure }) => String(failure)));
      await put(store, 'd/new', 'x').catch(() => {});
    }
    isOver = true;
    await exchanging;
    expect(seen).not.toContain('outside');
    expect(seen).toContain('inside');
    expect(readdirSync(outside)).toEqual(['secret']);
  });

  test('that is not there is told, and is there when it is made', async () => {
    const root = join(directory(), 'later');
    await using store = openAt(root);
    const refused = { failure: 'configuration' };
    await expect(put(store, 'a', 'x')).rejects.toMatchObject(refused);
    await expect(store.probe(calling())).rejects.toMatchObject(refused);
    await expect(all(list(store))).rejects.toMatchObject(refused);
    mkdirSync(root);
    await put(store, 'a', 'x');
    expect(await text(store, 'a')).toBe('x');
  });

  test('shows what others put there, and what no key can name as foreign', async () => {
    const { root, store } = open();
    mkdirSync(join(root, 'theirs/empty'), { recursive: true });
    writeFileSync(join(root, 'theirs/file'), 'by others');
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0x61])]), 'x');
    writeFileSync(join(root, 'line\x01'), 'x');
    expect(await text(store, 'theirs/file')).toBe('by others');
    const listed = await all(list(store));
    expect(listed.filter(({ kind }) => kind === 'object').map(({ key }) => key)).toEqual([
      'theirs/file',
    ]);
    expect(listed.filter(({ kind }) => kind === 'foreign')).toHaveLength(2);
    expect(await keys(store, { prefix: 'theirs/', oneLevel: true })).toEqual(['theirs/file']);
  });

  test('keeps the mode of what is replaced', async () => {
    const { root, store } = open();
    await put(store, 'private', 'one');
    chmodSync(join(root, 'private'), 0o600);
    const modes = new Set<number>();
    async function* watched() {
      const [unfinished = ''] = readdirSync(root).filter((name) => name.endsWith('.part'));
      modes.add(statSync(join(root, unfinished)).mode & 0o777);
      yield Buffer.from('two');
    }
    await store.objects.put('private', watched(), calling());
    expect([...modes]).toEqual([0o600]);
    expect(statSync(join(root, 'private')).mode & 0o777).toBe(0o600);
    expect(await text(store, 'private')).toBe('two');
  });

  test('tells a reader that the file was changed while it was read', async () => {
    const { root, store } = open();
    const bytes = noise(1_000_000);
    for (const change of [
      () => writeFileSync(join(root, 'a'), noise(1_000_000, 2)),
      () => writeFileSync(join(root, 'a'), 'short'),
    ]) {
      await put(store, 'a', bytes);
      utimesSync(join(root, 'a'), 1, 1);
      await using reading = await store.objects.get('a', calling());
      const drained = (async () => {
        for await (const _ of reading.bytes) change();
      })();
      await expect(drained).rejects.toMatchObject({ failure: 'version-conflict' });
    }
  });

  test('gives the old bytes to whoever reads what is replaced', async () => {
    const { store } = open();
    const bytes = noise(1_000_000);
    await put(store, 'a', bytes);
    await using reading = await store.objects.get('a', calling());
    await put(store, 'a', 'new');
    const got: Uint8Array[] = [];
    for await (const piece of reading.bytes) got.push(piece);
    expect(Buffer.concat(got).equals(bytes)).toBe(true);
  });

  test('that is closed during a put has nothing of it when it is closed', async () => {
    const { root, store } = open();
    async function* endless() {
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        yield noise(1000);
      }
    }
    const ended = expect(store.objects.put('a', endless(), calling())).rejects.toMatchObject({
      failure: 'not-ready',
    });
    await expect.poll(() => readdirSync(root).length).toBe(1);
    await store[Symbol.asyncDispose]();
    expect(readdirSync(root)).toEqual([]);
    await ended;
  });

  test('is swept of what puts left, and of nothing else', async () => {
    const { root, store } = open();
    mkdirSync(join(root, 'd'));
    const left = ['.kitfs-abc.part', 'd/.kitfs-def.part'].map((name) => join(root, name));
    for (const path of left) writeFileSync(path, 'half');
    writeFileSync(join(root, 'd/.kitfs-mine'), 'whole');
    expect(await keys(store)).toEqual(['d/.kitfs-mine']);
    await expect(put(store, 'd/.kitfs-def.part', 'x')).rejects.toMatchObject({
      failure: 'invalid-path',
    });
    const sweep = (olderThanMs: number, prefix?: string) =>
      store.leftovers?.sweep({ ...calling(), olderThanMs, prefix });
    expect(await sweep(60_000)).toBe(0);
    expect(await sweep(-60_000, 'd/')).toBe(1);
    expect(left.map((path) => existsSync(path))).toEqual([true, false]);
    expect(await sweep(-60_000)).toBe(1);
    expect(await keys(store)).toEqual(['d/.kitfs-mine']);
  });
});
