/** What the table of POSIX cases cannot say, because it takes the journal, a kill, or a mount made in another way. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Calls, CallsProgram, MAP, PROT } from '../posix/calls.ts';
import { call, connectAgent } from './agent.ts';
import { TestDaemon } from './daemon.ts';

const O_RDWR = 2;
const PAGE = 4096;
const PAGES = 40;

/** Bytes written through a map whose descriptor is closed, as a whole and as a copy made off the mount. */
async function writeThroughMap(calls: Calls, name: string): Promise<number> {
  const fd = await calls.open(name, O_RDWR);
  const map = await calls.map(fd, PAGES * PAGE, PROT.READ | PROT.WRITE, MAP.SHARED);
  await calls.close(fd);
  for (let page = 0; page < PAGES; page += 3) {
    await calls.poke(map, page * PAGE + 17, `page ${page} through the map`);
  }
  return map;
}

test('what a map wrote after its descriptor was closed has its size, time, CID and record', async () => {
  using program = new CallsProgram();
  await using daemon = await TestDaemon.start();
  const agent = await connectAgent(daemon.mcpSocket);
  await daemon.shell(`mkdir m; seq 1 1000000 | head -c ${PAGES * PAGE} > m/a; touch -d @1 m/a`, {
    in: 'ipfs',
  });
  const sync = () =>
    call(agent, 'vfs_sync_to_ipfs', { path: '/ipfs/m', targets: [], wait_for: 'local' });
  /** Known once the bytes are at rest: some time after the last map of them is gone. */
  const cidOf = async (name: string): Promise<string> => {
    const args = ['--only-values', '-n', 'user.ipfs.cid', name];
    const ask = () => daemon.attempt('getfattr', args, { in: 'ipfs' });
    await expect.poll(async () => (await ask()).code, { timeout: 30_000 }).toBe(0);
    return (await ask()).stdout.trim();
  };
  await sync();
  const before = await cidOf('m/a');

  await using calls = new Calls(daemon.spawn(program.path, [], { in: 'ipfs' }));
  const map = await writeThroughMap(calls, 'm/a');
  await calls.unmap(map);

  const [size, mtime] = (await daemon.run('stat', ['-c', '%s %Y', 'm/a'], { in: 'ipfs' }))
    .split(' ')
    .map(Number);
  expect(size).toBe(PAGES * PAGE);
  expect(mtime).toBeGreaterThan(1);
  await daemon.run('cp', ['m/a', 'm/b'], { in: 'ipfs' });
  await sync();
  expect(await cidOf('m/a')).toBe(await cidOf('m/b'));
  expect(await cidOf('m/a')).not.toBe(before);

  const history = await call(agent, 'fs_journal_get_history', { path: '/ipfs/m/a' });
  // One by the shell that made it, one by the map.
  expect(JSON.stringify(history).match(/"op":"write"/g)).toHaveLength(2);
  await agent.close();
});

test('what a map wrote and msync brought home is there after a kill, and the journal is whole', async () => {
  using program = new CallsProgram();
  await using daemon = await TestDaemon.start();
  await daemon.shell(`head -c ${PAGES * PAGE} /dev/zero > a`, { in: 'ipfs' });
  await using calls = new Calls(daemon.spawn(program.path, [], { in: 'ipfs' }));
  const map = await writeThroughMap(calls, 'a');
  await calls.sync(map);
  await daemon.kill();
  await calls[Symbol.asyncDispose]();
  await daemon.restart();
  const text = await daemon.run('cat', ['a'], { in: 'ipfs' });
  expect(text.length).toBe(PAGES * PAGE);
  for (let page = 0; page < PAGES; page += 3)
    expect(text).toContain(`page ${page} through the map`);
  expect((await daemon.kitfs(['fsck'])).code).toBe(0);
});

const DEVICES = 'mknod null c 1 3; mknod zero c 1 5; chmod 666 null zero';
const SET_ID = 'cp /usr/bin/id whoami; chmod 4755 whoami';
const AS_USER = 'setpriv --reuid 1001 --regid 1001 --clear-groups';

test('devices and set-id bits are kept and have no effect, unless the configuration lets them', async () => {
  await using plain = await TestDaemon.start();
  await plain.shell(
    `${DEVICES}; ! (echo x > null) 2> why; grep -q 'Permission denied' why
     ${SET_ID}; test "$(${AS_USER} ./whoami -u)" = 1001; test "$(stat -c %a whoami)" = 4755`,
    { in: 'ipfs' },
  );
  const configuration = '[mount]\nsuid = true\ndev = true\n';
  await using open = await TestDaemon.start({ configuration });
  await open.shell(
    `${DEVICES}; echo x > null; test "$(head -c 5 zero | od -An -tx1)" = ' 00 00 00 00 00'
     ${SET_ID}; test "$(${AS_USER} ./whoami -u)" = 0`,
    { in: 'ipfs' },
  );
});

test('cp -a and rsync -aAX copy trees with attributes, links and holes, and find nothing to do again', async () => {
  await using daemon = await TestDaemon.start();
  const tree = join(daemon.directory, 'tree');
  await daemon.shell(
    `mkdir ${tree}; cd ${tree}; echo a > a; ln a hard; ln -s a soft; mkfifo fifo; mkdir -m 1777 d
     setfattr -n user.one -v 1 a; setfattr -n user.two -v 2 d; setfattr -n trusted.three -v 3 a
     truncate -s 5000000 sparse; chmod 4751 a; touch -d '1999-12-31 23:59:59.123456789' a`,
    { in: daemon.directory },
  );
  writeFileSync(join(tree, 'd', 'x'), 'x'.repeat(100_000));
  await daemon.shell(
    `cp -a ${tree} copied; rsync -aHAX ${tree}/ synced/
     for made in copied synced; do
       test -z "$(rsync -aHAXc --itemize-changes ${tree}/ $made/)"
       test "$(stat -c %a $made/a)" = 4751; test "$(stat -c %h $made/a)" = 2
       getfattr --absolute-names -d -m - $made/a | grep -q 'trusted.three="3"'
     done
     test "$(du -k copied/sparse | cut -f1)" -lt 100`,
    { in: 'ipfs' },
  );
});

test('cp -a, rsync -aAX and tar bring ACLs along, which then decide, after a restart too', async () => {
  await using daemon = await TestDaemon.start();
  const tree = join(daemon.directory, 'tree');
  await daemon.shell(
    `mkdir ${tree}; cd ${tree}; echo a > a; chmod 640 a; setfacl -m u:1001:rw,g:1005:r,m:r a
     mkdir e; setfacl -m u:1001:rwx e; setfacl -d -m u:1001:rwx,o:- e; echo b > e/b`,
    { in: daemon.directory },
  );
  await daemon.shell(
    `cp -a ${tree} copied; rsync -aAX ${tree}/ synced/; mkdir unpacked
     tar --acls -C ${tree} -cf - . | tar --acls -C unpacked -xpf -
     list() { (cd $1; getfacl $(find . | sort)); }; list ${tree} > listed
     for made in copied synced unpacked; do list $made | cmp - listed; done
     test -z "$(rsync -aAX --itemize-changes ${tree}/ synced/)"`,
    { in: 'ipfs' },
  );
  await daemon.stop();
  await daemon.restart();
  await daemon.shell(
    `cd copied; ${AS_USER} cat a; ! ${AS_USER} sh -c 'echo no > a' 2>/dev/null
     ! setpriv --reuid 1002 --regid 1002 --clear-groups cat a 2>/dev/null
     umask 077; ${AS_USER} sh -c 'umask 077; echo mine > e/new; mkdir e/sub'
     getfacl -c e/new | grep -qx 'user:1001:rwx.*#effective:rw-'
     test "$(stat -c %a e/new)" = 660; getfacl -c e/sub | grep -qx default:user:1001:rwx
     umask 027; : > plain; mkdir dir; test "$(stat -c %a plain dir | tr '\n' ' ')" = '640 750 '`,
    { in: 'ipfs' },
  );
  expect((await daemon.kitfs(['fsck'])).code).toBe(0);
});
