/**
 * What agents have of a daemon: the tools, and the sockets where they are called. Most of what is
 * loaded at a start is for this, so a mount that is taken over is served before.
 */
import type { Clock } from '../base/clock.ts';
import { STOP_PUBLISH_MS_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Native } from '../base/native.ts';
import type { Random } from '../base/random.ts';
import type { Redactor } from '../base/redaction.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import { loadProtocol, McpServer, type PeerPolicy } from '../mcp/mcp.ts';
import type { KeptSocket } from '../mcp/socket.ts';
import { READ_ONLY, UNLIMITED } from '../tools/tools.ts';
import { type Complain, tokenDeskOf } from './access.ts';
import type { Config } from './config.ts';
import type { CoreParts } from './core.ts';
import type { ConfiguredNodes } from './nodes.ts';
import type { StateDirectory } from './state.ts';
import type { StatusSources } from './status.ts';
import type { Teardown } from './teardown.ts';
import { openTools, TOOL_NAMES, type ToolParts } from './toolbox.ts';

export interface FacesInputs {
  readonly config: Config;
  readonly core: CoreParts;
  readonly nodes: ConfiguredNodes;
  readonly state: StateDirectory;
  readonly native: Native;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly redactor: Redactor;
  readonly policy: PeerPolicy;
  /** @throws OpError configuration. */
  readonly readSecret: (reference: SecretReference) => Secret;
  /** Told of tokens that cannot be used; absent: that is an error. */
  readonly complain: Complain | undefined;
  readonly sources: StatusSources;
  readonly mountPoint: () => string | undefined;
  /** Called when a call was answered. */
  readonly onAnswered: () => void;
  /** Where the socket of that path is kept over the end of this process. */
  readonly keptSocket: (path: string) => KeptSocket | undefined;
  /** Aborts after so long, or than calls under way are given; or when nobody wants to wait. */
  readonly patience: (ms?: number) => AbortSignal;
  readonly teardown: Teardown;
}

export interface Faces {
  readonly tools: ToolParts;
  readonly mcp: McpServer;
}

/** Loads what the first agent would have to wait for, and programs on the mount with it. */
export async function prepareFaces(): Promise<void> {
  await loadProtocol();
}

/**
 * Resolves when the sockets answer.
 * @throws OpError configuration: a token cannot be used; what `AgentSocket.listen` throws.
 */
export async function openFaces(inputs: FacesInputs): Promise<Faces> {
  const { config, core, native, clock, random, log, redactor, policy, teardown } = inputs;
  const { sources, mountPoint, readSecret, complain, patience, onAnswered, keptSocket } = inputs;
  const { access } = config.settings;
  const tokens = tokenDeskOf(access, { read: readSecret, tools: TOOL_NAMES, complain });
  const { sync, content, local } = config.settings;
  const outside = { nodes: inputs.nodes, state: inputs.state, sync, content, local, readSecret };
  const given = { core, clock, random, log, sources, mountPoint, redactor, onAnswered, ...outside };
  const tools = openTools(given);
  teardown.push('publish what changed', async () => {
    if (sources.phase() !== 'stopping') return;
    const signal = patience(STOP_PUBLISH_MS_MAX);
    await tools.finish(signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  });
  teardown.push('leave the backends', () => tools.backends[Symbol.asyncDispose]());
  teardown.push('end the jobs', () => tools.jobs.close());
  const mcp = new McpServer({
    registry: tools.registry,
    native,
    endpoints: [
      { path: config.mcpSocket, ceiling: UNLIMITED },
      { path: config.mcpReadOnlySocket, ceiling: READ_ONLY },
    ],
    policy,
    tokens,
    kept: keptSocket,
    clock,
    random,
    log,
    version: sources.version,
    mountDir: mountPoint,
  });
  await mcp.listen();
  teardown.push('end the sessions of agents', () => mcp.close(patience()));
  return { tools, mcp };
}
