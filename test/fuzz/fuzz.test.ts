/**
 * Storms of bad input, small ones; `npm run test:stress -- fuzz` runs them at full size. The seed is
 * printed, and KITFS_TEST_SEED sets it. Nothing in kitfs reads a CAR, so none is thrown at it: the
 * blocks of one, bent, are put where content from elsewhere comes in (`dags.ts`).
 */
import { expect, test } from 'vitest';
import { SEED } from '../model/seed.ts';
import { bridgedStorm, nonsenseStorm } from './bridges.ts';
import { dagStorm, smallSnapshot } from './dags.ts';
import { databaseStorm, smallJournal } from './databases.ts';
import { Dice } from './dice.ts';
import { fuseStorm } from './fuse.ts';
import { FuzzHost } from './host.ts';
import { packetStorm } from './keeper.ts';
import { CONTROL, frameStorm, MCP } from './mcp.ts';
import { settingsStorm } from './settings.ts';
import { memoryStorm } from './tables.ts';

const STORM_MS_MAX = 60_000;
console.log(`seed ${SEED}`);

const withSeed = (faults: readonly string[]) => ({ seed: SEED, faults: faults.slice(0, 3) });
const CALM = { seed: SEED, faults: [] };

const storm = (title: string, run: () => Promise<readonly string[]>) =>
  test(title, async () => expect(withSeed(await run())).toEqual(CALM), STORM_MS_MAX);

storm(
  'random requests of the kernel are each answered once, and leave a sound journal',
  async () => {
    const { faults } = await fuseStorm(SEED, 15_000);
    return faults;
  },
);

storm('memory that is no handle table is none', async () => memoryStorm(new Dice(SEED), 500));

storm('random frames are each answered, and nobody else waits for it', async () => {
  const host = await FuzzHost.open();
  const agents = await frameStorm(host.mcpSocket, { seed: SEED, count: 2500, speech: MCP });
  const commands = await frameStorm(host.controlSocket, {
    seed: SEED,
    count: 500,
    speech: CONTROL,
  });
  const faults = [...agents.faults, ...commands.faults, ...host.faults()];
  await host.close();
  return faults;
});

storm('a damaged journal opens, or is refused with a clear error and left alone', async () => {
  const { faults } = await databaseStorm(await smallJournal(), { seed: SEED, count: 80 });
  return faults;
});

storm('content of a bad form is refused with a clear error', async () => {
  const { faults } = await dagStorm(await smallSnapshot(), { seed: SEED, count: 80 });
  return faults;
});

storm('a bridge answers its client whatever either side says, and says nothing else', async () => {
  const host = await FuzzHost.open();
  const storm = await bridgedStorm(host.mcpSocket, { seed: SEED, count: 500 });
  const { faults } = await nonsenseStorm({ seed: SEED, count: 10 });
  const all = [...storm.faults, ...faults, ...host.faults()];
  await host.close();
  return all;
});

storm('nonsense leaves a keeper alive, and no descriptor with it', async () => {
  const { faults } = await packetStorm({ seed: SEED, count: 3000 });
  return faults;
});

storm('a configuration file is taken whole or refused by the key', async () => {
  const { faults } = await settingsStorm({ seed: SEED, count: 2000 });
  return faults;
});
