/** How a tool is listed: made once from its value, in the words of the protocol. */
import type { z } from 'zod';
import { assert } from '../base/assert.ts';
import { turn } from '../base/turn.ts';
import { dryRunSchema, jobStartedSchema } from './results.ts';
import { inputJsonSchema, type JsonSchema, outputJsonSchema } from './schema.ts';
import type { InputSchema, RecordTool, Tool } from './tool.ts';

/** Clients put their own prefix before it, and some cut at 60 characters. */
const TOOL_NAME_CHARS_MAX = 40;

export interface ListedTool {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly inputSchema: JsonSchema;
  readonly outputSchema?: JsonSchema;
  readonly annotations: {
    readonly title: string;
    readonly readOnlyHint: boolean;
    readonly destructiveHint: boolean;
    readonly idempotentHint: boolean;
    readonly openWorldHint: boolean;
  };
  readonly _meta: { readonly 'kitfs/tool': Readonly<Record<string, unknown>> };
}

/** Made when it is asked for: a start would wait for it. */
export class Listing {
  readonly #listed = new Map<Tool, ListedTool>();

  /** The first time each takes about a millisecond, and programs on the mount are served between them. */
  async of(tools: readonly Tool[]): Promise<readonly ListedTool[]> {
    for (const tool of tools) {
      if (this.#listed.has(tool)) continue;
      this.#listed.set(tool, listed(tool));
      await turn();
    }
    return tools.flatMap((tool) => this.#listed.get(tool) ?? []);
  }
}

export function listed(tool: Tool): ListedTool {
  const { name, title, description, hints, toolset, kind, version, requires, example } = tool;
  assert(/^[a-z][a-z0-9_]*$/.test(name) && name.length <= TOOL_NAME_CHARS_MAX, `name ${name}`);
  return {
    name,
    title,
    description,
    inputSchema: inputJsonSchema(tool.input),
    ...(tool.kind === 'record' ? { outputSchema: envelopeSchema(tool) } : {}),
    annotations: {
      title,
      readOnlyHint: hints.readOnly,
      destructiveHint: hints.destructive,
      idempotentHint: hints.idempotent,
      openWorldHint: hints.openWorld,
    },
    _meta: { 'kitfs/tool': { toolset, kind, version, requires: requires ?? {}, example } },
  };
}

/** Only `status` is required, so that errors and handles of jobs are valid too. */
function envelopeSchema(tool: RecordTool<InputSchema, z.ZodType>): JsonSchema {
  const variants = [
    outputJsonSchema(tool.output),
    ...(tool.job === true ? [outputJsonSchema(jobStartedSchema)] : []),
    ...('dry_run' in tool.input.shape ? [outputJsonSchema(dryRunSchema)] : []),
  ];
  return {
    type: 'object',
    properties: {
      status: { type: 'string', enum: ['success', 'error'] },
      data: variants.length === 1 ? variants[0] : { anyOf: variants },
      context: { type: 'object' },
      error: { type: 'string' },
      error_code: { type: 'string' },
    },
    required: ['status'],
    additionalProperties: false,
  };
}
