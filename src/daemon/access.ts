/**
 * Who may connect, and what for: the policy of the sockets, and the tokens that lower what a
 * connection may do.
 *
 * Invariants: the owner and root may always; anybody else only at a daemon of root, by the group
 * of the sockets and then by the configuration; a name that nobody has is an error, not nobody.
 * Where a mount is there, which is worth more, what is wrong is complained of and left out: nobody
 * may do more for it.
 */
import { readFileSync } from 'node:fs';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
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

/** Told what cannot be used of a configuration: throws it, or goes on without. */
export type Complain = (fault: OpError) => void;

const refuse: Complain = (fault) => {
  throw fault;
};

/** @throws OpError configuration: it lets in others where nobody else can come, or names nobody. */
export function peerPolicyOf(
  { users, groups }: Pick<Access, 'users' | 'groups'>,
  uid: number,
  names: Names,
  complain = refuse,
): PeerPolicy {
  if (uid !== 0) {
    if (users.length + groups.length > 0) {
      const hint = 'access.users and access.groups are for a daemon that root runs';
      complain(new OpError('configuration', 'let others use the sockets', { hint }));
    }
    const hint = 'this daemon serves its own user and root alone';
    return {
      mode: OWNER_MODE,
      gid: undefined,
      refusalOf: (peer) => (isOwner(peer, uid) ? undefined : hint),
    };
  }
  const gid = names.groupId(GROUP);
  const uids = idsOf(users, 'user', (name) => names.userId(name), complain);
  const gids = idsOf(groups, 'group', (name) => names.groupId(name), complain);
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

function idsOf(
  given: readonly (number | string)[],
  what: 'user' | 'group',
  find: (name: string) => number | undefined,
  complain: Complain,
): ReadonlySet<number> {
  const ids = new Set<number>();
  for (const one of given) {
    const id = typeof one === 'number' ? one : find(one);
    if (id !== undefined) ids.add(id);
    else {
      const hint = `there is no such ${what} in /etc/${what === 'user' ? 'passwd' : 'group'}`;
      complain(new OpError('configuration', `let ${what} ${one} use the sockets`, { hint }));
    }
  }
  return ids;
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
 * What can be wrong with it on this host.
 * @throws OpError configuration, as `peerPolicyOf` and `tokenDeskOf`.
 */
export function demandUsable(access: Access, uid: number, options: TokenOptions): void {
  peerPolicyOf(access, uid, hostNames);
  tokenDeskOf(access, options);
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
  /** Absent: nothing is left out. */
  readonly complain?: Complain | undefined;
}

/**
 * @throws OpError configuration: a secret cannot be read, is short or another token's, or a tool
 *   does not exist.
 */
export function tokenDeskOf(
  { token: rows, require_token: isRequired }: Access,
  { read, tools, complain = refuse }: TokenOptions,
): TokenDesk {
  const tokens = rows.flatMap((row): Token[] => {
    const ceiling: Ceiling = {
      readOnly: row.read_only,
      tools: row.tools === undefined ? undefined : new Set(knownOf(row, tools, complain)),
      scope: row.paths === undefined ? undefined : new Scope(row.paths),
    };
    try {
      return [{ name: row.name, secret: secretOf(row, read), ceiling }];
    } catch (error) {
      complain(asOpError(error, `use the token ${row.name}`));
      return [];
    }
  });
  const known = distinctOf(tokens, complain);
  return {
    isRequired,
    find: (candidate) => {
      // All are compared, so that the time does not tell which one was near.
      const [found] = known.filter(({ secret }) => secret.matches(candidate));
      return found;
    },
  };
}

type TokenRow = Access['token'][number];

function knownOf(
  { name, tools: wanted = [] }: TokenRow,
  tools: ReadonlySet<string>,
  complain: Complain,
): readonly string[] {
  const unknown = wanted.filter((tool) => !tools.has(tool));
  if (unknown.length > 0) {
    const hint = `there is no tool ${unknown.join(', ')}`;
    complain(new OpError('configuration', `use the token ${name}`, { hint }));
  }
  return wanted.filter((tool) => tools.has(tool));
}

function secretOf({ name, secret: reference }: TokenRow, read: TokenOptions['read']): Secret {
  const secret = read(reference);
  if (Buffer.byteLength(secret.reveal()) >= SECRET_BYTES_MIN) return secret;
  throw new OpError('configuration', `use the token ${name}`, {
    hint: `its secret is shorter than ${SECRET_BYTES_MIN} bytes: make one with openssl rand -hex 16`,
  });
}

/** One secret with two ceilings would be the one or the other by chance, so it is neither. */
function distinctOf(tokens: readonly Token[], complain: Complain): readonly Token[] {
  return tokens.filter((token) => {
    const { name, secret } = token;
    const twin = tokens.find((other) => other !== token && other.secret.matches(secret.reveal()));
    if (twin === undefined) return true;
    const hint = `its secret is that of ${twin.name}: give each one of its own`;
    complain(new OpError('configuration', `use the token ${name}`, { hint }));
    return false;
  });
}
