import fc from 'fast-check';
import { expect, test } from 'vitest';
import { S_IFREG } from '../../src/base/posix.ts';
import { type Acl, aclPermits, formatAcl, modeOfAcl, narrowMode } from '../../src/vfs/acl.ts';
import type { Inode } from '../../src/vfs/contract.ts';
import { SEED } from '../model/seed.ts';
import { callerOf } from './fixture.ts';

const bits = fc.integer({ min: 0, max: 7 });
const id = fc.integer({ min: 1, max: 5 });
const named = fc.uniqueArray(fc.record({ id, bits }), {
  selector: (entry) => entry.id,
  maxLength: 3,
});
const acls: fc.Arbitrary<Acl> = fc.record({
  owner: bits,
  users: named,
  group: bits,
  groups: named,
  mask: bits,
  other: bits,
});
const callers = fc
  .record({ uid: id, gid: id, groups: fc.array(id, { maxLength: 3 }) })
  .map(({ uid, gid, groups }) => callerOf(uid, gid, groups));

/** What a kernel does that knows modes only; not for root. */
function modePermits(mode: number, caller: ReturnType<typeof callerOf>, inode: Inode): boolean[] {
  const isIn = caller.gid === inode.gid || caller.groups.includes(inode.gid);
  const others = isIn ? 3 : 0;
  const shift = caller.uid === inode.uid ? 6 : others;
  return [4, 2, 1].map((wanted) => ((mode >> shift) & wanted) !== 0);
}

test('the narrow mode lets nobody do what the list forbids, and the owner all that it allows', () => {
  fc.assert(
    fc.property(acls, callers, id, id, (acl, caller, uid, gid) => {
      const mode = S_IFREG | 0o4000 | modeOfAcl(acl);
      const inode = { mode, uid, gid, acl: formatAcl(acl) } as unknown as Inode;
      const narrow = narrowMode(inode);
      expect(narrow & ~0o77).toBe(mode & ~0o77);
      const allowed = [4, 2, 1].map((wanted) => aclPermits(acl, caller, inode, wanted));
      const granted = modePermits(narrow, caller, inode);
      for (const [index, isGranted] of granted.entries()) {
        if (isGranted) expect(allowed[index]).toBe(true);
      }
      if (caller.uid === uid) expect(granted).toEqual(allowed);
    }),
    { seed: SEED },
  );
});

test('without a list the mode is the mode', () => {
  const inode = { mode: S_IFREG | 0o2775, uid: 1, gid: 1 } as unknown as Inode;
  expect(narrowMode(inode)).toBe(S_IFREG | 0o2775);
});
