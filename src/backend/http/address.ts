/** Where a service answers, and what shows it who calls. */
import { OpError } from '../../base/errors.ts';

/** Where to connect to, as `node:http` takes it. */
export type Address =
  /** Over TLS when the protocol says so; without it when absent. */
  | {
      readonly host: string;
      readonly port: number;
      readonly protocol?: 'http:' | 'https:';
    }
  | { readonly socketPath: string };

/** An address that may be another one when it is asked for again. */
export interface Endpoint {
  /** As it was configured, for people. */
  readonly text: string;
  /** @throws OpError not-running, configuration. */
  resolve(): Promise<Address>;
}

const DEFAULT_PORT = 80;
const DEFAULT_TLS_PORT = 443;

/** A URL of a service and nothing more: no user, no path, no query. undefined: it is none. */
export function addressOfUrl(
  text: string,
): { readonly host: string; readonly port: number } | undefined {
  if (!/^http:\/\/[^/@?#]+\/?$/i.test(text) || !URL.canParse(text)) return undefined;
  const { hostname, port } = new URL(text);
  // `node:http` takes an IPv6 address without its brackets.
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: port === '' ? DEFAULT_PORT : Number(port) };
}

/** Where a URL of `http` or `https` is asked; undefined: it is of another kind, or names a user. */
export function addressOfWebUrl({ protocol, hostname, port, username, password }: URL) {
  if (protocol !== 'http:' && protocol !== 'https:') return undefined;
  if (username !== '' || password !== '') return undefined;
  const usual = protocol === 'https:' ? DEFAULT_TLS_PORT : DEFAULT_PORT;
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: port === '' ? usual : Number(port), protocol } as const;
}

const FORMS = 'bearer:TOKEN or basic:USER:PASSWORD';

/**
 * The value of a secret → that of the header `Authorization`.
 * @param setting The setting that names the secret.
 * @throws OpError configuration, which never shows it.
 */
export function authorizationOf(value: string, setting: string): string {
  const [, token] = /^bearer:([\x21-\x7e]+)$/.exec(value) ?? [];
  if (token !== undefined) return `Bearer ${token}`;
  const [, user] = /^basic:([^:\p{Cc}]+:\P{Cc}+)$/u.exec(value) ?? [];
  if (user !== undefined) return `Basic ${Buffer.from(user, 'utf8').toString('base64')}`;
  throw new OpError('configuration', `read the secret of ${setting}`, {
    hint: `it must be ${FORMS}`,
  });
}
