/** In which order changes of a tree of MFS come to the node, which may have the only copy. */
import { beforeEach, expect, test } from 'vitest';
import type { MfsStat } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { blockKey, type CID, cidOfBytes } from '../../src/content/content.ts';
import { changesOf } from '../../src/sync/mfs-changes.ts';
import type { MfsEditing, MfsEnd } from '../../src/sync/mfs-end.ts';
import { settledRow, stateOf, unlike } from '../../src/sync/mfs-judge.ts';
import { hold, push } from '../../src/sync/mfs-push.ts';
import { Fixture, ROOT } from './fixture.ts';

let w: Fixture;
beforeEach(() => {
  w = new Fixture();
  return () => w.close();
});

/** An MFS of files by their paths, whose steps are remembered. */
class FilesEnd implements MfsEnd {
  readonly isSure = true;
  readonly files = new Map<string, CID>();
  readonly steps: string[] = [];
  /** Paths that cannot be linked: the node lost the blocks. */
  readonly broken = new Set<string>();

  stat = (path: string): Promise<MfsStat | undefined> => {
    const cid = this.files.get(path);
    const rest = { type: 'file', size: 0, cumulativeSize: 0, blocks: 0 } as const;
    return Promise.resolve(cid && { cid, ...rest });
  };

  edit = (_signal: AbortSignal, body: (edits: MfsEditing) => Promise<void>) =>
    body({
      stat: this.stat,
      mkdir: () => Promise.reject(new Error('no directory is made')),
      isWhole: () => Promise.resolve(true),
      link: (path, cid) => {
        if (this.broken.has(path)) throw new OpError('content-missing', `link ${path}`);
        this.steps.push(`put ${path}`);
        this.files.set(path, cid);
        return Promise.resolve();
      },
      remove: (path) => {
        this.steps.push(`rm ${path}`);
        this.files.delete(path);
        return Promise.resolve();
      },
    });
}

const cidAt = async (path: string): Promise<CID> => w.sealer.seal(w.inode(path).content, w.signal);

/** Makes directories and files that are the same here and there. */
async function agreed(end: FilesEnd, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    w.write(`/ipfs${path}`, `bytes of ${path}`);
    note(end, path, await cidAt(`/ipfs${path}`));
  }
}

function note(end: FilesEnd, path: string, cid: CID): void {
  const row = w.inode(`/ipfs${path}`);
  const at = path.lastIndexOf('/');
  const parent = w.ino(`/ipfs${path.slice(0, at)}`);
  const name = nameOfText(path.slice(at + 1));
  w.journal.commit(() => {
    w.journal.mfsSeen.put(settledRow({ parent, name }, stateOf(blockKey(cid), row)));
  });
  end.files.set(path, cid);
}

/** A directory that is there as well. */
function directory(path: string): void {
  const row = w.vfs.core.inodes.get(w.mkdir(`/ipfs${path}`));
  const name = nameOfText(path.slice(1));
  const state = stateOf(blockKey(EMPTY), row);
  w.journal.commit(() => {
    w.journal.mfsSeen.put(settledRow({ parent: w.ino('/ipfs'), name }, state));
  });
}

const EMPTY = cidOfBytes(Buffer.from([1, 0x55, 0, 0]));

function move(from: string, to: string): void {
  const placeOf = (path: string) => {
    const at = path.lastIndexOf('/');
    return { parent: w.ino(`/ipfs${path.slice(0, at)}`), name: nameOfText(path.slice(at + 1)) };
  };
  w.vfs.rename(ROOT, placeOf(from), placeOf(to), { noReplace: false, exchange: false });
}

const changed = (limit = 100) =>
  changesOf({ journal: w.journal, isWritten: () => false }, w.ino('/ipfs'), {
    ...{ isDirty: () => true, isHidden: () => false, limit },
  });

const brought = (end: FilesEnd) => {
  const { journal, contents, blocks, dag, sealer, builder, clock } = w;
  const syncJournal = () => Promise.resolve();
  const ports = { journal, contents, blocks, dag, sealer, builder, clock, syncJournal, end };
  const held = hold(ports, changed().changes);
  return push(ports, held, { source: '/', signal: w.signal });
};

test('no name goes while one that is to be put waits for its turn', async () => {
  const end = new FilesEnd();
  for (const path of ['/a', '/z']) directory(path);
  const names = ['1', '2', '3'];
  await agreed(
    end,
    names.map((name) => `/a/${name}`),
  );
  for (const name of names) move(`/a/${name}`, `/z/${name}`);
  const first = changed(2);
  expect(first.changes.map(({ kind, path }) => `${kind} ${path}`)).toEqual([
    ...['put /z/1', 'put /z/2'],
  ]);
  expect(first.isCut).toBe(true);
  expect(first.again).toContain(w.ino('/ipfs/a'));
  expect(first.again).toContain(w.ino('/ipfs/z'));
});

test('no name goes while it is not known whether what was begun is there', async () => {
  const end = new FilesEnd();
  for (const path of ['/a', '/z']) directory(path);
  await agreed(end, ['/a/1']);
  move('/a/1', '/z/1');
  const { journal } = w;
  const at = { parent: w.ino('/ipfs/z'), name: nameOfText('1') };
  const to = stateOf(blockKey(await cidAt('/ipfs/z/1')), w.inode('/ipfs/z/1'));
  const next = { isDone: false, to, went: 0 as const };
  journal.commit(() => journal.mfsSeen.put({ ...settledRow(at, undefined), next }));
  expect(changed()).toMatchObject({ changes: [], isCut: true });
});

test('no name goes when one could not be put, and goes once it could', async () => {
  const end = new FilesEnd();
  await agreed(end, ['/a', '/gone']);
  move('/a', '/z');
  w.unlink('/ipfs/gone');
  end.broken.add('/z');
  expect((await brought(end)).error?.failure).toBe('content-missing');
  expect(end.steps).toEqual([]);
  end.broken.clear();
  expect((await brought(end)).error).toBeUndefined();
  expect(end.steps).toEqual(['put /z', 'rm /a', 'rm /gone']);
});

test('what is kept beside has its name before its rival is replaced, or neither', async () => {
  const end = new FilesEnd();
  await agreed(end, ['/a.bin', '/b']);
  // As the reading of MFS leaves a conflict: of others is beside, and mine is to replace it.
  w.write('/ipfs/a.conflict-1.bin', 'of others');
  const others = await cidAt('/ipfs/a.conflict-1.bin');
  end.files.set('/a.bin', others);
  const at = { parent: w.ino('/ipfs'), name: nameOfText('a.bin') };
  w.journal.commit(() => w.journal.mfsSeen.put(settledRow(at, unlike(blockKey(others)))));
  w.write('/ipfs/b', 'changed');
  end.broken.add('/a.conflict-1.bin');
  await brought(end);
  expect(end.files.get('/a.bin')).toBe(others);
  expect(end.steps).toEqual(['put /b']);
  end.broken.clear();
  await brought(end);
  expect(end.steps).toEqual(['put /b', 'put /a.conflict-1.bin', 'put /a.bin']);
});
