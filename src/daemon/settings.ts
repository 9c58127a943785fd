/**
 * What the configuration file may say: the schema, with a sentence for each key. The documents are
 * made from it (`settingsTable`).
 *
 * Invariants: a key that is not in the schema is named and refused; a file that cannot be read as a
 * whole changes nothing.
 */
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
// Past the face, which loads all of a client: this is read before a mount is taken over.
import { ENDPOINT_FORMS, parseEndpoint } from '../backend/kubo/endpoint.ts';
import { OpError } from '../base/errors.ts';
import { REDACTED } from '../base/redaction.ts';
import { parseSecretReference, REFERENCE_FORMS } from '../base/secrets.ts';

const KIB = 1024;
const MIB = 1024 * 1024;
const DAY_S = 24 * 60 * 60;
const MS_PER_S = 1000;

const absolutePath = z.string().regex(/^\//, 'must be an absolute path');
/** So many that in the smallest unit they still are a number counted exactly. */
const count = (unit: number) =>
  z
    .int()
    .min(1)
    .max(Math.floor(Number.MAX_SAFE_INTEGER / unit));

/** Its value is shown to nobody: what is no reference may be the secret itself. */
const secret = z.string().transform((text, context) => {
  const reference = parseSecretReference(text);
  if (reference !== undefined) return reference;
  const message = `must say where the secret lies and not what it is: ${REFERENCE_FORMS}`;
  context.addIssue({ code: 'custom', message, input: REDACTED });
  return z.NEVER;
});

const principal = z.union(
  [
    z
      .int()
      .min(0)
      .max(2 ** 32 - 2),
    z.string().regex(/^[^\s:]{1,32}$/),
  ],
  {
    error: 'must be a number or a name',
  },
);
const treePath = z
  .string()
  .regex(/^\/$|^(\/(?!\.{1,2}(\/|$))[^/\0]{1,255})+$/, 'must be an absolute path of the tree');

const token = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'must be a word of a-z, 0-9 and -'),
  secret,
  tools: z.array(z.string()).optional(),
  paths: z.array(treePath).min(1).optional(),
  read_only: z.boolean().default(false),
});

const access = z
  .strictObject({
    users: z
      .array(principal)
      .default([])
      .describe('Users, by number or name, who may use the sockets of root’s daemon.'),
    groups: z
      .array(principal)
      .default([])
      .describe('Groups likewise. With neither users nor groups, all of group kitfs may.'),
    require_token: z
      .boolean()
      .default(false)
      .describe('Whether agents must present a token before they may call anything.'),
    token: z
      .array(token)
      .default([])
      .refine((rows) => new Set(rows.map(({ name }) => name)).size === rows.length, {
        message: 'two tokens have one name',
      })
      .describe(
        'Tokens, each `[[access.token]]` with `name`, `secret` (a reference), and what who ' +
          'presents it may do at most: `tools`, `paths` (without links), `read_only`.',
      ),
  })
  .refine(({ require_token, token: rows }) => !require_token || rows.length > 0, {
    message: 'require_token without any token lets nobody in',
    path: ['require_token'],
  })
  .prefault({})
  .describe('Who may use the sockets, and what for.');

const kubo = z
  .strictObject({
    api: z
      .string()
      .refine((text) => parseEndpoint(text) !== undefined, { error: `must be ${ENDPOINT_FORMS}` })
      .optional()
      .describe(`Where its RPC answers: ${ENDPOINT_FORMS}. Without it there is no Kubo.`),
    auth: secret
      .optional()
      .describe('Where its secret lies (a reference): `bearer:TOKEN` or `basic:USER:PASSWORD`.'),
    requests_max: z
      .int()
      .min(2)
      .max(256)
      .default(16)
      .describe('Connections to it that are in use at once; subscriptions come on top.'),
    deadline_s: z
      .int()
      .min(1)
      .max(3600)
      .default(30)
      .describe('How long a question may take that names no deadline, in seconds.'),
  })
  .refine(({ api, auth }) => auth === undefined || api !== undefined, {
    message: 'a secret for no node: api is missing',
    path: ['auth'],
  })
  .prefault({})
  .describe('A Kubo node to be used.');

const ipfs = z
  .strictObject({
    home: z
      .enum(['kubo', 'embedded'])
      .optional()
      .describe('Which node keeps pins and names; kubo when it has an `api`, else embedded.'),
    kubo,
  })
  .refine(({ home, kubo: { api } }) => home !== 'kubo' || api !== undefined, {
    message: 'kubo needs ipfs.kubo.api',
    path: ['home'],
  })
  .prefault({})
  .describe('The IPFS nodes.');

const sync = z
  .strictObject({
    debounce_ms: z
      .int()
      .min(0)
      .max(DAY_S * MS_PER_S)
      .default(5000)
      .describe(
        'How long a tree rests before it is published by itself, in ms, where its mount does not ' +
          'say (`sync_ms`); 0: trees are published only when asked, whatever mounts say.',
      ),
    interval_s: z
      .int()
      .min(1)
      .max(DAY_S)
      .default(300)
      .describe('A tree that never rests is published so long after its first change, in seconds.'),
    at_unmount: z
      .boolean()
      .default(true)
      .describe('Whether a tree is published when it is unmounted, and when kitfs stops.'),
    bandwidth_kib: count(KIB)
      .optional()
      .describe('What all uploads together may send in a second, in KiB; no limit when absent.'),
    stores_at_once: z
      .int()
      .min(1)
      .max(16)
      .default(2)
      .describe('Stores that are written to at once.'),
    check_s: z
      .int()
      .min(1)
      .max(DAY_S)
      .default(3600)
      .describe('How often a store is asked whether it still has what it said it has, in seconds.'),
    keep_snapshots: count(1)
      .default(100)
      .describe('Snapshots of a published path that stay whole here; older ones are let go.'),
    want: z
      .int()
      .min(1)
      .max(8)
      .optional()
      .describe('Stores that shall have a file before it is called replicated; absent: none is.'),
  })
  .prefault({})
  .describe('How trees come to the home node by themselves, when that is a Kubo.');

const local = z
  .strictObject({
    roots: z
      .array(absolutePath)
      .default([])
      .describe(
        'Directories of the host that backends may lie in, the first of them for the backend ' +
          '`local`; when there are none, `local` in the state directory.',
      ),
  })
  .prefault({})
  .describe('What of the host may be shown.');

const content = z
  .strictObject({
    quota_mib: count(MIB)
      .optional()
      .describe(
        'Bytes of files that may be here, in MiB. Beyond, those go that the home node has, and are ' +
          'fetched when somebody reads them; any number when absent.',
      ),
  })
  .prefault({})
  .describe('What of the bytes of files is here.');

const schema = z.strictObject({
  state: absolutePath
    .optional()
    .describe('Journal and content; ~/.local/state/kitfs when absent, for root /var/lib/kitfs.'),
  run: absolutePath
    .optional()
    .describe(
      'The sockets; when absent $XDG_RUNTIME_DIR/kitfs or /tmp/kitfs-UID, for root /run/kitfs.',
    ),
  mount_point: absolutePath.optional().describe('Where the tree is mounted; ~/kitfs when absent.'),
  mount: z
    .strictObject({
      read_only: z.boolean().default(false).describe('Programs on the mount may only read.'),
      allow_other: z
        .boolean()
        .optional()
        .describe('Whether other users may enter; when absent, they may if root mounts.'),
      passthrough: z
        .boolean()
        .default(true)
        .describe('Whether the kernel reads and writes files itself, if root mounts.'),
      suid: z
        .boolean()
        .default(false)
        .describe(
          'Whether set-id bits and file capabilities count when programs start; root only.',
        ),
      dev: z
        .boolean()
        .default(false)
        .describe('Whether device files can be opened, and not only kept; root only.'),
      driver: z
        .enum(['auto', 'native', 'fuse-native'])
        .default('auto')
        .describe(
          'What speaks to the kernel; auto: native, else fuse-native (optional, needs libfuse2).',
        ),
    })
    .prefault({})
    .describe('How the kernel mounts the tree.'),
  memory: z
    .strictObject({
      enabled: z.boolean().default(true).describe('Whether there is a tree in memory, /mem.'),
      size_max_mib: count(MIB).default(512).describe('What /mem may hold, in MiB.'),
    })
    .prefault({})
    .describe('The tree in memory.'),
  mounts: z
    .strictObject({
      mfs: z
        .boolean()
        .default(false)
        .describe('Whether the mutable tree of the home node is mounted at /mfs.'),
    })
    .prefault({})
    .describe('Trees that are mounted from the start.'),
  history: z
    .strictObject({
      keep_days: count(DAY_S)
        .default(30)
        .describe('Age up to which records and old bytes are kept.'),
      records_max: count(1)
        .default(10_000_000)
        .describe('Records kept at most, whatever their age.'),
      old_bytes_max_mib: count(MIB)
        .default(10_240)
        .describe('Bytes that only history wants, kept at most, in MiB.'),
    })
    .prefault({})
    .describe('What the journal keeps to undo and to tell.'),
  access,
  ipfs,
  sync,
  content,
  local,
  log: z
    .strictObject({
      level: z.enum(['error', 'warn', 'info']).default('info').describe('The least that is told.'),
    })
    .prefault({})
    .describe('What goes to standard error.'),
});

export type Settings = z.output<typeof schema>;

/** What holds without a configuration file. */
export const defaultSettings = (): Settings => schema.parse({});

/**
 * The text of a configuration file → settings.
 * @throws OpError configuration, which names the place and what is wrong there.
 */
export function parseSettings(text: string, path: string): Settings {
  const op = `read the configuration ${path}`;
  const parsed = schema.safeParse(parseToml(text, op));
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => {
    const key = dotted(issue.path);
    if (issue.code !== 'unrecognized_keys') return { argument: key, reason: issue.message };
    const names = issue.keys.map((name) => dotted([...issue.path, name]));
    return { argument: names.join(', '), reason: 'there is no such key' };
  });
  const hint = issues.map(({ argument, reason }) => `${argument}: ${reason}`).join('; ');
  throw new OpError('configuration', op, { hint, details: { issues } });
}

/** As TOML writes a key: in quotes where it is no plain word. */
const dotted = (path: readonly PropertyKey[]): string =>
  path
    .map(String)
    .map((name) => (/^[\w-]+$/.test(name) ? name : JSON.stringify(name)))
    .join('.');

function parseToml(text: string, op: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [reason = 'malformed'] = error.message.split('\n');
    // Without its cause, which quotes the lines around the mistake, whatever stands there.
    throw new OpError('configuration', op, {
      hint: `line ${error.line}, column ${error.column}: ${reason}`,
    });
  }
}

/** Seconds and bytes, as the journal counts. */
export function retentionOf({ history }: Settings): {
  readonly keepS: number;
  readonly recordsMax: number;
  readonly oldBytesMax: number;
} {
  return {
    keepS: history.keep_days * DAY_S,
    recordsMax: history.records_max,
    oldBytesMax: history.old_bytes_max_mib * MIB,
  };
}

/** Milliseconds, and bytes per second. */
export const paceOf = ({ sync }: Pick<Settings, 'sync'>) => ({
  quietMs: sync.debounce_ms,
  intervalMs: sync.interval_s * MS_PER_S,
  isAtUnmount: sync.at_unmount,
  bytesPerS: sync.bandwidth_kib === undefined ? undefined : sync.bandwidth_kib * KIB,
  storesAtOnce: sync.stores_at_once,
  checkS: sync.check_s,
  want: sync.want,
});

/** undefined: any number. */
export const quotaBytesOf = ({ content: { quota_mib: mib } }: Pick<Settings, 'content'>) =>
  mib === undefined ? undefined : mib * MIB;

export const memoryBytesMax = ({ memory }: Settings): number => memory.size_max_mib * MIB;

/** One key of the configuration file, as documents show it. */
export interface SettingRow {
  /** Dotted: `history.keep_days`. */
  readonly key: string;
  readonly type: string;
  /** As JSON; absent when there is none. */
  readonly defaultText: string | undefined;
  readonly text: string;
}

interface SchemaNode {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
}

/** Every key, in the order of the schema. */
export function settingsTable(): readonly SettingRow[] {
  const root = z.toJSONSchema(schema, { io: 'input' }) as SchemaNode;
  return rowsOf(root, '');
}

function rowsOf(node: SchemaNode, prefix: string): SettingRow[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const key = `${prefix}${name}`;
    if (child.properties !== undefined) return rowsOf(child, `${key}.`);
    const type = child.enum?.map((value) => JSON.stringify(value)).join(', ') ?? child.type ?? '';
    const defaultText = child.default === undefined ? undefined : JSON.stringify(child.default);
    return [{ key, type, defaultText, text: child.description ?? '' }];
  });
}
