/** The law of large directories, of the table of POSIX cases, on one of 100,000 entries. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestDaemon } from '../integration/daemon.ts';
import { CallsProgram } from '../posix/calls.ts';
import { readWhileItChanges } from '../posix/cases-processes.ts';
import { Processes } from '../posix/processes.ts';

const ENTRIES = 100_000;

let daemon: TestDaemon;
let program: CallsProgram;
beforeAll(async () => {
  program = new CallsProgram();
  daemon = await TestDaemon.start();
});
afterAll(async () => {
  await daemon.close();
  program[Symbol.dispose]();
});

test('a directory of 100,000 entries read while it changes shows once what stays throughout', async () => {
  await daemon.run('mkdir', ['ipfs/large']);
  await using fs = Processes.start(program, (command, args) =>
    daemon.spawn(command, args, { in: 'ipfs' }),
  );
  await readWhileItChanges(fs, 'large', ENTRIES);
  expect((await daemon.kitfs(['fsck'])).code).toBe(0);
});
