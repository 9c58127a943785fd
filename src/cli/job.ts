/** A call that may be a job of the daemon, waited for to its end. */
import type { ControlClient } from '../daemon/daemon.ts';
import { callTool, type Envelope } from './call.ts';
import { type Progress, ProgressBar } from './progress.ts';

/** As tools show a job. */
export interface JobView {
  readonly job_id: string;
  readonly state: string;
  readonly progress: Progress;
}

/** One look at a job, which tells its progress, and the longest it may take. */
const LOOK_MS = 500;
const JOB_MS_MAX = 3_600_000;

const jobIn = (envelope: Envelope): JobView | undefined =>
  envelope.status === 'success' ? (envelope.data['job'] as JobView | undefined) : undefined;

/** The envelope of the work itself, however long it takes; `begin` calls what is not a tool. */
export async function finished(
  daemon: ControlClient,
  tool: string,
  values: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
  begin = callTool,
): Promise<Envelope> {
  using bar = new ProgressBar();
  const show = (progress: Progress) => bar.show(progress);
  const waited = { ...values, wait_ms: LOOK_MS, timeout_ms: JOB_MS_MAX };
  let envelope = await begin(daemon, tool, waited, signal, show);
  for (let job = jobIn(envelope); job !== undefined; ) {
    show(job.progress);
    const asked = { job_id: job.job_id, wait_ms: LOOK_MS };
    envelope = await callTool(daemon, 'job_get', asked, signal);
    if (envelope.status === 'error') return envelope;
    if (envelope.data['result'] !== undefined) return envelope.data['result'] as Envelope;
    job = jobIn(envelope);
  }
  return envelope;
}
