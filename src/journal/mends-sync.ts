/** How rows of what was published are put in order: what they tell of can be made again. */
import type { Mend } from './mending.ts';
import { repaired, SETTLED } from './mending.ts';
import { quarantineBytes } from './mending-bytes.ts';

const publishedFields: Mend = (mending, { ino }) => {
  mending.run('DELETE FROM published WHERE ino = ?', ino);
  return repaired('the directory is looked at again when it is published');
};

/** Asked for anew, with nothing taken for granted; what cannot be brought is not owed any more. */
const targetFields: Mend = (mending, { target, published: path }) => {
  const at = 'WHERE target = ? AND path = ?';
  const isHere = (cid: string) => `EXISTS (SELECT 1 FROM block b WHERE b.cid = ${cid})`;
  mending.run(
    `DELETE FROM sync_target ${at} AND (target = '' OR substr(path, 1, 1) <> x'2f'
      OR NOT ${isHere('wanted_tree')} OR NOT ${isHere('wanted_snapshot')})`,
    target,
    path,
  );
  mending.run(
    `UPDATE sync_target SET pin = iif(pin = 0, 0, 1), state = 'queued', attempts = 0, due_s = 0,
      failure = NULL, held_tree = NULL, held_snapshot = NULL, checked_s = NULL,
      wanted_ino = 0, wanted_seq = 0, held_ino = NULL, held_seq = NULL, held_pin = NULL,
      sent = iif(json_valid(sent) AND json_type(sent) = 'array', sent, '[]') ${at}`,
    target,
    path,
  );
  return repaired('the store is asked again for all of it, or nothing is owed');
};

/** The tree begins empty again; what the root was is kept, for its other blocks may be here. */
const mfsRoot: Mend = (mending) => {
  const row = mending.get<{ value: string }>(`SELECT value FROM meta WHERE key = 'mfs_root'`);
  if (row === undefined) return SETTLED;
  mending.run(`DELETE FROM meta WHERE key = 'mfs_root'`);
  const done = quarantineBytes(mending, 'mfs-root', Buffer.from(String(row.value)));
  return { ...done, action: `the mutable tree is empty; its root was put aside: ${done.action}` };
};

/** Without its row a name is compared with what is there, and both are kept where they differ. */
const mfsSeenFields: Mend = (mending, { directory, seen }) => {
  mending.run('DELETE FROM mfs_seen WHERE parent = ? AND name = ?', directory, seen);
  return repaired('the name is compared again with the mutable tree of the node');
};

export const SYNC_MENDS: Readonly<Record<string, Mend>> = {
  'published-fields': publishedFields,
  'target-fields': targetFields,
  'mfs-root': mfsRoot,
  'mfs-seen-fields': mfsSeenFields,
};
