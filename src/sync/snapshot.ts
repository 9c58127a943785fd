/** The snapshot record: one published moment of a tree, and the one before it. */
import type { CID, Dag, StoredBlock } from '../content/content.ts';
import { cborBlock, Field } from './cbor.ts';

const VERSION = 1;

export interface Snapshot {
  /** A UnixFS directory. */
  readonly tree: CID;
  /** What UnixFS cannot hold of it. */
  readonly manifest: CID;
  readonly previous: CID | undefined;
  /** The last record of the journal before the moment. */
  readonly journal: { readonly seq: number; readonly hash: Buffer };
  readonly cidProfile: string;
  /** RFC 3339 in UTC. */
  readonly time: string;
  readonly message: string | undefined;
}

export function snapshotBlock(snapshot: Snapshot): StoredBlock {
  const { tree, manifest, previous, journal, cidProfile, time, message } = snapshot;
  return cborBlock({
    version: VERSION,
    tree,
    manifest,
    previous: previous ?? null,
    journal: { seq: journal.seq, hash: Uint8Array.from(journal.hash) },
    cid_profile: cidProfile,
    time,
    message: message ?? null,
  });
}

/**
 * A snapshot and those before it, newest first.
 * @throws OpError as `readSnapshot`, when one of them is not here, which ends it.
 */
export async function* chainOf(
  dag: Dag,
  newest: CID,
  signal: AbortSignal,
): AsyncGenerator<{ readonly cid: CID; readonly record: Snapshot }> {
  for (let cid: CID | undefined = newest; cid !== undefined; ) {
    const record: Snapshot = await readSnapshot(dag, cid, signal);
    yield { cid, record };
    cid = record.previous;
  }
}

/** @throws OpError content-missing, integrity; unsupported when the block is no such record. */
export async function readSnapshot(dag: Dag, cid: CID, signal: AbortSignal): Promise<Snapshot> {
  const record = Field.ofBlock(await dag.block(cid, signal), cid);
  record.at('version').integer(VERSION, VERSION);
  const journal = record.at('journal');
  return {
    tree: record.at('tree').cid(),
    manifest: record.at('manifest').cid(),
    previous: record.at('previous').optional((field) => field.cid()),
    journal: {
      seq: journal.at('seq').integer(0, Number.MAX_SAFE_INTEGER),
      hash: journal.at('hash').bytes(),
    },
    cidProfile: record.at('cid_profile').text(),
    time: record.at('time').text(),
    message: record.at('message').optional((field) => field.text()),
  };
}
