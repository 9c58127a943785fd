/** Files whose bytes are elsewhere, as programs on the mount see them. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { FAR_BYTES } from '../fuse/far.ts';
import { ServedMount } from './served.ts';

let mount: ServedMount;

async function start(driver: string): Promise<void> {
  mount = new ServedMount(driver, 'elsewhere');
  expect(await mount.line()).toContain(`mounted ${driver}`);
}

/** What the server says next, what was asked left out. */
async function told(): Promise<string> {
  for (;;) {
    const line = await mount.line();
    if (line !== 'asked') return line;
  }
}

async function origin(manner: string): Promise<void> {
  mount.say(`origin ${manner}`);
  expect(await told()).toBe('done');
}

afterEach(() => mount.close());

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const sum = (): string => mount.sh('sha256sum < far').slice(0, 64);

describe.each(['native', 'fuse-native'])('by the driver %s', (driver) => {
  test('they are there with their sizes before a byte of them is', async () => {
    await start(driver);
    await origin('offline');
    expect(mount.sh('stat -c %s far')).toBe(`${FAR_BYTES.length}\n`);
  });

  test('a read waits for its bytes, and they are the right ones', async () => {
    await start(driver);
    const last = mount.sh('tail -c 100 far | sha256sum').slice(0, 64);
    expect(last).toBe(sumOf(FAR_BYTES.subarray(-100)));
    expect(sum()).toBe(sumOf(FAR_BYTES));
  });

  test('a program that waits for a node that hangs ends with its signal, and others are served', async () => {
    await start(driver);
    await origin('hang');
    const reader = mount.client('exec cat far > /dev/null');
    expect(await mount.line()).toBe('asked');
    expect(mount.sh('echo here > near && cat near')).toBe('here\n');
    const ended = once(reader, 'exit');
    reader.kill('SIGINT');
    expect(await ended).toEqual([null, 'SIGINT']);
  });

  test.each(['offline', 'lack', 'lie', 'truncate'])(
    'a node that is %s is an error at once, never other bytes; and it is asked again',
    async (manner) => {
      await start(driver);
      await origin(manner);
      expect(mount.sh('cat far 2>/dev/null | wc -c')).toBe('0\n');
      expect(mount.sh('cat far 2>&1 >/dev/null | grep -c "Input/output"')).toBe('1\n');
      await origin('give');
      expect(sum()).toBe(sumOf(FAR_BYTES));
    },
  );

  test('what is changed in the midst of it leaves the rest as it was', async () => {
    await start(driver);
    mount.sh('printf here | dd of=far bs=1 seek=2000000 conv=notrunc status=none');
    const wanted = Buffer.from(FAR_BYTES);
    wanted.write('here', 2_000_000);
    expect(sum()).toBe(sumOf(wanted));
  });

  test('it is cut and copied like any other', async () => {
    await start(driver);
    mount.sh('cp far copy && truncate -s 1500000 far');
    expect(sum()).toBe(sumOf(FAR_BYTES.subarray(0, 1_500_000)));
    expect(mount.sh('sha256sum < copy').slice(0, 64)).toBe(sumOf(FAR_BYTES));
  });

  test('it is read by a mapping', async () => {
    await start(driver);
    const script =
      'import mmap,sys;f=open("far","rb");m=mmap.mmap(f.fileno(),0,prot=1);sys.stdout.buffer.write(m[:])';
    expect(mount.sh(`python3 -c '${script}' | sha256sum`).slice(0, 64)).toBe(sumOf(FAR_BYTES));
  });
});

test('a program that cuts it, or opens it for writing, ends with its signal too, and it stays as it was', async () => {
  await start('native');
  mount.sh('echo here > near');
  await origin('hang');
  for (const change of ['truncate -s 5 far', 'dd if=near of=far conv=notrunc status=none']) {
    const program = mount.client(`exec ${change}`);
    expect(await mount.line()).toBe('asked');
    const ended = once(program, 'exit');
    program.kill('SIGINT');
    expect(await ended).toEqual([null, 'SIGINT']);
  }
  expect(mount.sh('stat -c %s far')).toBe(`${FAR_BYTES.length}\n`);
  await origin('give');
  expect(sum()).toBe(sumOf(FAR_BYTES));
});
