/**
 * The Unix socket agents connect to, and who may.
 *
 * Invariants: the directory is ours alone to write and the socket has its mode and group before
 * anyone can see it; a peer is who the kernel says it was when it connected, and who may not is told
 * so before anything of it is read; there is room for root and who runs the daemon, however many
 * others are there; a socket somebody else answers on is never removed, neither at
 * start nor at the end.
 */
import { chmod, chown, lstat, mkdir, rename, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import { CONNECTIONS_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { Recent } from '../base/recent.ts';
import type { Peer } from '../tools/tools.ts';

/** `sun_path` of unix(7), without its NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/** So many of the connections are one other user's at most, and so many all other users'. */
const ONE_OTHERS_MAX = CONNECTIONS_MAX / 4;
const ALL_OTHERS_MAX = (CONNECTIONS_MAX * 3) / 4;

/** Users whose refusal is remembered, so that each is logged once. */
const REFUSED_KEPT_MAX = 1024;
/** How long one that may not connect is given to read why. */
const REFUSED_MS_MAX = 1000;

/** Who may connect. `daemon` decides. */
export interface PeerPolicy {
  /** Mode of the socket. */
  readonly mode: number;
  /** Its group; undefined: that of the process. */
  readonly gid: number | undefined;
  /** Why a peer may not, in words for it; undefined: it may. */
  refusalOf(peer: Peer): string | undefined;
}

/** The part of the native addon that is needed here. */
export interface PeerNames {
  peerCredentials(socketFd: number): {
    readonly pid: number;
    readonly uid: number;
    readonly gid: number;
    readonly groups: readonly number[];
  };
}

/** Where a listening socket is, so that a daemon after this one finds it, and who waits in it. */
export interface KeptSocket {
  /** That of the daemon before: its descriptor, and what `hold` was given. */
  readonly held: { readonly descriptor: number; readonly data: string } | undefined;
  hold(descriptor: number, data: string): void;
  /** What is held is not listened at by us, nor by anybody else. */
  refuse(): void;
  /** It is listened at no more. */
  drop(): void;
}

export interface AgentSocketOptions {
  readonly path: string;
  /** Absent: it ends with this process. */
  readonly kept?: KeptSocket | undefined;
  readonly native: PeerNames;
  readonly policy: PeerPolicy;
  readonly log: Log;
  /** What a peer is sent that may not connect, in the protocol of the socket. */
  readonly refusal: (error: OpError) => string;
  /** A peer that may: the socket is not read yet. */
  readonly onPeer: (socket: Socket, peer: Peer) => void;
}

export class AgentSocket {
  readonly #options: AgentSocketOptions;
  readonly #server: Server;
  readonly #refused = new Recent<number, true>(REFUSED_KEPT_MAX);
  /** Connections of each other user. */
  readonly #others = new Map<number, number>();
  #identity = '';

  constructor(options: AgentSocketOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      try {
        this.#admit(socket);
      } catch (error) {
        options.log.warn({ err: error }, 'a connection could not be looked at');
        socket.destroy();
      }
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on('drop', () => options.log.warn({ max: CONNECTIONS_MAX }, 'too many agents'));
  }

  /**
   * Goes on with the socket of the daemon before, if it is still the one at the path, or makes one.
   * @throws OpError configuration (path too long, directory not ours or writable by others), busy
   * (somebody answers there), exists (something else lies there), io.
   */
  async listen(): Promise<void> {
    const { path } = this.#options;
    if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
      throw new OpError('configuration', `listen at ${path}`, {
        hint: `use a path of at most ${SOCKET_PATH_BYTES_MAX} bytes`,
      });
    }
    await secureDirectory(dirname(path));
    if (await this.#adopt()) return;
    await clearStale(path);
    // Bound under another name and then renamed: it is never seen with another mode, and what
    // Node removes when it closes is that name and not whatever has come to lie at the path.
    const bindPath = join(dirname(path), bindNameOf(basename(path)));
    await unlink(bindPath).catch(unlessAbsent);
    await this.#begin((listening) => {
      // Node binds inside the call, so the mask of the process is changed for that long only.
      const mask = process.umask(0o177);
      try {
        this.#server.listen(bindPath, listening);
      } finally {
        process.umask(mask);
      }
    });
    try {
      const { mode, gid } = this.#options.policy;
      // First the group: with the mode the socket is open to it.
      if (gid !== undefined) await chown(bindPath, -1, gid);
      await chmod(bindPath, mode);
      this.#identity = identityOf(await lstat(bindPath));
      await rename(bindPath, path);
      this.#options.kept?.hold(descriptorOf(this.#server), this.#identity);
    } catch (error) {
      this.#server.close();
      throw asOpError(error, `listen at ${path}`);
    }
  }

  /** No new connections; the socket is removed if it is still ours. */
  async close(): Promise<void> {
    const { path, kept } = this.#options;
    this.#server.close();
    if (this.#identity !== '') kept?.drop();
    const there = await lstat(path).catch(unlessAbsent);
    if (there !== undefined && identityOf(there) === this.#identity) {
      await unlink(path).catch(unlessAbsent);
    }
  }

  /** Whoever connected since the last daemon died waits in it. */
  async #adopt(): Promise<boolean> {
    const { path, kept } = this.#options;
    const held = kept?.held;
    if (held === undefined) return false;
    const there = await lstat(path).catch(unlessAbsent);
    if (there === undefined || identityOf(there) !== held.data) {
      kept?.refuse();
      return false;
    }
    this.#identity = held.data;
    const fd = held.descriptor;
    await this.#begin((listening) => this.#server.listen({ fd }, listening));
    return true;
  }

  #begin(listen: (listening: () => void) => void): Promise<void> {
    const { path, log } = this.#options;
    return new Promise((resolve, reject) => {
      const server = this.#server;
      const onError = (error: Error) => reject(asOpError(error, `listen at ${path}`));
      server.once('error', onError);
      listen(() => {
        server.off('error', onError);
        server.on('error', (error) => log.error({ err: error }, 'a socket that is listened at'));
        resolve();
      });
    });
  }

  #admit(socket: Socket): void {
    const { native, policy, onPeer } = this.#options;
    socket.on('error', () => {}); // A client may be gone before it was looked at.
    const peer = native.peerCredentials(descriptorOf(socket));
    const refusal = policy.refusalOf(peer) ?? this.#counted(socket, peer);
    if (refusal === undefined) onPeer(socket, peer);
    else this.#refuse(socket, peer, refusal);
  }

  /** Whoever has a whole socket's worth of connections would keep the owner from stopping it. */
  #counted(socket: Socket, { uid }: Peer): string | undefined {
    if (uid === 0 || uid === process.getuid?.()) return undefined;
    const others = this.#others;
    const count = others.get(uid) ?? 0;
    const all = [...others.values()].reduce((sum, one) => sum + one, 0);
    if (count >= ONE_OTHERS_MAX) return 'too many connections of yours are open';
    if (all >= ALL_OTHERS_MAX) return 'too many connections are open';
    others.set(uid, count + 1);
    socket.once('close', () => {
      const left = (others.get(uid) ?? 1) - 1;
      if (left === 0) others.delete(uid);
      else others.set(uid, left);
    });
    return undefined;
  }

  #refuse(socket: Socket, { uid, gid, pid }: Peer, hint: string): void {
    const { log, path, refusal } = this.#options;
    if (this.#refused.get(uid) === undefined) {
      this.#refused.set(uid, true);
      log.warn({ uid, gid, pid, socket: path, why: hint }, 'a user was refused');
    }
    const error = new OpError('denied', `connect to kitfs as uid ${uid}`, { hint });
    // Not closed at once: who is still speaking would learn that nobody listens, and not why.
    socket.once('end', () => socket.destroy());
    socket.resume();
    socket.end(refusal(error));
    const late = AbortSignal.timeout(REFUSED_MS_MAX);
    late.addEventListener('abort', () => socket.destroy(), { once: true });
  }
}

/** Node has the descriptor and no name for it. */
function descriptorOf(socket: Socket | Server): number {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } | null };
  const fd = handle?.fd;
  if (fd === undefined || fd < 0) throw new OpError('io', 'look at a connection');
  return fd;
}

/** Another name of the same length, because the length of the whole path is bounded. */
const bindNameOf = (name: string): string =>
  name.startsWith('.') ? `~${name.slice(1)}` : `.${name.slice(1)}`;

async function secureDirectory(directory: string): Promise<void> {
  const op = `listen in ${directory}`;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw asOpError(error, op);
  }
  const { uid, mode } = await lstat(directory);
  const isDirectory = (mode & 0o170000) === 0o040000;
  if (!isDirectory || uid !== process.getuid?.() || (mode & 0o022) !== 0) {
    throw new OpError('configuration', op, {
      hint: 'use a directory that is yours and that nobody else may write (chmod 700)',
    });
  }
}

/** Makes way for us if nobody answers at `path`. */
async function clearStale(path: string): Promise<void> {
  const there = await lstat(path).catch(unlessAbsent);
  if (there === undefined) return;
  if (!there.isSocket()) {
    throw new OpError('exists', `listen at ${path}`, { hint: 'remove what lies there' });
  }
  const answer = await probe(path);
  if (answer === 'refused') await unlink(path).catch(unlessAbsent);
  else if (answer !== 'absent') {
    throw new OpError('busy', `listen at ${path}`, {
      hint: 'another kitfs serves this socket: stop it, or use another path',
    });
  }
}

function probe(path: string): Promise<'alive' | 'refused' | 'absent'> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve('alive');
    });
    socket.once('error', (error) => {
      const code = codeOf(error);
      if (code === 'ECONNREFUSED') resolve('refused');
      else if (code === 'ENOENT') resolve('absent');
      else if (code === 'EAGAIN')
        resolve('alive'); // Its queue is full.
      else reject(asOpError(error, `probe ${path}`));
    });
  });
}

const identityOf = ({ dev, ino }: { readonly dev: number; readonly ino: number }): string =>
  `${dev}:${ino}`;

function unlessAbsent(error: unknown): undefined {
  if (codeOf(error) === 'ENOENT') return undefined;
  throw asOpError(error, 'look at the socket');
}
