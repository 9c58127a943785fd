/**
 * A daemon that answers on its control socket as a test says, and commands that ask it, run in this process.
 *
 * Invariants: nothing of the machine's own configuration is read; what a command has changed in this process — where it
 * writes, what hears signals — is as before when it has ended.
 */

import { writeFileSync } from 'node:fs';
import { vi } from 'vitest';
import { loadNative } from '../../src/base/native.ts';
import { run } from '../../src/cli/program.ts';
import { type ControlMethods, ControlServer } from '../../src/daemon/control.ts';
import { Scratch } from '../daemon/scratch.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { ownerOnly } from '../mcp/host.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

const unasked = async (): Promise<never> => {
  throw new Error('this was not to be asked');
};

const NOTHING: ControlMethods = {
  status: async () => ({ mounts: [{ mount_point: '/srv/tree' }] }),
  stop: unasked,
  tools: unasked,
  call: unasked,
  sync_local: unasked,
  car: unasked,
  snapshot_list: unasked,
  snapshot_show: unasked,
  snapshot_diff: unasked,
  command: unasked,
  reach: unasked,
};

export class Asked implements AsyncDisposable {
  readonly scratch = new Scratch();
  readonly #server: ControlServer;

  static async open(methods: Partial<ControlMethods>): Promise<Asked> {
    const asked = new Asked(methods);
    await asked.#server.listen();
    return asked;
  }

  private constructor(methods: Partial<ControlMethods>) {
    writeFileSync(this.scratch.path('config.toml'), '');
    this.#server = new ControlServer({
      path: this.scratch.path('run', 'control.sock'),
      policy: ownerOnly,
      native: loadNative(),
      methods: { ...NOTHING, ...methods },
      random: new CountingRandom(),
      log: new RememberedLog(),
    });
  }

  /** Runs `kitfs …` against this daemon, as on a terminal when it is told so. */
  async kitfs(args: readonly string[], { isTerminal = false } = {}): Promise<Ran> {
    const { scratch } = this;
    const places = ['--state', scratch.path('state'), '--run', scratch.path('run')];
    const heard = new Map(SIGNALS.map((name) => [name, process.listeners(name)]));
    const wasTerminal = process.stderr.isTTY;
    const [out, err]: [string[], string[]] = [[], []];
    const taken = (into: string[]) => (text: string | Uint8Array) => {
      into.push(String(text));
      return true;
    };
    const spies = [
      vi.spyOn(process.stdout, 'write').mockImplementation(taken(out)),
      vi.spyOn(process.stderr, 'write').mockImplementation(taken(err)),
    ];
    process.stderr.isTTY = isTerminal;
    try {
      const config = ['--config', scratch.path('config.toml')];
      const code = await run([...args, ...places, ...config]);
      return { code, stdout: out.join(''), stderr: err.join('') };
    } finally {
      process.stderr.isTTY = wasTerminal;
      for (const spy of spies) spy.mockRestore();
      for (const name of SIGNALS) {
        for (const listener of process.listeners(name)) {
          if (heard.get(name)?.includes(listener) !== true) process.off(name, listener);
        }
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close();
    this.scratch[Symbol.dispose]();
  }
}

/** A tool's refusal, as the daemon sends it. */
export const REFUSAL = {
  status: 'error',
  error: 'read /ipfs/a: invalid argument',
  error_code: 'INVALID_ARGUMENT',
  context: { issues: [{ argument: 'path', reason: 'is no path', expected: 'a string' }] },
} as const;

export const success = (data: Readonly<Record<string, unknown>>) => ({ status: 'success', data });
