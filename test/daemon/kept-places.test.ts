/** Which directories a daemon uses that goes on with a mount. */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/daemon/config.ts';
import { atKeptPlaces, keepPlaces, keptJournal } from '../../src/daemon/kept-places.ts';
import { DuplicatingKeeper } from './hand-keeper.ts';
import { Scratch } from './scratch.ts';

let scratch: Scratch;
let keeper: DuplicatingKeeper;
beforeEach(() => {
  scratch = new Scratch();
  keeper = new DuplicatingKeeper();
  for (const name of ['state', 'run']) mkdirSync(scratch.path(name));
  keepPlaces(keeper, placesIn(''), 'the journal');
  keeper.things.set('fuse', { descriptor: -1, data: '' });
});
afterEach(() => scratch[Symbol.dispose]());

const placesIn = (folder: string) => ({
  state: scratch.path(folder, 'state'),
  run: scratch.path(folder, 'run'),
  mountPoint: scratch.path(folder, 'mnt'),
});

/** What a daemon is told by now. */
const told = (folder: string) =>
  loadConfig(placesIn(folder), {
    ...{ variables: {}, uid: 1000, pid: 1, home: '/home/ann', directory: '/' },
  });

describe('the places of a mount that is there', () => {
  test('are the same directories as long as it is', async () => {
    const places = atKeptPlaces(await told(''), keeper);
    expect(places).toMatchObject({ ...placesIn(''), unheeded: [] });
    expect(keptJournal(keeper)).toBe('the journal');
  });

  test('hold, whatever is said by then, and the others are not made', async () => {
    const places = atKeptPlaces(await told('other'), keeper);
    expect(places).toMatchObject({
      ...placesIn(''),
      mcpSocket: scratch.path('run', 'mcp.sock'),
      mcpReadOnlySocket: scratch.path('run', 'mcp-ro.sock'),
      controlSocket: scratch.path('run', 'control.sock'),
      unheeded: ['state', 'run', 'mountPoint'],
    });
    expect(readdirSync(scratch.directory).sort()).toEqual(['run', 'state']);
  });

  test('are found where they were moved, whatever lies in their place', async () => {
    for (const name of ['state', 'run']) {
      renameSync(scratch.path(name), scratch.path(`${name}-moved`));
      mkdirSync(scratch.path(name));
    }
    expect(atKeptPlaces(await told(''), keeper)).toMatchObject({
      state: scratch.path('state-moved'),
      run: scratch.path('run-moved'),
      unheeded: ['state', 'run'],
    });
  });

  test('are not made anew when the state was removed; the sockets are', async () => {
    rmSync(scratch.path('run'), { recursive: true });
    expect(atKeptPlaces(await told('other'), keeper)).toMatchObject({ run: placesIn('').run });
    for (const name of ['state', 'run']) keeper.things.delete(name);
    for (const name of ['state', 'run']) mkdirSync(scratch.path(name), { recursive: true });
    keepPlaces(keeper, placesIn(''), 'the journal');
    rmSync(scratch.path('state'), { recursive: true });
    const config = await told('');
    expect(() => atKeptPlaces(config, keeper)).toThrow(
      expect.objectContaining({ failure: 'not-found' }),
    );
  });

  test('mean nothing where there is no mount', async () => {
    keeper.things.delete('fuse');
    expect(atKeptPlaces(await told('other'), keeper)).toMatchObject(placesIn('other'));
  });
});
