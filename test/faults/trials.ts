/**
 * Trials: an operation, again and again, each time in a directory of its own and with its daemon killed at
 * another of the points that it passes. A trial that was killed must leave what one leaves that was not.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import BetterSqlite3 from 'better-sqlite3';
import { expect } from 'vitest';
import { type DaemonOptions, TestDaemon } from '../integration/daemon.ts';
import { CALLER, Kernel } from '../posix/kernel.ts';
import { type Operation, Place } from './operations.ts';
import { type Death, FaultPoints } from './points.ts';

const TYPE = 0o170000;
const REGULAR = 0o100000;
const LINK = 0o120000;
const SETTLE_MS_MAX = 15_000;
const READ_BYTES_MAX = 1 << 20;
const CONTENT_DIRECTORIES = 256;
/** Above what lies packed in the journal. */
const LARGE_BYTES = 65_537;

/** Passed when it suits the daemon, or the kernel, and not in each trial of an operation. */
const UNSTEADY = /^(keeper-|notif|request\.forget|fold|answer|wal-|backing-read)/;

/**
 * Passed by the operation, and now and then by what the daemon does on its own meanwhile: it seals what trials
 * before this one wrote, a second or more after them. So there may be fewer passings than in the model.
 */
const SHARED = /^(commit|journal-)/;

/** Stages of requests that change nothing, and come with most operations. */
const ASKING = /\.(lookup|getattr|getxattr)$/;

/** What a program can see of one file, as text. */
type Sight = Readonly<Record<string, unknown>>;

/** What a trial left: names and what is below them, then the open files. */
export type State = readonly Sight[];

/** A record, without what differs between trials. */
interface Recorded {
  readonly kind: string;
  readonly path: string;
  readonly oldPath: string | null;
  readonly size: number | null;
}

interface Row {
  readonly kind: string;
  readonly ino: number;
  readonly path: Buffer;
  readonly old_path: Buffer | null;
  readonly size: number | null;
}

interface Ran {
  readonly directory: string;
  readonly title: string;
  /** The trial that shows how it is when nobody dies. */
  readonly model: string;
}

export class Trials implements AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly points: FaultPoints;
  readonly #isKept: boolean;
  #kernel: Kernel;
  readonly #ran: Ran[] = [];
  readonly #killedAt = new Set<string>();
  #count = 0;

  private constructor(daemon: TestDaemon, points: FaultPoints, isKept: boolean) {
    this.daemon = daemon;
    this.#isKept = isKept;
    this.points = points;
    this.#kernel = clientOf(daemon);
  }

  static async start(options: Pick<DaemonOptions, 'configuration' | 'args'> = {}): Promise<Trials> {
    const points = new FaultPoints();
    try {
      const isKept = options.args?.includes('--no-keeper') !== true;
      const daemon = await TestDaemon.start({ ...options, env: points.env });
      const trials = new Trials(daemon, points, isKept);
      await trials.#makeContentDirectories();
      return trials;
    } catch (error) {
      points[Symbol.dispose]();
      throw error;
    }
  }

  /** How many points there were kills at. */
  get killedAtCount(): number {
    return this.#killedAt.size;
  }

  /** Kills at every passing of each point the operation passes. */
  async killEverywhere(operation: Operation): Promise<number> {
    const model = await this.#model(operation);
    let kills = 0;
    for (const [point, passings] of model.points) {
      for (let passing = 1; passing <= passings; passing++) {
        kills += Number(await this.#kill(operation, { point, passing }, model));
      }
    }
    return kills;
  }

  /** Kills once at each point the operation passes at which no operation was killed before. */
  async killAtNew(operation: Operation): Promise<void> {
    const model = await this.#model(operation);
    for (const point of model.points.keys()) {
      if (!this.#killedAt.has(point)) await this.#kill(operation, { point, passing: 1 }, model);
    }
  }

  /**
   * The number of a file's content, which is another one after each kill, says in which directory it lies, and whether
   * that is still to be made: so that all trials pass the same points, all of them are made.
   */
  async #makeContentDirectories(): Promise<void> {
    const content = join(this.daemon.state, 'content');
    const made = () => readdirSync(content).filter((name) => /^[0-9a-f]{2}$/.test(name)).length;
    const script = `
      const fs = require('fs');
      fs.mkdirSync('large');
      for (let i = 0; i < ${CONTENT_DIRECTORIES}; i++) fs.writeFileSync('large/' + i, Buffer.alloc(${LARGE_BYTES}));`;
    await this.daemon.run(process.execPath, ['-e', script], { in: 'ipfs' });
    await this.#rest(0);
    expect(made()).toBe(CONTENT_DIRECTORIES);
    const unsealed = () => this.#query("SELECT id FROM content WHERE state <> 'sealed'").length;
    await expect.poll(unsealed, { timeout: 4 * SETTLE_MS_MAX, interval: 50 }).toBe(0);
  }

  /** The points that are passed each time, of two times. */
  async #model(operation: Operation): Promise<Model> {
    const [model, other] = [await this.#unharmed(operation), await this.#unharmed(operation)];
    expect(other.state).toEqual(model.state);
    const points = new Map<string, number>();
    for (const [point, passings] of model.points) {
      const both = Math.min(passings, other.points.get(point) ?? 0);
      if (both > 0) points.set(point, both);
    }
    return { ...model, points };
  }

  async #unharmed(operation: Operation): Promise<Model> {
    const title = `${operation.name}, unharmed`;
    const place = await this.#place(operation, title);
    const fd = (await operation.prepare?.(place)) ?? -1;
    this.points.trace();
    await operation.act(place, fd);
    await place.rest();
    const points = new Map<string, number>();
    for (const point of await this.#tracedUntilAsked(place)) {
      const isSteady = operation.isAnswered === true && point.startsWith('answer');
      if (isSteady || !UNSTEADY.test(point)) points.set(point, (points.get(point) ?? 0) + 1);
    }
    const { directory } = place;
    this.#note(directory, title, directory);
    return { directory, points, state: await stateOf(place) };
  }

  /** Who is answered goes on before the daemon has passed its last points; a request after it comes behind them. */
  async #tracedUntilAsked({ kernel }: Place): Promise<string[]> {
    await kernel.listxattr('.');
    const traced = this.points.traced();
    const asked = traced.lastIndexOf('request.listxattr');
    expect(asked).not.toBe(-1);
    return traced.slice(0, asked);
  }

  /** False when the operation did not pass the point so often this time. */
  async #kill(
    operation: Operation,
    death: Required<Pick<Death, 'point' | 'passing'>>,
    model: Model,
  ): Promise<boolean> {
    const title = `${operation.name}, killed at ${death.point} (${death.passing})`;
    this.#killedAt.add(death.point);
    const place = await this.#place(operation, title);
    const fd = (await operation.prepare?.(place)) ?? -1;
    this.points.arm(death);
    try {
      await operation.act(place, fd);
    } catch (error) {
      throw new Error(`${title}: ${this.daemon.output}`, { cause: error });
    }
    const isThere = await this.#isPassed(place, death);
    if (isThere) await this.#expectDeath(title);
    expect(await stateOf(place), title).toEqual(model.state);
    this.#note(place.directory, title, model.directory);
    return isThere;
  }

  async #expectDeath(title: string): Promise<void> {
    const died = () => this.points.died;
    await expect.poll(died, { timeout: SETTLE_MS_MAX, interval: 2, message: title }).toBe(1);
  }

  /**
   * Whether the operation, which was answered, passes that point so often. When a request after its end is answered,
   * it has passed all it passes.
   */
  async #isPassed(place: Place, { point, passing }: Required<Pick<Death, 'point' | 'passing'>>) {
    if (passing === 1 || !SHARED.test(point)) return true;
    await place.rest();
    await place.kernel.listxattr(place.directory);
    if (this.points.died === 1) return true;
    this.points.off();
    return this.points.died === 1;
  }

  /**
   * The same where who asks may be told that it failed, because nobody starts another daemon, or it is
   * a tool call: if it was acknowledged it is done, else it is done or not at all. Of operations that
   * are one request. With `isNew` only at points at which there was no kill before.
   */
  async killUnsure(operation: Operation, isNew = false): Promise<number> {
    const model = await this.#model(operation);
    const title = `${operation.name}, not begun`;
    const untouched = await this.#place(operation, title);
    const fd = await operation.prepare?.(untouched);
    if (fd !== undefined) untouched.held.push(fd);
    const before = await stateOf(untouched);
    this.#note(untouched.directory, title, untouched.directory);
    let kills = 0;
    for (const [point] of model.points) {
      if (ASKING.test(point) || (isNew && this.#killedAt.has(point))) continue;
      this.#killedAt.add(point);
      await this.#killUnsure(operation, point, { model, before, untouched });
      kills += 1;
    }
    return kills;
  }

  async #killUnsure(
    operation: Operation,
    point: string,
    { model, before, untouched }: { model: Model; before: State; untouched: Place },
  ): Promise<void> {
    const title = `${operation.name}, killed at ${point}`;
    const place = await this.#place(operation, title);
    const fd = (await operation.prepare?.(place)) ?? -1;
    this.points.arm({ point });
    const isDone = await operation.act(place, fd).then(
      () => true,
      () => false,
    );
    await this.#expectDeath(title);
    if (!this.#isKept) await this.#restart();
    const after = await stateOf(new Place(this.#kernel, place.directory, this.#rest));
    const isThere = isDeepStrictEqual(after, model.state);
    if (isDone || !isDeepStrictEqual(after, before)) expect(after, title).toEqual(model.state);
    this.#note(place.directory, title, (isThere ? model : untouched).directory);
  }

  async #restart(): Promise<void> {
    const isRunning = () => this.daemon.isRunning;
    await expect.poll(isRunning, { timeout: SETTLE_MS_MAX, interval: 2 }).toBe(false);
    await this.#kernel[Symbol.asyncDispose]();
    await this.daemon.restart();
    this.#kernel = clientOf(this.daemon);
  }

  async #place({ name }: Operation, title: string): Promise<Place> {
    this.#count += 1;
    const place = new Place(
      this.#kernel,
      `${this.#count}-${name.replaceAll(' ', '-')}`,
      this.#rest,
    );
    try {
      await this.#kernel.mkdir(place.directory, 0o755);
    } catch (error) {
      throw new Error(`${title}: ${this.daemon.output}`, { cause: error });
    }
    return place;
  }

  #note(directory: string, title: string, model: string): void {
    this.#ran.push({ directory, title, model });
  }

  readonly #rest = async (writers: number): Promise<void> => {
    const open = () => this.#query<unknown>('SELECT id FROM write_session').length;
    await expect.poll(open, { timeout: SETTLE_MS_MAX, interval: 2 }).toBe(writers);
  };

  /** At the end: the journal has of each trial what it has of its model, and all is well. */
  async expectSameRecords(): Promise<void> {
    const { findings } = await this.daemon.json<{ findings: unknown[] }>(['fsck']);
    expect(findings).toEqual([]);
    await this.#kernel[Symbol.asyncDispose]();
    await this.daemon.stop();
    const records = this.#records();
    for (const { directory, title, model } of this.#ran) {
      expect(records.get(directory), title).toEqual(records.get(model));
    }
  }

  /** By directory. */
  #records(): Map<string, Recorded[]> {
    const rows = this.#query<Row>('SELECT kind, ino, path, old_path, size FROM op ORDER BY seq');
    const found = new Map<string, Recorded[]>();
    const madeIn = new Map<number, string>();
    for (const { kind, ino, path, old_path, size } of rows) {
      const [, , top = '', ...rest] = path.toString().split('/');
      const directory = madeIn.get(ino) ?? top;
      madeIn.set(ino, directory);
      const oldPath = old_path?.toString().split('/').slice(3).join('/') ?? null;
      // What has no name is called by its number, and by a daemon that did not make it by no directory.
      const isNameless = directory !== top || rest[0]?.startsWith('(inode') === true;
      const called = isNameless ? '(inode)' : rest.join('/');
      const records = found.get(directory) ?? [];
      records.push({ kind, path: called, oldPath, size });
      found.set(directory, records);
    }
    return found;
  }

  #query<T>(sql: string): T[] {
    const db = new BetterSqlite3(join(this.daemon.state, 'journal.db'), { readonly: true });
    try {
      return db.prepare(sql).all() as T[];
    } finally {
      db.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.points.off();
    await this.#kernel[Symbol.asyncDispose]();
    await this.daemon.close();
    this.points[Symbol.dispose]();
  }
}

const clientOf = (daemon: TestDaemon): Kernel => {
  const [program, ...args] = CALLER;
  return new Kernel(daemon.spawn(program, args, { in: 'ipfs' }));
};

interface Model {
  readonly directory: string;
  /** How often each was passed. */
  readonly points: ReadonlyMap<string, number>;
  readonly state: State;
}

/** Also closes what is held. */
async function stateOf(place: Place): Promise<State> {
  const { kernel, directory, held } = place;
  const names = (await kernel.readdir(directory)).sort();
  const sights: Sight[] = [await sightOf(kernel, directory, '')];
  for (const name of names) sights.push(await sightOf(kernel, place.path(name), name));
  for (const fd of held.splice(0)) {
    const { mode, nlink, size } = await kernel.fstat(fd);
    const bytes = await kernel.read(fd, READ_BYTES_MAX, 0);
    sights.push({ held: true, mode, nlink, size, bytes });
    await kernel.close(fd);
  }
  return sights;
}

async function sightOf(kernel: Kernel, path: string, name: string): Promise<Sight> {
  const { mode, nlink, uid, gid, size, rdev, mtime } = await kernel.lstat(path);
  // A time that somebody set.
  const set = mtime.s < 1_000_000_000 ? mtime : undefined;
  const sight = { name, mode, nlink, uid, gid, size, rdev, set };
  if ((mode & TYPE) === LINK) return { ...sight, target: await kernel.readlink(path) };
  if ((mode & TYPE) !== REGULAR) return sight;
  const fd = await kernel.open(path, 0);
  const bytes = await kernel.read(fd, READ_BYTES_MAX, 0);
  await kernel.close(fd);
  const attributes = (await kernel.listxattr(path)).filter((each) => each === 'user.kitfs');
  const values = await Promise.all(attributes.map((each) => kernel.getxattr(path, each)));
  return { ...sight, bytes, values };
}
