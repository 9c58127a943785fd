/** The laws of `/ipns`: links to what names mean. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, type Name, nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { CidTree, type NameReader, type NameTarget, type NodeLog } from '../../src/vfs/cidtree.ts';
import { mount, type Resolved, resolve, unmount } from '../../src/vfs/vfs.ts';
import { Fixture, ROOT } from './fixture.ts';

const never = new AbortController().signal;
const [ONE, TWO] = ['bafy-one', 'bafy-two'];

/** Names that mean what a test says. */
class HandNames implements NameReader {
  target: NameTarget | OpError = { cid: ONE, segments: ['a'], validMs: 1500 };
  asked = 0;

  isName(name: string): boolean {
    return !name.startsWith('.');
  }

  async resolve(): Promise<NameTarget> {
    this.asked += 1;
    if (this.target instanceof OpError) throw this.target;
    return this.target;
  }
}

const NOTHING = {
  isCid: () => false,
  node: () => Promise.reject(new OpError('not-found', 'test')),
  children: () => {
    throw new OpError('not-found', 'test');
  },
  read: () => Promise.reject(new OpError('not-found', 'test')),
};

describe('a name', () => {
  const names = new HandNames();
  const tree = new CidTree(NOTHING, never, undefined, names);
  const look = (name = 'site') => tree.named(9 as Ino, nameOfText(name), true);

  test('is a link into /ipfs, which says how long it holds', async () => {
    const link = await look();
    expect(link).toMatchObject({ mode: 0o120777, validMs: 1500 });
    expect(tree.readlink(link.ino)).toBe('../ipfs/bafy-one/a');
    expect(link.size).toBe('../ipfs/bafy-one/a'.length);
  });

  test('that means something else is another link, and the one of before stays what it was', async () => {
    const before = await look();
    names.target = { cid: TWO, segments: [], validMs: 1000 };
    const after = await look();
    expect(after.ino).not.toBe(before.ino);
    expect(tree.readlink(before.ino)).toBe('../ipfs/bafy-one/a');
    expect(tree.readlink(after.ino)).toBe('../ipfs/bafy-two');
    expect((await look()).ino).toBe(after.ino);
  });

  test('that is no name is not found, and nobody is asked', async () => {
    const { asked } = names;
    await expect(look('.hidden')).rejects.toMatchObject({ failure: 'not-found' });
    expect(names.asked).toBe(asked);
  });

  test('that cannot be resolved says why', async () => {
    names.target = new OpError('not-running', 'ask the node');
    await expect(look()).rejects.toMatchObject({ failure: 'not-running' });
  });

  test('that the kernel holds is known to the next daemon, with what it led to', async () => {
    let lines: string[] = [];
    const log: NodeLog = {
      lines: () => lines,
      append: (line) => lines.push(line),
      replace: (all) => {
        lines = [...all];
      },
    };
    names.target = { cid: ONE, segments: [], validMs: 1 };
    const held = await new CidTree(NOTHING, never, log, names).named(
      9 as Ino,
      nameOfText('site'),
      true,
    );
    const next = new CidTree(NOTHING, never, log, names);
    expect(next.readlink(held.ino)).toBe('../ipfs/bafy-one');
  });
});

describe('the directory of all names', () => {
  let f: Fixture;
  let names: HandNames;
  beforeEach(() => {
    names = new HandNames();
    f = new Fixture(undefined, undefined, names);
    mount(f.vfs.core, ROOT, {
      ...{ mountId: 'names', mountPoint: '/ipns' as Name, kind: 'ipns', backend: 'ipns' },
      ...{ source: '', readOnly: true, volatile: false, options: {}, uid: 0, gid: 0, mode: 0o555 },
    });
  });
  afterEach(() => f.close());

  const look = async (path: string): Promise<Resolved> =>
    resolve(f.vfs, ROOT, nameOfText(path), { follow: false });

  test('shows each name that somebody asks for, and lists none', async () => {
    const { inode } = await look('/ipns/site');
    expect(f.vfs.readlink(ROOT, inode?.ino ?? ROOT_INO)).toBe('../ipfs/bafy-one/a');
    const listed: string[] = [];
    const { fh } = f.vfs.opendir(ROOT, f.ino('/ipns'));
    void f.vfs.readdir(fh, 0, true, ({ name }) => listed.push(name) > 0);
    expect(listed).toEqual(['.', '..']);
  });

  test('takes no name of anybody', () => {
    const make = () => f.vfs.mkdir(ROOT, f.ino('/ipns'), nameOfText('mine'), 0o755);
    expect(make).toThrow(expect.objectContaining({ failure: 'read-only' }));
  });

  test('is a directory like others to what is no name of IPNS', async () => {
    expect((await look('/ipns/..')).path).toBe('/');
    await expect(look('/ipns/.git')).resolves.toMatchObject({ inode: undefined });
  });

  test('that is unmounted asks nobody', async () => {
    unmount(f.vfs.core, ROOT, '/ipns' as Name);
    await expect(look('/ipns/site')).rejects.toMatchObject({ failure: 'not-found' });
    expect(names.asked).toBe(0);
  });

  test('is there again after a kill', async () => {
    f.reopen();
    const { inode } = await look('/ipns/site');
    expect(inode?.mode).toBe(0o120777);
  });

  test('no other tree has such names', async () => {
    expect((await look('/ipfs/site')).inode).toBeUndefined();
    expect(names.asked).toBe(0);
  });
});
