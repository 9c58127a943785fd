/** The laws of what a name means, for whoever asks again and again. */
import { beforeEach, expect, test } from 'vitest';
import { NAME_KEPT_MS_MAX, NAME_RESOLVE_MS_MAX, NAMES_KEPT_MAX } from '../../src/base/limits.ts';
import { NameResolver, type Target } from '../../src/node/node.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { Names } from '../fakes/names.ts';

const CID = 'bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq';
const OTHER = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';
const never = new AbortController().signal;

let clock: TurnedClock;
let names: Names;
let resolver: NameResolver;
beforeEach(() => {
  clock = new TurnedClock();
  names = new Names();
  resolver = new NameResolver({ clock });
  resolver.attach(() => names);
});

const asked = (name = 'site', signal = never): Promise<Target> =>
  resolver.resolve(name, { signal });
const means = async (name = 'site') => (await asked(name)).cid.toString();
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: { failure?: string }) => error.failure,
  );

test('a name leads to a CID and the names behind it', async () => {
  names.point('site', `/ipfs/${CID}/a b/c/`, { ttlMs: 5000 });
  const { cid, segments, validMs } = await asked();
  expect([cid.toString(), segments, validMs]).toEqual([CID, ['a b', 'c'], 5000]);
});

test('it is kept as long as its record says, and asked again then', async () => {
  names.point('site', `/ipfs/${CID}`, { ttlMs: 5000 });
  await asked();
  names.point('site', `/ipfs/${OTHER}`, { ttlMs: 5000 });
  await clock.turn(4999);
  expect(await asked()).toMatchObject({ validMs: 1 });
  expect(await means()).toBe(CID);
  expect(names.asked).toHaveLength(1);
  await clock.turn(1);
  expect(await means()).toBe(OTHER);
});

test.each([
  ['a record that may not be kept', { ttlMs: 0 }, 1000],
  ['a node that does not say', {}, 1000],
  ['a record of a day', { ttlMs: 86_400_000 }, NAME_KEPT_MS_MAX],
  ['a record that ends', { ttlMs: 9000, validUntil: { s: 1_700_000_002, ns: 0 } }, 2000],
  ['a record that has ended', { ttlMs: 9000, validUntil: { s: 1_600_000_000, ns: 0 } }, 0],
])('%s is kept within limits', async (_, record, validMs) => {
  names.point('site', `/ipfs/${CID}`, record);
  expect((await asked()).validMs).toBe(validMs);
});

test('the time that the node took counts', async () => {
  const early = new NameResolver({ clock });
  names.point('site', `/ipfs/${CID}`, { ttlMs: 5000 });
  let answer = () => {};
  early.attach(() => ({
    resolve: async (name, options) => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return names.resolve(name, options);
    },
  }));
  const asking = early.resolve('site', { signal: never });
  await clock.turn(2000);
  answer();
  expect((await asking).validMs).toBe(3000);
});

test('the node is asked once, however many wait', async () => {
  names.point('site', `/ipfs/${CID}`);
  await Promise.all([asked(), asked(), asked()]);
  expect(names.asked).toEqual(['site']);
});

test('who waits ends with its own signal, and the asking with the last of them', async () => {
  names.manner = 'hang';
  const [one, two] = [new AbortController(), new AbortController()];
  const waiting = [asked('site', one.signal), asked('site', two.signal)].map(failureOf);
  await names.hasAsked(1);
  one.abort(Object.assign(new Error('left'), { failure: 'left' }));
  await settle();
  expect(names.ended).toBe(0);
  two.abort(Object.assign(new Error('left'), { failure: 'left' }));
  expect(await Promise.all(waiting)).toEqual(['left', 'left']);
  expect(names.ended).toBe(1);
  names.manner = 'give';
  names.point('site', `/ipfs/${CID}`);
  expect(await means()).toBe(CID);
});

test('a node that hangs is waited for only so long, and asked again by who comes then', async () => {
  names.manner = 'hang';
  const waiting = failureOf(asked());
  await names.hasAsked(1);
  await clock.turn(NAME_RESOLVE_MS_MAX);
  expect(await waiting).toBe('timeout');
  names.manner = 'give';
  names.point('site', `/ipfs/${CID}`);
  expect(await means()).toBe(CID);
});

test('why the node cannot say is told, and not kept', async () => {
  expect(await failureOf(asked())).toBe('name-not-resolved');
  names.manner = 'offline';
  expect(await failureOf(asked())).toBe('not-running');
  names.manner = 'give';
  names.point('site', `/ipfs/${CID}`);
  expect(await means()).toBe(CID);
});

test.each([
  `/ipfs/${CID}/../../etc`,
  `/ipfs/${CID}/a/./b`,
  `/ipfs/${CID}/a\0b`,
  '/ipfs/nothing',
  '/ipns/other',
  `${CID}`,
  '',
])('a name that points to %j leads nowhere', async (path) => {
  names.point('site', path);
  expect(await failureOf(asked())).toBe('name-not-resolved');
});

test('whoever wants it fresh is told what the node finds now, and with it all others', async () => {
  names.point('site', `/ipfs/${CID}`, { ttlMs: 60_000 });
  await asked();
  names.point('site', `/ipfs/${OTHER}`, { ttlMs: 60_000 });
  const { cid } = await resolver.resolve('site', { signal: never, isFresh: true });
  expect(cid.toString()).toBe(OTHER);
  expect(names.asked).toEqual(['site', 'site!']);
  expect(await means()).toBe(OTHER);
});

test('before the home node is known names are waited for', async () => {
  const early = new NameResolver({ clock });
  names.point('site', `/ipfs/${CID}`);
  const asking = early.resolve('site', { signal: never });
  await settle();
  expect(names.asked).toEqual([]);
  early.attach(() => names);
  expect((await asking).cid.toString()).toBe(CID);
});

test('only so many names are remembered', async () => {
  for (let at = 0; at <= NAMES_KEPT_MAX; at += 1) {
    names.point(`name-${at}`, `/ipfs/${CID}`, { ttlMs: 60_000 });
    await asked(`name-${at}`);
  }
  await asked(`name-${NAMES_KEPT_MAX}`);
  expect(names.asked).toHaveLength(NAMES_KEPT_MAX + 1);
  await asked('name-0');
  expect(names.asked).toHaveLength(NAMES_KEPT_MAX + 2);
});

test.each([
  ['k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r', true],
  ['example.org', true],
  ['self', true],
  ['.Trash-1000', false],
  ['', false],
  ['a b', false],
])('%j is a name: %j', (word, isName) => {
  expect(resolver.isName(word)).toBe(isName);
});
