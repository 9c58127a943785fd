/** A journal that has something for who asks again: of each table one row of every kind, as kitfs writes them. */
import type { Journal } from '../../src/journal/journal.ts';
import { JournaledJobs, type KeptJobCall } from '../../src/tools/kept-jobs.ts';
import { JournaledCalls, ticketOf } from '../../src/tools/repeats.ts';
import { session } from '../tools/sample.ts';

/** Whether the connection is closed is nobody's concern later. */
const { closed: _, ...of } = session(7);

/** A call that a daemon goes on with. */
export const CALL: KeptJobCall = {
  tool: 'vfs_rm',
  values: { path: '/ipfs/a', wait_ms: 0 },
  key: 'k',
  requestId: 'r',
  toolCallId: undefined,
  session: { ...of, ceiling: { readOnly: false, tools: ['vfs_rm'], places: ['/ipfs'] } },
  startedAt: { s: 1, ns: 2 },
  timeoutMs: 300_000,
};

/** One tool call, under the key `k`; jobs `running` and `ended`; two replies to connection 1. */
export function plantCalls(journal: Journal): void {
  const { principal } = CALL.session;
  const ticket = ticketOf(CALL.tool, { principal, key: CALL.key, values: CALL.values });
  const calls = new JournaledCalls(journal);
  journal.commit(() => {
    calls.keep(ticket, (seq) => ({ request_id: 'r', data: { removed: 1 }, seq: seq ?? 1 }));
  });
  const jobs = new JournaledJobs(journal);
  for (const id of ['running', 'ended']) jobs.keep(id, CALL);
  const context = { request_id: 'r', elapsed_ms: 1 };
  jobs.ended('ended', { status: 'success', data: {}, context });
  const generation = journal.commit(() => journal.counters.next('connection'));
  journal.group(() => {
    for (const unique of [2, 2 ** 40]) {
      journal.beginRequest({ generation, unique });
      journal.commit(() => {});
      journal.endRequest(Buffer.alloc(24, 7), true);
    }
  });
}
