/* Operations that write, cut, and copy. */
#include "file.h"

#include <sys/sendfile.h>
#include <sys/uio.h>

int write_some(struct file *f) {
  size_t offset, length, done;
  struct timespec begun = before_now();
  pick_written(f, &offset, &length);
  fill(block, length);
  int fd = fd_of(f, chance(3) ? WRITE : BOTH);
  size_t half = below(length + 1);
  struct iovec parts[2] = {{block, half}, {block + half, length - half}};
  switch (below(6)) {
    case 0:
      note(f, "write", offset, length);
      must("lseek", lseek(fd, offset, SEEK_SET) == (off_t)offset ? 0 : -1);
      done = write(fd, block, length);
      break;
    case 1:
      note(f, "pwritev", offset, length);
      done = pwritev(fd, parts, 2, offset);
      break;
    default:
      note(f, "pwrite", offset, length);
      done = pwrite(fd, block, length, offset);
  }
  expect_count("write", done, length);
  set_bytes(f, block, offset, length);
  changed(f, begun);
  return 1;
}

int append(struct file *f) {
  struct timespec begun = before_now();
  size_t length = least(some_length(), LARGEST - f->size);
  if (length == 0) return 0;
  fill(block, length);
  note(f, "", f->size, length);
  expect_count("append", write(fd_of(f, APPEND), block, length), length);
  set_bytes(f, block, f->size, length);
  changed(f, begun);
  return 1;
}

int write_direct(struct file *f) {
  size_t offset, length;
  struct timespec begun = before_now();
  if (!has_direct || fd_of(f, DIRECT) < 0) return 0;
  pick_written(f, &offset, &length);
  offset -= offset % PAGE;
  length = least((length + PAGE - 1) / PAGE * PAGE, least(ONE_MAX, LARGEST - offset));
  if (length == 0) return 0;
  fill(block, length);
  note(f, "", offset, length);
  expect_count("direct write", pwrite(f->fd[DIRECT], block, length, offset), length);
  set_bytes(f, block, offset, length);
  changed(f, begun);
  return 1;
}

/** From memory, by pages and not by a copy. */
int send_in(struct file *f) {
  size_t offset, length;
  struct timespec begun = before_now();
  pick_written(f, &offset, &length);
  fill(block, length);
  int fd = fd_of(f, BOTH);
  off_t from = 0;
  note(f, "", offset, length);
  if (pwrite(memory, block, length, 0) != (ssize_t)length) fail_errno("write of memory");
  must("lseek", lseek(fd, offset, SEEK_SET) == (off_t)offset ? 0 : -1);
  for (size_t done = 0; done < length;) {
    ssize_t count = sendfile(fd, memory, &from, length - done);
    if (count <= 0) expect_count("sendfile", count, length - done);
    done += count;
  }
  set_bytes(f, block, offset, length);
  changed(f, begun);
  return 1;
}

int truncate_some(struct file *f) {
  char path[PATH_ROOM];
  struct timespec begun = before_now();
  size_t size = chance(2) ? some_size() : least(LARGEST, f->size - least(f->size, PAGE) + below(2 * PAGE));
  int by_name = chance(3) && !f->orphan;
  note(f, by_name ? "by name" : "", size, 0);
  way_to(f, path);
  must("truncate", by_name ? truncate(path, size) : ftruncate(fd_of(f, chance(2) ? WRITE : BOTH), size));
  int is_same = size == f->size;
  set_size(f, size);
  changed(f, is_same ? f->modified : begun);
  return 1;
}

/** fallocate(2) in the modes that every file system of today has. */
int allocate(struct file *f) {
  static const struct { const char *name; int mode; } MODES[] = {
      {"extend", 0}, {"keep", FALLOC_FL_KEEP_SIZE},
      {"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE}, {"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE},
      {"zero", FALLOC_FL_ZERO_RANGE}, {"zero keep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}};
  size_t offset, length;
  int i = below(sizeof MODES / sizeof *MODES), mode = MODES[i].mode, zeroes = mode & FALLOC_FL_ZERO_RANGE;
  if (zeroes && !has_zero) return 0;
  pick_written(f, &offset, &length);
  note(f, MODES[i].name, offset, length);
  int result = fallocate(fd_of(f, chance(2) ? WRITE : BOTH), mode, offset, length);
  if (result < 0 && errno == EOPNOTSUPP && zeroes) return has_zero = 0;
  must("fallocate", result);
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0) f->size = most(f->size, offset + length);
  if (mode & ~FALLOC_FL_KEEP_SIZE) memset(f->bytes + offset, 0, length);
  changed(f, f->modified);
  return 1;
}

int copy_range(struct file *f) {
  struct file *from = &files[below(2)];
  struct timespec begun = before_now();
  size_t offset, length, at, unused, done = 0;
  pick(from, from->size, &offset, &length);
  pick_written(f, &at, &unused);
  length = least(least(length, LARGEST - at), from->size - offset);
  int in = fd_of(from, chance(2) ? READ : BOTH), out = fd_of(f, chance(2) ? WRITE : BOTH);
  int overlaps = from == f && offset < at + length && at < offset + length;
  note(f, from == f ? "from itself to" : "from the other to", at, length);
  while (done < length) {
    loff_t off_in = offset + done, off_out = at + done;
    ssize_t count = copy_file_range(in, &off_in, out, &off_out, length - done, 0);
    if (overlaps && count < 0 && errno == EINVAL) return 1;
    if (overlaps || count <= 0) expect_count("copy_file_range", count, overlaps ? 0 : length - done);
    done += count;
  }
  if (length == 0) return 0;
  memcpy(other, from->bytes + offset, length);
  set_bytes(f, other, at, length);
  changed(f, begun);
  return 1;
}
