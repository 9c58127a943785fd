/**
 * Where the mount has its state and its sockets, in descriptors that the keeper holds: the daemon that
 * goes on with the mount finds these directories wherever they were moved, and uses no others,
 * whatever it is told by then. With the journal of another tree, open files would be other files.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readlinkSync,
  type Stats,
  statSync,
} from 'node:fs';
import { OpError } from '../base/errors.ts';
import { type Config, movedTo, type PlaceNames } from './config.ts';
import { CONNECTION, type Keeper } from './keeper.ts';

/** The names under which the keeper holds them. What is said of both is with the first. */
const STATE = 'state';
const RUN = 'run';

/** As they were called when the mount was made, and which journal lay there. */
interface Note extends PlaceNames {
  readonly journalId: string;
}

/** The keeper holds them from now on. @throws Error of the host. */
export function keepPlaces(
  keeper: Pick<Keeper, 'hold'>,
  { state, run, mountPoint }: PlaceNames,
  journalId: string,
): void {
  const note: Note = { state, run, mountPoint, journalId };
  for (const [name, path, data] of [
    [RUN, run, ''],
    [STATE, state, JSON.stringify(note)],
  ] as const) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      keeper.hold(name, fd, data);
    } finally {
      closeSync(fd);
    }
  }
}

/** The journal of the mount that is held; undefined: nobody knows, and it cannot be gone on with. */
export const keptJournal = (keeper: Pick<Keeper, 'held'>): string | undefined =>
  noteIn(keeper.held(STATE)?.data)?.journalId;

/**
 * The configuration at the places of the mount that is there; as it is where there is none.
 * @throws OpError not-found: the state directory was removed, or is not to be reached any more. None
 *   is made in its place: programs would find an empty tree.
 */
export function atKeptPlaces(config: Config, keeper: Pick<Keeper, 'held' | 'pid'>): Config {
  const note = noteIn(keeper.held(STATE)?.data);
  const [state, run] = [pathTaken(keeper, STATE, note?.state), pathTaken(keeper, RUN, note?.run)];
  if (note === undefined || keeper.held(CONNECTION) === undefined) return config;
  if (state === undefined) {
    throw new OpError('not-found', `go on with the mount at ${note.mountPoint}`, {
      hint: `its state directory ${note.state} is gone: put it back, or end the keeper, pid ${keeper.pid}`,
    });
  }
  // The sockets are made anew where their directory was removed.
  return movedTo(config, { state, run: run ?? note.run, mountPoint: note.mountPoint });
}

/** Where what is held is by now; undefined: nowhere. The descriptor is closed. */
function pathTaken(
  keeper: Pick<Keeper, 'held'>,
  name: string,
  before: string | undefined,
): string | undefined {
  const held = keeper.held(name);
  if (held === undefined) return undefined;
  try {
    const { dev, ino } = fstatSync(held.descriptor);
    const now = readlinkSync(`/proc/self/fd/${held.descriptor}`);
    return [before, now].find((path) => {
      const there = path === undefined ? undefined : statOf(path);
      return there?.dev === dev && there.ino === ino;
    });
  } finally {
    closeSync(held.descriptor);
  }
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined; // Nothing that can be used.
  }
}

function noteIn(data: string | undefined): Note | undefined {
  try {
    const said = JSON.parse(data ?? '') as Partial<Record<keyof Note, unknown>>;
    const texts = [said.state, said.run, said.mountPoint, said.journalId];
    return texts.every((text) => typeof text === 'string') ? (said as Note) : undefined;
  } catch {
    return undefined; // It was of another version.
  }
}
