/** `/ipfs/<cid>/…` on the mount: immutable content, from what is kept here, and from the node when there is one. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { call, connectAgent } from './agent.ts';
import { TestDaemon } from './daemon.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await TestDaemon.start();
});
afterAll(() => daemon.close());

/** CID of the text `hello world` under the default profile, as every IPFS node computes it. */
const HELLO_WORLD = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';
const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';

test('a published tree reads by its root as it was, whatever happens to the original', async () => {
  await daemon.shell(
    `mkdir -p t/sub/empty; seq 1 300000 > t/big; echo x > t/sub/x; ln -s ../big t/sub/l
     (cd t; find . -type f -exec sha256sum {} + | sort) > sums`,
    { in: 'ipfs' },
  );
  const agent = await connectAgent(daemon.mcpSocket);
  const { root_cid: root } = await call(agent, 'vfs_sync_to_ipfs', {
    path: '/ipfs/t',
    targets: [],
    wait_for: 'local',
  });
  await daemon.shell(
    `rm -rf t/sub; echo changed > t/big
     cd ${root}; sha256sum --quiet -c ../sums; test "$(readlink sub/l)" = ../big; ls sub/empty
     cmp big sub/l; test "$(ls -a | tr '\\n' ' ')" = '. .. big sub '
     test "$(stat -c %a big)" = 444; dd if=big bs=1000 skip=1234 count=1 status=none | wc -c | grep -qx 1000
     cd sub; cd ../..; ls | grep -q sums`,
    { in: 'ipfs' },
  );
  await agent.close();
});

test('content by CID cannot be changed, and is not listed', async () => {
  const agent = await connectAgent(daemon.mcpSocket);
  const { cid } = await call(agent, 'ipfs_add', { content: 'hello world' });
  expect(cid).toBe(HELLO_WORLD);
  await daemon.shell(
    `test "$(cat ${cid})" = 'hello world'
     ! (echo no > ${cid}) 2>/dev/null; ! rm -f ${cid} 2>/dev/null; ! mkdir ${ABSENT} 2>/dev/null
     ! mv sums ${ABSENT} 2>/dev/null; ! ls | grep -q ${cid}`,
    { in: 'ipfs' },
  );
  await agent.close();
});

test('an absent or bad CID is ENOENT, until its content arrives', async () => {
  const name = 'bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4';
  const cat = (what: string) => daemon.attempt('cat', [what], { in: 'ipfs' });
  for (const missing of [ABSENT, `${name}x`, `${ABSENT}/a/b`]) {
    expect((await cat(missing)).stderr).toContain('No such file');
  }
  const agent = await connectAgent(daemon.mcpSocket);
  const { cid } = await call(agent, 'ipfs_add', { content: 'arrives late' });
  expect((await cat(String(cid))).stdout).toBe('arrives late');
  await agent.close();
});

test('the attribute user.ipfs.cid of a file is the CID its content has everywhere', async () => {
  await daemon.shell(`printf 'hello world' > named`, { in: 'ipfs' });
  const agent = await connectAgent(daemon.mcpSocket);
  const stat = await call(agent, 'vfs_stat', { path: '/ipfs/named', compute_cid: true });
  expect(stat['cid']).toBe(HELLO_WORLD);
  const script = `import os; print(os.getxattr('named', 'user.ipfs.cid').decode()); print(os.listxattr('named'))`;
  const told = await daemon.run('python3', ['-c', script], { in: 'ipfs' });
  expect(told).toBe(`${HELLO_WORLD}\n[]\n`);
  await agent.close();
});

test('the control files say how it is', async () => {
  const status = JSON.parse(await daemon.run('cat', ['.kitfs/status.json'])) as { pid: number };
  expect(status.pid).toBe(daemon.pid);
  const lines = (await daemon.run('cat', ['.kitfs/journal.ndjson'])).trim().split('\n');
  const records = lines.map((line) => JSON.parse(line) as { seq: number; op: string });
  expect(records.map(({ seq }) => seq)).toEqual(records.map((_, i) => i + 1));
  expect(records.some(({ op }) => op === 'sync_to')).toBe(true);
  await daemon.shell('! (echo x > .kitfs/status.json) 2>/dev/null; ! mkdir .kitfs/x 2>/dev/null');
});

test('content that only the node has is read by its CID, and is not listed either', async () => {
  await using kubo = await KuboNode.start();
  const configuration = `[ipfs.kubo]\napi = "${kubo.api}"\n`;
  await using attached = await TestDaemon.start({ configuration });
  await kubo.rpc.bytes('files/write?arg=/d/deep/f&create=true&parents=true', 'of the node');
  const { Hash: cid } = await kubo.rpc.json<{ Hash: string }>('files/stat?arg=/d');
  const at = `ipfs/${cid}`;
  expect(await attached.run('find', [at, '-printf', '%P %y\n'])).toBe(' d\ndeep d\ndeep/f f\n');
  expect(await attached.run('cat', [`${at}/deep/f`])).toBe('of the node');
  expect(await attached.run('ls', ['ipfs'])).toBe('');
});
