/**
 * The laws of publishing what the kernel holds open for reading, and what somebody opens for writing
 * meanwhile: such bytes are written where they lie, and the copy made before is what is published.
 */
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { O_RDONLY, O_RDWR } from '../../src/base/posix.ts';
import { assemble, freeze } from '../../src/sync/sync.ts';
import { type Caller, type Handle, plant, stage } from '../../src/vfs/vfs.ts';
import { noise } from '../content/fixture.ts';
import { HandPassthrough } from '../fakes/passthrough.ts';
import { Fixture, failureOf, ROOT } from './fixture.ts';

const KERNEL: Caller = { ...ROOT, checked: true };
const BYTES = noise(300_000);
const GATE = { demandReadable: () => undefined, seesTrusted: true };

let world: Fixture;
let passthrough: HandPassthrough;
beforeEach(() => {
  world = new Fixture();
  passthrough = new HandPassthrough();
  world.vfs.core.live.attach(passthrough);
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/f', BYTES);
});
afterEach(() => world.close());

function open(flags: number): Handle {
  const handle = world.vfs.open(KERNEL, world.ino('/ipfs/t/f'), flags, false);
  if (handle instanceof Promise) throw new Error('it is copied first');
  expect(handle.backing).toBeDefined();
  return handle;
}

/** A write of the kernel past the daemon. */
function overwrite({ backing }: Handle): void {
  const fd = openSync(passthrough.pathOf(backing), 'r+');
  writeSync(fd, 'later', 1000);
  closeSync(fd);
}

function change(handle: Handle): void {
  overwrite(handle);
  truncateSync(passthrough.pathOf(handle.backing), 200_000);
}

function publish(metadata: boolean) {
  const { journal, contents, clock, dag, builder, sealer, signal } = world;
  const ports = { journal, contents, clock, dag, builder, sealer };
  const frozen = freeze(ports, world.ino('/ipfs/t'), { gate: GATE, dryRun: false });
  const options = { profile: 'unixfs-v1-2025', metadata, dryRun: false } as const;
  return assemble(ports, frozen, options, { signal, progress: () => undefined });
}

const CASES = [true, false].flatMap((isSealed) =>
  [true, false].flatMap((isReleased) =>
    [true, false].flatMap((metadata) =>
      // So many that others are made before it, or none.
      [70, 0].map((others) => ({ isSealed, isReleased, metadata, others })),
    ),
  ),
);

test.for(CASES)('what is published is of the moment that was kept: %o', async (given) => {
  const { isSealed, isReleased, metadata, others } = given;
  if (isSealed) {
    const { content } = world.vfs.core.inodes.get(world.ino('/ipfs/t/f'));
    await world.sealer.seal(content, world.signal);
  }
  const reader = open(O_RDONLY);
  for (let count = 0; count < others; count++) world.write(`/ipfs/t/a${count}`, `${count}`);
  const publishing = publish(metadata);
  const writer = open(O_RDWR);
  change(writer);
  if (isReleased) {
    world.vfs.release(writer.fh);
    world.vfs.release(reader.fh);
  }
  const { root } = await publishing;
  const cid = await world.dag.resolve(root.cid, ['f'], world.signal);
  const range = { position: 0, length: BYTES.length + 1 };
  const bytes = await world.dag.readRange(cid, range, world.signal);
  expect([bytes.length, bytes.equals(BYTES)]).toEqual([BYTES.length, true]);
  expect(world.bytes('/ipfs/t/f').toString('latin1', 1000, 1005)).toBe('later');
});

test('bytes that were here are not restored when somebody wrote over them meanwhile', async () => {
  const { root } = await world.publish('/ipfs/t');
  const { content } = world.vfs.core.inodes.get(world.ino('/ipfs/t/f'));
  // As what came here by itself, and is nobody's block to keep.
  world.journal.commit(() => world.contents.unhold(content));
  world.mkdir('/ipfs/here');
  const work = world.restore(root, '/ipfs/here', {
    writer: {
      write: (plan) => {
        // Else its open would wait for the disk, and here nothing may wait.
        world.contents.losses.distrust(content);
        const writer = open(O_RDWR);
        expect(world.contents.row(content)?.state).toBe('open');
        overwrite(writer);
        world.vfs.release(writer.fh);
        expect(world.contents.row(content)).toMatchObject({ state: 'frozen', size: BYTES.length });
        world.vfs.graft(ROOT, plan);
      },
    },
  });
  expect((await failureOf(work)).failure).toBe('version-conflict');
});

test('bytes that were here are not copied when somebody wrote over them meanwhile', async () => {
  const { content } = world.vfs.core.inodes.get(world.ino('/ipfs/t/f'));
  const cid = await world.sealer.seal(content, world.signal);
  const found = await world.vfs.content(cid.toString());
  const { vfs, signal } = world;
  const staged = await stage(vfs.core, vfs, ROOT, found, { volatile: false, signal });
  expect(staged).toMatchObject({ content, isShared: true });
  const writer = open(O_RDWR);
  overwrite(writer);
  vfs.release(writer.fh);
  const to = { parent: world.ino('/ipfs/t'), name: nameOfText('copy') };
  expect(() => plant(vfs.core, ROOT, staged, to, true)).toThrow(
    expect.objectContaining({ failure: 'content-missing' }),
  );
});
