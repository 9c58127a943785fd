/** The commands a tool can do, as calls of tools over the socket; and what an agent sees of a name. */
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import type { Stat } from '../posix/filesystem.ts';
import { type Outcome, type ToolCommand, textOf } from './commands.ts';
import { ModelError } from './reference.ts';

const NEVER = { s: 0, ns: 0 };
const MOST = 1 << 20;

const TYPES: Readonly<Record<string, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
};

interface Facts {
  readonly type: string;
  readonly mode: string;
  readonly inode: number;
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly target?: string;
  readonly xattrs: readonly string[];
}

const statOf = ({ type, mode, inode, nlink, uid, gid, size }: Facts): Stat => ({
  ino: inode,
  mode: (TYPES[type] ?? 0) | Number.parseInt(mode, 8),
  ...{ nlink, uid, gid, size },
  rdev: 0,
  atime: NEVER,
  mtime: NEVER,
  ctime: NEVER,
});

/** An error's errno is its code here, as on the other face. */
async function ask(
  client: Client,
  name: string,
  args: Readonly<Record<string, unknown>>,
): Promise<CallToolResult> {
  const result = (await client.callTool({ name, arguments: { ...args } })) as CallToolResult;
  if (result.isError !== true) return result;
  const context = result.structuredContent?.['context'] as { errno?: string } | undefined;
  if (context?.errno === undefined) throw new Error(JSON.stringify(result));
  throw new ModelError(context.errno);
}

const dataOf = <T>({ structuredContent }: CallToolResult): T => structuredContent?.['data'] as T;

export class AgentTree {
  readonly #client: Client;
  readonly #root: string;

  /** `root` is the absolute path where the paths of commands start. */
  constructor(client: Client, root: string) {
    this.#client = client;
    this.#root = root;
  }

  async perform(made: ToolCommand): Promise<unknown> {
    const path = `${this.#root}/${made.path}`;
    switch (made.op) {
      case 'mkdir':
        return this.#done('vfs_mkdir', { path, mode: `0${made.mode.toString(8)}` });
      case 'rmdir':
        return this.#done('vfs_rmdir', { path });
      case 'unlink':
        return this.#done('vfs_rm', { path });
      case 'rename': {
        const destination = `${this.#root}/${made.to}`;
        return this.#done('vfs_move', { source: path, destination, overwrite: made.flags === 0 });
      }
      case 'put':
        return this.#done('vfs_write', { path, content: textOf(made.bytes) });
      case 'patch':
        return this.#done('vfs_write', { path, content: textOf(made.bytes), offset: made.at });
      case 'append':
        return this.#done('vfs_write', { path, content: textOf(made.bytes), append: true });
      case 'look':
        return this.#look(path);
    }
  }

  async #done(tool: string, args: Readonly<Record<string, unknown>>): Promise<undefined> {
    await ask(this.#client, tool, args);
    return undefined;
  }

  async #look(path: string): Promise<unknown> {
    const facts = dataOf<Facts>(await ask(this.#client, 'vfs_stat', { path, follow: false }));
    const stat = statOf(facts);
    if (facts.type === 'symlink') return { stat, target: facts.target };
    const xattrs = [...facts.xattrs].sort();
    if (facts.type === 'directory') {
      const listing = await ask(this.#client, 'vfs_ls', { path });
      const { entries } = dataOf<{ entries: readonly { readonly name: string }[] }>(listing);
      return { stat, xattrs, names: entries.map(({ name }) => name).sort() };
    }
    const read = await ask(this.#client, 'vfs_read', { path, length: MOST });
    const [, payload] = read.content;
    return { stat, xattrs, text: payload?.type === 'text' ? payload.text : '' };
  }
}

/** What a look shows, without the values of attributes: tools list their names only. */
export function asAgentsSee(outcome: Outcome): Outcome {
  if (!('value' in outcome)) return outcome;
  const seen = outcome.value as { readonly xattrs?: readonly [string, string][] } | undefined;
  if (seen?.xattrs === undefined) return outcome;
  return { value: { ...seen, xattrs: seen.xattrs.map(([name]) => name) } };
}
