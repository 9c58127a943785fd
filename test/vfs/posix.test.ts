/** The table of POSIX cases in process, on a tree of each kind, with the journal checked after every case. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkJournal } from '../../src/journal/journal.ts';
import { CASES } from '../posix/cases.ts';
import { InProcess } from '../posix/in-process.ts';
import { Fixture } from './fixture.ts';

describe.each(['/ipfs', '/mem'])('%s', (tree) => {
  let f: Fixture;
  let cases = 0;
  beforeAll(() => {
    f = new Fixture();
  });
  afterAll(() => {
    f.close();
  });

  test.each(CASES)('$title', async ({ run }) => {
    const directory = `${tree}/case-${cases++}`;
    const fs = new InProcess(f.vfs);
    const handles = f.vfs.core.handles.size;
    await fs.mkdir(directory, 0o755);
    await run(fs, directory);
    expect(checkJournal(f.journal)).toEqual([]);
    expect(f.vfs.core.handles.size).toBe(handles);
  });
});
