/** What the manager of services is told, and when. */
import { expect, test } from 'vitest';
import { type Supervision, Systemd } from '../../src/daemon/systemd.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';

const SOCKET = '/run/systemd/notify';

/** A manager that can be deaf. */
class Manager {
  readonly told: string[] = [];
  isDeaf = false;

  tellSystemd(socket: string, message: string): void {
    expect(socket).toBe(SOCKET);
    if (this.isDeaf) throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    this.told.push(message);
  }
}

function unit(supervision: Supervision | undefined) {
  const [native, clock, log] = [new Manager(), new TurnedClock(), new RememberedLog()];
  return { native, clock, log, systemd: new Systemd({ supervision, native, clock, log }) };
}

test('a manager hears that the daemon serves and that it stops', () => {
  const { systemd, native } = unit({ socket: SOCKET, watchdogMs: undefined });
  systemd.ready('mounted at /mnt');
  systemd.stopping('unmounting');
  expect(native.told).toEqual(['READY=1\nSTATUS=mounted at /mnt', 'STOPPING=1\nSTATUS=unmounting']);
});

test('a status is one line, whatever the name of the mount point', () => {
  const { systemd, native } = unit({ socket: SOCKET, watchdogMs: undefined });
  systemd.ready('mounted at /a\nWATCHDOG=trigger');
  expect(native.told).toEqual(['READY=1\nSTATUS=mounted at /a WATCHDOG=trigger']);
});

test('signs of life come twice in each period of the watchdog, from ready to the end', async () => {
  const { systemd, native, clock } = unit({ socket: SOCKET, watchdogMs: 1000 });
  await clock.turn(5000);
  expect(native.told).toEqual([]);
  systemd.ready('serving');
  native.told.length = 0;
  await clock.turn(1000);
  expect(native.told).toEqual(['WATCHDOG=1', 'WATCHDOG=1']);
  systemd[Symbol.dispose]();
  await clock.turn(5000);
  expect(native.told).toHaveLength(2);
  expect(clock.sleeping).toBe(0);
});

test('what is long at one thing gives signs of life where there is a watchdog', () => {
  const watched = unit({ socket: SOCKET, watchdogMs: 1000 });
  watched.systemd.alive();
  expect(watched.native.told).toEqual(['WATCHDOG=1']);
  const unwatched = unit({ socket: SOCKET, watchdogMs: undefined });
  unwatched.systemd.alive();
  expect(unwatched.native.told).toEqual([]);
});

test('a manager that is deaf for a while is complained of once, and told again', async () => {
  const { systemd, native, clock, log } = unit({ socket: SOCKET, watchdogMs: 1000 });
  native.isDeaf = true;
  systemd.ready('serving');
  await clock.turn(5000);
  expect(log.lines.map(({ level }) => level)).toEqual(['warn']);
  native.isDeaf = false;
  await clock.turn(500);
  expect(native.told).toEqual(['WATCHDOG=1']);
});

test('a daemon that nobody supervises tells nobody', async () => {
  const { systemd, native, clock } = unit(undefined);
  systemd.ready('serving');
  systemd.stopping('over');
  await clock.turn(5000);
  expect(native.told).toEqual([]);
});
