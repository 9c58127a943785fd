/** The daemon starts, dies, comes back and stops, and what was on the mount is there again. */
import { expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

test('what was written is there after a stop and after a kill', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.shell('mkdir ipfs/d && echo one > ipfs/d/a');
  await daemon.stop();
  await daemon.restart();
  expect(await daemon.run('cat', ['ipfs/d/a'])).toBe('one\n');
  await daemon.shell('echo two >> ipfs/d/a');
  await daemon.kill();
  await daemon.restart();
  expect(await daemon.run('cat', ['ipfs/d/a'])).toBe('one\ntwo\n');
});
