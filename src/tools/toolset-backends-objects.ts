/** Toolset backends, one object: mbfs_store, mbfs_retrieve, mbfs_delete. */
import { z } from 'zod';
import type { ObjectHead, Store } from '../backend/backend.ts';
import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type Name, nameOfText } from '../base/ids.ts';
import { SLICE_BYTES_MAX } from '../base/limits.ts';
import { isRegular } from '../base/posix.ts';
import { cidOfBytes } from '../content/content.ts';
import type { OpKind } from '../journal/journal.ts';
import { assemble, freeze } from '../sync/sync.ts';
import { CONTROL_INO_FROM } from '../vfs/vfs.ts';
import { gateOf } from './content-paths.ts';
import { sliceResult } from './envelope.ts';
import { mimeOf, SNIFFED_BYTES } from './mime.ts';
import { changeOutside } from './outside.ts';
import { demandOwner } from './owner.ts';
import { about, askerOf, findInode } from './places.ts';
import type { Plan } from './results.ts';
import * as schema from './schema.ts';
import { contentTool, recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'backends', version: '1.0.0' } as const;
/** Objects with the same bytes that are asked for. */
const TWINS_MAX = 8;

const identifier = () => schema.text(1, 1024).describe('key in the backend');

export const uriOfObject = (backend: string, key: string): string =>
  `kitfs://backend/${backend}/${key.split('/').map(encodeURIComponent).join('/')}`;

const storeInput = schema.input({
  content: schema.content.content.optional(),
  encoding: schema.content.encoding,
  path: schema.path('file of the tree, instead of content').optional(),
  backend: schema.backend().optional(),
  identifier: identifier().optional(),
  content_type: schema.text(1, 128).optional(),
  metadata: schema.metadata().optional(),
  pin_name: schema.pinName().optional(),
  overwrite: schema.overwrite(),
  expected_version: schema.expectedVersion(),
  ...schema.job,
  ...schema.dryRun,
});
type StoreInput = z.output<typeof storeInput>;

/** Bytes on their way into a store. */
interface Outgoing {
  readonly size: number;
  readonly cid: Uint8Array | undefined;
  bytes(): AsyncIterable<Uint8Array>;
}

export const mbfsStore = recordTool({
  ...COMMON,
  deadline: 'job',
  job: true,
  name: 'mbfs_store',
  title: 'Store an object',
  description:
    'Put bytes, or a file of the tree, into a backend of objects (s3, local, memory), whole or ' +
    'not at all. What is there is replaced only with overwrite or expected_version. For IPFS ' +
    'use ipfs_add.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: true },
  changes: 'journal',
  input: storeInput,
  example: { backend: 'memory', identifier: 'notes/a.txt', content: 'hello' },
  output: z.object({
    backend: z.string(),
    kind: z.string(),
    identifier: z.string(),
    uri: z.string(),
    size: z.int(),
    sha256: z.string(),
    cid: z.string().optional(),
    version: z.string(),
    created: z.boolean(),
    state: z.enum(['stored', 'accepted']),
    verified: z.boolean(),
  }),
  run: async (input, context) => {
    const op = 'mbfs_store';
    demandOwner(context, op);
    const { backends } = context.ports;
    const { signal } = context;
    if ((input.content === undefined) === (input.path === undefined)) {
      throw schema.combination(op, 'content', 'either content or path');
    }
    const name = input.backend ?? backends.defaultName;
    const store = await backends.store(name, op);
    const key = input.identifier;
    if (key === undefined) throw schema.combination(op, 'identifier', 'a key, for this backend');
    if (input.pin_name !== undefined) {
      throw schema.combination(op, 'pin_name', 'nothing: this backend has no pins');
    }
    const object = { name, key };
    const before = await aboutObject(object, op, () => store.objects.head(key, { signal }));
    demandFree(before, input, object, op);
    const outgoing = await outgoingOf(context, input);
    if (input.dry_run) {
      const plan = planOf('backend_store', name, key, outgoing.size);
      return { data: { dry_run: true, plan } };
    }
    const { kind } = store;
    return changeOutside(context, {
      record: objectRecord('backend_store', object, outgoing, input.path),
      make: () =>
        aboutObject(object, op, () =>
          store.objects.put(key, counted(context, outgoing), {
            ...{ signal, deadlineMs: context.timeoutMs, size: outgoing.size },
            ...{ contentType: input.content_type, metadata: input.metadata },
            over: overOf(input, before),
          }),
        ),
      note: (stored) => noteObject(context, store, object, { ...stored, cid: outgoing.cid }),
      tell: ({ size, sha256, version, isAtomic }) => ({
        data: {
          ...{ backend: name, kind, identifier: key, uri: uriOfObject(name, key), size, sha256 },
          ...(outgoing.cid === undefined ? {} : { cid: String(cidOfBytes(outgoing.cid)) }),
          ...{ version, created: before === undefined, state: 'stored' as const, verified: true },
        },
        warnings: isAtomic || overOf(input, before) === 'any' ? [] : ['the check was not atomic'],
      }),
    });
  },
});

const overOf = ({ expected_version: expected, overwrite }: StoreInput, head?: ObjectHead) =>
  expected !== undefined ? (head?.version ?? 'absent') : overwrite ? 'any' : 'absent';

/** @throws OpError exists, version-conflict. */
function demandFree(
  head: ObjectHead | undefined,
  { overwrite, expected_version: expected }: StoreInput,
  { name, key }: ObjectPlace,
  op: string,
): void {
  if (expected !== undefined) demandVersion(head, expected, { name, key }, op);
  else if (head !== undefined && !overwrite) {
    const details = { kind: 'object', backend: name, partial: { version: head.version } };
    throw new OpError('exists', `${op} ${key}`, { details });
  }
}

function demandVersion(
  head: ObjectHead | undefined,
  expected: string,
  { name, key }: ObjectPlace,
  op: string,
): void {
  if (head?.version === expected) return;
  const partial = head === undefined ? { exists: false } : { version: head.version };
  throw new OpError('version-conflict', `${op} ${key}`, { details: { backend: name, partial } });
}

/** @throws OpError encoding, payload-too-large; not-found, is-directory, unsupported (the file). */
async function outgoingOf(context: ToolContext, input: StoreInput): Promise<Outgoing> {
  if (input.path !== undefined) return fileOf(context, input.path, input.dry_run);
  const bytes = schema.decodeContent(input.content ?? '', input.encoding, 'mbfs_store');
  return {
    size: bytes.length,
    cid: undefined,
    async *bytes() {
      yield bytes;
    },
  };
}

/** A file as it is now, whoever writes to it meanwhile. */
async function fileOf(context: ToolContext, path: string, dryRun: boolean): Promise<Outgoing> {
  const asker = askerOf(context, 'mbfs_store');
  const inode = await findInode(asker, path, true);
  const details = { path };
  if (inode.ino >= CONTROL_INO_FROM) {
    const hint = 'what is content or told by kitfs is no file of the tree: copy it first';
    throw new OpError('unsupported', `mbfs_store ${path}`, { hint, details });
  }
  if (!isRegular(inode.mode)) throw new OpError('is-directory', `mbfs_store ${path}`, { details });
  const { vfs, sealer, ipfs } = context.ports;
  const { journal, content: contents, clock } = vfs.core;
  const ports = { journal, contents, clock, dag: ipfs.dag, builder: ipfs.builder, sealer };
  const { signal } = context;
  const { root } = await about(asker, path, async () => {
    const frozen = freeze(ports, inode.ino, { gate: gateOf(asker), dryRun });
    const options = { profile: 'unixfs-v1-2025', metadata: false, dryRun } as const;
    return assemble(ports, frozen, options, { signal, progress: () => {} });
  });
  const request = { op: 'mbfs_store', localOnly: false, deadlineMs: context.timeoutMs };
  const { dag } = ipfs.nodes.content(undefined, request);
  return {
    size: root.size,
    cid: root.cid.bytes,
    async *bytes() {
      for (let position = 0; position < root.size; ) {
        const length = Math.min(SLICE_BYTES_MAX, root.size - position);
        const piece = await dag.readRange(root.cid, { position, length }, signal);
        position += piece.length;
        yield piece;
      }
    },
  };
}

async function* counted(context: ToolContext, { bytes, size: total }: Outgoing) {
  let done = 0;
  for await (const piece of bytes()) {
    done += piece.length;
    context.progress({ done, total, unit: 'bytes' });
    yield piece;
  }
}

export interface ObjectPlace {
  readonly name: string;
  readonly key: string;
}

/** What a store says of an object, in the words of a tool. */
export async function aboutObject<T>(
  { name, key }: ObjectPlace,
  op: string,
  body: () => Promise<T>,
): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof OpError)) throw error;
    const { cause, hint, details } = error;
    throw new OpError(error.failure, `${op} ${key}`, {
      cause,
      ...(hint === undefined ? {} : { hint }),
      details: { kind: 'object', backend: name, ...details },
    });
  }
}

export const objectRecord = (
  kind: OpKind,
  { name, key }: ObjectPlace,
  { size }: Pick<Outgoing, 'size'>,
  path?: string,
) => ({
  kind,
  cid: undefined,
  path: path === undefined ? ('/' as Name) : nameOfText(path),
  size,
  after: { backend: name, identifier: key },
});

interface Noted {
  readonly size: number;
  readonly version: string;
  readonly sha256: string;
  readonly cid: Uint8Array | undefined;
}

/** That there is a copy; of one in memory nothing, because it goes with the daemon. */
export function noteObject(
  { ports }: ToolContext,
  { kind }: Store,
  { name, key }: ObjectPlace,
  { size, version, sha256, cid }: Noted,
): void {
  if (kind === 'memory') return;
  ports.vfs.core.journal.backends.setObject({
    ...{ backend: name, identifier: key, size, version, sha256: Buffer.from(sha256, 'hex') },
    cid: cid === undefined ? null : Buffer.from(cid),
  });
}

export const planOf = (op: OpKind, backend: string, key: string, bytes: number): Plan => ({
  actions: [{ op, backend, identifier: key, bytes }],
  counts: { [op]: 1 },
  bytes,
  conflicts: [],
  warnings: [],
});

export const mbfsRetrieve = contentTool({
  ...COMMON,
  deadline: 'remote',
  name: 'mbfs_retrieve',
  title: 'Read an object',
  description:
    'Read a slice of an object in a backend of objects: text when it is, else base64. Go on at ' +
    'next_offset. verified: all of it was read, and hashes to what was noted. For IPFS use ipfs_cat.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    identifier: identifier(),
    backend: schema.backend().optional(),
    ...schema.slice,
    ...schema.timeout,
  }),
  example: { backend: 'memory', identifier: 'notes/a.txt' },
  run: async (input, context) => {
    const op = 'mbfs_retrieve';
    demandOwner(context, op);
    const { backends } = context.ports;
    const { signal, timeoutMs: deadlineMs } = context;
    const { identifier: key, offset, length, encoding } = input;
    const name = input.backend ?? backends.defaultName;
    const store = await backends.store(name, op);
    const object = { name, key };
    const { head, bytes } = await aboutObject(object, op, async () => {
      await using got = await store.objects.get(key, { offset, length, signal, deadlineMs });
      const pieces: Uint8Array[] = [];
      for await (const piece of got.bytes) pieces.push(piece);
      return { head: got.head, bytes: Buffer.concat(pieces) };
    });
    const isWhole = offset === 0 && bytes.length === head.size;
    const { header, ...rest } = sliceResult({
      ...{ op: `${op} ${key}`, bytes, offset, size: head.size, encoding },
      mime:
        head.contentType ?? mimeOf(key, offset === 0 ? bytes.subarray(0, SNIFFED_BYTES) : bytes),
      uri: uriOfObject(name, key),
      name: key.split('/').at(-1) ?? key,
      version: head.version,
    });
    const { contentType, metadata, modified, sha256 } = head;
    return {
      ...rest,
      header: {
        ...header,
        ...{ backend: name, identifier: key },
        ...(contentType === undefined ? {} : { content_type: contentType }),
        ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
        ...(modified === undefined ? {} : { modified: rfc3339(modified) }),
        verified: isWhole && sha256 !== undefined && store.kind === 's3',
      },
    };
  },
});

export const mbfsDelete = recordTool({
  ...COMMON,
  deadline: 'remote',
  name: 'mbfs_delete',
  title: 'Delete an object',
  description:
    'Remove an object from a backend of objects. Without force only while another backend is seen ' +
    'to have the same bytes. To unpin use ipfs_pin_rm.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: true },
  changes: 'journal',
  input: schema.input({
    identifier: identifier(),
    backend: schema.backend(),
    expected_version: schema.expectedVersion(),
    force: schema.force(),
    ...schema.timeout,
    ...schema.dryRun,
  }),
  example: { backend: 'memory', identifier: 'notes/a.txt', force: true },
  output: z.object({
    backend: z.string(),
    identifier: z.string(),
    outcome: z.enum(['deleted', 'delete_marker', 'unpinned', 'upload_removed']),
    still_readable: z.boolean(),
    bytes: z.int().optional(),
  }),
  run: async (input, context) => {
    const op = 'mbfs_delete';
    demandOwner(context, op);
    const { backend: name, identifier: key } = input;
    const { signal, timeoutMs: deadlineMs } = context;
    const store = await context.ports.backends.store(name, op);
    const object = { name, key };
    const head = await aboutObject(object, op, () => store.objects.head(key, { signal }));
    if (head === undefined) throw noObject(object, op);
    const { version, size } = head;
    if (input.expected_version !== undefined)
      demandVersion(head, input.expected_version, object, op);
    if (!input.force && !(await hasTwin(context, object, head))) {
      throw new OpError('confirmation-required', `${op} ${key}`, {
        hint: 'no other copy is known: copy it elsewhere, or use force',
        details: { backend: name, partial: { size, version } },
      });
    }
    if (input.dry_run) {
      return { data: { dry_run: true, plan: planOf('backend_delete', name, key, size) } };
    }
    const { journal } = context.ports.vfs.core;
    return changeOutside(context, {
      record: objectRecord('backend_delete', object, head),
      make: () =>
        aboutObject(object, op, async () => {
          const { outcome } = await store.objects.remove(key, { version, signal, deadlineMs });
          return outcome;
        }),
      note: () => journal.backends.deleteObject(name, key),
      tell: (outcome) => ({
        data: {
          ...{ backend: name, identifier: key, bytes: size },
          outcome: outcome === 'marked' ? ('delete_marker' as const) : ('deleted' as const),
          still_readable: outcome === 'marked',
        },
      }),
    });
  },
});

export const noObject = ({ name, key }: ObjectPlace, op: string): OpError =>
  new OpError('not-found', `${op} ${key}`, {
    hint: 'see mbfs_list_content',
    details: { kind: 'object', backend: name },
  });

/** Whether another object with the same bytes is there now, as it was when it was put. */
async function hasTwin(
  { ports, signal }: ToolContext,
  { name, key }: ObjectPlace,
  head: ObjectHead,
): Promise<boolean> {
  const rows = ports.vfs.core.journal.backends;
  const own = rows.object(name, key);
  const noted = own?.version === head.version ? own.sha256 : undefined;
  const sha256 = noted ?? (head.sha256 === undefined ? undefined : Buffer.from(head.sha256, 'hex'));
  if (sha256 === undefined) return false;
  for (const twin of rows.twins(sha256, TWINS_MAX)) {
    if (twin.backend === name && twin.identifier === key) continue;
    const store = await ports.backends.store(twin.backend, 'look').catch(() => undefined);
    const there = await store?.objects.head(twin.identifier, { signal }).catch(() => undefined);
    if (there?.version === twin.version && there.size === twin.size) return true;
  }
  return false;
}
