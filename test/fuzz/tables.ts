/** Handle tables that something else has written into, while nobody looked. */
import { HANDLE_TABLE_BYTES_MAX } from '../../src/base/limits.ts';
import { HandleTable, type TableMemory } from '../../src/vfs/vfs.ts';
import type { Dice } from './dice.ts';

/** Where the header ends, and how long a record is. */
const HEADER_BYTES = 4096;
const RECORD_BYTES = 64;
/** So many of the first records are aimed at. */
const RECORDS = 40;

const WORDS = [0, 1, 2, 3, 4, 5, 64, 1024, 2 ** 20, 2 ** 31, 2 ** 32 - 1] as const;
const NUMBERS = [
  ...[0, 1, 2, 3, 7, 100, -1, 0.5, 2 ** 31, 2 ** 48, 2 ** 51, 2 ** 52, 2 ** 53 - 1, 2 ** 53],
  ...[1e300, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324],
] as const;

/** Changes some of it; says what. */
export function bend(dice: Dice, memory: TableMemory): string {
  const bytes = memory.map(memory.size);
  const done: string[] = [];
  for (let left = dice.pick([1, 1, 1, 2, 4, 16]); left > 0; left--) {
    const part = dice.chance(25) ? 0 : HEADER_BYTES + dice.below(RECORDS) * RECORD_BYTES;
    const at = part + dice.below(RECORD_BYTES / 8) * 8;
    switch (dice.below(5)) {
      case 0: {
        const value = dice.pick(NUMBERS);
        bytes.writeDoubleLE(value, at);
        done.push(`number ${value} at ${at}`);
        break;
      }
      case 1: {
        const value = dice.pick(WORDS);
        bytes.writeUInt32LE(value, at + dice.below(2) * 4);
        done.push(`word ${value} at ${at}`);
        break;
      }
      case 2: {
        const from = HEADER_BYTES + dice.below(RECORDS) * RECORD_BYTES;
        bytes.copy(bytes, part, from, from + RECORD_BYTES);
        done.push(`${from} copied to ${part}`);
        break;
      }
      case 3:
        dice.bytes(RECORD_BYTES).copy(bytes, part);
        done.push(`noise at ${part}`);
        break;
      default:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8));
        done.push(`a bit at ${at}`);
    }
  }
  return done.join(', ');
}

/** Memory of any size that begins as that of a table does, perhaps. */
class AnyMemory implements TableMemory {
  #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get size(): number {
    return this.#bytes.length;
  }

  map(length: number): Buffer {
    const grown = Buffer.from(new ArrayBuffer(length));
    this.#bytes.copy(grown);
    this.#bytes = grown;
    return grown;
  }
}

/** Tries `count` memories of sizes and contents that no daemon leaves; what went wrong. */
export function memoryStorm(dice: Dice, count: number): string[] {
  const faults: string[] = [];
  for (let done = 0; done < count && faults.length === 0; done++) {
    const memory = new AnyMemory(Buffer.alloc(0));
    const table = HandleTable.make(memory);
    table.agree({ generation: 1, minor: 45, maxReadahead: 4096, flags: 0, flags2: 0 });
    const what = bend(dice, memory);
    const size = dice.pick([0, 1, 4095, 4096, 65_535, 65_536, dice.below(200_000)]);
    const length = dice.chance(2) ? HANDLE_TABLE_BYTES_MAX + 8 : size;
    const held = dice.chance(50) ? memory.map(memory.size) : dice.bytes(dice.below(5000));
    const bytes = Buffer.alloc(length);
    held.copy(bytes);
    try {
      const found = HandleTable.adopt(new AnyMemory(bytes));
      found?.addBacking(1);
      found?.leftSaved();
      found?.addDeath(dice.next());
      found?.poisonous(1);
    } catch (error) {
      faults.push(`${what}, ${length} bytes: ${error instanceof Error ? error.stack : error}`);
    }
  }
  return faults;
}
