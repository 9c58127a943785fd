/**
 * An ordinary user runs kitfs, with each driver: mounts through fusermount3, uses the tree, unmounts.
 *
 * All of it happens in a mount namespace of its own, which ends with its processes and leaves the machine as it was.
 * There everybody may open /dev/fuse, as on Debian, and enter the repository and Node. It follows the unmounts outside
 * of it, so that it keeps nobody else's mount alive.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const USER = 65534;
const SECOND_USER = 1001;
const COMMAND_MS_MAX = 30_000;
const TREE = '/mnt/home/tree';
const PLACES = '--state /mnt/home/state --run /mnt/home/run';
const KITFS = '/mnt/node /mnt/repository/dist/src/cli/main.js';
const ADDON = '/mnt/repository/native/build/Release/kitfs.node';

/** `$1`: the repository, `$2`: Node, the rest: what is run then. */
const FURNISH = `
  mount -t tmpfs -o mode=755 none /mnt
  mkdir /mnt/repository /mnt/home && touch /mnt/node
  mount --bind "$1" /mnt/repository
  mount --bind "$2" /mnt/node
  mknod -m 666 /mnt/fuse c 10 229
  mount --bind /mnt/fuse /dev/fuse
  # By which connections are ended. systemd mounts it.
  mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections
  chown ${USER}:${USER} /mnt/home
  shift 2
  exec "$@"
`;

const as = (uid: number): string[] => [
  ...['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--inh-caps=-all'],
  // Nothing of the test's own environment: a user does not write where root counts coverage.
  ...['env', '-i', 'PATH=/usr/bin:/bin', 'HOME=/mnt/home'],
];

/** A shell that waits for its input: the namespace lives as long as it does. */
class Namespace {
  readonly #holder: ChildProcess;

  constructor() {
    this.#holder = spawn(
      'unshare',
      ['--mount', '--propagation', 'slave', '/bin/sh', '-euc', FURNISH, 'sh'].concat(
        [REPOSITORY, process.execPath],
        ['sh', '-c', 'echo ready; read line'],
      ),
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
  }

  async ready(): Promise<void> {
    const { stdout } = this.#holder;
    if (stdout === null) throw new Error('no pipe');
    await once(stdout, 'data');
  }

  #enter(uid: number, script: string): [string, string[]] {
    const words = ['--mount', `--target=${this.#holder.pid}`, ...as(uid)];
    return ['nsenter', [...words, '/bin/sh', '-euc', script]];
  }

  start(uid: number, script: string): ChildProcess {
    const [program, words] = this.#enter(uid, script);
    return spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  }

  run(uid: number, script: string) {
    const [program, words] = this.#enter(uid, script);
    const limits = { timeout: COMMAND_MS_MAX, killSignal: 'SIGKILL' } as const;
    return spawnSync(program, words, { encoding: 'utf8', ...limits });
  }

  /** Runs a script that must succeed; what it printed. */
  sh(uid: number, script: string): string {
    const { status, stdout, stderr } = this.run(uid, script);
    expect([status, stderr]).toEqual([0, '']);
    return stdout;
  }

  /** The lines of proc_pid_mountinfo(5) about what is mounted at the tree's place. */
  mounts(): string[] {
    return readFileSync(`/proc/${this.#holder.pid}/mountinfo`, 'utf8')
      .split('\n')
      .filter((line) => line.includes(` ${TREE} `));
  }

  async close(): Promise<void> {
    this.#holder.stdin?.end('\n');
    if (this.#holder.exitCode === null) await once(this.#holder, 'exit');
  }
}

let namespace: Namespace;
let daemon: ChildProcess;
let said = '';

async function mounted(driver: string): Promise<void> {
  said = '';
  namespace = new Namespace();
  await namespace.ready();
  const mount = `exec ${KITFS} mount --driver ${driver} ${PLACES} ${TREE}`;
  daemon = namespace.start(USER, mount);
  const isMounted = new Promise<void>((resolve, reject) => {
    for (const stream of [daemon.stdout, daemon.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('Ctrl-C unmounts.')) resolve();
      });
    }
    daemon.once('close', () => reject(new Error(`it ended: ${said}`)));
  });
  await isMounted;
}
afterEach(async () => {
  if (daemon.exitCode === null && daemon.signalCode === null) {
    daemon.kill('SIGKILL');
    await once(daemon, 'close');
  }
  await namespace.close();
});

/** Has the connection of a daemon open, as who waits in a write to it has, and says so. */
const HOLDER = `
import ctypes, os, sys
pid = int(sys.argv[1])
of = f'/proc/{pid}/fd'
fd = next(int(fd) for fd in os.listdir(of) if os.stat(f'{of}/{fd}').st_rdev == os.makedev(10, 229))
PIDFD_GETFD = 438
print(ctypes.CDLL(None).syscall(PIDFD_GETFD, os.pidfd_open(pid), fd, 0), flush=True)
sys.stdin.read()
`;

/** Processes that one of its threads has started. */
const childrenOf = (pid: number): number[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
    const numbers = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').match(/\d+/g);
    return numbers?.map(Number) ?? [];
  });

test('an ordinary user’s keeper that gives up lets nobody wait, whoever has the connection open', async () => {
  await mounted('native');
  // The next daemon has no children: it waits.
  const served = childrenOf(daemon.pid ?? 0).find((pid) => childrenOf(pid).length > 0) ?? 0;
  const holder = spawn('python3', ['-c', HOLDER, String(served)]);
  try {
    const [held] = await once(holder.stdout, 'data');
    expect(Number(held)).toBeGreaterThan(0);
    process.kill(served, 'SIGSTOP');
    const client = namespace.start(USER, `exec stat --file-system ${TREE}`);
    const ended = once(client, 'close');
    const wait = () => readFileSync(`/proc/${client.pid}/wchan`, 'utf8');
    await expect.poll(wait, { timeout: 10_000 }).toMatch(/fuse|request_wait/);
    daemon.kill('SIGTERM');
    process.kill(served, 'SIGKILL');
    expect(await ended).toEqual([1, null]);
    if (daemon.exitCode === null) await once(daemon, 'close');
    expect(namespace.mounts()).toEqual([]);
  } finally {
    holder.kill('SIGKILL');
  }
});

describe.each(['native', 'fuse-native'])('an ordinary user, with the driver %s,', (driver) => {
  beforeEach(() => mounted(driver));

  test('mounts through fusermount3, uses the tree alone, and unmounts', async () => {
    const [mounted] = namespace.mounts();
    expect(mounted).toContain(`user_id=${USER},group_id=${USER},default_permissions`);
    expect(mounted).toMatch(/ rw,nosuid,nodev,/);
    expect(mounted).not.toContain('allow_other');
    const status = JSON.parse(namespace.sh(USER, `${KITFS} status --json ${PLACES}`));
    expect(status).toMatchObject({ driver, health: { state: 'ok' } });
    expect(status.driver_reason).toMatch(/^chosen in the configuration; .*not root/);

    const script = `cd ${TREE}/ipfs
      echo one > a && mkdir d && mv a d/b && echo two >> d/b && cat d/b
      ln -s d/b s && ln d/b l && chmod 640 l && stat -c '%u:%g %a %h' s l
      rm d/b && rmdir d && ls`;
    expect(namespace.sh(USER, script)).toBe(
      `one\ntwo\n${USER}:${USER} 777 1\n${USER}:${USER} 640 2\nl\ns\n`,
    );
    const attributes = `const native = require('${ADDON}');
      native.setXattr('l', 'user.key', Buffer.from('value'), 0);
      console.log(native.getXattr('l', 'user.key').toString(), native.listXattr('l').join());`;
    expect(namespace.sh(USER, `cd ${TREE}/ipfs && /mnt/node -e "${attributes}"`)).toBe(
      'value user.key\n',
    );

    for (const stranger of [SECOND_USER, 0]) {
      const { status: code, stderr } = namespace.run(stranger, `ls ${TREE}`);
      expect([code, stderr]).toEqual([2, expect.stringContaining('Permission denied')]);
    }

    namespace.sh(USER, `${KITFS} unmount ${PLACES}`);
    if (daemon.exitCode === null) await once(daemon, 'close');
    expect([daemon.exitCode, namespace.mounts()]).toEqual([0, []]);
    expect(said).toContain(`kitfs: unmounted ${TREE}\n`);
  });

  test('takes the tree away by force from a program that uses it', async () => {
    const user = namespace.start(USER, `cd ${TREE}/ipfs && echo in && exec sleep 60`);
    await once(user.stdout ?? user, 'data');
    const { status, stderr } = namespace.run(USER, `${KITFS} unmount ${PLACES}`);
    expect([status, stderr]).toEqual([1, expect.stringContaining('sleep')]);
    expect(namespace.mounts()).toHaveLength(1);
    namespace.sh(USER, `${KITFS} unmount --force ${PLACES}`);
    if (daemon.exitCode === null) await once(daemon, 'close');
    expect([daemon.exitCode, namespace.mounts()]).toEqual([0, []]);
    user.kill('SIGKILL');
    await once(user, 'close');
  });
});
