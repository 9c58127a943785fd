/**
 * Everything a state directory shows through a daemon that serves it: each name with its attributes and bytes, what is
 * reached by CID, the pins, the records. Names and attributes are bytes, written one character for each.
 */
import { call, connectAgent } from '../integration/agent.ts';
import type { TestDaemon } from '../integration/daemon.ts';

export interface Entry {
  readonly path: string;
  readonly ino: number;
  /** In octal, as `st_mode`. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly rdev: number;
  /** Nanoseconds since 1970, as text: JSON has no integers of that size. */
  readonly mtime: string;
  readonly ctime: string;
  readonly target?: string;
  readonly sha256?: string;
  readonly xattrs?: Readonly<Record<string, string>>;
}

export interface Observation {
  readonly entries: readonly Entry[];
  /** SHA-256 of what lies at `/ipfs/<key>`. */
  readonly contents: Readonly<Record<string, string>>;
  /** `<type> <cid> <name>`, sorted. */
  readonly pins: readonly string[];
  /** `<seq> <kind> <path> <old path>`, oldest first. */
  readonly records: readonly string[];
}

/** Prints entries below the directories that are its arguments, and sums of the files named on its input. */
const OBSERVER = `
import hashlib, json, os, stat, sys
text = lambda name: name.decode('latin1')

def digest(path):
    with open(path, 'rb') as file: return hashlib.sha256(file.read()).hexdigest()

def entry(path):
    s = os.lstat(path)
    e = {'path': text(path), 'ino': s.st_ino, 'mode': oct(s.st_mode)[2:], 'uid': s.st_uid, 'gid': s.st_gid,
         'nlink': s.st_nlink, 'size': s.st_size, 'rdev': s.st_rdev,
         'mtime': str(s.st_mtime_ns), 'ctime': str(s.st_ctime_ns)}
    if stat.S_ISLNK(s.st_mode): e['target'] = text(os.readlink(path))
    if stat.S_ISREG(s.st_mode): e['sha256'] = digest(path)
    if stat.S_ISREG(s.st_mode) or stat.S_ISDIR(s.st_mode):
        names = sorted(os.listxattr(path))
        if names: e['xattrs'] = {name: text(os.getxattr(path, name)) for name in names}
    return e

def below(path):
    e = entry(path)
    yield e
    if e['mode'].startswith('4'):
        for name in sorted(os.listdir(path)): yield from below(os.path.join(path, name))

entries = [e for root in sys.argv[1:] for e in below(os.fsencode(root))]
contents = {path: digest(os.path.join('ipfs', path)) for path in sys.stdin.read().split()}
json.dump({'entries': entries, 'contents': contents}, sys.stdout)`;

/** Of a daemon that runs. `paths`: what is read by CID, as `<cid>` or `<cid>/<path>`. */
export async function observe(
  daemon: TestDaemon,
  trees: readonly string[],
  paths: readonly string[],
): Promise<Observation> {
  const read = await daemon.run('python3', ['-c', OBSERVER, ...trees], { input: paths.join('\n') });
  const agent = await connectAgent(daemon.mcpSocket);
  try {
    const { pins } = await call(agent, 'ipfs_pin_ls', { pin_type: 'all' });
    return {
      ...(JSON.parse(read) as Pick<Observation, 'entries' | 'contents'>),
      pins: (pins as Record<string, string>[])
        .map(({ pin_type, cid, pin_name = '' }) => `${pin_type} ${cid} ${pin_name}`)
        .sort(),
      records: (await records(daemon)).map(lineOf),
    };
  } finally {
    await agent.close();
  }
}

interface ShownRecord {
  readonly seq: number;
  readonly op: string;
  readonly path: string;
  readonly old_path?: string;
}

/** More than any state of these tests has. */
const RECORDS_MAX = '5000';

async function records(daemon: TestDaemon): Promise<ShownRecord[]> {
  const newestFirst = await daemon.json<ShownRecord[]>(['log', '--limit', RECORDS_MAX]);
  return newestFirst.reverse();
}

const lineOf = ({ seq, op, path, old_path = '' }: ShownRecord): string =>
  `${seq} ${op} ${path} ${old_path}`;
