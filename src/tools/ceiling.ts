/**
 * What a connection may do at most, whatever the rights of its peer: which tools, and where. Chosen
 * by its socket and by the token it presents; it narrows and never widens.
 *
 * Invariants: looked at on every call, by the registry alone, and at every step of every path, by
 * `places.ts` alone; a place outside is never looked at, so that no answer tells what is there.
 */
import { OpError } from '../base/errors.ts';
import { type Name, nameOfText } from '../base/ids.ts';
import type { Tool } from './tool.ts';

/** Below which places of the tree a caller may act. Whole names are compared, never text. */
export class Scope {
  /** Absolute paths of the tree, as they are once all links are followed. */
  readonly roots: readonly string[];
  readonly #roots: readonly string[];

  /** @param roots see `roots`. */
  constructor(roots: readonly string[]) {
    this.roots = roots;
    this.#roots = roots.map((root) => (root === '/' ? '' : nameOfText(root)));
  }

  /** Whether `path` is one of the places or lies below one. */
  covers(path: Name): boolean {
    return this.#roots.some((root) => path === root || path.startsWith(`${root}/`));
  }

  /** Whether `path` may be walked through: it is covered, or on the way to what is. */
  leadsTo(path: Name): boolean {
    const above = path === '/' ? '/' : `${path}/`;
    return this.covers(path) || this.#roots.some((root) => `${root}/`.startsWith(above));
  }
}

export interface Ceiling {
  /** Only tools that change nothing. */
  readonly readOnly: boolean;
  /** Names; undefined: all. */
  readonly tools: ReadonlySet<string> | undefined;
  /** undefined: everywhere. */
  readonly scope: Scope | undefined;
}

/** A ceiling as a value of JSON. */
export interface KeptCeiling {
  readonly readOnly: boolean;
  readonly tools?: readonly string[] | undefined;
  readonly places?: readonly string[] | undefined;
}

export const keptCeiling = ({ readOnly, tools, scope }: Ceiling): KeptCeiling => ({
  readOnly,
  tools: tools && [...tools],
  places: scope?.roots,
});

export const ceilingFrom = ({ readOnly, tools, places }: KeptCeiling): Ceiling => ({
  readOnly,
  tools: tools && new Set(tools),
  scope: places && new Scope(places),
});

export const UNLIMITED: Ceiling = { readOnly: false, tools: undefined, scope: undefined };
export const READ_ONLY: Ceiling = { ...UNLIMITED, readOnly: true };
/** For who has yet to say who he is. */
export const NOTHING: Ceiling = { ...UNLIMITED, tools: new Set() };

export const isAllowed = (
  { readOnly, tools }: Ceiling,
  { name, hints }: Pick<Tool, 'name' | 'hints'>,
): boolean => (!readOnly || hints.readOnly) && (tools === undefined || tools.has(name));

/** Both. Two scopes are not cut: a socket has none. */
export function lower(socket: Ceiling, token: Ceiling): Ceiling {
  const { tools } = socket;
  return {
    readOnly: socket.readOnly || token.readOnly,
    tools:
      tools === undefined
        ? token.tools
        : new Set([...tools].filter((name) => token.tools?.has(name) ?? true)),
    scope: token.scope ?? socket.scope,
  };
}

export const outside = (op: string, path: string): OpError =>
  new OpError('policy', `${op} ${path}`, {
    hint: 'the token of this connection is for other places of the tree',
    details: { path },
  });
