/** What kitfs does not do, and says so: with the errno that SEMANTICS.md names, and nothing changed. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await TestDaemon.start();
  await daemon.shell('echo kept > a; mkdir d; echo text > sealed', { in: 'ipfs' });
});
afterAll(() => daemon.close());

/** The errno, by name, that each line of Python fails with in `/ipfs`; `done` when it does not. */
async function errnosOf(...lines: readonly string[]): Promise<string[]> {
  const script = `
import ctypes, errno, fcntl, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def called(result):
    if result < 0: raise OSError(ctypes.get_errno(), 'call')
def rename2(a, b, flags): called(libc.renameat2(-100, a, -100, b, flags))
file = os.open('a', os.O_RDWR)
for line in sys.argv[1:]:
    try:
        exec(line)
        print('done')
    except OSError as error:
        print(errno.errorcode[error.errno].replace('ENOTSUP', 'EOPNOTSUPP'))
`;
  const said = await daemon.run('python3', ['-c', script, ...lines], { in: 'ipfs' });
  return said.trim().split('\n');
}

test('no name or link crosses from one tree to another (EXDEV), and a mount point stays (EBUSY)', async () => {
  expect(
    await errnosOf(
      `os.link('a', '../mem/a')`,
      `os.rename('a', '../mem/a')`,
      `os.rmdir('../mem')`,
      `os.rename('../mem', '../other')`,
      `os.link('d', 'e')`,
    ),
  ).toEqual(['EXDEV', 'EXDEV', 'EBUSY', 'EBUSY', 'EPERM']);
});

test('the root takes nothing (EROFS)', async () => {
  expect(await errnosOf(`os.mkdir('../d')`, `os.close(os.open('../f', os.O_CREAT))`)).toEqual([
    'EROFS',
    'EROFS',
  ]);
});

test('RENAME_WHITEOUT is EINVAL, FICLONE and what collapses or inserts EOPNOTSUPP, 2^53 bytes EFBIG', async () => {
  const [ficlone, collapse, insert] = [0x40049409, 0x08, 0x20];
  const allocate = (mode: number) =>
    `called(libc.fallocate(file, ${mode}, ctypes.c_long(0), ctypes.c_long(4096)))`;
  expect(
    await errnosOf(
      `rename2(b'a', b'b', 4)`,
      `fcntl.ioctl(os.open('b', os.O_CREAT | os.O_RDWR), ${ficlone}, file)`,
      allocate(collapse),
      allocate(insert),
      `os.truncate('a', 2 ** 53)`,
      `os.pwrite(file, b'x', 2 ** 53)`,
    ),
  ).toEqual(['EINVAL', 'EOPNOTSUPP', 'EOPNOTSUPP', 'EOPNOTSUPP', 'EFBIG', 'EFBIG']);
  expect(await daemon.run('cat', ['a'], { in: 'ipfs' })).toBe('kept\n');
});

test('the calls of ext4 itself are refused: flags, extents, swap, RWF_NOWAIT, an upper directory', async () => {
  const [getFlags, fiemap] = [0x80086601, 0xc020660b];
  const errnos = await errnosOf(
    `fcntl.ioctl(file, ${getFlags}, bytes(8))`,
    `fcntl.ioctl(file, ${fiemap}, bytes(256))`,
    `called(libc.swapon(b'a', 0))`,
    `os.preadv(os.open('sealed', os.O_RDONLY), [bytearray(4)], 0, os.RWF_NOWAIT)`,
  );
  expect(errnos).not.toContain('done');
  const overlay = `mkdir upper work lower; exec unshare --mount mount -t overlay none d \\
    -o lowerdir=lower,upperdir=upper,workdir=work`;
  const { code } = await daemon.attempt('sh', ['-c', overlay], { in: 'ipfs' });
  expect(code).not.toBe(0);
});

test('virtual attributes are never listed, and cannot be set (EPERM)', async () => {
  const virtual = ['ipfs.cid', 'kitfs.version', 'kitfs.durability', 'kitfs.provenance'];
  const set = virtual.map((name) => `os.setxattr('a', 'user.${name}', b'x')`);
  const listed = `if os.listxattr('a') != []: raise OSError(5, 'listed')`;
  expect(await errnosOf(...set, listed)).toEqual([...virtual.map(() => 'EPERM'), 'done']);
});
