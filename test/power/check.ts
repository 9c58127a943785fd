/** Opens what a loss of power left, and compares it with what SEMANTICS.md promises of it. Answers what is not kept. */
import { OpError } from '../../src/base/errors.ts';
import { type ContentId, type Ino, textOf } from '../../src/base/ids.ts';
import { O_RDONLY } from '../../src/base/posix.ts';
import { fsck } from '../../src/daemon/fsck.ts';
import { walk } from '../../src/vfs/vfs.ts';
import type { Model } from './model.ts';
import { System, TOOL } from './system.ts';

/** Moments between two operations: what had been answered, and what may have happened. */
export interface Moment {
  readonly done: number;
  readonly begun: number;
}

const EMPTY = Buffer.alloc(0);

type Shown = Buffer | 'unreadable';

export async function brokenPromises(
  directory: string,
  model: Model,
  moment: Moment,
  settlesFirst: boolean,
): Promise<string[]> {
  const broken: string[] = [];
  let system: System;
  try {
    system = new System(directory, 'another boot');
  } catch (error) {
    return [`it does not open: ${String(error)}`];
  }
  try {
    if (settlesFirst) await system.settleDoubt();
    const names = namesOf(system);
    const lastSync = model.fsyncs.findLast((at) => at <= moment.done) ?? 0;
    broken.push(...namespaceFaults(names, model, lastSync, moment.begun));
    for (const [path, ino] of names) {
      if (ino === 'directory') continue;
      const shown = await bytesOf(system, ino);
      broken.push(...byteFaults(shown, ino, model, moment).map((fault) => `${path}: ${fault}`));
    }
    await system.settleDoubt();
    await system.removeLeftovers();
    broken.push(...(await cidFaults(system)));
  } finally {
    await system.close();
  }
  const { findings } = await fsck({ state: directory, signal: new AbortController().signal });
  broken.push(...findings.map((found) => `fsck: ${JSON.stringify(found)}`));
  return broken;
}

function namesOf(system: System): Map<string, Ino | 'directory'> {
  const names = new Map<string, Ino | 'directory'>();
  const { core } = system.vfs;
  const paths = new Map<Ino, string>();
  const root = system.ino('/ipfs');
  paths.set(root, '/ipfs');
  for (const { parent, name, row } of walk(core, TOOL, root)) {
    const path = `${paths.get(parent)}/${textOf(name)}`;
    const isFile = (row.mode & 0o170000) === 0o100000;
    paths.set(row.ino, path);
    names.set(path, isFile ? row.ino : 'directory');
  }
  return names;
}

function namespaceFaults(
  names: ReadonlyMap<string, Ino | 'directory'>,
  model: Model,
  from: number,
  to: number,
): string[] {
  const text = (some: ReadonlyMap<string, Ino | 'directory'>) => JSON.stringify([...some].sort());
  const shown = text(names);
  for (let at = from; at <= to; at++) {
    const state = model.states[at];
    if (state !== undefined && text(state.names) === shown) return [];
  }
  return [`the tree was never like this from operation ${from} to ${to}: ${shown}`];
}

async function bytesOf({ vfs }: System, ino: Ino): Promise<Shown> {
  try {
    const { fh } = await vfs.open(TOOL, ino, O_RDONLY, false);
    try {
      const bytes = Buffer.alloc(vfs.getattr(TOOL, ino).size);
      await vfs.read(fh, bytes, 0, bytes.length, 0);
      return bytes;
    } finally {
      vfs.release(fh);
    }
  } catch (error) {
    if (error instanceof OpError && error.failure === 'integrity') return 'unreadable';
    throw error;
  }
}

function byteFaults(shown: Shown, ino: Ino, model: Model, { done, begun }: Moment): string[] {
  const synced = model.file(ino).synced.findLast((at) => at <= done);
  if (shown === 'unreadable') return ['cannot be read'];
  const versions = model.between(ino, synced ?? 0, begun);
  if (versions.some((version) => version.equals(shown))) return [];
  if (synced !== undefined && versions.length === 1) {
    return [
      `is not what was fsynced by operation ${synced}: ${firstDifference(shown, versions[0])}`,
    ];
  }
  const sizes = versions.map(({ length }) => length);
  if (synced !== undefined && shown.length < Math.min(...sizes)) {
    return [`has ${shown.length} bytes, and was fsynced with more by operation ${synced}`];
  }
  const whole = synced === undefined ? 0 : Math.min(...sizes);
  for (let at = 0; at < shown.length; at++) {
    const isKnown = versions.some((version) => at < version.length && version[at] === shown[at]);
    if (!isKnown && (at < whole || shown[at] !== 0))
      return [
        `has bytes at ${at} that were never there: ${shown.subarray(at, at + 8).toString('hex')} of ${shown.length}`,
      ];
  }
  return [];
}

function firstDifference(shown: Buffer, wanted: Buffer = EMPTY): string {
  const at = wanted.findIndex((byte, index) => byte !== shown[index]);
  return `${shown.length} bytes for ${wanted.length}, first other one at ${at}`;
}

/** No CID names other bytes than its own, not even those of history. */
async function cidFaults({ journal, sealer, content, signal }: System): Promise<string[]> {
  const broken: string[] = [];
  for (const row of journal.contents.page(0 as ContentId, 10_000)) {
    const bytes = content.backingPath(row.id);
    if (row.state !== 'sealed') continue;
    const isThere = bytes === undefined || content.direct.isThere(row.id);
    if (isThere && !(await sealer.verify(row.id, signal)))
      broken.push(`content ${row.id} is not its CID`);
  }
  return broken;
}
