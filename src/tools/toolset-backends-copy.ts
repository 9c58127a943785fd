/** Toolset backends, from one to another: mbfs_copy_between_backends. */
import { z } from 'zod';
import { verified } from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import { changeOutside } from './outside.ts';
import { demandOwner } from './owner.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';
import {
  aboutObject,
  noObject,
  noteObject,
  objectRecord,
  planOf,
  uriOfObject,
} from './toolset-backends-objects.ts';

const OP = 'mbfs_copy_between_backends';

export const mbfsCopyBetweenBackends = recordTool({
  toolset: 'backends',
  version: '1.0.0',
  deadline: 'job',
  job: true,
  name: OP,
  title: 'Copy between backends',
  description:
    'Copy an object from one backend of objects to another, streamed through a digest; verify ' +
    'reads the copy back, and removes it when it differs.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: true },
  changes: 'journal',
  input: schema.input({
    source_backend: schema.backend(),
    identifier: schema.text(1, 1024).describe('key in the source'),
    destination_backend: schema.backend(),
    destination_identifier: schema.text(1, 1024).optional().describe('the same when absent'),
    overwrite: schema.overwrite(),
    verify: schema.flag(true),
    ...schema.job,
    ...schema.dryRun,
  }),
  example: { source_backend: 'memory', identifier: 'notes/a.txt', destination_backend: 'local' },
  output: z.object({
    source: z.object({
      backend: z.string(),
      identifier: z.string(),
      size: z.int(),
      version: z.string(),
    }),
    destination: z.object({
      backend: z.string(),
      identifier: z.string(),
      uri: z.string(),
      version: z.string(),
    }),
    bytes: z.int(),
    sha256: z.string(),
    verified: z.boolean(),
    method: z.enum(['stream', 'server_copy', 'link']),
  }),
  run: async (input, context) => {
    demandOwner(context, OP);
    const { backends } = context.ports;
    const { signal, timeoutMs: deadlineMs } = context;
    const from = { name: input.source_backend, key: input.identifier };
    const to = {
      name: input.destination_backend,
      key: input.destination_identifier ?? input.identifier,
    };
    if (from.name === to.name && from.key === to.key) {
      throw schema.combination(OP, 'destination_identifier', 'another object than the source');
    }
    const source = verified(await backends.store(from.name, OP));
    const inner = await backends.store(to.name, OP);
    const target = verified(inner, { readBack: input.verify });
    const head = await aboutObject(from, OP, () => source.objects.head(from.key, { signal }));
    if (head === undefined) throw noObject(from, OP);
    const known = await aboutObject(to, OP, () => target.objects.head(to.key, { signal }));
    if (known !== undefined && !input.overwrite) {
      const details = { kind: 'object', backend: to.name, partial: { version: known.version } };
      throw new OpError('exists', `${OP} ${to.key}`, { details });
    }
    if (input.dry_run) {
      return { data: { dry_run: true, plan: planOf('backend_copy', to.name, to.key, head.size) } };
    }
    const { size, version } = head;
    return changeOutside(context, {
      record: {
        ...objectRecord('backend_copy', to, head),
        after: { backend: to.name, identifier: to.key, from: [from.name, from.key] },
      },
      make: () =>
        aboutObject(to, OP, async () => {
          await using got = await source.objects.get(from.key, { version, signal, deadlineMs });
          return await target.objects.put(to.key, counted(context, got.bytes, size), {
            ...{ signal, deadlineMs, size, sha256: head.sha256 },
            ...(inner.limits.metadataBytesMax === 0
              ? {}
              : { contentType: head.contentType, metadata: head.metadata }),
            over: input.overwrite ? 'any' : 'absent',
          });
        }),
      note: (stored) => noteObject(context, inner, to, { ...stored, cid: undefined }),
      tell: (stored) => ({
        data: {
          source: { backend: from.name, identifier: from.key, size, version },
          destination: {
            ...{ backend: to.name, identifier: to.key, version: stored.version },
            uri: uriOfObject(to.name, to.key),
          },
          ...{ bytes: stored.size, sha256: stored.sha256, verified: input.verify },
          method: 'stream' as const,
        },
        warnings: lostNotes(head, inner.limits.metadataBytesMax),
      }),
    });
  },
});

const lostNotes = (
  { metadata, contentType }: { metadata: Readonly<Record<string, string>>; contentType?: string },
  metadataBytesMax: number,
): string[] => {
  const isLost =
    metadataBytesMax === 0 && (Object.keys(metadata).length > 0 || contentType !== undefined);
  return isLost ? ['the destination notes neither content type nor metadata'] : [];
};

async function* counted(context: ToolContext, bytes: AsyncIterable<Uint8Array>, total: number) {
  let done = 0;
  for await (const piece of bytes) {
    done += piece.length;
    context.progress({ done, total, unit: 'bytes' });
    yield piece;
  }
}
