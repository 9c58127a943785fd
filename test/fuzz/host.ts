/** The real servers of a tree, on sockets of their own: that of agents and that of the command line. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OpError } from '../../src/base/errors.ts';
import { loadNative } from '../../src/base/native.ts';
import { ControlServer } from '../../src/daemon/control.ts';
import { controlMethods } from '../../src/daemon/control-methods.ts';
import type { CoreParts } from '../../src/daemon/core.ts';
import type { ToolParts } from '../../src/daemon/toolbox.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { McpServer } from '../../src/mcp/mcp.ts';
import { UNLIMITED } from '../../src/tools/tools.ts';
import { CountingRandom } from '../fakes/random.ts';
import { ownerOnly } from '../mcp/host.ts';
import { World } from './world.ts';

const CLOSE_MS_MAX = 10_000;

export class FuzzHost {
  readonly world = new World();
  readonly #directory = mkdtempSync(join(tmpdir(), 'kitfs-fuzz-run-'));
  readonly mcpSocket = join(this.#directory, 'mcp.sock');
  readonly controlSocket = join(this.#directory, 'control.sock');
  readonly #mcp: McpServer;
  readonly #control: ControlServer;

  private constructor() {
    const { clock, log, registry, jobs } = this.world;
    const [native, random] = [loadNative(), new CountingRandom()];
    const ports = { clock, log, native, random };
    this.#mcp = new McpServer({
      ...ports,
      registry,
      endpoints: [{ path: this.mcpSocket, ceiling: UNLIMITED }],
      policy: ownerOnly,
      tokens: { isRequired: false, find: () => undefined },
      version: '1.0.0',
      mountDir: () => undefined,
    });
    // Of the core only what its methods ask for is here: there is no mount, and nothing to stop.
    const parts = {
      core: this.world as unknown as CoreParts,
      tools: { registry, jobs } as ToolParts,
    };
    const notHere = () => {
      throw new OpError('not-ready', 'ask the daemon');
    };
    const methods = controlMethods({
      parts: () => parts,
      status: notHere,
      stop: notHere,
      owner: process.getuid?.() ?? 0,
      isTokenRequired: false,
    });
    const path = this.controlSocket;
    this.#control = new ControlServer({ ...ports, path, policy: ownerOnly, methods });
  }

  static async open(): Promise<FuzzHost> {
    const host = new FuzzHost();
    await host.#mcp.listen();
    await host.#control.listen();
    return host;
  }

  get connections(): number {
    return this.#mcp.connections;
  }

  /** What went wrong in here. */
  faults(): string[] {
    const broken = this.world.faults().map((error) => {
      return error instanceof Error ? `${error.stack} ${String(error.cause)}` : String(error);
    });
    const found = checkJournal(this.world.journal).map((finding) => JSON.stringify(finding));
    return [...broken, ...found];
  }

  async close(): Promise<void> {
    await this.#mcp.close(AbortSignal.timeout(CLOSE_MS_MAX));
    await this.#control.close();
    await this.world.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
