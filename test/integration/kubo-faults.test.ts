/**
 * The engine Kubo with a proxy between it and a real node that spoils its answers: what comes is right, or a clear
 * error; what was changed is as it was asked for, once.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CallOptions, IpfsNode } from '../../src/backend/backend.ts';
import {
  all,
  calling,
  carOf,
  countsOf,
  directoryOf,
  engineAt,
  rawBlock,
  streamOf,
  text,
} from '../backend/engine.ts';
import { type Fault, FaultyProxy } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';

const leaf = rawBlock('a leaf behind a proxy'.repeat(100));
const tree = directoryOf({ leaf });
const other = directoryOf({ leaf, again: leaf });
const blocks = [tree, leaf];

let kubo: KuboNode;
/** Past the proxy. */
let direct: IpfsNode;

beforeAll(async () => {
  kubo = await KuboNode.start({ pubsub: true });
  direct = engineAt(kubo.api);
  for (const { cid, bytes } of [tree, leaf, other]) {
    await direct.content.blockPut(cid, bytes, calling());
  }
  await direct.pins.add(tree.cid, { ...calling(), name: 'behind' });
  await direct.mfs.write('/f', streamOf(text('bytes of a file')), { ...calling(), create: true });
  await direct.mfs.mkdir('/d', calling());
});

afterAll(async () => {
  await direct?.[Symbol.asyncDispose]();
  await kubo?.close();
});

/** Whatever comes through: an error of the closed set that says what the fault was. */
const CLEAR = /^(response-invalid|not-running|timeout|api-error|integrity|rate-limited)$/;

interface Question {
  readonly command: string;
  readonly ask: (node: IpfsNode, options: CallOptions) => Promise<unknown>;
}

/** Asked again they give the same, so a fault that goes away is not seen. */
const QUESTIONS: readonly Question[] = [
  {
    command: 'block/get',
    ask: async (node, options) => Buffer.from(await node.content.blockGet(leaf.cid, options)),
  },
  { command: 'block/stat', ask: (node, options) => node.content.blockStat(leaf.cid, options) },
  { command: 'pin/ls', ask: (node, options) => node.pins.get(tree.cid, options) },
  { command: 'files/stat', ask: (node, options) => node.mfs.stat('/f', options) },
  { command: 'files/ls', ask: (node, options) => node.mfs.ls('/', options) },
  { command: 'id', ask: (node, options) => node.stats.id(undefined, options) },
  { command: 'version', ask: (node, options) => node.stats.version(options) },
  { command: 'repo/stat', ask: (node, options) => node.stats.repo(options) },
  { command: 'key/ls', ask: (node, options) => node.names.keys(options) },
  {
    command: 'pubsub/ls',
    ask: async (node, options) => await node.pubsub?.topics(options),
  },
];

/** Streams that were begun are not begun again: they throw. */
const STREAMS: readonly Question[] = [
  {
    command: 'dag/export',
    ask: async (node, options) =>
      Buffer.concat(await all(node.content.exportCar(tree.cid, options))),
  },
  {
    command: 'refs/local',
    ask: async (node, options) =>
      (await all(node.content.refsLocal(options))).map(({ cid }) => cid.toString()).sort(),
  },
  { command: 'pin/ls', ask: (node, options) => all(node.pins.ls(options)) },
  {
    command: 'files/read',
    ask: async (node, options) => Buffer.concat(await all(node.mfs.read('/f', options))),
  },
];

const PASSING: readonly (readonly [string, Fault])[] = [
  ['torn before', { kind: 'reset', when: 'before' }],
  ['torn after', { kind: 'reset', when: 'after' }],
  ['torn in the middle', { kind: 'truncate', keepBytes: 3, end: 'abort' }],
  ['cut in the middle', { kind: 'truncate', keepBytes: 3, end: 'clean' }],
];

const through = async (
  { command, ask }: Question,
  fault: Fault,
  { times = Number.POSITIVE_INFINITY, deadlineMs = 5000 },
): Promise<unknown> => {
  await using proxy = await FaultyProxy.start(kubo.api);
  await using node = engineAt(proxy.api);
  if (command !== 'version') await node.stats.repo(calling()); // It is known then.
  const planted = proxy.fault(command, fault, { times });
  try {
    return await ask(node, { ...calling(), deadlineMs });
  } finally {
    expect(planted.hits).toBeGreaterThan(0);
  }
};

describe.concurrent.each(QUESTIONS)('the question $command', (question) => {
  test.each(PASSING)('is answered all the same once an answer was %s', async (name, fault) => {
    const expected = await question.ask(direct, calling());
    const asked = through(question, fault, { times: 1 });
    // A block that is shorter is no answer to be asked for again: whoever sent it lies.
    const isLie = question.command === 'block/get' && name === 'cut in the middle';
    if (isLie) await expect(asked).rejects.toMatchObject({ failure: 'integrity' });
    else expect(await asked).toEqual(expected);
  });

  test.each([
    ...PASSING,
    ['refused', { kind: 'status', status: 500 }],
    ['out of service', { kind: 'status', status: 503 }],
    ['too much asked', { kind: 'status', status: 429 }],
    ['no JSON', { kind: 'garbage' }],
    ['silent', { kind: 'hang', when: 'before' }],
    ['silent in the middle', { kind: 'hang', when: 'during', keepBytes: 2 }],
  ] satisfies [string, Fault][] | typeof PASSING)(
    'fails clearly while every answer is %s',
    async (_, fault) => {
      const asked = through(question, fault, { deadlineMs: 1500 });
      await expect(asked).rejects.toMatchObject({ failure: expect.stringMatching(CLEAR) });
    },
  );
});

test('no byte of a block that was changed on its way is given', async () => {
  const [question] = QUESTIONS as [Question];
  for (const atByte of [0, 100, leaf.bytes.length - 1]) {
    const asked = through(question, { kind: 'flip', atByte }, {});
    await expect(asked).rejects.toMatchObject({ failure: 'integrity' });
  }
});

describe.concurrent.each(STREAMS)('the stream $command', (question) => {
  test.each([
    ['torn', { kind: 'truncate', keepBytes: 10, end: 'abort' }],
    ['silent', { kind: 'hang', when: 'during', keepBytes: 10 }],
    ['torn before', { kind: 'reset', when: 'before' }],
  ] satisfies [string, Fault][])('is %s, and does not look whole', async (_, fault) => {
    const asked = through(question, fault, { deadlineMs: 1500 });
    await expect(asked).rejects.toMatchObject({ failure: expect.stringMatching(CLEAR) });
  });
});

interface Change {
  readonly command: string;
  readonly make: (node: IpfsNode, options: CallOptions) => Promise<unknown>;
  /** What shows that it was made, once and no more. */
  readonly shown: () => Promise<unknown>;
  readonly undo: () => Promise<unknown>;
}

const at = async (path: string) => (await direct.mfs.stat(path, calling()))?.cid.toString();

const CHANGES: readonly Change[] = [
  {
    command: 'files/mv',
    make: (node, options) => node.mfs.mv('/f', '/d/moved', options),
    shown: async () => [await at('/f'), await at('/d/moved')],
    undo: () => direct.mfs.mv('/d/moved', '/f', calling()),
  },
  {
    command: 'files/cp',
    make: (node, options) => node.mfs.cp(`/ipfs/${tree.cid}`, '/d/copy', options),
    shown: () => at('/d/copy'),
    undo: () => direct.mfs.rm('/d/copy', { ...calling(), recursive: true }),
  },
  {
    command: 'files/mkdir',
    make: (node, options) => node.mfs.mkdir('/d/new', options),
    shown: () => at('/d/new'),
    undo: () => direct.mfs.rm('/d/new', { ...calling(), recursive: true }),
  },
  {
    command: 'files/rm',
    make: (node, options) => node.mfs.rm('/d/gone', options),
    shown: async () => (await at('/d/gone')) === undefined,
    undo: () => direct.mfs.cp('/f', '/d/gone', calling()),
  },
  {
    command: 'pin/add',
    make: (node, options) => node.pins.add(other.cid, { ...options, name: 'added' }),
    shown: () => direct.pins.get(other.cid, calling()),
    undo: () => direct.pins.rm(other.cid, calling()),
  },
  {
    command: 'pin/rm',
    make: (node, options) => node.pins.rm(leaf.cid, { ...options, recursive: false }),
    shown: async () => (await direct.pins.get(leaf.cid, calling()))?.type === 'indirect',
    undo: () => direct.pins.add(leaf.cid, { ...calling(), recursive: false }),
  },
  {
    command: 'pin/update',
    make: (node, options) => node.pins.update(tree.cid, other.cid, options),
    shown: async () => [
      await direct.pins.get(tree.cid, calling()),
      await direct.pins.get(other.cid, calling()),
    ],
    undo: () => direct.pins.update(other.cid, tree.cid, calling()),
  },
  {
    command: 'block/put',
    make: (node, options) => node.content.blockPut(leaf.cid, leaf.bytes, options),
    shown: () => direct.content.hasBlocks([leaf.cid], calling()),
    undo: async () => {},
  },
];

describe.each(CHANGES)('the change $command', ({ command, make, shown, undo }) => {
  beforeAll(async () => {
    if (/rm$/.test(command)) await undo(); // There is something to be removed.
  });

  test.each([
    ['never came', { kind: 'reset', when: 'before' }],
    ['was made and its answer lost', { kind: 'reset', when: 'after' }],
    ['was made and its answer cut', { kind: 'garbage' }],
  ] satisfies [string, Fault][])('that %s is made once', async (name, fault) => {
    const before = await shown();
    await through({ command, ask: make }, fault, { times: 1 }).catch((error: unknown) => {
      throw new Error(`${command} ${name}`, { cause: error });
    });
    const after = await shown();
    await undo();
    if (command !== 'block/put') expect(after).not.toEqual(before);
    expect(await shown()).toEqual(before);
  });
});

describe('an upload', () => {
  const car = () => streamOf(carOf(tree.cid, blocks));
  const importing = (node: IpfsNode, options: CallOptions) =>
    node.content.importCar(car(), { ...options, pinRoots: true, sent: () => countsOf(blocks) });

  test.each([
    ['torn before it came', { kind: 'reset', when: 'before' }],
    ['done and its answer lost', { kind: 'reset', when: 'after' }],
    ['answered in half', { kind: 'truncate', keepBytes: 10, end: 'clean' }],
    ['silent', { kind: 'hang', when: 'after' }],
    ['refused', { kind: 'status', status: 503 }],
  ] satisfies [string, Fault][])(
    'that is %s is no success, and can be made again',
    async (_, fault) => {
      const asked = through({ command: 'dag/import', ask: importing }, fault, { deadlineMs: 2000 });
      await expect(asked).rejects.toMatchObject({ failure: expect.stringMatching(CLEAR) });
      expect(await importing(direct, calling())).toMatchObject(countsOf(blocks));
    },
  );
});
