/** How rows of what was published are put in order: what they tell of can be made again. */
import type { Mend } from './mending.ts';
import { repaired } from './mending.ts';

const publishedFields: Mend = (mending, { ino }) => {
  mending.run('DELETE FROM published WHERE ino = ?', ino);
  return repaired('the directory is looked at again when it is published');
};

export const SYNC_MENDS: Readonly<Record<string, Mend>> = {
  'published-fields': publishedFields,
};
