import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AddEntry } from '../../src/backend/backend.ts';
import { demandBytesOf } from '../../src/backend/backend.ts';
import { Fields } from '../../src/backend/http/wire.ts';
import { isWithin, normalPath, parentOf } from '../../src/backend/kubo/mfs-paths.ts';
import { multipart } from '../../src/backend/kubo/multipart.ts';
import { millisecondsOf } from '../../src/backend/kubo/stats.ts';
import { Turns } from '../../src/base/turns.ts';
import { CountingRandom } from '../fakes/random.ts';
import { all, rawBlock, streamOf, text } from './engine.ts';

describe('a path of MFS', () => {
  test.each(['', 'a', './a', '/a/../b', '/a/./b', '//', '/a//b', '/a/\0', '/\ud800', '/..'])(
    'is not %j',
    (path) => {
      expect(() => normalPath(path, 'op')).toThrow('invalid-path');
    },
  );

  test.each([`/${'x'.repeat(256)}`, `/${'ä'.repeat(128)}`, '/abc'.repeat(1024)])(
    'is no longer than any (%#)',
    (path) => {
      expect(() => normalPath(path, 'op')).toThrow('name-too-long');
    },
  );

  test('loses the slash at its end, and nothing else', () => {
    expect(normalPath('/a/b/', 'op')).toBe('/a/b');
    expect(normalPath('/', 'op')).toBe('/');
    expect(normalPath('/…/ b', 'op')).toBe('/…/ b');
  });

  test('is within another when its names say so, not its letters', () => {
    const name = fc
      .string({ minLength: 1, maxLength: 4 })
      .filter((one) => !/^\.{1,2}$|[/\0]/.test(one));
    const names = fc.array(name, { maxLength: 4 });
    fc.assert(
      fc.property(names, names, (one, two) => {
        const isBelow = two.every((part, at) => part === one[at]) && two.length <= one.length;
        expect(isWithin(`/${one.join('/')}`, `/${two.join('/')}`)).toBe(isBelow);
      }),
    );
  });

  test('has a parent', () => {
    expect(['/a', '/a/b', '/a/b/c'].map(parentOf)).toEqual(['/', '/a', '/a/b']);
  });
});

describe('a body of parts', () => {
  test('has each entry with its kind, its name escaped, its mode and time', async () => {
    const entries: AddEntry[] = [
      { path: 'd', type: 'directory', mode: 0o40755 },
      { path: 'd/"ä\r\n.txt', type: 'file', content: streamOf(text('12'), text('3')) },
      { path: 'd/l', type: 'symlink', target: 'ä', mtime: { s: -1, ns: 5 } },
    ];
    const { contentType, chunks } = multipart(streamOf(...entries), new CountingRandom());
    expect(contentType).toBe('multipart/form-data; boundary=kitfs-token-0000000000000001');
    const dash = '--kitfs-token-0000000000000001';
    expect(Buffer.concat(await all(chunks)).toString()).toBe(
      [
        dash,
        'Content-Disposition: form-data; name="file?mode=0755"; filename="d"',
        'Content-Type: application/x-directory',
        '',
        '',
        dash,
        'Content-Disposition: form-data; name="file"; filename="d%2F%22%C3%A4%0D%0A.txt"',
        'Content-Type: application/octet-stream',
        '',
        '123',
        dash,
        'Content-Disposition: form-data; name="file?mtime=-1&mtime-nsecs=5"; filename="d%2Fl"',
        'Content-Type: application/symlink',
        '',
        'ä',
        `${dash}--`,
        '',
      ].join('\r\n'),
    );
  });
});

describe('turns', () => {
  const turns = () => new Turns({ atOnce: 1, waitingMax: 2 });
  const { signal } = new AbortController();

  test('are taken in the order they were asked for, each ended once', async () => {
    const line = turns();
    const leave = await line.enter('a', signal);
    const order: string[] = [];
    const waiting = ['b', 'c'].map(async (name) => {
      const end = await line.enter(name, signal);
      order.push(name);
      end();
      end();
    });
    expect(line.waiting).toBe(2);
    await expect(line.enter('d', signal)).rejects.toThrow('rate-limited');
    leave();
    leave();
    await Promise.all(waiting);
    expect(order).toEqual(['b', 'c']);
    const again = await line.enter('e', signal);
    const next = line.enter('f', signal);
    expect(line.waiting).toBe(1);
    again();
    await next;
  });

  test('are not taken by who was told to end', async () => {
    const line = turns();
    const leave = await line.enter('a', signal);
    const controller = new AbortController();
    const waiting = line.enter('b', controller.signal);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(line.enter('c', controller.signal)).rejects.toThrow('enough');
    leave();
    (await line.enter('d', signal))();
  });

  test('end with their work, and none is begun for who was told to end', async () => {
    const line = turns();
    const done: string[] = [];
    const stop = new AbortController();
    const first = line.run('a', signal, async () => {
      done.push('a');
      throw new Error('broken');
    });
    const second = line.run('b', stop.signal, async () => void done.push('b'));
    const third = line.run('c', signal, async () => void done.push('c'));
    stop.abort(new Error('enough'));
    await expect(first).rejects.toThrow('broken');
    await expect(second).rejects.toThrow('enough');
    await third;
    expect(done).toEqual(['a', 'c']);
  });
});

test.each([
  ['438.7µs', 0.4387],
  ['12.5ms', 12.5],
  ['1.5s', 1500],
  ['1m2s', 62_000],
  ['1h', 3_600_000],
  ['0s', 0],
  ['n/a', undefined],
  ['', undefined],
  ['5', undefined],
])('the duration %j is understood', (words, ms) => {
  const found = millisecondsOf(words);
  if (ms === undefined) expect(found).toBeUndefined();
  else expect(found).toBeCloseTo(ms, 9);
});

describe('fields of an answer', () => {
  const fields = (value: unknown) => new Fields(value, 'op');

  test('are counts as numbers or as text, never negative or broken', () => {
    const found = fields({ a: 7, b: '18446744073709551615', c: 1.8446744073709552e19, e: null });
    expect(found.count('a')).toBe(7);
    expect(found.count('b')).toBe(Number.MAX_SAFE_INTEGER);
    expect(found.count('c')).toBe(Number.MAX_SAFE_INTEGER);
    expect([found.count('d'), found.count('e')]).toEqual([0, 0]);
    for (const wrong of [-1, 1.5, '-1', '1e3', 'x', '', true, {}]) {
      expect(() => fields({ a: wrong }).count('a'), String(wrong)).toThrow('response-invalid');
    }
  });

  test('of another kind are no answer', () => {
    const wrong = fields({ a: 7 });
    expect(() => wrong.text('a')).toThrow('response-invalid');
    expect(() => wrong.list('a')).toThrow('response-invalid');
    expect(() => wrong.flag('a')).toThrow('response-invalid');
    expect(() => wrong.object('a')).toThrow('response-invalid');
    expect(() => wrong.cid('a')).toThrow('response-invalid');
    expect(() => fields({ a: 'no cid' }).cid('a')).toThrow('response-invalid');
    expect(() => fields({ a: [1] }).texts('a')).toThrow('response-invalid');
    expect(() => fields({ a: '1' }).number('a')).toThrow('response-invalid');
  });
});

test('bytes are those of a CID only if they hash to it', () => {
  const { cid, bytes } = rawBlock('some bytes');
  expect(() => demandBytesOf(cid, bytes, 'op')).not.toThrow();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (other) => {
      fc.pre(Buffer.compare(other, bytes) !== 0);
      expect(() => demandBytesOf(cid, other, 'op')).toThrow('integrity');
    }),
  );
});
