/** Operations of programs on the mount, each small, for tests that end the daemon in the middle of one. */
import type { Kernel } from '../posix/kernel.ts';

const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
} as const;
const EXCHANGE = 2;
const FIFO = 0o010644;

/** Bytes that differ from place to place. */
const text = (bytes: number, seed: string): string =>
  Array.from({ length: Math.ceil(bytes / 8) }, (_, at) => `${seed}${at}`.padEnd(8, '.'))
    .join('')
    .slice(0, bytes);

const OLD = text(3000, 'old');
const NEW = text(5000, 'new');
/** Above what lies packed in the journal. */
const LARGE = text(200_000, 'large');

/** A directory of the operation's own. */
export class Place {
  readonly kernel: Kernel;
  readonly directory: string;
  /** Open descriptors: what they show is part of the state, and they are closed in the end. */
  readonly held: number[] = [];
  /** How many of them are for writing. */
  writers = 0;

  /** Resolves when no file is being written but those held: their records are there. */
  readonly #rest: (writers: number) => Promise<void>;

  constructor(kernel: Kernel, directory: string, rest: (writers: number) => Promise<void>) {
    this.kernel = kernel;
    this.directory = directory;
    this.#rest = rest;
  }

  rest(): Promise<void> {
    return this.#rest(this.writers);
  }

  path(name: string): string {
    return `${this.directory}/${name}`;
  }

  open(name: string, flags: number): Promise<number> {
    return this.kernel.open(this.path(name), flags, 0o644);
  }

  /** Open until the end. */
  async hold(name: string, flags: number): Promise<number> {
    const fd = await this.open(name, flags);
    this.held.push(fd);
    if (flags !== O.RDONLY) this.writers += 1;
    return fd;
  }

  async make(name: string, bytes: string): Promise<void> {
    const fd = await this.open(name, O.CREAT | O.WRONLY);
    await this.kernel.write(fd, bytes, 0);
    await this.kernel.close(fd);
    await this.rest();
  }
}

export interface Operation {
  readonly name: string;
  /** Before it; answers a descriptor that it is about. */
  readonly prepare?: (place: Place) => Promise<number | undefined>;
  readonly act: (place: Place, fd: number) => Promise<void>;
  /** By a tool, whose answer comes through a socket. */
  readonly isAnswered?: boolean;
}

const one = (name: string, act: (place: Place) => Promise<void>): Operation => ({ name, act });

const made = async (place: Place): Promise<undefined> => {
  await place.make('a', OLD);
};

const about = (name: string, act: (place: Place) => Promise<void>): Operation => ({
  name,
  prepare: made,
  act,
});

const opened = (flags: number) => async (place: Place) => {
  await place.make('a', OLD);
  return place.open('a', flags);
};

const NAMES: readonly Operation[] = [
  one('create', async (p) => p.kernel.close(await p.open('a', O.CREAT | O.WRONLY))),
  one('exclusive create', async (p) =>
    p.kernel.close(await p.open('a', O.CREAT | O.EXCL | O.WRONLY)),
  ),
  about('rename', (p) => p.kernel.rename(p.path('a'), p.path('b'))),
  {
    name: 'rename over a file',
    async prepare(p) {
      await p.make('a', OLD);
      await p.make('b', NEW);
      return undefined;
    },
    act: (p) => p.kernel.rename(p.path('a'), p.path('b')),
  },
  {
    name: 'exchange',
    async prepare(p) {
      await p.make('a', OLD);
      await p.kernel.mkdir(p.path('b'), 0o700);
      return undefined;
    },
    act: (p) => p.kernel.rename(p.path('a'), p.path('b'), EXCHANGE),
  },
  about('link', (p) => p.kernel.link(p.path('a'), p.path('b'))),
  about('unlink', (p) => p.kernel.unlink(p.path('a'))),
  {
    name: 'unlink of an open file',
    async prepare(p) {
      await p.make('a', OLD);
      await p.hold('a', O.RDWR);
      return undefined;
    },
    act: (p) => p.kernel.unlink(p.path('a')),
  },
  one('mkdir', (p) => p.kernel.mkdir(p.path('a'), 0o755)),
  {
    name: 'rmdir',
    async prepare(p) {
      await p.kernel.mkdir(p.path('a'), 0o755);
      return undefined;
    },
    act: (p) => p.kernel.rmdir(p.path('a')),
  },
  one('symlink', (p) => p.kernel.symlink('to/nowhere', p.path('a'))),
  one('mknod', (p) => p.kernel.mknod(p.path('a'), FIFO, 0, 0)),
  one('tmpfile and link', async (p) => {
    const fd = await p.kernel.tmpfile(p.directory, 0o600);
    await p.kernel.write(fd, NEW, 0);
    await p.kernel.linkFile(fd, p.path('a'));
    await p.kernel.close(fd);
  }),
];

const ATTRIBUTES: readonly Operation[] = [
  about('chmod', (p) => p.kernel.chmod(p.path('a'), 0o4751)),
  about('chown', (p) => p.kernel.chown(p.path('a'), 1234, 4321)),
  about('utimens', (p) => p.kernel.utimes(p.path('a'), 1_000_000, 2_000_000)),
  about('setxattr', (p) => p.kernel.setxattr(p.path('a'), 'user.kitfs', 'value', 0)),
  {
    name: 'removexattr',
    async prepare(p) {
      await p.make('a', OLD);
      await p.kernel.setxattr(p.path('a'), 'user.kitfs', 'value', 0);
      return undefined;
    },
    act: (p) => p.kernel.removexattr(p.path('a'), 'user.kitfs'),
  },
];

const BYTES: readonly Operation[] = [
  about('open that truncates', async (p) => p.kernel.close(await p.open('a', O.WRONLY | O.TRUNC))),
  one('create and write', (p) => p.make('a', NEW)),
  one('create and write of a large file', (p) => p.make('a', LARGE)),
  {
    name: 'write',
    prepare: opened(O.RDWR),
    async act({ kernel }, fd) {
      await kernel.write(fd, NEW, 100);
      await kernel.close(fd);
    },
  },
  {
    name: 'append',
    prepare: opened(O.WRONLY | O.APPEND),
    async act({ kernel }, fd) {
      await kernel.write(fd, NEW, 0);
      await kernel.write(fd, NEW, 0);
      await kernel.close(fd);
    },
  },
  about('truncate', (p) => p.kernel.truncate(p.path('a'), 1234)),
  {
    name: 'fallocate',
    prepare: opened(O.RDWR),
    async act({ kernel }, fd) {
      await kernel.fallocate(fd, 0, 0, 10_000);
      await kernel.close(fd);
    },
  },
  {
    name: 'fsync',
    prepare: opened(O.RDWR),
    async act({ kernel }, fd) {
      await kernel.write(fd, NEW, 0);
      await kernel.fsync(fd);
      await kernel.close(fd);
    },
  },
  {
    name: 'copy_file_range',
    async prepare(p) {
      await p.make('b', OLD);
      await p.hold('b', O.RDONLY);
      return opened(O.RDWR)(p);
    },
    async act({ kernel, held: [from = -1] }, fd) {
      await kernel.copyRange(from, 100, fd, 50, 2500);
      await kernel.close(fd);
    },
  },
  {
    name: 'close of a written file',
    async prepare(p) {
      const fd = await p.open('a', O.CREAT | O.RDWR);
      await p.kernel.write(fd, NEW, 0);
      return fd;
    },
    act: ({ kernel }, fd) => kernel.close(fd),
  },
];

/** Without an open file: a session that a kill ends leaves a record of its own. */
const OPENING = ['create', 'exclusive create', 'tmpfile and link', 'unlink of an open file'];

/** Of one request each: what is left of them after a kill is all, or nothing. */
export const OPERATIONS_OF_ONE_REQUEST: readonly Operation[] = [...NAMES, ...ATTRIBUTES].filter(
  ({ name }) => !OPENING.includes(name),
);

/** Calls of tools, made by `call`, which rejects when it is told of an error. */
export function toolOperations(call: (tool: string, input: object) => Promise<void>): Operation[] {
  const tool = (name: string, inputOf: (path: (name: string) => string) => object): Operation => ({
    name,
    prepare: made,
    act: (place) =>
      call(
        name,
        inputOf((at) => `/ipfs/${place.path(at)}`),
      ),
    isAnswered: true,
  });
  return [
    tool('vfs_write', (path) => ({ path: path('b'), content: NEW })),
    tool('vfs_move', (path) => ({ source: path('a'), destination: path('b') })),
    tool('vfs_rm', (path) => ({ path: path('a') })),
  ];
}

/** With passthrough the kernel writes these bytes itself, without it the daemon does. */
export const OPERATIONS_ON_BYTES = BYTES;
export const OPERATIONS: readonly Operation[] = [...NAMES, ...ATTRIBUTES, ...BYTES];
