/*
 * A file under test and the copy of it in memory, against which every answer of the file system is held.
 *
 * The copy: `bytes` up to `size`, zeros behind it, always. Nothing here is random but what `next` gives, so that all
 * that is done follows from the seed. What is wrong ends the program, with the last operations.
 */
#ifndef FILE_H
#define FILE_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/** No file grows beyond LARGEST, and no operation moves more than ONE_MAX bytes. */
enum { PAGE = 4096, KIB = 1024, MIB = 1024 * KIB, LARGEST = 3 * MIB, ONE_MAX = 512 * KIB, PATH_ROOM = 4096 };

/** A second descriptor on a file is one of another kind. */
enum kind { BOTH, READ, WRITE, APPEND, DIRECT, KINDS };

struct file {
  const char *directory;
  /** Which file, which of its two names, and whether it has none any more. */
  int number, name, orphan;
  uint8_t *bytes;
  size_t size;
  /** -1 while closed. */
  int fd[KINDS];
  /** A shared mapping, or NULL; it may reach beyond the end, and outlive the descriptors. */
  uint8_t *map;
  size_t map_offset, map_length;
  /** Pages of a mapping were written and not synced: only the kernel knows of them yet. */
  int is_unsynced;
  struct timespec modified;
};

struct record {
  const char *operation, *how;
  struct file file;
  size_t offset, length;
};

struct operation {
  const char *name;
  int weight;
  /** 0 when it could not be done now. */
  int (*run)(struct file *);
};

extern uint64_t seed, state;
/** Of the operation in hand; the records of the LAST ones are kept. */
extern long number;
enum { LAST = 24 };
extern struct record last[LAST];
extern struct file files[2];
/** Room for ONE_MAX bytes each, aligned for O_DIRECT; a file in memory; what the file system has. */
extern uint8_t *block, *other;
extern int memory, has_direct, has_zero;

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t most(size_t a, size_t b) { return a > b ? a : b; }

uint64_t next(void);
/** A number below `bound`; 0 when there is none. */
size_t below(size_t bound);
/** True once in so many times. */
int chance(size_t of);

void fail(const char *what);
void fail_errno(const char *call);
/** Ends the program when the system call failed. */
void must(const char *call, int result);
void expect_count(const char *call, ssize_t count, size_t expected);
/** What the operation in hand does, for the message of a failure. */
void note(const struct file *f, const char *how, size_t offset, size_t length);
/** Holds bytes that were found at `offset` against the copy. */
void compare(struct file *f, const char *how, const uint8_t *found, size_t offset, size_t length);

void path_of(const struct file *f, int name, char *path);
/** A path that leads to the file, also when it has no name: some descriptor is open then. */
void way_to(const struct file *f, char *path);
/** The descriptor of a kind, opened when it is not open; -1 when O_DIRECT is not to be had. */
int fd_of(struct file *f, enum kind k);
int opened_how_many(const struct file *f);
void close_one(struct file *f, int k);
void close_all(struct file *f);
void unmap(struct file *f);
/** What mappings changed comes to the file system, if not to its disk: much faster than fsync(2). */
void write_back(int fd);

struct timespec before_now(void);
/** After a change that began at `begun`: the file says how large it is, and that it was modified since. */
void changed(struct file *f, struct timespec begun);

void fill(uint8_t *bytes, size_t length);
void set_size(struct file *f, size_t size);
void set_bytes(struct file *f, const uint8_t *bytes, size_t offset, size_t length);
/** Near the borders, mostly: pages, sectors, the packed size, chunks. */
size_t some_size(void);
size_t some_length(void);
/** A range that begins at or before `bound` and ends by LARGEST. */
void pick(const struct file *f, size_t bound, size_t *offset, size_t *length);
/** A range to write to, never empty: now and then far behind the end, which leaves a hole. */
void pick_written(const struct file *f, size_t *offset, size_t *length);

/* The operations. */
int read_some(struct file *f);
int read_direct(struct file *f);
int send_out(struct file *f);
int read_whole(struct file *f);
int seek_extents(struct file *f);
int check_stat(struct file *f);
int write_some(struct file *f);
int append(struct file *f);
int write_direct(struct file *f);
int send_in(struct file *f);
int truncate_some(struct file *f);
int allocate(struct file *f);
int copy_range(struct file *f);
int read_mapped(struct file *f);
int write_mapped(struct file *f);
int map_briefly(struct file *f);
int remap(struct file *f);
int close_some(struct file *f);
int reopen_empty(struct file *f);
int synchronise(struct file *f);
int forget_pages(struct file *f);
int rename_open(struct file *f);
int unlink_open(struct file *f);
int replace(struct file *f);

/** Every byte of it, by a descriptor of its own; sometimes with nothing of it in the page cache. */
void check_whole(struct file *f);
/** A file of that name, with some bytes; it must have no name and no descriptor. */
void create(struct file *f);
/** What lived on without a name ends, and there is another file. */
int begin_anew(struct file *f);

#endif
