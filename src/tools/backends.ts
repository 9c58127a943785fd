/**
 * The backends there are: those built in, and those that were registered, whose rows outlive the
 * daemon. Opened when they are first used, and checked when somebody wants to know.
 *
 * Invariants: what is stored of a secret is its reference; a row that cannot be used stays, and is told
 * of as down; nobody who lists backends waits for a dead one.
 */
import {
  type Capabilities,
  type Cluster,
  openCluster,
  openLocal,
  openMemory,
  openS3,
  prefixed,
  retrying,
  type Store,
  verified,
} from '../backend/backend.ts';
import { type Clock, type Instant, rfc3339 } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import { HEALTH_CHECK_MS, HEALTH_KEPT_MS, HEALTH_WAIT_MS, NODE_CALL_MS } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import type { BackendRow, Journal } from '../journal/journal.ts';
import { type BackendConfig, parseBackendConfig, referenceIn } from './backend-config.ts';
import { codeFor } from './errors.ts';

/** Always there; `ipfs` is where calls go that name no other. */
const IPFS = 'ipfs';
const BUILT_IN: readonly string[] = [IPFS, 'ipns', 'local', 'memory', 'mfs'];
/** Where each cluster or Lassie is spoken to. */
const REQUESTS_MAX = 8;

export interface BackendEntry {
  readonly name: string;
  readonly kind: string;
  readonly isBuiltIn: boolean;
  readonly isDefault: boolean;
  /** As it was given. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly capabilities: BackendCapabilities | undefined;
}

export interface BackendCapabilities {
  readonly read: boolean;
  readonly range_read: boolean;
  readonly write: boolean;
  readonly delete: boolean;
  readonly list: boolean;
  readonly content_addressed: boolean;
  readonly conditional_put: boolean;
  readonly server_copy: boolean;
  readonly mount: boolean;
}

export interface Health {
  readonly state: 'ok' | 'degraded' | 'down' | 'unknown';
  readonly checked_at?: string;
  readonly latency_ms?: number;
  readonly error_code?: string;
}

/** What stands behind a name: a store of objects, or a cluster. */
export type Opened = { readonly store: Store } | { readonly cluster: Cluster };

export interface BackendsOptions {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly random: Random;
  /** @throws OpError configuration. */
  readonly readSecret: (reference: SecretReference) => Secret;
  /** The directories of the host that backends may lie in. */
  readonly roots: {
    /** Of the backend `local`, made when it is not there. */
    first(): Promise<string>;
    /** The directory without links. @throws OpError policy, configuration. */
    admit(root: string): Promise<string>;
  };
}

export class Backends implements AsyncDisposable {
  readonly #options: BackendsOptions;
  readonly #opened = new Map<string, Promise<Opened>>();
  readonly #health = new Map<string, { readonly atMs: number; readonly health: Health }>();
  readonly #checks = new Map<string, Promise<void>>();
  readonly #closed = new AbortController();

  constructor(options: BackendsOptions) {
    this.#options = options;
  }

  /** In bytewise order of their names. */
  all(): readonly BackendEntry[] {
    const rows = this.#options.journal.backends.all();
    const hasDefault = rows.some(({ isDefault }) => isDefault);
    const builtIn = BUILT_IN.map((name) => ({
      ...{ name, kind: name, isBuiltIn: true, config: {} },
      isDefault: name === IPFS && !hasDefault,
      capabilities: undefined,
    }));
    const all = [...builtIn, ...rows.map(entryOf)];
    return all.sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  get defaultName(): string {
    return this.all().find(({ isDefault }) => isDefault)?.name ?? IPFS;
  }

  find(name: string): BackendEntry | undefined {
    return this.all().find((entry) => entry.name === name);
  }

  /** @throws OpError not-found (backend). */
  demand(name: string, op: string): BackendEntry {
    const entry = this.find(name);
    if (entry !== undefined) return entry;
    throw new OpError('not-found', `${op} ${name}`, {
      hint: 'see mbfs_list_backends',
      details: { kind: 'backend', backend: name },
    });
  }

  /** @throws OpError not-found (backend), unsupported: it holds no objects under keys; as `opening`. */
  async store(name: string, op: string): Promise<Store> {
    const entry = this.demand(name, op);
    const isNode = entry.isBuiltIn && !['local', 'memory'].includes(name);
    const opened = isNode ? undefined : await this.open(entry, op);
    if (opened !== undefined && 'store' in opened) return opened.store;
    const hint =
      name === 'mfs' ? 'use ipfs_files_*' : 'it holds no objects under keys: use ipfs_* tools';
    throw new OpError('unsupported', `${op} ${name}`, { hint, details: { backend: name } });
  }

  /** The one named, or the only one. @throws OpError not-configured, not-found, invalid-argument. */
  async cluster(name: string | undefined, op: string): Promise<Cluster & AsyncDisposable> {
    const all = this.all().filter(({ kind }) => kind === 'cluster');
    if (name !== undefined) this.demand(name, op);
    const entry = name === undefined ? all[0] : all.find((one) => one.name === name);
    if (entry === undefined) {
      throw new OpError('not-configured', op, {
        hint: 'register a backend of kind cluster',
        details: { service: 'cluster' },
      });
    }
    if (name === undefined && all.length > 1) {
      const issue = { argument: 'backend', reason: 'missing', expected: 'one of several clusters' };
      throw new OpError('invalid-argument', op, { details: { issues: [issue] } });
    }
    const opened = await this.open(entry, op);
    if ('cluster' in opened) return opened.cluster;
    throw new OpError('unsupported', op, { details: { backend: entry.name } });
  }

  /** One for each name, as long as it is registered. @throws OpError as `opening`. */
  open({ name, kind, config, isBuiltIn }: BackendEntry, op: string): Promise<Opened> {
    const known = this.#opened.get(name);
    if (known !== undefined) return known;
    const opened = isBuiltIn
      ? this.#builtIn(name)
      : this.opening(parseBackendConfig(kind, config, op), op);
    this.#opened.set(name, opened);
    opened.catch(() => this.#opened.delete(name));
    return opened;
  }

  /**
   * What a config leads to; nobody is asked yet.
   * @throws OpError secret-unusable, policy (the directory), configuration.
   */
  async opening(config: BackendConfig, op: string): Promise<Opened> {
    const { clock, random, roots } = this.#options;
    const timing = { clock, random };
    const secret = (value: string | undefined) => this.#secretOf(value, op);
    switch (config.kind) {
      case 'memory':
        return { store: openMemory({ clock, bytesMax: config.max_bytes }) };
      case 'local':
        return { store: openLocal({ root: await roots.admit(config.root), ...timing }) };
      case 'cluster': {
        const auth = secret(config.auth);
        auth?.();
        const how = { requestsMax: REQUESTS_MAX, deadlineMs: NODE_CALL_MS, ...timing };
        return { cluster: openCluster({ api: config.api_url, secret: auth, ...how }) };
      }
      case 's3': {
        const store = openS3({
          ...{ bucket: config.bucket, endpoint: config.endpoint, region: config.region },
          ...{ pathStyle: config.path_style, ...timing },
          credentials: this.#credentialsOf(config, op),
        });
        const { prefix } = config;
        const part = prefix === '' ? store : prefixed(store, prefix);
        return { store: verified(retrying(part, timing)) };
      }
    }
  }

  #credentialsOf(config: BackendConfig & { readonly kind: 's3' }, op: string) {
    const [id, key] = [config.access_key_id, config.secret_access_key].map((one) =>
      this.#secretOf(one, op),
    );
    if (id === undefined && key === undefined) return undefined;
    if (id === undefined || key === undefined) {
      const hint = 'access_key_id and secret_access_key go together';
      throw new OpError('configuration', op, { hint });
    }
    const token = this.#secretOf(config.session_token, op);
    const read = () => ({
      accessKeyId: id(),
      secretAccessKey: key(),
      ...(token === undefined ? {} : { sessionToken: token() }),
    });
    read();
    return read;
  }

  #secretOf(value: string | undefined, op: string): (() => Secret) | undefined {
    const reference = referenceIn(value);
    if (reference === undefined) return undefined;
    return () => {
      try {
        return this.#options.readSecret(reference);
      } catch (error) {
        const { hint, cause } = asOpError(error, op);
        throw new OpError('secret-unusable', op, {
          cause,
          ...(hint === undefined ? {} : { hint: `${value}: ${hint}` }),
        });
      }
    };
  }

  async #builtIn(name: string): Promise<Opened> {
    const { clock, random, roots } = this.#options;
    if (name === 'memory') return { store: openMemory({ clock }) };
    return { store: openLocal({ root: await roots.first(), clock, random }) };
  }

  /** Ends what was opened under a name. */
  async forget(name: string): Promise<void> {
    const opened = await this.#opened.get(name)?.catch(() => undefined);
    this.#opened.delete(name);
    this.#health.delete(name);
    if (opened !== undefined) await close(opened);
  }

  /** What is known of each, looked at anew where that is old; waits for answers a moment at most. */
  async health(entries: readonly BackendEntry[]): Promise<(name: string) => Health> {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const checks = entries
      .filter(({ name, isBuiltIn }) => !isBuiltIn || name === 'local' || name === 'memory')
      .filter(
        ({ name }) => nowMs - (this.#health.get(name)?.atMs ?? -HEALTH_KEPT_MS) >= HEALTH_KEPT_MS,
      )
      .map((entry) => this.#check(entry));
    const stop = new AbortController();
    const moment = clock.sleep(HEALTH_WAIT_MS, stop.signal).catch(() => {});
    await Promise.race([Promise.all(checks), moment]);
    stop.abort();
    return (name) => this.#health.get(name)?.health ?? { state: 'unknown' };
  }

  /** One at a time for each. */
  #check(entry: BackendEntry): Promise<void> {
    const { name } = entry;
    const running = this.#checks.get(name);
    if (running !== undefined) return running;
    const check = this.#looked(entry).then((health) => {
      this.#checks.delete(name);
      this.#health.set(name, { atMs: this.#options.clock.monotonicMs(), health });
    });
    this.#checks.set(name, check);
    return check;
  }

  async #looked(entry: BackendEntry): Promise<Health> {
    const { clock } = this.#options;
    const fromMs = clock.monotonicMs();
    const told = (): { readonly checked_at: string; readonly latency_ms: number } => ({
      checked_at: rfc3339(clock.now() satisfies Instant),
      latency_ms: Math.round(clock.monotonicMs() - fromMs),
    });
    try {
      const opened = await this.open(entry, 'check');
      const options = { signal: this.#closed.signal, deadlineMs: HEALTH_CHECK_MS };
      if ('cluster' in opened) await opened.cluster.id(options);
      else await opened.store.objects.head('kitfs-health', options);
      return { state: 'ok', ...told() };
    } catch (error) {
      return { state: 'down', ...told(), error_code: codeFor(asOpError(error, 'check')) };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new OpError('not-ready', 'close the backends'));
    await Promise.all(this.#checks.values());
    for (const name of [...this.#opened.keys()]) await this.forget(name);
  }
}

export const close = async (opened: Opened): Promise<void> => {
  await ('store' in opened ? opened.store : opened.cluster)[Symbol.asyncDispose]();
};

function entryOf({ name, kind, config, capabilities, isDefault }: BackendRow): BackendEntry {
  return {
    ...{ name, kind, isBuiltIn: false, isDefault },
    config: objectIn(config) ?? {},
    capabilities: objectIn(capabilities ?? '') as BackendCapabilities | undefined,
  };
}

function objectIn(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** What a store does, as it was found. */
export const capabilitiesOf = (found: Capabilities): BackendCapabilities => ({
  ...{ read: true, range_read: found.range, write: found.write, delete: found.write },
  ...{ list: found.list, content_addressed: false, conditional_put: found.putAbsent },
  ...{ server_copy: found.copy, mount: false },
});

/** A cluster holds pins: its bytes are read from nodes. */
export const CLUSTER_CAPABILITIES: BackendCapabilities = {
  ...{ read: false, range_read: false, write: false, delete: false, list: false },
  ...{ content_addressed: true, conditional_put: false, server_copy: false, mount: false },
};
