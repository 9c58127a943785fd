/** What a command and the daemon that it detaches have in common: a log, and a pipe for one word. */
import { once } from 'node:events';
import { type FileHandle, open, rename, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { asOpError, codeOf, type OpError } from '../base/errors.ts';
import { DAEMON_LOG_BYTES_MAX } from '../base/limits.ts';

/** What a detached daemon says of its start. */
export interface Told {
  readonly mountPoint?: string | undefined;
  readonly error?: Pick<OpError, 'failure' | 'op' | 'hint' | 'details'>;
}

/**
 * What comes through the pipe until it is closed; undefined when that is nothing, or not all of it:
 * the daemon was killed while it wrote.
 */
export async function toldBy(pipe: Readable): Promise<Told | undefined> {
  let text = '';
  pipe.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  await once(pipe, 'close');
  try {
    return JSON.parse(text) as Told;
  } catch {
    return undefined;
  }
}

/**
 * The log, to be written behind what is there. One that has become long is begun anew, and the one
 * before is kept beside it, as `….1`. @throws OpError denied, no-space, io.
 */
export async function openLog(path: string): Promise<FileHandle> {
  try {
    if ((await sizeOf(path)) > DAEMON_LOG_BYTES_MAX) await rename(path, `${path}.1`);
    return await open(path, 'a', 0o600);
  } catch (error) {
    throw asOpError(error, `open ${path}`);
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 0;
    throw error;
  }
}
