// Preloaded into a process (LD_PRELOAD), it writes down what the process does to the files below a directory: each
// event with its bytes, in the order in which it happened, in the file KITFS_TRACE. The directory is KITFS_TRACE_ROOT.
//
// An event is a line, `kind ino number number length text`, a newline, and `length` bytes:
//   C ino 0 0 n path     a name was made for a new file      D ino 0 0 n path    for a new directory
//   L ino 0 0 n path     another name for a file             U ino 0 0 n path    a name was removed
//   R ino 0 0 n old new  a name was moved                    S ino 0 0 0         fsync or fdatasync returned
//   W ino at 0 n bytes   written                             T ino size 0 0      the size was set
//   X ino 0 0 n value    an extended attribute was set
//
// One call at a time is made and written down, so that the order is true; so it is only for small runs.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define REAL(name) ((typeof(&name))real(#name))
#define FDS 65536

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[PATH_MAX];
static int out = -1;
// The inode that a descriptor of ours shows; 0: not below the root.
static uint64_t inodes[FDS];

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) abort();
  return found;
}

static void put(const void *bytes, size_t count) {
  const char *at = bytes;
  while (count > 0) {
    const ssize_t done = REAL(write)(out, at, count);
    if (done <= 0) abort();
    at += done;
    count -= (size_t)done;
  }
}

static void tell(char kind, uint64_t ino, int64_t number, const void *bytes, size_t length) {
  char line[128];
  const int saved = errno;
  put(line, (size_t)snprintf(line, sizeof line, "%c %llu %lld 0 %zu\n", kind, (unsigned long long)ino,
                             (long long)number, length));
  if (length > 0) put(bytes, length);
  errno = saved;
}

__attribute__((constructor)) static void begin(void) {
  const char *const directory = getenv("KITFS_TRACE_ROOT");
  const char *const file = getenv("KITFS_TRACE");
  if (directory == NULL || file == NULL) return;
  snprintf(root, sizeof root, "%s", directory);
  out = REAL(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (out < 0) abort();
}

static int is_ours(const char *path) {
  const size_t length = strlen(root);
  if (out < 0 || strncmp(path, root, length) != 0) return 0;
  // The index of the WAL is made anew after a boot.
  const char *const dash = strrchr(path, '-');
  return (path[length] == '/' || path[length] == 0) && (dash == NULL || strcmp(dash, "-shm") != 0);
}

static uint64_t inode_at(const char *path) {
  struct stat found;
  return lstat(path, &found) == 0 ? found.st_ino : 0;
}

// Some descriptors are closed behind our back, by syscall(2), and their numbers mean something else then.
static uint64_t ours(int fd) {
  if (fd < 0 || fd >= FDS || inodes[fd] == 0) return 0;
  struct stat found;
  if (fstat(fd, &found) != 0 || found.st_ino != inodes[fd]) inodes[fd] = 0;
  return inodes[fd];
}

static int opened(const char *path, int flags, mode_t mode) {
  if (!is_ours(path)) return REAL(open)(path, flags, mode);
  pthread_mutex_lock(&lock);
  const uint64_t before = inode_at(path);
  const int fd = REAL(open)(path, flags, mode);
  if (fd >= 0) {
    struct stat found;
    if (fd >= FDS || fstat(fd, &found) != 0) abort();
    inodes[fd] = found.st_ino;
    if (before == 0) tell('C', found.st_ino, 0, path, strlen(path));
    if (before != 0 && (flags & O_TRUNC)) tell('T', found.st_ino, 0, NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

#define MODE_OF(flags, mode)               \
  mode_t mode = 0;                         \
  if ((flags) & (O_CREAT | O_TMPFILE)) {   \
    va_list more;                          \
    va_start(more, flags);                 \
    mode = va_arg(more, mode_t);           \
    va_end(more);                          \
  }

int open(const char *path, int flags, ...) {
  MODE_OF(flags, mode)
  return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE_OF(flags, mode)
  return opened(path, flags, mode);
}

int close(int fd) {
  pthread_mutex_lock(&lock);
  if (fd >= 0 && fd < FDS) inodes[fd] = 0;
  const int result = REAL(close)(fd);
  pthread_mutex_unlock(&lock);
  return result;
}

// A descriptor that appends, or has a position of its own, is asked where it wrote.
static void wrote(int fd, const void *bytes, ssize_t done) {
  if (done <= 0 || ours(fd) == 0) return;
  const off_t end = lseek(fd, 0, SEEK_CUR);
  tell('W', ours(fd), end - done, bytes, (size_t)done);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  if (ours(fd) == 0) return REAL(write)(fd, bytes, count);
  pthread_mutex_lock(&lock);
  const ssize_t done = REAL(write)(fd, bytes, count);
  wrote(fd, bytes, done);
  pthread_mutex_unlock(&lock);
  return done;
}

static ssize_t written_at(int fd, const void *bytes, size_t count, off_t at) {
  if (ours(fd) == 0) return REAL(pwrite)(fd, bytes, count, at);
  pthread_mutex_lock(&lock);
  const ssize_t done = REAL(pwrite)(fd, bytes, count, at);
  if (done > 0) tell('W', ours(fd), at, bytes, (size_t)done);
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  return written_at(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
  return written_at(fd, bytes, count, at);
}

// What gathers or splices is not used on files of the root; who begins to is to be written down too.
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (ours(fd) != 0) abort();
  return REAL(writev)(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  if (ours(fd) != 0) abort();
  return REAL(pwritev)(fd, parts, count, at);
}

static void copied(int fd, off_t at, ssize_t done) {
  if (done <= 0 || ours(fd) == 0) return;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const int reading = REAL(open)(path, O_RDONLY | O_CLOEXEC);
  char *const bytes = malloc((size_t)done);
  if (reading < 0 || bytes == NULL || pread(reading, bytes, (size_t)done, at) != done) abort();
  REAL(close)(reading);
  tell('W', ours(fd), at, bytes, (size_t)done);
  free(bytes);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
  pthread_mutex_lock(&lock);
  const off_t at = to_at != NULL ? *to_at : lseek(to, 0, SEEK_CUR);
  const ssize_t done = REAL(copy_file_range)(from, from_at, to, to_at, count, flags);
  copied(to, at, done);
  pthread_mutex_unlock(&lock);
  return done;
}

static ssize_t sent(int to, int from, off_t *from_at, size_t count) {
  pthread_mutex_lock(&lock);
  const off_t at = lseek(to, 0, SEEK_CUR);
  const ssize_t done = REAL(sendfile)(to, from, from_at, count);
  copied(to, at, done);
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t sendfile(int to, int from, off_t *at, size_t count) { return sent(to, from, at, count); }
ssize_t sendfile64(int to, int from, off_t *at, size_t count) { return sent(to, from, at, count); }

int ioctl(int fd, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void *const argument = va_arg(more, void *);
  va_end(more);
  const int result = REAL(ioctl)(fd, request, argument);
  if (result != 0 || request != FICLONE || ours(fd) == 0) return result;
  pthread_mutex_lock(&lock);
  struct stat found;
  if (fstat(fd, &found) != 0) abort();
  copied(fd, 0, found.st_size);
  pthread_mutex_unlock(&lock);
  return result;
}

static int resized(int fd, off_t size) {
  pthread_mutex_lock(&lock);
  const int result = REAL(ftruncate)(fd, size);
  if (result == 0 && ours(fd) != 0) tell('T', ours(fd), size, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int ftruncate(int fd, off_t size) { return resized(fd, size); }
int ftruncate64(int fd, off_t size) { return resized(fd, size); }

static int resized_at(const char *path, off_t size) {
  pthread_mutex_lock(&lock);
  const int result = REAL(truncate)(path, size);
  if (result == 0 && is_ours(path)) tell('T', inode_at(path), size, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int truncate(const char *path, off_t size) { return resized_at(path, size); }
int truncate64(const char *path, off_t size) { return resized_at(path, size); }

// Space and zeros: whatever of the range is below the end now, and the end.
static int allocated(int fd, int mode, off_t at, off_t length) {
  pthread_mutex_lock(&lock);
  const int result = REAL(fallocate)(fd, mode, at, length);
  struct stat found;
  if (result == 0 && ours(fd) != 0) {
    if (fstat(fd, &found) != 0) abort();
    const off_t end = at + length < found.st_size ? at + length : found.st_size;
    if (end > at) copied(fd, at, end - at);
    tell('T', ours(fd), found.st_size, NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

int fallocate(int fd, int mode, off_t at, off_t length) { return allocated(fd, mode, at, length); }
int fallocate64(int fd, int mode, off_t at, off_t length) { return allocated(fd, mode, at, length); }

// The files of one run have one attribute at most, whose name need not be told.
int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
  pthread_mutex_lock(&lock);
  const int result = REAL(fsetxattr)(fd, name, value, size, flags);
  if (result == 0 && ours(fd) != 0) tell('X', ours(fd), 0, value, size);
  pthread_mutex_unlock(&lock);
  return result;
}

// What the disk was told before the call began is on it when it returns.
static int synced(int fd, int (*call)(int)) {
  pthread_mutex_lock(&lock);
  const int result = call(fd);
  if (result == 0 && ours(fd) != 0) tell('S', ours(fd), 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int mkdir(const char *path, mode_t mode) {
  pthread_mutex_lock(&lock);
  const int result = REAL(mkdir)(path, mode);
  if (result == 0 && is_ours(path)) tell('D', inode_at(path), 0, path, strlen(path));
  pthread_mutex_unlock(&lock);
  return result;
}

int link(const char *from, const char *to) {
  pthread_mutex_lock(&lock);
  const int result = REAL(link)(from, to);
  if (result == 0 && is_ours(to)) tell('L', inode_at(to), 0, to, strlen(to));
  pthread_mutex_unlock(&lock);
  return result;
}

int unlink(const char *path) {
  pthread_mutex_lock(&lock);
  const uint64_t ino = inode_at(path);
  const int result = REAL(unlink)(path);
  if (result == 0 && is_ours(path)) tell('U', ino, 0, path, strlen(path));
  pthread_mutex_unlock(&lock);
  return result;
}

int rmdir(const char *path) {
  pthread_mutex_lock(&lock);
  const uint64_t ino = inode_at(path);
  const int result = REAL(rmdir)(path);
  if (result == 0 && is_ours(path)) tell('U', ino, 0, path, strlen(path));
  pthread_mutex_unlock(&lock);
  return result;
}

int rename(const char *from, const char *to) {
  pthread_mutex_lock(&lock);
  const uint64_t ino = inode_at(from);
  const int result = REAL(rename)(from, to);
  if (result == 0 && is_ours(to)) {
    char both[2 * PATH_MAX + 2];
    const int length = snprintf(both, sizeof both, "%s%c%s", from, '\n', to);
    tell('R', ino, 0, both, (size_t)length);
  }
  pthread_mutex_unlock(&lock);
  return result;
}
