/** A storm of frames from a thread of its own, so that the server's is the server's alone. */
import { parentPort, workerData } from 'node:worker_threads';
import { CONTROL, frameStorm, MCP } from './mcp.ts';

const { path, seed, count, isControl } = workerData as {
  readonly path: string;
  readonly seed: number;
  readonly count: number;
  readonly isControl: boolean;
};
const speech = isControl ? CONTROL : MCP;
parentPort?.postMessage(await frameStorm(path, { seed, count, speech }));
