/** What a file system does with bytes that a loss of power may have taken, when somebody asks for them. */
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, NO_CONTENT, nameOfText } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/base/posix.ts';
import type { Asking } from '../../src/vfs/vfs.ts';
import { noise } from '../content/fixture.ts';
import { gate } from '../fuse/rig.ts';
import { KERNEL, System } from '../power/system.ts';

const KIB = 1024;
const BYTES = Buffer.from(noise(200 * KIB, 1));
const WAIT = { timeout: 10_000 };

let directory: string;
let system: System;
let boots = 0;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kitfs-doubt-'));
  system = new System(directory, 'boot 0');
});
afterEach(async () => {
  vi.restoreAllMocks();
  await system.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A large file that nobody has open and nobody fsynced. */
function put(name: string): Ino {
  const { vfs } = system;
  const parent = system.ino('/ipfs');
  const flags = O_RDWR | O_CREAT;
  const { inode, handle } = vfs.create(KERNEL, parent, nameOfText(name), 0o644, flags);
  system.write(handle, BYTES, 0);
  vfs.release(handle.fh);
  return inode.ino;
}

async function putSealed(name: string): Promise<Ino> {
  const ino = put(name);
  await system.sealer.seal(rowOf(ino).content, system.signal);
  return ino;
}

async function putTrusted(name: string): Promise<Ino> {
  const ino = await putSealed(name);
  await system.content.fsync([rowOf(ino).content]);
  expect(contentOf(ino)).toMatchObject({ state: 'sealed', stable: 1 });
  return ino;
}

const rowOf = (ino: Ino) => system.vfs.core.inodes.get(ino);
const contentOf = (ino: Ino) => system.content.row(rowOf(ino).content);
const pathOf = (ino: Ino) => system.content.backingPath(rowOf(ino).content) ?? 'packed';

/** The power goes; the disk has everything. */
async function losePower(): Promise<void> {
  await system.close();
  boots += 1;
  system = new System(directory, `boot ${boots}`);
}

/** What the kernel is told from now on; it has taken that when `taken` resolves. */
function listen(taken = Promise.resolve()): Ino[] {
  const told: Ino[] = [];
  system.vfs.core.invalidator = {
    entry() {},
    inode: (ino) => told.push(ino),
    uncounted() {},
    settled: () => taken,
    knows: () => true,
  };
  return told;
}

const open = (ino: Ino, flags: number, asking?: Asking) =>
  system.vfs.open(KERNEL, ino, flags, false, asking);
const cut = (ino: Ino, size: number, asking?: Asking) =>
  system.vfs.setattr(KERNEL, ino, { size }, undefined, asking);

async function opened(ino: Ino, flags: number): Promise<void> {
  system.vfs.release((await system.vfs.open(KERNEL, ino, flags, false)).fh);
}

const full = () => {
  throw new OpError('no-space', 'test');
};

describe('the kernel is told of a file of which the power took bytes', () => {
  test('in the background', async () => {
    const [ino] = [put('a'), put('b')];
    truncateSync(pathOf(ino), 100 * KIB);
    await losePower();
    const told = listen();
    await system.settleDoubt();
    expect(told).toEqual([ino]);
    expect(rowOf(ino).size).toBe(100 * KIB);
  });

  test('before it may open it', async () => {
    const ino = put('a');
    truncateSync(pathOf(ino), 100 * KIB);
    await losePower();
    const taken = gate<void>();
    const told = listen(taken.promise);
    let isOpen = false;
    const opening = opened(ino, O_RDONLY).then(() => {
      isOpen = true;
    });
    await vi.waitFor(() => expect(told).toEqual([ino]), WAIT);
    expect(isOpen).toBe(false);
    taken.open();
    await opening;
  });
});

describe('after another boot', () => {
  test('a file whose bytes are known to be on the disk is opened for writing without a look at them', async () => {
    const ino = await putTrusted('a');
    await losePower();
    const verify = vi.spyOn(system.sealer, 'verify');
    await opened(ino, O_RDWR);
    await opened(ino, O_RDWR);
    expect(verify).not.toHaveBeenCalled();
  });

  test.each([
    ['opens it to empty it', (ino: Ino, how: Asking) => open(ino, O_WRONLY | O_TRUNC, how)],
    ['opens it for writing', (ino: Ino, how: Asking) => open(ino, O_RDWR, how)],
    ['cuts it', (ino: Ino, how: Asking) => cut(ino, 5, how)],
  ])('who %s and does not wait to the end changes nothing', async (_, change) => {
    const ino = put('a');
    await losePower();
    const stop = new AbortController();
    const changing = Promise.resolve(change(ino, stop));
    const records = system.journal.head.seq;
    stop.abort(new OpError('interrupted', 'test'));
    await expect(changing).rejects.toBe(stop.signal.reason);
    expect(rowOf(ino).size).toBe(BYTES.length);
    expect(system.journal.head.seq).toBe(records);
    expect(system.vfs.core.handles.isOpen(ino)).toBe(false);
  });

  test('what is called stable is brought to the disk first, whoever wrote it', async () => {
    const ino = put('a');
    await losePower();
    const sync = vi.spyOn(loadNative(), 'fdatasyncMany');
    const marks: unknown[] = [];
    sync.mockImplementation(async () => void marks.push(contentOf(ino)?.stable));
    await system.settleDoubt();
    expect(marks).toEqual([0]);
    expect(contentOf(ino)?.stable).toBe(1);
  });

  test('a file that the disk does not let be read can be opened, and the others are looked at', async () => {
    const [bad, good] = [await putSealed('bad'), await putSealed('good')];
    await losePower();
    vi.spyOn(system.sealer, 'verify').mockRejectedValueOnce(new OpError('io', 'read'));
    await system.settleDoubt();
    expect(system.log.told).toHaveLength(1);
    await opened(bad, O_RDONLY);
    expect([contentOf(bad)?.stable, contentOf(good)?.stable]).toEqual([0, 1]);
  });

  test('a whole file can be read on a disk without any room', async () => {
    const ino = await putSealed('a');
    await losePower();
    vi.spyOn(system.journal, 'group').mockImplementation(full);
    await opened(ino, O_RDONLY);
    vi.restoreAllMocks();
    expect(contentOf(ino)?.stable).toBe(0);
  });

  test('a file is cut where it ends since the loss, not where it would have ended', async () => {
    const ino = put('a');
    truncateSync(pathOf(ino), 100 * KIB);
    await losePower();
    await system.vfs.setattr(KERNEL, ino, { size: 150 * KIB });
    expect(rowOf(ino).size).toBe(150 * KIB);
    expect(system.log.told).toHaveLength(1);
    expect(contentOf(ino)?.state).not.toBe('open');
  });

  test('a file is emptied without a look at what it was', async () => {
    const ino = put('a');
    await losePower();
    expect(system.vfs.setattr(KERNEL, ino, { size: 0 })).not.toBeInstanceOf(Promise);
    expect(rowOf(ino).content).toBe(NO_CONTENT);
  });

  test('a name that turns out to be there is opened by who looks again', async () => {
    const ino = put('a');
    await losePower();
    const { parent, name } = system.nameIn('/ipfs/a');
    expect(() => system.vfs.create(KERNEL, parent, name, 0o644, O_RDWR | O_CREAT)).toThrow(
      expect.objectContaining({ failure: 'version-conflict' }),
    );
    await opened(ino, O_RDWR);
  });

  test('what was sealed while it was looked at is looked at again', async () => {
    const ino = put('a');
    await losePower();
    const [synced, { promise, open }] = [vi.spyOn(system.content.losses, 'sync'), gate<void>()];
    synced.mockImplementationOnce(() => promise);
    const verify = vi.spyOn(system.sealer, 'verify');
    const settling = system.settleDoubt();
    await vi.waitFor(() => expect(synced).toHaveBeenCalledTimes(1), WAIT);
    await system.sealer.seal(rowOf(ino).content, system.signal);
    open();
    await settling;
    expect(verify).toHaveBeenCalledTimes(1);
    expect(contentOf(ino)).toMatchObject({ state: 'sealed', stable: 1 });
  });
});
