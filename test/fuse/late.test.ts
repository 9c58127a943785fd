/** Replies that come late, to a kernel that may not want them any more, and sessions that end meanwhile. */
import { constants } from 'node:os';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Fh, nameOfText } from '../../src/base/ids.ts';
import { settle } from '../fakes/clock.ts';
import { ROOT } from '../vfs/fixture.ts';
import { request, u32, u64 } from './requests.ts';
import { gate, Rig } from './rig.ts';

const { errno } = constants;

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => {
  rig.close();
});

const open = (unique: bigint) => request(14, { unique, nodeid: 5, body: [u32(0, 0)] });
const interrupt = (unique: bigint) => request(36, { unique: unique | 1n, body: [u64(unique)] });

/** An open that waits, and gives handle 7 when it is let. */
function slowOpen(): () => Promise<void> {
  const opened = gate<{ fh: Fh }>();
  rig.faulty.faults.set('open', () => opened.promise);
  rig.faulty.faults.set('release', () => undefined);
  return () => {
    opened.open({ fh: 7 as Fh });
    return settle();
  };
}

describe('a late reply', () => {
  test.each([
    ['whose client is gone hands nothing out, and is not worth a line', errno.ENOENT, []],
    ['that the kernel refuses hands nothing out, and is logged', errno.EINVAL, ['warn']],
  ])('%s', async (_title, code, levels) => {
    const answer = slowOpen();
    rig.drain(open(10n));
    rig.channel.takes = () => code;
    await answer();
    expect(rig.faulty.callsOf('release')).toEqual([[7]]);
    expect(rig.references.handleCount).toBe(0);
    expect(rig.log.lines.map(({ level }) => level)).toEqual(levels);
  });

  test('that nobody waits for lets go of its inode, unless the kernel knows that', async () => {
    const { vfs } = rig.fixture;
    vfs.mkdir(ROOT, rig.ipfs, nameOfText('a'), 0o755);
    rig.drain(rig.mkdir(10n, 'b'));
    const unknown = rig.fixture.ino('/ipfs/a');
    const waits = gate<void>();
    rig.faulty.faults.set('lookup', (real) => waits.promise.then(real));
    rig.drain(rig.lookup(12n, 'a'), rig.lookup(14n, 'b'), interrupt(12n), interrupt(14n));
    waits.open();
    await settle();
    await rig.later();
    expect(rig.faulty.callsOf('forget')).toEqual([[unknown]]);
    expect(rig.references.inodeCount).toBe(1);
  });

  test.each([
    ['is gone already is closed without a word', 'bad-handle', []],
    ['cannot be closed is logged', 'io', ['a request of the kernel failed']],
  ] as const)('whose handle %s', async (_title, failure, lines) => {
    const answer = slowOpen();
    rig.faulty.faults.set('release', () => {
      throw new OpError(failure, 'release');
    });
    rig.drain(open(10n), interrupt(10n));
    await answer();
    expect(rig.faulty.callsOf('release')).toEqual([[7]]);
    expect(rig.errors()).toEqual(lines);
  });
});

describe('a session that ends while it serves', () => {
  test('closes what is opened late, and answers nobody', async () => {
    const opened = gate<{ fh: Fh }>();
    rig.faulty.faults.set('release', () => undefined);
    rig.faulty.faults.set('open', () => {
      rig.session.end();
      return opened.promise;
    });
    rig.drain(open(10n));
    opened.open({ fh: 7 as Fh });
    await settle();
    expect(rig.faulty.callsOf('release')).toEqual([[7]]);
    expect([rig.channel.answers, rig.references.handleCount]).toEqual([[], 0]);
  });

  test('answers nobody whose request fails late, and still logs why', async () => {
    const opened = gate<never>();
    rig.faulty.faults.set('open', () => {
      rig.session.end();
      return opened.promise;
    });
    rig.drain(open(10n));
    opened.fail(new OpError('content-missing', 'test'));
    await settle();
    expect(rig.channel.answers).toEqual([]);
    expect(rig.log.lines).toMatchObject([{ fields: { failure: 'content-missing' } }]);
  });
});

test('what fails once a group is committed is logged, and nothing of it is done again', () => {
  const { journal } = rig.fixture;
  const group = journal.group.bind(journal);
  const spy = vi.spyOn(journal, 'group').mockImplementationOnce((body) => {
    group(body);
    throw new TypeError('after the commit');
  });
  const { seq } = journal.head;
  rig.drain(rig.mkdir(10n, 'a'), rig.mkdir(12n, 'b'));
  spy.mockRestore();
  expect([10n, 12n].map((unique) => rig.channel.answerTo(unique).errno)).toEqual([0, 0]);
  expect(journal.head.seq - seq).toBe(2);
  expect(rig.faulty.callsOf('mkdir')).toHaveLength(2);
  expect(rig.log.lines).toMatchObject([{ fields: { err: { message: 'after the commit' } } }]);
});

test('a failure of the disk once a group is committed is not taken for a rollback', () => {
  const { journal } = rig.fixture;
  const done: string[] = [];
  rig.faulty.faults.set('mkdir', (real, args) => {
    if (args[2] !== 'a') return real();
    return journal.commit((tx) => {
      tx.afterCommit(() => {
        throw new OpError('io', 'stat content 1');
      });
      tx.afterCommit(() => done.push('the next'));
      return real();
    });
  });
  rig.drain(rig.mkdir(10n, 'a'), rig.mkdir(12n, 'b'));
  expect([10n, 12n].map((unique) => rig.channel.answerTo(unique).errno)).toEqual([0, 0]);
  expect(rig.faulty.callsOf('mkdir')).toHaveLength(2);
  expect(done).toEqual(['the next']);
  expect(rig.log.lines).toMatchObject([{ fields: { err: { cause: { failure: 'io' } } } }]);
});
