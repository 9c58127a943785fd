/*
 * A disk that fails as it is told to, for a process that is started with this in LD_PRELOAD: calls
 * that change or sync a file fail with an errno while the control file says so.
 *
 * The control file (KITFS_FAULTS) holds one line, or none: `CALLS ERRNO PART`. CALLS is a list like
 * `write,fallocate,`; PART is a part of the paths it is about. Every call reads it anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* 1, with errno set, when `call` on `path` is to fail. */
static int fails(const char *call, const char *path) {
  const char *control = getenv("KITFS_FAULTS");
  if (control == NULL) return 0;
  const int kept = errno;
  char line[512] = "", calls[128] = "", part[256] = "", name[32];
  int error = 0;
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (syscall(SYS_read, fd, line, sizeof line - 1) < 0) line[0] = '\0';
    syscall(SYS_close, fd);
  }
  errno = kept;
  if (sscanf(line, "%127s %d %255s", calls, &error, part) != 3) return 0;
  snprintf(name, sizeof name, "%s,", call);
  if (strstr(calls, name) == NULL || strstr(path, part) == NULL) return 0;
  errno = error;
  return 1;
}

static int fails_at(const char *call, int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const int kept = errno;
  const ssize_t length = readlink(link, path, sizeof path - 1);
  errno = kept;
  if (length < 0) return 0;
  path[length] = '\0';
  return fails(call, path);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  return fails_at("write", fd) ? -1 : REAL(write)(fd, bytes, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  return fails_at("write", fd) ? -1 : REAL(pwrite)(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  return fails_at("write", fd) ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
  return fails_at("write", out) ? -1 : REAL(copy_file_range)(in, from, out, to, count, flags);
}
int fallocate(int fd, int mode, off_t at, off_t count) {
  return fails_at("fallocate", fd) ? -1 : REAL(fallocate)(fd, mode, at, count);
}
int fallocate64(int fd, int mode, off64_t at, off64_t count) {
  return fails_at("fallocate", fd) ? -1 : REAL(fallocate64)(fd, mode, at, count);
}
int fdatasync(int fd) { return fails_at("fdatasync", fd) ? -1 : REAL(fdatasync)(fd); }
int mkdir(const char *path, mode_t mode) {
  return fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode);
}
int link(const char *from, const char *to) {
  return fails("link", to) ? -1 : REAL(link)(from, to);
}

static mode_t mode_of(int flags, va_list rest) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
}
int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  if ((flags & O_CREAT) != 0 && fails("create", path)) return -1;
  return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  if ((flags & O_CREAT) != 0 && fails("create", path)) return -1;
  return REAL(open64)(path, flags, mode);
}
