/** A mount and the process that serves it, which is not this one: `fuse/serve.ts` in a child. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export const SERVER = fileURLToPath(new URL('../../dist/test/fuse/serve.js', import.meta.url));
export const COMMAND_MS_MAX = 30_000;

/** A mount and the process that serves it. This process never touches it. */
export class ServedMount {
  readonly directory = mkdtempSync(join(tmpdir(), 'kitfs-mount '));
  readonly #server: ChildProcess;
  readonly #lines: Interface;
  readonly #said: string[] = [];
  #heard: () => void = () => {};
  complaints = '';

  /** Arguments of `fuse/serve.ts` behind the directory. */
  constructor(...args: readonly string[]) {
    this.#server = spawn(process.execPath, [SERVER, this.directory, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const { stdout, stderr } = this.#server;
    if (stdout === null || stderr === null) throw new Error('no pipes');
    stderr.on('data', (bytes) => {
      this.complaints += String(bytes);
    });
    this.#lines = createInterface({ input: stdout });
    this.#lines.on('line', (line) => {
      this.#said.push(line);
      this.#heard();
    });
    // Whoever waits for a line learns that none will come.
    this.#lines.on('close', () => this.#heard());
  }

  /** The next line the server says. */
  async line(): Promise<string> {
    for (;;) {
      const line = this.#said.shift();
      if (line !== undefined) return line;
      if (this.#server.exitCode !== null) throw new Error(`it ended: ${this.complaints}`);
      await new Promise<void>((heard) => {
        this.#heard = heard;
      });
    }
  }

  /** A change that does not come from the mount; resolves when the kernel knows. */
  async change(line: string): Promise<void> {
    this.say(line);
    expect(await this.line()).toBe('done');
  }

  /** A line to the server, which answers with `done`. */
  say(line: string): void {
    this.#server.stdin?.write(`${line}\n`);
  }

  /** Asks the server to unmount. */
  unmount(): void {
    this.#server.kill('SIGTERM');
  }

  async exit(): Promise<number | null> {
    if (this.#server.exitCode === null) await once(this.#server, 'exit');
    return this.#server.exitCode;
  }

  /** Runs a script of sh in `/ipfs` of the mount; what it printed. */
  sh(script: string): string {
    const whole = `cd -- "$0/ipfs" && ${script}`;
    const options = { encoding: 'utf8', timeout: COMMAND_MS_MAX, killSignal: 'SIGKILL' } as const;
    const { stdout, stderr, status } = spawnSync('sh', ['-c', whole, this.directory], options);
    expect([status, stderr]).toEqual([0, '']);
    return stdout;
  }

  /** A client that stays; it says what its script prints. */
  client(script: string): ChildProcess {
    return spawn('sh', ['-c', `cd -- "$0/ipfs" && ${script}`, this.directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
  }

  isMounted(): boolean {
    const escaped = this.directory.replaceAll(' ', '\\040');
    return readFileSync('/proc/mounts', 'utf8').includes(escaped);
  }

  async close(): Promise<void> {
    if (this.isMounted()) spawnSync('umount', ['-l', this.directory], { timeout: COMMAND_MS_MAX });
    if (this.#server.exitCode === null) this.#server.kill('SIGKILL');
    await this.exit();
    if (!this.isMounted()) rmdirSync(this.directory);
  }
}
