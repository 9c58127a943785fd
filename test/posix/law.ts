/** What a POSIX case is, and the few steps that most of them take. */
import type { Filesystem, PosixFilesystem } from './filesystem.ts';
import type { Processes } from './processes.ts';

export interface Case {
  readonly title: string;
  /** Whether it makes files of several GiB, though almost all of it holes: a tree with a limit has no room. */
  readonly isLarge?: boolean;
  run(fs: PosixFilesystem, d: string): Promise<void>;
}

/** A law about what only the kernel does, or does with us: mappings, locks, programs, other processes. */
export interface KernelCase extends Omit<Case, 'run'> {
  run(fs: Processes, d: string): Promise<void>;
}

export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
} as const;

/** The errno's name a call fails with; 'none' when it does not. */
export async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'none';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

export async function touch(fs: Filesystem, path: string, text = '', mode = 0o644): Promise<void> {
  const fd = await fs.open(path, O.CREAT | O.WRONLY | O.TRUNC, mode);
  if (text !== '') await fs.write(fd, text, 0);
  await fs.close(fd);
}

export async function contents(fs: Filesystem, path: string): Promise<string> {
  const fd = await fs.open(path, O.RDONLY);
  const { size } = await fs.fstat(fd);
  const text = await fs.read(fd, size + 1, 0);
  await fs.close(fd);
  return text;
}
