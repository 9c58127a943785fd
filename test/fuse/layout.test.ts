import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as layout from '../../src/fuse/layout.ts';

/** Our field → the C expression that is its offset, size or value. */
const snake = (name: string) => name.replace(/[A-Z0-9]+$|[A-Z]/g, (end) => `_${end.toLowerCase()}`);

function structure(
  fields: Readonly<Record<string, number>>,
  struct: string,
  renamed: Record<string, string> = {},
) {
  return Object.entries(fields).map(([field, value]): [string, number] => {
    const expression = renamed[field] ?? (field === 'bytes' ? undefined : snake(field));
    const c =
      expression === undefined
        ? `sizeof(struct ${struct})`
        : /[( ]/.test(expression)
          ? expression
          : `offsetof(struct ${struct}, ${expression})`;
    return [c, value];
  });
}

const STRUCTURES: [string, number][] = [
  ...structure(layout.IN_HEADER, 'fuse_in_header', { totalExtlen: 'total_extlen' }),
  ...structure(layout.OUT_HEADER, 'fuse_out_header'),
  ...structure(layout.INIT_IN, 'fuse_init_in', { maxReadahead: 'max_readahead', flags2: 'flags2' }),
  ...structure(layout.FORGET_IN, 'fuse_forget_in'),
  ...structure(layout.BATCH_FORGET_IN, 'fuse_batch_forget_in'),
  ...structure(layout.FORGET_ONE, 'fuse_forget_one'),
  ...structure(layout.SETATTR_IN, 'fuse_setattr_in'),
  ...structure(layout.MKNOD_IN, 'fuse_mknod_in'),
  ...structure(layout.MKDIR_IN, 'fuse_mkdir_in'),
  ...structure(layout.RENAME_IN, 'fuse_rename_in'),
  ...structure(layout.RENAME2_IN, 'fuse_rename2_in'),
  ...structure(layout.LINK_IN, 'fuse_link_in'),
  ...structure(layout.OPEN_IN, 'fuse_open_in', { openFlags: 'open_flags' }),
  ...structure(layout.CREATE_IN, 'fuse_create_in'),
  ...structure(layout.RELEASE_IN, 'fuse_release_in'),
  ...structure(layout.READ_IN, 'fuse_read_in'),
  ...structure(layout.WRITE_IN, 'fuse_write_in', { writeFlags: 'write_flags' }),
  ...structure(layout.FSYNC_IN, 'fuse_fsync_in', { fsyncFlags: 'fsync_flags' }),
  ...structure(layout.SETXATTR_IN, 'fuse_setxattr_in', {
    compatBytes: '(FUSE_COMPAT_SETXATTR_IN_SIZE)',
  }),
  ...structure(layout.GETXATTR_IN, 'fuse_getxattr_in'),
  ...structure(layout.ACCESS_IN, 'fuse_access_in'),
  ...structure(layout.INTERRUPT_IN, 'fuse_interrupt_in'),
  ...structure(layout.FALLOCATE_IN, 'fuse_fallocate_in'),
  ...structure(layout.LSEEK_IN, 'fuse_lseek_in'),
  ...structure(layout.COPY_FILE_RANGE_IN, 'fuse_copy_file_range_in', {
    fhIn: 'fh_in',
    offIn: 'off_in',
    nodeidOut: 'nodeid_out',
    fhOut: 'fh_out',
    offOut: 'off_out',
  }),
  ...structure(layout.ATTR, 'fuse_attr'),
  ...structure(layout.ENTRY_OUT, 'fuse_entry_out', {
    entryValid: 'entry_valid',
    attrValid: 'attr_valid',
  }),
  ...structure(layout.ATTR_OUT, 'fuse_attr_out', { attrValid: 'attr_valid' }),
  ...structure(layout.OPEN_OUT, 'fuse_open_out', { openFlags: 'open_flags' }),
  ...structure(layout.WRITE_OUT, 'fuse_write_out'),
  ...structure(layout.GETXATTR_OUT, 'fuse_getxattr_out'),
  ...structure(layout.LSEEK_OUT, 'fuse_lseek_out'),
  ...structure(layout.KSTATFS, 'fuse_kstatfs'),
  ...structure(layout.DIRENT, 'fuse_dirent'),
  ...structure(layout.INIT_OUT, 'fuse_init_out', {
    maxReadahead: 'max_readahead',
    maxBackground: 'max_background',
    congestionThreshold: 'congestion_threshold',
    maxWrite: 'max_write',
    timeGran: 'time_gran',
    maxPages: 'max_pages',
    flags2: 'flags2',
  }),
  ...structure(layout.NOTIFY_INVAL_INODE_OUT, 'fuse_notify_inval_inode_out'),
  ...structure(layout.NOTIFY_INVAL_ENTRY_OUT, 'fuse_notify_inval_entry_out'),
];

/** Opcodes of protocols newer than the header of Debian 12; checked by hand. */
const NEWER = new Set(['statx', 'copyFileRange64']);
const constant = (prefix: string, name: string) => `${prefix}${snake(name).toUpperCase()}`;

const CONSTANTS: [string, number][] = [
  ...Object.entries(layout.OP)
    .filter(([name]) => !NEWER.has(name))
    .map(([name, value]): [string, number] => {
      const joined = ['copyFileRange', 'batchForget'].includes(name) ? snake(name) : name;
      return [`FUSE_${joined.toUpperCase()}`, value];
    }),
  ['FUSE_NOTIFY_INVAL_INODE', layout.NOTIFY.invalInode],
  ['FUSE_NOTIFY_INVAL_ENTRY', layout.NOTIFY.invalEntry],
  ['FUSE_ASYNC_READ', layout.INIT_FLAG.asyncRead],
  ['FUSE_ATOMIC_O_TRUNC', layout.INIT_FLAG.atomicOTrunc],
  ['FUSE_BIG_WRITES', layout.INIT_FLAG.bigWrites],
  ['FUSE_DO_READDIRPLUS', layout.INIT_FLAG.doReaddirplus],
  ['FUSE_READDIRPLUS_AUTO', layout.INIT_FLAG.readdirplusAuto],
  ['FUSE_PARALLEL_DIROPS', layout.INIT_FLAG.parallelDirops],
  ['FUSE_ABORT_ERROR', layout.INIT_FLAG.abortError],
  ['FUSE_MAX_PAGES', layout.INIT_FLAG.maxPages],
  ['FUSE_CACHE_SYMLINKS', layout.INIT_FLAG.cacheSymlinks],
  ['FUSE_NO_OPENDIR_SUPPORT', layout.INIT_FLAG.noOpendirSupport],
  ['FUSE_EXPLICIT_INVAL_DATA', layout.INIT_FLAG.explicitInvalData],
  ['FUSE_HANDLE_KILLPRIV_V2', layout.INIT_FLAG.handleKillprivV2],
  ['FUSE_SETXATTR_EXT', layout.INIT_FLAG.setxattrExt],
  ['FUSE_INIT_EXT', layout.INIT_FLAG.initExt],
  ['FOPEN_DIRECT_IO', layout.FOPEN_DIRECT_IO],
  ['FOPEN_KEEP_CACHE', layout.FOPEN_KEEP_CACHE],
  ['FOPEN_CACHE_DIR', layout.FOPEN_CACHE_DIR],
  ...Object.entries(layout.FATTR).map(([name, value]): [string, number] => [
    constant('FATTR_', name),
    value,
  ]),
  ['FUSE_OPEN_KILL_SUIDGID', layout.FUSE_OPEN_KILL_SUIDGID],
  ['FUSE_WRITE_KILL_SUIDGID', layout.FUSE_WRITE_KILL_SUIDGID],
  ['FUSE_FSYNC_FDATASYNC', layout.FUSE_FSYNC_FDATASYNC],
  ['RENAME_NOREPLACE', layout.RENAME_NOREPLACE],
  ['RENAME_EXCHANGE', layout.RENAME_EXCHANGE],
  ['FALLOC_FL_KEEP_SIZE', layout.FALLOC_FL_KEEP_SIZE],
  ['FALLOC_FL_PUNCH_HOLE', layout.FALLOC_FL_PUNCH_HOLE],
  ['FALLOC_FL_ZERO_RANGE', layout.FALLOC_FL_ZERO_RANGE],
  ['XATTR_CREATE', layout.XATTR_CREATE],
  ['XATTR_REPLACE', layout.XATTR_REPLACE],
  ['SEEK_DATA', layout.SEEK_DATA],
  ['SEEK_HOLE', layout.SEEK_HOLE],
  ['STATX_BASIC_STATS', layout.STATX_BASIC_STATS],
  ['STATX_BTIME', layout.STATX_BTIME],
];

const COMPILER = 'cc';

/** What the C compiler makes of the expressions. */
function compiled(expressions: readonly string[]): number[] {
  const folder = mkdtempSync(join(tmpdir(), 'kitfs-layout-'));
  try {
    const source = [
      '#define _GNU_SOURCE',
      ...['linux/fuse.h', 'stddef.h', 'stdio.h', 'fcntl.h', 'unistd.h'].map(
        (h) => `#include <${h}>`,
      ),
      ...['sys/xattr.h', 'sys/stat.h', 'linux/falloc.h'].map((h) => `#include <${h}>`),
      'int main(void) {',
      ...expressions.map((expression) => `printf("%lld\\n", (long long)(${expression}));`),
      'return 0; }',
    ];
    writeFileSync(join(folder, 'layout.c'), source.join('\n'));
    execFileSync(COMPILER, ['-o', join(folder, 'layout'), join(folder, 'layout.c')]);
    const out = execFileSync(join(folder, 'layout'), { encoding: 'utf8' });
    return out.trim().split('\n').map(Number);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the protocol', () => {
  test('every offset, size and constant is that of <linux/fuse.h>', () => {
    const all = [...STRUCTURES, ...CONSTANTS];
    const values = compiled(all.map(([expression]) => expression));
    const ours = all.map(([expression, value]) => `${expression} = ${value}`);
    expect(ours).toEqual(all.map(([expression], index) => `${expression} = ${values[index]}`));
    expect(all.length).toBeGreaterThan(180);
  });

  test('no two opcodes have one number', () => {
    const numbers = Object.values(layout.OP);
    expect(new Set(numbers).size).toBe(numbers.length);
  });
});
