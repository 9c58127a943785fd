/**
 * The face of the module: the registry that lists and calls tools, and what its callers exchange
 * with it. Tools themselves are values (`tool.ts`), one file per toolset.
 */
export { Backends } from './backends.ts';
export {
  type Ceiling,
  lower,
  NOTHING,
  READ_ONLY,
  UNLIMITED,
} from './ceiling.ts';
export type { ErrorCode } from './codes.ts';
export { Cursors } from './cursors.ts';
export type { CallResult, Envelope } from './envelope.ts';
export { errorEnvelope } from './errors.ts';
export { Jobs } from './jobs.ts';
export { JournaledJobs } from './kept-jobs.ts';
export type { Ports } from './ports.ts';
export { Registry } from './registry.ts';
export { IDEMPOTENCY_META, JournaledCalls } from './repeats.ts';
export { Subscriptions } from './subscriptions.ts';
export type { Peer, Progress, Session, Tool } from './tool.ts';
