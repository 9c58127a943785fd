/**
 * Tools in process: the registry over a real journal, real content and a real tree in a directory
 * of its own. What a kernel or a daemon would add (a mount, locks, troubles) is set by the test.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { KuboNode } from '../../src/backend/backend.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import type { ContentId, Ino } from '../../src/base/ids.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { Redactor } from '../../src/base/redaction.ts';
import { referenceText, Secret, type SecretReference } from '../../src/base/secrets.ts';
import {
  BlockStore,
  Builder,
  ContentStore,
  Dag,
  HashPool,
  Sealer,
} from '../../src/content/content.ts';
import { contentReader, nameReader } from '../../src/daemon/content-reader.ts';
import { openIdentified } from '../../src/daemon/identity.ts';
import { ipfsPorts } from '../../src/daemon/ipfs-ports.ts';
import { LocalRoots } from '../../src/daemon/local-roots.ts';
import { Loops } from '../../src/daemon/loops.ts';
import { parseSettings } from '../../src/daemon/settings.ts';
import type { Journal } from '../../src/journal/journal.ts';
import { NameResolver } from '../../src/node/node.ts';
import { Backends } from '../../src/tools/backends.ts';
import { type Ceiling, UNLIMITED } from '../../src/tools/ceiling.ts';
import { Cursors } from '../../src/tools/cursors.ts';
import type { CallResult } from '../../src/tools/envelope.ts';
import { COMMANDS, TOOLS } from '../../src/tools/inventory.ts';
import { Jobs } from '../../src/tools/jobs.ts';
import { JournaledJobs } from '../../src/tools/kept-jobs.ts';
import type { Lock } from '../../src/tools/locks.ts';
import type { Ports } from '../../src/tools/ports.ts';
import { Registry } from '../../src/tools/registry.ts';
import { JournaledCalls } from '../../src/tools/repeats.ts';
import { dryRunSchema, jobStartedSchema } from '../../src/tools/results.ts';
import type { Peer, Session, Tool } from '../../src/tools/tool.ts';
import { type Caller, recover, resolve, Vfs } from '../../src/vfs/vfs.ts';
import { fillingFrom } from '../fakes/alone.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { mountTree } from '../vfs/mount-tree.ts';

export type Facts = Readonly<Record<string, unknown>>;

/** An envelope, loosely typed: a test says what it expects in it. */
export interface Answer {
  readonly status: 'success' | 'error';
  readonly data?: Facts;
  readonly error?: string;
  readonly error_code?: string;
  readonly context: Facts;
}

const ROOT_PEER: Peer = { uid: 0, gid: 0, groups: [], pid: process.pid };

/** Trees of MFS are brought in step when a test, or a tool, asks for it. */
const ON_CALL = 'mutable trees';

/** What stands for the daemon, to be changed by a test. */
class FakeDaemon {
  readonly version = '9.8.7';
  readonly startedAt = { s: 1_700_000_000, ns: 0 };
  now: 'running' | 'recovering' | 'draining' = 'running';
  troubled: { readonly errorCode: string; readonly text: string }[] = [];
  errors: Record<string, number> = {};
  state = () => this.now;
  troubles = () => this.troubled;
  verifiedSeq = () => 0;
  uploads = () => 0;
  errorsLastHour = () => this.errors;
}

/** Locks as a test says. */
class FakeLocks {
  readonly held = new Map<Ino, readonly Lock[]>();
  exclusive = (ino: Ino) => Promise.resolve(this.held.get(ino) ?? []);
}

export class Fixture {
  readonly directory = mkdtempSync(join(tmpdir(), 'kitfs-tools-'));
  readonly clock = new SystemClock();
  readonly log = new RememberedLog();
  readonly daemon = new FakeDaemon();
  readonly locks = new FakeLocks();
  readonly journal: Journal;
  readonly content: ContentStore;
  readonly blocks: BlockStore;
  readonly dag: Dag;
  readonly sealer: Sealer;
  readonly builder: Builder;
  readonly vfs: Vfs;
  readonly ports: Ports;
  readonly registry: Registry;
  /** Where the tree is mounted, as far as tools are told. */
  mountDir: string | undefined = '/mnt/kitfs';
  /** Of every call. */
  ceiling: Ceiling = UNLIMITED;
  /** Over which calls come. */
  connection = 'session-1';
  readonly #connections = new Map<string, AbortController>();
  readonly #loops = new Loops(this);
  readonly #hasher = new HashPool();
  readonly #stop = new AbortController();

  /** `sync`: that part of a configuration; trees are published when a test asks for it. */
  constructor(tools: readonly Tool[] = TOOLS, kubo?: KuboNode, sync = 'debounce_ms = 0') {
    const { clock, log, directory } = this;
    const native = loadNative();
    const path = join(directory, 'journal.db');
    const identity = { random: new CountingRandom(), journalId: undefined };
    this.journal = openIdentified({ path, clock, ...identity });
    this.content = new ContentStore({
      journal: this.journal,
      native,
      directory: join(directory, 'content'),
      memoryDirectory: join(directory, 'memory'),
      clock,
    });
    const { journal, content: contents } = this;
    this.blocks = new BlockStore({ journal, contents });
    this.dag = new Dag(this.blocks);
    this.sealer = new Sealer({ journal, contents, hasher: this.#hasher, clock, log });
    const { blocks, sealer } = this;
    this.builder = new Builder({ journal, contents, blocks, sealer });
    const names = new NameResolver({ clock });
    const { signal } = this.#stop;
    const parts = { contents, blocks, sealer, clock, log, signal };
    const filling = fillingFrom(kubo?.content, parts);
    this.vfs = new Vfs({
      journal,
      content: contents,
      clock,
      syncJournal: () => native.fdatasyncMany([journal.walFd]),
      filling,
      contentReader: contentReader(filling.dag),
      nameReader: nameReader(names),
      controlFiles: [{ name: 'status.json', render: () => Buffer.from('{"health":"ok"}\n') }],
      owner: { uid: 0, gid: 0 },
      stateDirectory: directory,
      signal,
    });
    recover(this.vfs.core, { uid: 0, gid: 0 });
    mountTree(this.vfs, ROOT, { point: '/ipfs', mode: 0o777 });
    mountTree(this.vfs, ROOT, { point: '/mem', mode: 0o777 });
    const random = new CountingRandom();
    this.ports = {
      clock,
      random,
      log,
      cursors: new Cursors({ clock, random }),
      jobs: new Jobs({ clock, random }),
      keptCalls: new JournaledCalls(journal),
      holding: contents.holding,
      keptJobs: new JournaledJobs(journal),
      mount: { localPath: (path) => this.#localPath(path) },
      vfs: this.vfs,
      sealer,
      locks: this.locks,
      backends: new Backends({
        ...{ journal, clock, random, readSecret: this.#readSecret },
        roots: new LocalRoots([], directory),
      }),
      daemon: this.daemon,
      ...ipfsPorts({
        journal,
        contents,
        blocks,
        dag: this.dag,
        sealer,
        filling,
        clock,
        log,
        loops: {
          start: (name, run) => {
            if (name !== ON_CALL) this.#loops.start(name, run);
          },
        },
        sync: parseSettings(`[sync]\n${sync}`, 'config.toml').sync,
        home: kubo === undefined ? 'embedded' : 'kubo',
        kubo,
        vfs: this.vfs,
        names,
        keys: join(directory, 'keys'),
        version: '9.8.7',
        diskBytes: () => 2 ** 40,
        syncJournal: () => this.vfs.core.syncJournal(),
      }),
    };
    this.vfs.core.replicas = this.ports.ipfs.ladder;
    this.registry = new Registry({
      ...{ tools, commands: COMMANDS, ports: this.ports, redactor: new Redactor() },
    });
  }

  /** By their references. */
  readonly secrets = new Map<string, string>();
  readonly #readSecret = (reference: SecretReference): Secret => {
    const value = this.secrets.get(referenceText(reference));
    if (value !== undefined) return new Secret(value, reference);
    throw new OpError('configuration', `read ${referenceText(reference)}`, { hint: 'not set' });
  };

  /** Closes a connection, as an agent that goes away. */
  hangUp(id: string): void {
    this.#connection(id).abort();
  }

  #connection(id: string): AbortController {
    const known = this.#connections.get(id) ?? new AbortController();
    this.#connections.set(id, known);
    return known;
  }

  async close(): Promise<void> {
    for (const id of this.#connections.keys()) this.hangUp(id);
    await this.ports.jobs.close();
    await this.ports.backends[Symbol.asyncDispose]();
    this.#stop.abort();
    await this.#loops.stop();
    await this.#hasher.close();
    this.content.close();
    this.journal.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Calls as a peer; root when not said. `key`: under which it may be sent again. */
  async call(
    name: string,
    values: Facts,
    peer: Partial<Peer> = {},
    key?: string,
  ): Promise<CallResult> {
    const tool = this.#tool(name);
    if (tool === undefined) throw new Error(`there is no tool ${name}`);
    const { ceiling, connection: id } = this;
    const session = sessionOf(peer, { id, ceiling, closed: this.#connection(id).signal });
    return await this.registry.call(tool, values, session, { signal: this.#stop.signal, key });
  }

  readonly #tool = (name: string) => this.registry.get(name) ?? this.registry.commands.get(name);

  /** The envelope of a call: of a record, of an error, or of content. */
  async ask(name: string, values: Facts, peer: Partial<Peer> = {}): Promise<Answer> {
    const { structuredContent, _meta: meta } = await this.call(name, values, peer);
    for (const { level, fields } of this.log.lines) if (level === 'error') throw fields['err'];
    const tool = this.#tool(name);
    if (tool?.kind === 'record') expectAsDeclared(tool, structuredContent as unknown as Answer);
    return (structuredContent ?? meta?.['kitfs/envelope']) as Answer;
  }

  /** The data of a call that must succeed. */
  async done(name: string, values: Facts, peer: Partial<Peer> = {}): Promise<Facts> {
    const answer = await this.ask(name, values, peer);
    expect(answer, JSON.stringify(answer)).toMatchObject({ status: 'success' });
    return answer.data ?? {};
  }

  /** The context of a call that must fail with this code, and change nothing. */
  async refused(
    name: string,
    values: Facts,
    code: string,
    peer: Partial<Peer> = {},
  ): Promise<Facts> {
    const before = this.fingerprint();
    const answer = await this.ask(name, values, peer);
    expect(answer, JSON.stringify(answer)).toMatchObject({ status: 'error', error_code: code });
    expect(this.fingerprint(), `${name} failed, and changed something`).toEqual(before);
    return answer.context;
  }

  /** The plan of a dry run, which must change nothing. */
  async planned(name: string, values: Facts, peer: Partial<Peer> = {}): Promise<Facts> {
    const before = this.fingerprint();
    const data = await this.done(name, { ...values, dry_run: true }, peer);
    expect(this.fingerprint(), `${name} with dry_run changed something`).toEqual(before);
    expect(data['dry_run']).toBe(true);
    return data['plan'] as Facts;
  }

  /** Whole bytes of a file, read in slices of `length`. */
  async bytes(path: string, length = 1024 * 1024): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let offset = 0; ; ) {
      const values = { path, offset, length, encoding: 'base64' };
      const { content } = await this.call('vfs_read', values);
      const [head, block] = content;
      const header = JSON.parse(head?.type === 'text' ? head.text : '{}').kitfs;
      if (block?.type === 'resource') pieces.push(Buffer.from(block.resource.blob, 'base64'));
      if (header.eof === true) return Buffer.concat(pieces);
      offset = header.next_offset;
    }
  }

  text = async (path: string): Promise<string> => (await this.bytes(path)).toString();

  write = (path: string, content: string, more: Facts = {}): Promise<Facts> =>
    this.done('vfs_write', { path, content, parents: true, ...more });

  /** A link, as a program on the mount makes it. */
  symlink(path: string, target: string): void {
    const parent = this.ino(path.slice(0, path.lastIndexOf('/')));
    const name = nameOfText(path.slice(path.lastIndexOf('/') + 1));
    this.vfs.symlink(ROOT, parent, name, nameOfText(target));
  }

  ino(path: string): Ino {
    const found = resolve(this.vfs, ROOT, nameOfText(path), { follow: false });
    if (found instanceof Promise || found.inode === undefined) throw new Error(`no ${path}`);
    return found.inode.ino;
  }

  /** Everything a call that changes nothing must leave as it is: rows, records, bytes. */
  fingerprint(): Facts {
    const { journal } = this;
    const all = (table: string) => journal.connection.prepare(`SELECT * FROM ${table}`).all();
    const handles = [...this.vfs.core.handles.all()].map(({ ino, session }) => [
      ino,
      session?.id,
      this.vfs.core.handles.openInode(ino)?.isPrivate,
    ]);
    const tables = ['superblock', 'mount', 'inode', 'dentry', 'symlink', 'xattr', 'op'];
    const contents = all('content') as { id: number; size: number }[];
    return {
      seq: journal.head.seq,
      hash: journal.head.hash.toString('hex'),
      tables: JSON.stringify(tables.map(all)),
      contents: contents.map((row) => [JSON.stringify(row), this.#sumOf(row)]),
      handles,
      mounts: this.vfs.core.mounts.mounts().map(({ mountPoint }) => mountPoint),
    };
  }

  #sumOf({ id, size }: { id: number; size: number }): string {
    // Not `read` for what is packed: that refuses damaged bytes, which are some test's subject.
    const isPacked = this.content.row(id as ContentId)?.place === 'packed';
    if (isPacked) return this.journal.contents.bytes(id as ContentId)?.toString('latin1') ?? '';
    if (!this.content.remote.has(id as ContentId, 0, size)) return 'elsewhere';
    const bytes = Buffer.alloc(size);
    this.content.read(id as ContentId, bytes, 0, size, 0);
    return bytes.toString('latin1');
  }

  #localPath(path: string): string | undefined {
    if (this.mountDir === undefined) return undefined;
    return path === '/' ? this.mountDir : `${this.mountDir}${path}`;
  }
}

/** What a tool answers is what it declares, and not a field more. */
function expectAsDeclared(tool: Extract<Tool, { kind: 'record' }>, answer: Answer): void {
  if (answer.status !== 'success') return;
  const declared = [tool.output, dryRunSchema, jobStartedSchema].map((schema) => {
    const { success, data, error } = schema.safeParse(answer.data);
    return success ? data : error.issues;
  });
  expect(declared, `${tool.name} answers what it does not declare`).toContainEqual(answer.data);
}

export const ROOT: Caller = {
  uid: 0,
  gid: 0,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'daemon', uid: 0, gid: 0, exe: 'test' }),
};

/** As the kernel asks: it checked permissions, and need not be told of changes. */
export const KERNEL: Caller = {
  ...ROOT,
  checked: true,
  actor: () => ({ surface: 'fuse', uid: 0, gid: 0, pid: 4711, exe: '/usr/bin/vim' }),
};

export function sessionOf(
  peer: Partial<Peer>,
  { ceiling, closed, id }: Pick<Session, 'ceiling' | 'closed' | 'id'>,
): Session {
  const whole = { ...ROOT_PEER, ...peer };
  return {
    id,
    surface: 'mcp',
    peer: whole,
    principal: `uid:${whole.uid}`,
    client: { name: 'test', version: '1.0' },
    ceiling,
    closed,
  };
}
