/** `kitfs sync`: publishes a subtree as a CID, brings everything to the disk, or writes a CAR. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { Command } from 'commander';
import { asOpError } from '../base/errors.ts';
import type { ControlClient } from '../daemon/daemon.ts';
import { callTool } from './call.ts';
import {
  type Ending,
  interruptible,
  type JsonOption,
  type PlaceOptions,
  runs,
  withDaemon,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { finished, type JobView } from './job.ts';
import {
  complainOf,
  EXIT,
  ProgressLine,
  print,
  printJson,
  sizeText,
  UsageError,
} from './output.ts';
import { treePath } from './tree-path.ts';

interface SyncOptions extends PlaceOptions, JsonOption {
  readonly wait?: boolean;
  readonly local?: boolean;
  readonly car?: string;
}

/** How long the command stays with a sync that it does not wait for. */
const GLANCE_MS = 2000;

export function addSyncCommand(program: Command, ending: Ending): void {
  const command = program
    .command('sync')
    .description('give a subtree its CID and keep a snapshot of it')
    .argument('[path]', 'in the tree, or of this host below the mount point', '/ipfs')
    .option('--wait', 'wait until it is done, however long it takes')
    .option('--local', 'bring all bytes and the journal to the disk, and nothing else')
    .option('--car <file>', 'also write all blocks of it into a CAR file; waits');
  withJson(withPlaces(command), 'the result');
  withExamples(command, [
    ['kitfs sync', 'the CID of /ipfs'],
    ['kitfs sync /ipfs/site --car site.car', 'one directory, to be carried elsewhere'],
    ['kitfs sync --local', 'what sync(1) does not do on a FUSE mount'],
  ]);
  runs<[string], SyncOptions>(command, ending, (options, path) => {
    const { local, car, wait } = options;
    if (local === true && (car !== undefined || wait === true)) {
      throw new UsageError('--local goes with neither --wait nor --car');
    }
    return withDaemon(options, (daemon) =>
      local === true ? syncLocal(daemon, options) : publish(daemon, path, options),
    );
  });
}

async function syncLocal(daemon: ControlClient, { json }: SyncOptions): Promise<number> {
  const done = (await daemon.ask('sync_local', {}, { signal: interruptible() })) as {
    readonly files: number;
  };
  if (json === true) printJson(done);
  else print(`everything is on the disk (${done.files} files were not)`);
  return EXIT.done;
}

async function publish(daemon: ControlClient, path: string, options: SyncOptions): Promise<number> {
  const signal = interruptible();
  const isWaiting = options.wait === true || options.car !== undefined;
  const values = { path: await treePath(daemon, path) };
  const glanced = { ...values, wait_ms: GLANCE_MS };
  const envelope = isWaiting
    ? await finished(daemon, 'vfs_sync_to_ipfs', values, signal)
    : await callTool(daemon, 'vfs_sync_to_ipfs', glanced, signal);
  if (envelope.status === 'error') {
    const made = envelope.context?.partial;
    if (options.json === true) printJson(envelope);
    else {
      // It is here, whatever became of the way to a store.
      if (made?.['root_cid'] !== undefined) print(textOf({ ...values, ...made }, undefined));
      complainOf(envelope);
    }
    return EXIT.failed;
  }
  const { root_cid } = envelope.data;
  const car =
    options.car === undefined || typeof root_cid !== 'string'
      ? undefined
      : { file: options.car, bytes: await writeCar(daemon, root_cid, options.car, signal) };
  if (options.json === true) printJson({ ...envelope.data, ...(car === undefined ? {} : { car }) });
  else print(textOf(envelope.data, car));
  return EXIT.done;
}

/** Whole or not at all: another name until the last block is there. Returns how many bytes. */
async function writeCar(
  daemon: ControlClient,
  cid: string,
  file: string,
  signal: AbortSignal,
): Promise<number> {
  using line = new ProgressLine();
  const partial = `${file}.part`;
  const op = `write ${file}`;
  try {
    await using handle = await opened(partial);
    let bytes = 0;
    let written: Promise<void> = Promise.resolve();
    const onPart = (part: unknown): Promise<void> => {
      const chunk = Buffer.from(String(part), 'base64');
      bytes += chunk.length;
      line.show(sizeText(bytes));
      // One after the other: the next part may come while this one is written.
      written = written.then(() => handle.value.writeFile(chunk));
      return written;
    };
    await daemon.ask('car', { cid }, { signal, onPart });
    await written;
    await handle.value.sync();
    await rename(partial, file);
    return bytes;
  } catch (error) {
    await rm(partial, { force: true });
    throw asOpError(error, op);
  }
}

async function opened(path: string): Promise<AsyncDisposable & { readonly value: FileHandle }> {
  const value = await open(path, 'w');
  return { value, [Symbol.asyncDispose]: () => value.close() };
}

function textOf(
  data: Readonly<Record<string, unknown>>,
  car: { readonly file: string; readonly bytes: number } | undefined,
): string {
  const { job, path, root_cid, snapshot_cid, changed } = data;
  if (job !== undefined) {
    const { job_id } = job as JobView;
    return `it goes on: kitfs call job_get '{"job_id":"${job_id}"}'`;
  }
  const lines = [
    `${path}  ${root_cid}${changed === false ? '  (unchanged)' : ''}`,
    `snapshot  ${snapshot_cid}`,
  ];
  if (car !== undefined) lines.push(`${car.file}  ${sizeText(car.bytes)}`);
  return lines.join('\n');
}
