import { expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { type ControlSources, controlFiles } from '../../src/daemon/control-files.ts';
import { CONTROL_INO, ControlTree } from '../../src/vfs/control.ts';

test('what names the files and CIDs of others is for the owner of the daemon alone', () => {
  // Nothing is rendered here.
  const files = controlFiles({} as ControlSources);
  const tree = new ControlTree(files, { s: 1, ns: 0 }, { uid: 7, gid: 8 });
  const facts = files.map(({ name }) => {
    const { mode, uid, gid } = tree.child(CONTROL_INO, nameOfText(name)) ?? {};
    return [name, (mode ?? 0) & 0o777, uid, gid];
  });
  expect(facts).toEqual([
    ['status.json', 0o444, 7, 8],
    ['journal.ndjson', 0o400, 7, 8],
    ['errors.ndjson', 0o400, 7, 8],
  ]);
});
