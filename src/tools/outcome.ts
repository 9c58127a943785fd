/** What came of a call: of its tool, or of the answer that is kept from before. */
import type { KeptAnswer } from './repeats.ts';
import type { ContentResult, RecordResult, Tool, ToolContext } from './tool.ts';

interface Asked {
  readonly tool: Tool;
  readonly input: Readonly<Record<string, unknown>>;
  /** Its answer, when it was run before. */
  readonly kept: KeptAnswer | undefined;
}

/** Does the work of a call, or what is left of it. */
export async function outcomeOf(
  { tool, input, kept }: Asked,
  context: ToolContext,
): Promise<RecordResult<unknown> | ContentResult> {
  const outcome = kept === undefined ? await tool.run(input, context) : answeredBefore(tool, kept);
  const isDone = 'data' in outcome && input['dry_run'] !== true;
  if (tool.kind !== 'record' || tool.afterwards === undefined || !isDone) return outcome;
  return { ...outcome, data: await tool.afterwards(outcome.data, input, context) };
}

/** A kept answer as its kind of tool gives it. */
function answeredBefore(tool: Tool, kept: RecordResult<unknown>) {
  if (tool.kind === 'record') return kept;
  const { data, seq, ...rest } = kept;
  const header = { ...(data as ContentResult['header']), ...(seq === undefined ? {} : { seq }) };
  return { ...rest, seq, header };
}
