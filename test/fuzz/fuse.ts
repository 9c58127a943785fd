/**
 * A storm of requests at a real session over a real tree, which now and then dies and is taken over,
 * its handle table as it was or bent. Whatever comes: each request that expects
 * an answer gets exactly one, with an errno of the table; nothing of ours breaks; afterwards the
 * journal is sound, opens again, and nothing is held that was given back.
 */
import { type Ino, nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { FUSE_LATER_MS } from '../../src/base/limits.ts';
import { ENOSYS, ERRNO } from '../../src/fuse/errno.ts';
import { KernelReferences } from '../../src/fuse/references.ts';
import { Session, type SessionOptions } from '../../src/fuse/session.ts';
import { agreedIn, blame } from '../../src/fuse/take-over.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { OwnMemory } from '../../src/vfs/table-memory.ts';
import { HandleTable } from '../../src/vfs/vfs.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { HandPassthrough } from '../fakes/passthrough.ts';
import { type Answer, HandChannel, init, OPENS_DIRECTORIES } from '../fuse/requests.ts';
import { Dice } from './dice.ts';
import { RequestMaker, remember, resent, Shown, UNANSWERED } from './requests.ts';
import { bend } from './tables.ts';
import { isFault, World } from './world.ts';

const HEADER_BYTES = 40;
const ARENA_BYTES = 4 * 1024 * 1024;
const ENOENT = 2;
const EINVAL = 22;
/** Every errno a reply may carry. */
const ERRNOS: ReadonlySet<number> = new Set([0, ENOSYS, ...Object.values(ERRNO)]);
const REMEMBERED_MAX = 200;
/** Replies that begin with an entry; those that hold a handle, and where. */
const ENTRIES: ReadonlySet<number> = new Set([1, 6, 8, 9, 13, 35, 51]);
const HANDLES: Readonly<Record<number, number>> = { 14: 0, 27: 0, 35: 128, 51: 128 };
const OPENDIR = 27;
/** A drain or an answer that takes longer hangs. */
const HANG_MS = 20_000;
const DRAINS_BETWEEN = { turns: 8, seals: 400, takeOvers: 250, restarts: 1500 } as const;

/** What a run of requests came to. */
export interface Storm {
  readonly requests: number;
  readonly answers: number;
  /** Answers by errno. */
  readonly byErrno: Readonly<Record<number, number>>;
  /** Deaths that another daemon went on from, and those it could not go on from. */
  readonly takenOver: number;
  readonly letGo: number;
  /** The drain that took longest. */
  readonly slowest: { readonly ms: number; readonly what: string };
  /** What should not be; empty when all is well. */
  readonly faults: readonly string[];
}

interface Asked {
  readonly opcode: number;
  /** Answers that must still come, and that may. */
  due: number;
  spare: number;
}

/** Sends `count` requests, made from `seed`, to a tree of their own. */
export async function fuseStorm(seed: number, count: number): Promise<Storm> {
  const memory = new OwnMemory();
  const world = new World(undefined, { table: HandleTable.make(memory) });
  const cids = await plantContent(world);
  const storm = new FuseStorm(new Dice(seed), world, { memory, cids });
  await storm.run(count);
  return storm.end();
}

class FuseStorm {
  readonly #dice: Dice;
  #world: World;
  /** Of the handle table: it outlives the daemon. */
  readonly #memory: OwnMemory;
  #references: KernelReferences;
  readonly #passthrough: HandPassthrough | undefined;
  /** Whether the table is found bent by the next daemon, sometimes. */
  readonly #isBending: boolean;
  readonly #channel = new HandChannel();
  readonly #clock = new TurnedClock();
  readonly #shown: Shown;
  readonly #maker: RequestMaker;
  readonly #asked = new Map<bigint, Asked>();
  readonly #faults: string[] = [];
  readonly #byErrno: Record<number, number> = {};
  readonly #flags: number;
  #session: Session;
  #generation = 0;
  #drains = 0;
  #requests = 0;
  #answers = 0;
  #takenOver = 0;
  #letGo = 0;
  #faultsSeen = 0;
  #slowest = { ms: 0, what: '' };

  constructor(
    dice: Dice,
    world: World,
    { memory, cids }: { memory: OwnMemory; cids: readonly string[] },
  ) {
    this.#dice = dice;
    this.#world = world;
    this.#memory = memory;
    this.#references = new KernelReferences(world.vfs.core.table);
    this.#isBending = dice.chance(30);
    this.#shown = new Shown(rootsOf(world), cids);
    this.#maker = new RequestMaker(dice, this.#shown);
    this.#flags = dice.chance(50) ? 0xffff_ffff : OPENS_DIRECTORIES;
    this.#passthrough = dice.chance(50) ? new HandPassthrough() : undefined;
    this.#connect();
    this.#channel.takes = (reply) => this.#take(reply);
    this.#session = this.#begin();
  }

  #connect(): void {
    const { core } = this.#world.vfs;
    if (this.#passthrough !== undefined) core.live.attach(this.#passthrough);
    core.invalidator = {
      entry() {},
      inode() {},
      uncounted() {},
      settled: () => Promise.resolve(),
      knows: (ino) => this.#references.knows(ino),
    };
  }

  async run(count: number): Promise<void> {
    while (this.#requests < count && this.#faults.length === 0) {
      const most = this.#dice.chance(90) ? 8 : 64;
      await this.#drain(this.#some(Math.min(count - this.#requests, this.#dice.between(1, most))));
      await this.#between();
    }
  }

  /** Ends everything, and looks at what is left. */
  async end(): Promise<Storm> {
    const { vfs, journal, directory } = this.#world;
    this.#session.end();
    await settle();
    this.#noteFaults([]);
    if (vfs.core.handles.size > 0) this.#faults.push(`${vfs.core.handles.size} handles are left`);
    const found = checkJournal(journal).map((finding) => JSON.stringify(finding));
    await this.#world.stop();
    const again = new World(directory);
    found.push(...checkJournal(again.journal).map((finding) => JSON.stringify(finding)));
    await again.close();
    return {
      requests: this.#requests,
      answers: this.#answers,
      byErrno: this.#byErrno,
      takenOver: this.#takenOver,
      letGo: this.#letGo,
      slowest: this.#slowest,
      faults: [...this.#faults, ...found],
    };
  }

  /** A session at the beginning of a connection. */
  #begin(): Session {
    const { journal } = this.#world;
    this.#generation = journal.commit(() => journal.counters.next('connection'));
    const session = this.#open({
      onInit: (result) => {
        const { table } = this.#world.vfs.core;
        if ('flags' in result) table.agree({ generation: this.#generation, ...result });
      },
    });
    this.#asked.set(2n, { opcode: 26, due: 1, spare: 0 });
    session.drain(this.#channel.lay([init(45, this.#flags)]));
    return session;
  }

  #open(terms: Pick<SessionOptions, 'onInit' | 'agreed' | 'poisonous' | 'isCareful'>): Session {
    const session = new Session({
      fileSystem: this.#world.vfs,
      journal: this.#world.journal,
      references: this.#references,
      table: this.#world.vfs.core.table,
      clock: this.#clock,
      log: this.#world.log,
      generation: this.#generation,
      wantsPassthrough: true,
      ...terms,
    });
    session.attach(this.#channel);
    return session;
  }

  /** So many requests, or as many as an arena holds. */
  #some(count: number): Buffer[] {
    const requests: Buffer[] = [];
    let room = ARENA_BYTES;
    for (let made = 0; made < count; made++) {
      const next = this.#maker.next();
      room -= next.length + 8;
      if (room < 0) break;
      requests.push(next);
      this.#expect(next);
    }
    return requests;
  }

  #expect(bytes: Buffer): void {
    if (bytes.length < HEADER_BYTES) return;
    const [opcode, unique] = [bytes.readUInt32LE(4), bytes.readBigUInt64LE(8)];
    const asked = this.#asked.get(unique) ?? { opcode, due: 0, spare: 0 };
    this.#asked.set(unique, asked);
    if (UNANSWERED.has(opcode)) return;
    // The kernel numbers from 1 on: an answer to nothing is not waited for.
    if (unique === 0n) asked.spare += 1;
    else asked.due += 1;
  }

  async #drain(requests: readonly Buffer[]): Promise<void> {
    const startMs = performance.now();
    this.#requests += requests.length;
    this.#drains += 1;
    try {
      this.#session.drain(this.#channel.lay(requests));
    } catch (error) {
      this.#faults.push(`a drain threw ${stackOf(error)}\n${shownOf(requests)}`);
      return;
    }
    while (this.#session.waitingCount > 0) {
      await settle();
      if (performance.now() - startMs < HANG_MS) continue;
      this.#faults.push(`no answer after ${HANG_MS} ms\n${shownOf(requests)}`);
      return;
    }
    const ms = performance.now() - startMs;
    if (ms > this.#slowest.ms) this.#slowest = { ms, what: shownOf(requests).slice(0, 2000) };
    this.#noteFaults(requests);
    this.#noteUnanswered(requests);
    this.#channel.answers.length = 0;
    this.#channel.writes.length = 0;
    this.#asked.clear();
  }

  async #between(): Promise<void> {
    if (this.#drains % DRAINS_BETWEEN.turns === 0) await this.#clock.turn(FUSE_LATER_MS);
    if (this.#drains % DRAINS_BETWEEN.seals === 0) await this.#seal();
    if (this.#drains % DRAINS_BETWEEN.takeOvers === 0) await this.#die();
    if (this.#drains % DRAINS_BETWEEN.restarts === 0) this.#restart();
    this.#noteFaults([]);
  }

  /** The daemon is gone with nothing said, and another one finds what it left. */
  async #die(): Promise<void> {
    this.#noteFaults([]);
    const { directory } = this.#world;
    await this.#world.stop();
    this.#faultsSeen = 0;
    const what =
      this.#isBending && this.#dice.chance(50) ? bend(this.#dice, this.#memory) : 'whole';
    const table = HandleTable.adopt(this.#memory);
    if (table === undefined && what === 'whole') this.#faults.push('a whole table is none');
    const world = table && this.#startedOver(directory, table, what);
    if (table === undefined || world === undefined) {
      this.#startAnew(directory);
      return;
    }
    this.#takenOver += 1;
    this.#world = world;
    this.#references = new KernelReferences(table);
    const inosBelow = world.journal.counters.reserved('ino') as Ino;
    this.#references.inherit(table.handles(), inosBelow);
    this.#connect();
    const isCareful = this.#dice.chance(50);
    const terms = { agreed: agreedIn(table), poisonous: blame(table, isCareful), isCareful };
    this.#generation = table.agreement?.generation ?? 0;
    this.#session = this.#open({ ...terms, onInit: () => {} });
    const again = this.#shown.changes.slice(0, 8).map(resent);
    for (const request of again) this.#expect(request);
    await this.#drain(again);
  }

  /** A daemon that goes on with the table; undefined: it was bent, and does not fit. */
  #startedOver(directory: string, table: HandleTable, what: string): World | undefined {
    try {
      return new World(directory, { table, isTakenOver: true });
    } catch (error) {
      if (what === 'whole' || isFault(error)) {
        this.#faults.push(`taken over, ${what}: ${stackOf(error)}`);
      }
      return undefined;
    }
  }

  /** What there was is let go, and the mount is a new one. */
  #startAnew(directory: string): void {
    this.#letGo += 1;
    this.#world = new World(directory, { table: HandleTable.make(this.#memory) });
    this.#references = new KernelReferences(this.#world.vfs.core.table);
    this.#connect();
    this.#shown.files.length = 0;
    this.#shown.directories.length = 0;
    this.#session = this.#begin();
    this.#asked.clear();
  }

  /** The connection ends, and there is another. */
  #restart(): void {
    this.#session.end();
    this.#shown.files.length = 0;
    this.#shown.directories.length = 0;
    this.#session = this.#begin();
    this.#asked.clear();
  }

  /** Some of what is at rest gets its CID, which is told of as content from then on. */
  async #seal(): Promise<void> {
    const { journal, sealer, signal } = this.#world;
    const sql = "SELECT id FROM content WHERE state = 'frozen' LIMIT 20";
    for (const id of journal.connection.prepare(sql).pluck().all()) {
      const cid = await sealer.seal(id as never, signal);
      remember(this.#dice, this.#shown.cids, cid.toString(), REMEMBERED_MAX);
    }
  }

  /** One reply, as the kernel takes it; now and then whoever asked is gone, or it is not liked. */
  #take(reply: Answer): number {
    this.#answers += 1;
    this.#byErrno[reply.errno] = (this.#byErrno[reply.errno] ?? 0) + 1;
    const asked = this.#asked.get(reply.unique);
    if (asked === undefined) this.#faults.push(`an answer to ${reply.unique}, which nobody asked`);
    else if (asked.due > 0) asked.due -= 1;
    else if (asked.spare > 0) asked.spare -= 1;
    else this.#faults.push(`another answer to opcode ${asked.opcode}`);
    if (!ERRNOS.has(reply.errno)) this.#faults.push(`errno ${reply.errno}`);
    if (this.#dice.chance(1)) return this.#dice.pick([ENOENT, ENOENT, ENOENT, EINVAL]);
    if (asked !== undefined && reply.errno === 0) this.#learn(asked.opcode, reply.body);
    return 0;
  }

  #learn(opcode: number, body: Buffer): void {
    const { inos, files, directories } = this.#shown;
    if (ENTRIES.has(opcode) && body.length >= 128) {
      const ino = Number(body.readBigUInt64LE(0));
      if (ino !== 0) remember(this.#dice, inos, ino, REMEMBERED_MAX);
    }
    const at = HANDLES[opcode];
    if (at === undefined || body.length < at + 8) return;
    const handles = opcode === OPENDIR ? directories : files;
    remember(this.#dice, handles, body.readBigUInt64LE(at), REMEMBERED_MAX);
  }

  #noteFaults(requests: readonly Buffer[]): void {
    const { lines } = this.#world.log;
    for (const { level, fields, message } of lines.slice(this.#faultsSeen)) {
      const error = fields['err'] ?? fields['error'];
      if (level !== 'error' || !isFault(error)) continue;
      this.#faults.push(`${message}: ${stackOf(error)}\n${shownOf(requests)}`);
    }
    this.#faultsSeen = lines.length;
  }

  #noteUnanswered(requests: readonly Buffer[]): void {
    for (const [unique, { opcode, due }] of this.#asked) {
      if (due === 0) continue;
      this.#faults.push(`opcode ${opcode} (${unique}) got no answer\n${shownOf(requests)}`);
    }
  }
}

/** The root of all, and of each tree. */
function rootsOf({ vfs }: World): number[] {
  const roots = vfs.core.mounts.mounts().map(({ superblock }) => superblock.root);
  return [ROOT_INO, ...roots, ...roots];
}

/** A file, a directory, a link, and what is not there, by CID. */
async function plantContent({ engine, signal }: World): Promise<string[]> {
  const options = { profile: 'unixfs-v1-2025' } as const;
  const { builder } = engine;
  const file = await builder.addBytes(Buffer.alloc(300_000, 'kitfs '), options, signal);
  const link = builder.buildSymlink(nameOfText('a'), options);
  const children = [
    { name: 'a', ...file },
    { name: 'b', ...link },
  ];
  const directory = await builder.buildDirectory(children, options, signal);
  const absent = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
  return [file, link, directory].map(({ cid }) => cid.toString()).concat(absent);
}

const stackOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\ncaused by ${stackOf(error.cause)}`;
  return `${error.stack}${cause}`;
};

/** Requests as they would be sent again: opcode and bytes. */
const shownOf = (requests: readonly Buffer[]): string =>
  requests
    .map((bytes) => {
      const opcode = bytes.length < 8 ? 'no' : bytes.readUInt32LE(4);
      return `  opcode ${opcode}: ${bytes.toString('hex', 0, 160)}`;
    })
    .join('\n');
