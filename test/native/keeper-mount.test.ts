/** What a keeper does about a mount whose daemon (kept.mjs) does not come back. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { keeping, serving } from './talker.ts';

describe('a mount that nobody will serve any more', () => {
  const place = mkdtempSync(join(tmpdir(), 'kitfs-keeper mount-'));
  const placeInTable = place.replace(' ', '\\040');
  const mountinfo = () => readFileSync('/proc/self/mountinfo', 'utf8');
  const mounted = () => mountinfo().includes(placeInTable);
  const deviceAt = (inTable: string) => {
    const lines = mountinfo().split('\n');
    return lines.map((line) => line.split(' ')).find((words) => words[4] === inTable)?.[2];
  };
  /** A mount in which a client waits for its daemon, and of whose connection another process has a descriptor. */
  const hung = async () => {
    const { talker } = await serving();
    const other = (await talker.ask('mount', place, 'kitfs', true)) as number;
    const client = spawn('stat', ['--file-system', place], { stdio: 'ignore' });
    const wait = () => readFileSync(`/proc/${client.pid}/wchan`, 'utf8');
    await expect.poll(wait).toContain('fuse');
    return { talker, other, ended: once(client, 'exit') };
  };
  afterEach(() => void spawnSync('umount', ['--lazy', place]));
  afterAll(() => rmSync(place, { recursive: true }));

  test('is taken away, but stays as long as a daemon may come back', async () => {
    const { talker } = await serving();
    await talker.ask('mount', place, 'kitfs');
    talker.tell('die', 'SIGKILL');
    await talker.said();
    expect(mounted()).toBe(true);
    await talker.ask('send', 'done');
    talker.tell('die', 'SIGKILL');
    expect(await talker.ended).toEqual([128 + 9, null]);
    expect(mounted()).toBe(false);
  });

  test('is served again when the daemon is killed before it was ready', async () => {
    const talker = keeping();
    await talker.said();
    await talker.ask('mount', place, 'kitfs');
    talker.tell('die', 'SIGKILL');
    expect(await talker.said()).toMatchObject({ hello: 'hello 2 signal 9' });
    await talker.ask('send', 'done');
    talker.tell('exit', 0);
    expect(await talker.ended).toEqual([0, null]);
  });

  test('lets nobody wait, whoever else has a descriptor of its connection', async () => {
    const { talker, other, ended } = await hung();
    using _ = talker;
    talker.process.kill('SIGTERM');
    await talker.ended;
    expect(await ended).toEqual([1, null]);
    process.kill(other, 'SIGKILL');
  });

  test('lets nobody wait either where another one is mounted over it', async () => {
    const { talker, other, ended } = await hung();
    using _ = talker;
    spawnSync('mount', ['-t', 'tmpfs', 'none', place]);
    const control = '/sys/fs/fuse/connections';
    if (readdirSync(control).length === 0) spawnSync('mount', ['-t', 'fusectl', 'none', control]);
    talker.process.kill('SIGTERM');
    await talker.ended;
    expect(await ended).toEqual([1, null]);
    process.kill(other, 'SIGKILL');
    spawnSync('umount', [place]);
    expect(mounted()).toBe(true);
  });

  test('is taken away where it is, when a directory above it was renamed', async () => {
    const [old, moved] = [join(place, 'old'), join(place, 'moved')];
    mkdirSync(join(old, 'mnt'), { recursive: true });
    const { talker } = await serving();
    await talker.ask('mount', join(old, 'mnt'), 'kitfs');
    renameSync(old, moved);
    talker.process.kill('SIGTERM');
    await talker.ended;
    expect(mounted()).toBe(false);
    rmSync(moved, { recursive: true });
  });

  test('is not looked for elsewhere once it was taken away: its number may be another one’s', async () => {
    const [one, another] = [join(place, 'one'), join(place, 'another')];
    for (const each of [one, another]) mkdirSync(each);
    const { talker } = await serving();
    await talker.ask('mount', another, 'kitfs');
    const device = deviceAt(`${placeInTable}/another`);
    await talker.ask('mount', one, 'kitfs');
    await talker.ask('send', `mounted ${device}\n${one}`);
    spawnSync('umount', ['--lazy', one]);
    talker.process.kill('SIGTERM');
    await talker.ended;
    expect(deviceAt(`${placeInTable}/another`)).toBe(device);
    spawnSync('umount', ['--lazy', another]);
    for (const each of [one, another]) rmdirSync(each);
  });

  test('is left to the daemon that takes it away itself', async () => {
    const { talker } = await serving();
    await talker.ask('mount', place, 'kitfs');
    await talker.ask('send', 'unmounted');
    await talker.ask('send', 'done');
    talker.tell('exit', 0);
    expect(await talker.ended).toEqual([0, null]);
    expect(mounted()).toBe(true);
  });

  test('is taken away at a place with a line break, and what is at the first line of it stays', async () => {
    const broken = `${place}\nsecond`;
    mkdirSync(broken);
    const talker = keeping();
    await talker.said();
    await talker.ask('mount', place, 'kitfs');
    await talker.ask('mount', broken, 'kitfs');
    talker.tell('exit', 1);
    expect(await talker.ended).toEqual([1, null]);
    expect(mountinfo()).not.toContain('second');
    expect(mounted()).toBe(true);
    rmdirSync(broken);
  });

  test('is left alone when it is another one of kitfs than was told of', async () => {
    const { talker } = await serving();
    await talker.ask('mount', place, 'kitfs');
    await talker.ask('send', `mounted 0:1048575\n${place}`);
    await talker.ask('send', 'done');
    talker.tell('exit', 0);
    expect(await talker.ended).toEqual([0, null]);
    expect(mounted()).toBe(true);
  });

  test('is left alone when it is not of kitfs', async () => {
    const { talker } = await serving();
    await talker.ask('mount', place, 'other');
    await talker.ask('send', 'done');
    talker.tell('exit', 0);
    expect(await talker.ended).toEqual([0, null]);
    expect(mounted()).toBe(true);
  });
});
