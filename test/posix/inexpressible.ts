/**
 * The cases of the table that the driver fuse-native cannot express: title → reason. SEMANTICS.md has the same list for
 * people (a test holds the two together), and on the mount each of these must fail, so that the list stays true.
 */
const RENAME_FLAGS = 'libfuse 2 knows no flags of rename (EINVAL)';
const NAMELESS =
  'libfuse 2 looks attributes up by name, so fstat(2) finds none of a file without one (ENOENT)';
const TMPFILE = 'libfuse 2 has no O_TMPFILE (EOPNOTSUPP)';

const ACL =
  'libfuse 2 negotiates no ACLs: the kernel checks a narrower mode, so whom a list names may get less';
const BIRTH = 'libfuse 2 carries no time of birth';
const HOLES = 'libfuse 2 has no lseek: the kernel takes a file for data to its end';

export const INEXPRESSIBLE: ReadonlyMap<string, string> = new Map([
  ['RENAME_NOREPLACE keeps what is there, RENAME_EXCHANGE swaps', RENAME_FLAGS],
  ['directories exchanged between directories take links and `..` along', RENAME_FLAGS],
  ['a file renamed over while it is open is read to its end by who has it open', NAMELESS],
  ['an unlinked file is read and written until its last close', NAMELESS],
  ['a file without a name is written, linked into the tree, and gone when it is not', TMPFILE],
  ['an ACL gives named users and groups what it says, within its mask', ACL],
  ['a user whom an ACL names has that entry and no group’s, though it gives less', ACL],
  ['the mode shows an ACL: its mask as the group’s bits, which chmod moves', ACL],
  ['a default ACL is what new files get, bounded by their mode, and directories hand on', ACL],
  ['statx tells when a file was born, which nothing moves afterwards (btime)', BIRTH],
  ['SEEK_DATA and SEEK_HOLE of a file that is all hole, and of an empty one', HOLES],
]);
