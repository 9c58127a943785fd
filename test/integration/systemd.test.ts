/**
 * The units under a real systemd, booted for this file: kitfs is installed as npm does it, and what runs on the mount
 * meanwhile notices nothing but a pause. The tests follow each other on one machine.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BootedMachine, packedPackage } from './booted.ts';

const README = fileURLToPath(new URL('../../README.md', import.meta.url));
const MOUNT = '/srv/tree';
const MAIN = '/opt/npm/lib/node_modules/kitfs/dist/bundle/cli/main.js';
const BOOT_MS_MAX = 60_000;
/** A pause of the mount that is still one. A daemon needs some 400 ms to start, more on a busy machine. */
const STALL_MS_MAX = 15_000;
/** Of the load, before and after what happens to it: more than it takes to remove its files once. */
const ROUNDS = 25;

/** Puts a version of the package in place as `npm install --global` does: beside, then renamed over. */
const INSTALL = `
cd /opt/npm/lib/node_modules
mkdir .kitfs-new
tar -xzf /given/kitfs.tgz -C .kitfs-new --strip-components=1
sed -i 's/"version": "[^"]*"/"version": "'"$VERSION"'"/' .kitfs-new/package.json
# npm would install the dependencies into it.
ln -s /repository/node_modules .kitfs-new/node_modules
if [ -e kitfs ]; then mv kitfs .kitfs-old; fi
mv .kitfs-new kitfs
rm -rf .kitfs-old
`;

let machine: BootedMachine;
const loads = new Set<Load>();

beforeAll(async () => {
  machine = await BootedMachine.start({ 'kitfs.tgz': packedPackage() });
  await machine.shell(`mkdir -p /opt/npm/lib/node_modules /etc/kitfs\nVERSION=1.0.0\n${INSTALL}`);
  await machine.shell(`printf 'mount_point = "${MOUNT}"\\n' > /etc/kitfs/config.toml`);
}, BOOT_MS_MAX);
afterEach(() => {
  for (const load of loads) load.kill();
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
});

const kitfs = (...args: readonly string[]) => machine.run('node', [MAIN, ...args]);

interface LoadEnd {
  readonly rounds: number;
  readonly operations: number;
  readonly worstMs: number;
  readonly errors: readonly string[];
}

/** A program that works on the mount all the time. */
class Load {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #asked = 0;
  #stderr = '';

  static async start(folder: string, as: readonly string[] = []): Promise<Load> {
    const load = new Load(folder, as);
    for (let round = 0; round < ROUNDS; round += 1) await load.goesOn();
    return load;
  }

  /** `as`: a command that runs another one as somebody else. */
  private constructor(folder: string, as: readonly string[]) {
    const [program = '', ...args] = [
      ...as,
      'node',
      '/repository/test/integration/load.mjs',
      folder,
    ];
    this.#child = machine.spawn(program, args);
    loads.add(this);
    const { stdin, stdout, stderr } = this.#child;
    if (stdin === null || stdout === null) throw new Error('no pipes');
    stdin.on('error', () => {}); // It has ended: `#next` says so.
    stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.#lines = createInterface(stdout)[Symbol.asyncIterator]();
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the load has ended:\n${this.#stderr}`);
    return value;
  }

  /** Resolves when a round is over that began after this call. */
  async goesOn(): Promise<void> {
    this.#asked += 1;
    this.#child.stdin?.write(`${this.#asked}\n`);
    expect(await this.#next()).toBe(String(this.#asked));
  }

  async end(): Promise<LoadEnd> {
    this.#child.stdin?.end();
    const end = JSON.parse(await this.#next()) as LoadEnd;
    loads.delete(this);
    return end;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
    loads.delete(this);
  }
}

/** Works on the mount while `body` runs, and until the mount has answered after it. */
async function underLoad(
  folder: string,
  body: () => Promise<void>,
  { mount = MOUNT, as = [] }: { mount?: string; as?: readonly string[] } = {},
): Promise<void> {
  const load = await Load.start(`${mount}/ipfs/${folder}`, as);
  await body();
  for (let round = 0; round < ROUNDS; round += 1) await load.goesOn();
  const end = await load.end();
  console.log(`${folder}: ${JSON.stringify(end)}`);
  expect(end.errors, await machine.journal()).toEqual([]);
  expect(end.worstMs).toBeLessThan(STALL_MS_MAX);
}

/** A unit and the mount. Another mount has another number. */
interface Seen {
  readonly pid: string;
  readonly restarts: number;
  readonly state: string;
  readonly mounts: readonly string[];
}

async function seen(): Promise<Seen> {
  const { MainPID, NRestarts, ActiveState } = await machine.show(
    'kitfs',
    ...['MainPID', 'NRestarts', 'ActiveState'],
  );
  return {
    pid: MainPID ?? '',
    restarts: Number(NRestarts),
    state: ActiveState ?? '',
    mounts: await mountsAt(MOUNT),
  };
}

async function mountsAt(place: string): Promise<readonly string[]> {
  const words = (await machine.run('cat', ['/proc/self/mountinfo']))
    .split('\n')
    .map((line) => line.split(' '));
  return words.filter((line) => line[4] === place).map(([number = '']) => number);
}

/** Resolves when another daemon than `pid` serves. */
async function replaced(pid: string): Promise<void> {
  // Between two daemons the number is 0.
  await machine.shell(`until now=$(systemctl show --value --property=MainPID kitfs) &&
    [ "$now" != ${pid} ] && [ "$now" != 0 ] && systemctl is-active --quiet kitfs; do :; done`);
}

const kill = (signal: string) =>
  machine.run('systemctl', ['kill', `--signal=${signal}`, '--kill-who=main', 'kitfs']);

/** Changes the unit as an administrator would. */
async function adjust(...lines: readonly string[]): Promise<void> {
  const folder = '/etc/systemd/system/kitfs.service.d';
  const text = lines.map((line) => `'${line}'`).join(' ');
  await machine.shell(
    `mkdir -p ${folder}; printf '%s\\n' ${text} > ${folder}/test.conf; systemctl daemon-reload`,
  );
}

async function expectNothingLeft(): Promise<void> {
  await machine.shell('while systemctl is-active --quiet kitfs-keeper; do :; done');
  expect(await mountsAt(MOUNT)).toEqual([]);
  expect((await machine.attempt('pgrep', ['-f', 'kitfs-keeper|kitfs/dist'])).stdout).toBe('');
}

test('kitfs systemd install makes units that start, mount, and say when they are ready', async () => {
  await kitfs('systemd', 'install');
  expect(await machine.run('systemd-analyze', ['verify', '--man=no', 'kitfs.service'])).toBe('');
  await machine.run('systemctl', ['start', 'kitfs']);
  const { StatusText } = await machine.show('kitfs', 'StatusText');
  expect(StatusText).toBe(`mounted at ${MOUNT}`);
  const { mounts, ...unit } = await seen();
  expect(unit).toMatchObject({ state: 'active', restarts: 0 });
  expect(mounts).toHaveLength(1);
  // By a process that has nothing to do with the unit: the mount is everybody's.
  expect(await machine.shell(`echo hello > ${MOUNT}/ipfs/a; cat ${MOUNT}/ipfs/a`)).toBe('hello\n');
});

test('hardening leaves the kernel to read and write files, and the journal to name programs', async () => {
  const status = JSON.parse(await kitfs('status', '--json')) as {
    readonly passthrough: { readonly in_use: boolean };
  };
  expect(status.passthrough.in_use).toBe(true);
  const shell = (await machine.run('readlink', ['-f', '/bin/sh'])).trim();
  expect(await kitfs('log', '/ipfs/a', '--json')).toContain(JSON.stringify(shell));
});

test('the exposure of each unit is at most what the README says', async () => {
  const readme = readFileSync(README, 'utf8');
  for (const unit of ['kitfs.service', 'kitfs-keeper.service']) {
    const said = /\| `UNIT` \| ([\d.]+) /.source.replace('UNIT', unit);
    const text = await machine.run('systemd-analyze', ['security', '--no-pager', unit]);
    const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(text)?.[1]);
    expect(exposure, text).toBeLessThanOrEqual(Number(new RegExp(said).exec(readme)?.[1]));
  }
});

test('sockets are the group’s and nobody else’s, the state is the daemon’s alone', async () => {
  const modesOf = (...paths: readonly string[]) =>
    machine.run('stat', ['--format=%a %U:%G', ...paths]);
  expect(await modesOf('/run/kitfs')).toBe('2750 root:kitfs\n');
  expect(await modesOf('/var/lib/kitfs')).toBe('700 root:root\n');
  expect(await modesOf('/run/kitfs/keeper.sock')).toBe('600 root:kitfs\n');
  expect(await modesOf('/run/kitfs/mcp.sock')).toMatch(/^6[06]0 root:kitfs$/m);
});

test('a daemon that is killed is replaced, and open files and programs go on', async () => {
  const before = await seen();
  await underLoad('killed', async () => {
    await kill('SIGKILL');
    await replaced(before.pid);
  });
  const after = await seen();
  expect(after.restarts).toBe(before.restarts + 1);
  expect(after.mounts).toEqual(before.mounts);
});

test('systemctl restart exchanges the daemon, and open files and programs go on', async () => {
  const before = await seen();
  await underLoad('restarted', async () => {
    await machine.run('systemctl', ['restart', 'kitfs']);
  });
  const after = await seen();
  expect(after.pid).not.toBe(before.pid);
  expect(after.mounts).toEqual(before.mounts);
  // It left the mount on purpose, and did not crash.
  expect(await machine.run('journalctl', ['--unit=kitfs'])).toContain('"last":"exit 75"');
});

test('an upgrade and a restart lose nothing', async () => {
  const version = async (): Promise<string> =>
    (JSON.parse(await kitfs('status', '--json')) as { version: string }).version;
  const before = await seen();
  expect(await version()).toBe('1.0.0');
  await underLoad('upgraded', async () => {
    await machine.shell(`VERSION=1.1.0\n${INSTALL}`);
    await machine.run('systemctl', ['restart', 'kitfs']);
  });
  expect(await version()).toBe('1.1.0');
  expect((await seen()).mounts).toEqual(before.mounts);
});

test('the watchdog leaves a daemon that lives, and replaces one that hangs', async () => {
  await adjust('[Service]', 'WatchdogSec=2');
  await machine.run('systemctl', ['restart', 'kitfs']);
  const before = await seen();
  const property = 'systemctl show --value --property=WatchdogTimestampMonotonic kitfs';
  // Until a sign of life has come two periods after another, in microseconds.
  await machine.shell(
    `first=$(${property}); while [ $(${property}) -lt $((first + 4000000)) ]; do :; done`,
  );
  expect(await seen()).toEqual(before);
  await underLoad('hung', async () => {
    await kill('SIGSTOP');
    await replaced(before.pid);
  });
  const after = await seen();
  expect(after.restarts).toBe(before.restarts + 1);
  expect(after.mounts).toEqual(before.mounts);
  expect(await machine.run('journalctl', ['--unit=kitfs'])).toContain('"last":"hung"');
});

test('a keeper that dies takes nothing with it, and the next start brings another', async () => {
  const before = await seen();
  await underLoad('alone', async () => {
    await machine.run('systemctl', ['kill', '--signal=SIGKILL', 'kitfs-keeper']);
    await machine.shell('until systemctl is-failed --quiet kitfs-keeper; do :; done');
  });
  expect(await seen()).toEqual(before);
  await machine.run('systemctl', ['restart', 'kitfs']);
  const between = await seen();
  await underLoad('kept', async () => {
    await kill('SIGKILL');
    await replaced(between.pid);
  });
  expect((await seen()).mounts).toEqual(between.mounts);
});

test('a stop unmounts, and leaves nothing', async () => {
  await machine.run('systemctl', ['stop', 'kitfs']);
  await expectNothingLeft();
  expect(await machine.run('find', ['/run/kitfs', '-type', 's'])).toBe('');
  const { Result } = await machine.show('kitfs', 'Result');
  expect(Result).toBe('success');
});

test('so does a stop of the keeper, and kitfs unmount, after which nothing is started again', async () => {
  await machine.run('systemctl', ['start', 'kitfs']);
  await machine.run('systemctl', ['stop', 'kitfs-keeper']);
  await expectNothingLeft();
  await machine.run('systemctl', ['start', 'kitfs']);
  await kitfs('unmount');
  await expectNothingLeft();
  expect((await seen()).state).toBe('inactive');
});

test('what was on the mount is there after all this, and is whole', async () => {
  await machine.run('systemctl', ['start', 'kitfs']);
  expect(await machine.run('cat', [`${MOUNT}/ipfs/a`])).toBe('hello\n');
  expect(await kitfs('fsck')).toContain('clean');
});

test('a daemon that dies too often is given up, and no program waits for it', async () => {
  await adjust('[Unit]', 'StartLimitBurst=2', 'StartLimitIntervalSec=1h');
  await machine.run('systemctl', ['reset-failed', 'kitfs']);
  await machine.run('systemctl', ['restart', 'kitfs']);
  const load = await Load.start(`${MOUNT}/ipfs/lost`);
  const { pid } = await seen();
  await kill('SIGKILL');
  await replaced(pid);
  await kill('SIGKILL');
  await machine.shell('until systemctl is-failed --quiet kitfs; do :; done');
  await expectNothingLeft();
  const { errors } = await load.end();
  expect(errors.join('\n')).toMatch(/ENOTCONN|ECONNABORTED|EIO/);
});

test('a user’s units mount without root, are restarted under load, and leave nothing', async () => {
  const [home, runtime] = ['/home/ann', '/run/user/1000'];
  const mount = `${home}/kitfs`;
  await machine.shell(`install -d -o 1000 -g 1000 -m 700 ${runtime}`);
  const manager = ['--uid=1000', '--gid=1000', '--property=Type=notify', '--property=Delegate=yes'];
  const variables = [`HOME=${home}`, `XDG_RUNTIME_DIR=${runtime}`];
  await machine.run('systemd-run', [
    ...['--unit=ann', ...manager, ...variables.map((variable) => `--setenv=${variable}`)],
    ...['/lib/systemd/systemd', '--user', '--unit=basic.target'],
  ]);
  const path = `PATH=${await machine.shell('printf %s "$PATH"')}`;
  const as = ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', 'env', '-i'];
  as.push(...variables, path);
  const run = (...args: readonly string[]) => machine.run('setpriv', [...as.slice(1), ...args]);
  await run('node', MAIN, 'systemd', 'install', '--user');
  await run('systemctl', '--user', 'start', 'kitfs');
  const before = await mountsAt(mount);
  expect(before).toHaveLength(1);
  await underLoad('user', () => run('systemctl', '--user', 'restart', 'kitfs').then(() => {}), {
    mount,
    as,
  });
  expect(await mountsAt(mount)).toEqual(before);
  await run('systemctl', '--user', 'stop', 'kitfs');
  expect(await mountsAt(mount)).toEqual([]);
  await run('sh', '-c', 'while systemctl --user is-active --quiet kitfs-keeper; do :; done');
  expect((await machine.attempt('pgrep', ['-u', '1000', 'node|kitfs'])).stdout).toBe('');
});
