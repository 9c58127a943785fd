/**
 * `npm run bench:sync`: what a publication to a real Kubo costs, beside what a Kubo needs for the same blocks as a
 * CAR; what an unchanged tree costs, and what programs on the mount notice. A publication is asked for by a command,
 * whose own start counts; the second ratio leaves it out, as whoever is connected already does.
 *
 *   npm run bench:sync [-- --files 10000] [--many 100000] [--rounds 3]
 */
import { parseArgs } from 'node:util';
import { Synced } from './synced.ts';

const CREATED = 4000;

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '10000' },
    many: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '3' },
  },
});
const [files, many, rounds] = [values.files, values.many, values.rounds].map(Number) as [
  number,
  number,
  number,
];

const say = (what: string, ...figures: readonly string[]) =>
  process.stdout.write(`${what}: ${figures.join(', ')}\n`);
const seconds = (value: number) => `${value.toFixed(2)} s`;
const ms = ({ medianMs, p99Ms }: { medianMs: number; p99Ms: number }) =>
  `${medianMs.toFixed(2)} ms in the median, ${p99Ms.toFixed(2)} ms p99`;

async function published(synced: Synced, what: string, base?: string): Promise<string> {
  const command = await synced.command();
  const { seconds: took, root } = await synced.publish();
  const imported = await synced.import(root, base);
  const ratio = `${(imported / took).toFixed(2)} of its speed`;
  const asked = `by an agent that is connected ${(imported / (took - command)).toFixed(2)}`;
  say(`${files} files ${what}`, seconds(took), `dag import ${seconds(imported)}`, ratio, asked);
  return root;
}

async function measure(round: number): Promise<void> {
  await using synced = await Synced.start();
  await synced.write(files, round);
  const first = await published(synced, 'just written');
  await synced.write(files, 1000 + round);
  await synced.rests();
  await published(synced, 'changed, and at rest', first);
  await synced.daemon.shell('printf x >> d0/f0', { in: 'ipfs' });
  const one = await synced.publish();
  say('one of them changed', seconds(one.seconds), `${one.newBlocks} new blocks`);
  const calm = await synced.creates(CREATED, 'calm');
  await synced.write(files, 2000 + round);
  const publishing = synced.publish();
  const busy = await synced.creates(CREATED, 'busy');
  await publishing;
  say('create', ms(calm), `while a tree is published ${ms(busy)}`);
}

for (let round = 1; round <= rounds; round++) await measure(round);

await using large = await Synced.start();
await large.plant(many);
say(`${many} empty files`, seconds((await large.publish()).seconds));
for (let round = 1; round <= rounds; round++) {
  const { seconds: took, changed } = await large.publish();
  say(`${many} files as before`, seconds(took), changed ? 'changed' : 'unchanged');
}
