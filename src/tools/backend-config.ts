/** What a backend of each kind is told of its store: the closed `config` of a registration. */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { MEMORY_STORE_BYTES_MAX } from '../base/limits.ts';
import { parseSecretReference, REFERENCE_FORMS, type SecretReference } from '../base/secrets.ts';
import * as schema from './schema.ts';

const text = () => schema.text(1, 1024);
const replication = () => schema.int(-1, 1000).default(0);

const SHAPES = {
  memory: z.strictObject({ max_bytes: schema.int(1).default(MEMORY_STORE_BYTES_MAX) }),
  local: z.strictObject({ root: text() }),
  s3: z.strictObject({
    bucket: text(),
    endpoint: text().optional(),
    region: text().default('us-east-1'),
    prefix: schema.text(0, 1024).default(''),
    access_key_id: text().optional(),
    secret_access_key: text().optional(),
    session_token: text().optional(),
    path_style: z.boolean().optional(),
  }),
  cluster: z.strictObject({
    api_url: text(),
    auth: text().optional(),
    replication_min: replication(),
    replication_max: replication(),
  }),
} as const;

/** Which of them say where a secret lies. */
const SECRETS = ['access_key_id', 'secret_access_key', 'session_token', 'auth'] as const;

/** Kinds that have an engine. */
export type EngineKind = keyof typeof SHAPES;

/** As a caller may send it, whatever the kind. */
export const configInput = z.strictObject({
  root: text().optional().describe('local: a host directory under local.roots'),
  max_bytes: schema.int(1).optional(),
  bucket: text().optional(),
  endpoint: text().optional(),
  region: text().optional(),
  prefix: schema.text(0, 1024).optional(),
  access_key_id: text().optional().describe('secrets: env:, file: or cred: references'),
  secret_access_key: text().optional(),
  session_token: text().optional(),
  path_style: z.boolean().optional(),
  api_url: text().optional().describe('cluster'),
  auth: text().optional(),
  replication_min: schema.int(-1, 1000).optional(),
  replication_max: schema.int(-1, 1000).optional(),
});

export type BackendConfig = {
  [K in EngineKind]: { kind: K } & z.output<(typeof SHAPES)[K]>;
}[EngineKind];

const isEngine = (kind: string): kind is EngineKind => Object.hasOwn(SHAPES, kind);

/**
 * @throws OpError unsupported: no engine is of this kind; invalid-argument with all issues;
 *   secret-unusable: what should stand for a secret does not, and may be the secret.
 */
export function parseBackendConfig(kind: string, values: unknown, op: string): BackendConfig {
  if (!isEngine(kind)) {
    const hint = `this kitfs has no engine for ${kind}: ${Object.keys(SHAPES).join(', ')} can be registered`;
    throw new OpError('unsupported', op, { hint });
  }
  const shape = z.strictObject({ config: SHAPES[kind] });
  const { config } = schema.validate(shape, { config: values }, op);
  demandReferences(config, op);
  return { kind, ...config } as BackendConfig;
}

function demandReferences(config: Readonly<Record<string, unknown>>, op: string): void {
  const literal = SECRETS.find((name) => {
    const told = config[name];
    return typeof told === 'string' && parseSecretReference(told) === undefined;
  });
  if (literal === undefined) return;
  throw new OpError('secret-unusable', op, {
    hint: `config.${literal} must be ${REFERENCE_FORMS}`,
    details: {
      issues: [{ argument: `config.${literal}`, reason: 'format', expected: REFERENCE_FORMS }],
    },
  });
}

/** Of a checked config. */
export function referenceIn(value: string | undefined): SecretReference | undefined {
  return value === undefined ? undefined : parseSecretReference(value);
}
