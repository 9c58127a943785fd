/*
 * Rates of a directory, as a program sees them: one phase per line, "name operations seconds".
 *   files names DIR COUNT THREADS     create, stat, rename, unlink
 *   files folders DIR COUNT THREADS   mkdir, rmdir
 *   files small DIR COUNT THREADS     4 KiB written to new files, to old ones, read back
 *   files synced DIR COUNT THREADS    4 KiB written to new files, and fsync
 *   files list DIR COUNT              entries of a large directory
 *   files new DIR MIB                 a new large file, fsync included
 *   files data DIR MIB                reads and writes of a large file whose pages are cached
 *   files reopen DIR MIB XATTR        O_RDWR of a large file, once XATTR of it answers ("" waits for nothing)
 * DIR is empty; it is left empty. Any failing call ends the program: a rate of failures is no rate.
 * Phases that can be repeated are, until they have taken long enough for the clock of a busy machine.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { SMALL = 4096, LARGE = 1 << 20, THREADS_MAX = 16, PATH_BYTES = 4096, REOPENS = 200 };

static const double REPEAT_SECONDS = 0.2, ANSWER_SECONDS_MAX = 120;

struct worker {
  pthread_t thread;
  const char *directory;
  void (*one)(const char *path);
  int index;
  int count;
  int repeats;
  long done;
};

static const char *directory;
static _Alignas(SMALL) unsigned char block[LARGE];

static void fail(const char *what, const char *path) {
  fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report(const char *name, long operations, double seconds) {
  printf("%s %ld %.9f\n", name, operations, seconds);
  fflush(stdout);
}

static int opened(const char *path, int flags) {
  int fd = open(path, flags, 0644);
  if (fd < 0) fail("open", path);
  return fd;
}

static void closed(int fd, const char *path) {
  if (close(fd) != 0) fail("close", path);
}

static void create_empty(const char *path) { closed(opened(path, O_CREAT | O_EXCL | O_WRONLY), path); }

static void write_small(const char *path, int flags, int sync) {
  int fd = opened(path, flags | O_WRONLY);
  if (write(fd, block, SMALL) != SMALL) fail("write", path);
  if (sync && fsync(fd) != 0) fail("fsync", path);
  closed(fd, path);
}

static void create_small(const char *path) { write_small(path, O_CREAT | O_EXCL, 0); }

static void create_synced(const char *path) { write_small(path, O_CREAT | O_EXCL, 1); }

static void rewrite_small(const char *path) { write_small(path, 0, 0); }

static void read_small(const char *path) {
  char into[SMALL];
  int fd = opened(path, O_RDONLY);
  if (read(fd, into, SMALL) != SMALL) fail("read", path);
  closed(fd, path);
}

static void stat_one(const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) fail("stat", path);
}

static void rename_one(const char *path) {
  char to[PATH_BYTES + 8];
  snprintf(to, sizeof to, "%s.to", path);
  if (rename(path, to) != 0) fail("rename", path);
}

static void unlink_one(const char *path) {
  if (unlink(path) != 0) fail("unlink", path);
}

/* The file that rename_one has left. */
static void unlink_renamed(const char *path) {
  char to[PATH_BYTES + 8];
  snprintf(to, sizeof to, "%s.to", path);
  unlink_one(to);
}

static void mkdir_one(const char *path) {
  if (mkdir(path, 0755) != 0) fail("mkdir", path);
}

static void rmdir_one(const char *path) {
  if (rmdir(path) != 0) fail("rmdir", path);
}

static void *work(void *argument) {
  struct worker *w = argument;
  char path[PATH_BYTES];
  double start = now();
  do {
    for (int i = 0; i < w->count; i++) {
      snprintf(path, sizeof path, "%s/t%d/f%d", w->directory, w->index, i);
      w->one(path);
    }
    w->done += w->count;
  } while (w->repeats && now() - start < REPEAT_SECONDS);
  return NULL;
}

/* Without a name it is done, and not reported. */
static void run(const char *name, int count, int threads, void (*one)(const char *), int repeats) {
  struct worker workers[THREADS_MAX];
  long done = 0;
  double start = now();
  for (int t = 0; t < threads; t++) {
    workers[t] = (struct worker){
        .index = t, .count = count / threads, .directory = directory, .one = one, .repeats = repeats};
    if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0) fail("thread", "");
  }
  for (int t = 0; t < threads; t++) {
    pthread_join(workers[t].thread, NULL);
    done += workers[t].done;
  }
  if (name != NULL) report(name, done, now() - start);
}

static void once(const char *name, int count, int threads, void (*one)(const char *)) {
  run(name, count, threads, one, 0);
}

static void again(const char *name, int count, int threads, void (*one)(const char *)) {
  run(name, count, threads, one, 1);
}

static void each_directory(int threads, void (*one)(const char *)) {
  char path[PATH_BYTES];
  for (int t = 0; t < threads; t++) {
    snprintf(path, sizeof path, "%s/t%d", directory, t);
    one(path);
  }
}

/* Dentries and inodes out of the kernel; 0 when we may not. Dirty inodes would stay, hence the sync. */
static int dropped_caches(void) {
  sync();
  int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (fd < 0) return 0;
  int done = write(fd, "2", 1) == 1;
  close(fd);
  return done;
}

static void names(int count, int threads) {
  each_directory(threads, mkdir_one);
  once("create", count, threads, create_empty);
  again("stat-warm", count, threads, stat_one);
  if (dropped_caches()) once("stat-dropped", count, threads, stat_one);
  once("rename", count, threads, rename_one);
  once("unlink", count, threads, unlink_renamed);
  each_directory(threads, rmdir_one);
}

static void folders(int count, int threads) {
  each_directory(threads, mkdir_one);
  once("mkdir", count, threads, mkdir_one);
  once("rmdir", count, threads, rmdir_one);
  each_directory(threads, rmdir_one);
}

static void small(int count, int threads) {
  each_directory(threads, mkdir_one);
  once("create-write-4k", count, threads, create_small);
  again("open-write-4k", count, threads, rewrite_small);
  again("open-read-4k", count, threads, read_small);
  once(NULL, count, threads, unlink_one);
  each_directory(threads, rmdir_one);
}

static void synced(int count, int threads) {
  each_directory(threads, mkdir_one);
  once("create-write-4k-fsync", count, threads, create_synced);
  once(NULL, count, threads, unlink_one);
  each_directory(threads, rmdir_one);
}

static void list(int count) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/t0", directory);
  mkdir_one(path);
  once(NULL, count, 1, create_empty);
  long entries = 0;
  double start = now();
  do {
    DIR *stream = opendir(path);
    if (stream == NULL) fail("opendir", path);
    while (readdir(stream) != NULL) entries++;
    closedir(stream);
  } while (now() - start < REPEAT_SECONDS);
  report("readdir", entries, now() - start);
  once(NULL, count, 1, unlink_one);
  rmdir_one(path);
}

/* No two pages are alike, so that nothing stores two as one. */
static void stamp(uint64_t number) {
  for (size_t i = 0; i < LARGE; i += SMALL, number++) memcpy(block + i, &number, sizeof number);
}

static void fill(int fd, const char *path, int mib) {
  for (int i = 0; i < mib; i++) {
    stamp((uint64_t)i * (LARGE / SMALL));
    if (write(fd, block, LARGE) != LARGE) fail("write", path);
  }
}

static void new_file(int mib) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/new", directory);
  double start = now();
  int fd = opened(path, O_CREAT | O_RDWR);
  fill(fd, path, mib);
  if (fsync(fd) != 0) fail("fsync", path);
  report("write-new-1m", mib, now() - start);
  closed(fd, path);
  unlink_one(path);
}

struct access {
  const char *name;
  int flags;
  int size;
  int is_random;
};

static const struct access ACCESSES[] = {
    {"read-sequential-1m", O_RDONLY, LARGE, 0},  {"read-sequential-4k", O_RDONLY, SMALL, 0},
    {"read-random-1m", O_RDONLY, LARGE, 1},      {"read-random-4k", O_RDONLY, SMALL, 1},
    {"write-sequential-1m", O_WRONLY, LARGE, 0}, {"write-sequential-4k", O_WRONLY, SMALL, 0},
    {"write-random-1m", O_WRONLY, LARGE, 1},     {"write-random-4k", O_WRONLY, SMALL, 1},
};

static void accessed(const struct access *a, const char *path, int mib) {
  enum { SEQUENCE = 64 };
  long pieces = (long)mib * (LARGE / a->size), done = 0;
  unsigned seed = 1;
  int fd = opened(path, a->flags);
  double start = now();
  do {
    for (int i = 0; i < SEQUENCE; i++, done++) {
      off_t at = (off_t)(a->is_random ? rand_r(&seed) % pieces : done % pieces) * a->size;
      ssize_t got = a->flags == O_RDONLY ? pread(fd, block, (size_t)a->size, at)
                                         : pwrite(fd, block, (size_t)a->size, at);
      if (got != a->size) fail(a->name, path);
    }
  } while (now() - start < 2 * REPEAT_SECONDS);
  report(a->name, done, now() - start);
  closed(fd, path);
}

static void cached_data(int mib) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/large", directory);
  int fd = opened(path, O_CREAT | O_RDWR);
  fill(fd, path, mib);
  if (fsync(fd) != 0) fail("fsync", path);
  /* Untimed, so that the pages are cached wherever this file system keeps them. */
  for (int i = 0; i < mib; i++) {
    if (pread(fd, block, LARGE, (off_t)i * LARGE) != LARGE) fail("read", path);
  }
  closed(fd, path);
  for (size_t i = 0; i < sizeof ACCESSES / sizeof *ACCESSES; i++) accessed(&ACCESSES[i], path, mib);
  unlink_one(path);
}

static void await_answer(const char *path, const char *attribute) {
  char value[256];
  double start = now();
  while (getxattr(path, attribute, value, sizeof value) < 0) {
    if (errno != ENODATA || now() - start > ANSWER_SECONDS_MAX) fail(attribute, path);
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
  }
}

static void reopen(int mib, const char *attribute) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/sealed", directory);
  int fd = opened(path, O_CREAT | O_RDWR);
  fill(fd, path, mib);
  closed(fd, path);
  if (*attribute != '\0') await_answer(path, attribute);
  double start = now();
  closed(opened(path, O_RDWR), path);
  report("open-rdwr-first", 1, now() - start);
  start = now();
  for (int i = 0; i < REOPENS; i++) closed(opened(path, O_RDWR), path);
  report("open-rdwr-next", REOPENS, now() - start);
  unlink_one(path);
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: files PHASES DIR COUNT [THREADS|XATTR]\n");
    return 2;
  }
  const char *what = argv[1], *last = argc > 4 ? argv[4] : "";
  directory = argv[2];
  int count = atoi(argv[3]), threads = atoi(last);
  if (count < 1 || strlen(directory) > PATH_BYTES / 2) return 2;
  uint64_t state = 88172645463325252ULL;
  for (size_t i = 0; i < sizeof block; i += sizeof state) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    memcpy(block + i, &state, sizeof state);
  }
  int is_threaded = threads >= 1 && threads <= THREADS_MAX;
  if (strcmp(what, "names") == 0 && is_threaded) names(count, threads);
  else if (strcmp(what, "folders") == 0 && is_threaded) folders(count, threads);
  else if (strcmp(what, "small") == 0 && is_threaded) small(count, threads);
  else if (strcmp(what, "synced") == 0 && is_threaded) synced(count, threads);
  else if (strcmp(what, "list") == 0) list(count);
  else if (strcmp(what, "new") == 0) new_file(count);
  else if (strcmp(what, "data") == 0) cached_data(count);
  else if (strcmp(what, "reopen") == 0) reopen(count, last);
  else return 2;
  return 0;
}
