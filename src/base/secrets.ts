/**
 * Secrets, and what stands for them. A secret is never written where it is used: settings and flags
 * name where it lies, and everything that is shown shows that name.
 *
 * Invariants: a `Secret` turned into text in any way is its reference; the bytes come out of
 * `reveal` and of nothing else; comparing takes as long whatever the other side says.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';

export type SecretReference =
  | { readonly kind: 'env'; readonly name: string }
  /** An absolute path of this host. */
  | { readonly kind: 'file'; readonly path: string }
  /** One that systemd hands to the service, systemd.exec(5), CREDENTIALS. */
  | { readonly kind: 'cred'; readonly name: string };

/** What a reference looks like, for who wrote something else. */
export const REFERENCE_FORMS = 'env:NAME, file:/PATH or cred:NAME';

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** systemd takes more; none of it names anything outside its directory. */
const CREDENTIAL = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}$/;

/** undefined: it is no reference, and may be the secret itself: it must not be shown. */
export function parseSecretReference(text: string): SecretReference | undefined {
  const [, kind, rest = ''] = /^(env|file|cred|credential):(.+)$/s.exec(text) ?? [];
  if (kind === 'env') return VARIABLE.test(rest) ? { kind, name: rest } : undefined;
  if (kind === 'file') {
    return rest.startsWith('/') && !rest.includes('\0') ? { kind, path: rest } : undefined;
  }
  if (kind === undefined || !CREDENTIAL.test(rest)) return undefined;
  return { kind: 'cred', name: rest };
}

export const referenceText = (reference: SecretReference): string =>
  reference.kind === 'file' ? `file:${reference.path}` : `${reference.kind}:${reference.name}`;

export class Secret {
  readonly #value: string;
  readonly reference: SecretReference;

  constructor(value: string, reference: SecretReference) {
    this.#value = value;
    this.reference = reference;
  }

  /** For who hands it to its owner, and for who keeps it out of what is shown. */
  reveal(): string {
    return this.#value;
  }

  /** Whether `candidate` is the secret. */
  matches(candidate: string): boolean {
    return timingSafeEqual(digest(candidate), digest(this.#value));
  }

  toString(): string {
    return `[secret ${referenceText(this.reference)}]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();
