/*
 * Fault points: the stages of an operation, named, in a daemon that is started with this in LD_PRELOAD. The
 * product has no code for it. Each stage goes through a call of libc, which is made here: one point before
 * the call, one behind it.
 *
 *   point                             the daemon
 *   request.OP                        has read a request from the kernel (OP: as below, in lower case)
 *   reply.OP, replied.OP              answers it: by then it is committed, and in the handle table
 *   resend, resent                    asks the kernel for what was not answered
 *   journal-write, journal-written    writes pages to the WAL
 *   commit, committed                 writes those that end a transaction
 *   wal-sync, wal-synced              brings the WAL to the disk
 *   fold, folded                      writes to the database itself (a checkpoint)
 *   backing-make, backing-made        makes a file or directory below content/
 *   backing-read                      has read bytes of one
 *   backing-write, backing-written    writes to one, cuts it, gives it room or takes some away
 *   backing-name, backing-named       gives one a name, or another one
 *   backing-remove, backing-removed   takes a name away
 *   backing-sync, backing-synced      brings one to the disk
 *   register, registered              has the kernel take a backing file for itself
 *   unregister, unregistered          takes it back
 *   notify, notified                  hands an invalidation to the process that writes it (length, then bytes)
 *   keeper-tell, keeper-told          says something to its keeper
 *   answer, answered                  writes to a client of its sockets
 *
 * The handle table is memory: what changes it lies between `commit` and `replied`.
 *
 * The control file (KITFS_FAULT_POINTS) is memory shared with the test, as in points.ts: what is to be done,
 * and the points that were passed. Off, a call costs a load and dlsym(3).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME_BYTES 32
#define PART_BYTES 64
#define STEPS_MAX 8
#define PASSED_MAX 65536

enum { OFF, TRACE, RAISE };

struct step {
  char point[NAME_BYTES];
  /* When it is not empty: only where these bytes are read or written. */
  char part[PART_BYTES];
  uint32_t signal;
  /* At which passing. */
  uint32_t passing;
  /* Times it is raised before the next step's turn; 0: for ever. */
  uint32_t times;
  uint32_t unused;
};

struct control {
  _Atomic uint32_t mode;
  _Atomic uint32_t step;
  _Atomic uint32_t passings;
  _Atomic uint32_t raised;
  _Atomic uint32_t passed_count;
  uint32_t unused[11];
  struct step steps[STEPS_MAX];
  char passed[PASSED_MAX][NAME_BYTES];
};

static struct control *control;

static int is_daemon(void) {
  char words[4096];
  const int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  ssize_t length = read(fd, words, sizeof words - 1);
  close(fd);
  if (length < 0) length = 0;
  words[length] = '\0';
  int is_mounting = 0, serves = 0;
  for (const char *word = words; word < words + length; word += strlen(word) + 1) {
    if (strcmp(word, "mount") == 0) is_mounting = 1;
    const char *const kinds[] = {"--keeper-fd", "--keeper", "--no-keeper"};
    for (size_t i = 0; i < 3; i++) serves = serves || strcmp(word, kinds[i]) == 0;
  }
  return is_mounting && serves;
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("KITFS_FAULT_POINTS");
  if (path == NULL || !is_daemon()) return;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (fd >= 0 && at != MAP_FAILED) control = at;
}

static int is_on(void) {
  return control != NULL && atomic_load_explicit(&control->mode, memory_order_relaxed) != OFF;
}

static void die(uint32_t number) {
  /* To this thread, and from the kernel's side at once: nothing behind the point is done. */
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, (int)number);
  signal((int)number, SIG_DFL);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  kill(getpid(), (int)number);
}

/* The daemon is at the point, where it reads or writes these bytes, if any. */
static void pass(const char *point, const void *bytes, size_t length) {
  if (point == NULL) return;
  const int kept = errno;
  if (atomic_load(&control->mode) == TRACE) {
    const uint32_t at = atomic_fetch_add(&control->passed_count, 1);
    if (at < PASSED_MAX) strncpy(control->passed[at], point, NAME_BYTES - 1);
  } else {
    const uint32_t number = atomic_load(&control->step);
    const struct step *step = &control->steps[number % STEPS_MAX];
    const size_t wanted = strnlen(step->part, PART_BYTES);
    const int is_meant = strcmp(point, step->point) == 0 &&
                         (wanted == 0 || (bytes != NULL && memmem(bytes, length, step->part, wanted) != NULL));
    if (is_meant && atomic_fetch_add(&control->passings, 1) + 1 == step->passing) {
      const uint32_t raised = atomic_fetch_add(&control->raised, 1) + 1;
      const uint32_t signal = step->signal;
      atomic_store(&control->passings, 0);
      if (raised == step->times) {
        atomic_store(&control->raised, 0);
        const int is_last = number + 1 == STEPS_MAX || control->steps[number + 1].point[0] == '\0';
        if (is_last) atomic_store(&control->mode, OFF);
        atomic_store(&control->step, number + 1);
      }
      die(signal);
    }
  }
  errno = kept;
}

/* Which file. */
enum place { ELSEWHERE, DEVICE, WAL, DATABASE, CONTENT };

static enum place place_of(const char *path) {
  const size_t length = strlen(path);
  const struct { const char *end; enum place place; } files[] = {
      {"/journal.db-wal", WAL}, {"/journal.db", DATABASE}};
  if (strcmp(path, "/dev/fuse") == 0) return DEVICE;
  for (size_t i = 0; i < 2; i++) {
    const size_t end = strlen(files[i].end);
    if (length >= end && strcmp(path + length - end, files[i].end) == 0) return files[i].place;
  }
  return strstr(path, "/state/content/") != NULL ? CONTENT : ELSEWHERE;
}

static enum place place_at(int fd) {
  char link[64], path[4096];
  const int kept = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  errno = kept;
  if (length < 0) return ELSEWHERE;
  path[length] = '\0';
  return place_of(path);
}

static int is_socket(int fd, int kind) {
  int type = 0;
  socklen_t length = sizeof type;
  const int kept = errno;
  const int failed = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
  errno = kept;
  return failed == 0 && type == kind;
}

/* What was asked under a number, for the name of its answer. */
static const char *const operations[] = {
    [FUSE_LOOKUP] = "lookup", [FUSE_FORGET] = "forget", [FUSE_GETATTR] = "getattr",
    [FUSE_SETATTR] = "setattr", [FUSE_READLINK] = "readlink", [FUSE_SYMLINK] = "symlink",
    [FUSE_MKNOD] = "mknod", [FUSE_MKDIR] = "mkdir", [FUSE_UNLINK] = "unlink", [FUSE_RMDIR] = "rmdir",
    [FUSE_RENAME] = "rename", [FUSE_LINK] = "link", [FUSE_OPEN] = "open", [FUSE_READ] = "read",
    [FUSE_WRITE] = "write", [FUSE_STATFS] = "statfs", [FUSE_RELEASE] = "release",
    [FUSE_FSYNC] = "fsync", [FUSE_SETXATTR] = "setxattr", [FUSE_GETXATTR] = "getxattr",
    [FUSE_LISTXATTR] = "listxattr", [FUSE_REMOVEXATTR] = "removexattr", [FUSE_INIT] = "init",
    [FUSE_OPENDIR] = "opendir", [FUSE_READDIR] = "readdir", [FUSE_RELEASEDIR] = "releasedir",
    [FUSE_FSYNCDIR] = "fsyncdir", [FUSE_ACCESS] = "access", [FUSE_CREATE] = "create",
    [FUSE_INTERRUPT] = "interrupt", [FUSE_DESTROY] = "destroy", [FUSE_BATCH_FORGET] = "forget",
    [FUSE_FALLOCATE] = "fallocate", [FUSE_READDIRPLUS] = "readdirplus", [FUSE_RENAME2] = "rename2",
    [FUSE_LSEEK] = "lseek", [FUSE_COPY_FILE_RANGE] = "copy_file_range", [51] = "tmpfile", [52] = "statx",
    [53] = "copy_file_range"};
#define OPERATIONS (sizeof operations / sizeof operations[0])
#define ASKED 65536
static _Atomic uint32_t asked[ASKED];

static const char *name_of(char *into, const char *stage, uint32_t opcode) {
  const char *name = opcode < OPERATIONS ? operations[opcode] : NULL;
  snprintf(into, NAME_BYTES, "%s.%s", stage, name == NULL ? "other" : name);
  return into;
}

static _Atomic uint32_t *asked_as(uint64_t unique) { return &asked[(unique >> 1) % ASKED]; }

static void pass_request(const char *bytes, size_t length) {
  struct fuse_in_header header;
  char name[NAME_BYTES];
  if (length < sizeof header) return;
  memcpy(&header, bytes, sizeof header);
  atomic_store(asked_as(header.unique), header.opcode);
  pass(name_of(name, "request", header.opcode), bytes, length);
}

static const char *reply_name(char *into, const struct iovec *part, int is_done) {
  struct fuse_out_header header;
  if (part->iov_len < sizeof header) return NULL;
  memcpy(&header, part->iov_base, sizeof header);
  if (header.unique == 0) return is_done ? "resent" : "resend";
  return name_of(into, is_done ? "replied" : "reply", atomic_load(asked_as(header.unique)));
}

/* Whether frames that lie there end a transaction: the size of the database is in the header of the last. */
static int is_commit(const unsigned char *bytes, size_t length, off_t at, int fd) {
  unsigned char size[4];
  if (at < 32) return 0;
  if (pread(fd, size, sizeof size, 8) != sizeof size) return 0;
  const size_t page = (size_t)size[0] << 24 | size[1] << 16 | size[2] << 8 | size[3];
  const size_t frame = page + 24;
  for (size_t next = (frame - (size_t)(at - 32) % frame) % frame; next + 24 <= length; next += frame) {
    const unsigned char *pages = bytes + next + 4;
    if (next + frame <= length && (pages[0] | pages[1] | pages[2] | pages[3]) != 0) return 1;
  }
  return 0;
}

struct stage { const char *before, *behind; };

static struct stage writing(int fd, const void *bytes, size_t count, off_t at) {
  switch (place_at(fd)) {
    case WAL:
      return is_commit(bytes, count, at, fd) ? (struct stage){"commit", "committed"}
                                             : (struct stage){"journal-write", "journal-written"};
    case DATABASE: return (struct stage){"fold", "folded"};
    case CONTENT: return (struct stage){"backing-write", "backing-written"};
    default: return (struct stage){NULL, NULL};
  }
}

static struct stage at_content(int fd) {
  return place_at(fd) == CONTENT ? (struct stage){"backing-write", "backing-written"}
                                 : (struct stage){NULL, NULL};
}

static struct stage syncing(int fd) {
  const enum place place = place_at(fd);
  if (place == WAL) return (struct stage){"wal-sync", "wal-synced"};
  if (place == CONTENT) return (struct stage){"backing-sync", "backing-synced"};
  return (struct stage){NULL, NULL};
}

static struct stage of_path(const char *path, const char *before, const char *behind) {
  return place_of(path) == CONTENT ? (struct stage){before, behind} : (struct stage){NULL, NULL};
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define STAGED(stage_of, bytes, count, call) \
  do {                                       \
    if (!is_on()) return call;               \
    const struct stage stage = stage_of;     \
    pass(stage.before, bytes, count);        \
    __auto_type result = call;               \
    pass(stage.behind, bytes, count);        \
    return result;                           \
  } while (0)

ssize_t read(int fd, void *bytes, size_t count) {
  static __typeof__(&read) real;
  if (real == NULL) real = REAL(read);
  const ssize_t length = real(fd, bytes, count);
  if (length > 0 && is_on() && place_at(fd) == DEVICE) pass_request(bytes, (size_t)length);
  return length;
}

/* A connection that was accepted at a socket with a name; what is logged goes to one without. */
static int is_served(int fd) {
  struct sockaddr_un name = {.sun_family = AF_UNSPEC};
  socklen_t length = sizeof name;
  const int kept = errno;
  const int failed = getsockname(fd, (struct sockaddr *)&name, &length);
  errno = kept;
  return failed == 0 && name.sun_family == AF_UNIX && length > sizeof name.sun_family;
}

static struct stage answering(int fd) {
  return is_served(fd) ? (struct stage){"answer", "answered"} : (struct stage){NULL, NULL};
}

ssize_t write(int fd, const void *bytes, size_t count) {
  static __typeof__(&write) real;
  if (real == NULL) real = REAL(write);
  if (is_on() && place_at(fd) != ELSEWHERE) STAGED(writing(fd, bytes, count, 0), bytes, count, real(fd, bytes, count));
  STAGED(answering(fd), bytes, count, real(fd, bytes, count));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  static __typeof__(&writev) real;
  if (real == NULL) real = REAL(writev);
  if (!is_on()) return real(fd, parts, count);
  if (place_at(fd) != DEVICE) STAGED(answering(fd), parts[0].iov_base, parts[0].iov_len, real(fd, parts, count));
  char before[NAME_BYTES], behind[NAME_BYTES];
  const struct stage stage = {reply_name(before, parts, 0), reply_name(behind, parts, 1)};
  pass(stage.before, parts[0].iov_base, parts[0].iov_len);
  const ssize_t result = real(fd, parts, count);
  pass(stage.behind, parts[0].iov_base, parts[0].iov_len);
  return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  STAGED(writing(fd, bytes, count, at), bytes, count, REAL(pwrite64)(fd, bytes, count, at));
}
ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
  const ssize_t length = REAL(pread64)(fd, bytes, count, at);
  if (length > 0 && is_on() && place_at(fd) == CONTENT) pass("backing-read", bytes, (size_t)length);
  return length;
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
  STAGED(at_content(fd), parts[0].iov_base, parts[0].iov_len, REAL(pwritev64)(fd, parts, count, at));
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
  STAGED(at_content(out), NULL, 0, REAL(copy_file_range)(in, from, out, to, count, flags));
}
int ftruncate64(int fd, off64_t size) { STAGED(at_content(fd), NULL, 0, REAL(ftruncate64)(fd, size)); }
int fallocate64(int fd, int mode, off64_t at, off64_t count) {
  STAGED(at_content(fd), NULL, 0, REAL(fallocate64)(fd, mode, at, count));
}
int fallocate(int fd, int mode, off_t at, off_t count) {
  STAGED(at_content(fd), NULL, 0, REAL(fallocate)(fd, mode, at, count));
}
int fdatasync(int fd) { STAGED(syncing(fd), NULL, 0, REAL(fdatasync)(fd)); }
int fsync(int fd) { STAGED(syncing(fd), NULL, 0, REAL(fsync)(fd)); }

int mkdir(const char *path, mode_t mode) {
  STAGED(of_path(path, "backing-make", "backing-made"), NULL, 0, REAL(mkdir)(path, mode));
}
int link(const char *from, const char *to) {
  STAGED(of_path(to, "backing-name", "backing-named"), NULL, 0, REAL(link)(from, to));
}
int rename(const char *from, const char *to) {
  STAGED(of_path(to, "backing-name", "backing-named"), NULL, 0, REAL(rename)(from, to));
}
int unlink(const char *path) {
  STAGED(of_path(path, "backing-remove", "backing-removed"), NULL, 0, REAL(unlink)(path));
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if ((flags & O_CREAT) == 0) return REAL(open64)(path, flags, mode);
  STAGED(of_path(path, "backing-make", "backing-made"), NULL, 0, REAL(open64)(path, flags, mode));
}

/* As native/fuse_device.h: they came with Linux 6.9, and older headers lack them. */
struct backing { int32_t fd; uint32_t flags; uint64_t padding; };
#define BACKING_OPEN _IOW(229, 1, struct backing)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

static struct stage controlling(unsigned long request) {
  if (request == BACKING_OPEN) return (struct stage){"register", "registered"};
  if (request == BACKING_CLOSE) return (struct stage){"unregister", "unregistered"};
  return (struct stage){NULL, NULL};
}

int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  STAGED(controlling(request), NULL, 0, REAL(ioctl)(fd, request, argument));
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
  STAGED(((struct stage){"notify", "notified"}), bytes, count, REAL(send)(fd, bytes, count, flags));
}

static struct stage telling(int fd) {
  return is_socket(fd, SOCK_SEQPACKET) ? (struct stage){"keeper-tell", "keeper-told"} : answering(fd);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  STAGED(telling(fd), NULL, 0, REAL(sendmsg)(fd, message, flags));
}
