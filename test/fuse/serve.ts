/**
 * Serves a whole file system at a directory until it is told to end: `node serve.js DIR`. Prints
 * `mounted`, and at the end what the mount's state was as JSON. Run in a process of its own, because
 * a process must not touch the mount it serves.
 *
 * Lines on its standard input are changes that do not come from the mount, and each is answered
 * with `done` once the kernel was told: `write PATH TEXT`, `remove PATH`.
 */
import { createInterface } from 'node:readline';
import { SystemClock } from '../../src/base/clock.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { O_WRONLY } from '../../src/base/posix.ts';
import { FuseServer } from '../../src/fuse/fuse.ts';
import { Fixture, ROOT } from '../vfs/fixture.ts';

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('which directory?');

const say = (line: string) => process.stdout.write(`${line}\n`);
const complain = (fields: object, message: string) =>
  void process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);

const fixture = new Fixture();
const { vfs, journal } = fixture;
const server = new FuseServer({
  fileSystem: vfs,
  journal,
  native: loadNative(),
  clock: new SystemClock(),
  log: { info: () => {}, warn: complain, error: complain },
});
vfs.core.invalidator = server.invalidator;

async function change(line: string): Promise<void> {
  const [verb, path = '', text = ''] = line.split(' ');
  const name = nameOfText(path);
  if (verb === 'write') {
    const opened = vfs.create(ROOT, fixture.ipfs, name, 0o100644, O_WRONLY);
    vfs.write(ROOT, opened.handle.fh, Buffer.from(text), 0, false);
    vfs.release(opened.handle.fh);
  } else {
    vfs.unlink(ROOT, fixture.ipfs, name);
  }
  await server.invalidator.settled();
}

createInterface({ input: process.stdin }).on('line', (line) => {
  change(line).then(
    () => say('done'),
    (error: unknown) => say(`failed ${String(error)}`),
  );
});
process.on('SIGTERM', () => {
  server.unmount().catch((error: unknown) => say(`failed ${String(error)}`));
});

await server.mount(directory);
say('mounted');
await server.ended;
const { inodes, handles, waiting } = server.status();
say(JSON.stringify({ inodes, handles, waiting, open: vfs.core.handles.size }));
fixture.close();
process.exit(0);
