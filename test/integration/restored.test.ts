/**
 * A tree that one kitfs published is there on another machine, which has a Kubo of its own: all of it, to every bit
 * that rsync(1), find(1) and lseek(2) look at.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

const SYNC_MS_MAX = 120_000;
const TEST_MS_MAX = 240_000;

/** One of each kind, and what tools tend to lose. */
const PLANT = `
mkdir -p t/deep/er t/empty t/wide
printf 'hello' > t/hello; printf 'bin' > t/tool
printf 'x' > "t/$(printf 'bad\\377name')"
head -c 3000000 /dev/urandom > t/deep/large
truncate -s 5000000 t/sparse; printf 'end' | dd of=t/sparse bs=1 seek=4999000 conv=notrunc status=none
ln t/hello t/deep/er/second-name
ln -s ../hello t/deep/link; ln -s nowhere t/dangling
mkfifo t/fifo; mknod t/null c 1 3; mknod t/disk b 7 200
for n in $(seq 300); do echo "$n" > "t/wide/file-$n"; done
chown 1234:4321 t/hello; chown -h 77:88 t/deep/link
chmod 6751 t/deep/large; chmod 1777 t/empty
setfattr -n user.color -v blue t/hello; setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\\0' a)" t/deep/er
setfacl -m u:1234:r-- t/sparse; setfacl -d -m g:4321:rwx t/empty
python3 - <<'END'
import os, socket
os.chdir(b't')
socket.socket(socket.AF_UNIX).bind('socket')
os.symlink(b'\\xfe/odd\\ntarget', b'odd \\xff\\nlink')
os.mkdir(b'dir\\xe9'); open(b'dir\\xe9/\\x80', 'w').write('latin')
open('n' * 255, 'w').write('long')
os.symlink('x' * 4095, 'far')
open('nothing', 'w')
os.mkdir('many')
# More than fit into one node of a directory.
for n in range(10_500): open(f'many/entry-{n}', 'w')
with open('dense', 'wb') as f: f.write(os.urandom(1 << 20) * 110)
with open('holes', 'wb') as f:
    for at in (5, 400, 1000): f.seek(at << 20); f.write(os.urandom(300_000))
    f.truncate(1200 << 20)
END
setfattr -n trusted.kept -v yes t/hello; setfattr -n security.other -v there t/wide
setcap cap_net_raw+ep t/tool
touch -h -d '2001-02-03 04:05:06.123456789' t/deep/link t/hello t/fifo
touch -d '1965-01-01 00:00:00.5' t/deep/large; touch -d '2030-01-01' t/wide
`;

let nodes: readonly [KuboNode, KuboNode];
let there: TestDaemon;
let snapshot: string;

/** What comes after it is the place of a tree. */
const FACTS = `
find . -printf '%P %y %m %U:%G %n %s %T@ %l\\0' | sort -z | sha256sum
find . -printf '%P %y %m %U:%G %n %s %T@ %l\\0' | tr '\\0' '\\n' | wc -l
getfattr -R -h -d -m - . 2>/dev/null | sort | sha256sum
find . \\( -type b -o -type c \\) -exec stat -c '%n %t:%T' {} + | sort`;

/** Where the data of a file is, as lseek(2) tells. */
const DATA = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
at, end, parts = 0, os.fstat(fd).st_size, []
while at < end:
    try: at = os.lseek(fd, at, os.SEEK_DATA)
    except OSError: break
    hole = os.lseek(fd, at, os.SEEK_HOLE)
    parts.append((at >> 20, hole - at < (2 << 20)))
    at = hole
print(parts)`;

const configuration = (kubo: KuboNode) =>
  `[ipfs]\nhome = "kubo"\n[ipfs.kubo]\napi = "${kubo.api}"\n`;

beforeAll(async () => {
  nodes = [await KuboNode.start(), await KuboNode.start()];
  await nodes[1].connect(nodes[0]);
  there = await TestDaemon.start({ configuration: configuration(nodes[0]) });
  await there.shell(PLANT, { in: 'ipfs', timeoutMs: SYNC_MS_MAX });
  const values = { path: '/ipfs', targets: ['ipfs'], wait_for: 'pinned' };
  const answer = await there.kitfs(['call', 'vfs_sync_to_ipfs', JSON.stringify(values)], {
    timeoutMs: SYNC_MS_MAX,
  });
  snapshot = /"snapshot_cid":\s*"(\w+)"/.exec(answer.stdout)?.[1] ?? answer.stderr;
}, TEST_MS_MAX);
afterAll(async () => {
  await there?.close();
  for (const kubo of nodes ?? []) await kubo.close();
});

test('of what was there rsync finds no difference, owners, times, attributes, links and holes', {
  timeout: TEST_MS_MAX,
}, async () => {
  await using here = await TestDaemon.start({
    configuration: configuration(nodes[1]),
    args: ['--from', snapshot],
  });
  const differences = await here.run(
    'rsync',
    ['-aHAXn', '--checksum', '--delete', '--itemize-changes', `${there.path('ipfs')}/`, './'],
    { in: 'ipfs', timeoutMs: SYNC_MS_MAX },
  );
  expect(differences).toBe('');
  const facts = (daemon: TestDaemon) => daemon.shell(FACTS, { in: 'ipfs', timeoutMs: SYNC_MS_MAX });
  expect(await facts(here)).toBe(await facts(there));
  const blocks = await here.shell('stat -c %b t/sparse t/holes t/dense', { in: 'ipfs' });
  const [sparse = 0, holes = 0, dense = 0] = blocks.trim().split('\n').map(Number);
  expect(sparse).toBeLessThan(5_000_000 / 512);
  expect(holes).toBeLessThan(16_000_000 / 512);
  expect(dense).toBeGreaterThanOrEqual((110 << 20) / 512);
  const data = await here.run('python3', ['-c', DATA, 't/holes'], { in: 'ipfs' });
  expect(data).toBe('[(5, True), (400, True), (1000, True)]\n');
  const { findings } = await here.json<{ findings: unknown[] }>(['fsck']);
  expect(findings).toEqual([]);
});

test('names are there before any bytes are, and bytes that nobody has are an error', async () => {
  await using here = await TestDaemon.start({
    configuration: configuration(nodes[1]),
    args: ['--from', snapshot],
  });
  await nodes[1].stop();
  const names = await here.shell('ls t/wide | wc -l; stat -c %s t/deep/large', { in: 'ipfs' });
  expect(names).toBe('300\n3000000\n');
  const { code, stdout } = await here.attempt('cat', ['t/deep/large'], { in: 'ipfs' });
  expect([code, stdout]).toEqual([1, '']);
  await nodes[1].restart();
  await nodes[1].connect(nodes[0]);
  await here.run('cmp', ['t/deep/large', there.path('ipfs', 't/deep/large')], {
    in: 'ipfs',
    timeoutMs: SYNC_MS_MAX,
  });
});
