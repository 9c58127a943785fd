/** A tree that one kitfs published is there on another machine: all of it, to every bit that rsync(1) looks at. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

const SYNC_MS_MAX = 60_000;

/** One of each kind, and what tools tend to lose. */
const PLANT = `
mkdir -p t/deep/er t/empty t/wide
printf 'hello' > t/hello
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
touch -h -d '2001-02-03 04:05:06.123456789' t/deep/link t/hello t/fifo
touch -d '1965-01-01 00:00:00.5' t/deep/large; touch -d '2030-01-01' t/wide
`;

let kubo: KuboNode;
let there: TestDaemon;
let snapshot: string;

const configuration = () => `[ipfs.kubo]\napi = "${kubo.api}"\n`;

beforeAll(async () => {
  kubo = await KuboNode.start();
  there = await TestDaemon.start({ configuration: configuration() });
  await there.shell(PLANT, { in: 'ipfs' });
  const values = { path: '/ipfs', targets: ['ipfs'], wait_for: 'pinned' };
  const answer = await there.kitfs(['call', 'vfs_sync_to_ipfs', JSON.stringify(values)], {
    timeoutMs: SYNC_MS_MAX,
  });
  snapshot = /"snapshot_cid":\s*"(\w+)"/.exec(answer.stdout)?.[1] ?? answer.stderr;
}, 120_000);
afterAll(async () => {
  await there?.close();
  await kubo?.close();
});

test('of what was there rsync finds no difference, owners, times, attributes, links and holes', async () => {
  await using here = await TestDaemon.start({
    configuration: configuration(),
    args: ['--from', snapshot],
  });
  const differences = await here.run(
    'rsync',
    ['-aHAXn', '--checksum', '--delete', '--itemize-changes', `${there.path('ipfs')}/`, './'],
    { in: 'ipfs', timeoutMs: SYNC_MS_MAX },
  );
  expect(differences).toBe('');
  const blocks = await here.shell('stat -c %b t/sparse', { in: 'ipfs' });
  expect(Number(blocks)).toBeLessThan(5_000_000 / 512);
  const { findings } = await here.json<{ findings: unknown[] }>(['fsck']);
  expect(findings).toEqual([]);
});

test('names are there before any bytes are, and bytes that nobody has are an error', async () => {
  await using here = await TestDaemon.start({
    configuration: configuration(),
    args: ['--from', snapshot],
  });
  await kubo.stop();
  const names = await here.shell('ls t/wide | wc -l; stat -c %s t/deep/large', { in: 'ipfs' });
  expect(names).toBe('300\n3000000\n');
  const { code, stdout } = await here.attempt('cat', ['t/deep/large'], { in: 'ipfs' });
  expect([code, stdout]).toEqual([1, '']);
  await kubo.restart();
  await here.run('cmp', ['t/deep/large', there.path('ipfs', 't/deep/large')], {
    in: 'ipfs',
    timeoutMs: SYNC_MS_MAX,
  });
});
