/**
 * Ratios and counts, never times: what must hold on any machine, however loaded, because both sides are measured in
 * one run or because it is counted.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestDaemon } from '../integration/daemon.ts';

interface Status {
  readonly kernel: { readonly requests: number };
}

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await TestDaemon.start();
});
afterAll(() => daemon.close());

const requests = async (): Promise<number> =>
  (await daemon.json<Status>(['status'])).kernel.requests;

/** Requests the kernel sent while a script ran on the mount. */
async function requestsOf(script: string): Promise<number> {
  const before = await requests();
  await daemon.run('python3', ['-c', script], { in: 'ipfs', timeoutMs: 120_000 });
  return (await requests()) - before;
}

test('a name looked up before is answered by the kernel: 1,000 stats cost no requests of their own', async () => {
  await daemon.shell('mkdir s; for i in $(seq 1 100); do : > s/f$i; done', { in: 'ipfs' });
  const script = `
import os
for r in range(10):
    for i in range(1, 101): os.stat(f's/f{i}')`;
  expect(await requestsOf(script)).toBeLessThan(150);
});

test('an absent name is asked for once', async () => {
  const script = `
import os
for i in range(1000): os.path.exists('absent')`;
  expect(await requestsOf(script)).toBeLessThan(20);
});

test('bytes read before are answered by the page cache', async () => {
  await daemon.shell('head -c 4000000 /dev/urandom > big; cat big > /dev/null', { in: 'ipfs' });
  const script = `
for r in range(50): open('big','rb').read()`;
  // An open and a release each, and the attributes now and then; never the bytes.
  expect(await requestsOf(script)).toBeLessThan(250);
});

test('closing a file costs no flush: create, write, close is six requests', async () => {
  const script = `
import os
for i in range(500):
    fd = os.open(f'c{i}', os.O_CREAT | os.O_WRONLY | os.O_EXCL); os.write(fd, b'x'); os.close(fd)`;
  // GETATTR of the directory the last one changed, LOOKUP, CREATE, GETXATTR of security.capability before the first
  // write of an inode, WRITE, RELEASE; and a few for the start of the program.
  expect(await requestsOf(script)).toBeLessThan(500 * 6 + 100);
});

test('a megabyte is written in requests of up to a megabyte', async () => {
  const script = `
import os
fd = os.open('seq', os.O_CREAT | os.O_WRONLY)
for i in range(32): os.write(fd, os.urandom(1 << 20))
os.close(fd)`;
  expect(await requestsOf(script)).toBeLessThan(32 * 2 + 40);
});

test('a directory read twice is read once', async () => {
  await daemon.shell('mkdir r; cd r; for i in $(seq 1 500); do : > f$i; done; ls > /dev/null', {
    in: 'ipfs',
  });
  const script = `
import os
for i in range(20): os.listdir('r')`;
  expect(await requestsOf(script)).toBeLessThan(80);
});
