/**
 * The parameters of tools by the tags of the contract, the JSON Schema made of them, and
 * validation, which lists everything that is wrong and not only the first thing.
 *
 * Invariants: one name, one meaning, one type in the whole inventory; objects are strict; what is
 * validated is what the schema says, rules between arguments apart.
 */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { CONTENT_BYTES_MAX, SLICE_BYTES, SLICE_BYTES_MAX } from '../base/limits.ts';
import {
  cidOf,
  faultOfTreePath,
  isWellFormed,
  type PathFault,
  parseIpfsPath,
  withoutTrailingSlash,
} from './paths.ts';
import type { InputSchema } from './tool.ts';

const METADATA_BYTES_MAX = 16 * 1024;

/** Text of `min` to `max` bytes in UTF-8. */
export const text = (min: number, max: number) =>
  z
    .string()
    .refine(
      (value) => {
        const bytes = Buffer.byteLength(value);
        return bytes >= min && bytes <= max;
      },
      { params: { reason: 'range', expected: `text of ${min} to ${max} bytes` } },
    )
    .meta({ ...(min > 0 ? { minLength: min } : {}), maxLength: max });

export const int = (min: number, max = Number.MAX_SAFE_INTEGER) => z.int().min(min).max(max);

const faulty = (fault: PathFault) => ({
  code: 'custom' as const,
  params: { reason: 'format', ...fault },
});

const treePath = z
  .string()
  .superRefine((value, context) => {
    const fault = faultOfTreePath(value);
    if (fault !== undefined) context.addIssue(faulty(fault));
  })
  .overwrite(withoutTrailingSlash);

/** A path of the tree; content by CID or name; a path of MFS, or content that begins with `/ipfs/`. */
type PlaceKind = 'tree' | 'content' | 'mfs';

/** Which parameters name places, and how. */
const placing = z.registry<{ readonly kind: PlaceKind }>();

/** Absolute path inside the tree, a `/` at its end dropped. `namesOf` (paths.ts) takes it apart. */
export const path = (description = 'absolute path in the tree') =>
  treePath.describe(description).register(placing, { kind: 'tree' });

const cidText = z.string().superRefine((value, context) => {
  if (cidOf(value) === undefined) {
    context.addIssue(faulty({ failure: 'invalid-cid', expected: 'a full CID' }));
  }
});
/** Bare CID. `cidOf` (paths.ts) gives the object. */
export const cid = (description = 'CID v0 or v1') =>
  cidText.describe(description).register(placing, { kind: 'content' });

const ipfsPathText = z.string().superRefine((value, context) => {
  if (parseIpfsPath(value) === undefined) {
    const expected = 'a CID, /ipfs/<cid>[/sub] or /ipns/<name>[/sub]';
    context.addIssue(faulty({ failure: 'invalid-cid', expected }));
  }
});
/** `parseIpfsPath` (paths.ts) takes it apart. */
export const ipfsPath = (description = '<cid>[/sub], /ipfs/<cid>[/sub] or /ipns/<name>[/sub]') =>
  ipfsPathText.describe(description).register(placing, { kind: 'content' });

/** What looks like a path of content is one, to Kubo too. */
const isOfMfs = (value: string): boolean => !/^\/(ipfs|ipns)(\/|$)/.test(value);
const mfsText = treePath.superRefine((value, context) => {
  if (!isOfMfs(value)) {
    const expected = 'a path of MFS, not of content (/ipfs, /ipns)';
    context.addIssue(faulty({ failure: 'invalid-path', expected }));
  }
});
/** Absolute path inside MFS. */
export const mfsPath = (description = 'absolute path in MFS') =>
  mfsText.describe(description).register(placing, { kind: 'mfs' });

const mfsSourceText = z
  .string()
  .superRefine((value, context) => {
    const kind = value.startsWith('/ipfs/') ? ipfsPathText : mfsText;
    const [issue] = kind.safeParse(value).error?.issues ?? [];
    if (issue?.code === 'custom') context.addIssue({ code: 'custom', params: issue.params });
  })
  .overwrite(withoutTrailingSlash);
/** A path of MFS, or content: what begins with `/ipfs/`. */
export const mfsSource = () =>
  mfsSourceText.describe('path in MFS, or /ipfs/<cid>[/sub]').register(placing, { kind: 'mfs' });

/** What a mount starts with: an IPFS path, or nothing. `parseIpfsPath` takes it apart. */
export const source = () => text(0, 4096).default('').register(placing, { kind: 'content' });

/** A place that a call names, in its own words. */
export interface NamedPlace {
  readonly kind: PlaceKind;
  readonly text: string;
}

/** Every place that checked arguments name, however deep. */
export function placesIn(schema: z.core.$ZodType, value: unknown): readonly NamedPlace[] {
  if (value === undefined || value === null) return [];
  const placed = placing.get(schema);
  if (placed !== undefined) return [{ kind: placed.kind, text: String(value) }];
  if (schema instanceof z.ZodObject) {
    // Of a union one option fits; a value of another shape names nothing here.
    if (typeof value !== 'object') return [];
    const given = value as Readonly<Record<string, unknown>>;
    return Object.entries(schema.shape).flatMap(([name, child]) => placesIn(child, given[name]));
  }
  if (schema instanceof z.ZodArray) {
    return Array.isArray(value) ? value.flatMap((item) => placesIn(schema.element, item)) : [];
  }
  if (schema instanceof z.ZodUnion) {
    return schema.options.flatMap((option) => placesIn(option, value));
  }
  const isWrapped =
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault;
  return isWrapped ? placesIn(schema.unwrap(), value) : [];
}

export const flag = (byDefault = false) => z.boolean().default(byDefault);
export const recursive = (byDefault = false) => flag(byDefault);
export const parents = (byDefault = false) => flag(byDefault).describe('create missing parents');
export const overwrite = (byDefault = false) => flag(byDefault);
export const force = () => flag();
export const mode = () => z.string().regex(/^0[0-7]{3,4}$/);
export const backend = () => z.string().regex(/^[a-z][a-z0-9-]{0,31}$/);
export const expectedVersion = () => text(1, 128).optional();
export const expectedCount = () => int(0).optional();
export const pinName = () => text(1, 255);
export const handle = () => text(22, 64);
export const time = () => z.iso.datetime({ offset: true });
export const sinceSeq = () => int(0);
export const onConflict = () => z.enum(['fail', 'keep_local', 'keep_remote', 'keep_both']);

/** String to string, 16 KiB in all; the one kind of open object. */
export const metadata = () =>
  z
    .record(z.string(), z.string())
    .refine((value) => Buffer.byteLength(JSON.stringify(value)) <= METADATA_BYTES_MAX, {
      params: { reason: 'range', expected: `at most ${METADATA_BYTES_MAX} bytes` },
    });

const encodingName = z.enum(['utf-8', 'base64']);

export const encoding = () => encodingName;

/** Tag `+node`. */
export const node = { node: z.enum(['embedded', 'kubo']).optional() };
/** Tag `+local`. */
export const localOnly = { local_only: flag().describe('never fetch from the network') };
/** Tag `+slice`. `encoding` absent: text when it is, else base64. */
export const slice = {
  offset: int(0).default(0),
  length: int(1, SLICE_BYTES_MAX).default(SLICE_BYTES),
  encoding: encodingName.optional(),
};
/** Tag `+page`. */
export const page = {
  limit: int(1, 500).default(50),
  cursor: text(1, 512).optional().describe('next_cursor of the page before'),
};
/** Tag `+to`; the registry keeps the deadline. */
export const timeout = { timeout_ms: int(100, 3_600_000).optional() };
/** Tag `+job`; the registry keeps both times. */
export const job = {
  wait_ms: int(0, 50_000).default(20_000).describe('then answer with a job'),
  ...timeout,
};
/** Tag `+dry`. */
export const dryRun = { dry_run: flag() };
/** Bytes given inline; `bytesOf` decodes them. */
export const content = {
  content: z.string(),
  encoding: encodingName.default('utf-8').describe('of content'),
};

/** Fields of every paged result. */
export const pageFields = {
  next_cursor: z.string().optional(),
  truncated: z.boolean(),
  total: z.int().optional(),
};

/** An object of parameters, closed. */
export const input = <Shape extends z.core.$ZodShape>(shape: Shape) => z.strictObject(shape);

/**
 * Inline content as bytes.
 * @throws OpError encoding, payload-too-large.
 */
export function decodeContent(value: string, encodedAs: 'utf-8' | 'base64', op: string): Buffer {
  const isBase64 = encodedAs === 'base64';
  const size = Buffer.byteLength(value, isBase64 ? 'base64' : 'utf8');
  if (size > CONTENT_BYTES_MAX) {
    const partial = { size, max: CONTENT_BYTES_MAX };
    throw new OpError('payload-too-large', op, { details: { partial } });
  }
  if (isBase64 ? !isBase64Text(value) : !isWellFormed(value)) {
    const hint = isBase64 ? 'give valid base64 as content' : 'give the bytes as base64';
    throw new OpError('encoding', op, { hint });
  }
  return Buffer.from(value, isBase64 ? 'base64' : 'utf8');
}

/** RFC 4648 §4, padded or not. One long expression would exhaust the stack on a large text. */
function isBase64Text(value: string): boolean {
  const bare = value.replace(/={1,2}$/, '');
  const isWhole = bare.length === value.length ? bare.length % 4 !== 1 : value.length % 4 === 0;
  return isWhole && !/[^A-Za-z0-9+/]/.test(bare);
}

export interface ArgumentIssue {
  /** Dotted path of the argument: `options.uid`. */
  readonly argument: string;
  readonly reason: 'missing' | 'unknown' | 'type' | 'range' | 'format' | 'combination';
  readonly expected?: string;
}

/** For rules between arguments, which a schema cannot say. */
export const combination = (op: string, argument: string, expected: string): OpError =>
  new OpError('invalid-argument', op, {
    details: { issues: [{ argument, reason: 'combination', expected }] },
  });

/**
 * Arguments → the input of a tool, defaults filled in.
 * @throws OpError invalid-argument with all issues; invalid-path, name-too-long or invalid-cid
 * when nothing but such a text is wrong.
 */
export function validate<Input extends InputSchema>(
  schema: Input,
  values: unknown,
  op: string,
): z.output<Input> {
  const parsed = schema.safeParse(values);
  if (parsed.success) return parsed.data;
  const found = parsed.error.issues.flatMap((issue) => issuesOf(issue, values));
  const issues = found.map(({ issue }) => issue);
  const failures = new Set(found.map(({ failure }) => failure));
  const [only] = failures;
  const failure = failures.size === 1 && only !== undefined ? only : 'invalid-argument';
  const named = issues.map(({ argument, reason }) => `${argument} (${reason})`).join(', ');
  const first = found[0]?.value;
  throw new OpError(failure, `${op} with ${named}`, {
    details: {
      issues,
      ...(failure === 'invalid-path' || failure === 'name-too-long' ? { path: first } : {}),
      ...(failure === 'invalid-cid' ? { cid: first } : {}),
    },
  });
}

interface Found {
  readonly issue: ArgumentIssue;
  readonly failure: PathFault['failure'] | 'invalid-argument';
  readonly value: string | undefined;
}

/** Text of the caller quoted back is cut to this many characters. */
const QUOTED_CHARS_MAX = 256;

function issuesOf(issue: z.core.$ZodIssue, values: unknown): readonly Found[] {
  const at = issue.path.map(String);
  const plain = (argument: string, reason: ArgumentIssue['reason'], expected?: string): Found => ({
    issue: { argument, reason, ...(expected === undefined ? {} : { expected }) },
    failure: 'invalid-argument',
    value: undefined,
  });
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) =>
      plain([...at, key.slice(0, QUOTED_CHARS_MAX)].join('.'), 'unknown'),
    );
  }
  const argument = at.join('.') || 'arguments';
  const value = valueAt(values, issue.path);
  if (value === undefined) return [plain(argument, 'missing', expectedBy(issue))];
  if (issue.code !== 'custom') return [plain(argument, reasonOf(issue), expectedBy(issue))];
  const { reason, expected, failure } = (issue.params ?? {}) as Partial<PathFault> & {
    reason?: ArgumentIssue['reason'];
  };
  return [
    {
      ...plain(argument, reason ?? 'format', expected ?? issue.message),
      failure: failure ?? 'invalid-argument',
      value: typeof value === 'string' ? value.slice(0, QUOTED_CHARS_MAX) : undefined,
    },
  ];
}

function valueAt(values: unknown, at: readonly PropertyKey[]): unknown {
  let value = values;
  for (const key of at) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Readonly<Record<PropertyKey, unknown>>)[key];
  }
  return value;
}

function reasonOf(issue: z.core.$ZodIssue): ArgumentIssue['reason'] {
  switch (issue.code) {
    case 'invalid_type':
      return 'type';
    case 'too_small':
    case 'too_big':
    case 'not_multiple_of':
    case 'invalid_value':
      return 'range';
    default:
      return 'format';
  }
}

function expectedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected;
    case 'too_small':
      return `at least ${issue.minimum}`;
    case 'too_big':
      return `at most ${issue.maximum}`;
    case 'invalid_value':
      return `one of ${issue.values.map(String).join(', ')}`;
    default:
      return issue.message;
  }
}

export type JsonSchema = Readonly<Record<string, unknown>>;

/** The schema of what a caller sends: no `$schema`, no bounds that bound nothing. */
export const inputJsonSchema = (schema: InputSchema): JsonSchema =>
  lean(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'throw' })) as JsonSchema;

/** The schema of what a tool answers. */
export const outputJsonSchema = (schema: z.ZodType): JsonSchema =>
  lean(z.toJSONSchema(schema, { io: 'output', unrepresentable: 'throw' })) as JsonSchema;

/** Where a property name is a keyword's value and not a keyword. */
const NAMED = new Set(['properties', '$defs']);

function lean(value: unknown, isNamed = false): unknown {
  if (Array.isArray(value)) return value.map((item) => lean(item));
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([key, item]) => isNamed || !isNoise(key, item));
  return Object.fromEntries(
    kept.map(([key, item]) => [key, lean(item, !isNamed && NAMED.has(key))]),
  );
}

function isNoise(key: string, value: unknown): boolean {
  if (key === '$schema' || key === '~standard') return true;
  if (key === 'propertyNames') return true; // Names of JSON objects are text anyway.
  const isLimitless = key === 'maximum' ? Number.MAX_SAFE_INTEGER : Number.MIN_SAFE_INTEGER;
  return (key === 'maximum' || key === 'minimum') && value === isLimitless;
}
