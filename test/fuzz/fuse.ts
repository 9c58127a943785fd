/**
 * A storm of requests at a real session over a real tree. Whatever comes: each request that expects
 * an answer gets exactly one, with an errno of the table; nothing of ours breaks; afterwards the
 * journal is sound, opens again, and nothing is held that was given back.
 */
import { nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { FUSE_LATER_MS } from '../../src/base/limits.ts';
import { ENOSYS, ERRNO } from '../../src/fuse/errno.ts';
import { KernelReferences } from '../../src/fuse/references.ts';
import { Session } from '../../src/fuse/session.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { HandPassthrough } from '../fakes/passthrough.ts';
import { type Answer, HandChannel, init, OPENS_DIRECTORIES } from '../fuse/requests.ts';
import { Dice } from './dice.ts';
import { RequestMaker, remember, Shown, UNANSWERED } from './requests.ts';
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
const DRAINS_BETWEEN = { turns: 8, seals: 400, restarts: 1500 } as const;

/** What a run of requests came to. */
export interface Storm {
  readonly requests: number;
  readonly answers: number;
  /** Answers by errno. */
  readonly byErrno: Readonly<Record<number, number>>;
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
  const storm = await FuseStorm.open(new Dice(seed));
  await storm.run(count);
  return storm.end();
}

class FuseStorm {
  readonly #dice: Dice;
  readonly #world: World;
  readonly #references = new KernelReferences();
  readonly #channel = new HandChannel();
  readonly #clock = new TurnedClock();
  readonly #shown: Shown;
  readonly #maker: RequestMaker;
  readonly #asked = new Map<bigint, Asked>();
  readonly #faults: string[] = [];
  readonly #byErrno: Record<number, number> = {};
  readonly #flags: number;
  #session: Session;
  #generation = 1;
  #drains = 0;
  #requests = 0;
  #answers = 0;
  #faultsSeen = 0;
  #slowest = { ms: 0, what: '' };

  private constructor(dice: Dice, world: World, cids: readonly string[]) {
    this.#dice = dice;
    this.#world = world;
    this.#shown = new Shown(rootsOf(world), cids);
    this.#maker = new RequestMaker(dice, this.#shown);
    this.#flags = dice.chance(50) ? 0xffff_ffff : OPENS_DIRECTORIES;
    const { core } = world.vfs;
    if (dice.chance(50)) core.live.attach(new HandPassthrough());
    core.invalidator = {
      entry() {},
      inode() {},
      settled: () => Promise.resolve(),
      knows: (ino) => this.#references.knows(ino),
    };
    this.#channel.takes = (reply) => this.#take(reply);
    this.#session = this.#begin();
  }

  static async open(dice: Dice): Promise<FuseStorm> {
    const world = new World();
    return new FuseStorm(dice, world, await plantContent(world));
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
    const [byErrno, slowest] = [this.#byErrno, this.#slowest];
    const faults = [...this.#faults, ...found];
    return { requests: this.#requests, answers: this.#answers, byErrno, slowest, faults };
  }

  /** A session at the beginning of a connection. */
  #begin(): Session {
    const session = new Session({
      fileSystem: this.#world.vfs,
      journal: this.#world.journal,
      references: this.#references,
      clock: this.#clock,
      log: this.#world.log,
      generation: this.#generation,
      wantsPassthrough: true,
      onInit: () => {},
    });
    session.attach(this.#channel);
    this.#asked.set(2n, { opcode: 26, due: 1, spare: 0 });
    session.drain(this.#channel.lay([init(45, this.#flags)]));
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
    if (this.#drains % DRAINS_BETWEEN.restarts === 0) this.#restart();
    this.#noteFaults([]);
  }

  /** The connection ends, and there is another, or another daemon serves the same. */
  #restart(): void {
    this.#session.end();
    if (this.#dice.chance(50)) this.#generation += 1;
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
