/** Shapes that many tools answer with, as schemas: `Job`, `Plan`, `Conflict` of the contract. */
import { z } from 'zod';

export const jobSchema = z.object({
  job_id: z.string(),
  tool: z.string(),
  state: z.enum(['queued', 'running', 'done', 'failed', 'cancelled']),
  progress: z.object({
    done: z.number(),
    total: z.number().optional(),
    unit: z.enum(['bytes', 'files', 'blocks', 'items']),
    message: z.string().optional(),
  }),
  started_at: z.string(),
  finished_at: z.string().optional(),
  deadline: z.string(),
  expires_at: z.string().optional(),
});

export const conflictSchema = z.object({
  path: z.string(),
  what: z.enum(['both_changed', 'both_created', 'deleted_here', 'deleted_there', 'type_changed']),
  local_cid: z.string().optional(),
  remote_cid: z.string().optional(),
  base_cid: z.string().optional(),
  resolution: z.enum(['none', 'kept_local', 'kept_remote', 'kept_both']),
  kept_as: z.string().optional(),
});

export const planSchema = z.object({
  actions: z.array(
    z.object({
      op: z.string(),
      path: z.string().optional(),
      destination: z.string().optional(),
      backend: z.string().optional(),
      identifier: z.string().optional(),
      bytes: z.int().optional(),
    }),
  ),
  counts: z.record(z.string(), z.int()),
  bytes: z.int(),
  conflicts: z.array(conflictSchema),
  warnings: z.array(z.string()),
});

export type Conflict = z.output<typeof conflictSchema>;
/** What a call would do. `actions` holds the first twenty, `counts` all by operation. */
export type Plan = z.output<typeof planSchema>;

/** What a call with `dry_run` answers. */
export const dryRunSchema = z.object({ dry_run: z.literal(true), plan: planSchema });
export type DryRun = z.output<typeof dryRunSchema>;

/** What a call answers whose work goes on as a job. */
export const jobStartedSchema = z.object({ job: jobSchema });
