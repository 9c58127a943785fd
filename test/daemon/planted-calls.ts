/** Corruptions of what is kept for who asks again. */
import type { Corruption } from './planted.ts';

const sql =
  (text: string): Corruption['plant'] =>
  (state) =>
    state.sql(text);

export const CALLS: readonly Corruption[] = [
  {
    title: 'a reply to the kernel that was cut',
    check: 'answer-replies',
    plant: sql('UPDATE answer SET replies = substr(replies, 1, length(replies) - 1)'),
    outcome: 'repaired',
  },
  {
    title: 'replies to a connection that is none',
    check: 'answer-replies',
    plant: sql('UPDATE answer SET generation = -5'),
    outcome: 'repaired',
  },
  {
    title: 'replies to a connection whose number is given again',
    check: 'counters',
    plant: sql('UPDATE answer SET generation = 1000000'),
    outcome: 'repaired',
  },
  {
    title: 'a tool call whose digest was cut',
    check: 'call-fields',
    plant: sql(`UPDATE tool_call SET digest = x'01'`),
    outcome: 'repaired',
  },
  {
    title: 'a tool call of nobody',
    check: 'call-fields',
    plant: sql(`UPDATE tool_call SET principal = ''`),
    outcome: 'quarantined',
    found: ['tool-call-1'],
  },
  {
    title: 'a tool call with a number that no other one can follow',
    check: 'call-fields',
    plant: sql('UPDATE tool_call SET id = 9223372036854775807'),
    outcome: 'repaired',
  },
  {
    title: 'an answer of a tool call that is no JSON',
    check: 'call-answer',
    plant: sql(`UPDATE tool_call SET answer = substr(answer, 1, 20)`),
    outcome: 'quarantined',
    found: ['tool-call-1'],
  },
  {
    title: 'an answer of a tool call that names no record',
    check: 'call-record',
    plant: sql(`UPDATE tool_call SET answer = json_set(answer, '$.seq', 4711)`),
    outcome: 'repaired',
  },
  {
    title: 'a job of an unknown call',
    check: 'job-call',
    plant: sql(`UPDATE tool_job SET call = 'so' WHERE id = 'running'`),
    outcome: 'quarantined',
    found: ['tool-job-running'],
  },
  {
    title: 'a job whose result was cut',
    check: 'job-result',
    plant: sql(`UPDATE tool_job SET result = substr(result, 1, 9) WHERE id = 'ended'`),
    outcome: 'quarantined',
    found: ['tool-job-ended'],
  },
  {
    title: 'what MFS had in a directory that shows none of it',
    check: 'mfs-seen-fields',
    plant: sql(`INSERT INTO mfs_seen VALUES (2, x'61', x'0155', 7, 1, 0, NULL, 0, 0, '[]')`),
    outcome: 'repaired',
  },
  {
    title: 'a mutable tree whose root is not here',
    check: 'mfs-root',
    plant: sql(`INSERT INTO meta VALUES ('mfs_root', '0155')`),
    outcome: 'quarantined',
    found: ['mfs-root'],
  },
  {
    title: 'a job that nobody began, and one that ended without a result',
    check: 'job-fields',
    plant: sql(`UPDATE tool_job SET starts = -1 WHERE id = 'ended';
      UPDATE tool_job SET ended_s = 5 WHERE id = 'running'`),
    outcome: 'repaired',
  },
];
