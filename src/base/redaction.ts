/**
 * Keeps secrets out of what is shown: logs, errors, status, the names that go into the journal.
 *
 * Three nets, because none of them holds everything: the values of secrets that were read are taken
 * out wherever they stand; a field whose name says that it holds a secret is not shown; and in text
 * what is written like a secret (a user in a URL, `token=…`, `Bearer …`) is not shown either.
 *
 * Invariants: what is given is never changed, and what comes out has its shape.
 */
import type { Secret } from './secrets.ts';

export const REDACTED = '[redacted]';

/** A value this short stands in ordinary words: taking it out would tell it. */
const KNOWN_CHARS_MIN = 6;
/** Objects within objects that are looked at; what lies deeper is not shown. */
const DEPTH_MAX = 16;

const WORDS =
  'authorization|password|passwd|passphrase|secret|token|signature|credentials?|' +
  'api[-_]?key|access[-_]?key|private[-_]?key|client[-_]?secret|cookie';

/** A name of a field, in any of the usual ways to write one: `apiKey`, `AWS_SECRET_ACCESS_KEY`. */
const SECRET_NAME = new RegExp(`(?:^|[-_. ]|[a-z])(?:${WORDS}|auth)$`, 'i');
/** What a request calls a token and is none. */
const PLAIN_NAMES = new Set(['progressToken']);

export const isSecretName = (name: string): boolean =>
  SECRET_NAME.test(name) && !PLAIN_NAMES.has(name);

/**
 * User and password of a URL (RFC 3986 §3.2.1), up to the last `@` before the path. Begins behind
 * the scheme: one could begin at every `.` of a text, which would then be read as often.
 */
const USERINFO = /(:\/\/)[^\s/?#]*@/g;
const ASSIGNED = new RegExp(
  `((?:^|[^a-z])[a-z0-9_-]{0,32}(?:${WORDS})["']?\\s*=\\s*["']?|["'][a-z0-9_-]{0,32}(?:${WORDS})["']\\s*:\\s*["'])` +
    '[^\\s"\',;&]+',
  'gi',
);
const SCHEME = /\b(bearer|basic)\s+[a-z0-9._~+/-]{6,}=*/gi;

/** Text without what is written like a secret. */
export const withoutSecrets = (text: string): string =>
  text
    .replace(USERINFO, `$1${REDACTED}@`)
    .replace(SCHEME, `$1 ${REDACTED}`)
    .replace(ASSIGNED, `$1${REDACTED}`);

export class Redactor {
  readonly #known = new Set<string>();

  /** From now on the value is taken out of everything that is shown. */
  know(secret: Secret): void {
    const value = secret.reveal();
    if (value.length < KNOWN_CHARS_MIN) return;
    for (const form of [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value)]) {
      this.#known.add(form);
    }
  }

  text(text: string): string {
    let safe = text;
    for (const value of this.#known) safe = safe.replaceAll(value, REDACTED);
    return withoutSecrets(safe);
  }

  /** A value of JSON, with the text in it redacted. */
  value<T>(value: T): T {
    return this.#redacted(value, 0) as T;
  }

  #redacted(value: unknown, depth: number): unknown {
    if (typeof value === 'string') return this.text(value);
    if (typeof value !== 'object' || value === null) return value;
    if (depth >= DEPTH_MAX) return REDACTED;
    if (Array.isArray(value)) return value.map((item) => this.#redacted(item, depth + 1));
    if ('toJSON' in value && typeof value.toJSON === 'function') {
      return this.#redacted(value.toJSON(), depth + 1);
    }
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [
        this.text(name),
        isSecretName(name) ? REDACTED : this.#redacted(item, depth + 1),
      ]),
    );
  }
}
