/**
 * `node dist/test/states/make.js NAME`: leaves a state directory of the version that is built now as
 * `test/states/NAME.tar.gz`, and what it shows as `NAME.json`. Made once, with the last commit of an issue, and kept
 * for ever: every later version must open it (`test/integration/states.test.ts`).
 *
 * The daemon is killed with a file open for writing and a removed file open, so that what is stored is also what a
 * kill leaves: sessions without a record, an orphan, a WAL that was never folded.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { call, connectAgent } from '../integration/agent.ts';
import { TestDaemon } from '../integration/daemon.ts';
import { observe } from './observe.ts';

const HERE = fileURLToPath(new URL('../../../test/states/', import.meta.url));
/** Programs that made the records are named in them: those of every Debian. */
const PATH = '/usr/bin:/bin';
const SEALED_POLL_MS = 50;

/** First round: what is sealed before it is changed, so that its old bytes can be asked for by CID. */
const FIRST = `
import os
def write(path, data, mode='wb'):
    with open(path, mode) as file: file.write(data)
# Small when it is compressed, and no two pieces of a file are the same by accident of an offset.
def lines(first, count): return b''.join(b'%d\\n' % (i % 97) * 20 for i in range(first, first + count // 20))

os.mkdir('files'); os.chdir('files')
write('hello', b'hello world\\n')
write('empty', b'')
write('packed', lines(0, 10000))
write('large', lines(0, 200000))
write('overwritten', b'the first version\\n' * 10)
write('overwritten-large', lines(7, 50000))
write('truncated', lines(3, 20000))
write('appended', b'one\\n')
write('continued', lines(5, 3000))
write('continued-large', lines(5, 30000))
write('removed', b'removed later\\n')
with open('sparse', 'wb') as file:
    file.seek(3 << 20); file.write(b'end')
os.truncate('sparse', 5 << 20)
`;

const SECOND = `
import os, socket
def write(path, data, mode='wb'):
    with open(path, mode) as file: file.write(data)
os.chdir('files')
write('overwritten', b'the second version, longer\\n' * 20, 'r+b')
with open('overwritten-large', 'r+b') as file:
    file.seek(70000); file.write(b'changed in the middle')
os.truncate('truncated', 12345)
write('appended', b'two\\n', 'ab')
os.chdir('..')

os.mkdir('links'); os.mkdir('links/deep')
write('links/one', b'three names\\n'); os.link('links/one', 'links/deep/two'); os.link('links/one', 'three')
os.symlink('../files/hello', 'links/relative'); os.symlink('/nowhere/at all', 'links/dangling')
os.symlink('t' * 1000, 'links/long')

os.mkdir('special')
os.mknod('special/null', 0o20666, os.makedev(1, 3)); os.mknod('special/loop', 0o60640, os.makedev(7, 200))
os.mkfifo('special/fifo', 0o620)
socket.socket(socket.AF_UNIX).bind('special/socket')

os.mkdir('attributes'); os.chdir('attributes')
write('file', b'with attributes'); os.mkdir('directory')
os.setxattr('file', 'user.text', b'text'); os.setxattr('file', 'user.empty', b'')
os.setxattr('file', 'user.bytes', bytes(range(256)) * 4); os.setxattr('directory', 'user.of.a.directory', b'd')
os.setxattr('file', 'user.gone', b'gone'); os.removexattr('file', 'user.gone')
write('owned', b'not mine'); os.chown('owned', 1234, 4321); os.chmod('owned', 0o4751)
write('old', b'from before 1970'); os.utime('old', ns=(-1, -1234567890123456789))
write('new', b'from far away'); os.utime('new', ns=(1, 7258118400123456789))
os.mkdir('sticky'); os.chmod('sticky', 0o1777)
os.mkdir('set-gid'); os.chown('set-gid', 0, 777); os.chmod('set-gid', 0o2775); write('set-gid/inherits', b'')
os.chdir('..')

os.mkdir('names'); os.chdir('names')
for name in [b'with space', b'new\\nline', b'-dash', b'back\\\\slash', b"'quotes\\"", b'\\xff\\xfe latin', b'..hidden',
             b'n' * 255, 'caf\\u00e9'.encode(), 'cafe\\u0301'.encode(), '\\U0001f9ed'.encode(),
             b'tab\\there', b'\\x01']:
    write(name, name)
os.chdir('..')

os.makedirs('moved/from/sub'); write('moved/from/sub/file', b'moved with its directory')
os.rename('moved/from', 'moved/to'); os.mkdir('elsewhere'); os.rename('moved/to/sub', 'elsewhere/sub')
write('moved/over', b'this one goes'); write('moved/new', b'this one stays'); os.rename('moved/new', 'moved/over')
os.rename('files/hello', 'moved/hello'); os.symlink('hello', 'moved/link')
os.unlink('files/removed'); os.mkdir('gone'); os.rmdir('gone')
os.mkdir('many')
for i in range(40): write('many/%02d' % i, b'')
for i in range(0, 40, 3): os.unlink('many/%02d' % i)
`;

/** Third: stays open until the daemon is dead. */
const OPEN = `
import os, sys
small = os.open('files/continued', os.O_RDWR); os.pwrite(small, b'open when the daemon died', 1000)
large = os.open('files/continued-large', os.O_RDWR); os.pwrite(large, b'open when the daemon died', 100000)
fresh = os.open('files/fresh', os.O_CREAT | os.O_RDWR, 0o600); os.write(fresh, b'new and open when the daemon died')
orphan = os.open('files/orphan', os.O_CREAT | os.O_RDWR, 0o600)
os.write(orphan, b'o' * 100000); os.unlink('files/orphan')
print('open', flush=True); sys.stdin.read()`;

interface Status {
  readonly dirty: { readonly files: number };
}

async function allSealed(daemon: TestDaemon): Promise<void> {
  while ((await daemon.json<Status>(['status'])).dirty.files > 0) await wait(SEALED_POLL_MS);
}

const cidOf = async (daemon: TestDaemon, path: string): Promise<string> => {
  const program = `import os, sys; print(os.getxattr(sys.argv[1], 'user.ipfs.cid').decode())`;
  return (await daemon.run('python3', ['-c', program, path])).trim();
};

/** Makes everything; what can be read by CID afterwards. */
async function fill(daemon: TestDaemon): Promise<string[]> {
  await daemon.run('python3', ['-c', FIRST], { in: 'ipfs' });
  await allSealed(daemon);
  const sealed = ['hello', 'packed', 'large', 'overwritten', 'overwritten-large', 'truncated'];
  const paths = await Promise.all(sealed.map((name) => cidOf(daemon, `ipfs/files/${name}`)));
  await daemon.run('python3', ['-c', SECOND], { in: 'ipfs' });
  const agent = await connectAgent(daemon.mcpSocket);
  const ask = (tool: string, args: Readonly<Record<string, unknown>>) => call(agent, tool, args);
  const path = '/ipfs/tool/written.txt';
  await ask('vfs_write', { path, content: 'first', parents: true });
  await ask('vfs_write', { path, content: 'by a tool, for the second time' });
  await ask('vfs_mount', { backend: 'ipfs', mount_point: '/second/tree' });
  await ask('vfs_write', { path: '/second/tree/file', content: 'in a tree of its own' });
  await ask('vfs_copy', { source: '/ipfs/files/large', destination: '/second/tree/copy' });
  const added = await ask('ipfs_add', { content: 'kept by a pin, shown by no file' });
  const wanted = { path: '/ipfs/links', targets: [], wait_for: 'local' };
  const { root_cid: root } = await ask('vfs_sync_to_ipfs', wanted);
  await ask('ipfs_pin_add', { ipfs_path: `/ipfs/${root}`, pin_name: 'a tree' });
  await agent.close();
  await allSealed(daemon);
  return [...paths, String(added['cid']), `${root}/one`, `${root}/deep/two`];
}

/** Kills the daemon while files are open. */
async function killWhileOpen(daemon: TestDaemon, before: () => Promise<void>): Promise<void> {
  const program = daemon.spawn('python3', ['-c', OPEN], { in: 'ipfs' });
  if (program.stdout === null) throw new Error('the program has no output');
  await once(program.stdout, 'data');
  await before();
  await daemon.kill();
  program.stdin?.end();
}

function store(state: string, name: string): void {
  const kept = join(state, '..', 'kept');
  cpSync(state, kept, { recursive: true });
  // Of the process, and of the machine: the next start makes them anew.
  for (const file of ['lock', 'mounted.json', 'journal.db-shm'])
    rmSync(join(kept, file), { force: true });
  const large = { maxBuffer: 2 ** 30 };
  const as = ['--owner=root:0', '--group=root:0', '--sort=name', '--mtime=@0', '--sparse'];
  const tar = execFileSync('tar', ['c', ...as, '-C', kept, '.'], large);
  writeFileSync(
    join(HERE, `${name}.tar.gz`),
    execFileSync('gzip', ['-9n'], { input: tar, ...large }),
  );
}

async function main([name]: readonly string[]): Promise<void> {
  if (name === undefined) throw new Error('which name?');
  process.umask(0o022);
  await using daemon = await TestDaemon.start({ env: { PATH } });
  const paths = await fill(daemon);
  // Folds the WAL: what the killed daemon leaves in it is small.
  await daemon.stop();
  await daemon.restart();
  await killWhileOpen(daemon, async () => {
    const seen = await observe(daemon, ['ipfs', 'second'], paths);
    writeFileSync(join(HERE, `${name}.json`), `${JSON.stringify(seen, null, 2)}\n`);
  });
  store(daemon.state, name);
}

await main(process.argv.slice(2));
