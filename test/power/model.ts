/** What a tree may show after a loss of power: the states it was in, and what was fsynced when. */
import type { Ino } from '../../src/base/ids.ts';
import { type Deed, type Mark, pattern } from './workload.ts';

/** One file system: names, and the bytes behind them. */
interface State {
  readonly names: ReadonlyMap<string, Ino | 'directory'>;
}

interface Version {
  /** The operation that made it. */
  readonly from: number;
  readonly bytes: Buffer;
}

interface ModelFile {
  readonly versions: Version[];
  /** Operations that fsynced it. */
  readonly synced: number[];
}

const EMPTY = Buffer.alloc(0);

export class Model {
  /** The state after each operation; the first one is that before all of them. */
  readonly states: State[] = [{ names: new Map() }];
  readonly files = new Map<Ino, ModelFile>();
  readonly fsyncs: number[] = [];

  /** Of all marks of a run. */
  constructor(marks: readonly Mark[]) {
    const failed = new Set<number>();
    const deeds = new Map<number, Deed>();
    for (const mark of marks) {
      if ('done' in mark && mark.failed !== undefined) failed.add(mark.done);
      if ('begun' in mark) deeds.set(mark.begun, mark.deed);
      if ('done' in mark && mark.deed !== undefined) deeds.set(mark.done, mark.deed);
    }
    for (const [number, deed] of deeds) {
      const names = new Map(this.states.at(-1)?.names);
      if (!failed.has(number)) this.#do(number + 1, deed, names);
      this.states.push({ names });
    }
  }

  file(ino: Ino): ModelFile {
    let file = this.files.get(ino);
    if (file === undefined) {
      file = { versions: [{ from: 0, bytes: EMPTY }], synced: [] };
      this.files.set(ino, file);
    }
    return file;
  }

  /** The bytes a file had at some time from one state to another, both included. */
  between(ino: Ino, from: number, to: number): Buffer[] {
    const { versions } = this.file(ino);
    const first = versions.findLastIndex((version) => version.from <= from);
    return versions
      .filter((version, index) => index >= first && version.from <= to)
      .map(({ bytes }) => bytes);
  }

  #do(after: number, deed: Deed, names: Map<string, Ino | 'directory'>): void {
    switch (deed.op) {
      case 'create':
        names.set(deed.path, deed.ino ?? (0 as Ino));
        return;
      case 'mkdir':
        names.set(deed.path, 'directory');
        return;
      case 'unlink':
        names.delete(deed.path);
        return;
      case 'link':
      case 'rename':
        move(deed, names);
        return;
      case 'write':
        this.#change(after, deed.ino, (bytes) => overwritten(bytes, deed));
        return;
      case 'truncate':
        this.#change(after, deed.ino, (bytes) => resized(bytes, deed.size));
        return;
      case 'fsync':
        this.file(deed.ino).synced.push(after);
        this.fsyncs.push(after);
        return;
      default:
        return;
    }
  }

  #change(after: number, ino: Ino, change: (bytes: Buffer) => Buffer): void {
    const { versions } = this.file(ino);
    versions.push({ from: after, bytes: change(versions.at(-1)?.bytes ?? EMPTY) });
  }
}

function move(
  { op, path, to }: Extract<Deed, { readonly to: string }>,
  names: Map<string, Ino | 'directory'>,
): void {
  const [moved, there] = [names.get(path), names.get(to)];
  // rename(2): two names of one file stay both.
  if (moved === undefined || moved === there) return;
  names.set(to, moved);
  if (op === 'rename') names.delete(path);
}

function resized(bytes: Buffer, size: number): Buffer {
  const result = Buffer.alloc(size);
  bytes.copy(result, 0, 0, Math.min(size, bytes.length));
  return result;
}

function overwritten(
  bytes: Buffer,
  { at, length, version }: Extract<Deed, { readonly op: 'write' }>,
): Buffer {
  const result = resized(bytes, Math.max(bytes.length, at + length));
  pattern(version, at, length).copy(result, at);
  return result;
}
