/** kill -9 at random moments: what was acknowledged is there, and everything checks. */
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { TestDaemon } from '../integration/daemon.ts';

const KILLS = 100;
/** Daemons at a time: each kill costs a start. */
const PER_TEST = 25;

/**
 * Makes, renames, rewrites and removes files for ever, and says on its output what was acknowledged: one line
 * after each call that returned. Only names of its own round are touched.
 */
const WORKER = `
const fs = require('fs');
const round = process.argv[1];
const say = (line) => fs.writeSync(1, line + '\\n');
fs.mkdirSync('r' + round); say('mkdir');
for (let i = 0; ; i++) {
  const name = 'r' + round + '/f' + i;
  const text = (round + '.' + i + ' ').repeat(1 + (i * 37) % 400);
  fs.writeFileSync(name, text); say('put ' + i);
  if (i % 3 === 1) { fs.renameSync(name, name + 'm'); say('move ' + i); }
  if (i % 3 === 2) { fs.writeFileSync(name, 'again ' + text); say('again ' + i); }
  const old = i - 4;
  if (i % 5 === 4) { fs.unlinkSync('r' + round + '/f' + old + (old % 3 === 1 ? 'm' : '')); say('gone ' + old); }
}`;

interface Expected {
  readonly files: Map<number, { name: string; text: string }>;
  /** The operation that may or may not have happened. */
  readonly unsure: number;
}

function replay(round: number, lines: readonly string[]): Expected {
  const files = new Map<number, { name: string; text: string }>();
  const textOf = (i: number) => `${round}.${i} `.repeat(1 + ((i * 37) % 400));
  let next = 0;
  for (const line of lines) {
    const [verb, number] = line.split(' ');
    const i = Number(number);
    const file = files.get(i);
    if (verb === 'put') files.set(i, { name: `f${i}`, text: textOf(i) });
    if (verb === 'move' && file !== undefined) file.name = `f${i}m`;
    if (verb === 'again' && file !== undefined) file.text = `again ${textOf(i)}`;
    if (verb === 'gone') files.delete(i);
    if (verb === 'put') next = i;
  }
  return { files, unsure: next };
}

/** Prints name and content of every file of a round, as JSON. */
const LISTER = `
const fs = require('fs');
const d = 'r' + process.argv[1];
const names = fs.existsSync(d) ? fs.readdirSync(d) : [];
console.log(JSON.stringify(names.map((n) => [n, fs.readFileSync(d + '/' + n, 'utf8')])));`;

async function killRound(daemon: TestDaemon, round: number, delayMs: number): Promise<void> {
  const worker = daemon.spawn(process.execPath, ['-e', WORKER, String(round)], { in: 'ipfs' });
  let said = '';
  worker.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const closed = once(worker, 'close');
  // The delay is the randomness of this test, not a wait for something.
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  await daemon.kill();
  await closed;
  await daemon.restart();
  const lines = said.split('\n').slice(0, -1);
  const { files, unsure } = replay(round, lines);
  const args = ['-e', LISTER, String(round)];
  const listed = JSON.parse(await daemon.run(process.execPath, args, { in: 'ipfs' })) as [
    string,
    string,
  ][];
  const found = new Map(listed);
  for (const [i, { name, text }] of files) {
    // The next call may have been made without its answer: a move, a rewrite, or the removal of an older file.
    const mayDiffer = i >= unsure - 5;
    const moved = found.get(`${name}m`);
    const content = found.get(name) ?? (mayDiffer ? (moved ?? text) : undefined);
    const whole = content === text || (mayDiffer && isBetween(content, text));
    expect(whole, `round ${round}, acknowledged ${name}: ${content?.slice(0, 40)}`).toBe(true);
  }
  expect(lines[0] ?? 'mkdir').toBe('mkdir');
}

/** A rewrite in flight: truncated, cut short, or complete. */
const isBetween = (content: string | undefined, text: string): boolean =>
  content !== undefined && (`again ${text}`.startsWith(content) || text.startsWith(content));

for (let batch = 0; batch < KILLS / PER_TEST; batch++) {
  test(`kills ${batch * PER_TEST + 1} to ${(batch + 1) * PER_TEST} lose nothing acknowledged`, async () => {
    await using daemon = await TestDaemon.start();
    const seed = Date.now() % 1_000_000;
    console.log(`seed ${seed}`);
    let state = seed;
    const random = (): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return state / 2_147_483_648;
    };
    for (let i = 0; i < PER_TEST; i++) {
      await killRound(daemon, i, 20 + Math.floor(random() * 400));
      const { findings } = await daemon.json<{ findings: unknown[] }>(['fsck']);
      expect(findings).toEqual([]);
    }
  });
}
