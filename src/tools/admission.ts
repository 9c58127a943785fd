/** Whether a call is within the ceiling of who asks. The registry asks on every call, also again. */
import { OpError } from '../base/errors.ts';
import { nameOfText } from '../base/ids.ts';
import { isAllowed, outside } from './ceiling.ts';
import { placeOfContent, placeOfMfs } from './paths.ts';
import { placesIn } from './schema.ts';
import type { Session, Tool } from './tool.ts';

type Bounded = Pick<Session, 'ceiling'>;

/** @throws OpError not-allowed. */
export function demandTool(tool: Tool, { ceiling }: Bounded): void {
  if (!isAllowed(ceiling, tool)) throw new OpError('not-allowed', tool.name);
}

/**
 * Before anything is looked at; where links lead is seen when the path is walked.
 * @throws OpError policy.
 */
export function demandPlaces(tool: Tool, input: unknown, { ceiling: { scope } }: Bounded): void {
  if (scope === undefined) return;
  for (const { kind, text } of placesIn(tool.input, input)) {
    const isMfs = kind === 'mfs' && !text.startsWith('/ipfs/');
    const path = kind === 'tree' ? text : isMfs ? placeOfMfs(text) : placeOfContent(text);
    // What is no path of content is refused by its tool, and empty means none.
    if (path !== undefined && !scope.covers(nameOfText(path))) throw outside(tool.name, text);
  }
}
