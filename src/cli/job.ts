/** A job of the daemon, waited for to its end. */
import type { ControlClient } from '../daemon/daemon.ts';
import { callTool, type Envelope } from './call.ts';
import { ProgressLine } from './output.ts';

/** As tools show a job. */
export interface JobView {
  readonly job_id: string;
  readonly state: string;
  readonly progress: { readonly done: number; readonly total?: number; readonly unit: string };
}

/** One look at a job, and the longest it may take. */
const LOOK_MS = 20_000;
const JOB_MS_MAX = 3_600_000;

/** Arguments of a call whose result is waited for. */
export const WAITED = { wait_ms: LOOK_MS, timeout_ms: JOB_MS_MAX } as const;

const jobIn = (envelope: Envelope): JobView | undefined =>
  envelope.status === 'success' ? (envelope.data['job'] as JobView | undefined) : undefined;

/** The envelope of the work itself, however long it takes; `first` may be that of a job. */
export async function finished(
  daemon: ControlClient,
  first: Envelope,
  signal: AbortSignal,
): Promise<Envelope> {
  using line = new ProgressLine();
  let envelope = first;
  for (let job = jobIn(envelope); job !== undefined; ) {
    const { done, total, unit } = job.progress;
    line.show(`${done}${total === undefined ? '' : ` of ${total}`} ${unit}`);
    const asked = { job_id: job.job_id, wait_ms: LOOK_MS };
    envelope = await callTool(daemon, 'job_get', asked, signal);
    if (envelope.status === 'error') return envelope;
    if (envelope.data['result'] !== undefined) return envelope.data['result'] as Envelope;
    job = jobIn(envelope);
  }
  return envelope;
}
