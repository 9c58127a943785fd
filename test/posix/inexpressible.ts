/**
 * The cases of the table that the driver fuse-native cannot express: title → reason. SEMANTICS.md has the same list for
 * people (a test holds the two together), and on the mount each of these must fail, so that the list stays true.
 */
const RENAME_FLAGS = 'libfuse 2 knows no flags of rename (EINVAL)';
const NAMELESS =
  'libfuse 2 looks attributes up by name, so fstat(2) finds none of a file without one (ENOENT)';
const TMPFILE = 'libfuse 2 has no O_TMPFILE (EOPNOTSUPP)';

export const INEXPRESSIBLE: ReadonlyMap<string, string> = new Map([
  ['RENAME_NOREPLACE keeps what is there, RENAME_EXCHANGE swaps', RENAME_FLAGS],
  ['directories exchanged between directories take links and `..` along', RENAME_FLAGS],
  ['a file renamed over while it is open is read to its end by who has it open', NAMELESS],
  ['an unlinked file is read and written until its last close', NAMELESS],
  ['a file without a name is written, linked into the tree, and gone when it is not', TMPFILE],
]);
