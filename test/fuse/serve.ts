/**
 * Serves a whole file system at a directory until it is told to end: `node serve.js DIR DRIVER [hung]`.
 * DRIVER is as in the configuration, or `hindered`: automatic, on a machine whose kernel refuses the
 * native driver. With `hung` content by CID comes from a backend that hangs, and what is asked of it
 * is printed (`fakes/hung.ts`). With `elsewhere` the file `/ipfs/far` is elsewhere, and a line
 * `origin MANNER` says what becomes of who is asked for it (`fakes/origin.ts`). Prints `mounted` with
 * the driver and its reason, and at the end what the mount's state was as JSON. Run in a process of its
 * own, because a process must not touch the mount it serves.
 *
 * Lines on its standard input are changes that do not come from the mount, and each is answered
 * with `done` once the kernel was told: `write PATH TEXT`, `remove PATH`.
 */
import { createInterface } from 'node:readline';
import { SystemClock } from '../../src/base/clock.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { loadNative, type Native } from '../../src/base/native.ts';
import { O_WRONLY } from '../../src/base/posix.ts';
import { ChosenDriver, type DriverChoice } from '../../src/fuse/chosen.ts';
import { HungContent } from '../fakes/hung.ts';
import { Fixture, ROOT } from '../vfs/fixture.ts';
import { Far } from './far.ts';

const [directory, driver = 'native', content] = process.argv.slice(2);
if (directory === undefined) throw new Error('which directory?');

const say = (line: string) => process.stdout.write(`${line}\n`);
const complain = (fields: object, message: string) =>
  void process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);

const isHindered = driver === 'hindered';

function hindered(): Native {
  const refuse = () => {
    throw Object.assign(new Error('ENODEV: no such device, mount'), { code: 'ENODEV' });
  };
  return { ...loadNative(), mountFuse: refuse, mountWithHelper: refuse };
}

const far = content === 'elsewhere' ? await Far.make(say) : undefined;
const fixture =
  far?.here ?? new Fixture(undefined, content === 'hung' ? new HungContent(say) : undefined);
const { vfs, journal } = fixture;
const ipfs = fixture.ino('/ipfs');
const server = new ChosenDriver({
  driver: isHindered ? 'auto' : (driver as DriverChoice),
  fileSystem: vfs,
  table: vfs.core.table,
  journal,
  native: isHindered ? hindered() : loadNative(),
  clock: new SystemClock(),
  log: { info: () => {}, warn: isHindered ? () => {} : complain, error: complain },
});
vfs.core.invalidator = server.invalidator;

async function change(line: string): Promise<void> {
  const [verb, path = '', text = ''] = line.split(' ');
  const name = nameOfText(path);
  if (verb === 'write') {
    const opened = vfs.create(ROOT, ipfs, name, 0o100644, O_WRONLY);
    vfs.write(ROOT, opened.handle.fh, Buffer.from(text), 0, false);
    vfs.release(opened.handle.fh);
  } else if (verb === 'origin') {
    far?.setManner(path);
  } else {
    vfs.unlink(ROOT, ipfs, name);
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
const { driver: mountedBy, reason } = server.status();
say(`mounted ${mountedBy}: ${reason}`);
await server.ended;
const { inodes, handles, waiting } = server.status();
say(JSON.stringify({ inodes, handles, waiting, open: vfs.core.handles.size }));
await fixture.close();
process.exit(0);
