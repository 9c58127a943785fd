/**
 * The stdio bridge between a client and a daemon that both talk nonsense. With a real daemon behind
 * it a bridge on a socket is to its client what the daemon is: the storm of frames is the same. With
 * a daemon that answers with anything, the client reads whole messages only, and what it asked last
 * is answered.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { SystemClock } from '../../src/base/clock.ts';
import { FRAME_BYTES_MAX } from '../../src/base/limits.ts';
import { FrameReader, frameOf, isJsonObject, parseFrame } from '../../src/mcp/frames.ts';
import { runBridge } from '../../src/mcp/mcp.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { Dice } from './dice.ts';
import { FrameMaker } from './frames.ts';
import { type FrameStorm, frameStorm } from './mcp.ts';

const HANG_MS = 30_000;
/** Lines of nonsense of one daemon, and daemons of one bridge. */
const LINES_MAX = 30;
const DAEMONS = 8;

class Scratch {
  readonly #directory = mkdtempSync(join(tmpdir(), 'kitfs-fuzz-bridge-'));
  readonly path = join(this.#directory, 'bridge.sock');

  async listen(onSocket: (socket: Socket) => void): Promise<Server> {
    const server = createServer((socket) => {
      socket.on('error', () => {}); // 'close' follows.
      onSocket(socket);
    });
    server.listen(this.path);
    await once(server, 'listening');
    return server;
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const parts = () => ({
  clock: new SystemClock(),
  random: new CountingRandom(),
  log: new RememberedLog(),
});

/** Frames for the server at `socketPath`, each connection through a bridge of its own. */
export async function bridgedStorm(
  socketPath: string,
  { seed, count }: { seed: number; count: number },
): Promise<FrameStorm> {
  const scratch = new Scratch();
  const faults: string[] = [];
  const bridges = new Set<Promise<void>>();
  const server = await scratch.listen((socket) => {
    const { signal } = gone(socket);
    const bridge = runBridge({ socketPath, input: socket, output: socket, ...parts(), signal })
      .catch((error: unknown) => void faults.push(String(error)))
      .finally(() => {
        socket.destroy();
        bridges.delete(bridge);
      });
    bridges.add(bridge);
  });
  const storm = await frameStorm(scratch.path, { seed, count });
  server.close();
  await Promise.all(bridges);
  scratch.close();
  return { ...storm, faults: [...storm.faults, ...faults] };
}

/** Aborts when the client has gone. */
function gone(socket: Socket): AbortController {
  const controller = new AbortController();
  socket.once('close', () => controller.abort());
  return controller;
}

/** `count` bridges, each of a daemon that is started again and again and says anything. */
export async function nonsenseStorm({ seed, count }: { seed: number; count: number }) {
  const dice = new Dice(seed);
  const faults: string[] = [];
  for (let done = 0; done < count && faults.length === 0; done++) {
    faults.push(...(await nonsense(new Dice(dice.next()))));
  }
  return { count, faults };
}

async function nonsense(dice: Dice): Promise<string[]> {
  const scratch = new Scratch();
  const faults: string[] = [];
  let daemons = 0;
  const sockets = new Set<Socket>();
  const server = await scratch.listen((socket) => {
    sockets.add(socket);
    daemons += 1;
    if (daemons < DAEMONS) babble(socket, dice);
    else answerAll(socket);
  });
  const [input, output] = [new PassThrough(), new PassThrough()];
  const answered = new Set<string>();
  const reader = new FrameReader(4 * FRAME_BYTES_MAX);
  let wake = () => {};
  output.on('data', (chunk: Buffer) => {
    reader.push(chunk, (frame) => {
      const message = parseFrame(frame);
      if (!isJsonObject(message)) faults.push(`no message: ${frame.toString('latin1', 0, 200)}`);
      else answered.add(JSON.stringify(message['id']));
    });
    wake();
  });
  const late = AbortSignal.timeout(HANG_MS);
  const stop = new AbortController();
  const signal = AbortSignal.any([late, stop.signal]);
  late.addEventListener('abort', () => wake());
  const done = runBridge({ socketPath: scratch.path, input, output, ...parts(), signal });
  const until = async (is: () => boolean) => {
    while (!is() && !late.aborted) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  for (let asked = 0; asked < DAEMONS * 4; asked++) {
    const method = dice.pick(['ping', 'tools/list', 'tools/call', 'initialize']);
    const id = `q${asked}`;
    input.write(frameOf({ jsonrpc: '2.0', id, method, params: {} }));
    await until(() => answered.has(JSON.stringify(id)));
    if (late.aborted) faults.push(`${id}, ${method}, was not answered; daemon ${daemons}`);
    if (faults.length > 0) break;
  }
  stop.abort();
  await done.catch((error: unknown) => void faults.push(String(error)));
  for (const socket of sockets) socket.destroy();
  server.close();
  scratch.close();
  return faults;
}

/** Says some of anything at every line it is told, answers it now and then, and dies. */
function babble(socket: Socket, dice: Dice): void {
  const maker = new FrameMaker(dice);
  let left = dice.below(LINES_MAX);
  const reader = new FrameReader(4 * FRAME_BYTES_MAX);
  socket.on('data', (chunk: Buffer) => {
    reader.push(chunk, (frame) => {
      for (let said = dice.below(4); said > 0 && left > 0; said--, left--)
        socket.write(maker.next());
      if (dice.chance(1)) socket.write(Buffer.alloc(FRAME_BYTES_MAX + 1, 'x'));
      else if (left === 0 || dice.chance(20)) socket.destroy();
      else respond(socket, frame, '\n');
    });
  });
}

function answerAll(socket: Socket): void {
  const reader = new FrameReader(4 * FRAME_BYTES_MAX);
  socket.on('data', (chunk: Buffer) => reader.push(chunk, (frame) => respond(socket, frame)));
}

/** `before`: what ends a line of nonsense that has no end. */
function respond(socket: Socket, frame: Buffer, before = ''): void {
  const message = parseFrame(frame);
  const id = isJsonObject(message) ? message['id'] : null;
  socket.write(`${before}${frameOf({ jsonrpc: '2.0', id, result: {} })}`);
}
