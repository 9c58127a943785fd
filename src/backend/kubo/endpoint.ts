/**
 * Where a Kubo node answers: a URL, a Unix socket, or the `api` file of its repository, which the
 * node writes when it starts and which is therefore read again whenever nobody answers.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, OpError } from '../../base/errors.ts';
import { type Address, addressOfUrl, type Endpoint } from '../http/address.ts';

export const ENDPOINT_FORMS = 'http://HOST:PORT, unix:/PATH or the absolute path of a repository';

/** undefined: it is none of ENDPOINT_FORMS. */
export function parseEndpoint(text: string): Endpoint | undefined {
  if (text.startsWith('/')) return { text, resolve: () => addressInRepo(text) };
  const address = text.startsWith('unix:') ? socketOf(text.slice(5)) : addressOfUrl(text);
  return address === undefined ? undefined : { text, resolve: async () => address };
}

const socketOf = (path: string): Address | undefined =>
  path.startsWith('/') && path.length > 1 && !path.includes('\0')
    ? { socketPath: path }
    : undefined;

/** @throws OpError not-running (no `api` file), configuration (it cannot be read, or says nonsense). */
async function addressInRepo(repository: string): Promise<Address> {
  const op = `find the node of ${repository}`;
  let text: string;
  try {
    text = await readFile(join(repository, 'api'), 'utf8');
  } catch (error) {
    const isAbsent = codeOf(error) === 'ENOENT';
    throw new OpError(isAbsent ? 'not-running' : 'configuration', op, {
      cause: error,
      hint: isAbsent ? 'start Kubo: its repository has no api file' : 'let kitfs read its api file',
      details: { sent: false },
    });
  }
  const address = addressOfMultiaddr(text.trim());
  if (address !== undefined) return address;
  throw new OpError('configuration', op, { hint: 'its api file names no TCP or Unix address' });
}

const HOST = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d{1,5})(\/http)?$/;

/** `/ip4/127.0.0.1/tcp/5001`, `/unix/path` (percent-encoded): multiaddr's README. */
function addressOfMultiaddr(text: string): Address | undefined {
  const [, , host, port] = HOST.exec(text) ?? [];
  if (host !== undefined && Number(port) <= 0xffff) return { host, port: Number(port) };
  if (!text.startsWith('/unix/')) return undefined;
  try {
    return socketOf(`/${decodeURIComponent(text.slice('/unix/'.length)).replace(/^\/+/, '')}`);
  } catch {
    return undefined; // Malformed percent-encoding.
  }
}
