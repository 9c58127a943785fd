/** A process that becomes another program. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ADDON = JSON.stringify(
  fileURLToPath(new URL('../../native/build/Release/kitfs.node', import.meta.url)),
);

/** What a shell says after a Node process that was busy became it. */
function shell(script: string) {
  const code = `
    const native = require(${ADDON});
    process.on('SIGUSR2', () => {});
    process.env.KITFS_TEST = 'set late';
    process.stdout.write('from node\\n');
    require('node:fs').readFile('/proc/self/status', () => {
      console.log(process.pid);
      native.replaceProcess('/bin/sh', ['-c', ${JSON.stringify(script)}, 'name', 'a b', '']);
    });`;
  const { stdout, status } = spawnSync(process.execPath, ['-e', code], {
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'inherit', process.stderr.fd, process.stderr.fd],
  });
  const [said, pid, ...lines] = stdout.trim().split('\n');
  return { status, said, pid, lines };
}

test('a process that becomes another keeps its number, its environment and its words', () => {
  const { status, said, pid, lines } = shell('echo $$; echo "$KITFS_TEST|$1|$2|$#"; exit 7');
  expect({ status, said, lines }).toEqual({
    status: 7,
    said: 'from node',
    lines: [pid, 'set late|a b||2'],
  });
});

test('the other program has standard descriptors, and no other', () => {
  expect(shell('ls /proc/self/fd').lines).toEqual(['0', '1', '2', '3']); // 3 is what ls reads.
  const flags = shell('cat /proc/$$/fdinfo/0 /proc/$$/fdinfo/1 | grep flags').lines;
  const NONBLOCK = 0o4000;
  expect(flags.map((line) => Number.parseInt(line.split('\t')[1] ?? '', 8) & NONBLOCK)).toEqual([
    0, 0,
  ]);
});

test('the other program ignores and blocks no signal', () => {
  expect(shell('grep -E "Sig(Blk|Ign)" /proc/self/status').lines).toEqual([
    expect.stringMatching(/^SigBlk:\t0+$/),
    expect.stringMatching(/^SigIgn:\t0+$/),
  ]);
});

test('a process goes on when the other program is not there', () => {
  const code = `
    const native = require(${ADDON});
    try { native.replaceProcess('/absent', []); } catch ({ code, syscall }) {
      console.log(code, syscall, require('node:fs').readFileSync('/proc/self/status', 'utf8')
        .match(/SigIgn:\\s*0*(.*)/)[1]);
    }`;
  const { stdout } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  expect(stdout).toMatch(/^ENOENT execve [0-9a-f]+\n$/);
});
