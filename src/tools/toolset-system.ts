/** Toolset system: system_health. */
import { z } from 'zod';
import { type Instant, rfc3339 } from '../base/clock.ts';
import { ROOT_INO } from '../base/ids.ts';
import type { Vfs } from '../vfs/vfs.ts';
import type { DaemonView } from './ports.ts';
import * as schema from './schema.ts';
import { recordTool } from './tool.ts';

/** Below this much free space writes may soon fail. */
const STATE_FREE_BYTES_MIN = 256 * 1024 * 1024;

const backendHealth = z.object({
  state: z.enum(['ok', 'degraded', 'down', 'unknown']),
  checked_at: z.string().optional(),
  latency_ms: z.number().optional(),
  error_code: z.string().optional(),
});

export const systemHealth = recordTool({
  toolset: 'system',
  version: '1.0.0',
  deadline: 'local',
  name: 'system_health',
  title: 'Health of kitfs',
  description:
    'Whether kitfs works as it should, and if not, why: mount, journal, queues, space, ' +
    'backends, errors of the last hour.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  changes: 'nothing',
  input: schema.input({}),
  example: {},
  output: z.object({
    state: z.enum(['ok', 'degraded', 'failed', 'recovering', 'draining']),
    because: z.array(z.object({ error_code: z.string(), text: z.string() })),
    version: z.string(),
    started_at: z.string(),
    uptime_s: z.number(),
    mount: z.object({ dir: z.string().optional(), mounted: z.boolean() }),
    journal: z.object({
      seq: z.int(),
      hash: z.string(),
      verified_seq: z.int(),
      appends_sync: z.boolean(),
    }),
    queues: z.object({
      dirty_files: z.int(),
      dirty_bytes: z.int(),
      uploads: z.int(),
      jobs: z.int(),
    }),
    space: z.object({ state_free: z.int(), cache_used: z.int(), cache_limit: z.int() }),
    backends: z.array(z.object({ backend: z.string(), health: backendHealth })),
    errors_last_hour: z.record(z.string(), z.int()),
  }),
  run: (_, { ports }) => {
    const { clock, daemon, jobs, mount, vfs } = ports;
    const { contents, head } = vfs.core.journal;
    const { files, bytes } = contents.unsealed();
    const disk = vfs.statfs(ROOT_INO);
    const free = disk.blocksAvailable * disk.blockSize;
    const used = contents.keptBytes();
    const dir = mount.localPath('/');
    const because = reasons(daemon, dir, free);
    return {
      data: {
        state: stateOf(daemon, because),
        because,
        version: daemon.version,
        started_at: rfc3339(daemon.startedAt),
        uptime_s: Math.round(secondsBetween(daemon.startedAt, clock.now()) * 1000) / 1000,
        mount: { ...(dir === undefined ? {} : { dir }), mounted: dir !== undefined },
        journal: {
          seq: head.seq,
          hash: head.hash.toString('hex'),
          verified_seq: daemon.verifiedSeq(),
          // Acknowledged when they survive the daemon; fsync makes them survive the power.
          appends_sync: false,
        },
        queues: {
          dirty_files: files,
          dirty_bytes: bytes,
          uploads: daemon.uploads(),
          jobs: jobs.running,
        },
        // Nothing but the disk limits what is kept.
        space: { state_free: free, cache_used: used, cache_limit: used + free },
        backends: backendsOf(vfs, because),
        errors_last_hour: { ...daemon.errorsLastHour() },
      },
    };
  },
});

interface Reason {
  readonly error_code: string;
  readonly text: string;
}

function reasons(daemon: DaemonView, dir: string | undefined, free: number): Reason[] {
  const known = daemon.troubles().map(({ errorCode, text }) => ({ error_code: errorCode, text }));
  if (dir === undefined) {
    known.push({ error_code: 'MOUNT_FAILED', text: 'the tree is not mounted on this host' });
  }
  if (free < STATE_FREE_BYTES_MIN) {
    known.push({ error_code: 'NO_SPACE', text: `${free} bytes are free for journal and content` });
  }
  return known;
}

/**
 * The backends that are mounted. Those there are live in this process: they are as well as the
 * journal and the disk are.
 */
function backendsOf(vfs: Vfs, because: readonly Reason[]) {
  const names = vfs.core.mounts.mounts().map(({ superblock }) => superblock.backend);
  const isDown = because.some(({ error_code: code }) => FATAL.has(code));
  const isFull = because.some(({ error_code: code }) => code === 'NO_SPACE');
  const state = isDown ? ('down' as const) : isFull ? ('degraded' as const) : ('ok' as const);
  return [...new Set(names)].sort().map((backend) => ({ backend, health: { state } }));
}

const FATAL: ReadonlySet<string> = new Set(['JOURNAL_CORRUPT', 'JOURNAL_UNAVAILABLE']);

type State = 'ok' | 'degraded' | 'failed' | 'recovering' | 'draining';

function stateOf(daemon: DaemonView, because: readonly Reason[]): State {
  const state = daemon.state();
  if (state !== 'running') return state;
  if (because.some(({ error_code: code }) => FATAL.has(code))) return 'failed';
  return because.length > 0 ? 'degraded' : 'ok';
}

const secondsBetween = (from: Instant, to: Instant): number =>
  to.s - from.s + (to.ns - from.ns) / 1e9;
