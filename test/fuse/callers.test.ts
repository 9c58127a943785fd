import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { FUSE_CALLERS_MAX } from '../../src/base/limits.ts';
import { Callers } from '../../src/fuse/callers.ts';
import { TurnedClock } from '../fakes/clock.ts';

let proc: string;
let clock: TurnedClock;
let callers: Callers;
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'kitfs-proc-'));
  clock = new TurnedClock();
  callers = new Callers(clock, proc);
});
afterEach(() => {
  rmSync(proc, { recursive: true });
});

interface Process {
  readonly start: number;
  readonly exe: string;
  readonly tgid?: number;
}

/** A process as proc(5) shows it, of a name that is hard to read. */
function show(pid: number, { start, exe, tgid = pid }: Process): void {
  const folder = join(proc, String(pid));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const before = Array.from({ length: 18 }, (_, index) => index).join(' ');
  writeFileSync(join(folder, 'stat'), `${pid} (a) R (b) S ${before} ${start} 99\n`);
  writeFileSync(join(folder, 'status'), `Name:\tx\nTgid:\t${tgid}\nPid:\t${pid}\n`);
  writeFileSync(join(folder, 'cgroup'), '3:cpu:/v1\n0::/user.slice/a:b\n');
  symlinkSync(exe, join(folder, 'exe'));
}

describe('a caller', () => {
  test('is who the kernel says, and its permissions were checked', () => {
    expect(callers.of(7, 1000, 100)).toMatchObject({
      uid: 1000,
      gid: 100,
      groups: [],
      checked: true,
    });
  });

  test('tells the journal which process it is, not which thread', () => {
    show(8, { start: 555, exe: '/usr/bin/git', tgid: 7 });
    expect(callers.of(8, 1, 2).actor()).toEqual({
      surface: 'fuse',
      uid: 1,
      gid: 2,
      pid: 7,
      startTime: 555,
      exe: '/usr/bin/git',
      cgroup: '/user.slice/a:b',
    });
  });

  test('is one object over its requests, and another when its ids change', () => {
    const caller = callers.of(7, 1, 1);
    expect(callers.of(7, 1, 1)).toBe(caller);
    expect(callers.of(7, 2, 1)).not.toBe(caller);
    expect(callers.of(7, 1, 1)).not.toBe(caller);
  });

  test('is looked at again after a second, and only then', async () => {
    show(7, { start: 1, exe: '/bin/sh' });
    const caller = callers.of(7, 0, 0);
    const first = caller.actor();
    show(7, { start: 2, exe: '/bin/sh' });
    await clock.turn(999);
    expect(caller.actor()).toBe(first);
    await clock.turn(1);
    expect(caller.actor()).toMatchObject({ pid: 7, startTime: 2 });
  });

  test('that became another program is another actor; otherwise it stays the same object', async () => {
    show(7, { start: 1, exe: '/bin/sh' });
    const caller = callers.of(7, 0, 0);
    const shell = caller.actor();
    await clock.turn(1000);
    expect(caller.actor()).toBe(shell);
    show(7, { start: 1, exe: '/bin/cat' });
    await clock.turn(1000);
    expect(caller.actor().exe).toBe('/bin/cat');
  });

  test('that is gone, or outside our view, still has its ids', () => {
    expect(callers.of(12_345, 3, 4).actor()).toMatchObject({ uid: 3, gid: 4, pid: 12_345 });
    expect(callers.of(0, 3, 4).actor()).toEqual({ surface: 'fuse', uid: 3, gid: 4 });
  });

  test('is forgotten when there are too many', () => {
    const first = callers.of(1, 0, 0);
    for (let pid = 2; pid <= FUSE_CALLERS_MAX + 1; pid++) callers.of(pid, 0, 0);
    expect(callers.size).toBeLessThanOrEqual(FUSE_CALLERS_MAX);
    expect(callers.of(1, 0, 0)).not.toBe(first);
  });

  test('is found in the real /proc', () => {
    const actor = new Callers(new SystemClock()).of(process.pid, 0, 0).actor();
    expect(actor).toMatchObject({ pid: process.pid, exe: process.execPath });
    expect(actor.startTime).toBeGreaterThan(0);
    expect(actor.cgroup).toMatch(/^\//);
  });
});
