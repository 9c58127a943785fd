/** The laws of content when something below it fails, stops or refuses. */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { ContentId } from '../../src/base/ids.ts';
import { SEAL_BUSY_MS_MAX, SEAL_RETRY_MS_MIN } from '../../src/base/limits.ts';
import { BackingFiles } from '../../src/content/backing.ts';
import { Sealer } from '../../src/content/content.ts';
import { allocateAt, copyAt, copyWhole } from '../../src/content/extents.ts';
import { type Hashed, hashChunk } from '../../src/content/hash.ts';
import type { HashOutcome } from '../../src/content/hasher.ts';
import { Fixture, noise, TurnedClock } from './fixture.ts';

const failure = (name: string) => expect.objectContaining({ failure: name });
const coded = (code: string) => Object.assign(new Error(code), { code });
const until = (condition: () => boolean) =>
  vi.waitFor(() => expect(condition()).toBe(true), { timeout: 5000, interval: 5 });

let clock: TurnedClock;
let fixture: Fixture;
beforeEach(() => {
  clock = new TurnedClock();
  fixture = new Fixture(clock);
});
afterEach(() => fixture.close());

/** A sealer whose threads answer as told. */
function sealerOf(hash: () => Promise<HashOutcome[]>, isBusy?: () => boolean): Sealer {
  const { contents, journal, log } = fixture;
  return new Sealer({ journal, contents, hasher: { hash, width: 1 }, clock, log, isBusy });
}

/** Runs it until the condition holds. */
async function running(sealer: Sealer, condition: () => boolean): Promise<void> {
  const stop = new AbortController();
  const ended = sealer.run(stop.signal);
  await until(condition);
  stop.abort(new Error('stopped'));
  await ended;
}

describe('a sealer', () => {
  test('whose threads give no answer says so, and seals nothing', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    const sealer = sealerOf(async () => []);
    await expect(sealer.seal(id, fixture.signal)).rejects.toThrowError(failure('io'));
    clock.turn(60_000);
    const { messages } = fixture.log;
    await running(sealer, () => messages.includes('content could not be sealed yet'));
    expect(fixture.contents.row(id)).toMatchObject({ state: 'frozen', cid: null });
  });

  test('tries again what its threads failed at, later each time, until it succeeds', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    let calls = 0;
    const sealer = sealerOf(async () => {
      calls += 1;
      if (calls < 3) throw coded('EIO');
      return [hashChunk(Buffer.from('bytes'))];
    });
    clock.turn(60_000);
    const stop = new AbortController();
    const ended = sealer.run(stop.signal);
    await until(() => calls === 1 && clock.sleepers > 0);
    clock.turn(SEAL_RETRY_MS_MIN);
    await until(() => calls === 2 && clock.sleepers > 0);
    clock.turn(SEAL_RETRY_MS_MIN);
    await until(() => clock.sleepers > 0);
    expect(calls).toBe(2);
    clock.turn(SEAL_RETRY_MS_MIN);
    await until(() => fixture.contents.row(id)?.state === 'sealed');
    stop.abort(new Error('stopped'));
    await ended;
  });

  test('takes no CID that is none', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    const wrong: Hashed = { cid: Buffer.from([1]), leaves: [], nodes: [] };
    const leaf = { cid: Buffer.from([2]), position: 0, size: 5 };
    clock.turn(60_000);
    const sealer = sealerOf(async () => [{ ...wrong, leaves: [leaf] }]);
    const { messages } = fixture.log;
    await running(sealer, () => messages.includes('content could not be sealed yet'));
    expect(fixture.contents.row(id)).toMatchObject({ state: 'frozen', cid: null });
  });

  test('does not report what was removed while it was read', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    let isAsked = false;
    const sealer = sealerOf(async () => {
      fixture.journal.commit(() => fixture.contents.discard(id));
      isAsked = true;
      return [new OpError('io', 'read')];
    });
    clock.turn(60_000);
    await running(sealer, () => isAsked);
    expect(fixture.log.messages).toEqual([]);
  });

  test('that fails as a whole says so and goes on after a while', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    let isBroken = true;
    const isBusy = () => {
      if (isBroken) throw new Error('nobody knows');
      return false;
    };
    const sealer = sealerOf(async () => [hashChunk(Buffer.from('bytes'))], isBusy);
    clock.turn(60_000);
    const stop = new AbortController();
    const ended = sealer.run(stop.signal);
    await until(() => clock.sleepers > 0);
    expect(fixture.log.messages).toEqual(['sealing stopped for a while']);
    isBroken = false;
    clock.turn(SEAL_RETRY_MS_MIN);
    await until(() => fixture.contents.row(id)?.state === 'sealed');
    stop.abort(new Error('stopped'));
    await ended;
  });

  test('gives way to others for a while, and not for ever', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    const sealer = sealerOf(
      async () => [hashChunk(Buffer.from('bytes'))],
      () => true,
    );
    clock.turn(60_000);
    const stop = new AbortController();
    const ended = sealer.run(stop.signal);
    await until(() => clock.sleepers > 0);
    expect(fixture.contents.row(id)?.state).toBe('frozen');
    clock.turn(SEAL_BUSY_MS_MAX);
    await until(() => fixture.contents.row(id)?.state === 'sealed');
    stop.abort(new Error('stopped'));
    await ended;
  });

  test('calls bytes damaged only when they were read', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    await sealerOf(async () => [hashChunk(Buffer.from('bytes'))]).seal(id, fixture.signal);
    const verified = (outcome: HashOutcome) =>
      sealerOf(async () => [outcome]).verify(id, fixture.signal);
    expect(await verified(hashChunk(Buffer.from('bytes')))).toBe(true);
    expect(await verified(hashChunk(Buffer.from('other')))).toBe(false);
    expect(await verified(new OpError('integrity', 'read'))).toBe(false);
    await expect(verified(new OpError('io', 'read'))).rejects.toThrowError(failure('io'));
  });

  test('answers the CID of what is sealed without reading it again', async () => {
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    const sealing = sealerOf(async () => [hashChunk(Buffer.from('bytes'))]);
    const cid = await sealing.seal(id, fixture.signal);
    const asked = sealerOf(() => Promise.reject(new Error('read again')));
    expect((await asked.seal(id, fixture.signal)).toString()).toBe(cid.toString());
    expect(await asked.verify(99_999 as ContentId, fixture.signal)).toBe(true);
  });
});

describe('a range of a file', () => {
  const made = (name: string, bytes: Uint8Array = Buffer.alloc(0)) => {
    const path = join(fixture.directory, name);
    writeFileSync(path, bytes);
    return { path, fd: openSync(path, 'r+') };
  };

  test('is copied through this process where the kernel cannot connect two files', () => {
    const { native } = fixture;
    const bytes = noise(3 * 1024 * 1024 + 7);
    const from = made('from', bytes);
    const to = made('to');
    let left = 1;
    const half: Pick<typeof native, 'copyFileRange' | 'seek'> = {
      seek: (...args) => native.seek(...args),
      copyFileRange: (fd, at, out, outAt) => {
        if (left-- > 0) return native.copyFileRange(fd, at, out, outAt, 1000);
        throw coded('EXDEV');
      },
    };
    const [source, target] = [
      { fd: from.fd, position: 0 },
      { fd: to.fd, position: 0 },
    ];
    expect(copyAt(half, source, target, bytes.length + 50)).toBe(bytes.length);
    expect(readFileSync(to.path).equals(bytes)).toBe(true);
    const broken = {
      ...half,
      copyFileRange: () => {
        throw coded('ENOSPC');
      },
    };
    expect(() => copyAt(broken, source, target, 5)).toThrow('ENOSPC');
    for (const { fd } of [from, to]) closeSync(fd);
  });

  test('ends where the source ends, and a file of nothing but a hole is copied as one', () => {
    const { native } = fixture;
    const from = made('from', Buffer.from('abc'));
    const to = made('to');
    const ends = [
      { fd: from.fd, position: 1 },
      { fd: to.fd, position: 0 },
    ] as const;
    expect(copyAt(native, ...ends, 100)).toBe(2);
    expect(readFileSync(to.path, 'latin1')).toBe('bc');
    const [empty, like] = [made('empty'), made('like')];
    copyWhole(native, empty.fd, like.fd, 1000);
    expect(readFileSync(like.path).equals(Buffer.alloc(1000))).toBe(true);
    for (const { fd } of [from, to, empty, like]) closeSync(fd);
  });

  test('is zeroed by a hole where the disk knows nothing better, and only there', () => {
    const zero = { keepSize: true, punchHole: false, zeroRange: true };
    const range = { fd: 0, position: 4 };
    const asked: number[] = [];
    const fallocate = (code: string) => (_fd: number, flags: number) => {
      asked.push(flags);
      if (asked.length === 1) throw coded(code);
    };
    allocateAt({ fallocate: fallocate('EOPNOTSUPP') }, range, 2, zero);
    expect(asked).toEqual([0x11, 0x03]);
    asked.length = 0;
    const full = () => allocateAt({ fallocate: fallocate('ENOSPC') }, range, 2, zero);
    expect(full).toThrow('ENOSPC');
    expect(asked).toEqual([0x11]);
  });
});

describe('backing files', () => {
  test('that cannot be made are an error of the system, with nothing left behind', () => {
    writeFileSync(join(fixture.directory, 'content', '07'), 'in the way');
    const { native } = fixture;
    const directory = join(fixture.directory, 'content');
    const { memoryDirectory } = fixture;
    const files = new BackingFiles({ directory, memoryDirectory, native });
    expect(() => files.create(7 as ContentId, 'file')).toThrowError(OpError);
    expect(files.create(8 as ContentId, 'file')).toBeGreaterThan(0);
    files.close();
  });

  test('need a directory that can be made', () => {
    const { memoryDirectory, native } = fixture;
    const blocked = join(fixture.directory, 'file');
    writeFileSync(blocked, '');
    const make = () =>
      new BackingFiles({ directory: join(blocked, 'content'), memoryDirectory, native });
    expect(make).toThrowError(OpError);
  });

  test('being synced count as written by somebody, and close when that is over', async () => {
    const root = mkdtempSync(join(fixture.directory, 'own-'));
    mkdirSync(join(root, 'memory'));
    const { native } = fixture;
    const files = new BackingFiles({
      directory: join(root, 'content'),
      memoryDirectory: join(root, 'memory'),
      native,
    });
    const id = 3 as ContentId;
    files.create(id, 'file');
    const synced = [files.sync([id]), files.sync([id])];
    expect(files.otherOpeners(id, 'file')).toBe('writers');
    files.changed(id);
    expect(await Promise.all(synced)).toEqual([[], []]);
    expect(files.otherOpeners(id, 'file')).toBe('none');
    const fd = openSync(files.path(id, 'file'), 'r');
    expect(files.otherOpeners(id, 'file')).toBe('readers');
    closeSync(fd);
    files.vacate(id);
    expect(() => files.descriptor(id, 'file')).toThrowError(failure('integrity'));
    expect(() => files.remove(id, 'file')).not.toThrow();
    expect(await files.sync([])).toEqual([]);
    files.close();
    rmSync(root, { recursive: true });
  });

  test('whose sync fails stay in use by nobody, and unsettled', async () => {
    const { memoryDirectory, native } = fixture;
    const directory = join(fixture.directory, 'broken');
    const broken = { ...native, fdatasyncMany: () => Promise.reject(coded('EIO')) };
    const files = new BackingFiles({ directory, memoryDirectory, native: broken });
    const id = 3 as ContentId;
    files.create(id, 'file');
    await expect(files.sync([id])).rejects.toThrowError(failure('io'));
    expect(files.otherOpeners(id, 'file')).toBe('none');
    files.close();
  });
});

describe('held content', () => {
  test('is held once, however often somebody says so', () => {
    const { contents, journal } = fixture;
    const id = fixture.makeFrozen(Buffer.from('bytes'));
    const both = (change: () => void) =>
      journal.commit(() => {
        change();
        change();
      });
    both(() => contents.hold(id));
    expect(contents.row(id)).toMatchObject({ held: 1, released_s: null });
    both(() => contents.unhold(id));
    expect(contents.row(id)).toMatchObject({ held: 0, refs: 1, released_s: null });
    journal.commit(() => contents.reopen(id));
    expect(() => journal.commit(() => contents.reopen(id))).not.toThrow();
    expect(contents.row(id)?.state).toBe('open');
  });

  test('has no data behind its end, wherever it lies', () => {
    const { contents } = fixture;
    for (const id of [fixture.make(noise(100_000)), fixture.make(Buffer.from('small'))]) {
      const size = contents.size(id);
      expect(contents.seek(id, size, 'data')).toBeUndefined();
      expect(contents.seek(id, size - 1, 'hole')).toBe(size);
      expect(contents.seek(id, size - 1, 'data')).toBe(size - 1);
    }
  });
});
