/**
 * Changes that the kernel does not count: an answer to a GETATTR from before them, handled late, would take back times
 * that somebody has seen. So the kernel is told of them before it has their answers.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { settle } from '../fakes/clock.ts';
import { request, u32, u64 } from './requests.ts';
import { gate, RESENT, Rig } from './rig.ts';

const BYTES = Buffer.from('some bytes');
const KEEPS_SIZE = 1;
const PUNCHES = 2;
const OF_MAPPING = 1;

let rig: Rig;
let told: ReturnType<typeof gate<void>>;
beforeEach(() => {
  rig = new Rig();
  told = gate<void>();
  rig.told = () => told.promise;
});
afterEach(() => {
  rig.close();
});

const allocate = (unique: bigint, fh: bigint, mode: number): Buffer =>
  request(43, { unique, body: [u64(fh, 0, 4), u32(mode, 0)] });

const write = (unique: bigint, fh: bigint, flags: number, bytes = BYTES): Buffer => {
  const header = [u64(fh, 0), u32(bytes.length, flags), u64(0), u32(0, 0)];
  return request(16, { unique, body: [...header, bytes] });
};

const answered = (): bigint[] => rig.channel.answers.map(({ unique }) => unique);

/** A file, and no answers yet. */
function file(): { readonly ino: number; readonly fh: bigint } {
  const made = rig.file('a', BYTES);
  rig.channel.answers.length = 0;
  return made;
}

describe('the answer to a change that the kernel does not count', () => {
  test.each([
    ['a hole', (fh: bigint) => allocate(100n, fh, KEEPS_SIZE | PUNCHES)],
    ['room in advance', (fh: bigint) => allocate(100n, fh, KEEPS_SIZE)],
    ['pages of a mapping', (fh: bigint) => write(100n, fh, OF_MAPPING)],
  ])('leaves when the kernel was told of it, and keeps nobody waiting: %s', async (_name, make) => {
    const { ino, fh } = file();
    rig.drain(make(fh), rig.mkdir(102n, 'b'));
    expect([answered(), rig.uncounted]).toEqual([[102n], [ino]]);
    rig.drain(rig.mkdir(104n, 'c'));
    expect(answered()).toEqual([102n, 104n]);
    told.open();
    await settle();
    expect(answered()).toEqual([102n, 104n, 100n]);
    expect(rig.channel.answerTo(100n).errno).toBe(0);
  });

  test.each([
    ['the kernel counts it', (fh: bigint) => allocate(100n, fh, 0)],
    ['the kernel counts it, as a write', (fh: bigint) => write(100n, fh, 0)],
    ['it failed', (fh: bigint) => allocate(100n, fh + 1n, KEEPS_SIZE)],
  ])('leaves at once when %s', (_name, make) => {
    const { fh } = file();
    rig.drain(make(fh));
    expect([answered(), rig.uncounted]).toEqual([[100n], []]);
  });

  test('leaves at once when the kernel knows it all', () => {
    const { fh } = file();
    rig.told = () => undefined;
    rig.drain(write(100n, fh, OF_MAPPING));
    expect(answered()).toEqual([100n]);
  });

  test('is for nobody when the connection ends first', async () => {
    const { fh } = file();
    rig.drain(write(100n, fh, OF_MAPPING));
    rig.session.end();
    told.open();
    await settle();
    expect(answered()).toEqual([]);
  });

  test('is known to the next daemon while the kernel has not got it, whatever was answered since', () => {
    const { fh } = file();
    rig.drain(write(100n, fh, OF_MAPPING));
    rig.drain(write(102n, fh, 0, Buffer.from('others, later')));
    const { version } = rig.fixture.journal.inodes.get(rig.fixture.ino('/ipfs/a')) ?? expect.fail();
    rig.told = () => undefined;
    rig.takeOver();
    rig.drain(write(100n | RESENT, fh, OF_MAPPING));
    expect(rig.channel.answerTo(100n | RESENT).errno).toBe(0);
    const after = rig.fixture.journal.inodes.get(rig.fixture.ino('/ipfs/a'));
    expect(after?.version).toBe(version);
  });
});
