/**
 * Who may connect, and what for: the policy of the sockets, and the tokens that lower what a
 * connection may do.
 *
 * Invariants: the owner and root may always; anybody else only at a daemon of root, by the group
 * of the sockets and then by the configuration; a name that nobody has is an error, not nobody.
 */
import { readFileSync } from 'node:fs';
import { codeOf, OpError } from '../base/errors.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import type { PeerPolicy, TokenDesk } from '../mcp/mcp.ts';
import { type Ceiling, Scope } from '../tools/ceiling.ts';
import type { Peer } from '../tools/tools.ts';
import type { Settings } from './settings.ts';

/** Of a secret: 128 bits, where they are chosen at random. */
const SECRET_BYTES_MIN = 16;
/** Its members may use the sockets of root's daemon; made by sysusers.d(5) or by hand. */
const GROUP = 'kitfs';
const OWNER_MODE = 0o600;
const GROUP_MODE = 0o660;

/** The user and group tables of this host, passwd(5) and group(5). */
export interface Names {
  userId(name: string): number | undefined;
  groupId(name: string): number | undefined;
}

type Access = Settings['access'];

/** @throws OpError configuration: it lets in others where nobody else can come, or names nobody. */
export function peerPolicyOf(
  { users, groups }: Pick<Access, 'users' | 'groups'>,
  uid: number,
  names: Names,
): PeerPolicy {
  if (uid !== 0) {
    if (users.length + groups.length > 0) {
      throw new OpError('configuration', 'let others use the sockets', {
        hint: 'access.users and access.groups are for a daemon that root runs',
      });
    }
    const hint = 'this daemon serves its own user and root alone';
    return {
      mode: OWNER_MODE,
      gid: undefined,
      refusalOf: (peer) => (isOwner(peer, uid) ? undefined : hint),
    };
  }
  const gid = names.groupId(GROUP);
  const uids = new Set(users.map((user) => idOf(user, 'user', (name) => names.userId(name))));
  const gids = new Set(groups.map((group) => idOf(group, 'group', (name) => names.groupId(name))));
  const isOpen = users.length + groups.length === 0;
  return {
    mode: gid === undefined ? OWNER_MODE : GROUP_MODE,
    gid,
    refusalOf: (peer) => {
      if (isOwner(peer, uid)) return undefined;
      // The kernel has looked at the mode already; a socket may have been handed on all the same.
      if (gid === undefined || !isIn(peer, new Set([gid]))) return `only group ${GROUP} may`;
      if (isOpen || uids.has(peer.uid) || isIn(peer, gids)) return undefined;
      return 'access.users and access.groups of the configuration do not name you';
    },
  };
}

/** Root, or who runs the daemon. */
export const isOwner = ({ uid }: Pick<Peer, 'uid'>, owner: number): boolean =>
  uid === 0 || uid === owner;

const isIn = ({ gid, groups }: Peer, wanted: ReadonlySet<number>): boolean =>
  wanted.has(gid) || groups.some((group) => wanted.has(group));

function idOf(
  given: number | string,
  what: 'user' | 'group',
  find: (name: string) => number | undefined,
): number {
  const id = typeof given === 'number' ? given : find(given);
  if (id !== undefined) return id;
  throw new OpError('configuration', `let ${what} ${given} use the sockets`, {
    hint: `there is no such ${what} in /etc/${what === 'user' ? 'passwd' : 'group'}`,
  });
}

export const hostNames: Names = {
  userId: (name) => idIn('/etc/passwd', name),
  groupId: (name) => idIn('/etc/group', name),
};

/** Third field of the line of that name, in both tables. */
function idIn(path: string, name: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name}:`));
  const id = Number.parseInt(line?.split(':')[2] ?? '', 10);
  return Number.isSafeInteger(id) ? id : undefined;
}

/**
 * What can be wrong with it on this host, the names of tools apart: those a start knows last.
 * @throws OpError configuration, as `peerPolicyOf` and `tokenDeskOf`.
 */
export function demandUsable(access: Access, uid: number, read: TokenOptions['read']): void {
  peerPolicyOf(access, uid, hostNames);
  demandDistinct(access.token.map((row) => secretOf(row, read)));
}

interface Token {
  readonly name: string;
  readonly secret: Secret;
  readonly ceiling: Ceiling;
}

export interface TokenOptions {
  /** @throws OpError configuration. */
  readonly read: (reference: SecretReference) => Secret;
  /** Names of all tools. */
  readonly tools: ReadonlySet<string>;
}

/**
 * @throws OpError configuration: a secret cannot be read, is short or another token's, or a tool
 *   does not exist.
 */
export function tokenDeskOf(
  { token: tokens, require_token: isRequired }: Access,
  { read, tools }: TokenOptions,
): TokenDesk {
  const known = tokens.map((row): Token => {
    const unknown = row.tools?.filter((name) => !tools.has(name)) ?? [];
    if (unknown.length > 0) {
      throw new OpError('configuration', `use the token ${row.name}`, {
        hint: `there is no tool ${unknown.join(', ')}`,
      });
    }
    const ceiling: Ceiling = {
      readOnly: row.read_only,
      tools: row.tools === undefined ? undefined : new Set(row.tools),
      scope: row.paths === undefined ? undefined : new Scope(row.paths),
    };
    return { ...secretOf(row, read), ceiling };
  });
  demandDistinct(known);
  return {
    isRequired,
    find: (candidate) => {
      // All are compared, so that the time does not tell which one was near.
      const [found] = known.filter(({ secret }) => secret.matches(candidate));
      return found;
    },
  };
}

type Named = Pick<Token, 'name' | 'secret'>;

function secretOf(
  { name, secret: reference }: Access['token'][number],
  read: TokenOptions['read'],
): Named {
  const secret = read(reference);
  if (Buffer.byteLength(secret.reveal()) < SECRET_BYTES_MIN) {
    throw new OpError('configuration', `use the token ${name}`, {
      hint: `its secret is shorter than ${SECRET_BYTES_MIN} bytes: make one with openssl rand -hex 16`,
    });
  }
  return { name, secret };
}

/** One secret with two ceilings would be the one or the other by chance. @throws OpError configuration. */
function demandDistinct(tokens: readonly Named[]): void {
  for (const [index, { name, secret }] of tokens.entries()) {
    const twin = tokens.slice(0, index).find((other) => other.secret.matches(secret.reveal()));
    if (twin === undefined) continue;
    throw new OpError('configuration', `use the token ${name}`, {
      hint: `its secret is that of ${twin.name}: give each one of its own`,
    });
  }
}
