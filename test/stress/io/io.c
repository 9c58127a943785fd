/*
 * Random operations on two files, every answer of the file system held against a copy of them in memory.
 *   io DIR OPERATIONS SEED [--reader] [--damage KIND:AT:NAME]
 * DIR is empty; the files are left in it, closed. Everything that is done follows from SEED, which is printed first.
 * At the first answer that is not that of the copy: what it was, the last operations, and 1.
 *   --reader   a second process opens and reads the files all the time.
 *   --damage   spoils the files behind the program's back after AT operations (KIND: `flip` a byte, `punch` a hole
 *              into what is written, `grow` by a byte), and then only does what is called NAME: proof that it can fail.
 * An operation the file system does not have (zeroing, EOPNOTSUPP; an open with O_DIRECT, EINVAL) is left out from
 * then on, and named in the last line.
 */
#include "file.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static const struct operation OPERATIONS[] = {
    {"read", 160, read_some},          {"write", 130, write_some},       {"append", 35, append},
    {"direct-read", 25, read_direct},  {"direct-write", 15, write_direct}, {"send-out", 15, send_out},
    {"send-in", 10, send_in},          {"map-read", 110, read_mapped},   {"map-write", 110, write_mapped},
    {"map-briefly", 25, map_briefly},  {"remap", 5, remap},              {"truncate", 40, truncate_some},
    {"allocate", 50, allocate},        {"copy", 40, copy_range},         {"seek", 30, seek_extents},
    {"stat", 80, check_stat},          {"whole", 5, read_whole},         {"close", 25, close_some},
    {"empty", 5, reopen_empty},        {"sync", 1, synchronise},         {"forget", 5, forget_pages},
    {"rename", 8, rename_open},        {"unlink", 8, unlink_open},       {"replace", 4, replace},
};
enum { OPERATION_COUNT = sizeof OPERATIONS / sizeof *OPERATIONS };

static const struct operation *draw(void) {
  size_t total = 0, i = 0;
  for (size_t j = 0; j < OPERATION_COUNT; j++) total += OPERATIONS[j].weight;
  size_t at = below(total);
  while (at >= (size_t)OPERATIONS[i].weight) at -= OPERATIONS[i++].weight;
  return &OPERATIONS[i];
}

static const struct operation *named(const char *name) {
  for (size_t i = 0; i < OPERATION_COUNT; i++) {
    if (strcmp(OPERATIONS[i].name, name) == 0) return &OPERATIONS[i];
  }
  fprintf(stderr, "no operation is called %s\n", name);
  exit(2);
}

/** Both files are full of bytes then, so that there is something to spoil. */
static void damage(const char *kind) {
  for (struct file *f = files; f < files + 2; f++) {
    char path[PATH_ROOM], byte;
    fill(block, 2 * PAGE);
    expect_count("write", pwrite(fd_of(f, BOTH), block, 2 * PAGE, 0), 2 * PAGE);
    must("truncate", ftruncate(fd_of(f, BOTH), 2 * PAGE));
    set_size(f, 0);
    set_bytes(f, block, 0, 2 * PAGE);
    way_to(f, path);
    int fd = open(path, O_RDWR);
    must("open", fd);
    if (strcmp(kind, "flip") == 0) {
      expect_count("read", pread(fd, &byte, 1, PAGE), 1);
      byte ^= 1;
      expect_count("write", pwrite(fd, &byte, 1, PAGE), 1);
    } else if (strcmp(kind, "punch") == 0) {
      must("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
    } else {
      must("grow", ftruncate(fd, 2 * PAGE + 1));
    }
    must("close", close(fd));
  }
}

/** Opens and reads for ever: what it sees may be anything, and is not looked at. */
static void read_along(void) {
  static char into[16 * KIB];
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    for (int i = 0; i < 4; i++) {
      char path[PATH_ROOM];
      struct stat st;
      path_of(&files[i / 2], i % 2, path);
      int fd = open(path, O_RDONLY);
      if (fd < 0) continue;
      for (int j = 0; j < 8 && fstat(fd, &st) == 0; j++) {
        if (pread(fd, into, sizeof into, below(st.st_size + 1)) < 0) {
          perror("the reader");
          _exit(1);
        }
      }
      close(fd);
    }
  }
}

int main(int argc, char **argv) {
  char kind[16] = "", then[32] = "";
  long damaged_at = -1;
  pid_t reader = 0;
  const struct operation *only = NULL;
  if (argc < 4) return fprintf(stderr, "io DIR OPERATIONS SEED [--reader] [--damage KIND:AT:NAME]\n"), 2;
  long operations = atol(argv[2]);
  state = seed = strtoull(argv[3], NULL, 10);
  printf("seed %llu, %ld operations\n", (unsigned long long)seed, operations);
  fflush(stdout);
  block = aligned_alloc(PAGE, ONE_MAX + PAGE);
  other = malloc(ONE_MAX + PAGE);
  memory = memfd_create("io", 0);
  for (int i = 0; i < 2; i++) {
    files[i] = (struct file){.directory = argv[1], .number = i, .fd = {-1, -1, -1, -1, -1}};
    files[i].bytes = calloc(1, LARGEST + PAGE);
    create(&files[i]);
  }
  for (int i = 4; i < argc; i++) {
    if (strcmp(argv[i], "--reader") == 0 && (reader = fork()) == 0) read_along();
    else if (strcmp(argv[i], "--damage") == 0) sscanf(argv[++i], "%15[a-z]:%ld:%31s", kind, &damaged_at, then);
  }
  struct timespec begun, ended;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  for (number = 1; number <= operations;) {
    if (number == damaged_at) damage(kind), damaged_at = -1, only = named(then);
    const struct operation *o = only ? only : draw();
    last[number % LAST] = (struct record){.operation = o->name};
    number += o->run(&files[below(2)]);
  }
  number = operations;
  for (int i = 0; i < 2; i++) {
    if (files[i].orphan) begin_anew(&files[i]);
    check_whole(&files[i]);
    unmap(&files[i]);
    check_whole(&files[i]);
    close_all(&files[i]);
    check_whole(&files[i]);
  }
  int status = 0;
  if (reader > 0 && (waitpid(reader, &status, WNOHANG) != 0)) fail("the reader could not read");
  if (reader > 0) kill(reader, SIGKILL), waitpid(reader, &status, 0);
  clock_gettime(CLOCK_MONOTONIC, &ended);
  double seconds = (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9;
  printf("done %ld operations in %.3f s%s%s\n", operations, seconds, has_direct ? "" : ", without O_DIRECT",
         has_zero ? "" : ", without zeroing");
  return 0;
}
