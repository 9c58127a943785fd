/**
 * Files in the run directory for a daemon that takes over the connection to the kernel: facts that
 * are in no journal because they end with the mount. Nothing here fails an operation: what could not
 * be written is missing after a kill, and the log says so.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { OpError } from '../base/errors.ts';
import type { Fh } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { KeptBytes, NodeLog } from '../vfs/vfs.ts';
import type { Teardown } from './teardown.ts';

interface KeptFilesOptions {
  /** The run directory. */
  readonly directory: string;
  /** Whether a connection is taken over; else what is there is of no use any more. */
  readonly isTakenOver: boolean;
  readonly log: Log;
  readonly teardown: Teardown;
}

/** Both are gone after a stop. */
export function keptFiles(options: KeptFilesOptions): { nodes: NodeLog; rendered: KeptBytes } {
  const { directory, isTakenOver, log, teardown } = options;
  const paths = { nodes: join(directory, 'content-nodes'), rendered: join(directory, 'rendered') };
  const clear = () => {
    for (const path of Object.values(paths)) rmSync(path, { recursive: true, force: true });
  };
  if (!isTakenOver) clear();
  mkdirSync(paths.rendered, { recursive: true, mode: 0o700 });
  teardown.push('forget what was kept for a daemon after this one', clear);
  return {
    nodes: new NodeFile(paths.nodes, log),
    rendered: new RenderedFiles(paths.rendered, log),
  };
}

/** One line for each. */
class NodeFile implements NodeLog {
  readonly #path: string;
  readonly #log: Log;
  #fd: number | undefined;
  #isCut = false;

  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  lines(): readonly string[] {
    const text = textIn(this.#path) ?? '';
    // Behind the last line's end there is nothing, or a line that a kill cut off.
    return text.split('\n').slice(0, -1);
  }

  append(line: string): void {
    attempt(this.#log, () => {
      const bytes = Buffer.from(`${this.#isCut ? '\n' : ''}${line}\n`);
      // On a full disk a part of it may be there: the next one begins a line of its own.
      this.#isCut = true;
      this.#fd ??= openSync(this.#path, 'a', 0o600);
      if (writeSync(this.#fd, bytes) < bytes.length) throw new OpError('no-space', 'note a node');
      this.#isCut = false;
    });
  }

  replace(lines: readonly string[]): void {
    attempt(this.#log, () => {
      const whole = `${this.#path}.new`;
      writeFileSync(whole, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
      renameSync(whole, this.#path);
      if (this.#fd !== undefined) closeSync(this.#fd);
      this.#fd = undefined;
    });
  }
}

class RenderedFiles implements KeptBytes {
  readonly #directory: string;
  readonly #log: Log;
  readonly #known = new Map<Fh, Buffer>();

  constructor(directory: string, log: Log) {
    this.#directory = directory;
    this.#log = log;
  }

  get(fh: Fh): Buffer | undefined {
    const known = this.#known.get(fh) ?? bytesIn(this.#path(fh));
    if (known !== undefined) this.#known.set(fh, known);
    return known;
  }

  set(fh: Fh, bytes: Buffer): void {
    this.#known.set(fh, bytes);
    attempt(this.#log, () => writeFileSync(this.#path(fh), bytes, { mode: 0o600 }));
  }

  delete(fh: Fh): void {
    this.#known.delete(fh);
    attempt(this.#log, () => rmSync(this.#path(fh), { force: true }));
  }

  #path(fh: Fh): string {
    return join(this.#directory, String(fh));
  }
}

function attempt(log: Log, action: () => void): void {
  try {
    action();
  } catch (error) {
    log.warn({ err: error }, 'a daemon after this one will not know all that is open');
  }
}

function bytesIn(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined; // There is none.
  }
}

const textIn = (path: string): string | undefined => bytesIn(path)?.toString('utf8');
