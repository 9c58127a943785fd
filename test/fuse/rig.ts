/** A session over a real file system and journal, with a channel, a clock and a log held by hand. */
import type { OpError } from '../../src/base/errors.ts';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { FUSE_LATER_MS } from '../../src/base/limits.ts';
import type { Features } from '../../src/fuse/handshake.ts';
import { KernelReferences } from '../../src/fuse/references.ts';
import { Session, type SessionOptions } from '../../src/fuse/session.ts';
import { agreedIn } from '../../src/fuse/take-over.ts';
import { Arriving } from '../../src/vfs/vfs.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { FaultyFileSystem } from '../fakes/faulty.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Fixture } from '../vfs/fixture.ts';
import type { KeptMemory } from '../vfs/table-memory.ts';
import { type Answer, HandChannel, init, request, text, u32, u64 } from './requests.ts';

export const RESENT = 2n ** 63n;

type Terms = Pick<SessionOptions, 'poisonous' | 'isCareful' | 'arriving'>;

export class Rig {
  readonly fixture = new Fixture();
  faulty = new FaultyFileSystem(this.fixture.vfs);
  references = new KernelReferences(this.fixture.table);
  readonly channel = new HandChannel();
  readonly clock = new TurnedClock();
  readonly log = new RememberedLog();
  readonly inits: (Features | OpError)[] = [];
  /** Inodes of which the kernel was to be told before an answer. */
  readonly uncounted: Ino[] = [];
  /** When it was told of them. */
  told: () => Promise<void> | undefined = () => undefined;
  readonly ipfs: Ino = this.fixture.ipfs;
  session = this.#session(1);
  #unique = 2n;

  /** INIT offers `flags`. */
  constructor({ isInitialized = true, flags = 0xffff_ffff } = {}) {
    this.#attend();
    if (isInitialized) this.start(flags);
  }

  /** INIT. */
  start(flags = 0xffff_ffff): void {
    this.drain(init(45, flags));
    this.channel.answers.length = 0;
    this.channel.writes.length = 0;
  }

  /** A tree is on its way to `/ipfs`, of which nothing is known but how many directories it begins with. */
  arrive(subdirectories: number): Arriving {
    const arriving = new Arriving(this.ipfs, subdirectories);
    this.fixture.vfs.core.arriving = arriving;
    this.session = this.#session(1, { arriving });
    this.start();
    return arriving;
  }

  /** Another daemon takes over the connection of that number; the file system is the same. */
  restart(generation: number): void {
    this.session = this.#session(generation);
    this.start();
  }

  /** The daemon is killed, and another one goes on with the connection; `memory` as in `Fixture`. */
  takeOver(memory?: KeptMemory, terms: Terms = {}): void {
    const { fixture } = this;
    fixture.takeOver(memory);
    const { table, journal } = fixture;
    this.faulty = new FaultyFileSystem(fixture.vfs);
    this.references = new KernelReferences(table);
    this.references.inherit(table.handles(), journal.counters.reserved('ino') as Ino);
    this.#attend();
    this.channel.answers.length = 0;
    this.session = this.#session(1, { ...terms, agreed: agreedIn(table) });
  }

  #attend(): void {
    this.fixture.vfs.core.invalidator = {
      entry() {},
      inode() {},
      uncounted: (ino) => this.uncounted.push(ino),
      settled: () => Promise.resolve(),
      knows: (ino) => this.references.knows(ino),
    };
  }

  /** What the kernel gave back a moment ago has come to its end. */
  async later(): Promise<void> {
    await this.clock.turn(FUSE_LATER_MS);
  }

  /** A number for the next request. */
  unique(): bigint {
    this.#unique += 2n;
    return this.#unique;
  }

  /** Gives requests to the session at once. */
  drain(...requests: Buffer[]): void {
    this.session.drain(this.channel.lay(requests));
  }

  /** Gives one request to the session and takes the answer to it. */
  ask(opcode: number, nodeid: number, ...body: Buffer[]): Answer {
    const unique = this.unique();
    this.drain(request(opcode, { unique, nodeid, body }));
    return this.channel.answerTo(unique);
  }

  mkdir(unique: bigint, name: string): Buffer {
    return request(9, { unique, nodeid: this.ipfs, body: [u32(0o755, 0), text(name)] });
  }

  create(unique: bigint, name: string, flags = 2): Buffer {
    const body = [u32(flags, 0o100644, 0, 0), text(name)];
    return request(35, { unique, nodeid: this.ipfs, body });
  }

  lookup(unique: bigint, name: string): Buffer {
    return request(1, { unique, nodeid: this.ipfs, body: [text(name)] });
  }

  read(unique: bigint, fh: bigint, position: number, size: number): Buffer {
    return request(15, { unique, body: [u64(fh, position), u32(size, 0), u64(0), u32(0, 0)] });
  }

  write(unique: bigint, fh: bigint, position: number | bigint, bytes: Buffer): Buffer {
    const header = [u64(fh, position), u32(bytes.length, 0), u64(0), u32(0, 0)];
    return request(16, { unique, body: [...header, bytes] });
  }

  /** Makes a file of these bytes; its inode number and an open handle of it. */
  file(name: string, bytes: Buffer): { readonly ino: number; readonly fh: bigint } {
    const unique = this.unique();
    this.drain(this.create(unique, name));
    const { body } = this.channel.answerTo(unique);
    const [ino, fh] = [Number(body.readBigUInt64LE(0)), body.readBigUInt64LE(128)];
    for (let at = 0; at < bytes.length; at += 1024 * 1024) {
      this.drain(this.write(this.unique(), fh, at, bytes.subarray(at, at + 1024 * 1024)));
    }
    return { ino, fh };
  }

  /** Which of the names `a` to `d` there are in `/ipfs`. */
  names(): string[] {
    const { dentries } = this.fixture.journal;
    return ['a', 'b', 'c', 'd'].filter((name) => {
      return dentries.find(this.ipfs, nameOfText(name)) !== undefined;
    });
  }

  /** One operation breaks the transaction it is in when it is about that name. */
  breakAt(name: string, error: unknown): void {
    const { journal } = this.fixture;
    this.faulty.faults.set('mkdir', (real, args) => {
      if (args[2] !== name) return real();
      return journal.commit(() => {
        throw error;
      });
    });
  }

  errors(): string[] {
    return this.log.lines.filter(({ level }) => level === 'error').map(({ message }) => message);
  }

  close(): void {
    this.session.end();
    this.fixture.close();
  }

  #session(generation: number, terms: Terms & Pick<SessionOptions, 'agreed'> = {}): Session {
    const session = new Session({
      fileSystem: this.faulty.fileSystem,
      journal: this.fixture.journal,
      references: this.references,
      clock: this.clock,
      log: this.log,
      generation,
      wantsPassthrough: false,
      onInit: (result) => this.inits.push(result),
      table: this.fixture.table,
      told: () => this.told(),
      ...terms,
    });
    session.attach(this.channel);
    return session;
  }
}

/** A promise that the test settles. */
export function gate<T>() {
  let open: (value: T) => void = () => {};
  let fail: (error: unknown) => void = () => {};
  const promise = new Promise<T>((take, refuse) => {
    open = take;
    fail = refuse;
  });
  return { promise, open, fail };
}
