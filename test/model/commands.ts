/**
 * Random commands, as plain values: the same one is made of the model and of what is tested, and both must answer
 * alike. Every command can be made in every state; what cannot be done is refused by both with the same errno.
 */
import fc from 'fast-check';
import { O } from '../posix/law.ts';
import type { Tree } from './reference.ts';

/** What a call came to: a value, or the name of an errno. */
export type Outcome = { readonly value: unknown } | { readonly code: string };

export type Command =
  | { readonly op: 'mkdir'; readonly path: string; readonly mode: number }
  | { readonly op: 'rmdir'; readonly path: string }
  | { readonly op: 'unlink'; readonly path: string }
  | { readonly op: 'rename'; readonly path: string; readonly to: string; readonly flags: number }
  | { readonly op: 'link'; readonly path: string; readonly to: string }
  | { readonly op: 'symlink'; readonly path: string; readonly target: string }
  | { readonly op: 'create'; readonly path: string; readonly mode: number }
  | { readonly op: 'put'; readonly path: string; readonly bytes: Bytes }
  | { readonly op: 'patch'; readonly path: string; readonly at: number; readonly bytes: Bytes }
  | { readonly op: 'append'; readonly path: string; readonly bytes: Bytes }
  | { readonly op: 'truncate'; readonly path: string; readonly size: number }
  | { readonly op: 'chmod'; readonly path: string; readonly mode: number }
  | { readonly op: 'chown'; readonly path: string; readonly uid: number; readonly gid: number }
  | {
      readonly op: 'setxattr';
      readonly path: string;
      readonly name: string;
      readonly flags: number;
    }
  | { readonly op: 'removexattr'; readonly path: string; readonly name: string }
  | { readonly op: 'look'; readonly path: string }
  | { readonly op: 'open'; readonly slot: number; readonly path: string; readonly flags: number }
  | { readonly op: 'close'; readonly slot: number }
  | { readonly op: 'write'; readonly slot: number; readonly at: number; readonly bytes: Bytes }
  | { readonly op: 'read'; readonly slot: number; readonly at: number; readonly length: number }
  | { readonly op: 'fsync'; readonly slot: number }
  | {
      readonly op: 'allocate';
      readonly slot: number;
      readonly mode: number;
      readonly at: number;
      readonly length: number;
    }
  | {
      readonly op: 'copy';
      readonly slot: number;
      readonly to: number;
      readonly at: number;
      readonly toAt: number;
      readonly length: number;
    };

/** Bytes that are short to print: one letter, many times. */
export interface Bytes {
  readonly letter: string;
  readonly length: number;
}

export const textOf = ({ letter, length }: Bytes): string => letter.repeat(length);

/** Few names, so that commands meet. One has two bytes a letter. */
const name = fc.constantFrom('a', 'b', 'ü');
const depth = (names: number) =>
  fc.array(name, { minLength: names, maxLength: names }).map((parts) => parts.join('/'));
/** Short ones more often: most of the long ones lead nowhere. */
const path = fc.oneof(
  { weight: 6, arbitrary: depth(1) },
  { weight: 3, arbitrary: depth(2) },
  { weight: 1, arbitrary: depth(3) },
);
const slot = fc.nat(2);
/** Small, or about where content moves out of the journal into a file of its own. */
const size = fc.oneof(
  { weight: 4, arbitrary: fc.nat(20) },
  { weight: 1, arbitrary: fc.constantFrom(4096, 65_535, 65_536, 65_537, 140_000) },
);
const bytes = fc.record({ letter: fc.constantFrom('x', 'y', 'z'), length: size });
const mode = fc.constantFrom(0o644, 0o600, 0o755, 0o2755, 0o4711, 0o1777, 0o2644);
const xattr = fc.constantFrom('user.one', 'user.two');
const opening = fc.constantFrom(0, O.CREAT, O.CREAT | O.EXCL, O.TRUNC, O.APPEND, O.CREAT | O.TRUNC);

const named = <const Op extends string, Fields>(
  weight: number,
  op: Op,
  fields: { [Name in keyof Fields]: fc.Arbitrary<Fields[Name]> },
) => ({
  weight,
  arbitrary: fc.record(fields).map((made) => ({ op, ...(made as Fields) })),
});

/** On names only, which any face has. */
const onNames = [
  named(6, 'mkdir', { path, mode }),
  named(3, 'rmdir', { path }),
  named(4, 'unlink', { path }),
  named(6, 'rename', { path, to: path, flags: fc.constantFrom(0, 0, 1, 2) }),
  named(3, 'link', { path, to: path }),
  named(2, 'symlink', { path, target: path }),
  named(3, 'create', { path, mode }),
  named(5, 'put', { path, bytes }),
  named(4, 'patch', { path, at: size, bytes }),
  named(2, 'append', { path, bytes }),
  named(3, 'truncate', { path, size }),
  named(2, 'chmod', { path, mode }),
  named(1, 'chown', { path, uid: fc.constantFrom(0, 1001), gid: fc.constantFrom(0, 1002) }),
  named(2, 'setxattr', { path, name: xattr, flags: fc.constantFrom(0, 1, 2) }),
  named(1, 'removexattr', { path, name: xattr }),
  named(4, 'look', { path }),
];

const onHandles = [
  named(5, 'open', { slot, path, flags: opening }),
  named(2, 'close', { slot }),
  named(5, 'write', { slot, at: size, bytes }),
  named(3, 'read', { slot, at: size, length: size }),
  named(1, 'fsync', { slot }),
  named(2, 'allocate', {
    slot,
    mode: fc.constantFrom(0, 1, 3, 16, 17),
    at: size,
    length: size.map((n) => n + 1),
  }),
  named(2, 'copy', { slot, to: slot, at: size, toAt: size, length: size.map((n) => n + 1) }),
];

/** What tools can do too. */
export const TOOL_OPS = [
  'mkdir',
  'rmdir',
  'unlink',
  'rename',
  'put',
  'patch',
  'append',
  'look',
] as const;
export type ToolCommand = Extract<Command, { readonly op: (typeof TOOL_OPS)[number] }>;

export const toolCommand: fc.Arbitrary<ToolCommand> = fc.oneof(
  named(5, 'mkdir', { path, mode: fc.constantFrom(0o755, 0o700) }),
  named(2, 'rmdir', { path }),
  named(4, 'unlink', { path }),
  named(5, 'rename', { path, to: path, flags: fc.constantFrom(0, 1) }),
  named(6, 'put', { path, bytes }),
  named(4, 'patch', { path, at: size, bytes }),
  named(3, 'append', { path, bytes }),
  named(3, 'look', { path }),
);

export const command: fc.Arbitrary<Command> = fc.oneof(...onNames, ...onHandles);

/** What stands before the random commands, so that they find something. */
export const PRELUDE: readonly Command[] = [
  { op: 'mkdir', path: 'a', mode: 0o755 },
  { op: 'mkdir', path: 'a/b', mode: 0o755 },
  { op: 'put', path: 'a/a', bytes: { letter: 'p', length: 10 } },
  { op: 'put', path: 'b', bytes: { letter: 'q', length: 70_000 } },
];

/** The open files of one side, by slot. */
export type Slots = Map<number, number>;

/** Opens, does it, closes; the failure that counts is the first. */
async function withFile<T>(
  tree: Tree,
  at: string,
  flags: number,
  body: (fd: number) => Promise<T>,
): Promise<T> {
  const fd = await tree.open(at, flags, 0o644);
  try {
    return await body(fd);
  } finally {
    await tree.close(fd);
  }
}

const MOST = 1 << 20;

/** Everything a reader can see of a name. */
export async function look(tree: Tree, at: string): Promise<unknown> {
  const stat = await tree.lstat(at);
  const type = stat.mode & 0o170000;
  if (type === 0o120000) return { stat, target: await tree.readlink(at) };
  const xattrs: [string, string][] = [];
  for (const attribute of (await tree.listxattr(at)).sort()) {
    xattrs.push([attribute, await tree.getxattr(at, attribute)]);
  }
  if (type === 0o040000) return { stat, xattrs, names: (await tree.readdir(at)).sort() };
  const text = await withFile(tree, at, O.RDONLY, (fd) => tree.read(fd, MOST, 0));
  return { stat, xattrs, text };
}

/** Makes one command of a tree. Rejects as the tree does. */
export async function perform(tree: Tree, slots: Slots, made: Command): Promise<unknown> {
  switch (made.op) {
    case 'mkdir':
      return tree.mkdir(made.path, made.mode);
    case 'rmdir':
      return tree.rmdir(made.path);
    case 'unlink':
      return tree.unlink(made.path);
    case 'rename':
      return tree.rename(made.path, made.to, made.flags);
    case 'link':
      return tree.link(made.path, made.to);
    case 'symlink':
      return tree.symlink(made.target, made.path);
    case 'create': {
      const flags = O.CREAT | O.EXCL | O.WRONLY;
      return tree.close(await tree.open(made.path, flags, made.mode));
    }
    case 'put': {
      const flags = O.CREAT | O.WRONLY | O.TRUNC;
      return withFile(tree, made.path, flags, (fd) => tree.write(fd, textOf(made.bytes), 0));
    }
    case 'patch':
      return withFile(tree, made.path, O.CREAT | O.WRONLY, (fd) =>
        tree.write(fd, textOf(made.bytes), made.at),
      );
    case 'append':
      return withFile(tree, made.path, O.CREAT | O.WRONLY | O.APPEND, (fd) =>
        tree.write(fd, textOf(made.bytes), 0),
      );
    case 'truncate':
      return tree.truncate(made.path, made.size);
    case 'chmod':
      return tree.chmod(made.path, made.mode);
    case 'chown':
      return tree.chown(made.path, made.uid, made.gid);
    case 'setxattr':
      return tree.setxattr(made.path, made.name, `${made.flags}`, made.flags);
    case 'removexattr':
      return tree.removexattr(made.path, made.name);
    case 'look':
      return look(tree, made.path);
    default:
      return performOnHandle(tree, slots, made);
  }
}

type OnHandle = Extract<Command, { readonly slot: number }>;

async function performOnHandle(tree: Tree, slots: Slots, made: OnHandle): Promise<unknown> {
  const fd = slots.get(made.slot);
  if (made.op === 'open') {
    if (fd !== undefined) await tree.close(fd);
    slots.delete(made.slot);
    slots.set(made.slot, await tree.open(made.path, made.flags | O.RDWR, 0o644));
    return undefined;
  }
  if (fd === undefined) return undefined;
  switch (made.op) {
    case 'close':
      slots.delete(made.slot);
      return tree.close(fd);
    case 'write':
      return tree.write(fd, textOf(made.bytes), made.at);
    case 'read':
      return { stat: await tree.fstat(fd), text: await tree.read(fd, made.length, made.at) };
    case 'fsync':
      return tree.fsync(fd);
    case 'allocate':
      return tree.fallocate(fd, made.mode, made.at, made.length);
    case 'copy': {
      const to = slots.get(made.to);
      if (to === undefined) return undefined;
      return tree.copyRange(fd, made.at, to, made.toAt, made.length);
    }
  }
}
