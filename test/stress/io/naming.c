/* Operations on descriptors and names. */
#include "file.h"

/** Some descriptors, or all; a mapping stays. */
int close_some(struct file *f) {
  int all = chance(2) && !f->orphan;
  note(f, all ? f->map ? "all, but not the mapping" : "all" : "some", 0, 0);
  for (int k = 0; k < KINDS; k++) {
    if (all || (chance(2) && (!f->orphan || opened_how_many(f) > 1))) close_one(f, k);
  }
  return 1;
}

int reopen_empty(struct file *f) {
  char path[PATH_ROOM];
  if (f->orphan) return 0;
  struct timespec begun = before_now();
  path_of(f, f->name, path);
  note(f, "", 0, f->size);
  close_one(f, BOTH);
  f->fd[BOTH] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  must("open with O_TRUNC", f->fd[BOTH]);
  set_size(f, 0);
  changed(f, begun);
  return 1;
}

int synchronise(struct file *f) {
  int k = below(APPEND), is_whole = chance(2);
  note(f, is_whole ? "fsync" : "fdatasync", 0, 0);
  must("fsync", is_whole ? fsync(fd_of(f, k)) : fdatasync(fd_of(f, k)));
  f->is_unsynced = 0;
  return 1;
}

/** The next reading has to come from the file system. */
int forget_pages(struct file *f) {
  note(f, "", 0, 0);
  must("fadvise", -posix_fadvise(fd_of(f, READ), 0, 0, POSIX_FADV_DONTNEED));
  return 1;
}

void create(struct file *f) {
  char path[PATH_ROOM], link[64];
  int is_nameless = chance(4);
  struct timespec begun = before_now();
  path_of(f, f->name, path);
  if (is_nameless) f->fd[BOTH] = open(f->directory, O_RDWR | O_TMPFILE, 0644);
  else f->fd[BOTH] = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
  must("create", f->fd[BOTH]);
  set_size(f, 0);
  size_t length = least(some_size(), ONE_MAX);
  fill(block, length);
  expect_count("first write", pwrite(f->fd[BOTH], block, length, 0), length);
  set_bytes(f, block, 0, length);
  snprintf(link, sizeof link, "/proc/self/fd/%d", f->fd[BOTH]);
  if (is_nameless) must("linkat", linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
  f->orphan = f->is_unsynced = 0;
  f->modified = (struct timespec){0};
  changed(f, begun);
}

int begin_anew(struct file *f) {
  note(f, "and begin anew", 0, f->size);
  check_whole(f);
  unmap(f);
  close_all(f);
  create(f);
  return 1;
}

int rename_open(struct file *f) {
  char from[PATH_ROOM], to[PATH_ROOM];
  if (f->orphan) return begin_anew(f);
  path_of(f, f->name, from);
  f->name = !f->name;
  path_of(f, f->name, to);
  note(f, "", 0, 0);
  must("rename", rename(from, to));
  return 1;
}

int unlink_open(struct file *f) {
  char path[PATH_ROOM];
  if (f->orphan) return begin_anew(f);
  fd_of(f, chance(2) ? BOTH : READ);
  path_of(f, f->name, path);
  note(f, "", 0, f->size);
  must("unlink", unlink(path));
  f->orphan = 1;
  return 1;
}

/** Another file takes the name; who has the old one open goes on seeing it. */
int replace(struct file *f) {
  char path[PATH_ROOM], made[4096];
  if (f->orphan) return begin_anew(f);
  int old = chance(2) ? fd_of(f, READ) : -1;
  size_t size = f->size, at = below(size + 1), count = least(size - at, ONE_MAX);
  memcpy(other, f->bytes + at, count);
  note(f, "", at, count);
  path_of(f, f->name, path);
  if (old >= 0) f->fd[READ] = -1;
  unmap(f);
  close_all(f);
  f->name += 2;
  path_of(f, f->name, made);
  create(f);
  must("rename", rename(made, path));
  f->name -= 2;
  if (old < 0) return 1;
  expect_count("read of what was replaced", pread(old, block, count, at), count);
  if (memcmp(block, other, count) != 0) fail("what was replaced is not what it was");
  must("close", close(old));
  return 1;
}
