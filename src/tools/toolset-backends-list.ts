/** Toolset backends, what is in one: mbfs_list_content. */
import { z } from 'zod';
import type { ObjectHead } from '../backend/backend.ts';
import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { PAGE_BYTES_MAX } from '../base/limits.ts';
import { demandOwner } from './owner.ts';
import * as schema from './schema.ts';
import { recordTool } from './tool.ts';

const COMMON = { toolset: 'backends', version: '1.0.0' } as const;

const listInput = schema.input({
  backend: schema.backend().optional(),
  prefix: schema.text(0, 1024).optional(),
  recursive: schema.recursive(true).describe('false: one level'),
  ...schema.page,
  ...schema.timeout,
});

/** Goes on behind the last name that was given. */
interface Position extends Readonly<Record<string, unknown>> {
  readonly after: string;
}

export const mbfsListContent = recordTool({
  ...COMMON,
  deadline: 'remote',
  name: 'mbfs_list_content',
  title: 'List objects',
  description:
    'What a backend of objects holds, in byte order of keys: all below a prefix, or one level of ' +
    'it. For pins use ipfs_pin_ls.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: true },
  changes: 'nothing',
  input: listInput,
  example: { backend: 'memory' },
  output: z.object({
    backend: z.string(),
    kind: z.string(),
    items: z.array(
      z.object({
        identifier: z.string(),
        item: z.enum(['object', 'prefix', 'pin', 'upload']),
        size: z.int().optional(),
        modified: z.string().optional(),
        version: z.string().optional(),
      }),
    ),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'mbfs_list_content';
    demandOwner(context, op);
    const { ports, signal, timeoutMs: deadlineMs, principal } = context;
    const name = input.backend ?? ports.backends.defaultName;
    const store = await ports.backends.store(name, op);
    if (store.listing === undefined) {
      throw new OpError('unsupported', `${op} ${name}`, { details: { backend: name } });
    }
    const request = { tool: op, principal, arguments: input };
    const after = ports.cursors.resume<Position>(request)?.after;
    const how = { prefix: input.prefix, after, oneLevel: !input.recursive, signal, deadlineMs };
    const items: { identifier: string; item: 'object' | 'prefix'; [field: string]: unknown }[] = [];
    let bytes = 0;
    let foreign = 0;
    let next: string | undefined;
    let last = '';
    for await (const found of store.listing.list(how)) {
      const item = found.kind === 'object' ? objectItem(found) : undefined;
      const shown = item ?? { identifier: found.key, item: 'prefix' as const };
      bytes += Buffer.byteLength(JSON.stringify(shown)) + 1;
      if (items.length === input.limit || (items.length > 0 && bytes > PAGE_BYTES_MAX)) {
        next = ports.cursors.keep(request, { after: last });
        break;
      }
      last = found.key;
      if (found.kind === 'foreign') foreign += 1;
      else items.push(shown);
    }
    return {
      data: {
        ...{ backend: name, kind: store.kind, items, truncated: next !== undefined },
        ...(next === undefined ? {} : { next_cursor: next }),
      },
      warnings: foreign === 0 ? [] : [`${foreign} left out: their keys are none that kitfs takes`],
    };
  },
});

const objectItem = ({
  key,
  size,
  version,
  modified,
}: Pick<ObjectHead, 'key' | 'size' | 'version' | 'modified'>) => ({
  ...{ identifier: key, item: 'object' as const, size, version },
  ...(modified === undefined ? {} : { modified: rfc3339(modified) }),
});
