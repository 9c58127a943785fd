/**
 * What a caller with a scope is shown of an answer: nothing that names a place outside. The tools
 * that tell of more than they were asked about (history, mounts, pins) need not know of scopes.
 *
 * Invariants: what comes out has the shape that was declared; inside the scope nothing is changed.
 */
import { type Name, nameOfText } from '../base/ids.ts';
import { REDACTED } from '../base/redaction.ts';
import type { Scope } from './ceiling.ts';
import { placeOfTreeUri } from './paths.ts';
import type { Session, Tool } from './tool.ts';

/** Fields that hold a path of the tree, or one of content. What is relative is no path of it. */
const PATHS = ['path', 'old_path', 'mount_point', 'source', 'destination', 'kept_as'] as const;
/** By the first of these an item of a list is about one place. */
const SUBJECTS = ['path', 'mount_point'] as const;

/** What the tools of MFS tell of are the places they were asked about, in words of their own. */
export const scopeOfAnswers = (
  { toolset }: Pick<Tool, 'toolset'>,
  { ceiling: { scope } }: Pick<Session, 'ceiling'>,
): Scope | undefined => (toolset === 'mfs' ? undefined : scope);

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An answer, or a part of one. Items of lists that are about a place outside are left out. */
export function seenWithin(scope: Scope, value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.filter((item) => !isElsewhere(scope, item)).map((item) => seenWithin(scope, item));
  }
  if (!isFields(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      isHidden(scope, name, item) ? REDACTED : seenWithin(scope, item),
    ]),
  );
}

function isElsewhere(scope: Scope, item: unknown): boolean {
  if (!isFields(item)) return false;
  const subject = SUBJECTS.find((name) => isAbsolute(item[name]));
  if (subject !== undefined) return isHidden(scope, subject, item[subject]);
  // A pin is about content alone, whose place in the tree is below /ipfs.
  const { cid } = item;
  const isOfContent = typeof cid === 'string' && 'pin_type' in item;
  return isOfContent && !scope.covers(nameOfText(`/ipfs/${cid}`));
}

function isHidden(scope: Scope, name: string, value: unknown): boolean {
  if (name === 'uri' && typeof value === 'string') {
    const place = placeOfTreeUri(value);
    return place !== undefined && !scope.covers(nameOfText(place));
  }
  if (!PATHS.some((known) => known === name) || !isAbsolute(value)) return false;
  const place = nameOfText(value) as Name;
  // Where the trees lie that hold the scope is no secret.
  return name === 'mount_point' ? !scope.leadsTo(place) : !scope.covers(place);
}

const isAbsolute = (value: unknown): value is string =>
  typeof value === 'string' && value.startsWith('/');
