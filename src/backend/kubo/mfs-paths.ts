/** Paths of MFS, compared as what they mean and never as prefixes of text. */
import { OpError } from '../../base/errors.ts';
import { NAME_BYTES_MAX, PATH_BYTES_MAX } from '../../base/limits.ts';

/** Half of a character: no text. */
const SURROGATE = /\p{Surrogate}/u;

/**
 * A path as it is to be sent: absolute, without a slash at its end.
 * @throws OpError invalid-path, name-too-long.
 */
export function normalPath(path: string, op: string): string {
  const trimmed = path.length > 1 ? path.replace(/\/$/, '') : path;
  if (path === '/') return path;
  const [first, ...names] = trimmed.split('/');
  const isWrong = (name: string) => name === '' || name === '.' || name === '..';
  const isAbsolute = first === '' && names.length > 0;
  if (!isAbsolute || names.some(isWrong) || trimmed.includes('\0') || SURROGATE.test(trimmed)) {
    throw new OpError('invalid-path', op, { details: { path } });
  }
  const isLong = (text: string, bytesMax: number) => Buffer.byteLength(text) > bytesMax;
  if (isLong(trimmed, PATH_BYTES_MAX) || names.some((name) => isLong(name, NAME_BYTES_MAX))) {
    throw new OpError('name-too-long', op, { details: { path } });
  }
  return trimmed;
}

/** @throws OpError invalid-argument: it is the root. */
export function demandNotRoot(path: string, op: string): void {
  if (path !== '/') return;
  throw new OpError('invalid-argument', op, { hint: 'name something below /', details: { path } });
}

/** The directory that holds a normal path. */
export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** Whether a normal path is another, or below it. */
export const isWithin = (path: string, above: string): boolean =>
  path === above || path.startsWith(above === '/' ? '/' : `${above}/`);
