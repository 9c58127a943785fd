/** The checkpointing thread: folds once per message. See checkpoint.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { type FoldAnswer, foldWhileWritten, openForFolding } from './checkpoint.ts';

assert(parentPort !== null, 'runs as a worker');
const port = parentPort;
const { path } = workerData as { path: string };
const db = openForFolding(path);

port.on('message', () => {
  let answer: FoldAnswer;
  try {
    answer = foldWhileWritten(db);
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  port.postMessage(answer);
});
