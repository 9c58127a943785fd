/** What a state directory has mounted after a start. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Name, textOf } from '../../src/base/ids.ts';
import type { Settings } from '../../src/daemon/settings.ts';
import { mountFirstTrees } from '../../src/daemon/trees.ts';
import { mount, unmount } from '../../src/vfs/vfs.ts';
import { CountingRandom } from '../fakes/random.ts';
import { Fixture, ROOT } from '../vfs/fixture.ts';

const settings = { memory: { enabled: false }, mounts: { mfs: false } } as Settings;
const withMfs = { ...settings, mounts: { mfs: true } };

/** It has `/ipfs` and `/mem`, as before there was `/ipns`. */
let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

function begin(given = settings): string[] {
  const { core } = fixture.vfs;
  const owner = { uid: 0, gid: 0 };
  mountFirstTrees({ core, settings: given, random: new CountingRandom(), owner });
  return core.mounts.mounts().map(({ mountPoint }) => textOf(mountPoint));
}

test('one of before there was /ipns gets it, once', () => {
  expect(begin()).toEqual(['/ipfs', '/ipns']);
  const { seq } = fixture.journal.head;
  fixture.reopen();
  expect(begin()).toEqual(['/ipfs', '/ipns']);
  expect(fixture.journal.head.seq).toBe(seq);
});

test('/ipns that somebody unmounted stays away', () => {
  begin();
  unmount(fixture.vfs.core, ROOT, '/ipns' as Name);
  expect(begin()).toEqual(['/ipfs']);
});

test.each(['/ipns', '/ipns/mine'])('what somebody has at %s stays there', (point) => {
  mount(fixture.vfs.core, ROOT, {
    ...{ mountId: 'mine', mountPoint: point as Name, kind: 'ipfs', backend: 'ipfs', source: '' },
    ...{ readOnly: false, volatile: false, options: {}, uid: 0, gid: 0, mode: 0o755 },
    parents: true,
  });
  expect(begin()).toEqual(['/ipfs', point]);
});

test('/mfs is there when it is switched on, once, and stays away when somebody unmounted it', () => {
  expect(begin(withMfs)).toEqual(['/ipfs', '/ipns', '/mfs']);
  const { superblock } = fixture.vfs.core.mounts.mountAt('/mfs' as Name) ?? {};
  expect(superblock).toMatchObject({ kind: 'mfs', source: '/', readOnly: false, volatile: false });
  fixture.reopen();
  expect(begin(withMfs)).toEqual(['/ipfs', '/ipns', '/mfs']);
  unmount(fixture.vfs.core, ROOT, '/mfs' as Name);
  expect(begin(withMfs)).toEqual(['/ipfs', '/ipns']);
});
