/** A kill while a mapping is written whose file is closed already: nobody but the kernel has seen the writes. */
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { TestDaemon } from '../integration/daemon.ts';
import { buildProgram } from './program.ts';

/** Packed content, the largest packed one, and content in a file of its own. */
const SIZES = [16 * 1024, 64 * 1024, 1024 * 1024];
const KILLS_PER_SIZE = 4;
const WORD_BYTES = 8;

interface Mapped {
  readonly wrote: number;
  readonly synced: number;
}

/** Kills the daemon some time after the program has synced once. */
async function killWhileWritten(
  daemon: TestDaemon,
  args: readonly string[],
  delayMs: number,
): Promise<Mapped> {
  const [program = '', ...rest] = args;
  const worker = daemon.spawn(program, rest, { in: 'ipfs' });
  const { stdout } = worker;
  if (stdout === null) throw new Error('the program has no output');
  const closed = once(worker, 'close');
  let said = '';
  stdout.setEncoding('utf8');
  await new Promise<void>((resolve) => {
    stdout.on('data', (text: string) => {
      said += text;
      if (said.includes('synced')) resolve();
    });
    stdout.once('end', resolve);
  });
  // The delay is the randomness of this test, not a wait for something.
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  await daemon.kill();
  worker.kill('SIGKILL');
  await closed;
  const last = (verb: string) =>
    Math.max(
      0,
      ...[...said.matchAll(new RegExp(`^${verb} (\\d+)$`, 'gm'))].map((m) => Number(m[1])),
    );
  return { wrote: last('wrote'), synced: last('synced') };
}

test('a synced mapping survives a kill; of later writes each word is there or one before it', async () => {
  await using daemon = await TestDaemon.start();
  const program = buildProgram('mapped.c', daemon.directory);
  for (const size of SIZES) {
    for (let kill = 0; kill < KILLS_PER_SIZE; kill++) {
      const name = `m${size}-${kill}`;
      const delayMs = Math.floor(Math.random() * 150);
      const { wrote, synced } = await killWhileWritten(daemon, [program, name, `${size}`], delayMs);
      const what = `${name}, killed after ${delayMs} ms: wrote ${wrote}, synced ${synced}`;
      expect(synced, what).toBeGreaterThan(0);
      await daemon.restart();
      const text = await daemon.run('base64', ['-w0', name], { in: 'ipfs' });
      const bytes = Buffer.from(text, 'base64');
      expect(bytes.length, what).toBe(size);
      const rounds = new Set<number>();
      for (let at = 0; at < size; at += WORD_BYTES) rounds.add(Number(bytes.readBigUInt64LE(at)));
      expect(Math.min(...rounds), what).toBeGreaterThanOrEqual(synced);
      // The round after the last one it told of had begun.
      expect(Math.max(...rounds), what).toBeLessThanOrEqual(wrote + 1);
      const { findings } = await daemon.json<{ findings: unknown[] }>(['fsck']);
      expect(findings, what).toEqual([]);
    }
  }
});
