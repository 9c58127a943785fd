/**
 * Random requests of the kernel: valid ones about what the session has shown so far, and these made
 * wrong in every way a byte can be. What the kernel checks before it asks is not checked here: a
 * daemon may not break because a kernel does.
 */
import { CID_INO_FROM, CONTROL_INO_FROM } from '../../src/vfs/vfs.ts';
import { request, text, u32, u64 } from '../fuse/requests.ts';
import type { Dice } from './dice.ts';

/** Opcodes of <linux/fuse.h> (7.45), those nobody serves included. */
const OPCODES = [
  ...[1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27],
  ...[28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50],
  ...[51, 52, 53, 0, 7, 19, 54, 4096, 0xffff_ffff],
] as const;

/** Those that are served; the ones that change most come oftener, and those that sync seldom. */
const SERVED = [
  ...[
    1, 1, 1, 2, 3, 4, 4, 4, 5, 6, 8, 9, 9, 10, 11, 12, 13, 14, 14, 14, 15, 15, 15, 16, 16, 16, 16,
  ],
  ...[
    17, 18, 21, 21, 22, 23, 24, 27, 28, 29, 34, 35, 35, 35, 35, 36, 42, 43, 43, 44, 45, 46, 47, 51,
  ],
  ...[52, 53],
] as const;

const FORGET = 2;
const INTERRUPT = 36;
const BATCH_FORGET = 42;
const FALLOCATE = 43;
const COPIES: readonly number[] = [47, 53];
/** No answer is expected to these. */
export const UNANSWERED: ReadonlySet<number> = new Set([FORGET, INTERRUPT, BATCH_FORGET]);
/** They change the tree, so they are worth to be asked twice. */
const CHANGES: ReadonlySet<number> = new Set([
  4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 51,
]);

const HEADER_BYTES = 40;
const RESENT = 2n ** 63n;

/** What the kernel would know of the tree: what replies handed out, and what it gave back since. */
export class Shown {
  readonly inos: number[] = [];
  readonly files: bigint[] = [];
  readonly directories: bigint[] = [];
  /** Requests that changed something, to be sent again. */
  readonly changes: Buffer[] = [];
  readonly cids: string[];
  /** Numbers of requests that were sent a moment ago. */
  readonly uniques: bigint[] = [];
  /** The root, and those of the trees. */
  readonly roots: readonly number[];

  constructor(roots: readonly number[], cids: readonly string[]) {
    this.roots = roots;
    this.cids = [...cids];
  }
}

/** Adds one; of many an old one goes. */
export function remember<T>(dice: Dice, values: T[], value: T, most: number): void {
  if (values.length < most) values.push(value);
  else values[dice.below(most)] = value;
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'ü', 'a b', 'x'.repeat(255)] as const;
const ODD_NAMES = [
  ...['', '.', '..', '.kitfs', 'ipfs', 'mem', 'a/b', '/', 'x'.repeat(256), 'x'.repeat(5000)],
  ...['\xff\xfe', '\n', 'status.json', 'bafkqaaa', 'Qm', 'user.ipfs.cid', '%00', '\\'],
] as const;
const XATTRS = [
  ...['user.a', 'user.b', 'trusted.t', 'security.s', 'security.capability', 'user.', 'a', ''],
  ...['system.posix_acl_access', 'system.posix_acl_default', 'user.ipfs.cid', 'user.kitfs.version'],
  ...['user.kitfs.durability', 'user.kitfs.provenance', `user.${'n'.repeat(250)}`, 'user.\xff'],
] as const;
const BOUNDARIES = [
  ...[0n, 1n, 2n, 7n, 255n, 4095n, 4096n, 65_535n, 65_536n, 65_537n, 2n ** 20n, 2n ** 20n + 1n],
  ...[2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 44n, 2n ** 48n, 2n ** 48n + 1n],
  ...[2n ** 52n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
] as const;
const PAST_EVERY_FILE = 2n ** 46n;

type Body = readonly Buffer[];

export class RequestMaker {
  readonly #dice: Dice;
  readonly #shown: Shown;
  #unique = 2n;
  readonly #bodies: Readonly<Record<number, () => Body>>;

  constructor(dice: Dice, shown: Shown) {
    this.#dice = dice;
    this.#shown = shown;
    this.#bodies = { ...this.#nameBodies(), ...this.#fileBodies(), ...this.#otherBodies() };
  }

  /** The next request: mostly of its form, sometimes changed, now and then of no form at all. */
  next(): Buffer {
    const dice = this.#dice;
    const throwOf = dice.below(1000);
    if (throwOf < 20) return this.#noise();
    if (throwOf < 50 && this.#shown.changes.length > 0) return this.#again();
    const opcode = dice.chance(10) ? dice.pick(OPCODES) : dice.pick(SERVED);
    const made = this.#whole(opcode);
    const bytes = throwOf < 250 ? this.#mutated(made) : made;
    if (CHANGES.has(opcode)) remember(dice, this.#shown.changes, bytes, 64);
    return tame(bytes);
  }

  #whole(opcode: number): Buffer {
    const dice = this.#dice;
    this.#unique += 2n;
    remember(dice, this.#shown.uniques, this.#unique, 64);
    return request(opcode, {
      unique: this.#unique,
      nodeid: this.#nodeid(),
      uid: dice.chance(80) ? 0 : dice.pick([1000, 1001, 0xffff_ffff]),
      gid: dice.chance(80) ? 0 : dice.pick([1000, 0xffff_ffff]),
      pid: dice.chance(95) ? dice.pick([0, process.pid]) : dice.below(2 ** 32),
      body: this.#bodies[opcode]?.() ?? [dice.bytes(dice.below(100))],
    });
  }

  /** A change asked for again, as the kernel does of a daemon that takes over. */
  #again(): Buffer {
    return resent(this.#dice.pick(this.#shown.changes));
  }

  /** Bytes of any kind; half of them with a true length. */
  #noise(): Buffer {
    const dice = this.#dice;
    const bytes = dice.bytes(dice.below(200));
    if (bytes.length >= HEADER_BYTES && dice.chance(50)) {
      bytes.writeUInt32LE(bytes.length, 0);
      bytes.writeUInt32LE(dice.pick(OPCODES), 4);
      bytes.writeUInt16LE(dice.below(3), 36);
      if (dice.chance(50)) bytes.writeBigUInt64LE(this.#nodeid(), 16);
    }
    return tame(bytes);
  }

  #mutated(bytes: Buffer): Buffer {
    const dice = this.#dice;
    let changed: Buffer<ArrayBuffer> = Buffer.from(bytes);
    for (let times = dice.between(1, 3); times > 0; times--) changed = this.#mutatedOnce(changed);
    return changed;
  }

  #mutatedOnce(bytes: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
    const dice = this.#dice;
    const at = dice.below(Math.max(1, bytes.length));
    switch (dice.below(8)) {
      case 0: {
        const cut = bytes.subarray(0, at);
        return dice.chance(70) ? withLength(cut) : cut;
      }
      case 1:
        return withLength(Buffer.concat([bytes, dice.bytes(dice.below(64))]));
      case 2:
        for (let flips = dice.between(1, 8); flips > 0; flips--) {
          const flipped = dice.below(Math.max(1, bytes.length));
          if (flipped < bytes.length) bytes[flipped] = (bytes[flipped] ?? 0) ^ (1 << dice.below(8));
        }
        return bytes;
      case 3:
        if (bytes.length >= 4) bytes.writeUInt32LE(dice.next(), 0);
        return bytes;
      case 4: {
        const field = HEADER_BYTES + 4 * dice.below(24);
        if (field + 8 <= bytes.length) bytes.writeBigUInt64LE(dice.pick(BOUNDARIES), field);
        return bytes;
      }
      case 5:
        // Strings lose their end.
        for (let index = HEADER_BYTES; index < bytes.length; index++) {
          if (bytes[index] === 0) bytes[index] = 0x61;
        }
        return bytes;
      case 6:
        if (bytes.length >= HEADER_BYTES) bytes.writeUInt16LE(dice.below(2 ** 16), 36);
        return bytes;
      default:
        if (bytes.length >= HEADER_BYTES) bytes.writeUInt32LE(dice.pick(OPCODES), 4);
        return bytes;
    }
  }

  #nodeid(): bigint {
    const dice = this.#dice;
    const { inos, roots } = this.#shown;
    if (dice.chance(92)) {
      return BigInt(dice.pick(dice.chance(50) || inos.length === 0 ? roots : inos));
    }
    if (dice.chance(30)) return dice.pick(BOUNDARIES);
    const base = dice.pick([0, CONTROL_INO_FROM, CID_INO_FROM]);
    return BigInt(base + dice.below(64));
  }

  #fh(): bigint {
    const { files, directories } = this.#shown;
    const dice = this.#dice;
    const known = dice.chance(95) ? files : directories;
    if (dice.chance(90) && known.length > 0) return dice.pick(known);
    return dice.chance(50) ? dice.pick(BOUNDARIES) : BigInt(dice.below(1000));
  }

  #name(): Buffer {
    const dice = this.#dice;
    if (dice.chance(85)) return text(dice.pick(NAMES));
    if (dice.chance(30) && this.#shown.cids.length > 0) return text(dice.pick(this.#shown.cids));
    return text(dice.pick(ODD_NAMES));
  }

  #position(): bigint {
    const dice = this.#dice;
    if (dice.chance(90)) return BigInt(dice.below(dice.pick([100, 5000, 70_000, 300_000])));
    return dice.pick(BOUNDARIES);
  }

  #size(): number {
    const dice = this.#dice;
    if (dice.chance(90)) return dice.below(dice.pick([1, 100, 5000, 70_000]));
    return dice.pick([0, 2 ** 17, 2 ** 20, 2 ** 20 + 1, 2 ** 31, 2 ** 32 - 1]);
  }

  #mode(): number {
    const dice = this.#dice;
    const type = dice.chance(80) ? 0o100000 : dice.pick([0, 1, 2, 4, 6, 8, 10, 12, 14, 15]) << 12;
    return type | (dice.chance(70) ? 0o644 : dice.below(0o10000));
  }

  #flags(): number {
    const dice = this.#dice;
    const access = dice.pick([0, 1, 2, 2, 2, 3]);
    if (dice.chance(60)) return access;
    return (
      (access | dice.pick([0o100, 0o200, 0o1000, 0o2000, 0o1000000, 0o4010000, dice.next()])) >>> 0
    );
  }

  #nameBodies(): Record<number, () => Body> {
    const dice = this.#dice;
    const name = () => this.#name();
    const flag = () => (dice.chance(60) ? 0 : dice.below(8));
    return {
      1: () => [name()],
      6: () => [name(), dice.chance(90) ? name() : text('t/'.repeat(dice.below(2100)))],
      8: () => [u32(this.#mode(), dice.chance(90) ? 0 : dice.next(), 0o022, 0), name()],
      9: () => [u32(this.#mode(), 0o022), name()],
      10: () => [name()],
      11: () => [name()],
      12: () => [u64(this.#nodeid()), name(), name()],
      13: () => [u64(this.#nodeid()), name()],
      35: () => [u32(this.#flags(), this.#mode(), 0o022, 0), name()],
      45: () => [u64(this.#nodeid()), u32(flag(), 0), name(), name()],
      51: () => [u32(this.#flags(), this.#mode(), 0o022, 0), name()],
    };
  }

  #fileBodies(): Record<number, () => Body> {
    const dice = this.#dice;
    const fh = () => u64(this.#fh());
    const range = () => u64(this.#position());
    const read = () => [fh(), range(), u32(this.#size(), 0), u64(0), u32(this.#flags(), 0)];
    const copy = () => {
      const length = dice.chance(95) ? dice.below(100_000) : dice.pick(BOUNDARIES);
      const flags = dice.chance(95) ? 0 : dice.pick(BOUNDARIES);
      return [fh(), range(), u64(this.#nodeid()), fh(), range(), u64(length, flags)];
    };
    return {
      14: () => [u32(this.#flags(), dice.below(3))],
      15: read,
      16: () => this.#write(),
      18: () => [fh(), u32(this.#flags(), 0), u64(0)],
      20: () => [fh(), u32(dice.below(3), 0)],
      25: () => [fh(), u32(0, 0), u64(0)],
      27: () => [u32(this.#flags(), 0)],
      28: read,
      29: () => [fh(), u32(0, 0), u64(0)],
      30: () => [fh(), u32(0, 0)],
      43: () => {
        const mode = dice.chance(70) ? dice.pick([0, 1, 3, 16, 17]) : dice.below(128);
        const length = dice.chance(90) ? BigInt(dice.below(300_000)) : dice.pick(BOUNDARIES);
        return [fh(), range(), u64(length), u32(mode, 0)];
      },
      44: read,
      46: () => [fh(), range(), u32(dice.between(2, 5), 0)],
      47: copy,
      53: copy,
    };
  }

  #write(): Body {
    const dice = this.#dice;
    const size = dice.chance(97) ? dice.below(dice.pick([100, 5000, 70_000])) : 2 ** 20;
    const said = dice.chance(95) ? size : this.#size();
    const flags = dice.chance(80) ? 0 : dice.below(16);
    const header = [u64(this.#fh(), this.#position()), u32(said, flags), u64(0)];
    return [...header, u32(this.#flags(), 0), Buffer.alloc(size, dice.next() & 0xff)];
  }

  #otherBodies(): Record<number, () => Body> {
    const dice = this.#dice;
    const count = () => (dice.chance(70) ? BigInt(dice.between(1, 3)) : dice.pick(BOUNDARIES));
    const attribute = () => text(dice.pick(XATTRS));
    const forgotten = () => u64(this.#nodeid(), count());
    return {
      2: () => [u64(count())],
      3: () => [u32(dice.below(2), 0), u64(this.#fh())],
      4: () => this.#setattr(),
      5: () => [],
      17: () => [],
      21: () => {
        const value = dice.chance(95) ? this.#value() : Buffer.alloc(dice.below(70_000));
        const flags = dice.chance(80) ? 0 : dice.below(5);
        return [u32(value.length, flags, dice.below(2), 0), attribute(), value];
      },
      22: () => [u32(this.#size(), 0), attribute()],
      23: () => [u32(this.#size(), 0)],
      24: () => [attribute()],
      26: () => [u32(7, dice.between(24, 46), 131_072, 0xffff_ffff, dice.next()), Buffer.alloc(44)],
      34: () => [u32(dice.chance(80) ? dice.below(8) : dice.next(), 0)],
      36: () => [u64(dice.pick(this.#shown.uniques))],
      42: () => {
        const all = Array.from({ length: dice.below(20) }, forgotten);
        return [u32(dice.chance(90) ? all.length : dice.next(), 0), ...all];
      },
      52: () => [u32(0, 0), u64(this.#fh()), u32(0, 0x7ff)],
    };
  }

  #setattr(): Body {
    const dice = this.#dice;
    const valid = dice.chance(90) ? 1 << dice.below(12) : dice.below(4096);
    const time = () => (dice.chance(90) ? BigInt(dice.next()) : dice.pick(BOUNDARIES));
    const ns = () => (dice.chance(95) ? dice.below(1e9) : dice.next());
    return [
      ...[u32(valid, 0), u64(this.#fh(), this.#position(), 0, time(), time(), time())],
      ...[u32(ns(), ns(), ns(), this.#mode(), 0)],
      u32(dice.pick([0, 1000, 0xffff_ffff]), dice.pick([0, 1000, 0xffff_ffff]), 0),
    ];
  }

  /** An attribute's value; one in two is nearly an ACL. */
  #value(): Buffer {
    const dice = this.#dice;
    if (dice.chance(50)) return dice.bytes(dice.below(200));
    const entries = [1, 2, 4, 8, 16, 32].filter(() => dice.chance(80));
    const entry = (tag: number) =>
      u32(tag + dice.below(9) * 65_536, dice.pick([0, 1000, 2 ** 32 - 1]));
    return Buffer.concat([u32(dice.chance(95) ? 2 : dice.next()), ...entries.map(entry)]);
  }
}

/** As the kernel asks again of a daemon that takes over. */
export function resent(request: Buffer): Buffer {
  const bytes = Buffer.from(request);
  if (bytes.length >= 16) bytes.writeBigUInt64LE(bytes.readBigUInt64LE(8) | RESENT, 8);
  return tame(bytes);
}

/** Says how long it is, where it has a header. */
function withLength(bytes: Buffer): Buffer<ArrayBuffer> {
  const whole = Buffer.from(bytes);
  if (whole.length >= 4) whole.writeUInt32LE(whole.length, 0);
  return whole;
}

/**
 * What would fill the disk in good order asks for more than any file may have instead: a test takes
 * no more room than it needs.
 */
function tame(bytes: Buffer): Buffer {
  if (bytes.length < HEADER_BYTES) return bytes;
  const opcode = bytes.readUInt32LE(4);
  const at = HEADER_BYTES + (opcode === FALLOCATE ? 16 : 40);
  if ((opcode !== FALLOCATE && !COPIES.includes(opcode)) || at + 8 > bytes.length) return bytes;
  const length = bytes.readBigUInt64LE(at);
  if (length < 2n ** 21n || length >= PAST_EVERY_FILE) return bytes;
  const tamed = Buffer.from(bytes);
  tamed.writeBigUInt64LE(opcode === FALLOCATE ? length | PAST_EVERY_FILE : length % 2n ** 21n, at);
  return tamed;
}
