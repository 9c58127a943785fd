/*
 * Rates of a directory, as a program sees them: one phase per line, "name operations seconds".
 *   files DIR COUNT THREADS FILE_MIB
 * DIR is empty; it is left empty. Any failing call ends the program: a rate of failures is no rate.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SMALL = 4096, LARGE = 1 << 20, THREADS_MAX = 16 };

struct worker {
  pthread_t thread;
  int index;
  int count;
  const char *directory;
  void (*one)(const char *path, int index);
};

static char block[LARGE];

static void fail(const char *what, const char *path) {
  fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int opened(const char *path, int flags) {
  int fd = open(path, flags, 0644);
  if (fd < 0) fail("open", path);
  return fd;
}

static void closed(int fd, const char *path) {
  if (close(fd) != 0) fail("close", path);
}

static void create_empty(const char *path, int index) {
  (void)index;
  closed(opened(path, O_CREAT | O_EXCL | O_WRONLY), path);
}

static void write_small(const char *path, int flags, int sync) {
  int fd = opened(path, flags | O_WRONLY);
  if (write(fd, block, SMALL) != SMALL) fail("write", path);
  if (sync && fsync(fd) != 0) fail("fsync", path);
  closed(fd, path);
}

static void create_small(const char *path, int index) {
  (void)index;
  write_small(path, O_CREAT | O_EXCL, 0);
}

static void create_synced(const char *path, int index) {
  (void)index;
  write_small(path, O_CREAT | O_EXCL, 1);
}

static void rewrite_small(const char *path, int index) {
  (void)index;
  write_small(path, 0, 0);
}

static void read_small(const char *path, int index) {
  char into[SMALL];
  (void)index;
  int fd = opened(path, O_RDONLY);
  if (read(fd, into, SMALL) != SMALL) fail("read", path);
  closed(fd, path);
}

static void stat_one(const char *path, int index) {
  struct stat st;
  (void)index;
  if (stat(path, &st) != 0) fail("stat", path);
}

static void unlink_one(const char *path, int index) {
  (void)index;
  if (unlink(path) != 0) fail("unlink", path);
}

static void *work(void *argument) {
  struct worker *w = argument;
  char path[4096];
  for (int i = 0; i < w->count; i++) {
    snprintf(path, sizeof path, "%s/t%d/f%d", w->directory, w->index, i);
    w->one(path, i);
  }
  return NULL;
}

static void phase(const char *name, const char *directory, int count, int threads,
                  void (*one)(const char *, int)) {
  struct worker workers[THREADS_MAX];
  double start = now();
  for (int t = 0; t < threads; t++) {
    workers[t] = (struct worker){.index = t, .count = count / threads, .directory = directory, .one = one};
    if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0) fail("thread", name);
  }
  for (int t = 0; t < threads; t++) pthread_join(workers[t].thread, NULL);
  printf("%s %d %.6f\n", name, count / threads * threads, now() - start);
  fflush(stdout);
}

static void large(const char *directory, int mib) {
  char path[4096];
  snprintf(path, sizeof path, "%s/large", directory);
  int fd = opened(path, O_CREAT | O_RDWR);
  double start = now();
  for (int i = 0; i < mib; i++) {
    if (write(fd, block, LARGE) != LARGE) fail("write", path);
  }
  printf("write-sequential %d %.6f\n", mib, now() - start);
  if (fsync(fd) != 0) fail("fsync", path);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  start = now();
  for (int i = 0; i < mib; i++) {
    if (pread(fd, block, LARGE, (off_t)i * LARGE) != LARGE) fail("read", path);
  }
  printf("read-sequential %d %.6f\n", mib, now() - start);
  int pieces = mib * (LARGE / SMALL), tries = 20000;
  unsigned seed = 1;
  start = now();
  for (int i = 0; i < tries; i++) {
    if (pread(fd, block, SMALL, (off_t)(rand_r(&seed) % pieces) * SMALL) != SMALL) fail("read", path);
  }
  printf("read-random-4k %d %.6f\n", tries, now() - start);
  start = now();
  for (int i = 0; i < tries / 4; i++) {
    if (pwrite(fd, block, SMALL, (off_t)(rand_r(&seed) % pieces) * SMALL) != SMALL) fail("write", path);
  }
  printf("write-random-4k %d %.6f\n", tries / 4, now() - start);
  closed(fd, path);
  unlink_one(path, 0);
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: files DIR COUNT THREADS FILE_MIB\n");
    return 2;
  }
  const char *directory = argv[1];
  int count = atoi(argv[2]), threads = atoi(argv[3]), mib = atoi(argv[4]);
  char path[4096];
  if (count < 1 || threads < 1 || threads > THREADS_MAX) return 2;
  for (size_t i = 0; i < sizeof block; i++) block[i] = (char)(i * 31 + i / 4096);
  for (int t = 0; t < threads; t++) {
    snprintf(path, sizeof path, "%s/t%d", directory, t);
    if (mkdir(path, 0755) != 0) fail("mkdir", path);
  }
  phase("create", directory, count, threads, create_empty);
  phase("stat-warm", directory, count, threads, stat_one);
  phase("unlink", directory, count, threads, unlink_one);
  phase("create-write-4k-one-thread", directory, count, 1, create_small);
  phase("open-write-4k-one-thread", directory, count, 1, rewrite_small);
  phase("open-read-4k-one-thread", directory, count, 1, read_small);
  phase("unlink-one-thread", directory, count, 1, unlink_one);
  phase("create-4k-fsync", directory, count / 10, threads, create_synced);
  phase("unlink-synced", directory, count / 10, threads, unlink_one);
  if (mib > 0) large(directory, mib);
  for (int t = 0; t < threads; t++) {
    snprintf(path, sizeof path, "%s/t%d", directory, t);
    if (rmdir(path) != 0) fail("rmdir", path);
  }
  return 0;
}
