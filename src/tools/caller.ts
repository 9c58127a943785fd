/** Who makes a call, as the tree and the journal know them. */
import type { Redactor } from '../base/redaction.ts';
import type { Caller } from '../vfs/vfs.ts';
import type { Session, Tool } from './tool.ts';

/** Text from outside that is written into the journal. */
const ACTOR_CHARS_MAX = 128;
/** Of which secrets are looked for in so much: what is cut off behind it is not written either. */
const LOOKED_AT_CHARS_MAX = 64 * 1024;

export interface Calling {
  readonly session: Session;
  readonly tool: Pick<Tool, 'name'>;
  readonly toolCallId: string | undefined;
}

/** Acts with the rights of the peer; named in the journal down to the call. */
export function callerOf({ session, tool, toolCallId }: Calling, redactor: Redactor): Caller {
  const { uid, gid, groups, pid } = session.peer;
  return {
    uid,
    gid,
    groups,
    checked: false,
    actor: () => ({
      surface: session.surface,
      uid,
      gid,
      pid,
      client: writable(session.client?.name, redactor),
      clientVersion: writable(session.client?.version, redactor),
      session: session.id,
      tool: tool.name,
      toolCall: writable(toolCallId, redactor),
    }),
  };
}

/** What a caller calls itself or its call, as it may be written into the journal. */
export const writable = <T extends string | undefined>(text: T, redactor: Redactor) =>
  (text === undefined
    ? undefined
    : redactor.text(text.slice(0, LOOKED_AT_CHARS_MAX)).slice(0, ACTOR_CHARS_MAX)) as T;
