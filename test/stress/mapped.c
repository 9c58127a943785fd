/*
 * Writes through a shared mapping whose file is closed, for ever.
 *   mapped FILE BYTES
 * Round r sets all words of the file, a page at a time in an order of its own, to r; FILE is made with zeros. After a
 * round it says "wrote r", after every fourth also "synced r", when msync(2) has returned. It ends at the first error.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / sizeof(uint64_t), SYNCED_EVERY = 4 };

static void must(const char *call, int failed) {
  if (!failed) return;
  perror(call);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "mapped FILE BYTES\n"), 2;
  size_t bytes = strtoul(argv[2], NULL, 10), pages = bytes / PAGE;
  int fd = open(argv[1], O_RDWR | O_CREAT | O_EXCL, 0644);
  must("open", fd < 0);
  must("write", ftruncate(fd, bytes) < 0 || close(fd) < 0);
  fd = open(argv[1], O_RDWR);
  must("open", fd < 0);
  uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  must("mmap", words == MAP_FAILED);
  must("close", close(fd) < 0);
  for (uint64_t round = 1;; round++) {
    for (size_t i = 0; i < pages; i++) {
      uint64_t *page = words + (i * 7 + round) % pages * WORDS;
      for (size_t j = 0; j < WORDS; j++) page[j] = round;
    }
    printf("wrote %lu\n", (unsigned long)round);
    if (round % SYNCED_EVERY == 0) {
      must("msync", msync(words, bytes, MS_SYNC) < 0);
      printf("synced %lu\n", (unsigned long)round);
    }
    fflush(stdout);
  }
}
