/* Operations that read. */
#include "file.h"

#include <sys/sendfile.h>

int read_some(struct file *f) {
  size_t offset, length;
  pick(f, least(LARGEST, f->size + PAGE), &offset, &length);
  size_t expected = offset < f->size ? least(length, f->size - offset) : 0;
  int fd = fd_of(f, chance(2) ? READ : BOTH), by_position = chance(4);
  note(f, by_position ? "read" : "pread", offset, length);
  if (by_position) must("lseek", lseek(fd, offset, SEEK_SET) == (off_t)offset ? 0 : -1);
  ssize_t count = by_position ? read(fd, block, length) : pread(fd, block, length, offset);
  expect_count("read", count, expected);
  compare(f, "read", block, offset, expected);
  return 1;
}

int read_direct(struct file *f) {
  size_t offset, length;
  if (!has_direct || fd_of(f, DIRECT) < 0) return 0;
  pick(f, f->size, &offset, &length);
  offset -= offset % PAGE;
  length = least(ONE_MAX, length + PAGE - 1) / PAGE * PAGE;
  size_t expected = least(length, f->size - offset);
  note(f, "", offset, length);
  expect_count("direct read", pread(f->fd[DIRECT], block, length, offset), expected);
  compare(f, "direct read", block, offset, expected);
  return 1;
}

/** Into memory, by pages and not by a copy. */
int send_out(struct file *f) {
  size_t offset, length, done = 0;
  pick(f, f->size, &offset, &length);
  length = least(length, f->size - offset);
  off_t from = offset;
  int fd = fd_of(f, READ);
  note(f, "", offset, length);
  must("lseek", lseek(memory, 0, SEEK_SET));
  while (done < length) {
    ssize_t count = sendfile(memory, fd, &from, length - done);
    must("sendfile", count);
    if (count == 0) break;
    done += count;
  }
  expect_count("sendfile", done, length);
  if (pread(memory, block, length, 0) != (ssize_t)length) fail_errno("read of memory");
  compare(f, "sendfile", block, offset, length);
  return 1;
}

void check_whole(struct file *f) {
  char path[PATH_ROOM];
  size_t at = 0;
  way_to(f, path);
  int fd = open(path, O_RDONLY);
  must("open", fd);
  if (chance(2)) {
    write_back(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  }
  for (;;) {
    ssize_t count = read(fd, block, ONE_MAX);
    must("read", count);
    if (count == 0) break;
    expect_count("the whole", at + count, least(at + count, f->size));
    compare(f, "the whole", block, at, count);
    at += count;
  }
  expect_count("the whole", at, f->size);
  must("close", close(fd));
}

int read_whole(struct file *f) {
  note(f, "", 0, f->size);
  check_whole(f);
  return 1;
}

/** What is said to be a hole has no byte in it; what is said of the end is true. */
int seek_extents(struct file *f) {
  int fd = fd_of(f, chance(2) ? BOTH : READ);
  size_t at = f->size == 0 ? 0 : chance(4) ? 0 : below(f->size + 1);
  note(f, "", at, 0);
  // The kernel asks the file system without writing back what mappings changed (fs/fuse/file.c, fuse_lseek).
  if (f->is_unsynced) write_back(fd);
  f->is_unsynced = 0;
  for (int steps = 0; steps < 16; steps++) {
    off_t data = lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno != ENXIO) fail_errno("SEEK_DATA");
    size_t end = data < 0 ? f->size : (size_t)data;
    if (data >= 0 && (end < at || end >= f->size)) expect_count("SEEK_DATA", data, at);
    if (at < end) {
      memset(block, 0, least(end - at, ONE_MAX));
      for (size_t i = at; i < end; i += ONE_MAX) compare(f, "a hole", block, i, least(end - i, ONE_MAX));
    }
    off_t hole = lseek(fd, end, SEEK_HOLE);
    if (end == f->size) {
      if (hole >= 0 || errno != ENXIO) expect_count("SEEK_HOLE at the end", hole, end);
      return 1;
    }
    must("SEEK_HOLE", hole < 0 ? -1 : 0);
    if ((size_t)hole <= end || (size_t)hole > f->size) expect_count("SEEK_HOLE", hole, f->size);
    at = hole;
    if (at == f->size) return 1;
  }
  return 1;
}
