/** How a call is run, as its tool and its arguments say: as a job or not, and for how long. */
import type { DeadlineClass, Tool } from './tool.ts';

const DEADLINE_MS: Readonly<Record<DeadlineClass, number>> = {
  local: 10_000,
  remote: 30_000,
  job: 300_000,
};
/** A job tool's own default, when its input says nothing. */
const WAIT_MS = 20_000;

type Input = Readonly<Record<string, unknown>>;

interface Asked {
  readonly tool: Tool;
  readonly input: Input;
}

interface Bounded {
  readonly tool: Pick<Tool, 'deadline'>;
  readonly input: Input;
}

/** Whether running it twice would be seen. */
export const isRepeatedBy = (tool: Tool, input: Input): boolean =>
  tool.changes === 'journal' && input['dry_run'] !== true;

export const isJob = (tool: Tool, input: Input): boolean =>
  tool.job === true && (tool.kind === 'record' || input['output_path'] !== undefined);

export function timeoutOf({ tool, input }: Bounded): number {
  const asked = input['timeout_ms'];
  return typeof asked === 'number' ? asked : DEADLINE_MS[tool.deadline];
}

/** How long an answer is waited for before the handle of the job is given. */
export function waitOf({ input }: Pick<Asked, 'input'>): number {
  const asked = input['wait_ms'];
  return typeof asked === 'number' ? asked : WAIT_MS;
}
