/**
 * How rows are put in order that are kept for who asks again.
 *
 * Invariants: a call that was done is not done again because of a repair; what was asked or answered
 * and cannot be used any more is put aside as a file, for it may hold somebody's bytes.
 */
import { CALL_KEY_BYTES_MAX } from '../base/limits.ts';
import { whole } from './answers.ts';
import type { Mend, Mended, Mending } from './mending.ts';
import { repaired, SETTLED } from './mending.ts';
import { quarantineBytes } from './mending-bytes.ts';

const DIGEST_BYTES = 32;
/** In place of an answer: the call was done, and what it was answered is not known. */
const LOST = JSON.stringify({ lost: true });

const answerReplies: Mend = (mending) => {
  const row = mending.get<{ generation: number; replies: Buffer }>('SELECT * FROM answer');
  if (row === undefined) return SETTLED;
  if (row.generation < 1 || !Number.isSafeInteger(row.generation)) {
    mending.run('DELETE FROM answer');
    return repaired('it is gone: no connection has that number');
  }
  mending.run('UPDATE answer SET replies = ?', whole(row.replies));
  return repaired('the replies that are whole are kept');
};

interface CallRow {
  readonly principal: string;
  readonly key: string;
  readonly digest: Buffer;
  readonly answer: string;
}

const callOf = (mending: Mending, id: string | undefined): CallRow | undefined =>
  mending.get('SELECT principal, key, digest, answer FROM tool_call WHERE id = ?', id);

const callFields: Mend = (mending, { call }) => {
  const row = callOf(mending, call);
  if (row === undefined) return SETTLED;
  const { principal, key, digest, answer } = row;
  const keyBytes = Buffer.byteLength(key);
  if (principal === '' || keyBytes === 0 || keyBytes > CALL_KEY_BYTES_MAX) {
    mending.run('DELETE FROM tool_call WHERE id = ?', call);
    return aside(mending, `tool-call-${call}`, answer, 'nobody can ask for it');
  }
  // Which call it was of nobody knows: no other one may have the key, so that it is not run twice.
  if (digest.length !== DIGEST_BYTES) {
    const none = Buffer.alloc(DIGEST_BYTES);
    mending.run('UPDATE tool_call SET digest = ? WHERE id = ?', none, call);
  }
  mending.run(
    `UPDATE tool_call SET id = (SELECT coalesce(max(id), 0) + 1 FROM tool_call
      WHERE id BETWEEN 1 AND ${2 ** 52}) WHERE id = ? AND id NOT BETWEEN 1 AND ${2 ** 52}`,
    call,
  );
  return repaired('it stays under its key');
};

const callAnswer: Mend = (mending, { call }) => {
  const row = callOf(mending, call);
  if (row === undefined) return SETTLED;
  mending.run('UPDATE tool_call SET answer = ? WHERE id = ?', LOST, call);
  const why = 'the call is not run again, and who sends it again is told that the answer is lost';
  return aside(mending, `tool-call-${call}`, row.answer, why);
};

const callRecord: Mend = (mending, { call }) => {
  mending.run(`UPDATE tool_call SET answer = json_remove(answer, '$.seq') WHERE id = ?`, call);
  return repaired('its answer names no record');
};

interface JobRow {
  readonly call: string;
  readonly result: string | null;
}

const jobOf = (mending: Mending, id: string | undefined): JobRow | undefined =>
  mending.get('SELECT call, result FROM tool_job WHERE id = ?', id);

const jobCall: Mend = (mending, { job }) => {
  const row = jobOf(mending, job);
  if (row === undefined) return SETTLED;
  mending.run('DELETE FROM tool_job WHERE id = ?', job);
  return aside(mending, labelOf(job), `${row.call}\n${row.result ?? ''}`, 'it cannot go on');
};

/** What it changed is under the key of its call: so it goes on, and comes to the same end. */
const jobResult: Mend = (mending, { job }) => {
  const row = jobOf(mending, job);
  if (row === undefined || row.result === null) return SETTLED;
  mending.run('UPDATE tool_job SET result = NULL, ended_s = NULL WHERE id = ?', job);
  const why = 'the next daemon goes on with the job, from its change if it made one';
  return aside(mending, labelOf(job), row.result, why);
};

const jobFields: Mend = (mending, { job }) => {
  mending.run(
    `UPDATE tool_job SET starts = iif(starts BETWEEN 1 AND ${2 ** 52}, starts, 1),
      ended_s = iif(result IS NULL, NULL, coalesce(ended_s, unixepoch())) WHERE id = ?`,
    job,
  );
  return repaired('its fields are in order');
};

const labelOf = (job: string | undefined): string => `tool-job-${job}`;

function aside(mending: Mending, label: string, text: string, why: string): Mended {
  if (text === '') return repaired(why);
  const done = quarantineBytes(mending, label, Buffer.from(text));
  return { ...done, action: `${why}; what it was: ${done.action}` };
}

export const CALL_MENDS: Readonly<Record<string, Mend>> = {
  'answer-replies': answerReplies,
  'call-fields': callFields,
  'call-answer': callAnswer,
  'call-record': callRecord,
  'job-call': jobCall,
  'job-result': jobResult,
  'job-fields': jobFields,
};
