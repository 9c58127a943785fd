/** Who did an operation. Interned: one row per distinct actor, looked up once per process or call. */
import type { ActorId } from '../base/ids.ts';
import type { Database, Statement } from './sqlite.ts';

export type Surface = 'fuse' | 'mcp' | 'cli' | 'daemon';

export interface Actor {
  readonly surface: Surface;
  readonly uid: number;
  readonly gid: number;
  readonly pid?: number | undefined;
  /** Clock ticks after boot at which the process started (field 22 of /proc/PID/stat). */
  readonly startTime?: number | undefined;
  readonly exe?: string | undefined;
  readonly cgroup?: string | undefined;
  readonly client?: string | undefined;
  readonly clientVersion?: string | undefined;
  readonly session?: string | undefined;
  readonly tool?: string | undefined;
  readonly toolCall?: string | undefined;
}

/** Interned actors kept in memory; older ones are read back from the table. */
const REMEMBERED_MAX = 4096;

interface RawActor {
  surface: Surface;
  uid: number;
  gid: number;
  pid: number | null;
  start_time: number | null;
  exe: string | null;
  cgroup: string | null;
  client: string | null;
  client_version: string | null;
  session: string | null;
  tool: string | null;
  tool_call: string | null;
}

export class Actors {
  readonly #known = new Map<string, ActorId>();
  /** The same by the object, which a caller hands over again and again. */
  #met = new WeakMap<Actor, ActorId>();
  readonly #insert: Statement;
  readonly #get: Statement;

  constructor(db: Database) {
    this.#insert = db.prepare(`INSERT INTO actor VALUES (NULL, ${'?, '.repeat(11)}?)`);
    this.#get = db.prepare('SELECT * FROM actor WHERE id = ?');
  }

  /** Inside a transaction. */
  intern(actor: Actor): ActorId {
    const met = this.#met.get(actor) ?? this.#intern(actor);
    this.#met.set(actor, met);
    return met;
  }

  #intern(actor: Actor): ActorId {
    const values = [
      actor.surface,
      actor.uid,
      actor.gid,
      actor.pid ?? null,
      actor.startTime ?? null,
      actor.exe ?? null,
      actor.cgroup ?? null,
      actor.client ?? null,
      actor.clientVersion ?? null,
      actor.session ?? null,
      actor.tool ?? null,
      actor.toolCall ?? null,
    ];
    const key = JSON.stringify(values);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const id = Number(this.#insert.run(...values).lastInsertRowid) as ActorId;
    if (this.#known.size >= REMEMBERED_MAX) this.#known.clear();
    this.#known.set(key, id);
    return id;
  }

  get(id: ActorId): Actor | undefined {
    const raw = this.#get.get(id) as RawActor | undefined;
    if (raw === undefined) return undefined;
    return {
      surface: raw.surface,
      uid: raw.uid,
      gid: raw.gid,
      pid: raw.pid ?? undefined,
      startTime: raw.start_time ?? undefined,
      exe: raw.exe ?? undefined,
      cgroup: raw.cgroup ?? undefined,
      client: raw.client ?? undefined,
      clientVersion: raw.client_version ?? undefined,
      session: raw.session ?? undefined,
      tool: raw.tool ?? undefined,
      toolCall: raw.tool_call ?? undefined,
    };
  }

  /** Rows made in a transaction that was rolled back are void. */
  forget(): void {
    this.#known.clear();
    this.#met = new WeakMap();
  }
}
