/**
 * A tree as a program made it on the mount is, once published, the tree that Kubo itself would have made of the same
 * files: one root, the same bytes from another node, and a CAR that needs no node.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { rawCid } from '../../src/content/content.ts';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

/** All that decides on CIDs, and that the command takes. */
const PARAMETERS = [
  ...['--cid-version=1', '--raw-leaves', '--hash=sha2-256', '--chunker=size-1048576'],
  ...['--trickle=false', '--inline=false', '--nocopy=false', '--empty-dirs'],
  ...['--max-file-links=1024', '--max-directory-links=0', '--max-hamt-fanout=256'],
  ...['--preserve-mode=false', '--preserve-mtime=false'],
];
/** All that decides on CIDs, and that only the configuration says: IPIP-499, unixfs-v1-2025. */
const IMPORT = {
  'Import.UnixFSHAMTDirectorySizeEstimation': 'block',
  'Import.UnixFSHAMTDirectorySizeThreshold': '256KiB',
};
/** An empty file. */
const NOTHING = rawCid(new Uint8Array());

/** Makes a tree in the directory it is given. */
const PLANT = `
import os, random, sys
os.makedirs(sys.argv[1]); os.chdir(sys.argv[1])
def put(path, content=b'x'):
    with open(path, 'wb') as f: f.write(content)
dice = random.Random(7)
os.makedirs('sub/deep/deeper'); os.makedirs('empty/of/all'); os.makedirs('.hidden'); os.makedirs('wide')
put('nothing', b''); put('.hidden/.file'); put('sub/deep/deeper/end', b'end')
# One byte less than a leaf, a leaf, one more; many leaves; leaves that are one another's.
for size in (2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1, 7_000_003): put('sub/%d' % size, dice.randbytes(size))
put('sub/same', b'same' * 2 ** 20)
with open('sub/holes', 'wb') as f: f.truncate(5_000_000); f.seek(3_000_000); f.write(b'here')
os.link('sub/same', 'sub/deep/linked')
os.chmod('sub/same', 0o640)
for name, target in (('to', 'same'), ('up', '../../sub/deep'), ('nowhere', 'is not'), ('far', '/etc/hosts'),
                     ('long', 'n/' * 1000), ('odd', 'ünï \\n\\t"')):
    os.symlink(target, 'sub/deep/' + name)
os.makedirs('odd')
for name in (' ', 'a b', ' lead', 'trail ', 'new\\nline', 'tab\\t', '-n', '--', '...', '..a', '~', '*', '?', '#1',
             '100%', '%2F', '%', 'a\\\\b', 'q"uote', "q'uote", '\\x01', '\\x7f', 'é', 'e\\u0301', 'ünï', '日本',
             '\\U0001f5fb', '\\u202e', '\\ufeffbom', 'CON', 'a:b', 'x' * 255,
             'ü' * 127, 'Links', 'Data', '0', '00', 'FF', 'FFa'):
    put('odd/' + name, name.encode())
# Sharded by any measure; then exactly as large as a directory may be that is not sharded, and one byte more. Such a
# link is 44 bytes and its name, and the directory 4.
for n in range(1000): put('wide/%s-%d' % ('long' * 60, n), b'%d' % n)
for directory, more in (('largest', 0), ('larger', 1)):
    os.makedirs(directory)
    lengths = [40] * 3120
    for at in range(3): lengths[at] += 20
    lengths[3] += more
    assert 4 + sum(44 + length for length in lengths) == 262144 + more
    for n, length in enumerate(lengths): put('%s/%s' % (directory, str(n).rjust(length, 'n')))
`;

/** Tells all that a tree in UnixFS holds. */
const TELL = `
import hashlib, os, sys
os.chdir(sys.argv[1])
told = []
for at, directories, files in os.walk(b'.'):
    told.append((at, 'directory', ''))
    for name in directories + files:
        path = os.path.join(at, name)
        if os.path.islink(path): told.append((path, 'link', os.readlink(path)))
        elif os.path.isfile(path): told.append((path, 'file', hashlib.sha256(open(path, 'rb').read()).hexdigest()))
for one in sorted(told): print(one)
`;

let kubo: KuboNode;
let daemon: TestDaemon;
/** The same tree beside the mount. */
let host: string;

beforeAll(async () => {
  kubo = await KuboNode.start({ settings: IMPORT });
  const configuration = `[ipfs.kubo]\napi = "${kubo.api}"\n[sync]\ndebounce_ms = 0\n`;
  daemon = await TestDaemon.start({ configuration });
  host = join(daemon.directory, 'host');
  for (const top of [host, daemon.path('ipfs/t')]) await python(PLANT, top);
});
afterAll(async () => {
  await daemon?.close();
  await kubo?.close();
});

const python = (script: string, ...args: readonly string[]) =>
  daemon.run('python3', ['-c', script, ...args], { in: daemon.directory });

const added = async (path: string) =>
  (await kubo.cli(['add', '-r', '-H', '-Q', '--only-hash', ...PARAMETERS, path])).trim();

/** Publishes a tree, and waits until the node has it. */
async function published(path: string, ...more: readonly string[]): Promise<string> {
  const { root_cid } = await daemon.json<{ root_cid: string }>(['sync', '--wait', path, ...more]);
  return root_cid;
}

/** What another program sees of a root, taken from a node. */
async function got(from: KuboNode, root: string): Promise<string> {
  const directory = join(from.directory, 'got');
  await from.cli(['get', '-o', directory, root]);
  return python(TELL, directory);
}

test('it has the root that ipfs add gives, however large, empty, linked or named things are', async () => {
  expect(await published('/ipfs/t')).toBe(await added(host));
  const lengthOf = async (name: string) => {
    const root = await published('/ipfs/t');
    return (await kubo.cli(['dag', 'get', '--output-codec=dag-json', `${root}/${name}`])).length;
  };
  // One is a block with all its links; the other has at most one for each of its 256 places.
  expect(await lengthOf('largest')).toBeGreaterThan(262_144);
  expect(await lengthOf('larger')).toBeLessThan(262_144);
});

test('its bytes come from a second node as they were written', async () => {
  const root = await published('/ipfs/t');
  await using second = await KuboNode.start();
  await second.connect(kubo);
  // Bitswap does not bring it (boxo v0.43.0): a Kubo gets the empty block only from itself.
  const nothing = ['add', '-Q', '--cid-version=1', '--raw-leaves', '--pin=false'];
  expect((await second.cli(nothing)).trim()).toBe(NOTHING.toString());
  await kubo.cli(['routing', 'provide', root]);
  // All at once: one by one takes a round trip for each file.
  await second.cli(['pin', 'add', root]);
  expect(await got(second, root)).toBe(await python(TELL, host));
});

test('its CAR is whole: a node that knows nobody imports it, and has every byte', async () => {
  const car = join(daemon.directory, 't.car');
  const root = await published('/ipfs/t', '--car', car);
  await using alone = await KuboNode.start({ offline: true });
  expect(await alone.cli(['dag', 'import', '--stats', car])).toContain(root);
  expect(await alone.cli(['pin', 'ls', '--type=recursive', root])).toContain(root);
  await alone.gc();
  expect(await got(alone, root)).toBe(await python(TELL, host));
});

test('a file of more leaves than a node has links has that root too, and reads at its end', async () => {
  const size = 1025 * 1024 * 1024 + 3;
  const make = `truncate -s ${size} huge/f && printf end | dd of=huge/f bs=1 seek=${size - 3} conv=notrunc status=none`;
  const beside = join(daemon.directory, 'beside');
  await daemon.shell(`mkdir -p ${beside}/huge && cd ${beside} && ${make}`);
  await daemon.shell(`mkdir huge && ${make}`, { in: 'ipfs' });
  const root = await published('/ipfs/huge');
  expect(root).toBe(await added(join(beside, 'huge')));
  expect(await kubo.cli(['cat', '--offline', `--offset=${size - 3}`, `${root}/f`])).toBe('end');
}, 120_000);
