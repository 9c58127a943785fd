/**
 * The Unix socket agents connect to, and who may.
 *
 * Invariants: the directory is ours alone to write and the socket has mode 0600 before anyone can
 * see it; a peer is our own user or root, as the kernel says; a socket somebody else answers on is
 * never removed, neither at start nor at the end.
 */
import { chmod, lstat, mkdir, readFile, rename, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import { CONNECTIONS_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Peer } from '../tools/tools.ts';

/** `sun_path` of unix(7), without its NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/** The part of the native addon that is needed here. */
export interface PeerNames {
  peerCredentials(socketFd: number): {
    readonly pid: number;
    readonly uid: number;
    readonly gid: number;
  };
}

export interface AgentSocketOptions {
  readonly path: string;
  readonly native: PeerNames;
  readonly log: Log;
  /** A peer that may: the socket is not read yet. */
  readonly onPeer: (socket: Socket, peer: Peer) => void;
}

export class AgentSocket {
  readonly #options: AgentSocketOptions;
  readonly #server: Server;
  #identity = '';

  constructor(options: AgentSocketOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      this.#admit(socket).catch((error: unknown) => {
        options.log.warn({ err: error }, 'a connection could not be looked at');
        socket.destroy();
      });
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on('drop', () => options.log.warn({ max: CONNECTIONS_MAX }, 'too many agents'));
  }

  /**
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
    await clearStale(path);
    // Bound under another name and then renamed: it is never seen with another mode, and what
    // Node removes when it closes is that name and not whatever has come to lie at the path.
    const bindPath = join(dirname(path), bindNameOf(basename(path)));
    await unlink(bindPath).catch(unlessAbsent);
    await this.#bind(bindPath);
    try {
      await chmod(bindPath, 0o600);
      this.#identity = identityOf(await lstat(bindPath));
      await rename(bindPath, path);
    } catch (error) {
      this.#server.close();
      throw asOpError(error, `listen at ${path}`);
    }
  }

  /** No new connections; the socket is removed if it is still ours. */
  async close(): Promise<void> {
    const { path } = this.#options;
    this.#server.close();
    const there = await lstat(path).catch(unlessAbsent);
    if (there !== undefined && identityOf(there) === this.#identity) {
      await unlink(path).catch(unlessAbsent);
    }
  }

  #bind(bindPath: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const server = this.#server;
      const onError = (error: Error) => reject(asOpError(error, `listen at ${bindPath}`));
      server.once('error', onError);
      // Node binds inside the call, so the mask of the process is changed for that long only.
      const mask = process.umask(0o177);
      try {
        server.listen(bindPath, () => {
          server.off('error', onError);
          server.on('error', (error) => this.#options.log.error({ err: error }, 'MCP socket'));
          resolve();
        });
      } finally {
        process.umask(mask);
      }
    });
  }

  async #admit(socket: Socket): Promise<void> {
    const { native, log, onPeer } = this.#options;
    socket.on('error', () => {}); // A client may be gone before it was looked at.
    const { uid, gid, pid } = native.peerCredentials(descriptorOf(socket));
    if (uid !== 0 && uid !== process.getuid?.()) {
      log.warn({ uid, pid }, 'a foreign user was refused');
      socket.destroy();
      return;
    }
    const groups = await groupsOf(pid, uid);
    if (!socket.destroyed) onPeer(socket, { uid, gid, pid, groups });
  }
}

/** Node has the descriptor and no name for it. */
function descriptorOf(socket: Socket): number {
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

/** Supplementary groups of a process that still runs as `uid`; none when it is gone. */
async function groupsOf(pid: number, uid: number): Promise<readonly number[]> {
  // proc(5): "Uid:" real, effective, saved, file system; "Groups:" the supplementary ones.
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  const effective = /^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1];
  if (Number(effective ?? -1) !== uid) return [];
  const groups = /^Groups:[ \t]*(.*)$/m.exec(status)?.[1] ?? '';
  return groups.split(/\s+/).filter(Boolean).map(Number);
}
