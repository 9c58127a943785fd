/**
 * Who is asked for content, as it is written: a URL or a multiaddr. Nothing else is let through: a
 * name that Lassie would have to look up somewhere (`f0…`) is asked of a service of the public.
 */

export interface Provider {
  /** As Lassie is told it. */
  readonly text: string;
  /** A name or an address, an IPv6 one without brackets: for who decides what may be reached. */
  readonly host: string;
  /** Where it can be asked directly; undefined: it does not speak HTTP. */
  readonly url: string | undefined;
}

const HOST = '/(?:ip4|ip6|dns|dns4|dns6)/([^/+,]+)/tcp/(\\d{1,5})';
const MULTIADDR = new RegExp(`^${HOST}(/tls/http|/http|/https)?(/p2p/[1-9A-HJ-NP-Za-km-z]+)?$`);
const PORT_MAX = 0xffff;

/** `http(s)://HOST[:PORT]`, or a multiaddr with /http, /https or /p2p/ID; undefined: it is neither. */
export const parseProvider = (text: string): Provider | undefined =>
  text.startsWith('/') ? providerAt(text) : providerOfUrl(text);

function providerOfUrl(text: string): Provider | undefined {
  if (!/^https?:\/\/[^/@?#,\s]+\/?$/i.test(text) || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  // Kubo's gateway sends who calls it `localhost` on to a host of its own for each CID.
  if (url.hostname === 'localhost') url.hostname = '127.0.0.1';
  return { text: url.origin, host: bare(url.hostname), url: url.origin };
}

function providerAt(text: string): Provider | undefined {
  const [, host = '', port = '', http, peer] = MULTIADDR.exec(text) ?? [];
  if (host === '' || Number(port) > PORT_MAX) return undefined;
  if (http === undefined) return peer === undefined ? undefined : { text, host, url: undefined };
  const scheme = http === '/http' ? 'http' : 'https';
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (!URL.canParse(url)) return undefined;
  return { text, host, url: new URL(url).origin };
}

const bare = (host: string): string => host.replace(/^\[(.*)\]$/, '$1');
