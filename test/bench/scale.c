/*
 * Many files, as programs see them. File number i lies in DIR/big when i is a multiple of 5, else in DIR/d<i / 1000>.
 *   scale make DIR FROM TO THREADS    makes the files FROM..TO-1 of 64 bytes each; prints seconds
 *   scale lookup DIR COUNT SAMPLES SEED
 *                                     lstat of random ones of the first COUNT; prints the mean and the median, seconds
 *   scale read DIR COUNT THREADS      opens, reads and closes the first COUNT; prints seconds
 *   scale hold DIR COUNT              keeps COUNT open and read; prints "held", waits for the end of its input
 * Any failing call ends the program: a rate of failures is no rate.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PER_DIRECTORY = 1000, IN_BIG = 5, FILE_BYTES = 64, THREADS_MAX = 16, PATH_MAX_BYTES = 4096 };

static const char *directory;
/* Threads take whole directories, so that two never make the same one. */
static long next_file, end_file;
static pthread_mutex_t next_lock = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what, const char *path) {
  fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void path_of(char *path, long i) {
  if (i % IN_BIG == 0) snprintf(path, PATH_MAX_BYTES, "%s/big/f%ld", directory, i);
  else snprintf(path, PATH_MAX_BYTES, "%s/d%ld/f%ld", directory, i / PER_DIRECTORY, i);
}

static void make_directory(const char *path) {
  if (mkdir(path, 0755) != 0 && errno != EEXIST) fail("mkdir", path);
}

static void make_file(long i) {
  char path[PATH_MAX_BYTES], bytes[FILE_BYTES + 1];
  path_of(path, i);
  int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
  if (fd < 0) fail("create", path);
  snprintf(bytes, sizeof bytes, "%-*ld", FILE_BYTES, i);
  if (write(fd, bytes, FILE_BYTES) != FILE_BYTES) fail("write", path);
  if (close(fd) != 0) fail("close", path);
}

static int open_and_read(long i) {
  char path[PATH_MAX_BYTES], bytes[FILE_BYTES];
  path_of(path, i);
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail("open", path);
  if (read(fd, bytes, FILE_BYTES) != FILE_BYTES || atol(bytes) != i) fail("read", path);
  return fd;
}

static void read_file(long i) {
  if (close(open_and_read(i)) != 0) fail("close", directory);
}

static int take(long *from, long *to) {
  pthread_mutex_lock(&next_lock);
  *from = next_file;
  *to = (next_file / PER_DIRECTORY + 1) * PER_DIRECTORY;
  if (*to > end_file) *to = end_file;
  next_file = *to;
  pthread_mutex_unlock(&next_lock);
  return *from < *to;
}

static void *make_files(void *unused) {
  char path[PATH_MAX_BYTES];
  long from, to;
  (void)unused;
  while (take(&from, &to)) {
    snprintf(path, sizeof path, "%s/d%ld", directory, from / PER_DIRECTORY);
    make_directory(path);
    for (long i = from; i < to; i++) make_file(i);
  }
  return NULL;
}

static void *read_files(void *unused) {
  long from, to;
  (void)unused;
  while (take(&from, &to))
    for (long i = from; i < to; i++) read_file(i);
  return NULL;
}

static void in_threads(void *(*work)(void *), long from, long to, int threads) {
  pthread_t all[THREADS_MAX];
  double start = now();
  if (threads < 1 || threads > THREADS_MAX) exit(2);
  next_file = from;
  end_file = to;
  for (int t = 0; t < threads; t++) pthread_create(&all[t], NULL, work, NULL);
  for (int t = 0; t < threads; t++) pthread_join(all[t], NULL);
  printf("%.6f\n", now() - start);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void lookup(long count, long samples, uint64_t seed) {
  double *times = calloc((size_t)samples, sizeof *times), all = 0;
  uint64_t state = 88172645463325252ULL ^ (seed << 32);
  if (times == NULL) fail("calloc", "");
  for (long s = 0; s < samples; s++) {
    char path[PATH_MAX_BYTES];
    struct stat found;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    path_of(path, (long)(state % (uint64_t)count));
    double start = now();
    if (lstat(path, &found) != 0) fail("lstat", path);
    times[s] = now() - start;
    all += times[s];
  }
  qsort(times, (size_t)samples, sizeof *times, ascending);
  printf("%.9f %.9f\n", all / (double)samples, times[samples / 2]);
}

static void hold(long count) {
  struct rlimit limit = {(rlim_t)count + 64, (rlim_t)count + 64};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit", "");
  for (long i = 0; i < count; i++) open_and_read(i);
  printf("held\n");
  fflush(stdout);
  while (getchar() != EOF) continue;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  const char *mode = argv[1];
  directory = argv[2];
  long first = atol(argv[3]), second = argc > 4 ? atol(argv[4]) : 0;
  if (strcmp(mode, "make") == 0 && argc > 5) {
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof path, "%s/big", directory);
    make_directory(path);
    in_threads(make_files, first, second, atoi(argv[5]));
  } else if (strcmp(mode, "lookup") == 0 && argc > 5 && second > 0) lookup(first, second, (uint64_t)atol(argv[5]));
  else if (strcmp(mode, "read") == 0) in_threads(read_files, 0, first, (int)second);
  else if (strcmp(mode, "hold") == 0) hold(first);
  else return 2;
  return 0;
}
