/** Files of a tree of MFS that were not read here: MFS may have the only copy. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { blockKey, CONTENT_PROFILE, rawCid } from '../../src/content/content.ts';
import { mount } from '../../src/vfs/vfs.ts';
import { Fixture, ROOT } from './fixture.ts';

let w: Fixture;
beforeEach(() => {
  w = new Fixture();
  mount(w.vfs.core, ROOT, {
    mountId: 'm',
    mountPoint: nameOfText('/m'),
    kind: 'mfs',
    backend: 'mfs',
    source: '/m',
    readOnly: false,
    volatile: false,
    options: {},
    uid: 0,
    gid: 0,
    mode: 0o755,
  });
});
afterEach(() => w.close());

/** `/m/d/<name>`, of which nothing is here. */
function plant(name: string, bytes: Buffer): void {
  const { journal, content: contents, vfs } = w;
  const cid = rawCid(bytes);
  const size = bytes.length;
  journal.commit(() => {
    const content = contents.remote.create({ cid, size, profile: CONTENT_PROFILE });
    const node = { type: 'file', content, size, cid: blockKey(cid) } as const;
    const common = { action: 'make', replaces: undefined, metadata: {} } as const;
    const file = { ...common, name: nameOfText(name), node, children: [] };
    const directory = { ...common, name: nameOfText('d'), node: { type: 'directory' } } as const;
    vfs.graft(ROOT, {
      ...{ root: w.ino('/m'), linksFrom: [], metadata: {} },
      children: [{ ...directory, children: [file] }],
    });
  });
}

const stateOf = (path: string) => w.content.row(w.vfs.core.inodes.get(w.ino(path)).content)?.state;

const ACROSS = [
  ['vfs_copy', { recursive: true }],
  ['vfs_move', { cross_mount: true }],
] as const;

for (const [tool, more] of ACROSS) {
  const values = { source: '/m/d', destination: '/ipfs/new/d', parents: true, ...more };

  test(`${tool} out of MFS leaves nothing there that the other tree shows`, async () => {
    const bytes = Buffer.alloc(100, 'far');
    plant('far', bytes);
    expect(stateOf('/m/d/far')).toBe('remote');
    // Whatever the copy asks for is there.
    w.blocks.put(rawCid(bytes), bytes);
    await w.done(tool, values);
    expect(stateOf('/ipfs/new/d/far')).toBe('sealed');
    expect(await w.bytes('/ipfs/new/d/far')).toEqual(bytes);
  });

  test(`${tool} out of MFS changes nothing when the bytes cannot be had`, async () => {
    plant('far', Buffer.alloc(100, 'far'));
    await w.planned(tool, values);
    await w.refused(tool, values, 'CONTENT_NOT_AVAILABLE');
  });
}

test('a copy within a tree of MFS fetches nothing', async () => {
  plant('far', Buffer.alloc(100, 'far'));
  const values = { source: '/m/d', destination: '/m/e', recursive: true };
  expect(await w.done('vfs_copy', values)).toMatchObject({ files: 1, linked_bytes: 100 });
  expect(stateOf('/m/e/far')).toBe('remote');
});
