/**
 * Reads secrets from where they lie. Nothing is kept: who needs a secret again after a change reads
 * it again.
 *
 * Invariants: a file that others could read or have put there is no secret; an error names the
 * reference and never what was read.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, OpError } from '../base/errors.ts';
import { referenceText, Secret, type SecretReference } from '../base/secrets.ts';

const SECRET_BYTES_MAX = 64 * 1024;

export interface SecretPlaces {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
}

/** @throws OpError configuration: there is none, or it lies where others can read it. */
export function readSecret(reference: SecretReference, { variables, uid }: SecretPlaces): Secret {
  const value = textAt(reference, { variables, uid });
  if (value === '') throw unusable(reference, 'it is empty');
  return new Secret(value, reference);
}

function textAt(reference: SecretReference, { variables, uid }: SecretPlaces): string {
  switch (reference.kind) {
    case 'env': {
      const value = variables[reference.name];
      if (value === undefined) throw unusable(reference, 'the variable is not set');
      return value;
    }
    case 'file':
      // Of the daemon's user, or put there by root for it; nobody else has any right to it.
      return readTrusted(reference.path, reference, ({ uid: owner, mode }) =>
        (owner !== uid && owner !== 0) || (mode & 0o077) !== 0
          ? 'it must belong to the user of the daemon and be closed to all others (chmod 600)'
          : undefined,
      );
    case 'cred': {
      const directory = variables['CREDENTIALS_DIRECTORY'];
      if (directory === undefined) {
        throw unusable(reference, 'systemd has given no credentials (LoadCredential=)');
      }
      // systemd gives the service its right by an ACL, which shows as bits of the group.
      return readTrusted(join(directory, reference.name), reference, ({ mode }) =>
        (mode & 0o007) === 0 ? undefined : 'everybody may use it',
      );
    }
  }
}

interface Facts {
  readonly uid: number;
  readonly mode: number;
}

/** The text of a file, without the line break at its end. A link in the last place is refused. */
function readTrusted(
  path: string,
  reference: SecretReference,
  faultOf: (facts: Facts) => string | undefined,
): string {
  let fd: number;
  try {
    // Not blocking: a FIFO would hold the start for ever.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw unusable(reference, `it cannot be opened (${codeOf(error) ?? 'unknown'})`);
  }
  try {
    const facts = fstatSync(fd);
    const fault = facts.isFile() ? faultOf(facts) : 'it is no file';
    if (fault !== undefined) throw unusable(reference, fault);
    if (facts.size > SECRET_BYTES_MAX) throw unusable(reference, 'it is too large');
    const bytes = Buffer.alloc(SECRET_BYTES_MAX);
    const length = readSync(fd, bytes, 0, bytes.length, 0);
    return bytes.toString('utf8', 0, length).replace(/\r?\n$/, '');
  } finally {
    closeSync(fd);
  }
}

const unusable = (reference: SecretReference, why: string): OpError =>
  new OpError('configuration', `read the secret ${referenceText(reference)}`, { hint: why });
