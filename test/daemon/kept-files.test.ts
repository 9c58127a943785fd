import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Fh } from '../../src/base/ids.ts';
import { keptFiles } from '../../src/daemon/kept-files.ts';
import { Teardown } from '../../src/daemon/teardown.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Scratch } from './scratch.ts';

const FH = 5 as Fh;

let scratch: Scratch;
let log: RememberedLog;
let teardown: Teardown;
beforeEach(() => {
  scratch = new Scratch();
  log = new RememberedLog();
  teardown = new Teardown(log);
});
afterEach(() => {
  scratch[Symbol.dispose]();
});

/** A daemon's files; the next one's, with `isTakenOver`, in the same directory. */
const files = (isTakenOver = false) =>
  keptFiles({ directory: scratch.path('.'), isTakenOver, log, teardown });

describe('what is kept for the next daemon', () => {
  test('are lines, in order, of all daemons of the connection', () => {
    files().nodes.append('a');
    const second = files(true);
    expect(second.nodes.lines()).toEqual(['a']);
    second.nodes.append('b');
    expect(files(true).nodes.lines()).toEqual(['a', 'b']);
  });

  test('are other lines when they were replaced, and those behind them', () => {
    const { nodes } = files();
    nodes.append('a');
    nodes.replace(['b', 'c']);
    nodes.append('d');
    expect(files(true).nodes.lines()).toEqual(['b', 'c', 'd']);
    nodes.replace([]);
    expect(files(true).nodes.lines()).toEqual([]);
  });

  test('is no line that a kill cut off', () => {
    files().nodes.append('a');
    writeFileSync(scratch.path('content-nodes'), 'a\nb', { flag: 'w' });
    expect(files(true).nodes.lines()).toEqual(['a']);
  });

  test('are bytes by handle, as long as it is open', () => {
    const { rendered } = files();
    rendered.set(FH, Buffer.from('text'));
    const next = files(true).rendered;
    expect(next.get(FH)?.toString()).toBe('text');
    expect(next.get(6 as Fh)).toBeUndefined();
    next.delete(FH);
    next.delete(FH);
    expect(files(true).rendered.get(FH)).toBeUndefined();
    expect(readdirSync(scratch.path('rendered'))).toEqual([]);
  });

  test('is for nobody else on the machine to read', () => {
    const { nodes, rendered } = files();
    nodes.append('a');
    const modeOf = (name: string) => statSync(scratch.path(name)).mode & 0o777;
    expect(modeOf('content-nodes')).toBe(0o600);
    nodes.replace(['b']);
    rendered.set(FH, Buffer.from('text'));
    expect([modeOf('content-nodes'), modeOf('rendered'), modeOf('rendered/5')]).toEqual([
      0o600, 0o700, 0o600,
    ]);
  });

  test('is nothing of another connection, and nothing after a stop', async () => {
    const { nodes, rendered } = files();
    nodes.append('a');
    rendered.set(FH, Buffer.from('text'));
    const other = files(false);
    expect([other.nodes.lines(), other.rendered.get(FH)]).toEqual([[], undefined]);
    other.nodes.append('b');
    expect(await teardown.run()).toEqual([]);
    expect(['content-nodes', 'rendered'].map((name) => existsSync(scratch.path(name)))).toEqual([
      false,
      false,
    ]);
  });

  test('fails no operation when it cannot be written, and the log says so', () => {
    mkdirSync(scratch.path('content-nodes'));
    const { nodes, rendered } = files(true);
    mkdirSync(scratch.path('rendered/5'));
    nodes.append('a');
    nodes.replace(['b']);
    rendered.set(FH, Buffer.from('text'));
    expect(rendered.get(FH)?.toString()).toBe('text');
    expect(log.lines.map(({ level }) => level)).toEqual(['warn', 'warn', 'warn']);
    expect(nodes.lines()).toEqual([]);
  });

  test('begins a line of its own behind one that did not fit', () => {
    const path = scratch.path('content-nodes');
    mkdirSync(path);
    const { nodes } = files(true);
    nodes.append('lost');
    rmdirSync(path);
    writeFileSync(path, 'lo');
    nodes.append('kept');
    expect(readFileSync(path, 'utf8')).toBe('lo\nkept\n');
    expect(nodes.lines()).toEqual(['lo', 'kept']);
  });
});
