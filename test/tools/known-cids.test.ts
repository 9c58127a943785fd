/** Who has a CID has its bytes: so a file's is told to nobody who may not read the file. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { type Facts, Fixture, ROOT } from './fixture.ts';

const OWNER = { uid: 1000, gid: 1000 };
const STRANGER = { uid: 2000, gid: 2000 };

let fixture: Fixture;
beforeEach(async () => {
  fixture = new Fixture();
  await fixture.write('/ipfs/d/a', 'secret');
  const { uid, gid } = OWNER;
  void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/d/a'), { uid, gid });
  void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/d/a'), { mode: 0o600 });
  await fixture.done('vfs_stat', { path: '/ipfs/d/a', compute_cid: true });
});
afterEach(() => fixture.close());

const entriesOf = async (tool: string, path: string, peer: typeof OWNER): Promise<Facts[]> =>
  (await fixture.done(tool, { path }, peer))['entries'] as Facts[];

/** What each call tells of the file: its CID, or nothing. */
async function told(peer: typeof OWNER): Promise<unknown[]> {
  const stat = await fixture.done('vfs_stat', { path: '/ipfs/d/a' }, peer);
  const [listed] = await entriesOf('vfs_ls', '/ipfs/d', peer);
  const history = await fixture.done('fs_journal_get_history', { path: '/ipfs/d/a' }, peer);
  const records = history['entries'] as Facts[];
  const inRecords = records.map((entry) => entry['cid'] ?? entry['old_cid']).find(Boolean);
  const current = (history['current_state'] ?? {}) as Facts;
  return [stat['cid'], listed?.['cid'], current['cid'], inRecords];
}

describe('the CID of a file', () => {
  test('is told to its readers, and left out for all others', async () => {
    const known = await told(OWNER);
    expect(known).toEqual(Array(4).fill(expect.stringMatching(/^bafk/)));
    expect(await told({ uid: 0, gid: 0 })).toEqual(known);
    expect(await told(STRANGER)).toEqual(Array(4).fill(undefined));
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/d/a'), { mode: 0o644 });
    expect(await told(STRANGER)).toEqual(known);
  });

  test('is hashed for its readers only', async () => {
    const values = { path: '/ipfs/d/a', compute_cid: true };
    expect(await fixture.done('vfs_stat', values, OWNER)).toHaveProperty('cid');
    await fixture.refused('vfs_stat', values, 'PERMISSION_DENIED', STRANGER);
  });

  test('that is gone is told to its owner, not to who removed it', async () => {
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/d'), { mode: 0o777 });
    await fixture.done('vfs_rm', { path: '/ipfs/d/a' }, STRANGER);
    const removal = async (peer: typeof OWNER) => {
      const entries = await entriesOf('fs_journal_get_history', '/ipfs/d/a', peer);
      return entries.find(({ op }) => op === 'unlink');
    };
    expect(await removal(OWNER)).toHaveProperty('old_cid');
    expect(await removal({ uid: 0, gid: 0 })).toHaveProperty('old_cid');
    expect(await removal(STRANGER)).not.toHaveProperty('old_cid');
  });

  test('is no attribute for who may not read it, nor are the others', () => {
    const { vfs } = fixture;
    const ino = fixture.ino('/ipfs/d/a');
    const names = ['ipfs.cid', 'kitfs.version', 'kitfs.durability', 'kitfs.provenance'];
    for (const name of names) {
      const get = (peer: typeof OWNER) =>
        vfs.getxattr({ ...ROOT, ...peer }, ino, `user.${name}` as Name);
      expect([name, get(OWNER)?.length ?? 0]).not.toEqual([name, 0]);
      expect(() => get(STRANGER)).toThrow(expect.objectContaining({ failure: 'denied' }));
    }
  });
});
