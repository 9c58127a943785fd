/** The daemon under measurement, and what is asked of it besides files. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { connectAgent } from '../integration/agent.ts';
import { TestDaemon } from '../integration/daemon.ts';

/** Reads a path whenever it is asked for one on a line, and answers with the text. */
const READER = `
process.stdin.setEncoding('utf8').on('data', (text) => {
  for (const path of text.split('\\n')) if (path) console.log(require('fs').readFileSync(path, 'utf8'));
});`;

export class Mounted implements AsyncDisposable {
  readonly #daemon: TestDaemon;

  static async start(): Promise<Mounted> {
    return new Mounted(await TestDaemon.start());
  }

  private constructor(daemon: TestDaemon) {
    this.#daemon = daemon;
  }

  /** The writable tree on the mount. */
  get tree(): string {
    return this.#daemon.path('ipfs');
  }

  agent(): Promise<Client> {
    return connectAgent(this.#daemon.mcpSocket);
  }

  /** Milliseconds from the call of a tool that writes to a program's having read what it wrote. */
  async writeToSeen(client: Client, count: number): Promise<number[]> {
    const reader = this.#daemon.spawn(process.execPath, ['-e', READER]);
    const times: number[] = [];
    const { stdin, stdout } = reader;
    if (stdin === null || stdout === null) throw new Error('the reader has no streams');
    stdout.setEncoding('utf8');
    for (let i = 0; i < count; i++) {
      const content = `value ${i}`;
      const start = performance.now();
      await client.callTool({ name: 'vfs_write', arguments: { path: '/ipfs/seen', content } });
      const line = new Promise<string>((resolve) => stdout.once('data', resolve));
      stdin.write(`${this.tree}/seen\n`);
      if ((await line).trim() !== content) throw new Error(`stale read in round ${i}`);
      times.push(performance.now() - start);
    }
    stdin.end();
    return times;
  }

  /** Stops and starts again on the same state. Milliseconds until it is ready. */
  async startAgain(): Promise<number> {
    await this.#daemon.stop();
    const start = performance.now();
    await this.#daemon.restart();
    return performance.now() - start;
  }

  residentBytes(): number {
    const status = readFileSync(join('/proc', String(this.#daemon.pid), 'status'), 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#daemon.close();
  }
}
