/** Where it is written down which process keeps a mount. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, lstatSync, symlinkSync, utimesSync } from 'node:fs';
import { expect, test } from 'vitest';
import { keeperProgram } from '../../src/base/native.ts';
import { demandNoOtherKeeper, recordKeeper } from '../../src/daemon/keeper-process.ts';
import { Scratch } from './scratch.ts';

test('what is written down already is not written again, and a shorter record is as good as any', async () => {
  using scratch = new Scratch();
  const path = scratch.path('keeper.json');
  const keeper = spawn(keeperProgram(), ['--listen', scratch.path('socket')], { stdio: 'ignore' });
  try {
    await once(keeper, 'spawn');
    const pid = keeper.pid ?? -1;
    recordKeeper(path, pid, '/a/long/path/of/a/mount');
    utimesSync(path, 1, 1);
    recordKeeper(path, pid, '/a/long/path/of/a/mount');
    expect(lstatSync(path).mtimeMs).toBe(1000);
    const before = lstatSync(path);
    recordKeeper(path, pid, '/mnt');
    expect(lstatSync(path)).toMatchObject({ ino: before.ino, size: before.size - 19 });
    // The end of a record that was longer, where a kill came in between.
    appendFileSync(path, 'of/a/mount"}\n');
    expect(() => demandNoOtherKeeper(path, undefined)).toThrow(
      expect.objectContaining({ failure: 'busy', details: { pid } }),
    );
  } finally {
    keeper.kill('SIGKILL');
    await once(keeper, 'exit');
  }
});

test('a record that cannot be written is an error', () => {
  using scratch = new Scratch();
  symlinkSync(scratch.path('no', 'such'), scratch.path('keeper.json'));
  expect(() => recordKeeper(scratch.path('keeper.json'), process.pid, '/mnt')).toThrow(
    expect.objectContaining({ name: 'OpError' }),
  );
});
